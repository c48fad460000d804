"""Helpers of commands, servers and runs: terminal output, error messages, bounded YAML, folder access.

Anything that knows about stages, servers or presets belongs in another package.
"""
