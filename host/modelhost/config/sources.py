"""Weights: where a source's file lies on this machine, how it gets there, and whether it is the right one."""

import hashlib
import json
import os
import re
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import urlsplit

from platformdirs import user_cache_path

from modelhost.contract.errors import ConfigError, NotReadyError
from modelhost.contract.structs import Struct

if TYPE_CHECKING:
    from huggingface_hub.errors import HfHubHTTPError

HUB = "https://huggingface.co"
"""The one host a Hugging Face token is sent to."""

WEIGHT_FILES = (".bin", ".gguf", ".onnx", ".pt", ".pth", ".safetensors")
"""Ends of files with weights: `weights/chat.gguf` is a path, though it has the form of a repository's name."""

_HUB_URI = re.compile(r"hf:(?P<repo>[\w.-]+/[\w.-]+)(?:/(?P<file>[^@]+))?(?:@(?P<revision>[\w./-]+))?")

Report = Callable[[int, int], None]
"""Told (bytes so far, bytes in all) while weights are fetched."""


class HubSource(Struct):
    """A repository, or one file of it, on the Hugging Face hub."""

    repo: str
    file: str | None = None
    revision: str | None = None


def parse_hub(uri: str) -> HubSource:
    """Read `hf:org/repo[/file][@revision]`. Raises `ConfigError`."""
    match = _HUB_URI.fullmatch(uri)
    parts = [part for text in match.groups() if text for part in text.split("/")] if match else []
    if not match or any(part in ("", ".", "..") for part in parts) or "--" in match["repo"]:  # the hub has no such names
        raise ConfigError(f"{uri!r} is not of the form hf:org/repo[/file][@revision]")
    return HubSource(repo=match["repo"], file=match["file"], revision=match["revision"])


class Weights(Struct):
    """One source of a model, with what is needed to find it."""

    uri: str
    sha256: str | None
    folder: Path
    """Where relative paths start."""
    packaged: str | None = None
    """Where the plugin's interpreter found a `package:` source."""
    model: str = ""

    def find(self) -> Path | None:
        """Return the file or folder if it is on this machine; never fetches."""
        if self.uri.startswith("package:"):
            return Path(self.packaged) if self.packaged and Path(self.packaged).exists() else None
        if self.uri.startswith("hf:"):
            return _kept(parse_hub(self.uri))
        try:
            path = (self.folder / Path(self.uri).expanduser()).absolute()
            return path if path.exists() else None
        except (OSError, RuntimeError):  # a name that is too long, the home of nobody: neither is there
            return None

    def resolve(self, download: Literal["auto", "pull", "never"], report: Report | None = None) -> Path:
        """Return the verified file or folder, fetching it where that is allowed. Blocks. Raises `NotReadyError`."""
        path = self.find()
        if self.uri.startswith("hf:") and download == "auto":
            hub = parse_hub(self.uri)
            if path is None or not (hub.file or _is_whole(path)):
                path = _fetched(hub, report)
        if path is None:
            raise NotReadyError.missing(self.uri, self._remedy(download))
        if self.sha256:
            _verify(path, self.sha256, self.uri)
        return path

    def _remedy(self, download: str) -> str:
        if self.uri.startswith("package:"):
            module = self.uri.removeprefix("package:").partition("/")[0]
            return f"pip install {module.replace('_', '-')} (or, if it is installed, check the file's name in it)"
        if self.uri.startswith("hf:"):
            hub = parse_hub(self.uri)
            return f"hf download {hub.repo}{' ' + hub.file if hub.file else ''}" + (
                f" --revision {hub.revision}" if hub.revision else ""
            )
        return self._path_hint()

    def _path_hint(self) -> str:
        """Return what else a path that is not there may have been meant as."""
        if "://" in self.uri:
            return "a URL is no source; write hf:org/repo/file, or fetch it yourself and name the file"
        if _HUB_URI.fullmatch(f"hf:{self.uri}") and not self.uri.endswith(WEIGHT_FILES):
            return f"if it is on the Hugging Face hub, write hf:{self.uri}; a path is relative to {self.folder}"
        return f"check the path; it is relative to {self.folder}, or write hf:org/repo/file"


def hub_endpoint() -> str:
    """Return the hub's address: HF_ENDPOINT, or the public one."""
    return os.environ.get("HF_ENDPOINT", HUB).rstrip("/")


def hub_token(endpoint: str) -> str | bool | None:
    """Decide what to send as a token: the user's to the hub's own host, and nothing to any other."""
    return None if urlsplit(endpoint).hostname == urlsplit(HUB).hostname and endpoint.startswith("https:") else False


def _kept(source: HubSource) -> Path | None:
    """Look for what the hub's client has fetched before, by the layout of its cache.

    Asked itself, the client would call the hub for its own purposes even where it is told to stay offline.
    """
    from huggingface_hub import constants, try_to_load_from_cache

    if source.file:
        found = try_to_load_from_cache(source.repo, source.file, revision=source.revision)
        return Path(found) if isinstance(found, str) else None
    folder = Path(constants.HF_HUB_CACHE, f"models--{source.repo.replace('/', '--')}")
    revision = source.revision or constants.DEFAULT_REVISION
    reference = folder / "refs" / revision
    snapshot = folder / "snapshots" / (reference.read_text().strip() if reference.is_file() else revision)
    return snapshot if snapshot.is_dir() else None


