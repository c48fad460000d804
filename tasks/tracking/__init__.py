"""Runs and models in MLflow: tracker, queries, lineage, registry, approval and comparison of runs.

The execution of a run belongs in `tasks/engine/` and `flows/`.
"""
