"""The stages of the pipeline, one file a stage, named by what it does.

What stages use is in the packages below, and none of these imports a stage unless it works on whole runs.
"""
