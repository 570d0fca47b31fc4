"""What happens when a worker dies, hangs or stops: its callers are told at once, and nobody else notices."""

import os
import signal
import threading
import time
from pathlib import Path
from typing import Any

import httpx
import pytest
from fake_plugins import fake_plugin
from serving import Serve, Served, eventually

CONFIG = """
[server]
worker_timeout = 3.0
cancel_grace = 0.5

[models.victim]
plugin = "echo"
options = { pace = 20 }

[models.bystander]
plugin = "echo"
options = { pace = 20 }

[models.exits]
plugin = "echo"
options = { fault = "exit", fault_after = 1 }

[models.segfaults]
plugin = "echo"
options = { fault = "segfault", fault_after = 1 }

[models.hangs]
plugin = "echo"
options = { fault = "hang", fault_after = 1 }

[models.chatters]
plugin = "echo"
options = { chatter = 200000 }

[models.plain]
plugin = "echo"

[models.stubborn]
plugin = "stubborn"

[models.missing]
plugin = "gguf_chat"
options = { source = "no-such.gguf" }

[models.embedder]
plugin = "echo"
abilities = ["embed"]
"""

STUBBORN = """
import time
from modelhost import Backend, Delta, Done, ModelCard, Options, hookimpl
class Stubborn(Backend[Options]):
    def load(self):
        return ModelCard()
    @hookimpl
    def generate(self, request):
        yield Delta(text="now I work without looking up")
        if "stubborn" in request.messages[-1].text:
            time.sleep(600)
        yield Done()
"""


@pytest.fixture(scope="module")
def host(serve: Serve, tmp_path_factory: pytest.TempPathFactory) -> Served:
    folder = tmp_path_factory.mktemp("stubborn")
    (folder / "stubborn.py").write_text(STUBBORN)
    info = folder / "stubborn-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: stubborn\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[modelhost.backends]\nstubborn = stubborn:Stubborn\n")
    return serve(CONFIG, env={"PYTHONPATH": str(folder)})


class Stream:
    """A stream that is read in a thread of its own."""

    def __init__(self, host: Served, model: str, words: int = 400) -> None:
        self.lines: list[str] = []
        self.ended = 0.0
        self.started = threading.Event()
        body = {"model": model, "messages": [{"role": "user", "content": "word " * words}], "stream": True}
        self._thread = threading.Thread(target=self._read, args=(host, body), daemon=True)
        self._thread.start()

    def _read(self, host: Served, body: dict[str, Any]) -> None:
        with httpx.stream("POST", f"{host.url}/v1/chat/completions", json=body, timeout=30) as response:
            for line in response.iter_lines():
                self.lines.append(line)
                self.started.set()
        self.ended = time.monotonic()

    def join(self) -> list[str]:
        self._thread.join(30)
        assert not self._thread.is_alive()
        return [line for line in self.lines if line]


def test_killing_a_worker_under_eight_streams_hurts_nobody_else(host: Served) -> None:
    host.chat("victim", "warm")
    bystander = Stream(host, "bystander", words=40)
    bystander.started.wait(10)
    streams = [Stream(host, "victim") for _ in range(8)]
    for stream in streams:
        assert stream.started.wait(10)
    killed = time.monotonic()
    os.kill(host.pid_of("victim"), signal.SIGKILL)
    for stream in streams:
        lines = stream.join()
        assert '"code":"backend_crashed"' in lines[-1]
        assert stream.ended - killed < 10, "half of what the answer would have taken"
    assert host.chat("victim", "alive").json()["choices"][0]["message"]["content"] == "alive "
    assert bystander.join()[-1] == "data: [DONE]"


@pytest.mark.parametrize("model", ["exits", "segfaults"])
def test_a_backend_that_ends_its_process_is_told_and_comes_back(host: Served, model: str) -> None:
    answer = host.chat(model, f"one two {model}")
    assert (answer.status_code, answer.json()["error"]["code"]) == (502, "backend_crashed")
    assert answer.headers["x-should-retry"] == "true"
    eventually(lambda: host.chat(model, "one").status_code == 200)  # a single word ends before the fault


def test_a_request_that_has_killed_two_workers_is_refused(host: Served) -> None:
    poison = "this one kills"
    codes = []

    def refused() -> bool:
        codes.append(host.chat("exits", poison).json()["error"]["code"])
        return codes[-1] == "request_refused"

    eventually(refused)
    assert codes.count("backend_crashed") == 2
    eventually(lambda: host.chat("exits", "one").status_code == 200)


