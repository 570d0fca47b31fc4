"""Somebody who does what a guide says, block by block, with a real host."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

from serving import Served, clean_environment

GUIDES = Path(__file__).parents[2] / "docs" / "guides"
BLOCK = re.compile(r"^```(\w+) (\S+)\n(.*?)^```", re.MULTILINE | re.DOTALL)
NODE = shutil.which("node")
COMMANDS = {
    "sh": ("bash", "-ec"),
    "python": (".venv/bin/python", "-c"),
    "js": (NODE or "node", "--no-warnings", "--experimental-websocket", "--input-type=module", "-e"),
}
"""Language → what runs a block of it."""


class Reader:
    """Somebody in a folder that looks like a clone after the install, who does what a guide says."""

    def __init__(self, guide: str, folder: Path, moved: dict[str, str]) -> None:
        """Follow `guide`, with addresses `moved` to where things are here."""
        (folder / ".venv").symlink_to(sys.prefix)
        self.folder = folder
        self._moved = moved
        blocks = BLOCK.findall((GUIDES / guide).read_text())
        (config,) = (text for _, what, text in blocks if what == "file=modelhost.toml")
        self.host = Served(self._here(config), folder)
        self._moved["127.0.0.1:8000"] = self.host.url.removeprefix("http://")
        self.todo = [(language, text) for language, what, text in blocks if what == "run"]

    def _here(self, text: str) -> str:
        for there, here in self._moved.items():
            text = text.replace(there, here)
        return text

    def run(self, language: str, text: str) -> str:
        """Do what a block says; returns what it prints."""
        if language == "js" and NODE is None:
            return ""
        done = subprocess.run(
            [*COMMANDS[language], self._here(text)],
            cwd=self.folder,
            env={**clean_environment(self.folder), "MODELHOST_URL": self.host.url},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, f"{text}\n{done.stdout}{done.stderr}"
        return done.stdout

    def said_by(self, part: str) -> str:
        """Return what the block printed that has `part` in it."""
        (said,) = (said for text, said in self.said.items() if part in text)
        return said

    def follow(self) -> None:
        """Run all blocks in order."""
        self.said = {text: self.run(language, text) for language, text in self.todo}
