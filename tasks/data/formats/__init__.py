"""Parsers of data files, one module for each format: files in, rows out, one at a time.

`registry.py` lists the formats, `base.py` defines what each must provide, and `detect.py` finds the format of
a file. `tasks/data/sources.py` decides which files are read.
"""
