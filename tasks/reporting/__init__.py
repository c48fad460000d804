"""The HTML report: charts, sections and the template.

The stage `report` reads the outputs of other stages; nothing here reads files.
"""
