"""The reproduction of a run as a flow: what a schedule starts."""

from __future__ import annotations

from prefect import flow, get_run_logger
from prefect.artifacts import create_markdown_artifact

from flows.lineage import open_store
from flows.reproduce import made_again


@flow(name="reproduce", persist_result=False)
def reproduction(run: str = "champion") -> str:
    """Make a run again, reusing nothing of it; the verdict in words. Fails where it diverged."""
    from tasks.verdict import DIVERGED

    client, root = open_store()
    found = made_again(client, root, run, keep=False, say=get_run_logger().info)
    create_markdown_artifact(found.table, key="reproduced")
    if found.says == DIVERGED:
        raise RuntimeError(found.sentence)
    return found.sentence
