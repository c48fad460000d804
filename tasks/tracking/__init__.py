"""Runs and models in MLflow: the tracker, queries of past runs, lineage, the registry, approval,
comparison of runs.

How a run is executed belongs in `tasks/engine/` and `flows/`.
"""
