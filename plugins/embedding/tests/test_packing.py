"""Texts of a step in one row: which models take them so, and that no vector shows it."""

import numpy as np
import pytest
import torch
import transformers
from hypothesis import given, settings, strategies as st
from sentence_transformers import SentenceTransformer

SIZE = {"vocab_size": 512, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 3, "num_attention_heads": 2}
LONG = {"max_position_embeddings": 160, "pad_token_id": 0}
POOLINGS = ("mean", "cls", "max", "lasttoken", "weightedmean", "mean_sqrt_len_tokens")
FAMILIES = {
    "bert": transformers.BertConfig(**SIZE, **LONG),
    "xlm-roberta": transformers.XLMRobertaConfig(**SIZE, **LONG),
    "modernbert": transformers.ModernBertConfig(**SIZE, **LONG, local_attention=16, global_attn_every_n_layers=3),
    "qwen3": transformers.Qwen3Config(
        **SIZE, **LONG, num_key_value_heads=1, head_dim=16, use_sliding_window=True, sliding_window=16, max_window_layers=1
    ),
}
PADDED = "texts are computed with padding, because this model's vectors would change without, or might"
TEXTS = st.lists(st.text(st.characters(codec="ascii"), min_size=1, max_size=120), min_size=1, max_size=8)


class Beside:
    """A loaded model, what the transformer in it reads, and another of the same files that is used as they say."""

    def __init__(self, embedder, folder):
        self.embedder = embedder
        self.shapes = []
        self.plain = SentenceTransformer(str(folder), device="cpu")
        embedder.theirs[0].register_forward_pre_hook(self._note)

    def _note(self, module, args):
        self.shapes.append(tuple(args[0]["input_ids"].shape))

    def embed(self, *inputs):
        self.shapes.clear()
        self.embedder.read.clear()
        return self.embedder.embed(*inputs, overlong="truncate")

    def expected(self, *texts):
        return self.plain.encode(list(texts), prompt="", batch_size=1, normalize_embeddings=True)


@pytest.fixture(scope="module")
def beside(load, gemma, minilm, make_tiny, tmp_path_factory):
    made = {}

    def beside(name, **settings):
        key = (name, *settings.items())
        if key not in made:
            folder = {"gemma": gemma, "minilm": minilm}.get(name) or make_tiny(
                tmp_path_factory.mktemp("tiny"), FAMILIES[name], **settings
            )
            made[key] = Beside(load(folder), folder)
        return made[key]

    return beside


@pytest.mark.parametrize("name", ["minilm", "gemma", *FAMILIES])
def test_no_padding_is_computed(beside, name):
    model = beside(name)
    model.embed("a dog", "a cat and a dog", "rain")
    assert {rows for rows, _ in model.shapes} == {1}
    assert [length for _, length in model.shapes] == [sum(map(len, batch)) for batch in model.embedder.read]
    assert max(map(len, model.embedder.read)) > 1
    assert model.embedder.logged == []


@pytest.mark.parametrize("name", ["minilm", "gemma", *FAMILIES])
@settings(max_examples=25)
@given(texts=TEXTS)
def test_vectors_are_those_of_sentence_transformers_for_any_batch(beside, name, texts):
    model = beside(name)
    assert np.allclose(model.embed(*texts), model.expected(*texts), atol=2e-5)


@pytest.mark.parametrize("pooling", POOLINGS)
@pytest.mark.parametrize(("name", "side"), [("xlm-roberta", "right"), ("qwen3", "left")])
def test_each_way_of_pooling_takes_each_text_by_itself(beside, name, side, pooling):
    model = beside(name, pooling=pooling, padding_side=side)
    texts = ["a dog", "rain", "a cat and a dog", "the ship saw the rain fall on the sea", "x"]
    assert np.allclose(model.embed(*texts), model.expected(*texts), atol=2e-5)
    assert {rows for rows, _ in model.shapes} == {1}


@pytest.mark.parametrize("name", ["minilm", "gemma", *FAMILIES])
def test_the_token_for_padding_among_others_is_what_it_is_to_the_model(beside, name):
    model = beside(name)
    inputs = [(20, 0, 21, 22), (30, 31, 32), (0, 40), (50, 0, 0, 51, 52)]
    found = model.embed(*inputs)
    read = {tuple(piece[1:-1]): piece for batch in model.embedder.read for piece in batch}
    for one, vector in zip(inputs, found, strict=True):
        ids = torch.tensor([read[one]])
        with torch.inference_mode():
            own = model.plain({"input_ids": ids, "attention_mask": torch.ones_like(ids)})["sentence_embedding"][0].numpy()
        assert np.allclose(vector, own / np.linalg.norm(own), atol=2e-5)


def padded(model, *texts):
    """Whether texts are filled up, with the vectors they should have."""
    assert np.allclose(model.embed(*texts), model.expected(*texts), atol=2e-5)
    return any(rows > 1 for rows, _ in model.shapes) and PADDED in model.embedder.logged


@pytest.mark.parametrize("family", [transformers.MPNetConfig, transformers.DebertaV2Config, transformers.T5Config])
def test_a_family_that_looks_at_distances_in_the_row_is_padded_and_the_log_says_so(load, make_tiny, tmp_path, family):
    folder = make_tiny(tmp_path, family(**SIZE, **LONG))
    assert padded(Beside(load(folder), folder), "a dog", "a cat", "rain")


def test_a_model_with_a_part_that_looks_over_the_bounds_is_padded_and_the_log_says_so(load, make_tiny, tmp_path):
    from sentence_transformers.sentence_transformer.modules import CNN, Pooling

    first = SentenceTransformer(str(make_tiny(tmp_path, FAMILIES["bert"])), device="cpu")[0]
    neighbours = CNN(32, out_channels=16, kernel_sizes=[3])
    SentenceTransformer(modules=[first, neighbours, Pooling(16)], device="cpu").save_pretrained(str(tmp_path / "over"))
    assert padded(Beside(load(tmp_path / "over"), tmp_path / "over"), "one dog", "two cat")
