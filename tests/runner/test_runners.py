"""One contract, two places to run: everything here holds for a worker process and inline alike."""

import asyncio
import contextlib
import gc
import os
import signal
import socket
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
import uvloop
from fake_plugins import fake_plugin, put_on_path
from modelhost.contract import errors
from modelhost.contract.context import CallInfo, Context
from modelhost.contract.errors import ModelhostError
from modelhost.contract.event_stream import EventStream
from modelhost.contract.log import Log, silent
from modelhost.contract.types import (
    AudioChunk,
    Blob,
    Delta,
    DocumentPart,
    Done,
    EmbedRequest,
    GenerateRequest,
    Message,
    Partial,
    Segment,
    SynthesizeRequest,
    TextPart,
    TokenizeRequest,
    Tool,
    TranscribeRequest,
    Vectors,
)
from modelhost.runner.death import Death
from modelhost.runner.inline import InlineRunner
from modelhost.runner.output import OUTPUT_BYTES, Output
from modelhost.runner.process import ProcessRunner
from modelhost.runner.spec import WorkerSpec, worker_environment
from modelhost.testing import chat
from modelhost.wire.vocabulary import Unknown
from modelhost.worker.event_parts import MOST_TOKENS

Runner = ProcessRunner | InlineRunner


class Watch:
    """Remembers how a worker ended."""

    def __init__(self, died: Callable[[str], None] = lambda why: None) -> None:
        self._died = died

    def died(self, death: Death) -> None:
        """Tell why."""
        self._died(death.why)

    def lost(self) -> None:
        """Nothing to do."""


async def answered_by_the_host(context: Context, ability: str, model: str, request: Any) -> AsyncIterator[Any]:
    """Stands for the router: says who asked for what."""
    yield Delta(text=f"{model} asked by {context.info.model} for {context.caller}")
    yield Done()


def make(kind: str, **options: Any) -> Runner:
    if kind == "inline":
        return InlineRunner("echo", "m", options, threads=1, log=Log(silent), host_call=answered_by_the_host)
    spec = WorkerSpec(plugin="echo", model="m", options=options)
    return ProcessRunner(spec, log=Log(silent), watch=Watch(), host_call=answered_by_the_host)


def running(kind: str, use: Callable[[Any], Awaitable[None]], **options: Any) -> None:
    async def main() -> None:
        runner = make(kind, **options)
        await runner.start()
        try:
            await asyncio.wait_for(use(runner), 30)
        finally:
            await runner.stop()

    asyncio.run(main())


async def collect(events: EventStream[Any]) -> list[Any]:
    return [event async for event in events]


both = pytest.mark.parametrize("kind", ["process", "inline"])


@both
def test_abilities_stream_and_end_with_done(kind: str) -> None:
    async def use(runner: Runner) -> None:
        requests: list[tuple[Any, Any, Any]] = [
            ("generate", chat("one two three"), Delta),
            ("transcribe", TranscribeRequest(audio=Blob(b"12345")), Segment),
            ("synthesize", SynthesizeRequest(text="one two three"), AudioChunk),
            ("embed", EmbedRequest(inputs=("a", "b", (1, 2))), Vectors),
        ]
        for ability, request, event_type in requests:
            events = await collect(runner.call(ability, request, Context()))
            assert [type(event) for event in events] == [event_type] * 3 + [Done]

    running(kind, use)


@both
def test_a_million_tokens_arrive_whole(kind: str) -> None:
    async def use(runner: Runner) -> None:
        *parts, done = await collect(runner.call("tokenize", TokenizeRequest(text="é" * 500_000, add_special=False), Context()))
        assert max(len(part.tokens) for part in parts) <= MOST_TOKENS  # the host decodes one while everybody else waits
        assert [token for part in parts for token in part.tokens] == [*"é".encode()] * 500_000
        assert b"".join(piece for part in parts for piece in part.pieces) == "é".encode() * 500_000
        assert done == Done()

    running(kind, use)


@both
def test_a_large_blob_arrives_whole_and_leaves_no_file(kind: str) -> None:
    size = 3_000_000

    async def use(runner: Runner) -> None:
        request = TranscribeRequest(audio=Blob(os.urandom(size)))
        events = await collect(runner.call("transcribe", request, Context()))
        assert "".join(event.text for event in events if isinstance(event, Segment)) == f"heard {size} bytes "
        if isinstance(runner, ProcessRunner):
            assert runner._folder is not None
            assert list(runner._folder.iterdir()) == []

    running(kind, use)


