"""The start of the program `chatmill`: Ctrl-C during its imports ends it without a traceback."""

from __future__ import annotations

import signal


def main() -> None:
    """Run the program."""
    # Not where it is ignored, as under `nohup`. The program sets Python's own handler again.
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    from flows.cli.main import main as run_command

    run_command()


if __name__ == "__main__":
    main()
