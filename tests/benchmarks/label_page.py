"""Measure the label page under 50 people at once, and kill its server under that load.

`python -m tests.benchmarks.label_page` prints the milliseconds of a judgement and of the next items.
`--kills 100` kills the server that often at seeded moments, and counts the judgements lost and doubled.
People speak the page's own HTTP on loopback, and send a judgement until the server acknowledges it, as the
browser does.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import numpy as np
from sqlalchemy import and_, func, select

from tasks.labelling.schema import ITEM_TABLE, JUDGEMENT_TABLE
from tests.flows.servers.label_page.label_server import LabelServer, question_items

ITEMS, NEEDED = 6000, 3
AHEAD = 3
# Seconds between two keys of a person, uniform: a quick pace for two short answers.
PAUSE = (1.0, 3.0)
MEDIAN_BAR, HIGH_BAR = 20.0, 100.0
RETRY_SECONDS = 0.2


@dataclass
class LoadClient:
    """A person at the page: their session, the items on their screen, and what is not acknowledged yet."""

    name: str
    client: httpx.AsyncClient
    random: random.Random
    queue: list[dict[str, Any]] = field(default_factory=list)
    outbox: list[dict[str, Any]] = field(default_factory=list)
    pressed: list[str] = field(default_factory=list)
    acknowledged: set[str] = field(default_factory=set)
    seconds: dict[str, list[float]] = field(default_factory=lambda: {"judgement": [], "next": []})

    async def sign_in(self, link: str) -> None:
        """Exchange a one-time link for a session."""
        answer = await self.client.post("/api/sign-in/link", json={"code": link.partition("#")[2]})
        self.client.headers["X-Chatmill-Token"] = answer.raise_for_status().json()["token"]

    async def _post(self, kind: str, path: str, body: dict[str, Any]) -> dict[str, Any] | None:
        start = time.perf_counter()
        try:
            answer = await self.client.post(path, json=body)
        except httpx.TransportError:
            return None
        self.seconds[kind].append(time.perf_counter() - start)
        found: dict[str, Any] = answer.raise_for_status().json()
        return found

    async def flush(self) -> bool:
        """Send what is not acknowledged; return whether nothing is left."""
        while self.outbox:
            body = {"person": self.name, "judgements": self.outbox[:20]}
            found = await self._post("judgement", "/api/judgements", body)
            if found is None:
                return False
            self.acknowledged.update(found["stored"])
            self.outbox = [each for each in self.outbox if each["key"] not in self.acknowledged]
        return True

    async def refill(self) -> None:
        """Ask for items until the screen has those ahead, as the page does after each key."""
        without = [each["item"] for each in (*self.queue, *self.outbox)]
        found = await self._post("next", "/api/next", {"count": AHEAD - len(self.queue), "without": without})
        known = {each["item"] for each in self.queue}
        self.queue += [each for each in (found or {"items": []})["items"] if each["item"] not in known]

    async def work(self, stop: asyncio.Event, pause: tuple[float, float]) -> None:
        """Judge until `stop`."""
        while not stop.is_set():
            if not await self.flush():
                await asyncio.sleep(RETRY_SECONDS)
            if len(self.queue) < AHEAD:
                await self.refill()
            await asyncio.sleep(self.random.uniform(*pause))
            if self.queue:
                item = self.queue.pop(0)
                key = f"{self.name}-{len(self.pressed)}"
                self.pressed.append(key)
                choice = self.random.choice(["left", "right", "tie", "bad"])
                self.outbox.append({
                    "key": key, "item": item["item"], "action": "judge", "choice": choice,
                    "swapped": item["swapped"], "seconds": 2.0,
                })  # fmt: skip


async def _crowd(server: LabelServer, people: int, seed: int) -> list[LoadClient]:
    crowd = []
    for number in range(people):
        client = httpx.AsyncClient(base_url=server.address, timeout=30)
        each = LoadClient(f"person {number}", client, random.Random(f"{seed}:{number}"))
        await each.sign_in(server.link(each.name))
        crowd.append(each)
    return crowd


async def measure_answers(
    server: LabelServer, people: int, seconds: float, seed: int
) -> dict[str, list[float]]:
    """Return the milliseconds of all answers of each kind while people judge for so many seconds."""
    crowd, stop = await _crowd(server, people, seed), asyncio.Event()
    working = [asyncio.create_task(each.work(stop, PAUSE)) for each in crowd]
    await asyncio.sleep(PAUSE[1])
    for each in crowd:
        # The first requests of all people come at once; nobody waits for a key then.
        each.seconds = {"judgement": [], "next": []}
    await asyncio.sleep(seconds)
    stop.set()
    await asyncio.gather(*working)
    for each in crowd:
        await each.client.aclose()
    return {
        kind: [1000 * taken for each in crowd for taken in each.seconds[kind]]
        for kind in ("judgement", "next")
    }


@dataclass
class KillCount:
    """What the kills did: keys pressed, keys lost, and keys or items that count twice."""

    pressed: int
    lost: int
    doubled: int


async def kill_under_load(server: LabelServer, people: int, kills: int, seed: int) -> KillCount:
    """Kill and start the server again and again while people judge; return what became of their keys."""
    crowd, stop = await _crowd(server, people, seed), asyncio.Event()
    moments = random.Random(seed)
    working = [asyncio.create_task(each.work(stop, (0.02, 0.3))) for each in crowd]
    lost_at_once = 0
    for number in range(kills):
        await asyncio.sleep(moments.uniform(0.2, 1.2))
        await asyncio.to_thread(server.kill)
        # What was acknowledged before the kill must be there now.
        acknowledged = {key for each in crowd for key in each.acknowledged}
        lost_at_once += len(acknowledged - set(_stored_keys(server)))
        await asyncio.to_thread(server.start)
        if (number + 1) % 10 == 0:
            print(f"{number + 1} kills, {sum(len(each.pressed) for each in crowd):,} keys", flush=True)
    stop.set()
    await asyncio.gather(*working)
    for each in crowd:
        while not await each.flush():
            await asyncio.sleep(RETRY_SECONDS)
        await each.client.aclose()
    pressed = [key for each in crowd for key in each.pressed]
    stored = Counter(_stored_keys(server))
    lost = sum(key not in stored for key in pressed) + lost_at_once
    doubled = sum(count > 1 for count in stored.values()) + _wrong_counts(server)
    return KillCount(len(pressed), lost, doubled + len(stored.keys() - set(pressed)))


def _stored_keys(server: LabelServer) -> list[str]:
    with server.store.read() as connection:
        return [str(key) for key in connection.execute(select(JUDGEMENT_TABLE.c.key)).scalars()]


def _wrong_counts(server: LabelServer) -> int:
    """Return how many items count other judgements than their rows, or two of a person."""
    counts = and_(JUDGEMENT_TABLE.c.newest, JUDGEMENT_TABLE.c.action == "judge")
    each = (
        select(JUDGEMENT_TABLE.c.item, func.count().label("rows"))
        .where(counts)
        .group_by(JUDGEMENT_TABLE.c.item)
        .subquery()
    )
    rows = func.coalesce(each.c.rows, 0)
    wrong = (
        select(func.count())
        .select_from(ITEM_TABLE.outerjoin(each, each.c.item == ITEM_TABLE.c.number))
        .where(ITEM_TABLE.c.given != rows)
    )
    twice = select(JUDGEMENT_TABLE.c.item).where(counts).group_by(
        JUDGEMENT_TABLE.c.item, JUDGEMENT_TABLE.c.person
    ).having(func.count() > 1)  # fmt: skip
    with server.store.read() as connection:
        return int(connection.execute(wrong).scalar_one()) + len(connection.execute(twice).all())


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark; return 1 if a bar is missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--people", type=int, default=50)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--kills", type=int, default=0)
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder:
        server = LabelServer(Path(folder))
        try:
            server.add(*question_items(ITEMS), needed=NEEDED)
            if given.kills:
                done = asyncio.run(kill_under_load(server, given.people, given.kills, given.seed))
                print(
                    f"{given.kills} kills, {done.pressed:,} keys of {given.people} people: {done.lost} lost, "
                    f"{done.doubled} doubled (bar 0)"
                )
                return int(done.lost + done.doubled > 0)
            found = asyncio.run(measure_answers(server, given.people, given.seconds, given.seed))
        finally:
            server.close()
    missed = False
    for kind, taken in found.items():
        median, high = np.quantile(taken, (0.5, 0.99))
        missed = missed or median > MEDIAN_BAR or high > HIGH_BAR
        print(
            f"{kind}: {len(taken):,} answers, median {median:.1f} ms (bar {MEDIAN_BAR:.0f}), "
            f"99% within {high:.1f} ms (bar {HIGH_BAR:.0f}), longest {max(taken):.1f} ms"
        )
    return int(missed)


if __name__ == "__main__":
    sys.exit(main())
