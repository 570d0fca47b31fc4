"""Which URLs name this machine, and answers that have no end."""

import asyncio
from collections.abc import AsyncIterator

import httpx
import pytest
from modelhost.authors import upstream
from modelhost.authors.upstream import is_local_url, keep_small


@pytest.mark.parametrize(
    "url",
    ["http://localhost", "https://models.localhost:8443/v1", "http://127.0.0.1:9", "http://127.9.9.9/", "http://[::1]:8000/v1"],
)
def test_loopback_addresses_and_localhost_are_this_machine(url: str) -> None:
    assert is_local_url(url)


@pytest.mark.parametrize(
    "url",
    [
        "https://api.example.com",
        "http://192.168.0.2",
        "http://localhost.example.com",
        "http://127.0.0.1.example.com",
        "",
        "http://",
    ],
)
def test_whatever_else_is_elsewhere(url: str) -> None:
    assert not is_local_url(url)


class Slow(httpx.AsyncByteStream):
    """Says a little, and then nothing more."""

    async def __aiter__(self) -> AsyncIterator[bytes]:
        yield b"sorry"
        await asyncio.Event().wait()


def test_of_an_error_that_comes_too_slowly_what_is_there_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(upstream, "ERROR_SECONDS", 0.01)

    async def read() -> bytes:
        response = httpx.Response(500, stream=Slow())
        await keep_small(response)
        return await response.aread()

    assert asyncio.run(read()) == b"sorry"