@both
def test_live_input_is_answered_while_it_comes(kind: str) -> None:
    async def use(runner: Runner) -> None:
        live: EventStream[bytes] = EventStream()
        events = runner.call("transcribe", TranscribeRequest(), Context(CallInfo(), input=live))
        for total in (4, 8, 12):
            live.put(b"1234")
            partial = await anext(events)
            assert partial == Partial(text=f"{total} bytes")
        live.finish()
        assert isinstance((await collect(events))[-1], Done)

    running(kind, use)


@both
def test_megabytes_of_live_input_arrive_whole(kind: str) -> None:
    async def use(runner: Runner) -> None:
        live: EventStream[bytes] = EventStream()
        for _ in range(40):
            live.put(bytes(50_000))
        live.finish()
        events = await collect(runner.call("transcribe", TranscribeRequest(), Context(input=live)))
        assert Partial(text="2000000 bytes") in events

    running(kind, use)


@both
def test_a_backend_can_ask_another_model(kind: str) -> None:
    async def use(runner: Runner) -> None:
        context = Context(CallInfo(model="m", caller="alice"))
        events = await collect(runner.call("generate", chat("anything"), context))
        assert "".join(e.text for e in events if isinstance(e, Delta)) == "other asked by m for alice "

    running(kind, use, ask="other")


@both
@pytest.mark.parametrize(
    ("fault", "error"),
    [
        ("bad_input", errors.BadInputError),
        ("unsupported", errors.UnsupportedError),
        ("over_quota", errors.OverQuotaError),
        ("not_ready", errors.NotReadyError),
        ("overloaded", errors.OverloadedError),
        ("deadline", errors.DeadlineError),
        ("raise", errors.BackendFailedError),
    ],
)
def test_what_a_backend_raises_arrives_typed_after_what_it_said(kind: str, fault: str, error: type[ModelhostError]) -> None:
    async def use(runner: Runner) -> None:
        events = runner.call("generate", chat("one two three"), Context())
        assert await anext(events) == Delta(text="one ")
        with pytest.raises(error) as caught:
            await anext(events)
        assert type(caught.value) is error
        assert "reach nobody" not in str(caught.value)
        # The backend lives on.
        assert await anext(runner.call("generate", chat("again"), Context())) == Delta(text="again ")

    running(kind, use, fault=fault, fault_after=1)


@both
def test_closing_a_call_settles_it_long_before_it_would_have_ended(kind: str) -> None:
    async def use(runner: Runner) -> None:
        settled = asyncio.Event()
        events = runner.call("generate", chat("word " * 1000), Context(), settled.set)
        await anext(events)
        events.close()
        await asyncio.wait_for(settled.wait(), 5)

    running(kind, use, pace=20)


@both
def test_calls_given_up_before_they_began_are_settled(kind: str) -> None:
    async def use(runner: Runner) -> None:
        for _ in range(50):
            settled = asyncio.Event()
            runner.call("generate", chat("word " * 1000), Context(), settled.set).close()
            await asyncio.wait_for(settled.wait(), 5)

    running(kind, use, pace=20)


@both
def test_a_slow_reader_stalls_its_own_call_only(kind: str) -> None:
    async def use(runner: Runner) -> None:
        slow = runner.call("synthesize", SynthesizeRequest(text="word " * 2000), Context())  # 6 MB of sound
        await anext(slow)
        quick = await collect(runner.call("synthesize", SynthesizeRequest(text="one two"), Context()))
        assert len(quick) == 3
        assert len(slow._items) < 300
        assert len(await collect(slow)) == 2000

    running(kind, use)


@both
def test_sixty_four_calls_at_once_keep_their_answers_apart(kind: str) -> None:
    async def use(runner: Runner) -> None:
        calls = [collect(runner.call("generate", chat(f"number {n} " * 20), Context())) for n in range(64)]
        for n, events in enumerate(await asyncio.gather(*calls)):
            assert "".join(e.text for e in events if isinstance(e, Delta)) == f"number {n} " * 20

    running(kind, use)


@both
def test_a_load_that_fails_is_told_and_does_not_tell_what_was_raised(kind: str) -> None:
    async def main() -> None:
        with pytest.raises(errors.BackendFailedError) as caught:
            await make(kind, load_fault="raise").start()
        assert "ValueError" in caught.value.message
        assert "reach nobody" not in caught.value.message

    asyncio.run(main())


@both
def test_an_option_the_plugin_does_not_know_is_refused_at_load(kind: str) -> None:
    async def main() -> None:
        with pytest.raises(errors.PluginError, match="sparkle"):
            await make(kind, sparkle=1).start()

    asyncio.run(main())


