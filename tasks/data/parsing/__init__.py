"""The steps of reading a row that several formats share, and the records that a row becomes.

`base.py` defines what each format provides. One format's own rules are in `tasks/data/formats/`.

Arguments with these names mean the same in all modules:

- `values`: The cells of a row by key.
- `reading`: The settings of a source for its parser, as ParseOptions.
- `where`: The place of a row for messages: the file and line.
- `own`: The keys that the row's format reads itself.
- `tally`: The SkipCounts of a source, which count what is left out.
"""
