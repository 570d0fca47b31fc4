"""Small real requests that show whether a model does what it says: one for each ability."""

from collections.abc import Callable
from typing import Any

import httpx

from modelhost.authors.wav import wav
from modelhost.cli.client import ask

Trial = Callable[[httpx.Client, str], str]
"""Asks a model, and says what it did. Raises `ClickException` with what the host refuses."""


def _generate(client: httpx.Client, model: str) -> str:
    question = {"model": model, "messages": [{"role": "user", "content": "Say hello."}], "max_tokens": 16}
    answer = ask(client, "POST", "/v1/chat/completions", json=question)
    return f"says: {answer['choices'][0]['message']['content']!r}"


def _embed(client: httpx.Client, model: str) -> str:
    answer = ask(client, "POST", "/v1/embeddings", json={"model": model, "input": "Hello.", "cache": False})
    return f"makes a vector of {len(answer['data'][0]['embedding'])} numbers"


def _synthesize(client: httpx.Client, model: str) -> str:
    answer = ask(client, "POST", "/v1/text-to-speech", json={"model": model, "text": "Hello.", "format": "wav"})
    return f"speaks for {answer['duration']:.1f} s"


def _transcribe(client: httpx.Client, model: str) -> str:
    form: dict[str, Any] = {"data": {"model": model}, "files": {"file": ("silence.wav", wav(bytes(2 * 16_000)))}}
    return f"hears in a second of silence: {ask(client, 'POST', '/v1/audio/transcriptions', **form)['text']!r}"


def _summarize(client: httpx.Client, model: str) -> str:
    payload = {"model": model, "text": "def add(a, b):\n    return a + b\n", "filename": "add.py", "max_tokens": 16}
    return f"summarises: {ask(client, 'POST', '/v1/summaries', json=payload)['summary']!r}"


def _tokenize(client: httpx.Client, model: str) -> str:
    count = ask(client, "POST", "/tokenize", json={"model": model, "prompt": "Hello."})["count"]
    return f"cuts 'Hello.' into {count} token{'' if count == 1 else 's'}"


TRIALS: dict[str, Trial] = {
    "generate": _generate,
    "embed": _embed,
    "synthesize": _synthesize,
    "transcribe": _transcribe,
    "summarize": _summarize,
    "tokenize": _tokenize,
}
"""Ability → its trial."""