# The worker process alone


@pytest.mark.parametrize("turns", range(8))
def test_a_start_that_is_cancelled_closes_nobody_elses_files(turns: int) -> None:
    """On uvloop, as in a host: whoever closes a descriptor twice closes another's the second time."""

    async def main() -> None:
        runner = worker()
        task = asyncio.create_task(runner.start())
        while runner.pid is None:  # noqa: ASYNC110  # every turn of the loop counts
            await asyncio.sleep(0)
        for _ in range(turns):
            await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        others = [socket.socket() for _ in range(32)]  # they take the numbers that are free now
        del runner, task
        gc.collect()
        await asyncio.sleep(0)
        gc.collect()
        assert [other.fileno() for other in others if not _is_open(other.fileno())] == []
        for other in others:
            other.close()

    gc.collect()  # what earlier tests left is closed now, and not while this one counts
    before = _open_files()
    uvloop.run(main())
    assert _open_files() <= before


def _is_open(number: int) -> bool:
    try:
        os.fstat(number)
    except OSError:
        return False
    return True


def _open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def test_what_a_worker_prints_is_read_from_a_descriptor_with_one_owner() -> None:
    """Closed twice from two threads it would be somebody else's the second time, so it is closed by nobody but the reader."""

    async def main() -> None:
        ours, theirs = os.pipe()
        output = Output(asyncio.get_running_loop(), ours)
        os.write(theirs, b"said")
        os.close(theirs)
        while _is_open(ours):  # noqa: ASYNC110  # closed when the end is read
            await asyncio.sleep(0)
        with socket.socket() as other:
            output.close()
            assert _is_open(other.fileno())
        assert output.text() == "said"

    uvloop.run(main())


def test_a_worker_that_prints_without_end_leaves_the_loop_to_others() -> None:
    async def main() -> None:
        ours, theirs = os.pipe()
        output = Output(asyncio.get_running_loop(), ours)
        os.set_blocking(theirs, False)
        read = turns = 0
        for _ in range(200):
            with contextlib.suppress(BlockingIOError):
                while True:
                    read += os.write(theirs, bytes(65536))
            await asyncio.sleep(0)
            turns += 1
        assert read < turns * OUTPUT_BYTES / 4, "it is read only now and then"
        output.close()
        os.close(theirs)

    uvloop.run(main())


def worker(died: Callable[[str], None] = lambda why: None, **spec: Any) -> ProcessRunner:
    return ProcessRunner(
        WorkerSpec(plugin="echo", model="m", **spec), log=Log(silent), watch=Watch(died), host_call=answered_by_the_host
    )


def test_every_call_gets_a_typed_error_when_the_worker_is_killed() -> None:
    async def main() -> None:
        reasons: list[str] = []
        runner = worker(reasons.append, options={"pace": 20})
        await runner.start()
        calls = [runner.call("generate", chat("word " * 100), Context()) for _ in range(8)]
        for call in calls:
            await anext(call)
        assert runner.pid
        os.kill(runner.pid, signal.SIGKILL)
        for call in calls:
            with pytest.raises(errors.BackendCrashedError):
                await collect(call)
        assert runner._exited is not None
        await runner._exited
        assert reasons == ["it was ended by SIGKILL"]

    asyncio.run(main())


@pytest.mark.parametrize(
    ("fault", "words"), [("exit", "exited with status 3"), ("segfault", "ended by SIGSEGV"), ("hang", "did not answer")]
)
def test_why_a_worker_died_is_known(fault: str, words: str) -> None:
    async def main() -> None:
        died = asyncio.get_running_loop().create_future()
        runner = worker(died.set_result, options={"fault": fault}, patience=1.5)
        await runner.start()
        with pytest.raises(errors.BackendCrashedError):
            await collect(runner.call("generate", chat("one two three"), Context()))
        assert words in await asyncio.wait_for(died, 10)

    asyncio.run(main())


def test_a_stopped_worker_is_ended_when_its_patience_is_over() -> None:
    async def main() -> None:
        died = asyncio.get_running_loop().create_future()
        runner = worker(died.set_result, patience=1.0)
        await runner.start()
        assert runner.pid
        os.kill(runner.pid, signal.SIGSTOP)
        assert "did not answer" in await asyncio.wait_for(died, 10)

    asyncio.run(main())


