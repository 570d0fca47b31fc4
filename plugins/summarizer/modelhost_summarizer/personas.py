"""Personas: Markdown files with a system prompt each, read anew for every request so that edits take effect at once."""

from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

from modelhost import BadInputError, NotReadyError
from msgspec import Struct

MOST_BYTES = 64 * 1024
"""Bytes of a persona's file. Chosen, because a larger file is no prompt."""


class Persona(Struct, frozen=True, kw_only=True):
    """One persona; `name` is its path below its folder, without `.md`."""

    name: str
    title: str
    """The first heading, or the name where there is none."""
    prompt: str
    """What stands after the heading."""

    @property
    def kind(self) -> str:
        """Return the folder it stands in: `code`, `docs` or one of the operator's; empty for none."""
        return self.name.rpartition("/")[0]

    def filled(self, max_tokens: int) -> str:
        """Return the prompt with `{max_tokens}` filled in."""
        return self.prompt.replace("{max_tokens}", str(max_tokens))


class Personas:
    """The personas of some folders, the first of which goes before the others; those that come along are last.

    A name is looked up among the files that are there; it is never made into a path.
    """

    def __init__(self, folders: Sequence[Path] = ()) -> None:
        self.folders = (*folders, included())
        """Where they are looked for, anew each time."""

    def all(self) -> list[Persona]:
        """Return every persona, sorted by name, but for those that cannot be used: `find` says why not."""
        found = []
        for name, path in sorted(self._files().items()):
            with suppress(NotReadyError):
                found.append(_read(name, path))
        return found

    def find(self, name: str) -> Persona:
        """Return a persona by its whole name or the last part of it. Raises `BadInputError` where there is none, or several."""
        files = self._files()
        if name in files:
            return _read(name, files[name])
        for folder in self.folders:
            match [full for full in _scan(folder) if full.rpartition("/")[2] == name]:
                case [full]:
                    return _read(full, files[full])
                case [_, *_] as several:
                    raise BadInputError(f"say which persona is meant: {', '.join(several)}", param="persona")
        known = ", ".join(sorted(files))
        raise BadInputError(f"there is no persona {name[:100]!r}; there are: {known}", param="persona", code="unknown_persona")

    def _files(self) -> dict[str, Path]:
        found: dict[str, Path] = {}
        for folder in reversed(self.folders):
            found |= _scan(folder)
        return found


def included() -> Path:
    """Return the folder of the personas that come along: in a wheel beside this module, in a checkout at its root."""
    beside = Path(__file__).with_name("personas")
    return beside if beside.is_dir() else Path(__file__).parents[3] / "personas"


def _scan(folder: Path) -> dict[str, Path]:
    return dict(sorted(_named(folder)))


def _named(folder: Path) -> Iterator[tuple[str, Path]]:
    for path in folder.rglob("*.md"):
        inside = path.relative_to(folder)
        if path.stem.lower() != "readme" and not any(part.startswith(".") for part in inside.parts):
            yield inside.with_suffix("").as_posix(), path


def _read(name: str, path: Path) -> Persona:
    try:
        data = path.read_bytes()
        text = data.decode("utf-8-sig") if len(data) <= MOST_BYTES else ""
    except (OSError, UnicodeDecodeError):
        text = ""
    first, _, rest = text.strip().partition("\n")
    title, prompt = (first.lstrip("# ").strip(), rest) if first.startswith("#") else (name, f"{first}\n{rest}")
    if not prompt.strip():
        raise NotReadyError(
            f"persona {name!r} cannot be used: it must be a readable UTF-8 file of at most {MOST_BYTES} bytes with a prompt "
            "after its heading",
            retry=False,
        )
    return Persona(name=name, title=title or name, prompt=prompt.strip())
