"""Who may ask, from where, and for what: every route and WebSocket, over a real socket."""

import asyncio
import json
import ssl
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import trustme
from fake_plugins import fake_plugin
from hypothesis import given, strategies as st
from litestar import get
from litestar.handlers import HTTPRouteHandler, WebsocketRouteHandler
from modelhost.access.keys import SCOPES
from modelhost.config import ServerConfig
from modelhost.contract.errors import ForbiddenError, RequestError
from modelhost.http.app import ROUTES, public_paths
from modelhost.http.middleware.access import access_to
from modelhost.http.middleware.origins import Origins
from serving import Serve, Served, clean_environment, eventually
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

NAMES = ("inference", "metrics", "admin")
KEYS = {scope: f"key-that-is-good-for-{scope}" for scope in NAMES}
CONFIG = """
[server]
cors_origins = ["https://chat.example.com"]
root_path = "/shown/here"

[models.echo]
plugin = "echo"

[models.slow]
plugin = "echo"
options = { pace = 20 }
""" + "".join(f'\n[keys.{name}]\nkey = "{key}"\nscopes = ["{name}"]\n' for name, key in KEYS.items())

EXTENSION = """
from modelhost.contract.extension import hookspec
from modelhost import hookimpl


class Extra:
    @hookimpl
    def app(self):
        async def application(scope, receive, send):
            if scope["type"] == "websocket":
                assert (await receive())["type"] == "websocket.connect"
                await send({"type": "websocket.accept"})
                await send({"type": "websocket.send", "text": repr(sorted(str(name) for name, _ in scope["headers"]))})
                await send({"type": "websocket.close"})
            else:
                await send({"type": "http.response.start", "status": 200, "headers": []})
                await send({"type": "http.response.body", "body": b"extra"})

        return application
"""


@pytest.fixture(scope="module")
def host(serve: Serve, tmp_path_factory: pytest.TempPathFactory) -> Served:
    site = tmp_path_factory.mktemp("site")
    fake_plugin(site, "extra", EXTENSION, target="Extra", group="modelhost.extensions")
    return serve(CONFIG, env={"PYTHONPATH": str(site)})


def bearer(key: str) -> dict[str, str]:
    return {"authorization": f"Bearer {key}"}


def doors() -> Iterator[tuple[str, str, str]]:
    """Every way in: method (or `WS`), a path that leads there, and its rule."""
    for route in ROUTES:
        rule = access_to(route, ServerConfig())
        for path in sorted(route.paths):
            concrete = path.replace("{name:path}", "nobody").replace("{name:str}", "nobody")
            methods = sorted(route.http_methods) if isinstance(route, HTTPRouteHandler) else ["WS"]
            for method in methods:
                yield method, concrete, rule
    yield "GET", "/x/extra", "inference"
    yield "WS", "/x/extra", "inference"


def status_at(host: Served, method: str, path: str, headers: dict[str, str]) -> int:
    if method != "WS":
        return host.client.request(method, path, headers=headers).status_code

    async def shake_hands() -> int:
        try:
            async with connect(f"{host.url.replace('http', 'ws')}{path}", additional_headers=headers):
                return 101
        except InvalidStatus as refused:
            answer = refused.response
        assert answer.body
        assert json.loads(answer.body)["error"]["code"]
        return answer.status_code

    return asyncio.run(shake_hands())


@pytest.mark.parametrize(("method", "path", "rule"), list(doors()))
def test_every_door_opens_to_the_right_key_only(host: Served, method: str, path: str, rule: str) -> None:
    assert rule in {"public", "any", "docs", *SCOPES}
    for headers in ({}, bearer("no-key-of-this-host"), {"x-api-key": ""}, {"authorization": "Basic YTpi"}):
        status = status_at(host, method, path, headers)
        assert (status in (200, 503)) if rule == "public" else status == 401, headers
    for scope, key in KEYS.items():
        for headers in (bearer(key), {"x-api-key": key}):
            status = status_at(host, method, path, headers)
            may = rule in ("public", "any", "docs", scope)
            assert (status == 403) != may, (scope, status)
            assert status != 401


@pytest.mark.parametrize(
    "path",
    [
        "/nowhere",
        "/livez/",
        "/livez/../v1/models",
        "/%6civez",
        "//livez",
        "/livez%2f",
        "/health?x",
        "/LIVEZ",
        "/livez;a",
        "/x/other",
    ],
)
def test_only_the_public_paths_to_the_letter_need_no_key(host: Served, path: str) -> None:
    asked = httpx.URL(host.url).copy_with(raw_path=path.encode())
    expected = 200 if path == "/health?x" else 401
    assert host.client.get(asked).status_code == expected


def test_a_route_that_does_not_say_who_may_use_it_is_nobodys() -> None:
    @get("/forgotten")
    async def forgotten() -> str:
        return ""

    with pytest.raises(TypeError, match="does not say who may use it"):
        access_to(forgotten, ServerConfig())