@pytest.mark.parametrize("who", ["host", "both"])
def test_a_pause_of_the_host_is_no_death_of_the_worker(who: str) -> None:
    """As when a container is paused or a laptop closed: more time passes than its patience, and nobody could answer."""

    async def main() -> None:
        runner = worker(lambda why: pytest.fail(why), patience=1.2, cancel_grace=0.1, options={"pace": 20})
        await runner.start()
        assert runner.pid
        pid = runner.pid
        given_up = runner.call("generate", chat("word " * 5), Context())
        await anext(given_up)
        if who == "both":
            os.kill(pid, signal.SIGSTOP)
        given_up.close()
        time.sleep(2.5)  # noqa: ASYNC251  # nothing happens here either
        if who == "both":
            os.kill(pid, signal.SIGCONT)
        for _ in range(4):
            assert await collect(runner.call("generate", chat("on it goes"), Context()))
        assert runner.pid == pid
        await runner.stop()

    uvloop.run(main())


def test_a_worker_that_exits_while_it_loads_is_told_at_once() -> None:
    async def main() -> None:
        with pytest.raises(errors.BackendFailedError, match="exited with status 3"):
            await worker(options={"load_fault": "exit"}).start()

    asyncio.run(main())


def test_a_missing_interpreter_is_named() -> None:
    async def main() -> None:
        with pytest.raises(errors.NotReadyError, match="no/such/python"):
            await worker(python="/no/such/python").start()

    asyncio.run(main())


def test_chatter_is_kept_to_its_end_and_stops_nothing() -> None:
    async def main() -> None:
        runner = worker(options={"chatter": 100_000})
        await runner.start()
        events = await asyncio.wait_for(collect(runner.call("generate", chat("word " * 50), Context())), 20)
        assert len(events) == 51
        while len(runner.output()) < OUTPUT_BYTES:  # noqa: ASYNC110  # what another process prints raises no event here
            await asyncio.sleep(0.01)
        assert len(runner.output()) == OUTPUT_BYTES
        await runner.stop()

    asyncio.run(main())


def test_unloading_ends_the_process_and_says_how_much_memory_came_free() -> None:
    async def main() -> None:
        runner = worker()
        await runner.start()
        pid = runner.pid
        assert pid
        freed = await runner.stop()
        assert freed > 5_000_000
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)

    asyncio.run(main())


