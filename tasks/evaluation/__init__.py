"""Scores that need no training process: the lexicon judge, the linear baseline, the comparison of scores.

The answers of models are computed in `model/evaluation/`.
"""
