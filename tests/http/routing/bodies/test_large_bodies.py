"""Bodies of every kind on their way in: none fills the host's memory, and what is said of them is true."""

import asyncio
import base64
import contextlib
import io
import json
import os
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import given, strategies as st
from modelhost.contract.errors import BadInputError, OverloadedError
from modelhost.http.routing.audio.transcription import TranscriptionForm
from modelhost.http.routing.bodies import base64_fields as lifting, memory, urlencoded
from modelhost.http.routing.bodies.base64_fields import Lifter
from modelhost.http.routing.bodies.form import Form, Texts
from modelhost.http.routing.bodies.json_text import MOST_VALUES, check_values
from modelhost.http.routing.bodies.media import Base64File, Media
from modelhost.http.routing.bodies.memory import BodyMemory
from modelhost.http.routing.bodies.spool import Spool
from modelhost.http.routing.bodies.urlencoded import read_urlencoded
from modelhost.http.routing.errors import TooLargeError
from modelhost.http.routing.forms import FormReader
from raw_client import Client
from serving import Serve, Served, eventually
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

CONFIG = """
[server]
max_audio_mb = 24
max_body_mb = 1

[models.echo]
plugin = "echo"
"""

TRANSCRIBE = "/v1/audio/transcriptions"


@pytest.fixture(scope="module")
def host(serve: Serve) -> Served:
    host = serve(CONFIG)
    assert host.chat("echo").status_code == 200
    return host


def rss(host: Served) -> float:
    return int(Path(f"/proc/{host.process.pid}/statm").read_text().split()[1]) * 4096 / 2**20


def json_upload(size: int, **more: Any) -> bytes:
    return json.dumps({"model": "echo", "audio": base64.b64encode(bytes(size)).decode(), **more}).encode()


def heard(answer: httpx.Response) -> str:
    assert answer.status_code == 200, answer.text
    return str(answer.json()["text"])


class TestMemory:
    def test_uploads_in_base64_lie_on_disk_while_they_arrive_and_after(self, host: Served) -> None:
        """Four of 20 MiB; in memory they were 110 MiB before they were decoded, and twice that then."""
        body = json_upload(20 * 2**20)
        head = f"POST {TRANSCRIBE} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n".encode()
        before = rss(host)
        with ExitStack() as stack:
            clients = [stack.enter_context(Client(host.url)) for _ in range(4)]
            for client in clients:
                client.send(head, b"content-length: %d\r\n\r\n" % len(body), body[:-10])
            eventually(
                lambda: sum(file.stat().st_size for folder in host.uploads() for file in folder.iterdir()) > 3.9 * len(body)
            )
            arrived = rss(host)
            for client in clients:
                client.send(body[-10:])
            answers = [client.answer() for client in clients]
        assert [status for status, _, _ in answers] == [200] * 4
        assert all(b"heard %d bytes" % (20 * 2**20) in answer for _, _, answer in answers)
        assert arrived - before < 32
        assert rss(host) - before < 48
        eventually(lambda: not host.uploads())

    @pytest.mark.parametrize("path", [TRANSCRIBE, "/parse-ast", "/embed", "/summarize", "/v1/dialogue", "/v1/audio/voices"])
    def test_the_fields_of_a_form_have_one_bound_together(self, host: Served, path: str) -> None:
        fields = [(f"field{number}", (None, "x" * 100_000)) for number in range(12)]
        answer = host.client.post(path, files=[("file", ("a.txt", b"x")), *fields])
        assert (answer.status_code, answer.json()["error"]["code"]) == (413, "request_too_large")
        assert "max_body_mb" in answer.json()["error"]["message"]

    def test_a_field_called_audio_is_text_where_the_route_has_none(self, host: Served) -> None:
        answer = host.client.post("/parse-ast", files={"audio": (None, "x" * 2 * 2**20), "file": ("a.py", b"x = 1")})
        assert answer.status_code == 413

    def test_what_a_body_may_become_is_bounded(self, host: Served) -> None:
        body = b'{"model":"echo","messages":[{"role":"user","content":"hi"}],"metadata":{"a":[' + b"{}," * 300_000 + b"1]}}"
        answer = host.client.post("/v1/chat/completions", content=body, headers={"content-type": "application/json"})
        assert (answer.status_code, answer.json()["error"]["code"]) == (400, "too_many_values")

    def test_braces_in_a_text_are_text(self, host: Served) -> None:
        check_values(json.dumps({"text": '{"\\\\": [}:' * MOST_VALUES}).encode())
        assert host.chat("echo", "{" * 300_000).status_code == 200


