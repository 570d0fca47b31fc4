"""The SDK's client: one a model, asked once a request."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from contextvars import ContextVar
from typing import Any, cast

import httpx2
from google import genai
from google.genai import errors, types
from modelhost import BackendFailedError, Context, DeadlineError, GenerateEvent, GenerateRequest, NotReadyError
from modelhost.authors.upstream import UNPACKED, is_event_stream, keep_small

from modelhost_gemini.answer import Answer
from modelhost_gemini.conversation import contents_of, system_of
from modelhost_gemini.errors import error_of
from modelhost_gemini.options import GeminiOptions
from modelhost_gemini.settings import config_of
from modelhost_gemini.signatures import Signatures

_responses: ContextVar[list[httpx2.Response]] = ContextVar("_responses")
"""Where the responses go that a call gets, so that it can close them."""


async def _note(response: httpx2.Response) -> None:
    await keep_small(response)
    if response.is_success and not is_event_stream(response):
        raise BackendFailedError("Gemini answers whole where a stream was asked for; check base_url")
    _responses.get().append(response)


class GeminiClient:
    """Asks one model. All of it belongs to one event loop, but for making and closing it."""

    def __init__(self, options: GeminiOptions) -> None:
        self._options = options
        self._signatures = Signatures()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._sdk = genai.Client(
            api_key=options.api_key.strip(),
            vertexai=False,  # said, so that no variable of the environment turns it on
            http_options=types.HttpOptions(
                base_url=options.base_url,
                api_version=options.api_version,
                timeout=round(options.timeout * 1000),
                # The environment's proxies are how many networks reach Google; what is on this machine needs none.
                async_client_args={
                    "headers": UNPACKED,
                    "trust_env": not options.server_is_here,
                    "event_hooks": {"response": [_note]},
                },
            ),
        )

    def close(self) -> None:
        """Close the connections that are kept open; may be called from any thread, running loop or not."""
        if self._loop is None or self._loop.is_closed():
            return
        if self._loop.is_running():
            asyncio.run_coroutine_threadsafe(self._sdk.aio.aclose(), self._loop)
        else:
            self._loop.run_until_complete(self._sdk.aio.aclose())

    async def generate(self, request: GenerateRequest, context: Context) -> AsyncIterator[GenerateEvent]:
        """Yield the model's answer; closing it ends the connection, and so the work. Raises `ModelhostError`."""
        self._loop = asyncio.get_running_loop()
        contents = contents_of(request.messages, self._signatures)
        config = config_of(request, self._options, system_of(request.messages))
        answer = Answer(request, self._signatures)
        with self._typed_errors(context):
            async with _closed_responses():
                stream = await self._sdk.aio.models.generate_content_stream(
                    model=self._options.model, contents=cast(Any, contents), config=config
                )
                async for chunk in stream:
                    for event in answer.take(chunk):
                        yield event
        yield answer.done()

    @contextmanager
    def _typed_errors(self, context: Context) -> Iterator[None]:
        """Turn what the SDK and its HTTP client raise into the contract's errors."""
        try:
            yield
        except errors.APIError as error:
            context.log.warning("gemini refused", status=error.code)
            raise error_of(error, model=self._options.model) from None
        except (httpx2.ConnectError, httpx2.ConnectTimeout) as error:
            # Nothing of the request has been sent, so there is nothing of it in the reason: a name or a certificate.
            context.log.warning("gemini cannot be reached", reason=str(error))
            raise NotReadyError("Gemini cannot be reached; check this machine's network, or base_url") from None
        except httpx2.TimeoutException:
            raise DeadlineError(f"Gemini said nothing for {self._options.timeout:g} seconds", retry=True) from None
        except httpx2.HTTPError:
            raise BackendFailedError("the connection to Gemini broke before the answer's end", retry=True) from None
        except errors.UnknownApiResponseError:
            raise BackendFailedError("the answer is not one of Gemini's API; check base_url") from None


@asynccontextmanager
async def _closed_responses() -> AsyncIterator[None]:
    """Close the connection of an answer that is not read to its end: the SDK's generators leave that to chance."""
    responses: list[httpx2.Response] = []
    _responses.set(responses)
    try:
        yield
    finally:
        for response in responses:
            await response.aclose()
