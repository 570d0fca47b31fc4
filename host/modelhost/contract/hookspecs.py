"""The hooks a backend may implement: one for each thing a model can do, and `tokenize` and `voices` beside them.

An implementation names only the arguments it wants. It returns an iterator or an async iterator of events; iterators run in
a thread of their own, async iterators on an event loop. Events come as soon as they are known, and `Done` comes last.
"""

from collections.abc import AsyncIterator, Iterator
from typing import TypeVar

import pluggy

from modelhost.contract.context import Context
from modelhost.contract.types import (
    EmbedEvent,
    EmbedRequest,
    GenerateEvent,
    GenerateRequest,
    SummarizeEvent,
    SummarizeRequest,
    SynthesizeEvent,
    SynthesizeRequest,
    TokenizeEvent,
    TokenizeRequest,
    TranscribeEvent,
    TranscribeRequest,
    VoicesEvent,
    VoicesRequest,
)

E = TypeVar("E")
Events = Iterator[E] | AsyncIterator[E]

hookspec = pluggy.HookspecMarker("modelhost")
hookimpl = pluggy.HookimplMarker("modelhost")


@hookspec(firstresult=True)
def transcribe(request: TranscribeRequest, context: Context) -> Events[TranscribeEvent]:  # type: ignore[empty-body]
    """Yield what is said in the audio, segment by segment, in order of time."""


@hookspec(firstresult=True)
def generate(request: GenerateRequest, context: Context) -> Events[GenerateEvent]:  # type: ignore[empty-body]
    """Yield the model's answer to a conversation, piece by piece."""


@hookspec(firstresult=True)
def synthesize(request: SynthesizeRequest, context: Context) -> Events[SynthesizeEvent]:  # type: ignore[empty-body]
    """Yield the sound of a text being spoken, chunk by chunk."""


@hookspec(firstresult=True)
def embed(request: EmbedRequest, context: Context) -> Events[EmbedEvent]:  # type: ignore[empty-body]
    """Yield a vector for each input, in order."""


@hookspec(firstresult=True)
def summarize(request: SummarizeRequest, context: Context) -> Events[SummarizeEvent]:  # type: ignore[empty-body]
    """Yield a short text that says what a long one does."""


@hookspec(firstresult=True)
def tokenize(request: TokenizeRequest, context: Context) -> Events[TokenizeEvent]:  # type: ignore[empty-body]
    """Yield the tokens of a text or a chat, or the text of tokens.

    Called beside other hooks, however few calls the card allows at once: it must not wait for them, nor disturb them.
    """


@hookspec(firstresult=True)
def voices(request: VoicesRequest, context: Context) -> Events[VoicesEvent]:  # type: ignore[empty-body]
    """Yield the names of the voices, after adding or deleting one if that is asked.

    Called beside other hooks, as `tokenize` is. A model whose voices never change needs only name them on its card.
    """