class TestBodyMemory:
    def test_who_finds_none_waits_for_it(self) -> None:
        async def scene() -> None:
            lent = BodyMemory(100)
            first = await lent.take(80)
            waiting = asyncio.create_task(lent.take(50))
            await asyncio.sleep(0)
            assert not waiting.done()
            first.release()
            assert (await waiting).size == 50
            assert lent.used == 50

        asyncio.run(scene())

    def test_who_waits_too_long_is_told_when_to_come_back(self, monkeypatch: pytest.MonkeyPatch) -> None:
        async def scene() -> None:
            lent = BodyMemory(100)
            first = await lent.take(80)
            with pytest.raises(OverloadedError) as caught:
                await lent.take(50)
            assert (caught.value.code, caught.value.retry, caught.value.retry_after) == ("bodies_full", True, memory.AGAIN)
            first.release()
            assert lent.used == 0
            assert (await lent.take(1000)).size == 100

        monkeypatch.setattr(memory, "PATIENCE", 0)
        asyncio.run(scene())

    def test_no_key_takes_all_of_it(self) -> None:
        async def scene() -> None:
            lent = BodyMemory(100)
            first = await lent.take(40, "greedy")
            second = asyncio.create_task(lent.take(40, "greedy"))
            await asyncio.sleep(0)
            assert not second.done()
            assert (await lent.take(40, "modest")).size == 40
            second.cancel()
            await asyncio.wait({second})
            first.release()
            assert lent.used == 40

        asyncio.run(scene())


def new_media() -> tuple[Media, list[Any]]:
    leaving: list[Any] = []
    return Media(Spool(leaving.append)), leaving


def refusal() -> TooLargeError:
    return TooLargeError("too large")


class TestLifting:
    """Taking recordings out of JSON, whose strings here count as long from 8 bytes on, and whose pieces are short."""

    @pytest.fixture(autouse=True)
    def short_pieces(self) -> Iterator[None]:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(lifting, "SMALL", 8)
            yield

    @given(
        st.recursive(
            st.none() | st.booleans() | st.floats(allow_nan=False) | st.text(),
            lambda inner: st.lists(inner) | st.dictionaries(st.text() | st.just("data"), inner),
        ),
        st.binary(min_size=9, max_size=60),
        st.integers(1, 9),
        st.sampled_from(["{}", "data:audio/wav;base64,{}"]),
        st.booleans(),
    )
    def test_all_but_the_recording_stays_as_it_is(self, other: Any, sound: bytes, piece: int, form: str, escaped: bool) -> None:
        text = form.format(base64.b64encode(sound).decode())
        written = json.dumps({"other": other, "recordings": [{"data": "@"}], "format": "wav"})
        if escaped:  # as .NET and PHP write them
            text = text.replace("+", "\\u002b").replace("/", "\\/")
        body = written.replace('"@"', f'"{text}"')
        media, leaving = new_media()
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(lifting, "AT_ONCE", piece)
            try:
                rest = Lifter(io.BytesIO(body.encode()), frozenset({"data"}), media, most=10**6, refusal=refusal).run()
            except BadInputError:  # something else is called `data`, and is long, and no base64
                assert "data" in json.dumps(other)
                return
        found = json.loads(rest)
        if '"data"' not in json.dumps(other):
            assert found["other"] == json.loads(json.dumps(other))
        assert found["format"] == "wav"
        assert media.blob(found["recordings"][0]["data"], "data").read() == sound
        for leave in leaving:
            leave()

    def test_what_is_left_has_a_bound(self) -> None:
        media, _ = new_media()
        body = json.dumps({"text": "x" * 5000}).encode()
        with pytest.raises(TooLargeError):
            Lifter(io.BytesIO(body), frozenset({"data"}), media, most=1000, refusal=refusal).run()

    def test_nobody_can_name_a_file(self) -> None:
        media, _ = new_media()
        with pytest.raises(BadInputError):
            media.blob("0" * 33, "data")

    def written(self, text: bytes, piece: int) -> bytes:
        file = io.BytesIO()
        decoder = Base64File(file, "audio")
        for at in range(0, len(text), piece):
            decoder.feed(text[at : at + piece])
        decoder.finish()
        return file.getvalue()

    @given(st.binary(max_size=100), st.integers(1, 20), st.sampled_from([b"", b"data:;base64,", b"data:audio/mpeg;base64,"]))
    def test_base64_may_come_in_any_pieces(self, data: bytes, piece: int, head: bytes) -> None:
        assert self.written(head + base64.b64encode(data), piece) == data

    @pytest.mark.parametrize("text", [b"aGVsbG8", b"aGVs$G8=", b"aGVsbG8=aGVs", b"data:audio/wav", b"=", b"a b="])
    @pytest.mark.parametrize("piece", [1, 4, 100])
    def test_what_is_no_base64_is_refused(self, text: bytes, piece: int) -> None:
        with pytest.raises(BadInputError):
            self.written(text, piece)


