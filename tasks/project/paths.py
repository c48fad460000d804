"""The paths of all files that chatmill writes under `var/`, relative to the project's folder.

Records lie directly in `var/`: no command can compute or download them again. Everything else lies in
`var/cache/`, whose removal costs time and nothing else.
"""

from __future__ import annotations

from pathlib import Path

RECORDS = Path("var")
MLFLOW_DATABASE = RECORDS / "mlflow.db"
MLFLOW_FOLDER = RECORDS / "mlflow"
# The judgements of the label page.
JUDGEMENTS_DATABASE = RECORDS / "judgements.db"
# The address of the label page's database where that is a server's.
LABEL_STORE = RECORDS / "label_store.json"
PREFECT_HOME = RECORDS / "prefect"
LABELS = RECORDS / "labels"
KNOWN_CODE = RECORDS / "known_code"
LOGS = RECORDS / "logs"
SUMMARY = RECORDS / "summary.json"
REPORT = RECORDS / "report.html"
STORES = RECORDS / "stores.json"
SERVERS = RECORDS / "up.json"
# The servers' password and the keys of logins; only their owner may read them.
SECRETS = RECORDS / "secrets"
# Signs the sessions of the label page.
LABEL_SESSION_KEY = SECRETS / "label-session-key"
# The name of a page whose store had none, for a restoration that removes the key that it came from.
LABEL_SITE = SECRETS / "label-site"
# File locks are not records. They are not in the cache, because removing a lock that a process holds would
# let a second process in.
DATA_LOCK = RECORDS / "data.lock"
LAYOUT_LOCK = RECORDS / "layout.lock"
PAGES_LOCK = RECORDS / "pages.lock"
DVC_LOCK = RECORDS / "dvc.lock"
LABELS_LOCK = RECORDS / "labels.lock"
JUDGEMENTS_LOCK = RECORDS / "judgements.lock"
VERSIONS_LOCK = RECORDS / "versions.lock"
DEVICE_LOCKS = RECORDS / "devices"

CACHE = RECORDS / "cache"
ARTIFACTS = CACHE / "artifacts"
DOWNLOADS = CACHE / "downloads"
BASE_MODELS = CACHE / "base_models"
ENVIRONMENTS = CACHE / "environments"
REPRODUCTIONS = CACHE / "reproduce"
SOURCE_SNAPSHOTS = CACHE / "sources"
DATA_DOCS = CACHE / "data_docs"
DASK = CACHE / "dask"
# DVC's notes on files that it has hashed.
DVC_NOTES = CACHE / "dvc"
# prefect.yaml with the presets that `chatmill up --config` names.
DEPLOYMENTS = CACHE / "prefect.yaml"
MEMORY_ESTIMATES = CACHE / "memory_estimates.json"
DATABASE_CHECKS = CACHE / "database_checks.json"
DIGESTS = CACHE / "digests.json"
# Separate from the digests of the sources, which may be many more: each file is rewritten as a whole.
OUTPUT_DIGESTS = CACHE / "output-digests.json"


def is_reproduction(root: Path) -> bool:
    """Return whether a project's folder is the checkout of a run that `chatmill reproduce` makes again."""
    names, length = root.resolve().parts, len(REPRODUCTIONS.parts)
    # The project may be a subfolder of the repository, and so of the checkout.
    return any(names[at : at + length] == REPRODUCTIONS.parts for at in range(len(names) - length))
