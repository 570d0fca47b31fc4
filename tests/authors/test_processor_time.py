"""Work that may not compute for ever."""

import threading
import time

import pytest
from modelhost.authors.processor_time import ProcessorTimeError, within_processor_time


def endless() -> None:
    while True:
        pass


def stubborn() -> None:
    """Go on after the first exception, whatever it is."""
    try:
        endless()
    except BaseException:
        endless()


def computing(seconds: float) -> None:
    until = time.thread_time() + seconds
    while time.thread_time() < until:
        pass


@pytest.mark.parametrize("work", [endless, stubborn])
def test_work_that_does_not_end_is_ended(work):
    began = time.thread_time()
    with pytest.raises(ProcessorTimeError, match=r"0\.1 s"):
        within_processor_time(0.1, work)
    assert time.thread_time() - began < 5  # some tenths; the machine may be busy


def test_a_result_and_an_error_pass():
    assert within_processor_time(60, lambda: 7) == 7
    with pytest.raises(ZeroDivisionError):
        within_processor_time(60, lambda: 1 / 0)


@pytest.mark.skipif(not hasattr(time, "pthread_getcpuclockid"), reason="this system has no clock of a thread")
def test_waiting_is_not_computing():
    assert within_processor_time(0.05, lambda: threading.Event().wait(0.4)) is False


def test_nothing_is_raised_once_the_work_is_over():
    """Works that end just when their time is up: each returns or raises the one error, and none comes late."""
    outcomes = set()
    for number in range(60):
        try:
            outcomes.add(within_processor_time(0.05, lambda number=number: computing(0.048 + 0.0001 * number)))
        except ProcessorTimeError:
            outcomes.add(ProcessorTimeError)
        computing(0.001)
    assert outcomes <= {None, ProcessorTimeError}


def test_only_the_thread_that_computes_too_long_is_interrupted():
    errors = []

    def beside() -> None:
        try:
            within_processor_time(60, lambda: computing(0.3))
        except BaseException as error:
            errors.append(error)

    other = threading.Thread(target=beside)
    other.start()
    with pytest.raises(ProcessorTimeError):
        within_processor_time(0.1, endless)
    other.join()
    assert errors == []
