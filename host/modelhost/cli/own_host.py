"""A host of a command's own, for when none runs: started with the same configuration, and ended with the command."""

import contextlib
import ctypes
import re
import signal
import subprocess
import sys
from collections.abc import Iterator

import click

no_start_option = click.option("--no-start", is_flag=True, help="Use a host that runs already; start none.")

_READY = re.compile(r"modelhost is serving .* on (https?://\S+)")


@contextlib.contextmanager
def own_host(config_path: str | None) -> Iterator[str]:
    """Yield the address of a new host, reachable from this machine only, which ends when the context does.

    On Linux it ends as well when this process is killed. Raises `ClickException` when the host does not start.
    """
    command = [sys.executable, "-m", "modelhost", "serve", "--host", "127.0.0.1", "--port", "0", "--log-level", "warning"]
    command += ["--config", config_path] if config_path else []
    # In a session of its own: Ctrl-C in the terminal is for the command, which then ends the host.
    with subprocess.Popen(
        command, stderr=subprocess.PIPE, text=True, start_new_session=True, preexec_fn=_end_with_parent
    ) as server:
        assert server.stderr is not None
        try:
            lines = []
            for line in server.stderr:
                lines.append(line)
                if match := _READY.search(line):
                    yield match[1]
                    return
            raise click.ClickException("the host did not start: " + "".join(lines[-3:]).strip())
        finally:
            server.terminate()
            server.stderr.close()


def _end_with_parent() -> None:
    """Ask Linux to tell us to stop when the process that started us ends, however it ends."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGTERM)  # PR_SET_PDEATHSIG
