"""Models whose memory is no plain cache: one state of everything before (Mamba), and layers that look back a few tokens only."""

import threading

import pytest
import tiny_models
from modelhost import Context, Delta, GenerateRequest, Source
from modelhost.contract.context import CallInfo
from modelhost_gguf_chat import GgufChatBackend, GgufChatOptions

PROMPT = "the cat sat on the mat and then it went away to see the sea " * 3


class Writer:
    """A loaded tiny model."""

    def __init__(self, path, **options):
        self.backend = GgufChatBackend(GgufChatOptions(source=Source("tiny", path=path), n_ctx=512, **options), threads=1)
        self.backend.load()
        self.vocabulary = self.backend.loaded._engine.vocabulary

    def write(self, prompt, **more):
        request = GenerateRequest(prompt=prompt, temperature=0.0, ignore_eos=True, max_tokens=24, logprobs=True, **more)
        *deltas, done = self.backend.generate(request, Context(CallInfo()))
        said = [entry for delta in deltas if isinstance(delta, Delta) for entry in delta.logprobs]
        return said, done.usage


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tiny")
    return {name: getattr(tiny_models, name)(folder / f"{name}.gguf") for name in ("recurrent", "windowed")}


@pytest.fixture(params=["split", "unified"])
def kv(request):
    return request.param


@pytest.fixture(params=["recurrent", "windowed"])
def writer(request, files, kv):
    made = Writer(files[request.param], kv=kv, parallel=3)
    yield made
    made.backend.unload()


def test_a_conversation_goes_on_from_where_it_ended(writer):
    _, first = writer.write(PROMPT)
    assert first.cached_tokens == 0
    sequences = writer.backend.loaded._engine._sequences
    whole = sequences._cells.tokens(next(iter(sequences._left)))
    assert len(whole) == first.input_tokens + 23  # what was chosen last has not been computed
    _, second = writer.write((*whole, *writer.vocabulary.tokenize(" the sea")))
    assert second.cached_tokens == len(whole)


def test_answers_beside_each_other_are_what_they_are_alone(writer):
    prompts = [PROMPT[at:] for at in range(6)]
    alone = [writer.write(prompt)[0] for prompt in prompts]
    beside = {}
    threads = [threading.Thread(target=lambda at=at: beside.update({at: writer.write(prompts[at])[0]})) for at in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for at in range(6):
        assert_alike(alone[at], beside[at])


def test_a_prompt_that_was_asked_before_is_kept_where_a_sequence_cannot_be_cut(files):
    writer = Writer(files["recurrent"], parallel=1)
    said, _ = writer.write(PROMPT)
    again, usage = writer.write(PROMPT)
    assert_alike(again, said)
    assert usage.cached_tokens == usage.input_tokens - 1
    writer.backend.unload()


def test_what_has_slid_out_of_a_window_is_not_gone_on_from(files):
    writer = Writer(files["windowed"], parallel=2)
    whole, _ = writer.write(PROMPT)
    writer.write(PROMPT + "and more of it all")
    again, _ = writer.write(PROMPT)
    assert_alike(again, whole)
    writer.backend.unload()


def assert_alike(one, other):
    """Unquantised weights round differently in company: texts may part where two tokens are as likely, and until then agree."""
    assert len(one) == len(other) == 24
    for first, second in zip(one, other, strict=True):
        assert first.logprob == pytest.approx(second.logprob, abs=0.1)
        if first.data != second.data:
            break
