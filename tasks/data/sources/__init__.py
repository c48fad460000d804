"""The sources that a preset names: files, addresses, data sets, archives, the label page; their identity.

How their bytes are opened is in `tasks/data/file_io/`, and what their rows mean is in `tasks/data/formats/`.
"""
