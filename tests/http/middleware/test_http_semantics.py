"""HTTP as its RFCs have it, on every route: methods, headers that come twice, parameters, bodies that are packed, other pages."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from fake_plugins import fake_plugin
from litestar.handlers import HTTPRouteHandler
from modelhost.config import ServerConfig
from modelhost.contract.errors import ForbiddenError
from modelhost.http.app import ROUTES
from modelhost.http.middleware.origins import Origins
from modelhost.http.openai.dialect import OPENAI
from modelhost.http.routing.streaming import _ResponseStream
from raw_client import Client
from serving import Serve, Served, eventually
from websockets.sync.client import connect

KEY = "the-only-key-0123456789"
OTHER = "of-another-scope-0123456789"
MODELS = '[models.echo]\nplugin = "echo"\nrun = "inline"\n'
KEYS = f'[keys.a]\nkey = "{KEY}"\nscopes = ["inference", "metrics", "admin"]\n[keys.b]\nkey = "{OTHER}"\nscopes = ["metrics"]\n'

DRIP = """
from modelhost import hookimpl


class Drip:
    @hookimpl
    def app(self):
        self.given = 0

        async def application(scope, receive, send):
            if scope["type"] != "http":
                return
            if "given" in scope["path"]:
                text = str(self.given).encode()
                await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % len(text))]})
                await send({"type": "http.response.body", "body": text})
                return
            kind = (b"content-type", b"text/plain; charset=utf-8; format=flowed; charset=utf-8")
            await send({"type": "http.response.start", "status": 200, "headers": [kind, (b"x-method", scope["method"].encode())]})
            for _ in range(100):
                await send({"type": "http.response.body", "body": b"drop", "more_body": True})
                self.given += 1
            await send({"type": "http.response.body", "body": b""})

        return application
