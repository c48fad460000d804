"""`chatmill up`, `down` and `dashboards`: start, watch and stop the servers and workers of a project."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape

from flows.cli.background import DETACHED, start_in_background
from flows.cli.current_preset import DEMO, preset_to_run
from flows.cli.up_output import describe_schedule, print_login_link, print_running, service_line
from flows.common.terminal import Console
from flows.orchestration.preset_deployments import (
    COPIED,
    name_presets,
    remove_former,
    write_deployments,
)
from flows.servers.commands import (
    LABEL_PAGE,
    LABEL_PORT,
    ListenAddress,
    label_server,
    mlflow_server,
    prefect_server,
)
from flows.servers.credentials import PASSWORD_SETTING, is_loopback
from flows.servers.database import prepare_prefect_database
from flows.servers.environment import (
    LOOPBACK,
    Settings,
    bind_problem,
    display_address,
    give_prefect,
    prepare_environment,
)
from flows.servers.process_settings import LOOPBACK_ADDRESSES, bypass_proxy
from flows.servers.state_file import Served, StateFile, open_state_file, read_served, record_path, start_lock
from flows.servers.supervisor import Service, SupervisedProcess, end_leftovers, stop_processes
from flows.servers.workers import (
    DEPLOYMENT_FILE,
    POOLS,
    build_workers,
    deploy_flows,
    deployed_presets,
    deployment_names,
    explain_missing_trigger,
    make_pools,
    read_deployments,
)
from model.errors import UserError
from tasks.backup.restore import finish_restore
from tasks.project.paths import MLFLOW_DATABASE, MLFLOW_FOLDER

if TYPE_CHECKING:
    from tasks.tracking.tracker import Tracker

_LOOK_SECONDS = 0.5
# Stopping takes at most 75 s for what the workers run, 75 s for the workers and 8 s for the servers.
_ENDING_SECONDS = 170.0

PrefectPort = Annotated[int, typer.Option(help="Port of Prefect's page.", min=1, max=65535)]
LabelPort = Annotated[int, typer.Option(help="Port of the label page.", min=1, max=65535)]
MLflowPort = Annotated[int, typer.Option(help="Port of MLflow's page.", min=1, max=65535)]
Host = Annotated[
    str | None,
    typer.Option(
        help="The address that the servers listen on, so that other hosts can use them. Default: "
        f"{LOOPBACK}, this machine alone. Prefect's and MLflow's ask for the password in {PASSWORD_SETTING}, "
        "or for a new one."
    ),
]


@dataclass(frozen=True)
class ServerRequest:
    """The services to run and their addresses.

    `host` is the address for other hosts; None: only this machine can reach the servers. `label_port` is that
    of the label page; 0: it is not started. `pages` is whether Prefect's and MLflow's servers are wanted.
    `scheduled` is whether runs of the presets start by themselves.
    """

    command: str
    host: str | None
    prefect_port: int
    mlflow_port: int
    pools: tuple[str, ...] = tuple(POOLS)
    deploy: bool = True
    presets: tuple[Path, ...] = ()
    gpu_workers: int = 0
    detached: bool = False
    label_port: int = 0
    pages: bool = True
    scheduled: bool = True

    @property
    def listen_address(self) -> str:
        """Return the address that all servers listen on."""
        return self.host or LOOPBACK


def up(
    prefect_port: PrefectPort = 4200,
    mlflow_port: MLflowPort = 5000,
    label_port: LabelPort = LABEL_PORT,
    label: Annotated[
        bool | None,
        typer.Option(
            "--label/--no-label",
            help="Start the label page. Default: yes, unless PREFECT_API_URL names another host's server.",
        ),
    ] = None,
    host: Host = None,
    pool: Annotated[
        list[str] | None,
        typer.Option(
            help="Start only workers of this pool, cpu or gpu; another host may run the other pool."
        ),
    ] = None,
    gpu_workers: Annotated[
        int, typer.Option(help="Number of workers that share the GPUs (0: one per GPU).", min=0)
    ] = 0,
    deploys: Annotated[
        bool, typer.Option("--deploy/--no-deploy", help="Create the deployments of prefect.yaml.")
    ] = True,
    config: Annotated[
        list[Path] | None,
        typer.Option(
            help="The preset of the deployments nightly, labels, align and label-batch; default: the one in "
            "prefect.yaml, or the one that made data/ if it was another. Repeatable: each further preset "
            "gets deployments of its own."
        ),
    ] = None,
    detach: Annotated[
        bool, typer.Option("--detach", "-d", help="Run in the background; `chatmill down` stops it.")
    ] = False,
) -> None:
    """Start Prefect's and MLflow's servers, the label page, workers, and prefect.yaml's deployments, if any.

    Runs until Ctrl-C or `chatmill down`. A service that dies is started again. If it is already running,
    the command prints what runs.
    """
    pools = tuple(pool or POOLS)
    if unknown := [name for name in pools if name not in POOLS]:
        raise UserError(f"unknown pool {unknown[0]}; expected --pool {' or --pool '.join(POOLS)}")
    presets, scheduled = tuple(config or ()), True
    if presets and not deploys:
        raise UserError("--config and --no-deploy cannot be combined")
    if presets:
        # Errors in the presets are reported before any service starts.
        name_presets(Path.cwd(), presets)
        read_deployments(Path.cwd())
    elif deploys and deployment_names(Path.cwd()) and read_served(Path.cwd()) is None:
        usual = [Path(one) for one in deployed_presets(Path.cwd())]
        # The labels' deployment runs within five minutes, and would replace data/ with the demo's.
        if usual and (found := preset_to_run(None, Path.cwd(), Console(highlight=False), usual)):
            presets = (found,)
            name_presets(Path.cwd(), presets)
        elif usual == [DEMO] and DEMO.is_file() and not Path("data").exists():
            # Nobody asked for the demo yet: the labels' deployment would fetch its data within five minutes,
            # and start its trainings.
            presets, scheduled = (DEMO,), False
    if detach:
        start_in_background(Path.cwd(), sys.argv[1:])
        return
    detached = os.environ.pop(DETACHED, "") != ""
    # Workers of another host's server join that project; its people label there.
    labels = label if label is not None else not os.environ.get("PREFECT_API_URL")
    asked = ServerRequest(
        "chatmill up", host, prefect_port, mlflow_port, pools, deploys, presets, gpu_workers, detached,
        label_port if labels else 0, scheduled=scheduled,
    )  # fmt: skip
    serve_until_stopped(Path.cwd(), asked)


def dashboards(prefect_port: PrefectPort = 4200, mlflow_port: MLflowPort = 5000, host: Host = None) -> None:
    """Show Prefect's and MLflow's own pages with the runs in them, until Ctrl-C. `up` also starts workers."""
    serve_until_stopped(
        Path.cwd(), ServerRequest("chatmill dashboards", host, prefect_port, mlflow_port, (), False)
    )


def down() -> None:
    """Stop what `chatmill up`, `dashboards` or `label` started here, and wait until it has ended."""
    root = Path.cwd()
    console = Console(highlight=False)
    served = read_served(root)
    if served is None:
        left = _end_last(root)
        console.print(_ended_left(left) if left else "nothing is running here; `chatmill up` starts it")
        return
    # The lock showed that this process is alive, so its id cannot belong to another one.
    os.kill(served.pid, signal.SIGTERM)
    deadline = time.monotonic() + _ENDING_SECONDS
    with console.status("stopping; a training that runs writes its checkpoint first"):
        while (still := read_served(root)) and still.pid == served.pid:
            if time.monotonic() > deadline:
                raise RuntimeError(f"{served.command} (process {served.pid}) does not stop")
            time.sleep(0.1)
    console.print("stopped")


def _end_last(root: Path) -> list[str]:
    """End the processes that a killed `up` left running; return their names."""
    if not record_path(root).exists():
        return []
    with open_state_file(root) as record:
        last = record.read_last() if record else None
        if record is None or last is None:
            return []
        left = end_leftovers(last.processes, root)
        record.clear_state()
        return left


def _ended_left(names: list[str]) -> str:
    return f"stopped processes of a killed `chatmill up`: {', '.join(names)}"


def serve_until_stopped(root: Path, asked: ServerRequest) -> None:
    """Run the requested services until Ctrl-C or SIGTERM.

    Raises:
        UserError: A port is taken, or a server's address is not one of this machine.
        RuntimeError: A service does not stay up.
    """
    console = Console(highlight=False, soft_wrap=True)
    with open_state_file(root) as record:
        if record is None:
            print_running(root, asked.command, console)
            return
        last = record.read_last()
        # The last state was read first: it names the processes that a killed `up` left.
        record.write_state(Served(os.getpid(), time.time(), asked.command))
        if last and (left := end_leftovers(last.processes, root)):
            console.print(_ended_left(left))
        try:
            _Watch(root, asked, record, console).run()
        finally:
            record.clear_state()


class _Watch:
    """The services of one `up`, from their start to their end."""

    def __init__(self, root: Path, asked: ServerRequest, record: StateFile, console: Console) -> None:
        self.asked, self.record, self.console = asked, record, console
        self.root, self.kept = root, list[SupervisedProcess]()
        self.served = Served(os.getpid(), time.time(), asked.command)

    def run(self) -> None:
        """Start the services, restart those that end, and stop all of them on Ctrl-C."""
        # Called for its check: it raises UserError for a text that is not a valid address.
        is_loopback(self.asked.listen_address)
        settings = prepare_environment(self.root) if self.asked.pages else None
        self._announce_schedule()
        try:
            with _ignore_signals(signal.SIGHUP):
                if settings:
                    self._start_services(settings)
                self._start_label_page()
                self._report_ready()
                while True:
                    # A list, not a generator: any() must not stop at the first service that was restarted.
                    if any([one.restart_if_ended(self._log_note) for one in self.kept]):
                        self._write_state()
                    time.sleep(_LOOK_SECONDS)
        except KeyboardInterrupt:
            self.console.print("stopping")
        finally:
            # A second Ctrl-C during the stop would leave processes running.
            with _ignore_signals(signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
                stop_processes(self.kept, self._log_note)
        self.console.print("stopped")

    def _announce_schedule(self) -> None:
        """Say what runs by itself, and how to choose, before anything starts."""
        if not self.asked.deploy or not deployment_names(self.root):
            return
        presets = [str(one) for one in self.asked.presets] or deployed_presets(self.root)
        for sentence in describe_schedule(presets, self.asked.scheduled, self.asked.command):
            self._say(sentence)

    def _start_services(self, settings: Settings) -> None:
        wanted: list[Service] = []
        api, mlflow = settings.prefect, ""
        prefect_at = self._listen_address("Prefect", settings.prefect, self.asked.prefect_port)
        mlflow_at = self._listen_address("MLflow", settings.mlflow, self.asked.mlflow_port)
        if prefect_at:
            wanted.append(prefect_server(settings, prefect_at, mlflow_at))
            api = f"{prefect_at.address}/api"
            give_prefect(settings.login)
        if mlflow_at:
            wanted.append(mlflow_server(settings, mlflow_at, prefect_at))
            mlflow = mlflow_at.address if self.asked.host else ""
        # Set before Prefect is imported in this process: it reads its settings then.
        os.environ["PREFECT_API_URL"] = api
        with start_lock(self.root, self._say):
            if prefect_at:
                # A damaged database of Prefect is replaced, as its server would not start; MLflow's is never
                # replaced.
                if notice := prepare_prefect_database(self.root):
                    self._log_note(notice)
                self.served = replace(self.served, prefect=api)
            if mlflow_at:
                begins = "opening" if (self.root / MLFLOW_DATABASE).exists() else "creating"
                self._say(f"{begins} MLflow's database")
                # Runs create the tables under a lock that MLflow's server does not know, so they must exist
                # before it starts.
                _open_tracker(settings)
            if wanted:
                self._say(f"starting {' and '.join(one.name for one in wanted)}")
            self._bring_up(wanted)
        if self.asked.pools:
            self._say("cleaning up after killed runs")
            # Before the workers start, which would take new runs: old ones must be closed first.
            for note in _recover_crashed_runs(settings):
                self._log_note(note)
            make_pools()
            self._deploy_flows(settings, api)
            started = build_workers(settings, api, mlflow, self.asked.pools, self.asked.gpu_workers)
            self._say(f"starting the workers {', '.join(one.name for one in started)}")
            self._bring_up(started)
        self.served = replace(self.served, mlflow=mlflow)

    def _start_label_page(self) -> None:
        if self.asked.label_port and (where := self._listen_address(LABEL_PAGE, "", self.asked.label_port)):
            # A killed `chatmill restore` may have left the judgements half restored.
            finish_restore(self.root)
            bypass_proxy(*LOOPBACK_ADDRESSES)
            self._bring_up([label_server(self.root, where)])

    def _report_ready(self) -> None:
        # `ready` is written last: `up --detach` and `down` wait for it.
        self.served = replace(self.served, ready=True)
        self._write_state()
        if not self.asked.detached:
            print_login_link(self.root, self.served, self.console)
        shows = " Prefect's and MLflow's pages show new runs." if self.asked.pages else ""
        self.console.print(f"[dim]Ctrl-C or `chatmill down` stops everything.{shows}[/dim]")

    def _listen_address(self, name: str, elsewhere: str, port: int) -> ListenAddress | None:
        """Return where a server is to listen; None if the environment names another server.

        Raises:
            UserError: The port is taken.
        """
        if elsewhere.startswith("http"):
            self.console.print(
                f"[bold]{name:<8}[/bold] {escape(display_address(elsewhere))}   is set; nothing is started"
            )
            return None
        where = ListenAddress(self.asked.listen_address, port)
        if reason := bind_problem(where.host, port):
            option = f"{name.lower()}-port" if self.asked.pages else "port"
            raise UserError(f"{reason}; `{self.asked.command} --{option}` takes another port")
        return where

    def _bring_up(self, services: list[Service]) -> None:
        started = []
        for service in services:
            started.append(SupervisedProcess(service, self.root))
            self.kept.append(started[-1])
        self._write_state()
        for one in started:
            with self.console.status(f"{one.service.name} is starting"):
                one.wait_until_ready(self._say)
            found = one.describe_process()
            self.console.print(service_line(found.name, found.address, found.shows, found.pid))

    def _deploy_flows(self, settings: Settings, api: str) -> None:
        if not self.asked.deploy:
            return
        file, names = None, deployment_names(self.root)
        if self.asked.presets:
            file, names = write_deployments(self.root, self.asked.presets, self.asked.scheduled)
        if not names:
            without = "names none" if (self.root / DEPLOYMENT_FILE).exists() else "is not in this folder"
            self._say(
                f"no deployments, as {DEPLOYMENT_FILE} {without}: no run starts by itself; start one with "
                "`chatmill run --config FILE`"
            )
            return
        self._say("creating the deployments of prefect.yaml")
        failed = deploy_flows(settings, api, file)
        # Only after a successful deploy, so that a failure leaves the old deployments in place.
        # Another host's server may have deployments of these names of another project.
        stopped = COPIED if self.served.prefect and not self.asked.scheduled else ()
        if not failed and (removed := remove_former(names, stopped)):
            self._log_note(f"removed the deployments {', '.join(removed)}: no --config names their presets")
        if failed:
            self._log_note(f"the deployments of prefect.yaml were not created: {failed}")
        else:
            self.console.print(f"[bold]deployed[/bold] {escape(', '.join(names))}")
            # Imported late: a run must import it from its own snapshot of the code.
            from flows.orchestration.events import BATCH_DEPLOYMENT, LABELS_DUE

            if missing := explain_missing_trigger(self.root, BATCH_DEPLOYMENT, LABELS_DUE):
                self._log_note(missing)

    def _write_state(self) -> None:
        self.served = replace(self.served, processes=tuple(one.describe_process() for one in self.kept))
        self.record.write_state(self.served)

    def _say(self, text: str) -> None:
        self.console.print(f"[dim]{escape(text)}[/dim]")

    def _log_note(self, text: str) -> None:
        self.console.print(f"[yellow]{time.strftime('%H:%M:%S')} {escape(text)}[/yellow]")


def _open_tracker(settings: Settings) -> Tracker:
    # MLflow reads its settings when it is imported, so the environment must be set first.
    from flows.orchestration.tracker import EXPERIMENT
    from tasks.tracking.tracker import Tracker

    return Tracker(settings.mlflow, EXPERIMENT, settings.root / MLFLOW_FOLDER)


def _recover_crashed_runs(settings: Settings) -> list[str]:
    # Imported late: it asks both servers, which answer only now.
    from flows.orchestration.crash_recovery import recover_crashed_runs

    return recover_crashed_runs(settings, _open_tracker(settings))


@contextmanager
def _ignore_signals(*signals: signal.Signals) -> Iterator[None]:
    """Ignore these signals inside the context, and restore their handlers at its end."""
    before: list[tuple[signal.Signals, Callable[..., object] | int | None]] = []
    for sign in signals:
        before.append((sign, signal.signal(sign, signal.SIG_IGN)))
    try:
        yield
    finally:
        for sign, was in before:
            signal.signal(sign, was)
