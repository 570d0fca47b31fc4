"""A request that ends workers is known by its content and refused; one whose worker was ended by somebody else is not."""

import asyncio
import base64
import os
import signal
import threading
from pathlib import Path

import httpx
import pytest
from fake_plugins import fake_plugin
from modelhost.contract.types import Blob, TranscribeRequest
from modelhost.pool.poison_requests import MEMORY_SECONDS, Evidence, PoisonRequests
from modelhost.runner.death import death_of, oom_kills
from modelhost.testing import chat
from serving import Serve, Served, eventually
from websockets.sync.client import connect

FRAGILE = """
import os
from modelhost import Backend, Delta, Done, ModelCard, Options, Partial, Segment, hookimpl

class Fragile(Backend[Options]):
    def load(self):
        return ModelCard(concurrency=4, features=("live",))

    @hookimpl
    def generate(self, request, context):
        said = request.messages[-1].text
        yield Delta(text="I am asked ")
        if "wait" in said and context.wait(60):
            return
        yield Done()

    @hookimpl
    def transcribe(self, request, context):
        if request.audio is None:
            for piece in context.input:
                if b"DIE" in piece:
                    os._exit(7)
                yield Partial(text=str(len(piece)))
        elif b"DIE" in request.audio.read():
            os._exit(7)
        yield Segment(start=0, end=1, text="heard")
        yield Done()

    @hookimpl
    def summarize(self, request, context):
        if b"DIE" in request.text.read():
            os._exit(7)
        yield Delta(text="short")
        yield Done()
"""

CONFIG = "".join(f'[models.{name}]\nplugin = "fragile"\n' for name in ("ears", "reader", "live", "shot"))


@pytest.fixture(scope="module")
def host(serve: Serve, tmp_path_factory: pytest.TempPathFactory) -> Served:
    site = fake_plugin(tmp_path_factory.mktemp("site"), "fragile", FRAGILE, target="Fragile")
    return serve(CONFIG, env={"PYTHONPATH": str(site)})


def code(answer: httpx.Response) -> str:
    return "ok" if answer.status_code == 200 else answer.json()["error"]["code"]


def well(host: Served, model: str) -> None:
    """Wait until a model serves, so that its next worker is started at once."""
    eventually(lambda: host.chat(model, "hello").status_code == 200)


def upload(host: Served, model: str, sound: bytes) -> str:
    well(host, model)
    return code(host.client.post("/v1/audio/transcriptions", data={"model": model}, files={"file": ("a.wav", sound)}))


def test_a_recording_that_ends_workers_is_refused_the_third_time_however_it_is_sent(host: Served) -> None:
    deadly = b"DIE" * 1_000_000
    assert [upload(host, "ears", deadly) for _ in range(3)] == ["backend_crashed"] * 2 + ["request_refused"]
    in_json = {"model": "ears", "audio": base64.b64encode(deadly).decode(), "format": "wav"}
    well(host, "ears")
    answer = host.client.post("/v1/audio/transcriptions", json=in_json)
    assert code(answer) == "request_refused"
    assert upload(host, "ears", b"LIVE" * 1_000_000) == "ok"


def test_a_text_that_ends_workers_is_refused_the_third_time(host: Served) -> None:
    def ask(text: bytes) -> str:
        well(host, "reader")
        return code(host.client.post("/summarize", data={"model": "reader"}, files={"file": ("a.txt", text)}))

    assert [ask(b"DIE") for _ in range(3)] == ["backend_crashed"] * 2 + ["request_refused"]
    assert ask(b"another text") == "ok"


def test_what_came_live_is_not_known_so_nobody_elses_live_sound_is_refused(host: Served) -> None:
    def listen(piece: bytes) -> str:
        well(host, "live")
        with connect(f"{host.url.replace('http', 'ws')}/ws/stt?model=live") as line:
            line.send(piece)
            return str(line.recv(timeout=30))

    for _ in range(2):
        assert "backend_crashed" in listen(b"DIE" * 20)
    assert '"partial"' in listen(bytes(60))


