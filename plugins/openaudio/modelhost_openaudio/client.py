"""The fish-speech server's HTTP interface, as it is since OpenAudio S1."""

from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any, Literal

import httpx
import msgspec
import stamina
from modelhost import BackendFailedError, Log, ModelhostError
from modelhost.authors.upstream import UNPACKED, keep_small
from stamina.instrumentation import set_on_retry_hooks

from modelhost_openaudio.errors import BUSY, error_of_response, error_of_transport, is_retryable, unreachable
from modelhost_openaudio.options import OpenAudioOptions

Health = Literal["ok", "busy", "down"]

_JSON = {"Accept": "application/json"}
"""Without it the server answers in MessagePack."""

set_on_retry_hooks(())  # stamina's own would print; a worker's log lines go to the host


class FishClient:
    """Asks one server; raises `ModelhostError` only.

    It opens a connection for every call: the server closes idle ones when it likes, which a call would mistake for a failure.
    Proxies of the environment are not used, and redirects not followed: text and key go to `base_url` and nowhere else.
    """

    def __init__(self, options: OpenAudioOptions, log: Log) -> None:
        self.server = options.base_url.rstrip("/")
        self._options = options
        self._log = log
        self._http = httpx.AsyncClient(
            headers=UNPACKED | ({"Authorization": f"Bearer {options.api_key}"} if options.api_key else {}),
            event_hooks={"response": [keep_small]},
            timeout=httpx.Timeout(options.timeout, connect=options.connect_timeout),
            limits=httpx.Limits(max_connections=None, max_keepalive_connections=0),
            trust_env=False,
        )

    async def health(self) -> Health:
        """Ask whether the server is there: `busy` is one that takes the connection but does not answer.

        A server with one worker answers nothing while it speaks.
        """
        patience = self._options.connect_timeout
        try:
            answer = await self._http.get(f"{self.server}/v1/health", timeout=patience)
        except (httpx.ConnectError, httpx.ConnectTimeout):
            return "down"
        except httpx.TimeoutException:
            return "busy"
        except httpx.HTTPError as error:
            raise error_of_transport(error, self.server, patience) from None
        if answer.status_code == 200:
            return "ok"
        if answer.status_code in BUSY:
            return "down"
        raise error_of_response(answer, self.server)

    async def voices(self) -> tuple[str, ...]:
        """Return the names of the voices the server keeps, sorted."""
        async with self._answer("GET", "/v1/references/list", headers=_JSON) as answer:
            listing = await answer.aread()
        try:
            return tuple(sorted(msgspec.json.decode(listing, type=_Listing).reference_ids))
        except (msgspec.DecodeError, UnicodeDecodeError):
            message = f"{self.server} does not list its voices as a fish-speech server does; check `base_url`"
            raise BackendFailedError(message) from None

    async def add(self, name: str, audio: bytes, text: str, *, expected_errors: Mapping[int, ModelhostError]) -> None:
        """Make a voice of a recording; `expected_errors` has the errors of statuses that mean something here."""
        files = {"audio": (f"{name}.wav", audio)}
        form = {"id": name, "text": text}
        async with self._answer("POST", "/v1/references/add", expected_errors, headers=_JSON, data=form, files=files):
            pass

    async def delete(self, name: str, *, expected_errors: Mapping[int, ModelhostError]) -> None:
        """Delete a voice on the server; `expected_errors` as in `add`."""
        body = {"reference_id": name}
        async with self._answer("DELETE", "/v1/references/delete", expected_errors, headers=_JSON, json=body):
            pass

    async def speak(self, body: dict[str, Any], *, expected_errors: Mapping[int, ModelhostError]) -> AsyncGenerator[bytes, None]:
        """Yield the bytes of the sound as they come; closing this closes the connection. `expected_errors` as in `add`."""
        content = msgspec.msgpack.encode(body)
        headers = {"Content-Type": "application/msgpack"}
        async with self._answer("POST", self._options.path, expected_errors, headers=headers, content=content) as answer:
            async for data in answer.aiter_bytes():
                yield data

    @asynccontextmanager
    async def _answer(
        self, method: str, path: str, expected_errors: Mapping[int, ModelhostError] | None = None, **content: Any
    ) -> AsyncIterator[httpx.Response]:
        """Yield the answer of status 200, its body still to be read; anything else raises."""
        try:
            answer = await self._sent(method, f"{self.server}{path}", content)
            try:
                if answer.status_code != 200:
                    raise (expected_errors or {}).get(answer.status_code) or await self._refusal(answer)
                yield answer
            finally:
                await answer.aclose()
        except httpx.HTTPError as error:
            raise error_of_transport(error, self.server, self._options.timeout) from None

    async def _sent(self, method: str, url: str, content: dict[str, Any]) -> httpx.Response:
        """Send a request until the server takes it, or the last try has failed."""
        async for attempt in stamina.retry_context(
            on=is_retryable, attempts=self._options.retries + 1, timeout=None, wait_initial=0.2, wait_jitter=0.2
        ):
            with attempt:
                if attempt.num > 1:
                    self._log.info("the speech server is asked again", attempt=attempt.num)
                answer = await self._http.send(self._http.build_request(method, url, **content), stream=True)
                if answer.status_code in BUSY:
                    raise await self._refusal(answer)
                return answer
        raise unreachable(self.server)  # for type checkers: the last attempt raises

    async def _refusal(self, answer: httpx.Response) -> ModelhostError:
        try:
            await answer.aread()
        finally:
            await answer.aclose()
        return error_of_response(answer, self.server)


class _Listing(msgspec.Struct):
    reference_ids: list[str]