def test_a_hung_backend_is_ended_and_comes_back(host: Served) -> None:
    answer = host.chat("hangs", "one two three")
    assert answer.json()["error"]["code"] == "backend_crashed"
    eventually(lambda: host.chat("hangs", "one").status_code == 200)


def test_a_stopped_worker_is_ended_and_comes_back(host: Served) -> None:
    host.chat("victim", "warm")
    os.kill(host.pid_of("victim"), signal.SIGSTOP)
    assert host.chat("victim", "are you there").json()["error"]["code"] == "backend_crashed"
    eventually(lambda: host.chat("victim", "again").status_code == 200)


def test_stopping_the_host_for_longer_than_its_patience_ends_no_worker(serve: Serve) -> None:
    host = serve('[server]\nworker_timeout = 1.5\n[models.echo]\nplugin = "echo"\n')
    host.chat("echo", "warm")
    worker = host.pid_of("echo")
    os.kill(host.process.pid, signal.SIGSTOP)
    time.sleep(3)  # the pause is made of time
    os.kill(host.process.pid, signal.SIGCONT)
    for _ in range(5):
        assert host.chat("echo", "still there").status_code == 200
    assert (host.pid_of("echo"), host.worker("echo")["restarts"]) == (worker, 0)


def test_a_backend_that_ignores_cancellation_is_ended_and_comes_back(host: Served) -> None:
    host.chat("stubborn", "warm")
    with (
        pytest.raises(httpx.ReadTimeout),
        httpx.stream(
            "POST",
            f"{host.url}/v1/chat/completions",
            json={"model": "stubborn", "messages": [{"role": "user", "content": "be stubborn"}], "stream": True},
            timeout=1.0,
        ) as response,
    ):
        list(response.iter_lines())
    assert host.worker("stubborn")["in_flight"] == 1
    eventually(lambda: host.worker("stubborn")["restarts"] == 1)
    eventually(lambda: host.chat("stubborn", "easy").status_code == 200)


def test_a_worker_that_floods_its_output_is_read_and_its_end_is_kept_for_the_admin(host: Served) -> None:
    assert host.chat("chatters", "word " * 50).status_code == 200
    eventually(lambda: len(host.worker("chatters")["output"]) == 64 * 1024)
    assert not any("xxxx" in line for line in host.log)


def test_the_host_is_alive_after_all_of_that(host: Served) -> None:
    assert host.client.get("/livez").text == "ok"
    assert host.chat("bystander", "fine").status_code == 200


def test_a_deadline_covers_loading(serve: Serve) -> None:
    host = serve('[server]\nrequest_timeout = 0.5\n[models.echo]\nplugin = "echo"\noptions = { load_seconds = 2 }\n')
    answer = host.chat("echo")
    assert (answer.status_code, answer.json()["error"]["code"]) == (504, "deadline_exceeded")
    eventually(lambda: host.chat("echo").status_code == 200)


def test_a_deadline_cuts_a_stream_with_an_error(serve: Serve) -> None:
    host = serve('[server]\nrequest_timeout = 1\n[models.echo]\nplugin = "echo"\noptions = { pace = 10 }\n')
    stream = Stream(host, "echo")
    assert '"code":"deadline_exceeded"' in stream.join()[-1]
    eventually(lambda: host.worker("echo")["in_flight"] == 0)


def test_missing_weights_say_what_to_do(host: Served) -> None:
    answer = host.chat("missing")
    assert answer.status_code == 503
    assert "no-such.gguf" in answer.json()["error"]["message"]
    assert answer.headers["x-should-retry"] == "false"
    assert host.client.get("/health").json()["models"]["missing"]["model_available"] is False


def test_a_client_that_reads_nothing_stalls_only_itself(host: Served) -> None:
    import socket

    address = httpx.URL(host.url)
    with socket.create_connection((address.host, address.port)) as deaf:
        deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        text = "word " * 100_000
        body = f'{{"model":"plain","messages":[{{"role":"user","content":"{text}"}}],"stream":true}}'.encode()
        head = "POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n"
        head += f"content-length: {len(body)}\r\n\r\n"
        deaf.sendall(head.encode() + body)
        eventually(lambda: host.worker("plain")["in_flight"] == 1)
        assert host.chat("plain", "quick").status_code == 200
    eventually(lambda: host.worker("plain")["in_flight"] == 0)


IMPORTS = {
    "raises": ("raise RuntimeError('secret')", "RuntimeError"),
    "exits": ("import os; os._exit(5)", "status 5"),
    "segfaults": ("import ctypes; ctypes.string_at(0)", "SIGSEGV"),
    "hangs": ("import time; time.sleep(600)", "longer than"),
}


