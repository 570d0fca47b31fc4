"""The models, plugins and workers over HTTP, and the health of the host."""

import os
import signal
from pathlib import Path
from typing import Any

import pytest
from serving import Serve, Served, eventually

CONFIG = """
[models.echo]
plugin = "echo"
aliases = ["org/repo"]

[models.narrow]
plugin = "echo"
abilities = ["embed"]

[models.ready]
plugin = "echo"
preload = true

[models.broken]
plugin = "echo"
options = { load_fault = "raise" }

[models.stranger]
plugin = "not_installed"

[routes]
generate = ["stranger", "broken", "echo"]
"""


WELL = """
[models.echo]
plugin = "echo"

[models.paced]
plugin = "echo"
options = { pace = 20 }

[models.mortal]
plugin = "echo"
options = { pace = 20 }

[models.late]
plugin = "echo"
options = { load_seconds = 0.5 }

[models.later]
plugin = "echo"
options = { load_seconds = 3 }
"""


@pytest.fixture(scope="module")
def well(serve: Serve) -> Served:
    """A host whose models are all well."""
    return serve(WELL)


@pytest.fixture(scope="module")
def host(serve: Serve) -> Served:
    host = serve(CONFIG)
    eventually(lambda: host.client.get("/readyz").status_code == 200)
    return host


def model(host: Served, name: str) -> dict[str, Any]:
    answer: dict[str, Any] = host.client.get(f"/v1/models/{name}").json()
    return answer


def test_models_are_listed_in_openais_shape_with_what_they_can_do(host: Served) -> None:
    answer = host.client.get("/v1/models").json()
    assert answer["object"] == "list"
    models = {entry["id"]: entry for entry in answer["data"]}
    assert set(models) == {"echo", "narrow", "ready", "broken", "stranger"}
    for entry in models.values():
        assert entry["object"] == "model"
        assert isinstance(entry["created"], int)
        assert entry["owned_by"]
    assert models["ready"]["state"] == "ready"
    assert models["ready"]["context_length"] == 4096
    assert models["ready"]["capabilities"] == {"transcription": True, "chat": True, "multimodal": True, "streaming": True}
    assert models["narrow"]["abilities"] == ["embed"]


@pytest.mark.parametrize("name", ["echo", "org/repo", "org%2Frepo"])
def test_a_model_is_found_by_alias_and_with_slashes_either_way(host: Served, name: str) -> None:
    assert model(host, name)["id"] == "echo"


def test_an_ability_that_the_file_takes_away_is_refused(host: Served) -> None:
    assert host.chat("narrow").status_code == 400


def test_loading_and_unloading_change_the_state_and_free_memory(host: Served) -> None:
    loaded = host.client.post("/v1/models/load", json={"model": "echo"}).json()
    assert loaded["state"] == "ready"
    pid = host.pid_of("echo")
    freed = host.client.delete("/v1/models/echo").json()
    assert freed["deleted"] is True
    assert freed["freed_bytes"] > 5_000_000
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
    assert model(host, "echo")["state"] == "cold"
    assert host.chat("echo").status_code == 200


def test_the_older_name_of_the_field_loads_too(host: Served) -> None:
    assert host.client.post("/v1/models/load", json={"model_name": "echo"}).json()["id"] == "echo"
    assert host.client.post("/v1/models/load", json={}).status_code == 400


def test_a_model_that_fails_to_load_says_so_and_backs_off(host: Served) -> None:
    first = host.chat("broken")
    assert (first.status_code, first.json()["error"]["code"]) == (503, "backend_failed")
    again = host.chat("broken")
    assert again.status_code == 503
    assert int(again.headers["retry-after"]) >= 5
    assert model(host, "broken")["state"] == "failed"


def test_a_plugin_that_is_missing_stops_only_its_models(host: Served) -> None:
    answer = host.chat("stranger")
    assert answer.status_code == 503
    assert "not installed" in answer.json()["error"]["message"]
    assert answer.headers["x-should-retry"] == "false"
    plugins = {entry["name"]: entry for entry in host.client.get("/v1/plugins").json()["data"]}
    assert plugins["not_installed"]["state"] == "quarantined"
    assert plugins["echo"]["state"] == "active"
    assert "ready" in plugins["echo"]["models"]


