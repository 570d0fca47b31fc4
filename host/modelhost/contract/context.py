"""What a backend is told about the call it serves, beside the request itself."""

import threading
import time
from collections.abc import Callable
from typing import Any, Literal, overload

from msgspec import structs

from modelhost.contract.event_stream import EventStream
from modelhost.contract.log import Log, silent
from modelhost.contract.structs import Wire
from modelhost.contract.types import (
    Ability,
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


class CallInfo(Wire):
    """The part of a context that crosses to a worker."""

    request_id: str = ""
    caller: str = ""
    """Name of the API key that asks; empty where there are none."""
    model: str = ""
    revision: str = ""
    remaining: float | None = None
    """Seconds until the deadline, counted from when this was sent."""
    priority: int = 0
    traceparent: str = ""
    chain: tuple[str, ...] = ()
    """Models on the way here, outermost first; one that appeared twice would call itself for ever."""
    live: bool = False
    """Whether input follows the request."""


HostCall = Callable[["Context", Ability, str, Any], EventStream[Any]]


class Host:
    """The way back into the host, for a backend that composes other models."""

    __slots__ = ("_call", "_context")

    def __init__(self, context: "Context", call: HostCall) -> None:
        self._context = context
        self._call = call

    @overload
    def call(self, ability: Literal["generate"], model: str, request: GenerateRequest) -> EventStream[GenerateEvent]: ...
    @overload
    def call(self, ability: Literal["transcribe"], model: str, request: TranscribeRequest) -> EventStream[TranscribeEvent]: ...
    @overload
    def call(self, ability: Literal["synthesize"], model: str, request: SynthesizeRequest) -> EventStream[SynthesizeEvent]: ...
    @overload
    def call(self, ability: Literal["embed"], model: str, request: EmbedRequest) -> EventStream[EmbedEvent]: ...
    @overload
    def call(self, ability: Literal["summarize"], model: str, request: SummarizeRequest) -> EventStream[SummarizeEvent]: ...
    @overload
    def call(self, ability: Literal["tokenize"], model: str, request: TokenizeRequest) -> EventStream[TokenizeEvent]: ...
    @overload
    def call(self, ability: Literal["voices"], model: str, request: VoicesRequest) -> EventStream[VoicesEvent]: ...
    def call(self, ability: Ability, model: str, request: Any) -> EventStream[Any]:
        """Ask another model; read the events with `for` or `async for`, and `close()` to stop early.

        The call has this one's caller, deadline and cancellation. Raises what the other model raises, when read.
        """
        return self._call(self._context, ability, model, request)


def _no_host(context: "Context", ability: Ability, model: str, request: Any) -> EventStream[Any]:
    raise RuntimeError("this backend runs outside a host: there are no other models to call")


_SILENT = Log(silent)


class Context:
    """One call: who asks, until when, whether it still matters, and ways to log and to ask other models."""

    __slots__ = (
        "_call",
        "_callbacks",
        "_cancelled",
        "_lock",
        "_log",
        "_waiting",
        "deadline",
        "info",
        "input",
    )

    def __init__(
        self,
        info: CallInfo | None = None,
        *,
        call: HostCall = _no_host,
        log: Log | None = None,
        input: EventStream[bytes] | None = None,  # noqa: A002  # the name a backend reads it by
    ) -> None:
        self.info = info or CallInfo()
        self.deadline = None if self.info.remaining is None else time.monotonic() + self.info.remaining
        """When the answer must be there, in `time.monotonic()` seconds; None for never."""
        self._call = call
        self._log = log or _SILENT
        self.input = input
        """Live audio, as it comes, or live text (UTF-8) for speech; None where the request holds everything.

        A backend sees audio only: its worker hands it live text sentence by sentence, each as a request.
        """
        self._cancelled = False
        self._lock = threading.Lock()
        self._waiting: threading.Event | None = None
        self._callbacks: list[Callable[[], None]] = []

    @property
    def log(self) -> Log:
        """The backend's log, with the request's id on every line."""
        return self._log.bind(request_id=self.info.request_id)

    @property
    def host(self) -> Host:
        """The way to other models."""
        return Host(self, self._call)

    @property
    def request_id(self) -> str:
        """The id the client sees; in log lines it ties everything about a request together."""
        return self.info.request_id

    @property
    def caller(self) -> str:
        """Name of the API key that asks; empty where there are none."""
        return self.info.caller

    @property
    def priority(self) -> int:
        """Larger goes first where a backend can choose."""
        return self.info.priority

    @property
    def traceparent(self) -> str:
        """W3C trace context, empty without tracing."""
        return self.info.traceparent

    @property
    def revision(self) -> str:
        """Hash of what the model is made of: weights, plugin version and options."""
        return self.info.revision

    @property
    def cancelled(self) -> bool:
        """Whether nobody wants the answer any more. Look at it between steps, and return."""
        return self._cancelled

    def part(self) -> "Context":
        """Return a context for a part of this call, cancelled by whoever ends the part; it has no live input."""
        return Context(structs.replace(self.info, remaining=self.remaining()), call=self._call, log=self._log)

    def remaining(self) -> float | None:
        """Seconds until the deadline, never below zero; None for no deadline."""
        return None if self.deadline is None else max(0.0, self.deadline - time.monotonic())

    def wait(self, seconds: float) -> bool:
        """Sleep in a thread; returns True at once when the call is cancelled."""
        with self._lock:
            if self._cancelled:
                return True
            if self._waiting is None:
                self._waiting = threading.Event()
            waiting = self._waiting
        return waiting.wait(seconds)

    def on_cancel(self, callback: Callable[[], None]) -> None:
        """Have `callback` called, in any thread and quickly, when the call is cancelled; at once if it already is."""
        with self._lock:
            if not self._cancelled:
                self._callbacks.append(callback)
                return
        callback()

    def cancel(self) -> None:
        """Say that nobody wants the answer any more: for whoever runs the call, not for backends."""
        with self._lock:
            if self._cancelled:
                return
            self._cancelled = True
            callbacks, self._callbacks = self._callbacks, []
            if self._waiting:
                self._waiting.set()
        for callback in callbacks:
            try:
                callback()
            except BaseException as error:  # it runs in the thread of whoever cancels, who has others to look after
                self.log.error("a callback of on_cancel failed", error=type(error).__name__)
