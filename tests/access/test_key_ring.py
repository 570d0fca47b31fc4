"""Keys change while the host runs: what is right is taken over, what is wrong changes nothing."""

import asyncio
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
from modelhost.access.key_ring import KeyRing
from modelhost.access.keys import Keys, read_keys
from modelhost.config import load_config
from modelhost.contract.log import Log
from serving import Serve, Served, clean_environment, eventually


def bearer(key: str) -> dict[str, str]:
    return {"authorization": f"Bearer {key}"}


def ring_of(file: Path, told: list[str]) -> KeyRing:
    """The keys of a file, and what is logged of them."""
    loaded = load_config(str(file), environ={})
    keys = read_keys(loaded.config.keys, loaded.folder, loaded.name)
    return KeyRing(loaded, keys, Log(lambda level, event, fields: told.append(event)))


class TestRotation:
    CONFIG = '[models.echo]\nplugin = "echo"\n'

    @staticmethod
    def opens(host: Served, key: str) -> bool:
        return host.client.get("/v1/models", headers=bearer(key)).status_code == 200

    @staticmethod
    def write(host: Served, config: str, *, until: str) -> None:
        """Change the file, and wait until the host says something of it."""
        said = len(host.log)
        (host.folder / "modelhost.toml").write_text(config)
        eventually(lambda: any(until in line for line in host.log[said:]))

    def test_keys_change_without_a_restart_and_a_bad_file_changes_nothing(self, serve: Serve) -> None:
        first, second, third = ("first-key-of-them-all", "second-key-of-them-all", "third-key-of-them-all")
        host = serve(f'{self.CONFIG}[keys.a]\nkey = "{first}"\n')
        file = host.folder / "modelhost.toml"
        assert self.opens(host, first)
        pid = host.process.pid
        file.write_text(f'{self.CONFIG}[keys.a]\nkey = "{second}"\n')
        eventually(lambda: self.opens(host, second))
        assert not self.opens(host, first)
        self.write(host, "", until="stay as they are")
        assert self.opens(host, second)
        assert host.client.get("/v1/models").status_code == 401
        (host.folder / "secret").write_text(f"{second}\n")
        self.write(host, f'{self.CONFIG}[keys.a]\nfile = "secret"\n', until="have been read")
        (host.folder / "secret").write_text(f"{third}\n")
        eventually(lambda: self.opens(host, third))
        assert not self.opens(host, second)
        assert host.process.pid == pid
        assert not [line for line in host.log for key in (first, second, third) if key in line]

    @pytest.mark.parametrize(
        "wrong",
        [
            '[keys.z]\nfile = "~nosuchuser/key"\n',
            '[keys.z]\nfile = "a\\u0000b"\n',
            f'[keys.z]\nfile = "{"a" * 5000}"\n',
            'include = ["."]\n',
            'include = ["a\\u0000b"]\n',
            "x = " + "[" * 3000 + "]" * 3000 + "\n",
        ],
        ids=["nobody's home", "nul", "long name", "folder", "nul in include", "deep"],
    )
    def test_after_any_wrong_edit_the_next_right_one_is_read(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, wrong: str
    ) -> None:
        file, ring, told = self.watched(tmp_path, monkeypatch)

        async def main() -> None:
            async def said(what: str) -> None:
                while what not in told:  # noqa: ASYNC110  # a log is no event
                    await asyncio.sleep(0.01)

            watching = asyncio.create_task(ring.watch())
            await asyncio.sleep(0.05)
            file.write_text(wrong + '[keys.a]\nkey = "the-first-key-of-them-all"\n')
            await asyncio.wait_for(said("the keys stay as they are"), 10)
            file.write_text('[keys.b]\nkey = "the-second-key-of-them-all"\n')
            await asyncio.wait_for(said("the keys have been read"), 10)
            watching.cancel()

        asyncio.run(main())
        assert ring.keys.whose(b"the-first-key-of-them-all") is None
        assert ring.keys.whose(b"the-second-key-of-them-all")

    @staticmethod
    def watched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, KeyRing, list[str]]:
        """A file with a key, a ring that looks at it very often, and what that says."""
        monkeypatch.setattr("modelhost.access.key_ring.LOOK_SECONDS", 0.01)
        file = tmp_path / "modelhost.toml"
        file.write_text('[keys.a]\nkey = "the-first-key-of-them-all"\n')
        told: list[str] = []
        return file, ring_of(file, told), told

    def test_what_goes_wrong_while_looking_ends_no_looking(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        file, ring, told = self.watched(tmp_path, monkeypatch)
        looks = iter([{}, RuntimeError("anything"), {file: 1}])

        def stamps() -> Any:
            look = next(looks, {file: 1})
            if isinstance(look, Exception):
                raise look
            return look

        monkeypatch.setattr(ring, "_stamps", stamps)

        async def main() -> None:
            watching = asyncio.create_task(ring.watch())
            while "the keys have been read" not in told:  # noqa: ASYNC110  # a log is no event
                await asyncio.sleep(0.01)
            watching.cancel()

        asyncio.run(asyncio.wait_for(main(), 10))
        assert told[0] == "the files of the keys cannot be looked at"

    @pytest.mark.parametrize("broken", [CONFIG, "[keys.a", '[keys.a]\nkey = "short"', "[keys.a]", "nonsense = 1"])
    def test_a_file_that_is_wrong_or_has_no_keys_any_more_changes_none(self, tmp_path: Path, broken: str) -> None:
        file = tmp_path / "modelhost.toml"
        file.write_text(f'{self.CONFIG}[keys.a]\nkey = "the-only-key-of-them-all"\n')
        told: list[str] = []
        ring = ring_of(file, told)
        before = ring.keys
        file.write_text(broken)
        asyncio.run(ring.reload())
        assert (ring.keys, told) == (before, ["the keys stay as they are"])

    def test_keys_are_read_again_beside_the_event_loop(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        _, ring, told = self.watched(tmp_path, monkeypatch)
        threads: list[int] = []

        def reading(*arguments: Any) -> Keys:
            threads.append(threading.get_ident())
            return read_keys(*arguments)

        monkeypatch.setattr("modelhost.access.key_ring.read_keys", reading)
        asyncio.run(ring.reload())
        assert told == ["the keys have been read"]
        assert threading.get_ident() not in threads

    def test_a_key_made_on_the_command_line_opens_the_host_and_the_command_line_can_use_it(self, serve: Serve) -> None:
        made = subprocess.run(
            [sys.executable, "-m", "modelhost", "keys", "new", "alice", "--scope", "admin", "--scope", "inference"],
            capture_output=True,
            text=True,
            check=True,
        )
        key = made.stderr.split()[-1]
        assert key not in made.stdout
        host = serve(self.CONFIG + made.stdout)
        assert self.opens(host, key)

        def typed(*words: str, **env: str) -> "subprocess.CompletedProcess[str]":
            command = [sys.executable, "-m", "modelhost", *words, "--url", host.url]
            return subprocess.run(
                command, env={**clean_environment(host.folder), **env}, capture_output=True, text=True, check=False
            )

        refused = typed("models")
        assert refused.returncode == 1
        assert "MODELHOST_API_KEY" in refused.stderr
        assert "echo" in typed("models", MODELHOST_API_KEY=key).stdout
