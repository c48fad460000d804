"""Scores of models that need no training process: the lexicon judge, the linear baseline, the comparison
of scores.

What a model answers is computed in `model/evaluation/`.
"""
