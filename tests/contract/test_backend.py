"""What a backend keeps between `load` and `unload`."""

import pytest
from modelhost import (
    Backend,
    Context,
    Delta,
    Done,
    GenerateRequest,
    ModelCard,
    NotReadyError,
    Options,
    PluginError,
    hookimpl,
)
from modelhost.contract.log import Log, silent
from modelhost.testing import chat
from modelhost.worker.instance import Instance


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


class Forgets(Keeps):
    def load(self):
        return ModelCard()


def test_who_forgets_to_set_it_is_told_so():
    instance = Instance(Forgets, {}, model="m", threads=1, log=Log(silent))
    instance.load()
    with pytest.raises(PluginError, match=r"load of Forgets has not set self\.loaded"):
        next(instance.begin("generate", chat("hi"), Context()))


def test_a_plugin_may_have_a_loaded_of_its_own():
    class Own(Forgets):
        loaded = Runtime()

    instance = Instance(Own, {}, model="m", threads=1, log=Log(silent))
    instance.load()
    assert next(instance.begin("generate", chat("hi"), Context())) == Delta(text="0")
