"""The server at the other end: one HTTP client, requests that are sent again where that is safe, failures as typed errors."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import msgspec
import stamina
from modelhost import BackendFailedError, Context, DeadlineError, ModelhostError, NotReadyError
from modelhost.authors.upstream import UNPACKED, keep_small

from modelhost_openai_api.errors import ErrorDetails, error_of, seconds_to_wait
from modelhost_openai_api.options import Endpoint, OpenaiApiOptions

AGAIN = frozenset({429, 502, 503, 504})
"""Statuses that say a request was not worked on, or that a gateway lost it. One of 500 may well fail the same way again."""

FIRST_WAIT, MOST_WAIT = 0.5, 8.0
"""Seconds before a request is sent again. An upstream that wants to be left alone for longer is not waited for, because there may
be a fallback, and otherwise the client can be told how long to wait. They are those of OpenAI's SDK
(https://github.com/openai/openai-python, `_constants.py`)."""

MOST_ERROR_BYTES = 64 * 1024
"""Bytes of a failed answer that are read. Chosen, because a message and a page of HTML around it fit."""

JSON = {"content-type": "application/json"}


class UnansweredError(Exception):
    """A request that failed. Says nothing of itself: retries are logged by whoever makes them."""

    def __init__(self, error: ModelhostError, *, again: bool) -> None:
        super().__init__()
        self.error = error
        self.again = again


class Upstream:
    """Sends requests of one model. All of it belongs to one event loop, but for making and closing it."""

    def __init__(self, options: OpenaiApiOptions, model: str) -> None:
        self.options = options
        self.model = model
        """What the upstream calls the model."""
        self._loop: asyncio.AbstractEventLoop | None = None
        self._client = httpx.AsyncClient(
            headers={**UNPACKED, **options.all_headers()},
            event_hooks={"response": [keep_small]},
            params=options.query,
            timeout=httpx.Timeout(options.timeout, connect=options.connect_timeout),
            limits=httpx.Limits(max_connections=None, max_keepalive_connections=options.concurrency),
            # The environment's proxies are how many networks reach a hosted API; what is on this machine needs none.
            trust_env=not options.upstream_is_here,
        )
        self._persist = stamina.AsyncRetryingCaller(
            attempts=options.retries + 1, timeout=None, wait_initial=FIRST_WAIT, wait_max=MOST_WAIT, wait_jitter=FIRST_WAIT
        )

    def close(self) -> None:
        """Close the connections that are kept open; may be called from any thread, running loop or not."""
        if self._loop is None or self._loop.is_closed():
            return
        if self._loop.is_running():
            asyncio.run_coroutine_threadsafe(self._client.aclose(), self._loop)
        else:
            self._loop.run_until_complete(self._client.aclose())

    def post_json(self, endpoint: Endpoint, context: Context, body: dict[str, Any]) -> Any:
        """Send JSON; returns what `post` gives."""
        return self.post(endpoint, context, content=msgspec.json.encode(body), headers=JSON)

    @asynccontextmanager
    async def post(
        self, endpoint: Endpoint, context: Context, *, headers: dict[str, str] | None = None, **content: Any
    ) -> AsyncIterator[httpx.Response]:
        """Send a request and give its successful answer, of which only the head is read.

        Closing it ends the connection where the answer was not read to its end, and so the upstream's work.
        Raises `ModelhostError`, also for what breaks while the answer is read.
        """
        self._loop = asyncio.get_running_loop()
        request = {"url": self.options.url(endpoint), "headers": {**_tracing_headers(context), **(headers or {})}, **content}
        try:
            response = await self._persist(_retry_delay, self._send, request, context)
        except UnansweredError as failed:
            raise failed.error from None
        try:
            yield response
        except httpx.TimeoutException:
            raise self._timeout_error() from None
        except httpx.HTTPError:
            raise BackendFailedError("the connection to the upstream broke in the middle of its answer") from None
        finally:
            await response.aclose()

    async def _send(self, request: dict[str, Any], context: Context) -> httpx.Response:
        """Send once. Raises `UnansweredError`."""
        try:
            response = await self._client.send(self._client.build_request("POST", **request), stream=True)
            if response.is_success:
                return response
            failed = await self._error_of_answer(response)
        except httpx.ConnectError as error:
            # Nothing of the request has been sent, so there is nothing of it in the reason: a name or a certificate.
            context.log.warning("the upstream cannot be reached", reason=str(error))
            raise UnansweredError(NotReadyError("the upstream cannot be reached; is it running?"), again=True) from None
        except httpx.ConnectTimeout:
            context.log.warning("the upstream cannot be reached", reason="it takes no connection in time")
            raise UnansweredError(NotReadyError("the upstream cannot be reached; it takes no connection"), again=True) from None
        except httpx.TimeoutException:
            raise UnansweredError(self._timeout_error(), again=False) from None
        except httpx.RequestError as error:
            # A kept connection that the upstream has just closed looks the same, so this is sent again, as SDKs do.
            context.log.warning("the upstream closed the connection", error=type(error).__name__)
            raise UnansweredError(NotReadyError("the upstream closed the connection before it answered"), again=True) from None
        context.log.warning("the upstream refused", status=response.status_code)
        raise failed

    async def _error_of_answer(self, response: httpx.Response) -> UnansweredError:
        body = b""
        try:
            async for chunk in response.aiter_bytes():
                body += chunk
                if len(body) > MOST_ERROR_BYTES:
                    break
        finally:
            await response.aclose()
        wait = seconds_to_wait(response.headers)
        again = {"true": True, "false": False}.get(response.headers.get("x-should-retry", ""))
        error = error_of(response.status_code, ErrorDetails.of_body(body), model=self.model, retry=again, retry_after=wait)
        worth_it = error.retry if again is None and response.status_code in AGAIN else bool(again)
        return UnansweredError(error, again=worth_it and (wait or 0.0) <= MOST_WAIT)

    def _timeout_error(self) -> DeadlineError:
        return DeadlineError(f"the upstream said nothing for {self.options.timeout:g} seconds")


def _retry_delay(error: Exception) -> bool | float:
    """Return whether to send a request again, and after how many seconds where the upstream said so."""
    if not isinstance(error, UnansweredError) or not error.again:
        return False
    return True if error.error.retry_after is None else error.error.retry_after


def _tracing_headers(context: Context) -> dict[str, str]:
    """Return what ties an upstream's log and traces to ours."""
    found = {"x-request-id": context.request_id, "traceparent": context.traceparent}
    return {name: value for name, value in found.items() if value}
