"""Commands that find no host running: they start one of their own, and take it away."""

import contextlib
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import trustme
from serving import eventually
from terminal import environment, type_in

ECHO = '[models.echo]\nplugin = "echo"\n'
STARTING = "no host is running: starting one for this command\n"


def processes_of(folder: Path) -> list[int]:
    """The processes that were started with a folder in their environment."""
    found = []
    for environ in Path("/proc").glob("[0-9]*/environ"):
        with contextlib.suppress(OSError):
            if str(folder).encode() in environ.read_bytes():
                found.append(int(environ.parent.name))
    return found


@pytest.mark.skipif(sys.platform != "linux", reason="looks at processes in /proc")
class TestAHostOfItsOwn:
    def test_it_has_the_same_configuration_and_is_gone_afterwards(self, tmp_path: Path) -> None:
        (tmp_path / "other.toml").write_text(ECHO)
        ended = type_in(tmp_path, "say", "Hello.", "-o", "a.wav", "--config", "other.toml")
        assert (ended.returncode, ended.stderr) == (0, STARTING)
        assert (tmp_path / "a.wav").read_bytes().startswith(b"RIFF")
        assert processes_of(tmp_path) == []

    def test_none_is_started_when_that_is_not_wanted(self, tmp_path: Path) -> None:
        for command in (["transcribe", "a.wav"], ["say", "Hello.", "-o", "a.wav"]):
            ended = type_in(tmp_path, *command, "--no-start")
            assert ended.returncode == 1
            assert ended.stderr == "Error: no host is running; start one with `modelhost serve`, or leave --no-start out\n"

    def test_it_speaks_https_with_the_configured_certificate_and_listens_on_this_machine_only(self, tmp_path: Path) -> None:
        authority = trustme.CA()
        certificate = authority.issue_cert("models.example.com")
        certificate.private_key_pem.write_to_path(tmp_path / "key.pem")
        certificate.cert_chain_pems[0].write_to_path(tmp_path / "cert.pem")
        key = '[keys.me]\nkey = "sixteen-characters-and-more"\n'
        server = '[server]\nhost = "0.0.0.0"\ntls_cert = "cert.pem"\ntls_key = "key.pem"\n'
        (tmp_path / "modelhost.toml").write_text(ECHO + server + key)
        (tmp_path / "talk.wav").write_bytes(b"sound")
        ended = type_in(tmp_path, "transcribe", "talk.wav", MODELHOST_API_KEY="sixteen-characters-and-more")
        assert (ended.returncode, ended.stdout, ended.stderr) == (0, "heard 5 bytes\n", STARTING)

    @pytest.mark.parametrize(("sent", "status"), [(signal.SIGINT, 130), (signal.SIGKILL, -9)])
    def test_it_ends_with_the_command_however_that_ends(self, tmp_path: Path, sent: signal.Signals, status: int) -> None:
        (tmp_path / "modelhost.toml").write_text('[models.slow]\nplugin = "echo"\noptions = { pace = 0.01 }\n')
        (tmp_path / "talk.wav").write_bytes(b"sound")
        env = environment(tmp_path, TMPDIR=str(tmp_path))  # what SIGKILL leaves there goes with the test
        command = [sys.executable, "-m", "modelhost", "transcribe", "talk.wav"]
        with subprocess.Popen(command, cwd=tmp_path, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as typed:
            eventually(lambda: len(processes_of(tmp_path)) == 3)  # the command, its host, and the host's worker
            typed.send_signal(sent)
            said, complained = typed.communicate(timeout=20)
            assert (said, complained.strip()) == ("", STARTING.strip())
        assert typed.returncode == status
        eventually(lambda: processes_of(tmp_path) == [])
