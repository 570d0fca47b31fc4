"""What a terminal shows while recordings are transcribed or texts summarised; nothing where standard error is no terminal."""

import contextlib
import sys
import threading
from collections.abc import Iterator
from urllib.parse import quote

import httpx
from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    SpinnerColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)
from rich.text import Text


def _console() -> Console:
    return Console(stderr=True, markup=False, emoji=False, highlight=False)


def _is_watched(console: Console) -> bool:
    return sys.stderr.isatty() and console.is_interactive


@contextlib.contextmanager
def loading(client: httpx.Client, model: str) -> Iterator[None]:
    """Show how far a model's weights have been fetched while the context lasts; the host is asked every half second."""
    console = _console()
    if not _is_watched(console):
        yield
        return
    over = threading.Event()
    columns = (SpinnerColumn(), TextColumn("{task.description}", markup=False), BarColumn(bar_width=30), DownloadColumn())
    with Progress(*columns, TransferSpeedColumn(), TimeRemainingColumn(), console=console, transient=True) as bars:
        bar = bars.add_task(f"loading {model}", total=None)

        def watch() -> None:
            while not over.wait(0.5):
                with contextlib.suppress(httpx.HTTPError, ValueError, KeyError):  # the load itself tells what is wrong
                    state = client.get(f"/v1/workers/{quote(model, safe='')}").json()["progress"] or {}
                    bars.update(bar, completed=state.get("bytes", 0), total=state.get("of"))

        watcher = threading.Thread(target=watch, daemon=True)
        watcher.start()
        try:
            yield
        finally:
            over.set()
            watcher.join()


class ProgressLines:
    """A line for each recording that is at work, and one for all of them where there are several."""

    def __init__(self, total: int) -> None:
        """Show the progress of `total` transcripts."""
        console = _console()
        self._progress = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=20),
            TextColumn("{task.fields[state]}", markup=False),
            TimeElapsedColumn(),
            console=console,
            disable=not _is_watched(console),
            transient=True,
            redirect_stdout=False,
            redirect_stderr=False,
        )
        self._total = total
        self._done = 0
        self._all = self._progress.add_task("all", total=total, state=f"0 of {total}", visible=total > 1)

    def __enter__(self) -> "ProgressLines":
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def say(self, text: str) -> None:
        """Print a line to standard error, above the moving ones."""
        self._progress.console.print(text, soft_wrap=True)

    @contextlib.contextmanager
    def line(self, name: str, size: int) -> Iterator["Line"]:
        """Show a recording of `size` bytes until it is done with, well or not."""
        line = Line(self._progress, name, size)
        try:
            yield line
        finally:
            line.close()
            self._done += 1
            self._progress.update(self._all, completed=self._done, state=f"{self._done} of {self._total}")


class Line:
    """How far one recording is: how much of it was sent, and then how much text came back; how much is to come nobody knows."""

    def __init__(self, progress: Progress, name: str, size: int) -> None:
        self._progress = progress
        self._name = name
        self._size = size
        self._listening = False
        self._task = progress.add_task(name, total=size, state="sending")

    def sent(self, size: int) -> None:
        """Show that so many bytes were sent, of all of them."""
        self._progress.update(self._task, completed=size)
        if size >= self._size and not self._listening:
            self._listening = True
            self.close()
            self._task = self._progress.add_task(self._name, total=None, state="listening")

    def received(self, characters: int) -> None:
        """Show how much text there is so far."""
        self._progress.update(self._task, state=f"{characters:,} characters")

    def close(self) -> None:
        """Take the line away."""
        self._progress.remove_task(self._task)


class SummaryLine:
    """How far one summary is."""

    def __init__(self, name: str, *, until_words: bool) -> None:
        """Show `name`; `until_words` is for a summary whose words the terminal shows, which are sign of life enough."""
        console = _console()
        console.quiet = not _is_watched(console)
        self._name = name
        self._until_words = until_words
        self._written = 0
        self._status = console.status(Text(name))

    def __enter__(self) -> "SummaryLine":
        self._status.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def read(self, step: str, fraction: float) -> None:
        """Show how much of the text was read."""
        self._say(f"{step}, {fraction:.0%}")

    def wrote(self, characters: int) -> None:
        """Show that there are so many more characters of the summary."""
        self._written += characters
        if self._until_words:
            self.stop()
        else:
            self._say(f"{self._written:,} characters")

    def stop(self) -> None:
        """Take the line away."""
        self._status.stop()

    def _say(self, what: str) -> None:
        self._status.update(Text(f"{self._name}: {what}"))
