"""The states of a model: pure functions, so every order of events can be tried."""

from hypothesis import given, strategies as st
from modelhost.pool.status import (
    CRASH_BACKOFF,
    LOAD_BACKOFF,
    Status,
    may_load,
    on_crash,
    on_finished,
    on_load,
    on_load_failed,
    on_ready,
)


def test_failed_loads_back_off_from_ten_seconds_to_five_minutes() -> None:
    status, waits = Status(), []
    for _ in range(8):
        status = on_load_failed(on_load(status), "no", now=100.0)
        assert status.retry_at is not None
        waits.append(status.retry_at - 100.0)
    assert waits == [10, 20, 40, 80, 160, 300, 300, 300]


def test_a_worker_that_had_served_is_restarted_at_once() -> None:
    status = on_crash(on_finished(on_ready(on_load(Status()))), "killed", now=5.0)
    assert (status.state, status.retry_at) == ("cold", 5.0)


def test_workers_that_die_before_they_served_back_off_from_one_second() -> None:
    status, waits = Status(), []
    for _ in range(8):
        status = on_crash(on_ready(on_load(status)), "killed", now=0.0)
        waits.append(status.retry_at)
    assert waits == [1, 2, 4, 8, 16, 32, 60, 60]


def test_one_finished_request_forgives_all_crashes() -> None:
    status = Status()
    for _ in range(5):
        status = on_crash(on_ready(on_load(status)), "killed", now=0.0)
    status = on_crash(on_finished(on_ready(on_load(status))), "killed", now=0.0)
    status = on_crash(on_ready(on_load(status)), "killed", now=0.0)
    assert status.retry_at == CRASH_BACKOFF[0]


def test_a_disabled_model_is_never_loaded() -> None:
    assert not may_load(Status(state="disabled"), now=1e9)


def test_a_model_that_can_never_be_loaded_is_not_tried() -> None:
    assert not may_load(Status(state="failed", reason="no such plugin"), now=1e9)


events = st.lists(st.sampled_from(["load", "ready", "failed", "finished", "crash"]), max_size=60)


@given(events, st.floats(0, 1e6))
def test_in_every_order_of_events_a_model_may_be_loaded_again_within_five_minutes(order: list[str], now: float) -> None:
    status = Status()
    for event in order:
        match event:
            case "load":
                status = on_load(status)
            case "ready":
                status = on_ready(status)
            case "failed":
                status = on_load_failed(status, "reason", now)
            case "finished":
                status = on_finished(status)
            case "crash":
                status = on_crash(status, "reason", now)
    assert may_load(status, now + LOAD_BACKOFF[1])
    assert status.retry_at is None or status.retry_at >= now
