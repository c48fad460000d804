"""Generation and scoring of text with a finished model: sampler, prompt formats, log-likelihoods.

Judging the answers belongs in `model/evaluation/`.
"""
