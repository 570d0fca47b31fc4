"""What a transcript is."""

import pytest
from hypothesis import given, strategies as st
from modelhost_gemma_audio.transcript import LOOP, instruction, leading_language, loops, packing, same_words, spoken

TOKENS = st.integers(0, 500)


@given(st.lists(TOKENS, max_size=60), st.lists(TOKENS, min_size=1, max_size=40))
def test_a_pattern_that_comes_over_and_over_is_a_loop_whatever_stood_before(before, pattern):
    assert loops([*before, *pattern * 60])


@given(st.lists(TOKENS, max_size=150, unique=True))
def test_what_never_comes_again_is_no_loop(tokens):
    assert not loops(tokens)


def test_what_a_person_says_a_few_times_is_no_loop():
    assert not loops([1, 2, 3] * 12)
    assert not loops(list(range(50)) * 2)


@pytest.mark.parametrize(
    ("written", "transcript"),
    [
        ("Here is the transcription:\n\nHello there.", "Hello there."),
        ('Sure! Here\'s the transcript: "Hello there."', "Hello there."),
        ("Okay, here is a verbatim transcript of the audio:\nHello.", "Hello."),
        ("**Transcription:**\n\nHello.", "Hello."),
        ("```text\nHello.\n```", "Hello."),
        ("Hello\nthere.\n", "Hello there."),
        ("[no speech]", ""),
        ("(silence)", ""),
        ("*inaudible*", ""),
        ("...", ""),
    ],
)
def test_what_the_model_says_about_a_transcript_is_left_out(written, transcript):
    assert spoken(written) == transcript


@pytest.mark.parametrize(
    "transcript",
    [
        "Here is the plan: we leave at nine.",
        "Court transcript: page five.",
        "The transcript: it was never filed.",
        "Your transcript for the spring term: two As.",
        "Okay so the official transcript: that is missing.",
        "Okay, the transcript was never filed, and this is why: nobody asked.",
        "No speech is ever free.",
        "Silence",
        '"Never", he said, "again"',
        "Sure: I can do that.",
        "Music was playing.",
    ],
)
def test_what_somebody_said_is_kept_however_much_it_looks_like_it(transcript):
    assert spoken(transcript) == transcript


@given(st.text(st.characters(categories=["L", "N", "Zs"]), min_size=1))
def test_plain_words_are_kept(text):
    assert spoken(text) == " ".join(text.split())


def test_a_language_at_the_beginning_is_taken_off_only_if_there_is_one():
    assert leading_language("[en] Hello.") == ("en", "Hello.")
    assert leading_language(" [DE-at]Servus.") == ("de", "Servus.")
    assert leading_language("[xx] Hello.") == (None, "[xx] Hello.")
    assert leading_language("[laughs] Hello.") == (None, "[laughs] Hello.")
    assert leading_language("Hello [en].") == (None, "Hello [en].")


def test_instructions_name_what_is_known_and_ask_for_what_is_not():
    text = instruction(language=None, translate=False, prompt=None, hotwords=(), tell=True)
    assert "in the language that is spoken" in text
    assert "[en]" in text
    known = instruction(language="de", translate=True, prompt="On tyres.", hotwords=("Conti",), tell=False)
    assert all(word in known for word in ("German", "into English", "On tyres.", "Conti"))
    assert "[en]" not in known


def test_a_loop_packs_better_than_speech():
    assert packing("I was in the bath. " * 20) > LOOP
    assert packing("The quick brown fox jumps over the lazy dog, and then it sleeps until the sun is down.") < 2
    assert packing("") == 0.0


def test_texts_of_the_same_words_are_the_same_however_often_they_say_them():
    assert same_words("Hello world. Hello world.", "hello, world!")
    assert not same_words("Hello world.", "Alo. Alo.")
    assert same_words("", "")
