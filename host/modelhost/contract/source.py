"""Where a model's weights come from."""

import re
from pathlib import Path
from typing import Any

SHA256 = re.compile(r"[0-9a-f]{64}")


class Source:
    """An option that names weights; the host resolves and verifies it before `load`, and then `path` is there.

    In TOML a string, or a table with its digest: `{ uri = "hf:org/repo/model.gguf", sha256 = "…" }`. A URI is

    - `hf:org/repo[/file][@revision]`: from the Hugging Face hub,
    - `package:module/file`: weights inside an installed distribution,
    - anything else: a path, relative to the configuration file.
    """

    __slots__ = ("_path", "sha256", "uri")

    def __init__(self, uri: str, *, sha256: str | None = None, path: Path | None = None) -> None:
        if not uri:
            raise ValueError("a source must not be empty")
        if sha256 is not None and not SHA256.fullmatch(sha256):
            raise ValueError("sha256 must be 64 lower-case hexadecimal digits")
        self.uri = uri
        self.sha256 = sha256
        self._path = path

    @classmethod
    def from_option(cls, value: Any) -> "Source":
        """Read what stands in TOML, or what the host resolved; raises ValueError where it is neither."""
        if isinstance(value, cls):
            return value
        if isinstance(value, str):
            return cls(value)
        if isinstance(value, dict) and isinstance(value.get("uri"), str) and value.keys() <= {"uri", "sha256", "path"}:
            path = value.get("path")
            return cls(value["uri"], sha256=value.get("sha256"), path=None if path is None else Path(path))
        raise ValueError('a source is a string, or a table { uri = "…", sha256 = "…" }')

    @property
    def path(self) -> Path:
        """The file or folder on this machine; there from `load` on."""
        if self._path is None:
            raise RuntimeError(f"source {self.uri!r} has not been resolved yet; it is from load() on")
        return self._path

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Source) and (self.uri, self.sha256, self._path) == (
            other.uri,
            other.sha256,
            other._path,
        )

    def __hash__(self) -> int:
        return hash((self.uri, self.sha256, self._path))

    def __repr__(self) -> str:
        return f"Source({self.uri!r})"
