"""What state a model is in, and what an event does to that: pure functions, without processes or clocks."""

from typing import Literal

from modelhost.contract.structs import Struct

State = Literal["disabled", "cold", "loading", "ready", "draining", "failed", "backoff"]

LOAD_BACKOFF = (10.0, 300.0)
"""Seconds after a failed load until the next may be tried: the first, doubled each time up to the second."""

CRASH_BACKOFF = (1.0, 60.0)
"""The same after a worker died that had not finished a single request."""


class Status(Struct):
    """The state of a model, and what has happened to it so far."""

    state: State = "cold"
    reason: str = ""
    """Why it is disabled, failed or in back-off; also kept as the last error of a model that serves again."""
    retry_at: float | None = None
    """When loading may be tried again, on the clock of the functions' `now`; None means never by itself."""
    hopeless: bool = False
    """Whether asking again cannot help until an operator has done something about `reason`."""
    failed_loads: int = 0
    """In a row."""
    idle_crashes: int = 0
    """Deaths in a row of workers that had not finished a request."""
    served: bool = False
    """Whether a request has finished since it was loaded."""
    restarts: int = 0


def _doubled(times: int, bounds: tuple[float, float]) -> float:
    return min(bounds[0] * 2.0 ** min(times, 32), bounds[1])


def change(status: Status, **changes: object) -> Status:
    """Return the status with some fields changed."""
    fields = {name: getattr(status, name) for name in status.__struct_fields__}
    return Status(**{**fields, **changes})


def first(*, enabled: bool, problem: str | None) -> Status:
    """Return the status of a model when the host starts; `problem` is why it can never be loaded as it is configured."""
    if problem:
        return Status(state="failed", reason=problem)
    return Status(state="cold") if enabled else Status(state="disabled", reason="enabled = false")


def on_load(status: Status) -> Status:
    """Loading begins."""
    return change(status, state="loading", retry_at=None)


def on_ready(status: Status) -> Status:
    """Loading has succeeded."""
    return change(status, state="ready", failed_loads=0, served=False, hopeless=False)


def on_load_failed(status: Status, reason: str, now: float, *, hopeless: bool = False) -> Status:
    """Loading has failed: it may be tried again after a while, and not by every request that comes."""
    wait = _doubled(status.failed_loads, LOAD_BACKOFF)
    failed = status.failed_loads + 1
    return change(status, state="failed", reason=reason, retry_at=now + wait, failed_loads=failed, hopeless=hopeless)


def on_finished(status: Status) -> Status:
    """A request has been answered: whatever kills the worker later, it is not the model as such."""
    return status if status.served else change(status, served=True, idle_crashes=0)


def on_crash(status: Status, reason: str, now: float) -> Status:
    """The worker has died. One that had served is started again at once, one that had not after a back-off."""
    restarts = status.restarts + 1
    if status.served:
        return change(status, state="cold", reason=reason, retry_at=now, restarts=restarts, served=False, hopeless=False)
    wait = _doubled(status.idle_crashes, CRASH_BACKOFF)
    return change(
        status,
        state="backoff",
        reason=reason,
        retry_at=now + wait,
        idle_crashes=status.idle_crashes + 1,
        restarts=restarts,
        hopeless=False,
    )


def may_load(status: Status, now: float) -> bool:
    """Whether a request that comes now may start loading."""
    if status.state in ("cold", "loading", "ready"):
        return True
    return status.state in ("failed", "backoff") and status.retry_at is not None and now >= status.retry_at
