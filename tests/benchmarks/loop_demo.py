"""Close the label loop with simulated people: batch, judgements over HTTP, aggregation, alignment.

`python -m tests.benchmarks.loop_demo` works in a folder of its own with the demo's texts and pairs, three
rounds. The demo's ratings teach nothing. Simulated people prefer the answer with the friendlier tone, by the
lexicon that also judges the models, and press random keys at known rates. They speak the page's own HTTP.
After each round it prints the judge's gain over SFT, and each person's error rate as Dawid and Skene's method
finds it.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import httpx
import yaml

from flows.servers.environment import checkout_environment
from tasks.evaluation.lexicon import score_tone
from tests.benchmarks.label_page import LoadClient
from tests.flows.servers.label_page.label_server import LabelServer

REPOSITORY = Path(__file__).parents[2]
# Simulated people, with the share of their keys that are random.
PEOPLE = {"simulated Ann": 0.05, "simulated Ben": 0.15, "simulated Cleo": 0.30}
PRESET = "configs/loop.yaml"
# Answers whose tones differ by less are equally good.
EQUAL = 0.05
_CHOICES = ("left", "right", "tie")


def write_preset(folder: Path, base: Path, items: int, seed: int, changes: Mapping[str, Any]) -> None:
    """Write the preset of the loop: another preset whose only labels are those of the page.

    Args:
        folder: The project's folder.
        base: The preset with the texts, the pairs and the settings.
        items: Items of each batch.
        seed: The seed of all stages.
        changes: Sections to change, as in {"reward": {"steps": 200}}.
    """
    preset = yaml.safe_load(base.read_text(encoding="utf-8"))
    preset |= {"name": "loop", "seed": seed}
    for source in preset["data"]["sources"]:
        if "files" in source:
            source["files"] = str(REPOSITORY / source["files"])
    preset["data"]["sources"].append({"name": "people", "labels": "page"})
    preset.setdefault("labels", {}).update({"sources": ["people"], "aggregation": "dawid_skene"})
    preset["label_batch"] = {"size": items, "needed": len(PEOPLE), "random_share": 0.5}
    for section in ("reward", "evaluate"):
        preset[section].pop("headline_sources", None)
    for section, values in changes.items():
        preset[section] = {**preset.get(section, {}), **values}
    (folder / "configs").mkdir(parents=True)
    (folder / PRESET).write_text(yaml.safe_dump(preset, sort_keys=False), encoding="utf-8")


def call(folder: Path, *words: str) -> str:
    """Run a command of chatmill in a project; return what it printed."""
    done = subprocess.run(
        [sys.executable, "-m", "flows.cli.main", *words], cwd=folder, env=checkout_environment(REPOSITORY),
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False,
    )  # fmt: skip
    if done.returncode:
        raise RuntimeError(
            f"`chatmill {' '.join(words)}` ended with {done.returncode}:\n{done.stdout[-3000:]}"
        )
    return done.stdout


class SimulatedPerson:
    """A simulated labeller at the page, who presses a random key at a known rate."""

    def __init__(self, name: str, error_rate: float, client: httpx.AsyncClient, seed: str) -> None:
        self.error_rate, self.random = error_rate, random.Random(seed)
        self.page = LoadClient(name, client, self.random)

    def choose(self, item: Mapping[str, Any]) -> str:
        """Return the key for an item: the friendlier answer, or a random one."""
        if self.random.random() < self.error_rate:
            return self.random.choice(_CHOICES)
        left, right = score_tone([item["left"], item["right"]])
        return "tie" if abs(left - right) < EQUAL else "left" if left > right else "right"

    async def judge_all(self) -> int:
        """Judge until the page has nothing left; return the number of judgements."""
        count = 0
        while True:
            await self.page.refill()
            if not self.page.queue:
                return count
            item = self.page.queue.pop(0)
            self.page.outbox.append({
                "key": f"{self.page.name}-{item['item']}", "item": item["item"], "action": "judge",
                "choice": self.choose(item), "swapped": item["swapped"], "guide": item["guide"],
                "seconds": 1.0,
            })  # fmt: skip
            await self.page.flush()
            count += 1


async def judge_batch(server: LabelServer, round_number: int, seed: int) -> int:
    """Let the simulated people judge all that is left; return the number of judgements."""
    people = []
    for name, rate in PEOPLE.items():
        client = httpx.AsyncClient(base_url=server.address, timeout=60)
        people.append(SimulatedPerson(name, rate, client, f"{seed}:{round_number}:{name}"))
        await people[-1].page.sign_in(server.link(name))
    counts = await asyncio.gather(*(person.judge_all() for person in people))
    for person in people:
        await person.page.client.aclose()
    return sum(counts)


def read_round(folder: Path) -> dict[str, Any]:
    """Return the figures of the last run: the judge's gain over SFT, and the error rates that were found."""
    summary = json.loads((folder / "var" / "summary.json").read_text(encoding="utf-8"))
    stages = {stage["name"]: stage for stage in summary["stages"]}
    annotators = json.loads(
        (Path(stages["labels"]["folder"]) / "annotators.json").read_text(encoding="utf-8")
    )
    return {
        "metrics": stages["evaluate"]["metrics"],
        "labels": stages["labels"]["metrics"],
        "people": annotators,
    }


def run_loop(folder: Path, rounds: int, seed: int) -> list[dict[str, Any]]:
    """Run the loop in a project with a preset; return the figures of each round."""
    # The models of the first batch: SFT's, and one that RLHF has hardly changed, by other labels.
    first = ("labels.sources=[]", "reward.steps=1", "rlhf.steps=1", "rlhf.eval_every=0")
    call(folder, "run", "--config", PRESET, *(word for change in first for word in ("--set", change)))
    found = []
    for number in range(1, rounds + 1):
        print(
            call(folder, "label", "batch", "--config", PRESET, "--set", f"label_batch.round={number}").strip()
        )
        server = LabelServer(folder)
        try:
            count = asyncio.run(judge_batch(server, number, seed))
        finally:
            server.close()
        call(folder, "run", "--config", PRESET)
        figures = {"round": number, "judgements": count, **read_round(folder)}
        gain = {end: figures["metrics"].get(f"judge_gain{end}") for end in ("", "_low", "_high", "_n")}
        print(
            f"seed {seed}, round {number}: {count} simulated judgements; judge's gain over SFT {gain}",
            flush=True,
        )
        print(f"  people: {json.dumps(figures['people'], ensure_ascii=False)[:1500]}", flush=True)
        found.append(figures)
    return found


def main() -> None:
    """Run the loop for each seed, and print a line for each round."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--config", type=Path, default=REPOSITORY / "configs" / "demo.yaml")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--items", type=int, default=300, help="items of a batch, each judged by everybody")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1])
    parser.add_argument("--reward-steps", type=int, default=200, help="the reward model has few labels here")
    given = parser.parse_args()
    for seed in given.seeds:
        with tempfile.TemporaryDirectory(prefix="loop-demo-") as place:
            changes = {"reward": {"steps": given.reward_steps, "eval_every": 0}}
            write_preset(Path(place), given.config, given.items, seed, changes)
            run_loop(Path(place), given.rounds, seed)


if __name__ == "__main__":
    main()
