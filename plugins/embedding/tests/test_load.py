"""What load accepts, and what it says where it does not."""

import json
import shutil

import numpy as np
import pytest
import torch
from modelhost import BadInputError, NotReadyError
from modelhost_embedding.checkpoint import check
from modelhost_embedding.dtype import find_dtype
from modelhost_embedding.sizes import Sizes


@pytest.fixture
def copied(gemma, tmp_path):
    return shutil.copytree(gemma, tmp_path / "model")


def change(file, **values):
    file.write_text(json.dumps(json.loads(file.read_text()) | values))


def test_the_card_says_what_the_files_say(google, small):
    assert google.card.dimensions == (768, 512, 256, 128)
    assert google.card.context_length == 128
    assert (small.card.dimensions, small.card.context_length) == ((384,), 256)
    assert small.card.size_bytes == 90_868_376
    assert small.card.features == ("token_input", "truncate", "prompts", "title")


@pytest.mark.parametrize("file", ["config.json", "tokenizer_config.json"])
def test_a_model_with_an_auto_map_is_refused(copied, file):
    change(copied / file, auto_map={"AutoModel": "modeling.Model"})
    with pytest.raises(NotReadyError, match="code of its own"):
        check(copied)


def test_a_model_that_names_a_class_of_its_own_is_refused(copied):
    modules = json.loads((copied / "modules.json").read_text())
    modules[0]["type"] = "os.path"
    (copied / "modules.json").write_text(json.dumps(modules))
    with pytest.raises(NotReadyError, match="code of its own"):
        check(copied)


def test_a_file_and_a_folder_of_something_else_are_told_apart(gemma, tmp_path):
    with pytest.raises(BadInputError, match="not a folder"):
        check(gemma / "config.json")
    with pytest.raises(NotReadyError, match=r"no modules\.json"):
        check(tmp_path)


def test_files_that_are_damaged_are_named(copied, load):
    (copied / "config.json").write_text("{")
    with pytest.raises(NotReadyError, match=r"config\.json is not JSON"):
        check(copied)


def test_weights_that_are_cut_short_are_an_error_of_the_model(copied, load):
    weights = next(copied.glob("*.safetensors"))
    weights.write_bytes(weights.read_bytes()[:1000])
    with pytest.raises(NotReadyError, match="cannot load model"):
        load(copied)


def test_a_transformer_without_modules_json_is_pooled_by_the_mean(load, make_transformer, tmp_path):
    plain = load(make_transformer(tmp_path / "plain"))
    assert plain.card.dimensions == (32,)
    assert np.allclose(plain.embed("cats"), plain.theirs.encode(["cats"], normalize_embeddings=True), atol=1e-6)


def test_a_model_that_does_not_begin_with_a_transformer_is_refused(load, tmp_path, google):
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import StaticEmbedding

    words = StaticEmbedding(google.theirs.tokenizer.backend_tokenizer, embedding_dim=8)
    SentenceTransformer(modules=[words], device="cpu").save_pretrained(str(tmp_path / "words"))
    with pytest.raises(NotReadyError, match="does not begin with a transformer"):
        load(tmp_path / "words")


def test_a_model_whose_vectors_come_out_otherwise_is_refused(load, gemma, monkeypatch):
    from sentence_transformers import SentenceTransformer

    preprocess = SentenceTransformer.preprocess
    monkeypatch.setattr(
        SentenceTransformer,
        "preprocess",
        lambda self, inputs, **options: preprocess(self, [{"text": "x" + one["text"]} for one in inputs], **options),
    )
    with pytest.raises(NotReadyError, match="in a way that is not known here"):
        load(gemma)


@pytest.mark.parametrize(("pooling", "side"), [("lasttoken", "left"), ("cls", "right"), ("mean", "left")])
def test_padding_on_either_side_changes_no_vector(load, make_gemma, tmp_path, pooling, side):
    model = load(make_gemma(tmp_path, pooling=pooling, padding_side=side))
    texts = ["cats", "a cat and a dog", "cats and dogs and all the birds"]
    assert np.allclose(model.embed(*texts), model.theirs.encode(texts, batch_size=1, normalize_embeddings=True), atol=1e-5)


def test_a_prompt_that_is_not_pooled_is_left_out_of_the_vector(load, make_gemma, tmp_path):
    model = load(make_gemma(tmp_path, include_prompt=False))
    expected = model.theirs.encode(["cats"], prompt_name="query", normalize_embeddings=True)
    assert np.allclose(model.embed("cats", prompt_name="query"), expected, atol=1e-6)
    assert not np.allclose(model.embed("cats"), expected, atol=1e-3)
    both = model.embed("cats", "dogs", prompt_name="query")
    assert np.allclose(both[:1], expected, atol=1e-5)


def test_embedding_gemma_is_never_run_in_float16(load, gemma):
    with pytest.raises(BadInputError, match="bfloat16"):
        load(gemma, dtype="float16")


def test_bfloat16_gives_nearly_the_same_unit_vectors(load, gemma, google):
    half = load(gemma, dtype="bfloat16")
    assert np.sum(half.embed("cats") * google.embed("cats")) > 0.99
    assert np.linalg.norm(half.embed("cats")) == pytest.approx(1, abs=1e-5)


def test_auto_is_float32_but_for_16_bit_weights_on_cuda():
    half = {"requested": "auto", "stored": torch.float16, "float16": True}
    assert find_dtype(device="cpu", **half) == torch.float32
    assert find_dtype(device="cuda:1", **half) == torch.bfloat16
    assert find_dtype("auto", device="cuda", stored=torch.float32, float16=True) == torch.float32
    assert find_dtype("float16", device="cuda", stored=torch.float32, float16=True) == torch.float16


def test_force_cpu_wins_over_any_device(load, minilm):
    assert load(minilm, device="cuda:7", force_cpu=True).card.device == "cpu"
    with pytest.raises(BadInputError, match=r"options\.device"):
        load(minilm, device="cuda:7")


def test_sizes_are_checked_against_the_model_and_the_usual_one_is_first():
    assert Sizes(768, (512, 128), 128).trained == (128, 768, 512)
    with pytest.raises(BadInputError, match=r"options\.dimensions"):
        Sizes(384, (512,), None)
    with pytest.raises(BadInputError, match=r"options\.default_dimensions: .* 384 or 128"):
        Sizes(384, (128,), 64)


def test_the_models_own_files_may_name_the_usual_size(copied, load):
    change(copied / "config_sentence_transformers.json", truncate_dim=256)
    model = load(copied)
    assert model.card.dimensions == (256, 768, 512, 128)
    assert model.embed("cats").shape == (1, 256)


def test_max_length_shortens_and_never_lengthens(load, gemma):
    assert load(gemma, max_length=16).card.context_length == 16
    for wrong in (2, 129):
        with pytest.raises(BadInputError, match=r"options\.max_length: this model takes 3 to 128"):
            load(gemma, max_length=wrong)


def test_the_engine_computes_with_the_threads_it_is_given(load, gemma):
    model = load(gemma, threads=2)
    used = []
    model._encode = lambda pieces, encode=model._encode: used.append(torch.get_num_threads()) or encode(pieces)
    model.embed("cats")
    torch.set_num_threads(1)
    assert used == [2]