"""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return fake_plugin(tmp_path_factory.mktemp("site"), "drip", DRIP, target="Drip", group="modelhost.extensions")


@pytest.fixture(scope="module")
def host(serve: Serve, site: Path) -> Served:
    return serve(MODELS, env={"PYTHONPATH": str(site)})


@pytest.fixture(scope="module")
def locked(serve: Serve, site: Path) -> Served:
    return serve(f"[server]\npublic_docs = true\n{MODELS}{KEYS}", env={"PYTHONPATH": str(site)})


def paths() -> Iterator[tuple[str, bool]]:
    """Every path, and whether it may be read with GET."""
    gets: dict[str, bool] = {}
    for route in ROUTES:
        if isinstance(route, HTTPRouteHandler):
            for path in sorted(route.paths):
                concrete = path.replace("{name:path}", "echo").replace("{name:str}", "echo")
                gets[concrete] = gets.get(concrete, False) or "GET" in route.http_methods
    yield from sorted(gets.items())
    yield "/docs/swagger.css", True
    yield "/x/drip/given", True


@pytest.mark.parametrize(("path", "may_be_read"), list(paths()))
def test_head_is_get_without_the_body(host: Served, path: str, may_be_read: bool) -> None:
    with Client(host.url) as client:
        for method in ("GET", "HEAD", "GET"):  # the line goes on behind an answer without a body
            client.send(f"{method} {path} HTTP/1.1\r\nhost: localhost\r\n\r\n".encode())
            if method == "HEAD":
                while b"\r\n\r\n" not in client._read:
                    client._more()
                head, _, client._read = client._read.partition(b"\r\n\r\n")
                status, fields = int(head.split()[1]), head.decode().lower().split("\r\n")[1:]
            else:
                status_of_get, fields_of_get, _ = client.answer()
    assert status == status_of_get
    assert (status == 405) != may_be_read
    varying = ("x-request-id", "server-timing", "content-length")
    of_head = {field for field in fields if not field.startswith(varying)}
    assert of_head == {f"{name}: {value}".lower() for name, value in fields_of_get.items() if name not in varying}
    assert any(field.startswith("content-length: ") for field in fields)
    assert "head" in fields_of_get.get("allow", "HEAD").lower() or "GET" not in fields_of_get["allow"]


def test_a_stream_that_is_asked_for_with_head_is_not_made(host: Served) -> None:
    answer = host.client.head("/x/drip", headers={"x-request-id": "a-stream-with-head"})
    assert (answer.status_code, answer.headers["x-method"], answer.content) == (200, "GET", b"")
    assert host.client.get("/x/drip/given").text == "0"
    assert host.client.get("/x/drip").text == "drop" * 100
    eventually(lambda: any("a-stream-with-head" in line for line in host.log))
    (line,) = (json.loads(line) for line in host.log if "a-stream-with-head" in line)
    assert (line["method"], line["status"]) == ("HEAD", 200)


@pytest.mark.parametrize("path", [path for path, may_be_read in paths() if may_be_read] + ["/x/drip", "/nowhere"])
def test_a_content_type_has_its_parameters_once(host: Served, path: str) -> None:
    kind = host.client.get(path).headers.get("content-type", "")
    names = [part.strip().partition("=")[0] for part in kind.split(";")[1:]]
    assert len(names) == len(set(names)), kind


@pytest.mark.parametrize("form", ["text", "srt", "vtt"])
def test_a_transcripts_content_type_has_its_parameters_once(host: Served, form: str) -> None:
    files = {"file": ("a.wav", b"RIFF")}
    answer = host.client.post("/v1/audio/transcriptions", files=files, data={"model": "echo", "response_format": form})
    assert answer.status_code == 200
    assert answer.headers["content-type"].count("charset") == 1


@pytest.mark.parametrize(
    "path", ["/v1/chat/completions", "/v1/audio/transcriptions", "/v1/embeddings", "/parse-ast", "/v1/models/load"]
)
@pytest.mark.parametrize("coding", ["gzip", "br", "identity, gzip", "x-nonsense"])
def test_a_body_that_is_packed_is_415(host: Served, path: str, coding: str) -> None:
    answer = host.client.post(path, content=b"\x1f\x8b", headers={"content-encoding": coding, "content-type": "application/json"})
    assert (answer.status_code, answer.json()["error"]["code"]) == (415, "unsupported_media_type")
    assert answer.headers["accept-encoding"] == "identity"
    assert host.client.post("/v1/chat/completions", json={}, headers={"content-encoding": "identity"}).status_code == 400


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER", "bEaReR"])
def test_a_schemes_name_may_be_written_as_one_likes(locked: Served, scheme: str) -> None:
    assert locked.client.get("/v1/models", headers={"authorization": f"{scheme} {KEY}"}).status_code == 200


def test_a_host_without_keys_minds_none(host: Served) -> None:
    two = [("authorization", "Bearer one"), ("x-api-key", "other"), ("authorization", "Bearer two"), ("x-api-key", "third")]
    assert host.client.get("/v1/models", headers=two).status_code == 200
    with Client(host.url) as client:
        client.send(b"GET /v1/models HTTP/1.1\r\nhost: localhost\r\nhost: 127.0.0.1\r\nx-api-key: a\r\nx-api-key: b\r\n\r\n")
        assert client.answer()[0] == 400


def test_asking_for_the_methods_of_an_extensions_application_takes_its_scope(locked: Served) -> None:
    for key, status in ((KEY, 200), (OTHER, 403), ("", 401)):
        headers = {"authorization": f"Bearer {key}"} if key else {}
        assert locked.client.options("/x/drip", headers=headers).status_code == status
    answer = locked.client.options("/v1/models", headers={"authorization": f"Bearer {OTHER}"})
    assert {"GET", "HEAD", "OPTIONS"} <= set(answer.headers["allow"].split(", "))


class TestOtherPages:
    @pytest.mark.parametrize("fetch_site", ["cross-site", "same-site"])
    def test_what_another_page_embeds_does_nothing(self, host: Served, fetch_site: str) -> None:
        headers = {"sec-fetch-site": fetch_site, "sec-fetch-mode": "no-cors", "sec-fetch-dest": "image"}
        for path in ("/v1/audio/voices?model=echo", "/v1/models", "/x/drip"):
            answer = host.client.get(path, headers=headers)
            assert (answer.status_code, answer.json()["error"]["code"]) == (403, "origin_not_allowed")
        assert host.client.get("/livez", headers=headers).status_code == 200
        assert host.client.get("/docs", headers=headers).status_code == 200, "a link that leads here"

    @pytest.mark.parametrize("fetch_site", ["same-origin", "none", None])
    def test_its_own_page_and_other_clients_do(self, host: Served, fetch_site: str | None) -> None:
        assert host.client.get("/v1/models", headers={"sec-fetch-site": fetch_site} if fetch_site else {}).status_code == 200

    def test_a_page_of_another_scheme_is_another_page(self, host: Served) -> None:
        port = host.url.rpartition(":")[2]
        for origin, status in ((f"http://localhost:{port}", 200), (f"https://localhost:{port}", 403)):
            answer = host.client.get("/livez", headers={"host": f"localhost:{port}", "origin": origin})
            assert answer.status_code == status
        assert host.client.get("/livez", headers={"host": "localhost", "origin": "https://localhost"}).status_code == 403
        origins = Origins(ServerConfig(allowed_hosts=("models.example.com",)))
        assert origins.check(b"models.example.com", b"https://models.example.com", False) is False, "behind a proxy with TLS"
        assert origins.check(b"localhost", b"https://localhost", True) is False
        for origin in (b"http://localhost", b"https://localhost:80"):
            with pytest.raises(ForbiddenError):
                origins.check(b"localhost", origin, True)

    @pytest.mark.parametrize("origin", ["http://evil.example", "null", "http://localhost"])
    def test_an_origin_without_a_host_is_refused(self, host: Served, origin: str) -> None:
        with Client(host.url) as client:
            status, _, body = client.send(f"GET /v1/models HTTP/1.0\r\norigin: {origin}\r\n\r\n".encode()).answer()
        assert (status, json.loads(body)["error"]["code"]) == (400, "invalid_host")
        with Client(host.url) as client:
            assert client.send(b"GET /v1/models HTTP/1.0\r\n\r\n").answer()[0] == 200


class TestPublicDocs:
    def test_what_is_public_is_public_whole(self, locked: Served) -> None:
        page = locked.client.get("/docs")
        found = [part.split('"')[0] for part in page.text.replace('href="data:', "").split('="docs/')[1:]]
        assert {"swagger.css", "swagger.js", "start.js"} == set(found)
        for name in (*found, "../openapi.json"):
            assert locked.client.get(f"/docs/{name}").status_code == 200
        assert locked.client.get("/docs/{name:str}").status_code == 401
        assert locked.client.get("/", follow_redirects=True).status_code == 200

    @pytest.mark.parametrize("path", ["/", "/docs"])
    def test_a_person_without_a_key_sees_a_page(self, serve: Serve, path: str) -> None:
        host = serve(MODELS + KEYS)
        answer = host.client.get(path, headers={"accept": "text/html,application/xhtml+xml,*/*;q=0.8"})
        assert (answer.status_code, answer.headers["content-type"]) == (401, "text/html; charset=utf-8")
        assert "public_docs" in answer.text
        assert answer.headers["www-authenticate"] == "Bearer"
        assert "default-src 'none'" in answer.headers["content-security-policy"]
        assert host.client.get(path, headers={"accept": "*/*"}).json()["error"]["code"] == "invalid_api_key"
        api = host.client.get("/v1/models", headers={"accept": "text/html"})
        assert api.json()["error"]["code"] == "invalid_api_key"


def test_a_websocket_speaks_of_messages(host: Served) -> None:
    with connect(f"{host.url.replace('http', 'ws', 1)}/v1/generate_ws", proxy=None) as line:
        for message in ("", "{", '{"a": tru}', "[" * 100_000, "\x00", "[]"):
            line.send(message)
            said = json.loads(line.recv())["error"]["message"]
            assert "message" in said
            assert "body" not in said
    assert "the body" in host.client.post("/v1/chat/completions", content=b"{").json()["error"]["message"]


def test_a_heartbeat_is_no_event() -> None:
    sent = []

    class Box:
        @staticmethod
        def put(data: bytes) -> None:
            sent.append(data)

    class Loop:
        time = staticmethod(lambda: 1000.0)
        call_later = staticmethod(lambda *arguments: None)

    stream = object.__new__(_ResponseStream)
    stream._loop, stream._output, stream._dialect, stream._last = Loop(), Box(), OPENAI, 0.0  # type: ignore[assignment]
    stream._beat()
    assert sent == [b": still at work\n"]
