"""Requests, beside what sentence-transformers itself makes of the same texts."""

import threading

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from modelhost import BadInputError, Context, EmbedRequest, NotReadyError, UnsupportedError, Vectors

SENTENCES = [" ".join(["cat", "dog", "bird", "ship", "rain"][n % 5] for n in range(length)) for length in range(1, 41)]


def test_vectors_are_those_of_sentence_transformers(small):
    expected = small.theirs.encode(SENTENCES, normalize_embeddings=True)
    assert np.allclose(small.embed(*SENTENCES), expected, atol=1e-5)


def test_a_text_has_the_same_vector_alone_and_among_others(small):
    together = small.embed(*SENTENCES)
    assert max(map(len, small.read)) > 1
    assert np.allclose(together, np.concatenate([small.embed(text) for text in SENTENCES]), atol=1e-5)


def test_requests_at_once_get_their_own_vectors(small):
    expected = small.embed(*SENTENCES)
    got = {}

    def client(number):
        got[number] = small.embed(SENTENCES[number])

    clients = [threading.Thread(target=client, args=(number,)) for number in range(32)]
    for one in clients:
        one.start()
    for one in clients:
        one.join()
    assert np.allclose(np.concatenate([got[number] for number in range(32)]), expected[:32], atol=1e-5)


@settings(max_examples=40)
@given(texts=st.lists(st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=30), min_size=1, max_size=6))
def test_any_text_gives_the_vector_sentence_transformers_gives(google, texts):
    expected = google.theirs.encode([{"text": text} for text in texts], prompt="", normalize_embeddings=True)
    assert np.allclose(google.embed(*texts, overlong="truncate"), expected, atol=1e-5)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        (None, "<bos>cats<eos>"),
        ("query", "<bos>task: search result | query: cats<eos>"),
        ("document", "<bos>title: none | text: cats<eos>"),
        ("clustering", "<bos>task: clustering | query: cats<eos>"),
        ("STS", "<bos>task: sentence similarity | query: cats<eos>"),
    ],
)
def test_the_model_reads_the_prompt_before_the_text(google, name, text):
    assert google.seen("cats", prompt_name=name) == [text]


def test_the_model_reads_the_title_of_a_document(google):
    assert google.seen("cats", prompt_name="document", title="On cats") == ["<bos>title: On cats | text: cats<eos>"]


@pytest.mark.parametrize("name", ["query", "document", "Clustering", "STS"])
def test_prompted_vectors_are_those_of_sentence_transformers(google, name):
    expected = google.theirs.encode(["cats"], prompt_name=name, normalize_embeddings=True)
    assert np.allclose(google.embed("cats", prompt_name=name), expected, atol=1e-6)


def test_prompts_of_the_options_replace_and_add(load, gemma):
    model = load(gemma, prompts={"query": "ask: ", "Code": "code: "})
    assert model.seen("cats", prompt_name="query") == ["<bos>ask: cats<eos>"]
    assert model.seen("cats", prompt_name="code") == ["<bos>code: cats<eos>"]
    assert model.seen("cats", prompt_name="document") == ["<bos>title: none | text: cats<eos>"]


@pytest.mark.parametrize("size", [768, 512, 256, 128])
def test_cut_vectors_equal_sentence_transformers_own(google, size):
    expected = google.theirs.encode(["cats", "dogs"], truncate_dim=size, normalize_embeddings=True)
    found = google.embed("cats", "dogs", dimensions=size)
    assert found.shape == (2, size)
    assert np.abs(found - expected).max() <= 1e-6


def test_dimensions_nobody_trained_are_refused_with_those_there_are(google, small):
    with pytest.raises(BadInputError, match="768 or 512 or 256 or 128") as refused:
        google.embed("cats", dimensions=300)
    assert refused.value.param == "dimensions"
    with pytest.raises(BadInputError, match="384 dimensions"):
        small.embed("cats", dimensions=128)


def test_declared_dimensions_may_be_asked_for_and_the_default_is_kept(load, minilm):
    model = load(minilm, dimensions=(128,), default_dimensions=128)
    assert model.card.dimensions == (128, 384)
    assert model.embed("cats").shape == (1, 128)
    assert model.embed("cats", dimensions=384).shape == (1, 384)


@pytest.mark.parametrize(
    "text", ["https://127.0.0.1:9/cat.png", "/etc/hostname", "file:///etc/hostname", "data:image/png;base64,AA=="]
)
def test_what_looks_like_a_url_or_a_path_is_a_text(google, text):
    assert google.seen(text) == [f"<bos>{text}<eos>"]


def test_a_text_that_is_too_long_is_refused_by_its_number_with_its_tokens(google):
    with pytest.raises(BadInputError, match="input 1 has 132 tokens, and this model takes 128") as refused:
        google.embed("cats", "x" * 130)
    assert (refused.value.code, refused.value.param) == ("context_length_exceeded", "input")
    assert google.embed("x" * 126).shape == (1, 768)


def test_a_prompt_counts_towards_the_limit(google):
    with pytest.raises(BadInputError, match="has 148 tokens"):
        google.embed("x" * 126, prompt_name="document")