def test_the_worker_dies_with_a_host_that_is_killed() -> None:
    """In a host of its own: this process must live on."""
    import subprocess
    import sys

    code = (
        "import asyncio\n"
        "from modelhost.contract.log import Log, silent\n"
        "from modelhost.runner.process import ProcessRunner\n"
        "from modelhost.runner.spec import WorkerSpec\n"
        "async def main():\n"
        "    spec = WorkerSpec(plugin='echo', model='m', options={})\n"
        "    runner = ProcessRunner(spec, log=Log(silent), watch=None, host_call=None)\n"
        "    await runner.start()\n"
        "    print(runner.pid, flush=True)\n"
        "    await asyncio.sleep(60)\n"
        "asyncio.run(main())\n"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as host:
        assert host.stdout is not None
        pid = int(host.stdout.readline())
        host.kill()
    until = time.monotonic() + 10
    while True:
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return
        if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z":  # dead, and nobody reaps it
            return
        assert time.monotonic() < until, "the worker outlived its host"
        time.sleep(0.01)


_NAMES = "OPENAI_API_KEY HF_TOKEN PGPASSWORD OPENAI_APIKEY GITHUB_PAT MYSQL_PWD DBPASS SENTRY_DSN"
SECRETS = dict.fromkeys(_NAMES.split(), "s")
SECRETS |= {"DATABASE_URL": "postgres://u:p@h/db", "STUFF": "sk-abcdefgh", "MODELHOST_SERVER__PORT": "1"}
NO_SECRETS = {
    "PATH": "/bin",
    "PWD": "/here",
    "TOKENIZERS_PARALLELISM": "1",
    "HTTPS_PROXY": "http://u:p@proxy:3128",
    "LANG": "C",
    "MONKEY_HOME": "/monkey",
}


def test_a_worker_sees_no_secrets_of_the_host() -> None:
    spec = WorkerSpec(plugin="echo", model="m", options={}, env={"MY_KEY": "given on purpose"})
    env = worker_environment({**SECRETS, **NO_SECRETS}, spec)
    assert not SECRETS.keys() & env.keys()
    assert NO_SECRETS.items() <= env.items()
    assert env["MY_KEY"] == "given on purpose"


def test_a_request_field_the_worker_does_not_know_is_refused_not_dropped() -> None:
    async def use(runner: ProcessRunner) -> None:
        runner._missing["generate"] = frozenset({"min_p"})
        assert await collect(runner.call("generate", chat("fine"), Context()))
        with pytest.raises(errors.UnsupportedError, match="min_p"):
            runner.call("generate", chat("not fine", min_p=0.5), Context())

    running("process", use)


def test_a_message_an_older_worker_would_drop_something_of_is_refused_and_others_are_sent() -> None:
    async def use(runner: ProcessRunner) -> None:
        runner._unknown = Unknown({})  # as of a hello that lists nothing
        assert await collect(runner.call("generate", chat("fine"), Context()))
        document = DocumentPart(document=Blob(b"%PDF"))
        request = GenerateRequest(messages=(Message(role="user", content=(document, TextPart(text="Read it."))),))
        with pytest.raises(errors.UnsupportedError, match="DocumentPart is newer"):
            runner.call("generate", request, Context())

    running("process", use)


def test_a_worker_of_another_protocol_is_refused_with_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    from modelhost.wire import frames

    monkeypatch.setattr(frames, "PROTOCOL", 99)

    async def main() -> None:
        with pytest.raises(errors.PluginError, match="install the same modelhost"):
            await worker().start()

    asyncio.run(main())


def test_live_input_that_breaks_off_fails_the_call_and_not_the_worker() -> None:
    async def use(runner: ProcessRunner) -> None:
        live: EventStream[bytes] = EventStream()
        events = runner.call("transcribe", TranscribeRequest(), Context(input=live))
        live.put(b"1234")
        assert await anext(events) == Partial(text="4 bytes")
        live.finish(ConnectionResetError("gone"))
        with pytest.raises(errors.BackendFailedError, match="broke off"):
            await collect(events)
        assert await collect(runner.call("generate", chat("on it goes"), Context()))

    running("process", use)


@pytest.mark.parametrize(
    "said", [b"\xff" * 64, (2**31).to_bytes(4, "big"), b"\x00\x00\x00\x01\xc1"], ids=["noise", "huge", "no msgpack"]
)
def test_a_worker_that_talks_nonsense_is_ended(said: bytes) -> None:
    async def main() -> None:
        died = asyncio.get_running_loop().create_future()
        runner = worker(died.set_result)
        await runner.start()
        runner._channel.data_received(said)
        assert "SIGKILL" in await asyncio.wait_for(died, 10)

    asyncio.run(main())


NASTY = """
from modelhost import Backend, Delta, Done, ModelCard, Options, OverloadedError, hookimpl
class Nasty(Backend[Options]):
    def load(self):
        return ModelCard(concurrency=8)
    @hookimpl
    async def generate(self, request, context):
        match request.messages[-1].text:
            case "huge":
                yield Delta(text="x" * 70 * 2**20)
            case "index":
                yield Delta(text="x", index=7)
            case "never":
                raise OverloadedError("ask another day", retry_after=float("inf"))
            case "callback":
                context.on_cancel(lambda: 1 / 0)
                yield Delta(text="x")
                import asyncio
                await asyncio.sleep(60)
        yield Done()
"""


@pytest.fixture
def nasty(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Install a plugin that does what no plugin should."""
    fake_plugin(tmp_path, "nasty", NASTY, target="Nasty")
    put_on_path(monkeypatch, tmp_path)


@pytest.mark.usefixtures("nasty")
def test_a_backend_that_breaks_the_contract_gets_typed_errors_and_lives_on() -> None:
    async def main() -> None:
        runner = ProcessRunner(
            WorkerSpec(plugin="nasty", model="m"), log=Log(silent), watch=Watch(), host_call=answered_by_the_host
        )
        await runner.start()
        for said, error in (
            ("huge", errors.BackendFailedError),
            ("index", errors.PluginError),
            ("never", errors.OverloadedError),
        ):
            with pytest.raises(error) as caught:
                await asyncio.wait_for(collect(runner.call("generate", chat(said), Context())), 20)
            assert caught.value.retry_after is None
        settled = asyncio.Event()
        events = runner.call("generate", chat("callback"), Context(), settled.set)
        await anext(events)
        events.close()
        await asyncio.wait_for(settled.wait(), 5)
        assert await collect(runner.call("generate", chat("fine"), Context())) == [Done()]
        await runner.stop()

    asyncio.run(main())


def test_a_request_no_worker_can_be_sent_is_bad_input() -> None:
    async def use(runner: ProcessRunner) -> None:
        for request in (chat("x", seed=2**70), chat("x", tools=(Tool(name="f", parameters={"maximum": 10**30}),))):
            with pytest.raises(errors.BadInputError, match="too large"):
                await collect(runner.call("generate", request, Context()))
        assert await collect(runner.call("generate", chat("fine"), Context()))

    running("process", use)
