"""What the engine computes: one answer each, of which somebody is told token by token."""

from array import array
from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np
from modelhost import EventStream
from numpy.typing import NDArray

from modelhost_gguf_chat.engine.cells import TOKENS
from modelhost_gguf_chat.engine.drafts import Drafts
from modelhost_gguf_chat.engine.sampling import Sampler


class Batch(NamedTuple):
    """What is told of an answer in one step."""

    stream: EventStream[Any]
    events: list[Any]
    over: bool = False
    """Whether nothing comes after it."""
    error: BaseException | None = None
    """Why not, where it is no end as it should be."""


def deliver(batches: Sequence[Batch]) -> None:
    """Put what was told where it is read."""
    EventStream.put_each((batch.stream, batch.events, len(batch.events)) for batch in batches)
    for batch in batches:
        if batch.over:
            batch.stream.finish(batch.error)


class Listener(Protocol):
    """Who is told of an answer, on the engine's thread; nothing here may block."""

    def begin(self, cached: int) -> None:
        """Take that the engine has begun, and how many tokens of the prompt it need not compute."""

    def read(self) -> None:
        """Take that the prompt has been computed."""

    def scored(self, token: int, logits: NDArray[np.float32]) -> None:
        """Take a token of the prompt, all but the first in order, and what the model gave before it."""

    def token(self, token: int, logits: NDArray[np.float32] | None) -> bool:
        """Take a token, none that ends the answer, and what the model gave before sampling; returns whether it was the last."""

    def end(self, *, by_model: bool) -> None:
        """Take that the answer is over: because the model says so, or else because there is no room for more."""

    def fail(self, error: BaseException) -> None:
        """Take that there will be no more of the answer."""

    def flushed(self) -> Batch:
        """Return what was told since it was asked last: it leaves together with that of others."""

    def sent_within(self, seconds: float) -> bool:
        """Return whether something was told so lately, and there is no end to be told now."""

    def lag(self) -> float:
        """Return for how many seconds nobody has read what is there; 0.0 while somebody does.

        The engine is to be woken when that changes.
        """


class Job:
    """An answer to compute: what is known of it, and where it stands."""

    __slots__ = (
        "arrived",
        "caller",
        "cancelled",
        "computed",
        "draft",
        "drafts",
        "failed",
        "keeps_logits",
        "listener",
        "most",
        "priority",
        "produced",
        "prompt",
        "sampler",
        "scores_prompt",
        "sequence",
        "served",
        "started",
        "tokens",
    )

    def __init__(
        self,
        prompt: "array[int]",
        sampler: Sampler,
        most: int,
        listener: Listener,
        *,
        caller: str = "",
        priority: int = 0,
        keeps_logits: bool = False,
        scores_prompt: bool = False,
    ) -> None:
        """Take what to compute: `prompt` and `most` tokens after it fit into the context together; `most` may be 0 if scored.

        A `caller` never profits from what was computed for another one: how quick an answer is would tell what the other had
        asked. `keeps_logits` gives the listener the model's logits, `scores_prompt` those of the prompt's tokens.
        """
        self.prompt = len(prompt)
        self.tokens = array(TOKENS, prompt)
        """The prompt, and the answer as far as it is known."""
        self.sampler = sampler
        self.most = most
        self.listener = listener
        self.caller = caller
        self.priority = priority
        self.keeps_logits = keeps_logits
        self.scores_prompt = scores_prompt
        self.cancelled = False
        self.arrived = 0
        self.served = 0
        self.produced = 0
        self.failed = False
        """Whether computing it alone has just failed."""
        self.computed = 0
        """Tokens that are in the cache."""
        self.sequence: int | None = None
        """That of the context it is computed in; None while it waits."""
        self.started = False
        self.drafts = Drafts()
        self.draft = self.tokens[:0]
        """What may follow the tokens, to be checked with the next one."""

    @property
    def left(self) -> int:
        """Tokens that are known and not computed."""
        return len(self.tokens) - self.computed
