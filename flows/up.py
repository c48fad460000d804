"""chatmill up, down, dashboards: what a team leaves running, started, watched and stopped together."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from flows.dashboards import Where, mlflow_server, prefect_server
from flows.login_links import LINK_SECONDS, LoginLinks
from flows.password import SETTING, is_loopback
from flows.preset_deployments import name_presets, read_deployments, remove_former, write_deployments
from flows.project_folder import prepare_records
from flows.served import Record, Served, held, read_served, record_path
from flows.services import Kept, Service, end_leftovers, stop
from flows.surroundings import LOOPBACK, Place, give_prefect, prepare, read_credentials, shown, unbound
from flows.terminal import Console
from flows.workers import POOLS, deploy, deployments, make_pools, workers
from model.errors import UserError
from tasks.project_paths import LOGS, MLFLOW_FOLDER, SECRETS
from tasks.store_check import replace_prefect_database

LOOK_SECONDS = 0.5
LINK_MINUTES = round(LINK_SECONDS / 60)
# What workers run has 75 seconds to end, then they as much, the servers 8.
ENDING_SECONDS = 170.0
DETACHED_SECONDS = 300.0
# Set for the process in the background, whose log must hold no login link.
DETACHED = "CHATMILL_DETACHED"

PrefectPort = Annotated[int, typer.Option(help="Prefect's page.", min=1, max=65535)]
MLflowPort = Annotated[int, typer.Option(help="MLflow's page.", min=1, max=65535)]
Host = Annotated[
    str | None,
    typer.Option(
        help="The address that both servers listen on, for other hosts to use them (left out: "
        f"{LOOPBACK}, this machine alone). Both ask for the password in {SETTING}, or one that is made."
    ),
]


@dataclass(frozen=True)
class Asked:
    """What is to run, and where. `host` is for other hosts to use both servers; None: no other does."""

    command: str
    host: str | None
    prefect_port: int
    mlflow_port: int
    pools: tuple[str, ...] = tuple(POOLS)
    deploy: bool = True
    presets: tuple[Path, ...] = ()
    gpu_workers: int = 0
    detached: bool = False

    @property
    def address(self) -> str:
        """Where both servers listen."""
        return self.host or LOOPBACK


def up(
    prefect_port: PrefectPort = 4200,
    mlflow_port: MLflowPort = 5000,
    host: Host = None,
    pool: Annotated[
        list[str] | None,
        typer.Option(help="Workers of this pool alone: cpu or gpu. As another host may have the other's."),
    ] = None,
    gpu_workers: Annotated[
        int, typer.Option(help="So many workers share the GPUs (0: one a GPU).", min=0)
    ] = 0,
    deploys: Annotated[
        bool, typer.Option("--deploy/--no-deploy", help="Make the deployments of prefect.yaml.")
    ] = True,
    config: Annotated[
        list[Path] | None,
        typer.Option(
            help="The preset that the deployments nightly, labels and align run, instead of the one in "
            "prefect.yaml. May be given several times: further presets get deployments of their own."
        ),
    ] = None,
    detach: Annotated[
        bool, typer.Option("--detach", "-d", help="Go on in the background; `chatmill down` stops it.")
    ] = False,
) -> None:
    """Start all that runs unattended: Prefect's and MLflow's servers, a worker a pool, the deployments.

    Goes on until Ctrl-C or `chatmill down`. What dies meanwhile is started again; started twice, it says
    what is running.
    """
    pools = tuple(pool or POOLS)
    if unknown := [name for name in pools if name not in POOLS]:
        raise UserError(f"there is no pool {unknown[0]}; --pool {' or --pool '.join(POOLS)} is right")
    presets = tuple(config or ())
    if presets and not deploys:
        raise UserError("--config names what the deployments run, and --no-deploy makes none; leave one out")
    if presets:
        # Before anything starts: what is wrong with them is said here.
        name_presets(Path.cwd(), presets)
        read_deployments(Path.cwd())
    if detach:
        _detach(Path.cwd(), sys.argv[1:])
        return
    detached = os.environ.pop(DETACHED, "") != ""
    asked = Asked(
        "chatmill up", host, prefect_port, mlflow_port, pools, deploys, presets, gpu_workers, detached
    )
    _serve(Path.cwd(), asked)


def dashboards(prefect_port: PrefectPort = 4200, mlflow_port: MLflowPort = 5000, host: Host = None) -> None:
    """Prefect's and MLflow's own pages with the runs in them, until Ctrl-C: `up` without the rest."""
    _serve(Path.cwd(), Asked("chatmill dashboards", host, prefect_port, mlflow_port, (), False))


def down() -> None:
    """Stop what `chatmill up` or `chatmill dashboards` started here, and wait until it has ended."""
    root = Path.cwd()
    console = Console(highlight=False)
    served = read_served(root)
    if served is None:
        left = _end_last(root)
        console.print(_ended_left(left) if left else "nothing is running here; `chatmill up` starts it")
        return
    os.kill(served.pid, signal.SIGTERM)
    deadline = time.monotonic() + ENDING_SECONDS
    with console.status("stopping; a training that runs writes its checkpoint first"):
        while (still := read_served(root)) and still.pid == served.pid:
            if time.monotonic() > deadline:
                raise RuntimeError(f"{served.command} (process {served.pid}) does not end")
            time.sleep(0.1)
    console.print("stopped")


def _end_last(root: Path) -> list[str]:
    """End what a process left that was killed outright; the names of what was still there."""
    if not record_path(root).exists():
        return []
    with held(root) as record:
        last = record.last() if record else None
        if record is None or last is None:
            return []
        left = end_leftovers(last.processes, root)
        record.clear()
        return left


def _ended_left(names: list[str]) -> str:
    return f"ended what a killed `chatmill up` had left: {', '.join(names)}"


def _serve(root: Path, asked: Asked) -> None:
    """All that is asked for, until Ctrl-C or SIGTERM.

    Raises UserError for a port that is taken, RuntimeError for a service that does not stay up.
    """
    console = Console(highlight=False, soft_wrap=True)
    with held(root) as record:
        if record is None:
            _show_running(root, asked, console)
            return
        last = record.last()
        record.write(Served(os.getpid(), time.time(), asked.command))
        if last and (left := end_leftovers(last.processes, root)):
            console.print(_ended_left(left))
        try:
            _Watch(root, asked, record, console).run()
        finally:
            record.clear()


def _show_running(root: Path, asked: Asked, console: Console) -> None:
    served = read_served(root)
    if served is None:
        raise UserError("another `chatmill up` is just starting or stopping here; try again in a moment")
    since = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(served.since))
    state = "is running" if served.ready else "is starting"
    console.print(f"{served.command} {state} here since {since} (process {served.pid}):")
    for one in served.processes:
        console.print(_line(one.name, one.address, one.shows, one.pid))
    if served.ready:
        _show_login(root, served, console)
    then = f", then `{asked.command}` starts what you asked for" if asked.command != served.command else ""
    console.print(f"[dim]`chatmill down` stops it{then}.[/dim]")


def _show_login(root: Path, served: Served, console: Console) -> None:
    """Print a link that logs a browser in, once, at the servers that run here."""
    login, _ = read_credentials(root)
    links = LoginLinks(root / SECRETS, login)
    first = next((one.address for one in served.processes if one.address), "")
    if first:
        console.print(f"[bold]log in  [/bold] {links.create(first)}")
        console.print(
            f"[dim]         opens both pages in a browser, once, within {LINK_MINUTES} minutes[/dim]"
        )


def _line(name: str, address: str, shows: str, pid: int) -> str:
    return f"[bold]{name:<8}[/bold] {address or f'process {pid}':<22} {escape(shows)}"


class _Watch:
    """The services of one `up`, from their start to their end."""

    def __init__(self, root: Path, asked: Asked, record: Record, console: Console) -> None:
        self.asked, self.record, self.console = asked, record, console
        self.root, self.kept = root, list[Kept]()
        self.served = Served(os.getpid(), time.time(), asked.command)

    def run(self) -> None:
        """Start, watch, stop."""
        # Raises UserError for what is no address.
        is_loopback(self.asked.address)
        place = prepare(self.root)
        try:
            with _ignoring(signal.SIGHUP):
                self._start(place)
                while True:
                    if any([one.look(self._note) for one in self.kept]):
                        self._write()
                    time.sleep(LOOK_SECONDS)
        except KeyboardInterrupt:
            self.console.print("stopping")
        finally:
            # A second Ctrl-C would leave behind what is still ending.
            with _ignoring(signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
                stop(self.kept, self._note)
        self.console.print("stopped")

    def _start(self, place: Place) -> None:
        wanted: list[Service] = []
        api, mlflow = place.prefect, ""
        prefect_at = self._where("Prefect", place.prefect, self.asked.prefect_port)
        mlflow_at = self._where("MLflow", place.mlflow, self.asked.mlflow_port)
        if prefect_at:
            if notice := replace_prefect_database(self.root):
                self._note(notice)
            wanted.append(prefect_server(place, prefect_at, mlflow_at))
            api = f"{prefect_at.address}/api"
            self.served = replace(self.served, prefect=api)
            give_prefect(place.login)
        if mlflow_at:
            wanted.append(mlflow_server(place, mlflow_at, prefect_at))
            mlflow = mlflow_at.address if self.asked.host else ""
        # Before Prefect is imported here, which reads it then.
        os.environ["PREFECT_API_URL"] = api
        self._bring_up(wanted)
        if self.asked.pools:
            with self.console.status("looking for what killed runs left"):
                notes = _sweep(place)
            for note in notes:
                self._note(note)
            make_pools()
            self._deploy(place, api)
            self._bring_up(workers(place, api, mlflow, self.asked.pools, self.asked.gpu_workers))
        self.served = replace(self.served, mlflow=mlflow, ready=True)
        self._write()
        if not self.asked.detached:
            _show_login(self.root, self.served, self.console)
        self.console.print(
            "[dim]Ctrl-C or `chatmill down` stops all of it. Runs that start meanwhile are seen here.[/dim]"
        )

    def _where(self, name: str, elsewhere: str, port: int) -> Where | None:
        """Where a server is to listen; None: another is set. Raises UserError for a port that is taken."""
        if elsewhere.startswith("http"):
            self.console.print(f"[bold]{name:<8}[/bold] {shown(elsewhere)}   is set; nothing is started")
            return None
        where = Where(self.asked.address, port)
        if why := unbound(where.host, port):
            raise UserError(f"{why}; `{self.asked.command} --{name.lower()}-port` takes another port")
        return where

    def _bring_up(self, services: list[Service]) -> None:
        started = []
        for service in services:
            started.append(Kept(service, self.root))
            self.kept.append(started[-1])
        self._write()
        for one in started:
            with self.console.status(f"{one.service.name} is starting"):
                one.wait()
            found = one.described()
            self.console.print(_line(found.name, found.address, found.shows, found.pid))

    def _deploy(self, place: Place, api: str) -> None:
        if not self.asked.deploy:
            return
        file, names = None, deployments(self.root)
        if self.asked.presets:
            file, names = write_deployments(self.root, self.asked.presets)
        if not names:
            return
        with self.console.status("making the deployments of prefect.yaml"):
            failed = deploy(place, api, file)
            if not failed and (removed := remove_former(names)):
                self._note(f"removed the deployments {', '.join(removed)}: no --config names their presets")
        if failed:
            self._note(f"the deployments of prefect.yaml were not made: {failed}")
        else:
            self.console.print(f"[bold]deployed[/bold] {', '.join(names)}")

    def _write(self) -> None:
        self.served = replace(self.served, processes=tuple(one.described() for one in self.kept))
        self.record.write(self.served)

    def _note(self, text: str) -> None:
        self.console.print(f"[yellow]{time.strftime('%H:%M:%S')} {escape(text)}[/yellow]")


def _sweep(place: Place) -> list[str]:
    # They ask both servers, which answer by now.
    from flows.models import EXPERIMENT
    from flows.sweeping import sweep
    from tasks.tracking import Tracker

    return sweep(place, Tracker(place.mlflow, EXPERIMENT, place.root / MLFLOW_FOLDER))


@contextmanager
def _ignoring(*signals: signal.Signals) -> Iterator[None]:
    """Without those signals, which are as they were afterwards."""
    before: list[tuple[signal.Signals, Callable[..., object] | int | None]] = []
    for sign in signals:
        before.append((sign, signal.signal(sign, signal.SIG_IGN)))
    try:
        yield
    finally:
        for sign, was in before:
            signal.signal(sign, was)


def _detach(root: Path, words: list[str]) -> None:
    """The same command in the background; back when all answers, or with what it said last and its code."""
    console = Console(highlight=False, soft_wrap=True)
    log = root / LOGS / "up.log"
    prepare_records(root)
    log.parent.mkdir(exist_ok=True)
    begins = log.stat().st_size if log.exists() else 0
    kept = [word for word in words if word not in ("--detach", "-d")]
    with log.open("ab") as file:
        process = subprocess.Popen(
            [sys.executable, "-m", "flows.command", *kept], stdin=subprocess.DEVNULL, stdout=file,
            stderr=file, start_new_session=True, env={**os.environ, DETACHED: "1"},
        )  # fmt: skip
    deadline = time.monotonic() + DETACHED_SECONDS
    with console.status("starting in the background"):
        while process.poll() is None and time.monotonic() < deadline:
            served = read_served(root)
            if served and served.pid == process.pid and served.ready:
                break
            time.sleep(0.2)
    with log.open("rb") as file:
        file.seek(begins)
        said = file.read().decode(errors="replace").strip()
    code = process.poll()
    if code:
        # It has said why, and where more stands.
        last = (said.splitlines() or [f"it ended (code {code}); {log} may say why"])[-1]
        Console(stderr=True, highlight=False, soft_wrap=True).print(escape(last), style="red")
        raise typer.Exit(code)
    # The lock names whoever runs: this one, or the one that was there before.
    for line in said.splitlines():
        if not line.startswith("Ctrl-C"):
            console.print(escape(line))
    if code is None:
        if (served := read_served(root)) and served.pid == process.pid and served.ready:
            _show_login(root, served, console)
        console.print(f"[dim]`chatmill down` stops it. What it says goes to {log}.[/dim]")
