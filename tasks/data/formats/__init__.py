"""Parsers of data files, one module a format: files in, rows out, one at a time.

`registry.py` lists the formats, `base.py` defines what each must provide, `detect.py` finds the format of a
file; where files come from is decided in `tasks/data/sources.py`.
"""
