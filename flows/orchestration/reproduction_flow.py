"""The reproduction of a run as a flow, for schedules."""

from __future__ import annotations

from prefect import flow, get_run_logger
from prefect.artifacts import create_markdown_artifact

from flows.orchestration.reproduction import reproduce_run
from flows.orchestration.tracker import open_store


@flow(name="reproduce", persist_result=False)
def reproduction(run: str = "champion") -> str:
    """Make a run again, reusing nothing of it, and return the verdict in words.

    Fails if it diverged, or if a model of the run in MLflow is not the one that it made.

    `champion` means the champion of each product. A diff that this host has no record of is never run.
    """
    from tasks.reproduction.verdict import DIVERGED
    from tasks.tracking.products import CHAMPION, list_products

    client, root = open_store()
    products = list_products(client) if run == CHAMPION else []
    names = [f"{product.model}/{CHAMPION}" for product in products if product.champion] or [run]
    said, diverged = [], False
    for name in names:
        found = reproduce_run(client, root, name, keep=False, say=get_run_logger().info)
        create_markdown_artifact(found.table, key="reproduced")
        sentence = "; ".join([found.sentence, *found.damaged])
        said.append(f"{name}: {sentence}" if len(names) > 1 else sentence)
        diverged |= found.says == DIVERGED or bool(found.damaged)
    if diverged:
        raise RuntimeError("; ".join(said))
    return "; ".join(said)
