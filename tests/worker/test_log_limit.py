"""A plugin that logs in a loop neither fills the disk nor keeps others waiting, and what it did not get written is counted."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fake_plugins import fake_plugin
from modelhost.worker.log_limit import MOST, LogLimit
from serving import Serve, eventually


class TestLimit:
    def test_so_many_lines_a_second_are_written_and_the_rest_are_counted(self) -> None:
        now = 0.0
        told: list[tuple[str, Any]] = []
        planned: list[Callable[[], None]] = []
        limit = LogLimit(
            lambda level, event, facts: told.append((event, facts.get("lines"))),
            lambda seconds, act: planned.append(act),
            most=3,
            clock=lambda: now,
        )
        for _ in range(10):
            limit("info", "line", {})
        assert told == [("line", None)] * 3
        assert len(planned) == 1, "it is told once"
        now = 1.0
        planned.pop()()
        assert told.pop() == ("log lines were dropped", 7)
        for _ in range(4):
            limit("info", "line", {})
        assert told == [("line", None)] * 6
        planned.pop()()
        assert told.pop() == ("log lines were dropped", 1)

    def test_who_stays_below_loses_nothing_and_is_told_nothing(self) -> None:
        told: list[str] = []
        limit = LogLimit(lambda level, event, facts: told.append(event), lambda seconds, act: pytest.fail("planned"), most=3)
        for _ in range(3):
            limit("info", "line", {})
        assert told == ["line"] * 3


FLOODS = """
import threading
from modelhost import Backend, Delta, Done, ModelCard, Options, hookimpl
class Floods(Backend[Options]):
    def load(self):
        def run():
            while True:
                self.log.info("flood", text="y" * 200)
        threading.Thread(target=run, daemon=True).start()
        return ModelCard()
    @hookimpl
    def generate(self, request):
        yield Delta(text="here")
        yield Done()
"""


@pytest.mark.parametrize("run", ["process", "inline"])
def test_of_a_flood_only_so_much_reaches_the_log_and_others_are_served(serve: Serve, tmp_path: Path, run: str) -> None:
    site = fake_plugin(tmp_path, "floods", FLOODS, target="Floods")
    config = f'[models.floods]\nplugin = "floods"\nrun = "{run}"\n[models.echo]\nplugin = "echo"\n'
    host = serve(config, env={"PYTHONPATH": str(site)})
    assert host.chat("floods").status_code == 200
    eventually(lambda: sum("log lines were dropped" in line for line in host.log) >= 2)
    assert host.chat("echo", "still here").status_code == 200
    lines = list(host.log)
    notices = [number for number, line in enumerate(lines) if "log lines were dropped" in line]
    between = [line for line in lines[notices[0] : notices[1]] if '"flood"' in line]
    assert len(between) <= 2 * (MOST if run == "process" else 2 * MOST)
    assert '"model":"floods"' in lines[notices[0]]
