"""The stages of the pipeline, one file a stage, named by what it does.

Code that stages share is in the packages below. Only code that works on whole runs imports a stage.
"""
