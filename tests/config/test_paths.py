"""What is read of the files an operator names: all of a file, and nothing of what has no end or waits."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from modelhost.access.keys import read_keys
from modelhost.config import load_config
from modelhost.config.paths import read_bytes, read_text
from modelhost.config.schema import KeyConfig
from modelhost.contract.errors import ConfigError

NO_FILES: dict[str, Callable[[Path], object]] = {
    "a device without end": lambda path: path.symlink_to("/dev/zero"),
    "a pipe that nobody writes to": os.mkfifo,
    "a folder": Path.mkdir,
}


def test_a_text_is_read_through_a_link_and_without_its_byte_order_mark(tmp_path: Path) -> None:
    (tmp_path / "there").write_bytes(b"\xef\xbb\xbfgr\xc3\xbcn")
    (tmp_path / "link").symlink_to("there")
    assert read_text(tmp_path / "link", 100) == "grün"


def test_a_file_is_read_up_to_its_limit_and_refused_beyond_it(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"a" * 10)
    assert read_bytes(tmp_path / "file", 10) == b"a" * 10
    with pytest.raises(ConfigError, match="longer than the 9 bytes"):
        read_bytes(tmp_path / "file", 9)


@pytest.mark.parametrize("make", NO_FILES.values(), ids=NO_FILES)
@pytest.mark.parametrize("name", ["modelhost.toml", ".env"])
def test_what_is_no_file_is_refused_where_the_configuration_is_looked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, make: Callable[[Path], object], name: str
) -> None:
    (tmp_path / "modelhost.toml").write_text("")
    (tmp_path / name).unlink(missing_ok=True)
    make(tmp_path / name)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match=rf"{name} is (not a file but )?a folder"):
        load_config(environ={})


@pytest.mark.parametrize("make", NO_FILES.values(), ids=NO_FILES)
def test_what_is_no_file_is_refused_as_a_keys_file(tmp_path: Path, make: Callable[[Path], object]) -> None:
    make(tmp_path / "key")
    with pytest.raises(ConfigError, match=r"keys\.a\.file: .*key is not a file but"):
        read_keys({"a": KeyConfig(file="key")}, tmp_path, "modelhost.toml")


@pytest.mark.parametrize("make", NO_FILES.values(), ids=NO_FILES)
def test_what_is_no_file_is_not_included(tmp_path: Path, make: Callable[[Path], object]) -> None:
    make(tmp_path / "more.toml")
    (tmp_path / "modelhost.toml").write_text('include = ["more.toml"]\n[models.echo]\nplugin = "echo"\n')
    with pytest.raises(ConfigError, match=r"more\.toml is not a file but"):
        load_config(str(tmp_path / "modelhost.toml"), environ={})


def test_a_configuration_without_end_is_refused(tmp_path: Path) -> None:
    (tmp_path / "modelhost.toml").symlink_to("/dev/zero")
    with pytest.raises(ConfigError):
        load_config(str(tmp_path / "modelhost.toml"), environ={})