def test_the_application_has_no_route_beside_those_with_rules(host: Served) -> None:
    known = {path for route in ROUTES for path in route.paths}
    assert all(isinstance(route, HTTPRouteHandler | WebsocketRouteHandler) for route in ROUTES)
    assert public_paths(ServerConfig()) <= known
    assert public_paths(ServerConfig()) == {"/livez", "/readyz", "/health"}


def test_two_different_keys_in_one_request_are_refused(host: Served) -> None:
    headers = {**bearer(KEYS["admin"]), "x-api-key": KEYS["inference"]}
    assert host.client.get("/v1/models", headers=headers).status_code == 400
    twice = [("authorization", f"Bearer {KEYS['admin']}"), ("authorization", "Bearer other")]
    assert host.client.get("/v1/models", headers=twice).status_code == 400


def test_health_shows_the_models_to_those_with_a_key_only(host: Served) -> None:
    assert host.client.get("/health").json() == {"status": "healthy"}
    assert "echo" in host.client.get("/health", headers=bearer(KEYS["metrics"])).json()["models"]


def test_a_browser_sends_its_key_as_a_subprotocol_that_nobody_sees_again(host: Served) -> None:
    async def talk() -> tuple[str | None, str]:
        offered = ["chat", f"openai-insecure-api-key.{KEYS['inference']}"]
        async with connect(f"{host.url.replace('http', 'ws')}/x/extra", subprotocols=offered) as socket:  # type: ignore[arg-type]
            return socket.subprotocol, str(await socket.recv())

    chosen, headers = asyncio.run(talk())
    assert chosen == "chat"
    assert "sec-websocket-protocol" not in headers


class TestWhere:
    @pytest.mark.parametrize("name", ["evil.example", "127.0.0.1.evil.example", "localhost.evil.example", "evil.example:8000"])
    def test_a_name_that_was_rebound_to_this_machine_is_refused(self, host: Served, name: str) -> None:
        answer = host.client.get("/livez", headers={"host": name})
        assert (answer.status_code, answer.json()["error"]["code"]) == (403, "host_not_allowed")

    @pytest.mark.parametrize("name", ["localhost", "localhost:1", "chat.localhost", "127.0.0.1", "[::1]:80", "192.0.2.7:8000"])
    def test_the_machine_and_addresses_are_names_of_the_host(self, host: Served, name: str) -> None:
        assert host.client.get("/livez", headers={"host": name}).status_code == 200

    def test_a_foreign_page_is_refused_and_an_allowed_one_may_read_the_answer(self, host: Served) -> None:
        foreign = host.client.get("/livez", headers={"origin": "https://evil.example"})
        assert (foreign.status_code, foreign.json()["error"]["code"]) == (403, "origin_not_allowed")
        assert host.client.get("/livez", headers={"origin": "null"}).status_code == 403
        allowed = host.client.get("/v1/models", headers={"origin": "https://chat.example.com", **bearer("wrong-key-wrong-key")})
        assert allowed.status_code == 401
        assert allowed.headers["access-control-allow-origin"] == "https://chat.example.com"
        own = host.client.get("/livez", headers={"origin": host.url})
        assert own.status_code == 200
        assert "access-control-allow-origin" not in own.headers

    def test_an_allowed_page_may_ask_beforehand_without_a_key(self, host: Served) -> None:
        headers = {"access-control-request-method": "POST", "access-control-request-headers": "authorization,content-type"}
        answer = host.client.options("/v1/chat/completions", headers={"origin": "https://chat.example.com", **headers})
        assert answer.status_code == 204
        assert answer.headers["access-control-allow-headers"] == "authorization,content-type"
        foreign = host.client.options("/v1/chat/completions", headers={"origin": "https://evil.example", **headers})
        assert foreign.status_code == 403

    def test_a_foreign_page_cannot_open_a_websocket(self, host: Served) -> None:
        assert status_at(host, "WS", "/x/extra", {**bearer(KEYS["inference"]), "origin": "https://evil.example"}) == 403

    def test_the_proxys_path_may_stand_before_ours(self, host: Served) -> None:
        assert host.client.get("/shown/here/livez").status_code == 200
        assert host.client.get("/shown/here/v1/models", headers=bearer(KEYS["inference"])).status_code == 200
        assert host.client.get("/shown/herev1/models", headers=bearer(KEYS["inference"])).status_code == 404

    @given(host_name=st.binary(max_size=40), origin=st.none() | st.binary(max_size=40))
    def test_whatever_stands_there_it_is_taken_or_refused(self, host_name: bytes, origin: bytes | None) -> None:
        origins = Origins(ServerConfig(allowed_hosts=("*.lan",)))
        try:
            assert origins.check(host_name, origin) is False
        except RequestError:
            return
        name = host_name.decode().lower().partition(":")[0].rstrip(".")
        assert name.endswith((".lan", ".localhost", "]")) or name in origins._names or name.replace(".", "").isdigit()
        assert origin is None or origin.lower().endswith(
            (host_name.lower().removesuffix(b":80").removesuffix(b":443"), b":80", b":443")
        )

    def test_names_are_allowed_one_by_one_or_by_their_end(self) -> None:
        origins = Origins(ServerConfig(allowed_hosts=("AI.example.com", "*.lan")))
        for good in (b"ai.example.com", b"Ai.Example.Com:8000", b"big.box.lan", b"ai.example.com."):
            assert origins.check(good, None) is False
        for bad in (b"example.com", b"x.ai.example.com", b"lan", b"evillan"):
            with pytest.raises(ForbiddenError, match=r"server\.allowed_hosts"):
                origins.check(bad, None)
        assert Origins(ServerConfig(allowed_hosts=("*",))).check(b"whatever.example", None) is False