def test_a_text_is_truncated_where_that_is_asked_and_the_answer_says_which(google):
    texts = ["cats", "x" * 300, "dogs", "y" * 127]
    *vectors, done = google.events(*texts, overlong="truncate")
    assert [number for event in vectors for number in event.truncated] == [1, 3]
    assert done.usage.input_tokens == 6 + 128 + 6 + 128
    expected = google.theirs.encode(texts, normalize_embeddings=True)
    assert np.allclose(google.embed(*texts, overlong="truncate"), expected, atol=1e-5)


def test_truncated_inputs_are_numbered_within_the_request_whatever_event_they_come_in(google):
    events = google.events(*["x" * 200] * 150, overlong="truncate")
    assert [number for event in events[:-1] for number in event.truncated] == list(range(150))
    assert all(set(event.truncated) <= set(range(event.first, event.first + 64)) for event in events[:-1])


def test_tokens_count_what_the_model_reads(google):
    assert google.events("cats", "dog")[-1].usage.input_tokens == len("cats") + len("dog") + 4
    assert google.events("cats", prompt_name="document")[-1].usage.input_tokens == len("title: none | text: cats") + 2


def test_token_ids_give_the_vector_of_their_text_with_or_without_what_stands_around(small):
    ids = small.theirs.tokenizer("the cat sat", add_special_tokens=True)["input_ids"]
    expected = small.embed("the cat sat")
    assert np.allclose(small.embed(tuple(ids)), expected, atol=1e-6)
    assert np.allclose(small.embed(tuple(ids[1:-1])), expected, atol=1e-6)


def test_texts_and_token_ids_may_be_mixed_and_stay_in_order(small):
    ids = tuple(small.theirs.tokenizer("a dog", add_special_tokens=False)["input_ids"])
    assert np.allclose(small.embed("a cat", ids, "a ship"), small.embed("a cat", "a dog", "a ship"), atol=1e-5)


@pytest.mark.parametrize("token", [-1, 30522, 2**40])
def test_token_ids_of_no_token_are_refused(small, token):
    with pytest.raises(BadInputError, match="input 1: this model's tokens are 0 to 30521"):
        small.embed("cats", (101, token))


def test_a_prompt_is_not_put_before_token_ids(google, small):
    with pytest.raises(BadInputError, match="not with tokens"):
        google.embed((20, 21), prompt_name="query")
    with pytest.raises(BadInputError, match="not with tokens"):
        google.embed((20, 21), title="Cats")
    assert small.embed((2000, 2001), prompt_name="query").shape == (1, 384)


@pytest.mark.parametrize("inputs", [(), ("",), ("cats", ""), ((),)])
def test_nothing_is_refused(small, inputs):
    with pytest.raises(BadInputError, match=r"no input|is empty") as refused:
        small.embed(*inputs)
    assert refused.value.param == "input"


@pytest.mark.parametrize("text", ["\0", " ", "\n", "a\0b", "\u202e", "\U0010ffff", "👍🏽", "[SEP] [CLS] [PAD]"])
def test_odd_texts_have_unit_vectors(small, text):
    assert np.linalg.norm(small.embed(text)) == pytest.approx(1, abs=1e-4)


def test_a_huge_text_is_refused_before_it_is_tokenized(small):
    with pytest.raises(BadInputError, match="1048577 characters"):
        small.embed("x" * (1024 * 1024 + 1), overlong="truncate")


def test_an_error_holds_nothing_of_the_text(google):
    for fields in ({}, {"prompt_name": "sesame"}, {"prompt_name": "query", "title": "sesame"}, {"dimensions": 3}):
        with pytest.raises((BadInputError, UnsupportedError)) as refused:
            google.embed("sesame" * 40, **fields)
        assert "sesame" not in refused.value.message


def test_a_thousand_texts_come_in_order_in_several_events(google):
    texts = [f"{number}" for number in range(1000)]
    vectors = google.embed(*texts)
    assert len(vectors) == 1000
    assert np.allclose(vectors[[0, 500, 999]], google.embed("0", "500", "999"), atol=1e-5)


def test_who_leaves_takes_along_what_was_not_computed(google, monkeypatch):
    left = threading.Event()
    compute = google.engine._step

    def first_batch_only(pieces):
        assert not google.read or left.wait(30)
        return compute(pieces)

    google.read.clear()
    monkeypatch.setattr(google.engine, "_step", first_batch_only)
    context = Context()
    events = google.backend.embed(EmbedRequest(inputs=("cat " * 20,) * 1000), context)
    next(events)
    context.cancel()
    left.set()
    assert all(isinstance(event, Vectors) for event in events)
    google.embed("the next one")
    assert len(google.read) <= 3


def test_who_has_left_before_is_not_computed_at_all(google):
    context = Context()
    context.cancel()
    google.read.clear()
    assert google.events("cats", context=context) == []
    assert google.read == []


def test_a_model_that_gives_no_numbers_says_what_to_set(load, gemma):
    import torch

    model = load(gemma)
    with torch.no_grad():
        model.theirs[0].model.norm.weight.fill_(float("nan"))
    with pytest.raises(NotReadyError, match="`dtype`"):
        model.embed("cats")


def test_an_unloaded_model_says_so(load, gemma):
    model = load(gemma)
    model.backend.unload()
    with pytest.raises(NotReadyError, match="not loaded"):
        model.embed("cats")
