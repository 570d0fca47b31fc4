"""docs/guides/first-steps.md, typed as printed, from `doctor` to a model of one's own, with the real small model."""

import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from serving import READY, clean_environment

pytestmark = pytest.mark.e2e

ROOT = Path(__file__).parents[2]
GUIDE = (ROOT / "docs" / "guides" / "first-steps.md").read_text()
BLOCK = re.compile(r"^```(\w+) (\S+)\n(.*?)^```", re.MULTILINE | re.DOTALL)

Said = dict[str, str]
"""First line of a block → what it printed; of two blocks that begin alike the later one."""


class Newcomer:
    """A folder that looks like a clone after the install, a terminal for the host and another one beside it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / ".venv").symlink_to(sys.prefix)
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        own = {"MODELHOST_SERVER__PORT": str(self.port), "MODELHOST_SERVER__THREADS": "1", "COLUMNS": "200"}
        self.env = {**clean_environment(folder), **own}
        self.host: subprocess.Popen[str] | None = None

    def serve(self, command: str) -> None:
        """Start the host, ending the one that runs."""
        self.press_ctrl_c()
        self.host = subprocess.Popen(
            ["bash", "-c", f"exec {command}"], cwd=self.folder, env=self.env, stderr=subprocess.PIPE, text=True
        )
        assert self.host.stderr is not None
        assert any(READY.search(line) for line in self.host.stderr)

    def press_ctrl_c(self) -> None:
        """End the host as the guide says."""
        if self.host is not None:
            self.host.send_signal(signal.SIGINT)
            self.host.communicate(timeout=30)
            assert self.host.returncode == 0

    def run(self, *command: str) -> str:
        """Type a command; returns what it prints."""
        there = [part.replace("127.0.0.1:8000", f"127.0.0.1:{self.port}") for part in command]
        done = subprocess.run(
            there,
            cwd=self.folder,
            env=self.env,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout


@pytest.fixture(scope="module")
def said(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Said]:
    """What everything printed that the guide has a newcomer type."""
    newcomer = Newcomer(tmp_path_factory.mktemp("clone"))
    printed: Said = {}
    try:
        for language, what, text in BLOCK.findall(GUIDE):
            match language, what:
                case "toml", file:
                    (newcomer.folder / file.removeprefix("file=")).write_text(text)
                case "sh", "serve":
                    newcomer.serve(text.strip())
                case "sh", "run":
                    printed[text.partition("\n")[0]] = newcomer.run("bash", "-ec", text)
                case "python", "run":
                    printed["python"] = newcomer.run(".venv/bin/python", "-c", text)
        newcomer.press_ctrl_c()
        yield printed
    finally:
        if newcomer.host is not None and newcomer.host.poll() is None:
            newcomer.host.kill()
            newcomer.host.communicate()


def test_the_guide_installs_as_the_readme_does() -> None:
    (install,) = (text for _, what, text in BLOCK.findall(GUIDE) if what == "install")
    assert f"{install.strip()} && .venv/bin/modelhost serve" in (ROOT / "README.md").read_text()


def test_every_block_is_run_or_explained() -> None:
    fences = re.findall(r"^```\w+.*$", GUIDE, re.MULTILINE)
    assert len(fences) == len(BLOCK.findall(GUIDE))
    assert {what for _, what, _ in BLOCK.findall(GUIDE)} == {"install", "run", "serve", "file=modelhost.toml"}


def test_doctor_finds_nothing_broken_and_begins_each_line_as_the_guide_says(said: Said) -> None:
    lines = said[".venv/bin/modelhost doctor"].splitlines()
    assert lines
    assert all(line.startswith(("ok ", "-- ")) for line in lines)


def test_the_starter_answers_curl_the_sdk_and_the_command_line(said: Said) -> None:
    (answer,) = (text for command, text in said.items() if command.startswith("curl"))
    assert '"object":"chat.completion"' in answer
    assert said["python"].strip()
    assert said['.venv/bin/modelhost chat --max-tokens 32 "What is a cat?"'].strip()
    assert re.search(r"smollm2-135m +ready", said[".venv/bin/modelhost ps"])


def test_the_newcomers_own_file_is_right_and_serves_the_weights_of_a_path(said: Said) -> None:
    assert said[".venv/bin/modelhost config check"].endswith("modelhost.toml is right: small, qwen\n")
    assert said['.venv/bin/modelhost chat -m small --max-tokens 32 "What is a dog?"'].strip()


def test_a_model_of_the_hub_is_listed_and_not_fetched_before_it_is_asked(said: Said) -> None:
    assert re.search(r"qwen .*gguf_chat .* cold", said[".venv/bin/modelhost models"])


def test_stop_gives_memory_back_and_load_makes_the_model_ready_again(said: Said) -> None:
    printed = said[".venv/bin/modelhost stop small"]
    assert re.search(r"^small is cold; [1-9]\d+ MB came free$", printed, re.MULTILINE)
    assert re.search(r"^small is ready$", printed, re.MULTILINE)
    assert re.search(r"^small +ready ", printed, re.MULTILINE)
