"""The thread that a model computes on: one for everything, in order, and never in the way of the process's end."""

import asyncio
import subprocess
import sys
import threading
from concurrent.futures import CancelledError, ThreadPoolExecutor

import pytest
from modelhost import Backend, ComputeThread, Context, Delta, Done, GenerateRequest, ModelCard, Options, hookimpl
from modelhost.contract.log import Log, silent
from modelhost.testing import chat
from modelhost.worker.instance import Instance


@pytest.fixture
def compute():
    made = ComputeThread()
    yield made
    made.shutdown()


def test_work_runs_in_order_on_one_thread_whoever_submits_it(compute):
    seen = []
    with ThreadPoolExecutor(4) as others:
        waiting = [others.submit(compute.run, lambda: seen.append(threading.get_ident())) for _ in range(20)]
        for one in waiting:
            one.result(10)
    assert len(set(seen)) == 1
    assert seen[0] != threading.get_ident()
    order = []
    futures = [compute.submit(order.append, number) for number in range(50)]
    futures[-1].result(10)
    assert order == list(range(50))


def test_work_run_from_the_thread_itself_is_done_at_once(compute):
    assert compute.submit(lambda: compute.run(threading.get_ident)).result(10) == compute.run(threading.get_ident)


def test_what_work_raises_is_for_who_waits_and_the_thread_goes_on(compute):
    with pytest.raises(SystemExit):
        compute.run(sys.exit)
    assert compute.run(lambda: 1) == 1


def test_work_that_is_cancelled_before_its_turn_is_not_done(compute):
    go = threading.Event()
    compute.submit(go.wait)
    ran = []
    waiting = compute.submit(ran.append, 1)
    assert waiting.cancel()
    go.set()
    compute.run(lambda: None)
    with pytest.raises(CancelledError):
        waiting.result()
    assert not ran


def test_after_its_end_it_does_what_it_was_given_and_takes_nothing_more(compute):
    go = threading.Event()
    compute.submit(go.wait)
    last = compute.submit(lambda: "done")
    compute.shutdown(wait=False)
    with pytest.raises(RuntimeError, match="ended"):
        compute.submit(print)
    go.set()
    assert last.result(10) == "done"


def test_a_model_that_hangs_does_not_keep_the_process_from_ending():
    code = "import threading; from modelhost import ComputeThread; ComputeThread().submit(threading.Event().wait)"
    subprocess.run([sys.executable, "-c", code], timeout=30, check=True)


class Where(Backend[Options]):
    """Says on which threads it was loaded and computes."""

    def load(self):
        self.loaded_on = threading.get_ident()
        return ModelCard()

    @hookimpl
    def generate(self, request: GenerateRequest, context: Context):
        yield Delta(text=str(self.compute.run(threading.get_ident) == self.loaded_on))
        yield Done(reason="stop")


def test_a_backend_is_loaded_on_the_thread_it_computes_on():
    async def ask():
        return [event async for event in instance.call("generate", chat("where?"), Context())]

    instance = Instance(Where, {}, model="m", threads=1, log=Log(silent))
    instance.load()
    events = asyncio.run(ask())
    instance.unload()
    assert events[0] == Delta(text="True")