def _fetched(source: HubSource, report: Report | None) -> Path:
    # Imported here: it takes a tenth of a second, and only hub models need it.
    from huggingface_hub import hf_hub_download, snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    endpoint = hub_endpoint()
    shared: dict[str, Any] = {
        "repo_id": source.repo,
        "revision": source.revision,
        "token": hub_token(endpoint),
        "endpoint": endpoint,
    }
    if report:
        shared["tqdm_class"] = _progress(report)
    try:
        if source.file:
            return Path(hf_hub_download(filename=source.file, **shared))
        return Path(snapshot_download(**shared))
    except HFValidationError:
        raise ConfigError(f"{source.repo!r} cannot be the name of a repository on the hub") from None
    except HfHubHTTPError as error:
        raise _refused(error, endpoint, source) from None
    except LocalEntryNotFoundError as error:
        # Its client says "not here" too when the hub did answer, with what it takes for a passing refusal.
        if isinstance(error.__cause__, HfHubHTTPError):
            raise _refused(error.__cause__, endpoint, source) from None
        raise NotReadyError(f"{endpoint} cannot be reached to fetch {source.repo}; is this machine online?") from None
    except Exception as error:
        why = error.strerror if isinstance(error, OSError) and error.strerror else type(error).__name__
        raise NotReadyError(f"fetching {source.repo} from {endpoint} failed: {why}") from None


def _is_whole(snapshot: Path) -> bool:
    """Return whether the hub's client could tell that all of a repository is there.

    It keeps the list of a repository's files once it has fetched all of them. Without the list it takes a folder with one
    file, which another model wanted, for the repository.
    """
    return (snapshot.parents[1] / "trees" / f"{snapshot.name}.json").is_file()


def _refused(error: "HfHubHTTPError", endpoint: str, source: HubSource) -> NotReadyError:
    from huggingface_hub.errors import EntryNotFoundError, RevisionNotFoundError

    status, subject = error.response.status_code, source.repo
    hint = {
        401: "set HF_TOKEN",
        403: "accept the model's terms on its page, and set HF_TOKEN",
        404: "check its name",
    }.get(status)
    if isinstance(error, EntryNotFoundError) and source.file:
        subject, hint = f"{source.repo}/{source.file}", "the repository is there, and has no such file; check the file's name"
    elif isinstance(error, RevisionNotFoundError) and source.revision:
        subject, hint = f"{source.repo}@{source.revision}", "the repository is there, and has no such revision"
    return NotReadyError(f"{endpoint} answered {status} for {subject}{': ' + hint if hint else ''}", retry=status >= 429)


def _progress(report: Report) -> type:
    from tqdm.auto import tqdm

    lock = threading.Lock()
    bars: list[Any] = []

    class Progress(tqdm):  # type: ignore[misc]  # the hub's client counts through this
        """Counts without drawing: a bar that draws wants a file, a thread and a lock between processes."""

        monitor_interval = 0
        n: float

        def __init__(self, *args: Any, **kwargs: Any) -> None:
            self.counts_bytes = kwargs.get("unit") == "B"
            super().__init__(*args, **{**kwargs, "disable": True})
            with lock:
                bars.append(self)

        def update(self, n: float | None = 1) -> bool | None:
            if self.counts_bytes:
                with lock:
                    self.n += n or 0
                    # A repository is counted twice, as it arrives and as it is written: the one that is ahead tells.
                    done = int(max(bar.n for bar in bars if bar.counts_bytes))
                    whole = int(max(bar.total or 0 for bar in bars if bar.counts_bytes))
                    report(done, max(done, whole))
            return None

    return Progress


def _verify(path: Path, sha256: str, uri: str) -> None:
    """Compare a file's digest; one that was right is not read again until its size or time changes."""
    if path.is_dir():
        raise ConfigError(f"sha256 of {uri}: it is a folder, and only a file has a digest; name the file")
    known = user_cache_path("modelhost") / "digests.json"
    stat = path.resolve().stat()
    mark = [stat.st_size, stat.st_mtime_ns, sha256]
    try:
        marks: dict[str, Any] = dict(json.loads(known.read_text()))
    except (OSError, ValueError, TypeError):
        marks = {}
    if marks.get(str(path)) == mark:
        return
    with path.open("rb") as file:
        actual = hashlib.file_digest(file, "sha256").hexdigest()
    if actual != sha256:
        raise NotReadyError(
            f"{uri}: its sha256 is {actual}, not {sha256}; the file is damaged or not the one that was meant",
            retry=False,
        )
    known.parent.mkdir(parents=True, exist_ok=True)
    known.write_text(json.dumps({**marks, str(path): mark}))


def size_of(path: Path) -> int:
    """Return the bytes of a file, or of all files in a folder."""
    if path.is_dir():
        return sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
    return path.stat().st_size
