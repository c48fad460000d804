"""Measurements of finished models: held-out loss, win rates, questions, intervals, attention maps.

Thresholds and promotion belong in the stages `gate` and `evaluate`.
"""
