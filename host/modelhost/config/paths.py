"""Paths that the operator wrote."""

from pathlib import Path

from modelhost.contract.errors import ConfigError


def path_in(folder: Path, written: str, at: str) -> Path:
    """Return the path that is meant by what stands at `at`, relative to `folder`. Raises `ConfigError` for the home of nobody."""
    try:
        return folder / Path(written).expanduser()
    except RuntimeError:
        who = written.partition("/")[0]
        raise ConfigError(f"{at}: {who} is nobody's home folder on this machine; write the path in full") from None
