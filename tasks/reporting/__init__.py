"""The HTML report: charts, sections and the template.

The stage `report` collects the numbers; nothing here reads a stage's output folder by itself.
"""
