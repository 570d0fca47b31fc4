"""The GGUF plugin's engine in this process: its time outside llama.cpp, drafts, beginnings in files, cells, and cancelling.

Arguments name what to measure (`outside`, `drafts`, `reload`, `room`, `cancel`; all without any), `--threads` and `--format`.
"""

import argparse
import asyncio
import itertools
import os
import statistics
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from gguf_streams import STORY, weights
from measurement import interleaved, ratio, tell
from modelhost import Context, Delta, GenerateRequest, Source
from modelhost.contract.context import CallInfo
from modelhost_gguf_chat import GgufChatBackend, GgufChatOptions
from modelhost_gguf_chat.chat_model import ChatModel
from modelhost_gguf_chat.engine.decode import Decoder

ROWS = 8
LONG = 4000
"""Tokens of a long prompt."""


@contextmanager
def loaded(format_: str, threads: int, *, model: str = "", **options: Any) -> Iterator[GgufChatBackend]:
    """Load the starter's model."""
    path = weights(format_)
    backend = GgufChatBackend(GgufChatOptions(source=Source(str(path), path=path), **options), threads=threads, model=model)
    backend.load()
    try:
        yield backend
    finally:
        backend.unload()


def engine_of(backend: GgufChatBackend) -> Any:
    """Return what computes."""
    assert isinstance(backend.loaded, ChatModel)
    return backend.loaded._engine


async def write(backend: GgufChatBackend, prompt: str | tuple[int, ...], tokens: int, **more: Any) -> list[float]:
    """Ask, and return when each piece came, in seconds since."""
    began = time.perf_counter()
    request = GenerateRequest(prompt=prompt, max_tokens=tokens, ignore_eos=True, **more)
    events = backend.generate(request, Context(CallInfo(caller=f"{began}")))
    return [time.perf_counter() - began async for event in events if isinstance(event, Delta)]


def outside(format_: str, threads: int) -> None:
    """Measure what a step of eight rows takes beside `llama_decode`, with short and with long contexts."""
    found = {}
    for context in (1000, 7000):
        steps: list[tuple[float, float, int]] = []
        real = Decoder.decode

        def timed(self: Decoder, pieces: Any, real: Any = real, steps: Any = steps) -> int:
            began = time.perf_counter()
            code: int = real(self, pieces)
            steps.append((began, time.perf_counter(), sum(len(piece.tokens) for piece in pieces)))
            return code

        Decoder.decode = timed  # type: ignore[method-assign]
        try:
            with loaded(format_, threads, n_ctx=context + 300, parallel=ROWS) as backend:

                async def all_of(backend: GgufChatBackend = backend, context: int = context) -> None:
                    shared = tuple(range(200, 200 + context))
                    calls = (write_as_one(backend, (*shared, 10 + row), 64) for row in range(ROWS))
                    await asyncio.gather(*calls)

                asyncio.run(all_of())
        finally:
            Decoder.decode = real  # type: ignore[method-assign]
        pairs = [(a, b) for a, b in itertools.pairwise(steps) if a[2] == b[2] == ROWS]
        found[context] = statistics.median(1000 * (b[0] - a[1]) for a, b in pairs)
    tell(
        f"outside llama_decode, a step of {ROWS} rows, {format_}, {threads} threads",
        "<= 0.8 ms, flat",
        milliseconds_at_1k=found[1000],
        milliseconds_at_7k=found[7000],
    )


async def write_as_one(backend: GgufChatBackend, prompt: tuple[int, ...], tokens: int) -> None:
    """Ask as one caller, who finds what he asked before."""
    request = GenerateRequest(prompt=prompt, max_tokens=tokens, ignore_eos=True, temperature=1.0, top_p=1.0)
    async for _ in backend.generate(request, Context()):
        pass