def test_a_route_falls_back_to_the_first_model_that_is_there(host: Served) -> None:
    answer = host.client.post("/v1/chat/completions", json={"messages": [{"role": "user", "content": "hi"}]})
    assert (answer.status_code, answer.json()["model"]) == (200, "echo")
    for broken in ("stranger", "broken"):
        assert f'modelhost_fallbacks_total{{ability="generate",model="{broken}"}}' in host.client.get("/metrics").text


def test_a_route_does_not_fall_back_when_the_input_is_bad(serve: Serve) -> None:
    host = serve(
        '[models.a]\nplugin = "echo"\noptions = { fault = "bad_input" }\n[models.b]\nplugin = "echo"\n'
        '[routes]\ngenerate = ["a", "b"]\n'
    )
    answer = host.client.post("/v1/chat/completions", json={"messages": [{"role": "user", "content": "hi"}]})
    assert answer.status_code == 400


def test_health_is_degraded_and_says_why(host: Served) -> None:
    host.chat("broken")
    health = host.client.get("/health").json()
    assert health["status"] == "degraded"
    assert health["models"]["ready"] == {
        "state": "ready",
        "device": "cpu",
        "model_available": True,
        "model_loaded": True,
        "context_length": 4096,
        "supports_tools": False,
        "last_error": None,
    }
    assert "ValueError" in health["models"]["broken"]["last_error"]


def test_health_is_healthy_without_broken_models(well: Served) -> None:
    assert well.client.get("/health").json()["status"] == "healthy"
    assert well.client.get("/livez").text == "ok"


def test_readiness_waits_for_what_is_preloaded(serve: Serve) -> None:
    host = serve('[models.echo]\nplugin = "echo"\npreload = true\noptions = { load_seconds = 1.5 }\n')
    assert (host.client.get("/readyz").status_code, host.client.get("/livez").status_code) == (503, 200)
    eventually(lambda: host.client.get("/readyz").status_code == 200)
    assert model(host, "echo")["state"] == "ready"


