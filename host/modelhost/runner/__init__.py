"""Where a backend runs: in a process of its own, or inline in the host's."""

from collections.abc import Callable
from typing import Any, Protocol

from modelhost.contract.card import ModelCard
from modelhost.contract.context import Context
from modelhost.contract.event_stream import ClosableEvents, EventStream
from modelhost.contract.types import Ability
from modelhost.runner.death import Death


class Runner(Protocol):
    """Runs one model. Nothing in here could not cross a network; all of it belongs to the host's event loop."""

    async def start(self) -> ModelCard:
        """Load the model. Raises `ModelhostError`; after that, or after `stop`, a runner is used up."""
        ...

    def call(
        self, ability: Ability, request: Any, context: Context, settled: Callable[[], None] | None = None
    ) -> EventStream[Any]:
        """Start a call; its events arrive in the stream, and closing that cancels the call.

        Where the reader stopped early, `settled` is called when the backend has really stopped working on it; otherwise that is
        when the stream ends, and it need not be.
        """
        ...

    async def stop(self) -> int:
        """Unload; returns how many bytes of memory came free."""
        ...

    @property
    def pid(self) -> int | None:
        """Return the process id of the worker; None where there is none of its own."""
        ...

    def memory(self) -> int:
        """Return bytes of memory held for this model; 0 where it cannot be told apart from the host's."""
        ...

    def measures(self) -> dict[str, float]:
        """Return the backend's own figures, as it last gave them."""
        ...

    def output(self) -> str:
        """Return what the backend last printed, for an administrator's eyes only."""
        ...


class DeathWatch(Protocol):
    """Told when a runner that had started ends without being asked to."""

    def lost(self) -> None:
        """Note that the runner answers no more; its calls are about to end with an error. Why is not known yet."""
        ...

    def died(self, death: Death) -> None:
        """Note that the runner is gone, and its memory is free."""
        ...


HostCall = Callable[[Context, Ability, str, Any], ClosableEvents[Any]]
"""Runs a call that a backend makes of another model: (the calling call's context, ability, model, request) → events."""
