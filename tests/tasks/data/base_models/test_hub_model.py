"""Models of the hub: fetched once, resumed, verified, and refused in one sentence."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file

from model.data.checkpoint_check import check_model
from model.data.hf_checkpoint import load_model
from model.errors import UserError
from model.events import Event
from tasks.common import url_secrets
from tasks.data.base_models.base_model import base_folder
from tasks.project.paths import BASE_MODELS
from tests.model.conftest import Language, language
from tests.tasks.data.hub_server import COMMIT, TOKEN, HubState, hub, put_model
from tests.tasks.event_sink import ignore_event

__all__ = ["hub", "language"]

BASE = f"hub:org/name@{COMMIT}"
FETCHED = {"config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json"}
GPT = b'{"model_type": "gpt2"}'
NO_WEIGHTS = {"config.json": b"{}", "tokenizer.json": b"{}", "pytorch_model.bin": b"x"}


def shard(folder: Path) -> None:
    """Divide the weights of a model folder into two files with an index."""
    state = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    names = {key: f"model-{number % 2 + 1:05}-of-00002.safetensors" for number, key in enumerate(state)}
    for name in set(names.values()):
        save_file({key: state[key] for key in state if names[key] == name}, folder / name, {"format": "pt"})
    (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": names}))


@pytest.mark.parametrize("shards", [False, True])
def test_base_folder_of_hub_is_fetched_once(
    hub: HubState, language: Language, tmp_path: Path, shards: bool
) -> None:
    model = language.model(tmp_path / "model")
    if shards:
        shard(model)
    put_model(hub, model)
    said: list[Event] = []
    folder = base_folder(BASE, tmp_path, said.append)
    weights = {"model.safetensors.index.json", *(f"model-0000{n}-of-00002.safetensors" for n in (1, 2))}
    assert {path.name for path in folder.iterdir()} == FETCHED | (
        weights if shards else {"model.safetensors"}
    )
    for path in folder.iterdir():
        assert path.read_bytes() == hub.files[path.name]
    assert check_model(folder) == load_model(folder)[0].architecture
    assert any("model" in str(event) and "bytes" in str(event) for event in said)
    asked = len(hub.asked)
    assert base_folder(BASE, tmp_path) == folder and len(hub.asked) == asked
    # Damaged files are fetched again.
    (folder / "config.json").write_bytes(b"{}")
    assert base_folder(BASE, tmp_path) == folder and len(hub.asked) > asked
    assert (folder / "config.json").read_bytes() == hub.files["config.json"]
    # Another commit is another model.
    with pytest.raises(UserError, match="has no model org/name with the revision ffff"):
        base_folder(f"hub:org/name@{'f' * 40}", tmp_path)


@pytest.mark.parametrize("breaks", [[1000], [0, 5000, 5000], [100] * 9])
def test_base_folder_of_hub_resumes_truncated_download(
    hub: HubState, language: Language, tmp_path: Path, breaks: list[int]
) -> None:
    put_model(hub, language.model(tmp_path / "model"))
    hub.breaks = list(breaks)
    folder = base_folder(BASE, tmp_path)
    assert (folder / "model.safetensors").read_bytes() == hub.files["model.safetensors"]
    assert hub.paths().count("/model.safetensors") == len(breaks) + 1


def test_base_folder_of_hub_resumes_in_next_command(
    hub: HubState, language: Language, tmp_path: Path
) -> None:
    put_model(hub, language.model(tmp_path / "model"))
    hub.breaks = [7000, 0, 0, 0, 0, 0]
    with pytest.raises(UserError, match="the 7000 bytes that came are kept, and the same command resumes"):
        base_folder(BASE, tmp_path)
    before = hub.paths().count("/moved/tokenizer.json")
    said: list[Event] = []
    folder = base_folder(BASE, tmp_path, said.append)
    assert any("from byte 7,000 on" in str(event) for event in said)
    assert hub.paths().count("/moved/tokenizer.json") == before
    assert (folder / "model.safetensors").read_bytes() == hub.files["model.safetensors"]
    # A damaged rest of an earlier attempt is fetched again as a whole.
    part = tmp_path / BASE_MODELS / f"{folder.name}.part"
    folder.rename(part)
    (part / "model.safetensors").unlink()
    (part / "model.safetensors.part").write_bytes(b"x" * 9000)
    folder = base_folder(BASE, tmp_path)
    assert (folder / "model.safetensors").read_bytes() == hub.files["model.safetensors"]


@pytest.mark.parametrize("name", ["model.safetensors", "tokenizer.json", "config.json"])
@pytest.mark.parametrize("change", ["same size", "longer", "shorter"])
def test_base_folder_of_hub_changed_file_is_refused(
    hub: HubState, language: Language, tmp_path: Path, name: str, change: str
) -> None:
    put_model(hub, language.model(tmp_path / "model"))
    content = hub.files[name]
    hub.replaced[name] = {
        "same size": bytes([content[0] ^ 1]) + content[1:], "longer": content + b" ", "shorter": content[:-1],
    }[change]  # fmt: skip
    said = (
        "cannot be fetched .it ended after" if change == "shorter" else "its checksum is .* and the hub says"
    )
    with pytest.raises(UserError, match=f"{name}.*{said}") as refused:
        base_folder(BASE, tmp_path)
    assert "\n" not in str(refused.value)
    assert not list((tmp_path / BASE_MODELS).glob(f"*/{name}"))
    del hub.replaced[name]
    assert (base_folder(BASE, tmp_path) / name).read_bytes() == content


@pytest.mark.parametrize("name", ["model.safetensors", "tokenizer.json"])
def test_base_folder_of_hub_sends_token_to_hub_only(
    hub: HubState, language: Language, tmp_path: Path, name: str
) -> None:
    put_model(hub, language.model(tmp_path / "model"))
    hub.token, hub.large = TOKEN, (name,)
    url_secrets.use_environment({"HF_ENDPOINT": f"{hub.address}/", "HF_TOKEN": f" {TOKEN}\n"})
    said: list[Event] = []
    folder = base_folder(BASE, tmp_path, said.append)
    sent = {host: {token for where, _, token in hub.asked if where == host} for host in ("hub", "storage")}
    assert sent == {"hub": {f"Bearer {TOKEN}"}, "storage": {""}}
    assert TOKEN not in str(said) and TOKEN not in str(folder)
    assert not any(TOKEN.encode() in path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())


@pytest.mark.parametrize(
    ("set_fault", "token", "said"),
    [
        ({"token": "another"}, "", "answers 401; it does not exist, or is private or gated.*HF_TOKEN"),
        ({"token": "another"}, TOKEN, "answers 401; HF_TOKEN is not valid"),
        ({"terms": True}, "", "answers 403; accept its terms on its page, and set HF_TOKEN"),
        ({"terms": True}, TOKEN, "answers 403; accept its terms on its page, with the account of HF_TOKEN"),
        ({"name": "org/other"}, TOKEN, f"has no model org/name with the revision {COMMIT}"),
        ({"commit": "f" * 40}, TOKEN, "the hub answers for the commit 'ffff"),
        ({"files": {"README.md": b""}}, TOKEN, r"has no config\.json"),
        ({"files": {"config.json": b"{}"}}, TOKEN, r"has no tokenizer\.json"),
        (
            {"files": NO_WEIGHTS}, TOKEN, "has no weights as safetensors",
        ),
        (
            {"files": {**NO_WEIGHTS, "config.json": GPT, "model.safetensors": b"x"}}, TOKEN,
            "model_type 'gpt2'; it must be one of",
        ),
    ],
)  # fmt: skip
def test_base_folder_of_hub_refusal_says_what_to_do(
    hub: HubState, language: Language, tmp_path: Path, set_fault: dict, token: str, said: str
) -> None:
    put_model(hub, language.model(tmp_path / "model"))
    for name, value in set_fault.items():
        setattr(hub, name, value)
    url_secrets.use_environment({"HF_ENDPOINT": hub.address, "HF_TOKEN": token})
    with pytest.raises(UserError, match=said) as refused:
        base_folder(BASE, tmp_path)
    assert TOKEN not in str(refused.value) and "\n" not in str(refused.value)
    # Nothing large was fetched for it.
    assert "/model.safetensors" not in hub.paths()


@pytest.mark.parametrize(
    "name", ["../other.safetensors", "sub/model.safetensors", "config.json", "gone.safetensors"]
)
def test_base_folder_of_hub_index_names_only_its_files(
    hub: HubState, language: Language, tmp_path: Path, name: str
) -> None:
    model = language.model(tmp_path / "model")
    shard(model)
    put_model(hub, model)
    hub.files["sub/model.safetensors"] = b"x"
    hub.files["model.safetensors.index.json"] = json.dumps({"weight_map": {"a": name}}).encode()
    with pytest.raises(UserError, match="which is not one of its files"):
        base_folder(BASE, tmp_path)


@pytest.mark.parametrize(
    ("base", "said"),
    [
        ("hub:org/name", f"has no revision, .* write its commit of now: hub:org/name@{COMMIT}"),
        ("hub:org/name@main", f"has the revision 'main', .* write its commit of now: hub:org/name@{COMMIT}"),
        ("hub:org/name@v9", "has the revision 'v9', .* under Files and versions, History .*has no model"),
        ("hub:org/gone@", "has no revision, .* under Files and versions, History"),
        ("hub:org", "is not a name of the hub; expected hub:ORG/NAME@COMMIT"),
        ("hub:../../x@main", "is not a name of the hub"),
        ("hub:a/b/c@main", "is not a name of the hub"),
        ("hub:org/na me@main", "is not a name of the hub"),
        ("org/name", "neither a model folder .* a model of the Hugging Face hub is hub:org/name@COMMIT"),
    ],
)
def test_base_folder_without_commit_proposes_it(
    hub: HubState, language: Language, tmp_path: Path, base: str, said: str
) -> None:
    put_model(hub, language.model(tmp_path / "model"))
    with pytest.raises(UserError, match=said):
        base_folder(base, tmp_path)
    assert not (tmp_path / BASE_MODELS).exists()


@pytest.mark.parametrize(
    ("variable", "value", "said"),
    [
        ("HF_ENDPOINT", "ftp://example.org", "HF_ENDPOINT in the environment must be the address"),
        ("HF_ENDPOINT", "http://ana:geheim@127.0.0.1", "without user and password"),
        ("HF_ENDPOINT", "127.0.0.1:1", "HF_ENDPOINT"),
        ("HF_TOKEN", "hf_a b", "HF_TOKEN in the environment has a space"),
        ("HF_TOKEN", "hf_a\nX-Other: 1", "HF_TOKEN in the environment has a space"),
    ],
)
def test_base_folder_of_hub_invalid_environment_is_refused(
    hub: HubState, tmp_path: Path, variable: str, value: str, said: str
) -> None:
    url_secrets.use_environment({"HF_ENDPOINT": hub.address, variable: value})
    with pytest.raises(UserError, match=said) as refused:
        base_folder(BASE, tmp_path, ignore_event)
    assert "geheim" not in str(refused.value) and "hf_a" not in str(refused.value)
    assert not hub.asked


def test_base_folder_of_hub_without_network_is_named(
    hub: HubState, language: Language, tmp_path: Path
) -> None:
    put_model(hub, language.model(tmp_path / "model"))
    folder = base_folder(BASE, tmp_path)
    url_secrets.use_environment({"HF_ENDPOINT": "http://127.0.0.1:9"})
    assert base_folder(BASE, tmp_path) == folder
    with pytest.raises(UserError, match=r"cannot be fetched .*refused"):
        base_folder(f"hub:org/name@{'a' * 40}", tmp_path)