def test_plugins_that_break_when_imported_are_set_aside_and_the_host_serves(serve: Serve, tmp_path: Path) -> None:
    # Each process of the host reads this when it starts; ten seconds would pass otherwise.
    (tmp_path / "sitecustomize.py").write_text("from modelhost.plugins import discovery\ndiscovery.DESCRIBE_SECONDS = 4.0\n")
    config = '[models.good]\nplugin = "echo"\n'
    for name, (code, _) in IMPORTS.items():
        fake_plugin(tmp_path, name, code)
        config += f'[models.bad-{name}]\nplugin = "{name}"\n'
    host = serve(config, env={"PYTHONPATH": str(tmp_path)})
    plugins = {entry["name"]: entry for entry in host.client.get("/v1/plugins").json()["data"]}
    for name, (_, reason) in IMPORTS.items():
        answer = host.chat(f"bad-{name}")
        assert (answer.status_code, answer.json()["error"]["code"]) == (503, "model_not_ready")
        assert reason in answer.json()["error"]["message"]
        assert plugins[name]["state"] == "quarantined"
        assert "secret" not in answer.text + "".join(host.log)
    assert host.chat("good").status_code == 200
    assert host.client.get("/health").json()["status"] == "degraded"


def test_what_only_the_operator_can_mend_is_not_worth_asking_again_however_often(host: Served) -> None:
    answers = [host.chat("missing") for _ in range(3)]
    assert [answer.status_code for answer in answers] == [503] * 3
    assert [answer.headers["x-should-retry"] for answer in answers] == ["false"] * 3
    assert all("retry-after" not in answer.headers for answer in answers)


def test_what_a_model_cannot_do_does_not_load_it(host: Served) -> None:
    assert host.chat("embedder").status_code == 400
    assert host.client.get("/health").json()["models"]["embedder"]["state"] == "cold"


GREEDY = """
import time
from modelhost import Backend, Delta, Done, ModelCard, Options, hookimpl
class Greedy(Backend[Options]):
    def load(self):
        if self.model == "hangs":
            time.sleep(600)
        return ModelCard()
    @hookimpl
    def generate(self, request):
        taken = [bytearray(2**20) for _ in range(int(request.messages[-1].text))]
        yield Delta(text=f"{len(taken)} MiB")
        yield Done()
"""


@pytest.fixture(scope="module")
def greedy(serve: Serve, tmp_path_factory: pytest.TempPathFactory) -> Served:
    site = fake_plugin(tmp_path_factory.mktemp("greedy"), "greedy", GREEDY, target="Greedy")
    config = """
[models.greedy]
plugin = "greedy"
max_memory_mb = 400
[models.hangs]
plugin = "greedy"
load_timeout = 3
[models.echo]
plugin = "echo"
"""
    return serve(config, env={"PYTHONPATH": str(site)})


def test_a_worker_gets_no_more_memory_than_it_may_take_and_lives_on(greedy: Served) -> None:
    assert greedy.chat("greedy", "50").json()["choices"][0]["message"]["content"] == "50 MiB"
    worker = greedy.pid_of("greedy")
    answer = greedy.chat("greedy", "1000")
    assert (answer.status_code, answer.json()["error"]["code"]) == (500, "backend_failed")
    assert greedy.chat("greedy", "50").status_code == 200
    assert greedy.pid_of("greedy") == worker
    assert int(Path(f"/proc/{worker}/oom_score_adj").read_text()) > int(
        Path(f"/proc/{greedy.process.pid}/oom_score_adj").read_text()
    )


def test_a_load_that_hangs_is_told_by_health_and_ended(greedy: Served) -> None:
    def workers() -> set[str]:
        host = greedy.process.pid
        return set(Path(f"/proc/{host}/task/{host}/children").read_text().split())

    before = workers()
    answers: list[httpx.Response] = []
    asking = threading.Thread(target=lambda: answers.append(greedy.chat("hangs")))
    asking.start()
    eventually(lambda: greedy.client.get("/health").json()["models"]["hangs"]["state"] == "loading")
    eventually(lambda: "has been loading for" in (greedy.client.get("/health").json()["models"]["hangs"]["last_error"] or ""))
    seen = greedy.client.get("/health").json()
    assert (seen["status"], seen["models"]["hangs"]["state"]) == ("degraded", "loading")
    assert workers() > before
    asking.join(30)
    assert answers[0].status_code == 503
    assert "it was not loaded within 3 s" in answers[0].json()["error"]["message"]
    eventually(lambda: workers() == before)
    assert greedy.client.get("/health").json()["models"]["hangs"]["state"] == "failed"
    assert greedy.chat("echo").status_code == 200
