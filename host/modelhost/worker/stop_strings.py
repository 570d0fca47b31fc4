"""Stop strings for backends that have none of their own: the text is cut at the first, and the backend told to stop."""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

from msgspec.structs import replace

from modelhost.authors.stop_strings import StopStrings
from modelhost.contract.event_stream import ClosableEvents
from modelhost.contract.types import ChoiceDone, Delta, Done, GenerateEvent, GenerateRequest, Usage


async def cut(events: ClosableEvents[GenerateEvent], request: GenerateRequest) -> AsyncGenerator[GenerateEvent, None]:
    """Yield events up to the first stop string of each choice. When all choices have met one, the backend is closed.

    A backend that is closed has not said what the answer cost: every piece counts as a token then.
    """
    choices = [_Choice(request) for _ in range(request.n)]
    async with aclosing(events):
        async for event in events:
            if isinstance(event, Done):
                for index, choice in enumerate(choices):
                    for rest in choice.flush(index):
                        yield rest
                yield event
                return
            choice = choices[event.index]
            if choice.stops.stopped or choice.over:
                continue
            for piece in choice.feed(event):
                yield piece
            if choice.stops.stopped and request.n > 1:
                yield ChoiceDone(index=event.index, stop=choice.stops.met)
            if all(one.stops.stopped or one.over for one in choices):
                break
        else:
            return  # it ended without Done, which is for others to tell
    usage = Usage(output_tokens=sum(one.pieces for one in choices))
    yield Done(stop=choices[0].stops.met if request.n == 1 else None, usage=usage)


class _Choice:
    """One choice's text so far."""

    def __init__(self, request: GenerateRequest) -> None:
        self._strings = request.stop
        self.stops = StopStrings(request.stop)
        self.over = False
        """Whether the backend has ended it."""
        self.pieces = 0
        self._echoed = len(request.prompt) if request.echo and isinstance(request.prompt, str) else 0
        """Characters of the prompt that are given back first, in which nothing stops."""

    def feed(self, event: Any) -> list[GenerateEvent]:
        """Return what of an event may be said by now."""
        if isinstance(event, ChoiceDone):
            self.over = True
            return [*self.flush(event.index), event]
        if not isinstance(event, Delta):  # no stop string goes on beyond a tool call
            rest = self.flush(event.index)
            self.stops = StopStrings(self._strings)
            return [*rest, event]
        self.pieces += 1
        skipped = event.text[: self._echoed]
        self._echoed -= len(skipped)
        text = skipped + self.stops.feed(event.text[len(skipped) :])
        return [replace(event, text=text)] if text or event.reasoning or event.signature or event.logprobs or event.audio else []

    def flush(self, index: int) -> list[GenerateEvent]:
        """Return what was held back."""
        rest = self.stops.flush()
        return [Delta(text=rest, index=index)] if rest else []