def test_a_request_whose_worker_was_killed_by_somebody_else_is_served_again(host: Served) -> None:
    def asked(answers: list[str]) -> threading.Thread:
        thread = threading.Thread(target=lambda: answers.append(code(host.chat("shot", "wait, it is always the same"))))
        thread.start()
        eventually(lambda: host.worker("shot")["in_flight"] == 1)
        return thread

    answers: list[str] = []
    for _ in range(2):
        well(host, "shot")
        thread = asked(answers)
        os.kill(host.pid_of("shot"), signal.SIGKILL)
        thread.join(30)
    assert answers == ["backend_crashed"] * 2
    well(host, "shot")
    thread = asked(answers)  # it is worked on, not refused
    (running,) = host.client.get("/v1/requests").json()["data"]
    host.client.delete(f"/v1/requests/{running['id']}")
    thread.join(30)
    assert answers[2] == "cancelled"


@pytest.mark.parametrize(
    ("status", "facts", "why", "from_outside"),
    [
        (3, {}, "it exited with status 3", False),
        (-signal.SIGSEGV, {}, "it was ended by SIGSEGV", False),
        (-signal.SIGABRT, {}, "it was ended by SIGABRT", False),
        (
            -signal.SIGILL,
            {},
            "it was ended by SIGILL: a library in it was built for another processor; "
            "install the plugin anew on this machine, without pip's cache",
            False,
        ),
        (-signal.SIGKILL, {}, "it was ended by SIGKILL", True),
        (-signal.SIGTERM, {}, "it was ended by SIGTERM", True),
        (-signal.SIGRTMIN - 1, {}, f"it was ended by signal {signal.SIGRTMIN + 1}", True),
        (-signal.SIGKILL, {"out_of_memory": True}, "it was ended by SIGKILL: the system had no memory left", False),
        (-signal.SIGTERM, {"out_of_memory": True}, "it was ended by SIGTERM", True),
        (-signal.SIGKILL, {"ended_by_us": True, "why": "it did not answer for 60 s"}, "it did not answer for 60 s", False),
        (-signal.SIGKILL, {"ended_by_us": True}, "it was ended by SIGKILL", False),
    ],
)
def test_which_deaths_a_request_can_be_to_blame_for(status: int, facts: dict[str, object], why: str, from_outside: bool) -> None:
    death = death_of(status, **{"why": "", "ended_by_us": False, "out_of_memory": False, **facts})  # type: ignore[arg-type]
    assert (death.why, death.from_outside) == (why, from_outside)


def test_the_kernels_count_of_processes_it_has_ended_is_read(tmp_path: Path) -> None:
    (tmp_path / "vmstat").write_text("nr_free_pages 1\noom_kill 17\nnumastat 0\n")
    assert oom_kills(tmp_path / "vmstat") == 17
    assert oom_kills(tmp_path / "absent") == 0


class TestSuspects:
    @staticmethod
    async def killed(suspects: PoisonRequests, request: object, now: float) -> None:
        evidence = Evidence.of(request)
        assert evidence
        suspects.blame(evidence, now)

    def test_a_recording_is_the_same_from_whatever_file_and_also_when_that_is_gone(self, tmp_path: Path) -> None:
        async def main() -> None:
            suspects = PoisonRequests()
            assert not suspects
            for number in range(2):
                file = tmp_path / f"upload-{number}"
                file.write_bytes(b"sound")
                await self.killed(suspects, TranscribeRequest(audio=Blob(path=file)), 0.0)
                file.unlink()
            assert await suspects.refuses(TranscribeRequest(audio=Blob(b"sound")), 1.0)
            assert not await suspects.refuses(TranscribeRequest(audio=Blob(b"other")), 1.0)
            assert not await suspects.refuses(TranscribeRequest(audio=Blob(b"sound"), language="de"), 1.0)
            assert not await suspects.refuses(TranscribeRequest(audio=Blob(b"sound")), MEMORY_SECONDS)
            assert not suspects, "what is over is forgotten, and costs nothing any more"

        asyncio.run(main())

    def test_what_cannot_be_taken_down_is_not_refused_for_it(self, tmp_path: Path) -> None:
        async def main() -> None:
            suspects = PoisonRequests()
            assert Evidence.of(TranscribeRequest(audio=Blob(path=tmp_path / "gone"))) is None
            await self.killed(suspects, chat("x"), 0.0)
            assert not await suspects.refuses(chat("x", seed=2**70), 0.0)

        asyncio.run(main())
