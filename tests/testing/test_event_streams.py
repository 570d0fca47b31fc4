"""The kit holds for a backend whose hook returns an `EventStream` that a thread of its own fills."""

import threading
from typing import Any, ClassVar

from modelhost import (
    Backend,
    Context,
    Delta,
    Done,
    EventStream,
    GenerateEvent,
    GenerateRequest,
    ModelCard,
    Options,
    Usage,
    hookimpl,
)
from modelhost.testing import GeneratesText


class ThreadedBackend(Backend[Options]):
    """Repeats the last message from a thread, two words at a time, and stops when nobody reads any more."""

    def load(self) -> ModelCard:
        """Take several calls."""
        return ModelCard(concurrency=4)

    @hookimpl
    def generate(self, request: GenerateRequest, context: Context) -> EventStream[GenerateEvent]:
        """Start a thread that fills the stream."""
        gone = threading.Event()
        stream: EventStream[GenerateEvent] = EventStream(on_close=gone.set)
        threading.Thread(target=self._fill, args=(stream, request, gone), daemon=True).start()
        return stream

    def _fill(self, stream: EventStream[GenerateEvent], request: GenerateRequest, gone: threading.Event) -> None:
        words = request.messages[-1].text.split() or ["nothing"]
        kept = words[: request.max_tokens]
        for at in range(0, len(kept), 2):
            if gone.is_set():
                return
            stream.put_all([Delta(text=f"{word} ") for word in kept[at : at + 2]])
        usage = Usage(input_tokens=len(words), output_tokens=len(kept))
        stream.put(Done(reason="stop" if len(kept) == len(words) else "length", usage=usage))
        stream.finish()


class TestThreaded(GeneratesText):
    """All that is asked of whatever writes text."""

    backend: ClassVar[type[Backend[Any]]] = ThreadedBackend
