"""How long the summarizer takes to condense a log of 100 MB, and how much memory, beside a log of a tenth of that."""

import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from measurement import tell

MEGABYTES = 100
PIECE = 10_000
"""Lines made at once."""

CONDENSE = """
import resource, sys
from modelhost import Blob
from modelhost_summarizer.condenser import Condenser
from modelhost_summarizer.text import pieces
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
condenser = Condenser(500)
for piece in pieces(Blob(path=sys.argv[1])):
    condenser.take(piece)
told = condenser.text()
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before, len(told))
"""

USERS = [f"user-{name}" for name in ["ann", "bob", "cid", "dan", "eve", "fay", "gus", "hal", "ida", "jon", "kay", "lee"]]


def rows(chance: random.Random) -> Iterator[str]:
    """Make lines as a service of some parts writes them; one in a thousand has failed, with a stack trace."""
    seconds = 0
    while True:
        seconds += 1
        when = f"2026-11-{1 + seconds // 86_400 % 28:02} {seconds // 3600 % 24:02}:{seconds // 60 % 60:02}:{seconds % 60:02}"
        address = ".".join(str(chance.randrange(256)) for _ in range(4))
        match chance.randrange(1000):
            case 0:
                yield f"{when},123 ERROR worker: job {seconds} failed\nTraceback (most recent call last):"
                yield f'  File "/srv/app/jobs.py", line {chance.randrange(1, 40)}, in run\nTimeoutError: no answer'
            case number if number < 500:
                status = chance.choice([200, 200, 200, 304, 404])
                yield f'{address} - - [{when}] "GET /items/{seconds} HTTP/1.1" {status} {chance.randrange(90_000)} "-" "agent"'
            case number if number < 800:
                yield f"{when},456 INFO worker: job {seconds} of {chance.choice(USERS)} done in {chance.random():.3f} s"
            case _:
                yield f"{when},789 DEBUG cache: key {chance.getrandbits(128):032x} {chance.choice(['hit', 'missed'])}"


def write_log(path: Path, megabytes: int) -> None:
    """Write a log of that size, the same every time."""
    lines = rows(random.Random(1))
    with path.open("w") as file:
        while file.tell() < megabytes * 1_000_000:
            file.write("\n".join(next(lines) for _ in range(PIECE)) + "\n")


def condense(path: Path) -> tuple[float, float, int]:
    """Condense a file in a process of its own; returns seconds, MiB it grew by, and characters that are left."""
    began = time.perf_counter()
    done = subprocess.run([sys.executable, "-c", CONDENSE, str(path)], check=True, capture_output=True, text=True)
    grown, left = done.stdout.split()
    return time.perf_counter() - began, int(grown) / 1024, int(left)


def main() -> None:
    """Measure both sizes."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "service.log"
        write_log(path, MEGABYTES // 10)
        _, small, _ = condense(path)
        write_log(path, MEGABYTES)
        seconds, large, left = condense(path)
    tell(
        "condense a log of 100 MB",
        "< 20 s, memory as for a tenth of it",
        seconds=seconds,
        grown_mib=large,
        grown_mib_for_a_tenth=small,
        characters_left=left,
    )


if __name__ == "__main__":
    main()
