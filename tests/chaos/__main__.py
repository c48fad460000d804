"""Kill the smoke chain at random moments, and compare what it leaves with an undisturbed chain.

Run it with `make chaos`, or `python -m tests.chaos --kills 25 --seed 1`. The flow, a training process and a
server are killed with SIGKILL, in turn, at moments that follow from the seed. After each kill the chain is
started again, as cron would do. A complete chain is followed by the next one in a new folder, until there
were N kills. Each chain must leave the same digests, metrics, files and registry as an undisturbed one, and
nothing unfinished.

Then the scenarios of scenarios.py run: `--scenarios NAME,NAME` chooses some of them, `none` none. The folder
of a chain with a fault is kept, and the last lines of its logs are printed with the fault.
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import psutil

from tests.benchmarks.smoke import REPOSITORY
from tests.chaos.chain import Chain, Kill
from tests.chaos.failures import remove_faultless, show_failure
from tests.chaos.outcome import differences, left_over, read_outcome, repeated
from tests.chaos.scenarios import SCENARIOS, Missing, play

VICTIMS = ("flow", "trainer", "server")
# The chain takes about a minute, and is ready to begin after five seconds.
LONGEST_AFTER = 25.0
BAR_SECONDS = 30.0


def plan(kills: int, seed: int) -> Iterator[Kill]:
    """Return the kills: each victim equally often, in a random order, at random moments."""
    draw = random.Random(seed)
    for number in range(kills):
        if number % len(VICTIMS) == 0:
            order = draw.sample(VICTIMS, len(VICTIMS))
        yield Kill(order[number % len(VICTIMS)], draw.uniform(0, LONGEST_AFTER), draw.random())


def survive(folder: Path, kills: int, seed: int, unbroken: Path, code: Path = REPOSITORY) -> list[str]:
    """Run and kill chains under `folder`; return each difference from the `unbroken` outcome.

    `code` is the folder of the checkout with which the unbroken outcome was made.
    """
    expected = read_outcome(unbroken)
    planned = list(plan(kills, seed))
    faults: list[str] = []
    made = rounds = steps = 0
    lost = most = 0.0
    while planned:
        rounds += 1
        left = len(planned)
        chain = Chain(folder / f"round-{rounds}", code=code)
        chain.root.mkdir(exist_ok=True)
        try:
            with chain.servers():
                chain.start()
                while planned:
                    before = repeated(chain.root)[1]
                    killed = chain.kill(planned[0])
                    if not killed:
                        break
                    most = max(most, repeated(chain.root)[1] - before)
                    made += 1
                    print(f"{made:3} of {kills}  {killed} killed in round {rounds}", flush=True)
                    planned.pop(0)
                chain.finish()
            again, took = repeated(chain.root)
            steps, lost = steps + again, lost + took
            found = differences(expected, read_outcome(chain.root))
            found += [f"left over: {text}" for text in left_over(chain.root)]
            found += [f"left over: process {process.pid} trains" for process in chain.trainings()]
        except (RuntimeError, psutil.Error) as error:
            found = [str(error)]
        finally:
            chain.stop()
        print(f"round {rounds} is whole: {'as the unbroken one' if not found else 'DIFFERS'}", flush=True)
        if found:
            show_failure(chain.root, found)
        faults += [f"round {rounds}: {text}" for text in found]
        if found and len(planned) == left:
            # A chain that fails before its first kill would fail again, without end.
            break
    print(
        f"{made} kills in {rounds} chains; {steps} optimizer steps and {lost:.1f} s of work done twice, "
        f"{lost / max(made, 1):.1f} s a kill, at most {most:.1f} s (bar {BAR_SECONDS:.0f} s)"
    )
    if most > BAR_SECONDS:
        faults.append(f"{most:.1f} s of work were done twice after one kill")
    return faults


def _play(name: str, folder: Path, unbroken: Path) -> list[str]:
    try:
        found = play(name, folder, unbroken)
    except Missing as missing:
        print(f"{name}: not played: {missing}", flush=True)
        return []
    except (RuntimeError, TimeoutError, psutil.Error) as error:
        found = [str(error)]
    print(f"{name}: {'as the unbroken one' if not found else 'DIFFERS'}", flush=True)
    if found:
        show_failure(folder / name, found)
    return [f"{name}: {text}" for text in found]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--kills", type=int, default=25)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--folder", type=Path, help="keep the chains there (a new or empty folder)")
    parser.add_argument("--scenarios", default="all", help=f"all, none, or of: {', '.join(SCENARIOS)}")
    given = parser.parse_args()
    names = {"all": list(SCENARIOS), "none": []}.get(given.scenarios, given.scenarios.split(","))
    if unknown := [name for name in names if name not in SCENARIOS]:
        parser.error(f"there is no scenario {unknown[0]}; there are {', '.join(SCENARIOS)}")
    folder = given.folder or Path(tempfile.mkdtemp(prefix="chaos-"))
    folder.mkdir(parents=True, exist_ok=True)
    unbroken = Chain(folder / "unbroken")
    faults: list[str] = []
    try:
        began = time.monotonic()
        unbroken.start()
        unbroken.finish()
        print(f"the unbroken chain took {time.monotonic() - began:.0f} s", flush=True)
        faults += survive(folder, given.kills, given.seed, unbroken.root) if given.kills else []
        for name in names:
            faults += _play(name, folder, unbroken.root)
    except RuntimeError as error:
        show_failure(unbroken.root, [str(error)])
        faults.append(f"the unbroken chain: {error}")
    finally:
        unbroken.stop()
        if given.folder is None:
            remove_faultless(folder, unbroken.root)
    for fault in faults:
        print(f"FAULT  {fault}")
    return int(bool(faults))


if __name__ == "__main__":
    sys.exit(main())