def drafts(format_: str, threads: int) -> None:
    """Measure tokens a second with drafts and without: of an answer that repeats its prompt, and of free text."""
    things = ("house", "tree", "river", "cloud", "stone", "horse", "bridge", "candle", "window", "garden", "ladder", "market")
    text = " ".join(f"Item {number}: the {thing} is {len(thing)} letters long." for number, thing in enumerate(things))
    copied = f"{text}\n\nThe same text again:\n{text}\n\nThe same text again:\n"
    with (
        loaded(format_, threads, n_ctx=2048, parallel=2) as with_,
        loaded(format_, threads, n_ctx=2048, parallel=2, speculation=False) as without,
    ):
        for name, prompt in (("a copy", copied), ("free text", "Once upon a time in a village by the sea there lived")):

            def rate(backend: GgufChatBackend, prompt: str = prompt) -> float:
                pieces = asyncio.run(write(backend, prompt, 128, temperature=0.0))
                return 127 / (pieces[-1] - pieces[0])

            values = interleaved(5, with_=lambda: rate(with_), without=lambda: rate(without))
            tell(
                f"drafts, {name}, {format_}, {threads} threads",
                ">= 1.15 on Q4_1, 1.4 on Q8_0; never < 0.97 on free text",
                ratio=ratio(values, "with_", "without"),
            )


def reload(format_: str, threads: int) -> None:
    """Measure the first token after unloading and loading again, with the prompt kept in a file / cold; and unloading."""
    with tempfile.TemporaryDirectory() as folder:
        os.environ["XDG_CACHE_HOME"] = folder
        request = GenerateRequest(prompt=tuple(range(200, 200 + LONG)), max_tokens=1)
        times = []
        for _ in range(2):
            with loaded(format_, threads, model="kept", n_ctx=LONG + 256, parallel=1) as backend:
                began = time.perf_counter()
                next(backend.generate(request, Context()))
                times.append(time.perf_counter() - began)
                began = time.perf_counter()
                backend.unload()
                unloading = time.perf_counter() - began
    tell(
        f"first token of {LONG} tokens after a reload, {format_}, {threads} threads",
        "<= 0.2 of cold; unloading <= 0.5 s",
        ratio=times[1] / times[0],
        seconds=times[1],
        unloading_seconds=unloading,
    )


def room(format_: str, threads: int) -> None:
    """Measure tokens a second of eight answers in a unified cache with room for half of them / for all; and who failed."""

    async def all_of(backend: GgufChatBackend) -> float:
        began = time.perf_counter()
        calls = (write(backend, f"{row} {STORY * 6}", 64) for row in range(ROWS))
        pieces = await asyncio.gather(*calls)
        assert all(len(piece) > 1 for piece in pieces), "an answer failed"
        return ROWS * 64 / (time.perf_counter() - began)

    asked = 8 * (64 + 150)
    with (
        loaded(format_, threads, n_ctx=asked, parallel=ROWS, kv="unified") as enough,
        loaded(format_, threads, n_ctx=asked // 2, parallel=ROWS, kv="unified") as half,
    ):
        values = interleaved(3, half=lambda: asyncio.run(all_of(half)), enough=lambda: asyncio.run(all_of(enough)))
        preemptions = engine_of(half).measures()["preemptions"]
    tell(
        f"twice as much as there are cells, {format_}, {threads} threads",
        "none fails; >= 0.8 of the throughput",
        ratio=ratio(values, "half", "enough"),
        preemptions=preemptions,
    )


def cancel(format_: str, threads: int) -> None:
    """Measure how long after a cancel an answer, or a prompt that is being read, is given up, beyond the step that runs."""
    waits = []
    with loaded(format_, threads, n_ctx=2048, parallel=2) as backend:
        engine = engine_of(backend)
        for round_ in range(20):
            context = Context(CallInfo(caller=f"{round_}"))
            prompt: Any = f"{round_} {STORY * 40}" if round_ % 2 else "Once"
            request = GenerateRequest(prompt=prompt, max_tokens=400, ignore_eos=True)
            stream = backend.generate(request, context)
            while not engine._running:
                time.sleep(0.001)
            threading.Event().wait(0.05)
            step = engine._costs.of(engine._limits.tokens if round_ % 2 else 1)
            began = time.perf_counter()
            context.cancel()
            while engine._running:
                time.sleep(0.0005)
            waits.append(1000 * (time.perf_counter() - began) - step)
            stream.close()
    tell(f"a cancel frees cells, {format_}, {threads} threads", "<= one step + 20 ms", worst_beyond_a_step_ms=max(waits))


def main() -> None:
    """Measure what the arguments name."""
    measures = {"outside": outside, "drafts": drafts, "reload": reload, "room": room, "cancel": cancel}
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", nargs="*", default=[*measures])
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--format", default="Q4_1")
    wanted = parser.parse_args()
    for name in wanted.what:
        measures[name](wanted.format, wanted.threads)


if __name__ == "__main__":
    main()
