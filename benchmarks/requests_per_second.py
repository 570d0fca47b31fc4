"""Requests a second of a chat that does nothing, beside a bare Litestar handler on the same uvicorn."""

import asyncio
import json
import sys
import time

import uvloop
from measurement import interleaved, ratio, serving, tell

CONNECTIONS = 16
SECONDS = 2.0
ROUNDS = 7

CONFIG = """
[models.inline]
plugin = "echo"
run = "inline"

[models.process]
plugin = "echo"
"""

BARE = "--bare"


def serve_bare() -> None:
    """Serve the least a handler can do: decode the same body, encode an answer of the same size."""
    import msgspec
    import uvicorn
    from litestar import Litestar, Response, post
    from modelhost.contract.types import Usage
    from modelhost.http.openai.chat.body import ChatBody
    from modelhost.http.routing.usage import UsageAnswer

    decoder = msgspec.json.Decoder(ChatBody)

    @post("/v1/chat/completions", status_code=200)
    async def bare(body: bytes) -> Response[bytes]:
        payload = decoder.decode(body)
        message = {"role": "assistant", "content": f"{payload.messages[0].content} ", "refusal": None}
        choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": "stop"}
        answer = {
            "id": "chatcmpl-req_000000000000000000000000",
            "object": "chat.completion",
            "created": int(time.time()),
            "choices": [choice],
            "usage": UsageAnswer.of(Usage(input_tokens=1, output_tokens=1)),
            "system_fingerprint": None,
            "model": payload.model,
        }
        return Response(msgspec.json.encode(answer), media_type="application/json")

    app = Litestar([bare], openapi_config=None, logging_config=None)
    config = uvicorn.Config(
        app,
        port=0,
        loop="uvloop",
        http="httptools",
        access_log=False,
        proxy_headers=False,
        server_header=False,
        date_header=False,
        log_level="warning",
    )
    sock = config.bind_socket()
    print("ready on", f"http://127.0.0.1:{sock.getsockname()[1]}", file=sys.stderr, flush=True)
    uvicorn.Server(config).run(sockets=[sock])


async def load(port: int, model: str, key: str = "none") -> float:
    """Ask over kept connections for a while; returns requests a second."""
    raw = json.dumps({"model": model, "messages": [{"role": "user", "content": "hi"}]}).encode()
    head = f"POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {key}\r\n"
    head += "content-type: application/json\r\n"
    request = f"{head}content-length: {len(raw)}\r\n\r\n".encode() + raw
    done = 0
    until = time.monotonic() + SECONDS

    async def ask() -> None:
        nonlocal done
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        while time.monotonic() < until:
            writer.write(request)
            answer_head = await reader.readuntil(b"\r\n\r\n")
            assert b" 200 " in answer_head[:20], answer_head
            await reader.readexactly(int(answer_head.partition(b"content-length: ")[2].partition(b"\r\n")[0]))
            done += 1
        writer.close()

    await asyncio.gather(*(ask() for _ in range(CONNECTIONS)))
    return done / SECONDS


def main() -> None:
    """Measure the bare handler, an inline model and a model in a worker by turns."""
    with serving(CONFIG) as host, serving("", program=f"{__file__} {BARE}") as bare:
        for port, model in ((host.port, "inline"), (host.port, "process"), (bare.port, "bare")):
            uvloop.run(load(port, model))
        values = interleaved(
            ROUNDS,
            bare=lambda: uvloop.run(load(bare.port, "bare")),
            inline=lambda: uvloop.run(load(host.port, "inline")),
            process=lambda: uvloop.run(load(host.port, "process")),
        )
    tell(
        "no-op requests",
        "inline / bare >= 0.5",
        ratio=ratio(values, "inline", "bare"),
        process_ratio=ratio(values, "process", "bare"),
        inline_per_second=sorted(values["inline"])[ROUNDS // 2],
        bare_per_second=sorted(values["bare"])[ROUNDS // 2],
    )


if __name__ == "__main__":
    serve_bare() if sys.argv[1:] == [BARE] else main()
