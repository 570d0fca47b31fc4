"""What a host leaves behind that is killed, or told to end while it starts: nothing, or what the next one removes."""

import fcntl
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from fake_plugins import fake_plugin
from modelhost.http.server.temporary_folder import PREFIX, remove_leftovers, scratch
from serving import Served, clean_environment, eventually

ECHO = '[models.echo]\nplugin = "echo"\n'


def is_alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"  # dead, and nobody reaps it


def test_the_next_host_removes_what_a_killed_one_has_left_and_nothing_of_the_living(tmp_path: Path) -> None:
    shared = tmp_path / "tmp"
    shared.mkdir()
    for other in ("modelhost-new-just-made", "modelhost-of-an-older-version", "somebody-elses"):
        (shared / other).mkdir()
    others = set(shared.iterdir())
    hosts = [Served(ECHO, tmp_path / name, env={"TMPDIR": str(shared)}) for name in ("killed", "lives")]
    for host in hosts:
        assert host.chat("echo").status_code == 200
    killed, lives = hosts
    worker = killed.pid_of("echo")
    left = Path(f"/proc/{worker}/cwd").readlink().parent
    assert left.name.startswith(PREFIX)
    killed.process.kill()
    killed.process.wait()
    eventually(lambda: not is_alive(worker))
    assert left.exists()
    third = Served(ECHO, tmp_path / "third", env={"TMPDIR": str(shared)})
    assert not left.exists()
    assert lives.chat("echo").status_code == 200
    assert len(list(shared.glob(f"{PREFIX}*"))) == 2
    assert [host.stop() for host in (killed, lives, third)] == [-signal.SIGKILL, 0, 0]
    assert set(shared.iterdir()) == others


def test_a_folder_that_is_locked_or_a_link_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    precious = tmp_path / "precious"
    precious.mkdir()
    (tmp_path / f"{PREFIX}link").symlink_to(precious)
    (tmp_path / f"{PREFIX}file").write_text("no folder")
    dead = tmp_path / f"{PREFIX}dead"
    (dead / "within").mkdir(parents=True)
    with scratch() as own:
        assert own.parent == tmp_path
        assert not dead.exists()
        remove_leftovers(tmp_path)
        assert own.exists()
    assert {path.name for path in tmp_path.iterdir()} == {"precious", f"{PREFIX}link", f"{PREFIX}file"}


def test_another_users_folder_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / f"{PREFIX}anothers").mkdir()
    monkeypatch.setattr(os, "geteuid", lambda: os.getuid() + 1)
    remove_leftovers(tmp_path)
    assert (tmp_path / f"{PREFIX}anothers").exists()


def test_a_lock_goes_with_its_process_and_is_not_inherited(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with scratch() as own:
        # Started as workers are: with descriptors of ours only where they are passed on.
        child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    own.mkdir()
    descriptor = os.open(own, os.O_RDONLY)
    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    os.close(descriptor)
    child.communicate(b"\n")


HANGS = """
import os, time
from pathlib import Path
Path(os.environ["SEEN"], str(os.getpid())).touch()
time.sleep(600)
"""


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGKILL], ids=lambda how: how.name)
def test_processes_that_describe_plugins_end_with_a_host_that_is_told_to_end_meanwhile(
    tmp_path: Path, how: signal.Signals
) -> None:
    seen = tmp_path / "seen"
    seen.mkdir()
    site = fake_plugin(tmp_path / "site", "hangs", HANGS)
    (tmp_path / "modelhost.toml").write_text(ECHO + '[models.a]\nplugin = "hangs"\n')
    env = {**clean_environment(tmp_path), "PYTHONPATH": str(site), "SEEN": str(seen)}
    command = [sys.executable, "-m", "modelhost", "serve", "--port", "0"]
    with subprocess.Popen(command, cwd=tmp_path, env=env, stderr=subprocess.DEVNULL) as host:
        eventually(lambda: any(seen.iterdir()))
        (describing,) = (int(path.name) for path in seen.iterdir())
        host.send_signal(how)
        host.wait(8)  # a plugin would get ten seconds
    eventually(lambda: not is_alive(describing), 5)


def test_a_plugin_that_is_described_sees_no_secrets_of_the_host(tmp_path: Path) -> None:
    seen = tmp_path / "seen.txt"
    code = f"import os\nfrom pathlib import Path\nPath({str(seen)!r}).write_text(' '.join(os.environ))\nraise ValueError\n"
    site = fake_plugin(tmp_path / "site", "curious", code)
    env = {**clean_environment(tmp_path), "PYTHONPATH": str(site), "PGPASSWORD": "s", "GITHUB_PAT": "s"}
    (tmp_path / "modelhost.toml").write_text('[models.a]\nplugin = "curious"\n')
    subprocess.run(
        [sys.executable, "-m", "modelhost", "config", "check"], cwd=tmp_path, env=env, capture_output=True, check=False
    )
    assert "PATH" in seen.read_text().split()
    assert not {"PGPASSWORD", "GITHUB_PAT"} & set(seen.read_text().split())