def test_many_that_ask_at_once_load_once(well: Served) -> None:
    import threading

    answers: list[int] = []
    threads = [threading.Thread(target=lambda: answers.append(well.chat("late").status_code)) for _ in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == [200] * 12
    eventually(lambda: sum('"loaded"' in line and '"late"' in line for line in well.log) == 1)


def test_running_requests_finish_before_a_model_is_unloaded(well: Served) -> None:
    body = {"model": "paced", "messages": [{"role": "user", "content": "a b c d e f g h i j"}], "stream": True}
    with well.client.stream("POST", "/v1/chat/completions", json=body) as response:
        lines = response.iter_lines()
        next(lines)
        freed = well.client.delete("/v1/models/paced").json()
        assert freed["state"] == "cold"
        assert "data: [DONE]" in list(lines)


def test_the_thread_budget_is_shared(serve: Serve) -> None:
    host = serve('[server]\nthreads = 4\n[models.a]\nplugin = "echo"\n[models.b]\nplugin = "echo"\n')
    threads = []
    for name in ("a", "b"):
        host.chat(name)
        with open(f"/proc/{host.pid_of(name)}/environ", "rb") as file:  # noqa: PTH123
            environ = dict(pair.split(b"=", 1) for pair in file.read().split(b"\0") if b"=" in pair)
        threads.append(environ[b"OMP_NUM_THREADS"])
    assert threads == [b"4", b"2"]


def test_stopping_lets_streams_finish_and_refuses_new_requests(serve: Serve) -> None:
    host = serve('[models.echo]\nplugin = "echo"\noptions = { pace = 20 }\n')
    body = {"model": "echo", "messages": [{"role": "user", "content": "word " * 40}], "stream": True}
    with host.client.stream("POST", "/v1/chat/completions", json=body) as response:
        lines = response.iter_lines()
        next(lines)
        host.process.send_signal(signal.SIGTERM)
        eventually(lambda: host.client.get("/readyz").status_code == 503)
        refused = host.chat("echo")
        assert (refused.status_code, refused.json()["error"]["code"]) == (503, "draining")
        assert host.client.get("/livez").status_code == 200
        assert "data: [DONE]" in list(lines)
    assert host.process.wait(10) == 0


def test_stopping_cuts_what_takes_longer_than_the_drain(serve: Serve) -> None:
    host = serve('[server]\ndrain_seconds = 0.3\n[models.echo]\nplugin = "echo"\noptions = { pace = 1 }\n')
    body = {"model": "echo", "messages": [{"role": "user", "content": "word " * 500}], "stream": True}
    with host.client.stream("POST", "/v1/chat/completions", json=body) as response:
        lines = response.iter_lines()  # kept: a forgotten iterator closes the response
        next(lines)
        host.process.send_signal(signal.SIGTERM)
        assert host.process.wait(10) == 0


def test_unloading_a_model_that_is_loading_tells_who_waits(well: Served) -> None:
    import threading

    answers: list[Any] = []
    waiting = threading.Thread(target=lambda: answers.append(well.chat("later")))
    waiting.start()
    eventually(lambda: model(well, "later")["state"] == "loading")
    well.client.delete("/v1/models/later")
    waiting.join()
    assert (answers[0].status_code, answers[0].json()["error"]["code"]) == (503, "model_not_ready")
    assert model(well, "later")["state"] == "cold"


def test_an_inline_model_unloaded_at_work_tells_its_callers(serve: Serve) -> None:
    host = serve('[server]\ndrain_seconds = 0.2\n[models.echo]\nplugin = "echo"\nrun = "inline"\noptions = { pace = 5 }\n')
    body = {"model": "echo", "messages": [{"role": "user", "content": "word " * 100}], "stream": True}
    with host.client.stream("POST", "/v1/chat/completions", json=body) as response:
        lines = response.iter_lines()
        next(lines)
        host.client.delete("/v1/models/echo")
        assert '"code":"backend_crashed"' in [line for line in lines if line][-1]
    assert host.chat("echo", "again").status_code == 200


def test_loading_and_unloading_at_once_never_leaves_a_model_stuck(well: Served) -> None:
    import threading

    def load() -> None:
        well.client.post("/v1/models/load", json={"model": "echo"})

    def unload() -> None:
        well.client.delete("/v1/models/echo")

    for _ in range(15):
        threads = [threading.Thread(target=act) for act in (load, unload, load, unload)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    eventually(lambda: well.chat("echo").status_code == 200)
    eventually(lambda: well.worker("echo")["in_flight"] == 0)


def test_a_worker_that_dies_while_it_is_unloaded_can_be_loaded_again(well: Served) -> None:
    import threading

    body = {"model": "mortal", "messages": [{"role": "user", "content": "word " * 200}], "stream": True}
    with well.client.stream("POST", "/v1/chat/completions", json=body) as response:
        lines = response.iter_lines()
        next(lines)
        pid = well.pid_of("mortal")
        unloading = threading.Thread(target=lambda: well.client.delete("/v1/models/mortal"))
        unloading.start()
        eventually(lambda: model(well, "mortal")["state"] == "draining")
        os.kill(pid, signal.SIGKILL)
        assert '"code":"backend_crashed"' in [line for line in lines if line][-1]
    unloading.join()
    eventually(lambda: well.chat("mortal", "again").status_code == 200)


def test_stopping_does_not_wait_for_weights_that_are_being_verified(serve: Serve, tmp_path: Path) -> None:
    import threading

    weights = tmp_path / "huge.gguf"
    with weights.open("wb") as file:
        file.truncate(40 * 2**30)  # sparse: nothing on disk, but minutes to hash
    source = f'{{ uri = "{weights}", sha256 = "{"0" * 64}" }}'
    host = serve(f'[server]\ndrain_seconds = 0.5\n[models.m]\nplugin = "gguf_chat"\noptions = {{ source = {source} }}\n')
    answers: list[Any] = []
    asking = threading.Thread(target=lambda: answers.append(host.chat("m")))
    asking.start()
    eventually(lambda: model(host, "m")["state"] == "loading")
    host.process.send_signal(signal.SIGTERM)
    assert host.process.wait(15) == 0
    asking.join()
    assert (answers[0].status_code, answers[0].json()["error"]["code"]) == (503, "draining")
    assert not any("Traceback" in line for line in host.log)
