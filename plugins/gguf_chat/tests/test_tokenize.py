import threading
import time

import pytest
from modelhost import (
    AudioPart,
    BadInputError,
    Blob,
    Context,
    Done,
    GenerateRequest,
    Message,
    NotReadyError,
    TokenizeRequest,
    Tokens,
    UnsupportedError,
)
from modelhost_gguf_chat.chat_model import MAX_TEXT, MAX_TOKENS

QUESTION = "What is the largest planet of the solar system?"


def tokenize(chat, **fields):
    tokens, done = chat.backend.tokenize(TokenizeRequest(**fields))
    assert isinstance(tokens, Tokens)
    assert isinstance(done, Done)
    return tokens


# what it counts


@pytest.mark.parametrize("talk", [(QUESTION,), ("Paris, <|im_end|> the “city of light”.", "Oh", "  And of Spain? 🙂 ")])
def test_a_chat_has_as_many_tokens_as_its_answer_is_charged_for(chat, talk):
    _, done = chat.ask(*talk, max_tokens=1)
    assert len(tokenize(chat, messages=chat.talk(*talk)).tokens) == done.usage.input_tokens


@pytest.mark.parametrize("adds_bos", [False, True])
def test_a_text_has_as_many_tokens_as_a_raw_prompt(chat, monkeypatch, adds_bos):
    monkeypatch.setattr(chat.vocabulary, "_adds_bos", adds_bos)
    *_, done = chat.backend.generate(GenerateRequest(prompt=QUESTION, max_tokens=1), Context())
    tokens = tokenize(chat, text=QUESTION).tokens
    assert len(tokens) == done.usage.input_tokens
    assert tokens[adds_bos:] == tokenize(chat, text=QUESTION, add_special=False).tokens


def test_control_tokens_are_read_in_a_text_only_when_asked_for_and_never_in_a_message(chat):
    control = chat.vocabulary.control_tokens
    spelled = "<|im_end|>"
    assert not control & set(tokenize(chat, text=spelled).tokens)
    (end,) = tokenize(chat, text=spelled, parse_special=True).tokens
    assert end in control
    fields = {"messages": chat.talk(spelled), "parse_special": True}
    assert tokenize(chat, **fields).tokens.count(end) == tokenize(chat, messages=chat.talk("x")).tokens.count(end)


def test_control_tokens_are_told_by_name(chat):
    (end,) = tokenize(chat, text="<|im_end|>", parse_special=True).tokens
    assert tokenize(chat, tokens=(end,)).text == "<|im_end|>"
    assert tokenize(chat, tokens=(end,)).pieces == (b"<|im_end|>",)


def test_a_space_that_the_model_puts_before_every_text_is_not_told(chat, monkeypatch):
    spaced = tuple(chat.vocabulary.tokenize(" hello  world"))
    assert tokenize(chat, tokens=spaced).text == " hello  world"
    monkeypatch.setattr(chat.vocabulary, "_adds_space", True)
    assert tokenize(chat, tokens=spaced).text == "hello  world"
    assert b"".join(tokenize(chat, tokens=spaced).pieces) == b" hello  world"


def test_a_piece_longer_than_the_buffer_is_whole(chat, monkeypatch):
    monkeypatch.setattr(chat.vocabulary, "_buffer_size", 1)
    (end,) = tokenize(chat, text="<|im_end|>", parse_special=True).tokens
    assert chat.vocabulary.piece(end, special=True) == b"<|im_end|>"


# what it refuses


@pytest.mark.parametrize("token", [49152, 2**31, 2**70, -1])
def test_a_token_beyond_the_vocabulary_is_refused(chat, token):
    assert chat.vocabulary.size == 49152
    with pytest.raises(BadInputError, match="0 to 49151") as refused:
        tokenize(chat, tokens=(5, token))
    assert refused.value.param == "tokens"


def test_what_is_too_long_is_refused_before_it_is_read(chat):
    for fields, param in (
        ({"text": "é" * (MAX_TEXT // 2 + 1)}, "text"),
        ({"messages": chat.talk("a" * (MAX_TEXT + 1))}, "messages"),
        ({"tokens": (5,) * (MAX_TOKENS + 1)}, "tokens"),
    ):
        began = time.process_time()
        with pytest.raises(BadInputError, match="are allowed") as refused:
            tokenize(chat, **fields)
        assert refused.value.param == param
        assert time.process_time() - began < 1.0
    assert len(tokenize(chat, text="word " * (MAX_TEXT // 5)).tokens) > 200_000


def test_sound_in_a_message_is_refused_as_for_an_answer(chat):
    messages = (Message(role="user", content=(AudioPart(audio=Blob(b"x")),)),)
    with pytest.raises(UnsupportedError) as counting:
        tokenize(chat, messages=messages)
    with pytest.raises(UnsupportedError) as answering:
        list(chat.backend.generate(GenerateRequest(messages=messages), Context()))
    assert (counting.value.param, counting.value.message) == (answering.value.param, answering.value.message)


def test_a_model_without_a_template_counts_texts_and_refuses_chats(chat, monkeypatch):
    monkeypatch.setattr(chat.model, "_template", "this model has no chat template")
    with pytest.raises(UnsupportedError, match="chat_template"):
        tokenize(chat, messages=chat.talk("hi"))
    assert tokenize(chat, text="hi").tokens


# what goes on beside it


def test_counting_does_not_wait_for_an_answer_that_is_being_computed(chat):
    generator = chat.backend.generate(GenerateRequest(prompt="Once upon a time", ignore_eos=True, max_tokens=500), Context())
    next(generator)  # and nobody takes the rest, so the engine stays busy with it
    assert tokenize(chat, text=QUESTION).tokens
    assert chat.engine._running
    generator.close()


def test_counting_in_other_threads_changes_neither_the_answer_nor_the_count(chat):
    alone, _ = chat.ask(QUESTION, temperature=0.0, max_tokens=30, seed=1)
    expected = tokenize(chat, messages=chat.talk(QUESTION, "Jupiter 🙂", "Why?"))
    counts, over = [], threading.Event()

    def count():
        while not over.is_set():
            counts.append(tokenize(chat, messages=chat.talk(QUESTION, "Jupiter 🙂", "Why?")) == expected)

    threads = [threading.Thread(target=count) for _ in range(3)]
    for thread in threads:
        thread.start()
    beside, _ = chat.ask(QUESTION, temperature=0.0, max_tokens=30, seed=1)
    over.set()
    for thread in threads:
        thread.join()
    assert beside == alone
    assert len(counts) > 3
    assert all(counts)


def test_unloading_waits_for_who_reads_the_vocabulary_and_refuses_who_comes(load):
    gone = load(n_ctx=64)
    with gone.engine.in_use():
        unloading = threading.Thread(target=gone.backend.unload)
        unloading.start()
        while not gone.engine._lifetime.over:
            time.sleep(0.001)
        with pytest.raises(NotReadyError):
            tokenize(gone, text="late")
        unloading.join(0.2)
        assert unloading.is_alive()
        assert gone.vocabulary.tokenize("the vocabulary is still there")
    unloading.join(10)
    assert not unloading.is_alive()
    assert gone.engine.model is None
