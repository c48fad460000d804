"""Reproduction of a past run from its recorded code, data, packages and preset, and the verdict on it.

Recording a run belongs in `tasks/tracking/`.
"""
