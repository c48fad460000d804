"""Running a past run again from its recorded code, data, packages and preset, and judging the result.

Recording a run belongs in `tasks/tracking/`.
"""
