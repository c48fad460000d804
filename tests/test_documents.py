"""The documents: their links, the keys of the configuration and the tree of packages."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any, get_type_hints

import pytest
import yaml

from flows.config import Preset

ROOT = Path(__file__).resolve().parent.parent
DOCUMENTS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")])


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_documents_local_links_exist(document: Path) -> None:
    # Pictures are skipped, because a run creates them.
    links = re.findall(r"(?<!!)\[[^\]]*\]\(([^)#]+)(?:#[^)]*)?\)", document.read_text("utf-8"))
    local = [link for link in links if not link.startswith("http")]
    assert [link for link in local if not (document.parent / link).exists()] == []


def keys(kind: Any, prefix: str = "") -> Iterator[str]:
    """Yield the keys of a section as the configuration page writes them."""
    hints = get_type_hints(kind)
    for field in fields(kind):
        if is_dataclass(hints[field.name]):
            yield from keys(hints[field.name], f"{field.name}.")
        else:
            yield field.name


def test_configuration_page_lists_every_key() -> None:
    page = (ROOT / "docs" / "configuration.md").read_text("utf-8")
    explained = set(re.findall(r"`([a-z0-9_.]+)`", page))
    explained |= {name.rpartition(".")[2] for name in explained}
    missing = []
    for name, field in Preset.model_fields.items():
        section = field.alias or name
        if section not in explained:
            missing.append(section)
        if is_dataclass(field.annotation):
            missing += [f"{section}.{key}" for key in keys(field.annotation) if key not in explained]
    assert missing == []


def test_readme_tree_lists_every_package() -> None:
    readme = (ROOT / "README.md").read_text("utf-8")
    tree = readme.partition("## The tree")[2].partition("## Further")[0]
    packages = [
        path.parent for room in ("flows", "tasks", "model") for path in (ROOT / room).rglob("__init__.py")
    ]
    assert [str(path.relative_to(ROOT)) for path in packages if f"{path.name}/" not in tree] == []


def test_kubernetes_manifest_matches_deployments() -> None:
    page = (ROOT / "docs" / "hosts.md").read_text("utf-8")
    blocks = [block for block in re.findall(r"```yaml\n(.*?)```", page, re.DOTALL) if "apiVersion" in block]
    claim, deployment = yaml.safe_load_all(blocks[0])
    assert {found["kind"] for found in (claim, deployment)} == {"PersistentVolumeClaim", "Deployment"}
    spec = deployment["spec"]
    pod = spec["template"]["spec"]
    assert spec["selector"]["matchLabels"] == spec["template"]["metadata"]["labels"]
    volumes = {volume["name"]: volume for volume in pod["volumes"]}
    [worker] = pod["containers"]
    assert {mount["name"] for mount in worker["volumeMounts"]} == set(volumes)
    assert volumes["var"]["persistentVolumeClaim"]["claimName"] == claim["metadata"]["name"]
    deployments = yaml.safe_load((ROOT / "prefect.yaml").read_text("utf-8"))["deployments"]
    pools = {found["name"]: found["work_pool"]["name"] for found in deployments}
    assert worker["command"][worker["command"].index("--pool") + 1] == pools["stage"]


def test_documents_hold_no_placeholders() -> None:
    for document in DOCUMENTS:
        assert not re.search(r"TODO|TBD|FIXME|lorem", document.read_text("utf-8")), document.name
