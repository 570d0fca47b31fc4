"""Threads that never keep a process from ending: used again, and left to themselves by who waits no more."""

import asyncio
import subprocess
import sys
import threading

import pytest
from modelhost.concurrency.daemon_threads import DaemonThreads, run_in_daemon_thread
from serving import eventually


def test_a_job_never_waits_for_another() -> None:
    threads, meeting = DaemonThreads("tested"), threading.Barrier(3)
    for _ in range(2):
        threads.run(lambda: meeting.wait(10) and None)
    meeting.wait(10)  # is passed only while both are running


def test_an_idle_thread_is_used_again() -> None:
    threads, used = DaemonThreads("tested"), list[int]()
    for times in range(1, 6):
        threads.run(lambda: used.append(threading.get_ident()))
        eventually(lambda times=times: len(used) == times and bool(threads._idle))  # type: ignore[misc]
    assert len(set(used)) == 1


def test_what_the_work_returns_or_raises_reaches_who_waits() -> None:
    assert asyncio.run(run_in_daemon_thread(lambda: 7)) == 7
    with pytest.raises(ZeroDivisionError):
        asyncio.run(run_in_daemon_thread(lambda: 1 // 0))


def test_who_stops_waiting_leaves_the_thread_to_itself() -> None:
    go_on, ended = threading.Event(), threading.Event()

    def work() -> None:
        go_on.wait(10)
        ended.set()

    async def give_up() -> None:
        waiting = asyncio.create_task(run_in_daemon_thread(work))
        await asyncio.sleep(0)  # for once, so that it is begun
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        assert not ended.is_set()

    asyncio.run(give_up())
    go_on.set()  # its loop is closed by now, which hurts nobody
    assert ended.wait(10)


def test_a_job_without_end_does_not_keep_the_process() -> None:
    code = (
        "import threading; from modelhost.concurrency.daemon_threads import DaemonThreads; "
        "begun = threading.Event(); DaemonThreads('x').run(lambda: (begun.set(), threading.Event().wait())); begun.wait()"
    )
    assert subprocess.run([sys.executable, "-c", code], timeout=30, check=False).returncode == 0
