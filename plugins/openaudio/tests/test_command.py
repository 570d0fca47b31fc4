"""A server of the model's own: real processes, with the stand-in as the program."""

import asyncio
import os
import signal
import socket
import sys
from pathlib import Path

import httpx
import pytest
from fish_server import free_port
from modelhost import Done, NotReadyError, SynthesizeRequest
from modelhost.contract.log import Log, silent
from modelhost.runner.process import ProcessRunner
from modelhost.runner.spec import WorkerSpec
from modelhost.testing import Loaded
from modelhost_openaudio import OpenAudioBackend, supervisor
from modelhost_openaudio.supervisor import Supervisor

PROGRAM = str(Path(__file__).with_name("fish_server.py"))
SPEECH = SynthesizeRequest(text="one two")


def own_server(*arguments, **options):
    port = free_port()
    command = [sys.executable, PROGRAM, "--port", str(port), *arguments]
    return {"base_url": f"http://127.0.0.1:{port}", "command": command, **options}


def line_to(port):
    """A connection that ends when the process at its other end does."""
    return socket.create_connection(("127.0.0.1", port), timeout=20)


def ended(line):
    try:
        return line.recv(1) == b""
    except ConnectionResetError:
        return True
    finally:
        line.close()


def port_of(options):
    return int(options["base_url"].rpartition(":")[2])


def test_the_server_and_all_it_started_come_and_go_with_the_model():
    child = free_port()
    options = own_server("--child-port", str(child), "--api-key", "k", api_key="k")
    loaded = Loaded(OpenAudioBackend, options)
    assert isinstance(loaded.events("synthesize", SPEECH)[-1], Done)
    lines = [line_to(port_of(options)), line_to(child)]
    loaded.close()
    assert all(ended(line) for line in lines)


def test_a_server_that_died_is_started_again_by_the_next_call():
    options = own_server()
    loaded = Loaded(OpenAudioBackend, options)
    loaded.events("synthesize", SPEECH)
    with pytest.raises(httpx.RemoteProtocolError), httpx.Client(trust_env=False) as client:
        client.post(f"{options['base_url']}/test/die")
    loaded.instance._backend.loaded._supervisor._process.wait()
    assert isinstance(loaded.events("synthesize", SPEECH)[-1], Done)
    loaded.close()


def test_the_server_dies_with_a_worker_that_is_killed():
    options = own_server()

    class Watch:
        def lost(self):
            """Nothing to do."""

        def died(self, why):
            """Nothing to do."""

    async def main():
        spec = WorkerSpec(plugin="openaudio", model="speech", options=options)
        runner = ProcessRunner(spec, log=Log(silent), watch=Watch(), host_call=None)
        card = await runner.start()
        assert card.voices == ("default",)
        line = line_to(port_of(options))
        os.kill(runner.pid, signal.SIGKILL)
        assert await asyncio.to_thread(ended, line)
        await runner.stop()

    asyncio.run(main())


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"command": ["no-such-program-here"]}, "no program 'no-such-program-here'"),
        ({"command": ["sh", "-c", "exit 3"]}, r"ended before it was ready \(status 3\)"),
        ({"command": ["sh", "-c", "kill -9 $$"]}, r"\(status 137\)"),
        ({"command": ["sleep", "60"], "start_timeout": 0.3}, r"did not answer at http://127.* within 0\.3 s"),
        ({"command": ["true"], "command_folder": "/no/such/folder"}, "check `command_folder`"),
    ],
)
def test_a_server_that_does_not_come_is_named_with_what_happened(options, said):
    with pytest.raises(NotReadyError, match=said):
        Loaded(OpenAudioBackend, {"base_url": f"http://127.0.0.1:{free_port()}", **options})


def test_a_server_that_was_there_before_is_not_taken_for_its_own(fish):
    with pytest.raises(NotReadyError, match="another server answers"):
        Loaded(OpenAudioBackend, {"base_url": fish().url, "command": ["sleep", "60"]})


@pytest.fixture
def failing(monkeypatch):
    """A command that has ended once; the pause before another start is too long to pass while a test runs."""
    monkeypatch.setattr(supervisor, "FIRST_WAIT", 50.0)
    ended = Supervisor(("sh", "-c", "exit 3"), None, Log(silent))
    ended.start()
    ended._process.wait()
    yield ended
    ended.stop()


def test_a_server_that_fails_at_once_is_given_a_pause(failing):
    with pytest.raises(NotReadyError, match=r"has ended \(status 3\); it is started again in \d+ s") as caught:
        failing.start()
    assert 0 < caught.value.retry_after <= 50


def test_a_server_that_has_spoken_is_started_again_at_once(failing):
    failing.note_success()
    failing.start()


def test_pauses_double_up_to_a_limit(failing):
    failing._not_before = 0.0
    failing.start()
    failing._process.wait()
    with pytest.raises(NotReadyError) as caught:
        failing.start()
    assert 50 < caught.value.retry_after <= supervisor.LONGEST_WAIT
