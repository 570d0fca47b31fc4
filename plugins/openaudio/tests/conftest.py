import importlib.util
import sys
from pathlib import Path

import pytest
from hypothesis import settings

settings.register_profile("steady", derandomize=True, deadline=None, max_examples=100)
settings.load_profile("steady")

PROGRAM = Path(__file__).with_name("fish_server.py")

_spec = importlib.util.spec_from_file_location("fish_server", PROGRAM)
fish_server = importlib.util.module_from_spec(_spec)
sys.modules["fish_server"] = fish_server
_spec.loader.exec_module(fish_server)


@pytest.fixture
def fish():
    """Makes running stand-ins; they are stopped after the test."""
    running = []

    def start(**settings):
        running.append(fish_server.InThread(**settings))
        return running[-1]

    yield start
    for server in running:
        server.stop()
