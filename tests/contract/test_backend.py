"""What a backend keeps between `load` and `unload`."""

import pytest
from modelhost import Backend, Context, Delta, Done, GenerateRequest, ModelCard, NotReadyError, Options, hookimpl
from modelhost.testing import chat


class Runtime:
    def __init__(self):
        self.closed = 0

    def close(self):
        self.closed += 1


class Keeps(Backend[Options]):
    loaded: Runtime

    def load(self):
        self.loaded = Runtime()
        return ModelCard()

    @hookimpl
    def generate(self, request: GenerateRequest, context: Context):
        yield Delta(text=str(self.loaded.closed))
        yield Done()


def test_what_load_makes_is_there_for_the_hooks_of_that_instance_alone():
    one, other = Keeps(Options()), Keeps(Options())
    one.load()
    assert [event.text for event in one.generate(chat("hi"), Context()) if isinstance(event, Delta)] == ["0"]
    with pytest.raises(NotReadyError, match="not loaded"):
        next(other.generate(chat("hi"), Context()))


def test_unload_closes_it_once_and_it_is_gone():
    backend = Keeps(Options())
    backend.load()
    runtime = backend.loaded
    backend.unload()
    backend.unload()
    assert runtime.closed == 1
    with pytest.raises(NotReadyError, match="not loaded"):
        _ = backend.loaded


def test_what_cannot_be_closed_is_let_go():
    backend = Keeps(Options())
    backend.loaded = {"no": "close"}
    backend.unload()
    with pytest.raises(NotReadyError):
        _ = backend.loaded
