"""docs/guides/write-a-plugin.md, typed as printed: a plugin in a folder and an environment of its own, served by the host."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from serving import Served, clean_environment

pytestmark = pytest.mark.e2e

ROOT = Path(__file__).parents[2]
GUIDE = ROOT / "docs" / "guides" / "write-a-plugin.md"
BLOCK = re.compile(r"^```(\w+) (\S+)\n(.*?)^```", re.MULTILINE | re.DOTALL)
HASTY = {**os.environ, "PIP_NO_COMPILE": "1", "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
"""What is installed serves for a minute, and most of it is never imported."""


@pytest.mark.timeout(600)
def test_a_newcomer_who_types_what_the_guide_says_is_served(tmp_path: Path) -> None:
    asked = ""
    for _, what, text in BLOCK.findall(GUIDE.read_text()):
        if what.startswith("file="):
            file = tmp_path / what.removeprefix("file=")
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text)
        elif what == "run":
            commands = text.replace("path/to/modelhost", str(ROOT))
            done = subprocess.run(["bash", "-ec", commands], cwd=tmp_path, env=HASTY, capture_output=True, text=True, check=False)
            assert done.returncode == 0, done.stdout + done.stderr
        elif what == "ask":
            asked = text
    packages = subprocess.run([tmp_path / "shout/.venv/bin/pip", "list"], capture_output=True, text=True, check=True).stdout
    assert "litestar" not in packages
    assert "uvicorn" not in packages

    check = [sys.executable, "-m", "modelhost", "config", "check", "--strict"]
    done = subprocess.run(check, cwd=tmp_path, env=clean_environment(tmp_path), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr

    host = Served((tmp_path / "modelhost.toml").read_text(), tmp_path)
    try:
        command = asked.replace("http://127.0.0.1:8000", host.url)
        answer = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=True).stdout
        assert "GOOD!! MORNING!! " in answer
        assert host.chat("loud", top_k=3).status_code == 400
    finally:
        assert host.stop() == 0