class TestRunningRequests:
    BODY = {"model": "slow", "messages": [{"role": "user", "content": "word " * 2000}]}

    def listed(self, host: Served, key: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = host.client.get("/v1/requests", headers=bearer(KEYS[key])).json()["data"]
        return found

    def test_a_plain_request_is_seen_and_cancelled_by_its_own_key_and_by_an_administrator(self, host: Served) -> None:
        async def cancel(who: str, request_id: str) -> httpx.Response:
            async with httpx.AsyncClient(base_url=host.url, trust_env=False) as client:
                own = {**bearer(KEYS["inference"]), "x-request-id": request_id}
                asking = asyncio.create_task(client.post("/v1/chat/completions", json=self.BODY, headers=own))
                at_work = lambda: any(one["id"] == request_id and one["events"] for one in self.listed(host, who))  # noqa: E731
                await asyncio.to_thread(eventually, at_work)
                other = host.client.delete(f"/v1/requests/{request_id}", headers=bearer(KEYS["metrics"]))
                assert other.status_code == 404
                assert not self.listed(host, "metrics")
                answer = host.client.delete(f"/v1/requests/{request_id}", headers=bearer(KEYS[who]))
                assert answer.json() == {"id": request_id, "object": "request", "cancelled": True}
                return await asking

        for who in ("inference", "admin"):
            answer = asyncio.run(cancel(who, f"of-{who}"))
            assert (answer.status_code, answer.json()["error"]["code"]) == (499, "cancelled")
            assert answer.headers["x-should-retry"] == "false"
        eventually(lambda: not self.listed(host, "admin"))

    def test_a_cancelled_stream_ends_with_an_error_event_and_the_model_stops(self, host: Served) -> None:
        headers = {**bearer(KEYS["inference"]), "x-request-id": "a-stream"}
        with host.client.stream("POST", "/v1/chat/completions", json={**self.BODY, "stream": True}, headers=headers) as answer:
            lines = answer.iter_lines()
            next(lines)
            assert [one["state"] for one in self.listed(host, "inference")] == ["running"]
            httpx.delete(f"{host.url}/v1/requests/a-stream", headers=bearer(KEYS["inference"])).raise_for_status()
            last = [line for line in lines if line][-1]
        assert json.loads(last.removeprefix("data: "))["error"]["code"] == "cancelled"
        eventually(lambda: host.client.get("/v1/workers/slow", headers=bearer(KEYS["admin"])).json()["in_flight"] == 0)


def test_over_tls_with_a_certificate_of_ones_own(serve: Serve, tmp_path: Path) -> None:
    authority = trustme.CA()
    authority.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(str(tmp_path / "both.pem"))
    host = serve(f'[server]\ntls_cert = "{tmp_path}/both.pem"\ntls_key = "{tmp_path}/both.pem"\n[models.echo]\nplugin = "echo"\n')
    assert host.url.startswith("https://")
    context = ssl.create_default_context()
    authority.configure_trust(context)
    with httpx.Client(base_url=host.url, verify=context, trust_env=False) as client:
        body = {"model": "echo", "messages": [{"role": "user", "content": "hi"}]}
        assert client.post("/v1/chat/completions", json=body).status_code == 200
    port = httpx.URL(host.url).port
    env = {**clean_environment(host.folder), "MODELHOST_SERVER__PORT": str(port)}
    command = [sys.executable, "-m", "modelhost", "models"]
    listed = subprocess.run(command, cwd=host.folder, env=env, capture_output=True, text=True, check=True)
    assert "echo" in listed.stdout


def test_behind_a_trusted_proxy_the_host_knows_the_clients_scheme(serve: Serve) -> None:
    host = serve('[server]\ntrusted_proxies = ["127.0.0.1"]\n[models.echo]\nplugin = "echo"\n')
    headers = {"x-forwarded-for": "203.0.113.9", "x-forwarded-proto": "https", "origin": "https://127.0.0.1", "host": "127.0.0.1"}
    assert host.client.get("/livez", headers=headers).status_code == 200
