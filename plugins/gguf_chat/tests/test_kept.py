"""What outlives its place in the KV cache, and the process."""

import pytest
from modelhost import Context, GenerateRequest, Source
from modelhost.contract.context import CallInfo
from modelhost_gguf_chat import GgufChatBackend, GgufChatOptions

PROMPT = tuple(range(200, 400))


@pytest.fixture
def load(weights, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    made = []

    def load(model="kept", **options):
        backend = GgufChatBackend(
            GgufChatOptions(source=Source("smollm2", path=weights), n_ctx=512, **options), threads=1, model=model
        )
        backend.load()
        made.append(backend)
        return backend

    yield load
    for backend in made:
        backend.unload()


def write(backend, prompt, caller=""):
    request = GenerateRequest(prompt=prompt, temperature=0.0, max_tokens=8, ignore_eos=True)
    *deltas, done = backend.generate(request, Context(CallInfo(caller=caller)))
    return "".join(delta.text for delta in deltas), done.usage.cached_tokens


def files(folder):
    return sorted(folder.rglob("*.prefix"))


def test_a_beginning_outlives_unloading_for_whoever_it_belongs_to(load, tmp_path):
    first = load(parallel=1)
    said, cached = write(first, PROMPT, caller="anna")
    assert cached == 0
    first.unload()
    assert len(files(tmp_path)) == 1
    second = load(parallel=1)
    assert write(second, PROMPT, caller="bert") == (said, 0)
    assert write(second, PROMPT, caller="anna") == (said, len(PROMPT) - 1)


@pytest.mark.parametrize("change", [{"prefix_disk_mb": 0}, {"model": ""}])
def test_nothing_is_written_where_it_must_not_be(load, tmp_path, change):
    backend = load(**change)
    write(backend, PROMPT)
    backend.unload()
    assert files(tmp_path) == []


@pytest.mark.parametrize("change", [{"cache_type_k": "q8_0"}, {"parallel": 3}, {"kv": "unified"}])
def test_a_file_of_another_kind_of_cache_is_not_used(load, tmp_path, change):
    backend = load(parallel=2)
    write(backend, PROMPT)
    backend.unload()
    assert len(files(tmp_path)) == 1
    assert write(load(**{"parallel": 2} | change), PROMPT)[1] == 0


def test_a_damaged_file_is_computed_anew(load, tmp_path):
    backend = load()
    said, _ = write(backend, PROMPT)
    backend.unload()
    (path,) = files(tmp_path)
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    assert write(load(), PROMPT) == (said, 0)
    assert path not in files(tmp_path)


def test_a_folder_that_cannot_be_written_keeps_nobody_from_answering(load, tmp_path):
    (tmp_path / "modelhost").write_text("no folder")
    backend = load()
    assert write(backend, PROMPT)[1] == 0
    backend.unload()


def test_a_conversation_that_had_to_make_room_is_not_computed_again(load):
    backend = load(parallel=1, prefix_disk_mb=0)
    said, _ = write(backend, PROMPT)
    assert write(backend, tuple(range(500, 700)))[1] == 0
    assert write(backend, PROMPT) == (said, len(PROMPT) - 1)
    none = load(parallel=1, prefix_disk_mb=0, prefix_memory_mb=0)
    write(none, PROMPT)
    write(none, tuple(range(500, 700)))
    assert write(none, PROMPT) == (said, 0)
