"""Batches of the label page that people judge in other tools, and the judgements that come back.

One module a tool sends and fetches; what a batch is and how judgements are stored is in tasks/labelling/.
"""
