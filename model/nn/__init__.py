"""The network and its pure functions: layers, operations, losses.

Nothing here reads files, knows a tokenizer or keeps state between steps.
"""
