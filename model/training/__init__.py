"""Trainings: launcher, loop, optimizer, checkpoints, and one file a task (pretraining, SFT, reward, PPO).

The network is in `model/nn/`; what is measured afterwards is in `model/evaluation/`.
"""
