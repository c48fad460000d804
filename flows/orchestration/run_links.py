"""Links between the pages of a run: Prefect's, MLflow's and the report.

Holds the names, tags and links that a run gets. Servers and their addresses are in `flows/servers/`.
"""

from __future__ import annotations

import os
import re
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import quote

from httpx import HTTPError
from prefect.artifacts import create_link_artifact, create_markdown_artifact
from prefect.client.orchestration import get_client
from prefect.runtime import deployment, flow_run

from flows.servers.environment import LOOPBACK, TEMPORARY_PREFECT, Settings
from flows.servers.state_file import last_addresses, read_served

PREFECT_PORT, MLFLOW_PORT = 4200, 5000
# The names of the flows that commands start, as a person types them.
COMMANDS = {"chatmill": "run", "ingest": "ingest", "label_batch": "label batch"}
MAX_KEY_CHARS = 60


@dataclass(frozen=True)
class RunPages:
    """Addresses of the pages of one pipeline run.

    `prefect` and `mlflow` are the base addresses of the two servers' pages, without a trailing slash.
    """

    prefect: str
    mlflow: str

    def flow_run(self, run: str) -> str:
        """Return the address of a flow run's page in Prefect."""
        return f"{self.prefect}/runs/flow-run/{run}"

    def tracked_run(self, experiment: str, run: str) -> str:
        """Return the address of a run's page in MLflow."""
        return f"{self.mlflow}/#/experiments/{experiment}/runs/{run}"

    def model_version(self, model: str, version: str) -> str:
        """Return the address of a model version's page in MLflow."""
        return f"{self.mlflow}/#/models/{quote(model, safe='')}/versions/{version}"


def find_pages(settings: Settings) -> RunPages:
    """Return the pages of this project's runs, as they are, or will be once `chatmill dashboards` runs.

    A store in a file has no page of its own, and the server that a command starts for itself ends with it.
    The pages of such a run have the addresses of the last `chatmill up` or `chatmill dashboards` here.
    """
    found, last = read_served(settings.root), last_addresses(settings.root)
    api = found.prefect if found and found.prefect else settings.prefect
    tracking = found.mlflow if found and found.mlflow else settings.mlflow
    # A temporary server's port is gone after the run.
    if api in ("", os.environ.get(TEMPORARY_PREFECT)):
        api = last.get("Prefect", f"http://{LOOPBACK}:{PREFECT_PORT}")
    if not tracking.startswith("http"):
        tracking = last.get("MLflow", f"http://{LOOPBACK}:{MLFLOW_PORT}")
    return RunPages(api.removesuffix("/api").rstrip("/"), tracking.rstrip("/"))


def find_trigger() -> str:
    """Return what started this flow run: a deployment's name, or the command as a person types it."""
    flow = str(flow_run.flow_name)
    return str(deployment.name) if deployment.id else COMMANDS.get(flow, flow.removeprefix("chatmill-"))


def tracked_run_name(preset: str) -> str:
    """Return this run's name in MLflow: the preset, what started it and when, to the second."""
    return f"{preset} · {find_trigger()} · {datetime.now(UTC).strftime('%Y-%m-%d %H:%M:%S')}"


def name_flow_run(preset: str) -> None:
    """Name this flow run by its preset, what started it and when, and tag it with the first two.

    Prefect's own names, two words drawn at random, cannot be told apart in a list of runs.
    """
    trigger = find_trigger()
    began = datetime.now(UTC).strftime("%Y-%m-%d %H:%M")
    tags = [*flow_run.tags, f"preset:{preset}", f"trigger:{trigger}"]
    # If the server is away, only the name is lost.
    with suppress(HTTPError), get_client(sync_client=True) as client:
        client.update_flow_run(
            flow_run.id, name=f"{preset} · {trigger} · {began}", tags=list(dict.fromkeys(tags))
        )


def show_tracked_run(preset: str, address: str) -> None:
    """Put a link to the run in MLflow on the page of this flow run."""
    with suppress(HTTPError):
        create_link_artifact(
            address,
            link_text="This run in MLflow",
            key=_artifact_key("mlflow", preset),
            description="The parameters, metrics and files of every stage.",
        )


def show_outcome_links(preset: str, links: dict[str, str], page: Path, summary: str) -> None:
    """Put the outcome of the run on the page of this flow run, with links to its other pages.

    Args:
        preset: The preset's name.
        links: Addresses by the words that are shown.
        page: The report's file on this machine.
        summary: A sentence about the model.
    """
    lines = [f"- [{words}]({address})" for words, address in links.items()]
    text = "\n".join([summary, "", *lines, f"- Report: `{page}` on the machine that ran the flow"])
    with suppress(HTTPError):
        create_markdown_artifact(
            text, key=_artifact_key("outcome", preset), description="What came out of the run."
        )


def _artifact_key(kind: str, preset: str) -> str:
    """Return an artifact's key: Prefect accepts lower-case letters, digits and dashes alone."""
    name = re.sub(r"[^a-z0-9]+", "-", preset.lower()).strip("-")[:MAX_KEY_CHARS].strip("-")
    return f"{kind}-{name}" if name else kind


def page_links(
    pages: RunPages, flow_run_id: str, tracked_page: str, model: str, version: str
) -> dict[str, str]:
    """Return the addresses of a run's other pages, by the words that are shown.

    Args:
        pages: The servers' pages.
        flow_run_id: The flow run's id in Prefect.
        tracked_page: The address of its run in MLflow.
        model: The registered model.
        version: The version that the run registered; empty for none.
    """
    links = {"Run in Prefect": pages.flow_run(flow_run_id), "Run in MLflow": tracked_page}
    if version:
        links[f"Model version {version} in MLflow"] = pages.model_version(model, version)
    return links


def deployed_preset_path(preset: str) -> str:
    """Return the file of this run's preset as a deployment names it; for a terminal's run, by the name."""
    asked = flow_run.parameters
    return str(asked.get("announced") or asked.get("config") or f"configs/{preset}.yaml")
