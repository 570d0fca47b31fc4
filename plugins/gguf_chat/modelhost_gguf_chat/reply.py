"""An answer on its way to whoever asked: choices grow on the engine's thread, and a step's events leave together."""

import time
from collections.abc import Callable, Sequence

import numpy as np
from modelhost import ChoiceDone, Delta, Done, EventStream, FinishReason, GenerateEvent, GenerateRequest, TokenLogprob, Usage
from numpy.typing import NDArray

from modelhost_gguf_chat.answer import Answer
from modelhost_gguf_chat.clock import Clock
from modelhost_gguf_chat.engine.jobs import Batch, deliver
from modelhost_gguf_chat.engine.logprobs import token_logprob
from modelhost_gguf_chat.tokens import Vocabulary

AHEAD = 16
"""Events the engine computes before somebody takes them. Chosen, because an interrupted reader then costs no step, and a gone one
few."""


class Reply:
    """The events of one call, of `n` choices; cancelled when its reader stops early."""

    def __init__(self, request: GenerateRequest, vocabulary: Vocabulary, *, wake: Callable[[], None]) -> None:
        """Begin; `wake` is called, in the reader's thread, when somebody reads on who did not."""
        self.events: EventStream[GenerateEvent] = EventStream(on_taken=self._taken, on_close=self.cancel)
        self.vocabulary = vocabulary
        self.request = request
        self.choices = [Choice(self, index) for index in range(request.n)]
        self.clock = Clock()
        self.prompt_tokens = 0
        self.cached: int | None = None
        """Tokens of the prompt that the first choice did not have to compute."""
        self._on_cancel: Callable[[], None] | None = None
        self._cancelled = False
        self._wake = wake
        self._put = 0
        self._read = 0
        self._sent = 0.0
        """When something left last."""
        self._watched = False
        self._since = 0.0
        """When somebody was first seen not to read."""
        self._unsent: list[GenerateEvent] = []
        self._complete = 0
        """Choices that are."""
        self._over = False
        self._error: BaseException | None = None

    def on_cancel(self, act: Callable[[], None]) -> None:
        """Have `act` called, in any thread, when nobody wants the answer any more; at once if that is so."""
        self._on_cancel = act
        if self._cancelled:
            act()

    def cancel(self) -> None:
        """Say that nobody wants the answer any more."""
        self._cancelled = True
        self.events.finish()
        if self._on_cancel:
            self._on_cancel()

    def fail(self, error: BaseException) -> None:
        """End with an error."""
        self._over, self._error = True, self._error or error
        if self._on_cancel:  # the other choices are of no use any more
            self._on_cancel()

    def sent_within(self, seconds: float) -> bool:
        """Return whether something left so lately, and this is not the end."""
        return not self._over and time.monotonic() - self._sent < seconds

    def lag(self) -> float:
        """Return for how many seconds nobody has read what is there."""
        self._watched = True  # from here on a reader wakes the engine, so look only now
        if self._put - self._read < AHEAD:
            self._watched = False
            self._since = 0.0
            return 0.0
        now = time.monotonic()
        self._since = self._since or now
        return max(now - self._since, 1e-9)

    def send(self, event: GenerateEvent) -> None:
        """Add an event, to leave with the step's."""
        self._unsent.append(event)

    def flushed(self) -> Batch:
        """Return what was added, to leave now."""
        unsent, self._unsent = self._unsent, []
        self._put += len(unsent)
        if unsent:
            self._sent = time.monotonic()
        return Batch(self.events, unsent, self._over, self._error)

    def end(self, choice: "Choice", reason: FinishReason, stop: str | None) -> None:
        """Take that a choice is complete; after the last one the reply is."""
        self._complete += 1
        if self.request.n > 1:
            self.send(ChoiceDone(index=choice.index, reason=reason, stop=stop))
        if self._complete < self.request.n:
            return
        usage = Usage(
            input_tokens=self.prompt_tokens,
            output_tokens=sum(choice.produced for choice in self.choices),
            cached_tokens=self.cached or 0,
        )
        self.send(Done(reason=reason, stop=stop, timings=self.clock.timings(), usage=usage))
        self._over = True

    def _taken(self, count: int) -> None:
        self._read += count
        if self._watched and self._put - self._read < AHEAD:
            self._watched = False
            self._wake()


class Choice:
    """One of the answers to a request: what the engine's `Listener` is told."""

    def __init__(self, reply: Reply, index: int) -> None:
        self.index = index
        self.produced = 0
        """Tokens, the one that ended it included."""
        self._reply = reply
        self._answer = Answer(reply.request.stop, index)
        self._prompt = Answer((), index)
        """As it is echoed."""
        self._top = reply.request.top_logprobs

    def begin(self, cached: int) -> None:
        """Take that the engine has begun."""
        if self._reply.cached is None:
            self._reply.cached = cached
            self._reply.clock = Clock()

    def read(self) -> None:
        """Take that the prompt has been computed."""
        if not self.index:
            self._reply.clock.read()
        if delta := self._prompt.finish():
            self._reply.send(delta)

    def scored(self, token: int, logits: NDArray[np.float32]) -> None:
        """Take a token of the prompt, and what the model gave before it."""
        self._echo(token, token_logprob(logits, token, self._top, self._reply.vocabulary))

    def begin_echo(self, tokens: Sequence[int]) -> None:
        """Give the prompt with the probabilities that `scored` will tell; those of its first tokens nobody knows."""
        for token in tokens:
            data = self._reply.vocabulary.piece(token, special=True)
            self._echo(token, TokenLogprob(token=data.decode("utf-8", "replace"), logprob=None, data=data))

    def _echo(self, token: int, logprob: TokenLogprob) -> None:
        if delta := self._prompt.feed(self._reply.vocabulary.said(token), logprob):
            self._reply.send(delta)

    def token(self, token: int, logits: NDArray[np.float32] | None) -> bool:
        """Take a token of the answer; returns whether a stop string is complete with it."""
        self.produced += 1
        vocabulary = self._reply.vocabulary
        logprob = None if logits is None else token_logprob(logits, token, self._top, vocabulary)
        if delta := self._answer.feed(vocabulary.said(token), logprob):
            self._reply.send(delta)
        if self._answer.stopped:
            self._finish("stop")
        return self._answer.stopped

    def end(self, *, by_model: bool) -> None:
        """Take that there is no more."""
        self.produced += by_model
        self._finish("stop" if by_model else "length")

    def fail(self, error: BaseException) -> None:
        """Take that there will be no more, and why."""
        self._reply.fail(error)

    def flushed(self) -> Batch:
        """Return what was said in this step."""
        return self._reply.flushed()

    def sent_within(self, seconds: float) -> bool:
        """Return whether something left so lately, and this is not the end."""
        return self._reply.sent_within(seconds)

    def lag(self) -> float:
        """Return for how many seconds nobody has read what is there."""
        return self._reply.lag()

    def _finish(self, reason: FinishReason) -> None:
        if delta := self._answer.finish():
            self._reply.send(delta)
        self._reply.end(self, "stop" if self._answer.stopped else reason, self._answer.stop)


def echo(reply: Reply, text: str) -> None:
    """Give the prompt before its continuation, for every choice."""
    for choice in reply.choices:
        reply.send(Delta(text=text, index=choice.index))
    deliver([reply.flushed()])