@given(st.binary(max_size=60), st.lists(st.tuples(st.text(max_size=5), st.text(max_size=20)), max_size=4), st.integers(1, 9))
def test_a_urlencoded_form_may_come_in_any_pieces(sound: bytes, fields: list[tuple[str, str]], piece: int) -> None:
    others = [(f"x{name}", value) for name, value in fields]
    body = str(httpx.QueryParams([*others, ("audio", base64.b64encode(sound).decode()), ("last", "1")])).encode()
    media, leaving = new_media()
    form, texts = Form(), Texts(10**6, refusal)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(urlencoded, "AT_ONCE", piece)
        read_urlencoded(io.BytesIO(body), form, texts, base64_as="audio", new=media.new)
    texts.read_into(form)
    texts.close()
    expected: dict[str, list[str]] = {}
    for name, value in (*others, ("last", "1")):
        expected.setdefault(name.removesuffix("[]"), []).append(value)
    assert form.fields == expected
    assert [upload.audio.read() for upload in form.files.get("audio", ())] == ([sound] if sound else [])
    for leave in leaving:
        leave()


class TestMediaHaveTheirLimit:
    """Whatever a recording or picture is sent in, it may be as large as `max_audio_mb` says; other things may not."""

    SIZE = 3 * 2**20

    def test_in_a_urlencoded_form(self, host: Served) -> None:
        sound = bytes(range(256)) * (self.SIZE // 256)
        answer = host.client.post("/v1/speech-to-text", data={"model": "echo", "audio": base64.b64encode(sound).decode()})
        assert heard(answer) == f"heard {self.SIZE} bytes"

    def test_a_plus_that_was_not_quoted_is_one(self, host: Served) -> None:
        body = b"model=echo&audio=" + base64.b64encode(b"\xfb\xef\xbe" * 99)
        answer = host.client.post(
            "/v1/speech-to-text", content=body, headers={"content-type": "application/x-www-form-urlencoded"}
        )
        assert heard(answer) == "heard 297 bytes"

    @pytest.mark.parametrize(
        "part",
        [
            lambda data: {"type": "image_url", "image_url": {"url": f"data:image/jpeg;base64,{data}"}},
            lambda data: {"type": "input_audio", "input_audio": {"data": data, "format": "wav"}},
        ],
    )
    def test_in_a_chat(self, host: Served, part: Any) -> None:
        content = [{"type": "text", "text": "what is this"}, part(base64.b64encode(bytes(self.SIZE)).decode())]
        body = {"model": "echo", "messages": [{"role": "user", "content": content}]}
        answer = host.client.post("/v1/chat/completions", json=body)
        assert answer.json()["choices"][0]["message"]["content"].strip() == "what is this"

    def test_beside_the_voice_to_imitate(self, host: Served) -> None:
        reference = {"audio": base64.b64encode(bytes(self.SIZE)).decode(), "text": "hello"}
        answer = host.client.post("/v1/text-to-speech", json={"model": "echo", "text": "hi", "references": [reference]})
        assert answer.status_code == 200, answer.text

    @pytest.mark.parametrize("path", [TRANSCRIBE, "/v1/chat/completions"])
    def test_over_it_one_is_told_what_to_do(self, host: Served, path: str) -> None:
        body = json_upload(30 * 2**20)
        answer = host.client.post(path, content=body, headers={"content-type": "application/json"})
        error = answer.json()["error"]
        assert (answer.status_code, error["code"]) == (413, "request_too_large")
        assert "max_audio_mb" in error["message"]
        assert ("as a file" in error["message"]) == (path == TRANSCRIBE)

    def test_text_has_the_limit_of_text(self, host: Served) -> None:
        body = json.dumps({"model": "echo", "messages": [{"role": "user", "content": "x" * 2 * 2**20}]}).encode()
        answer = host.client.post("/v1/chat/completions", content=body, headers={"content-type": "application/json"})
        assert answer.status_code == 413
        assert "max_body_mb" in answer.json()["error"]["message"]


class TestForms:
    """What clients write in a form, and what is meant by it."""

    def ask(self, host: Served, *parts: tuple[str, Any], path: str = TRANSCRIBE) -> httpx.Response:
        return host.client.post(path, files=[("model", (None, "echo")), *parts])

    @pytest.mark.parametrize(
        "field",
        ["stream", "response_format", "sample_rate", "timestamp_granularities[]", "temperature", "language", "prompt", "audio"],
    )
    def test_an_empty_field_is_an_absent_one(self, host: Served, field: str) -> None:
        assert heard(self.ask(host, (field, (None, "")), ("file", ("a.wav", b"123")))) == "heard 3 bytes"

    @pytest.mark.parametrize("field", ["speak", "stream_audio", "max_tokens", "format", "session_id"])
    def test_an_empty_field_of_a_dialogue_too(self, host: Served, field: str) -> None:
        answer = host.client.post("/v1/dialogue", data={"text": "hello", "generate_model": "echo", field: ""})
        assert answer.status_code == 200, answer.text
        assert answer.json()["audio_base64"]

    def test_a_file_without_a_filename_is_a_file(self, host: Served) -> None:
        assert heard(self.ask(host, ("file", (None, b"\xff\xfe\x00")))) == "heard 3 bytes"
        assert heard(self.ask(host, ("audio", (None, b"\xff\xfe\x00", "audio/wav")))) == "heard 3 bytes"

    def test_bytes_in_another_field_are_said_to_need_a_filename(self, host: Served) -> None:
        error = self.ask(host, ("recording", (None, b"\xff\xfe"))).json()["error"]
        assert error["param"] == "recording"
        assert "filename" in error["message"]

    def test_the_bare_file_is_taken(self, host: Served) -> None:
        answer = host.client.post(f"{TRANSCRIBE}?model=echo", content=b"12345", headers={"content-type": "audio/wav"})
        assert heard(answer) == "heard 5 bytes"

    @pytest.mark.parametrize("kind", ["text/plain", "application/octet-stream", ""])
    def test_what_is_no_form_is_told_what_is_one(self, host: Served, kind: str) -> None:
        answer = host.client.post(TRANSCRIBE, content=b"12345", headers={"content-type": kind})
        assert answer.status_code == 415
        assert "multipart/form-data" in answer.json()["error"]["message"]

    def test_a_filename_in_latin_1_is_one(self, host: Served) -> None:
        body = (
            b'--x\r\nContent-Disposition: form-data; name="model"\r\n\r\necho\r\n'
            b'--x\r\nContent-Disposition: form-data; name="file"; filename="caf\xe9.wav"\r\n\r\n123\r\n--x--\r\n'
        )
        answer = host.client.post(TRANSCRIBE, content=body, headers={"content-type": "multipart/form-data; boundary=x"})
        assert heard(answer) == "heard 3 bytes"

    @pytest.mark.parametrize("value", ["word,segment", '["word", "segment"]', "word, segment"])
    def test_choices_may_stand_in_one_field(self, host: Served, value: str) -> None:
        answer = self.ask(
            host,
            ("timestamp_granularities", (None, value)),
            ("response_format", (None, "verbose_json")),
            ("file", ("a.wav", b"123")),
        )
        assert answer.json()["error"]["code"] == "unsupported"  # which says that it was understood: the echo has no words

    @pytest.mark.parametrize(
        ("value", "meant"), [("Smith, John", ["Smith, John"]), ('["a, b", "c"]', ["a, b", "c"]), ("[sic]", ["[sic]"])]
    )
    def test_words_to_expect_stay_whole(self, value: str, meant: list[str]) -> None:
        form = Form()
        form.add("hotwords", value)
        assert FormReader(TranscriptionForm, files=("file",)).payload_of(form)[0].hotwords == meant


@pytest.fixture(scope="module")
def full(serve: Serve, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("small")
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", folder], capture_output=True, check=False)
    if mounted.returncode:
        pytest.skip("a small file system cannot be mounted here")
    try:
        host = serve(CONFIG, env={"TMPDIR": str(folder)})
        assert host.chat("echo").status_code == 200
        yield host
        host.stop()
    finally:
        subprocess.run(["umount", "-l", folder], check=True)


class TestFullDisks:
    """Nobody's fault, told as such; what comes when there is room again is answered."""

    @pytest.mark.parametrize("how", ["form", "base64", "urlencoded", "bare", "chat"])
    def test_an_upload_is_told_that_the_disk_is_full(self, full: Served, how: str) -> None:
        sound = os.urandom(4 * 2**20)
        text = base64.b64encode(sound).decode()
        match how:
            case "form":
                answer = full.client.post(TRANSCRIBE, files={"file": ("a.wav", sound)}, data={"model": "echo"})
            case "base64":
                answer = full.client.post(TRANSCRIBE, json={"model": "echo", "audio": text})
            case "urlencoded":
                answer = full.client.post(TRANSCRIBE, data={"model": "echo", "audio": text})
            case "bare":
                answer = full.client.post(f"{TRANSCRIBE}?model=echo", content=sound, headers={"content-type": "audio/wav"})
            case _:
                part = {"type": "input_audio", "input_audio": {"data": text, "format": "wav"}}
                body = {"model": "echo", "messages": [{"role": "user", "content": [part]}]}
                answer = full.client.post("/v1/chat/completions", json=body)
        error = answer.json()["error"]
        assert (answer.status_code, error["code"], answer.headers["x-should-retry"]) == (503, "disk_full", "true")
        assert answer.headers["retry-after"]
        assert "TMPDIR" in error["message"]
        small: dict[str, Any] = {"files": {"file": ("a.wav", b"123")}, "data": {"model": "echo"}}
        eventually(lambda: full.client.post(TRANSCRIBE, **small).status_code == 200)

    def test_a_live_line_is_told_too(self, full: Served) -> None:
        with connect(f"{full.url.replace('http', 'ws')}/v1/speech-to-text/ws?model=echo&format=webm") as line:
            with contextlib.suppress(ConnectionClosed):
                line.send(b"\x1aE\xdf\xa3" + bytes(1000))
                for _ in range(12):
                    line.send(os.urandom(512 * 1024))
            said: list[dict[str, Any]] = []
            with pytest.raises(ConnectionClosed) as closed:
                said.extend(map(json.loads, line))
        assert said[-1]["error"]["code"] == "disk_full"
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == 1011
