"""Prefect's and MLflow's servers: their processes, settings, credentials and request checks.

What a run sends to these servers belongs in `flows/orchestration/` and `tasks/tracking/`.
"""
