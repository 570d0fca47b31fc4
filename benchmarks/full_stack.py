"""Requests a second of the full host (key, log to a pipe, metrics, connection guard) beside the walking host of its history."""

import subprocess
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

import uvloop
from measurement import interleaved, ratio, serving, tell
from requests_per_second import CONFIG, load

WALKING = "bb2a938"
"""The commit that had neither keys nor a request log nor metrics nor a connection guard."""

KEY = "a-key-for-the-benchmark"
ROUNDS = 9
ROOT = Path(__file__).parents[1]


def measure(port: int, model: str) -> float:
    """Return requests a second."""
    return uvloop.run(load(port, model, KEY))


def main() -> None:
    """Measure both by turns."""
    with tempfile.TemporaryDirectory() as folder:
        archive = subprocess.run(
            ["git", "archive", WALKING, "host", "plugins/echo"], cwd=ROOT, stdout=subprocess.PIPE, check=True
        ).stdout
        subprocess.run(["tar", "x", "-C", folder], input=archive, check=True)
        path = {"PYTHONPATH": f"{folder}/host:{folder}/plugins/echo"}
        keys = f'{CONFIG}\n[keys.benchmark]\nkey = "{KEY}"\n'
        with serving(keys) as full, serving(CONFIG, env=path) as walking:
            measures: dict[str, Callable[[], float]] = {}
            for name, host in (("full", full), ("walking", walking)):
                for model in ("inline", "process"):
                    measures[f"{name}_{model}"] = partial(measure, host.port, model)
            for warm_up in measures.values():
                warm_up()
            values = interleaved(ROUNDS, **measures)
    tell(
        "full stack",
        "full / walking >= 0.75",
        inline=ratio(values, "full_inline", "walking_inline"),
        process=ratio(values, "full_process", "walking_process"),
        full_inline_per_second=sorted(values["full_inline"])[ROUNDS // 2],
        walking_inline_per_second=sorted(values["walking_inline"])[ROUNDS // 2],
    )


if __name__ == "__main__":
    main()
