"""Runs a command for as long as the process that started this lives: `python watchdog.py PROGRAM ARGUMENT…`.

Standard input is a pipe whose other end that process holds. When it closes, because the process wants the command to end or has
died in whatever way, the command and all it started are told to end, and killed if they do not. It needs nothing of the system
but process groups, so it works on Linux and macOS alike.
"""

import contextlib
import os
import signal
import subprocess
import sys
import threading

GRACE_SECONDS = 5.0
"""Seconds the command gets to end by itself. Chosen, because the host gives a worker 10 to unload, and this is part of it."""

NOT_FOUND = 127
"""Exit status for a command that cannot be run, as of a shell (https://pubs.opengroup.org/onlinepubs/9699919799/, XCU 2.8.2)."""


def run_until_parent_ends(command: list[str]) -> int:
    """Run the command to its end, or to ours; returns its exit status, as a shell gives it."""
    try:
        child = subprocess.Popen(command, stdin=subprocess.DEVNULL, process_group=0)
    except OSError as error:
        print(f"{command[0]}: {error.strerror}", file=sys.stderr)  # noqa: T201  # that is where the worker's output goes
        return NOT_FOUND
    threading.Thread(target=_end_with_input, args=(child,), daemon=True).start()
    status = child.wait()
    _signal(child, signal.SIGKILL)  # what it has left behind
    return status if status >= 0 else 128 - status


def _end_with_input(child: "subprocess.Popen[bytes]") -> None:
    while os.read(0, 4096):
        pass
    _signal(child, signal.SIGTERM)
    with contextlib.suppress(subprocess.TimeoutExpired):
        child.wait(GRACE_SECONDS)
    _signal(child, signal.SIGKILL)


def _signal(child: "subprocess.Popen[bytes]", how: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(child.pid, how)


if __name__ == "__main__":
    sys.exit(run_until_parent_ends(sys.argv[1:]))
