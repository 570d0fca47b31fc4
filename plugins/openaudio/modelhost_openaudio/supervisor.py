"""A server of the model's own: started with it, ended with it, started again when it has died."""

import subprocess
import sys
import time
from math import ceil
from pathlib import Path

from modelhost import Log, NotReadyError

from modelhost_openaudio import watchdog

FIRST_WAIT = 1.0
"""Seconds before another start after one that led to nothing; doubled each time. Chosen, because the host restarts its workers so
(pool/status.py)."""

LONGEST_WAIT = 60.0
"""Seconds that this wait grows to: likewise."""


class Supervisor:
    """Starts the command under `watchdog.py`, so that it ends when this process does, however that ends. Not thread-safe."""

    def __init__(self, command: tuple[str, ...], folder: str | None, log: Log) -> None:
        self._command = command
        self._folder = folder
        self._log = log
        self._process: subprocess.Popen[bytes] | None = None
        self._failures = 0
        self._not_before = 0.0

    @property
    def running(self) -> bool:
        """Return whether the command runs; if it did and has ended, it may be started again after a while."""
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        """Start the command. Raises `NotReadyError` when it cannot run, or has failed too recently."""
        wait = self._not_before - time.monotonic()
        if wait > 0:
            raise NotReadyError(
                f"the speech server has ended ({self._end_reason()}); it is started again in {ceil(wait)} s",
                retry_after=wait,
            )
        self.stop()
        self._failures += 1
        self._not_before = time.monotonic() + min(LONGEST_WAIT, FIRST_WAIT * 2 ** (self._failures - 1))
        self._process = self._spawn()
        self._log.info("the speech server was started", program=self._command[0], pid=self._process.pid)

    def note_success(self) -> None:
        """Note that the server works: should it die, it is started again at once."""
        self._failures = 0
        self._not_before = 0.0

    def check(self) -> None:
        """Raise `NotReadyError` if the command has ended."""
        if not self.running:
            raise NotReadyError(
                f"the speech server ended before it was ready ({self._end_reason()}); "
                "the output of this model's worker says why, then correct `command` and `command_folder`"
            )

    def stop(self) -> None:
        """End the command and all it started; returns when they are gone."""
        process, self._process = self._process, None
        if process is not None:
            assert process.stdin is not None
            process.stdin.close()
            process.wait()

    def _spawn(self) -> subprocess.Popen[bytes]:
        try:
            return subprocess.Popen(
                [sys.executable, "-I", str(Path(watchdog.__file__)), *self._command],
                stdin=subprocess.PIPE,
                cwd=self._folder,
                start_new_session=True,
            )
        except OSError as error:
            raise NotReadyError(
                f"the speech server cannot be started in {self._folder!r} ({error.strerror}); check `command_folder`", retry=False
            ) from None

    def _end_reason(self) -> str:
        if self._process is None:
            return "it did not answer in time"
        status = self._process.poll()
        return f"no program {self._command[0]!r}" if status == watchdog.NOT_FOUND else f"status {status}"
