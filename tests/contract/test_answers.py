"""Whole answers: the same however their events were cut, and nothing of them left out."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

from hypothesis import given, strategies as st
from modelhost.contract.answers import Answer, AnswerBuilder, Choice, collect
from modelhost.contract.types import (
    AudioChunk,
    ChoiceDone,
    Delta,
    Detected,
    Done,
    Progress,
    ReasoningPart,
    Timings,
    TokenLogprob,
    ToolCall,
    ToolDelta,
    Usage,
)


def answer(*events: Any, n: int = 1) -> Answer:
    async def source() -> AsyncIterator[Any]:
        for event in events:
            yield event

    return asyncio.run(collect(source(), n))


@given(st.lists(st.tuples(st.integers(0, 2), st.sampled_from(["text", "reasoning", "call"]), st.text(max_size=4)), max_size=30))
def test_each_choice_has_its_own_text_thoughts_and_calls_however_they_were_cut(pieces: list[tuple[int, str, str]]) -> None:
    events: list[Any] = []
    for index, kind, text in pieces:
        if kind == "call":
            events.append(ToolDelta(index=index, call=1, id="c", name="f", arguments=text))
        else:
            events.append(Delta(index=index, **{kind: text}))
    whole = answer(*events, Done(), n=3)
    for index, choice in enumerate(whole.choices):
        said = {kind: "".join(text for at, what, text in pieces if (at, what) == (index, kind)) for kind in ("text", "reasoning")}
        assert (choice.text, choice.thoughts) == (said["text"], said["reasoning"])
        called = [text for at, what, text in pieces if (at, what) == (index, "call")]
        assert choice.tool_calls == ((ToolCall(id="c", name="f", arguments="".join(called)),) if called else ())


def test_a_signature_ends_a_part_of_the_reasoning_and_stays_with_it() -> None:
    whole = answer(
        Delta(reasoning="first "),
        Delta(reasoning="thought", signature="s1"),
        Delta(signature="s2", redacted=True),
        Delta(text="Hi."),
        Delta(reasoning="last"),
        ToolDelta(id="c", name="f"),
        ToolDelta(arguments="{}", signature="s3"),
        Done(reason="tool_calls"),
    )
    assert whole.choices == (
        Choice(
            text="Hi.",
            reasoning=(
                ReasoningPart(text="first thought", signature="s1"),
                ReasoningPart(signature="s2", redacted=True),
                ReasoningPart(text="last"),
            ),
            tool_calls=(ToolCall(id="c", name="f", arguments="{}", signature="s3"),),
            reason="tool_calls",
        ),
    )


def test_a_choice_ends_as_it_says_itself_and_else_as_the_whole_does() -> None:
    whole = answer(
        Delta(index=1, text="b"),
        ChoiceDone(index=1, stop="END"),
        Delta(text="a"),
        Done(reason="length", usage=Usage(output_tokens=2), timings=Timings(output_seconds=0.5), ignored=("seed",)),
        n=2,
    )
    assert [(choice.text, choice.reason, choice.stop) for choice in whole.choices] == [
        ("a", "length", None),
        ("b", "stop", "END"),
    ]
    assert (whole.usage.output_tokens, whole.ignored) == (2, ("seed",))
    assert whole.timings == Timings(output_seconds=0.5)


def test_sound_and_probabilities_of_a_spoken_answer_are_put_together() -> None:
    token = TokenLogprob(token="Hi", logprob=-0.1)
    whole = answer(
        Delta(text="Hi", logprobs=(token,), audio=AudioChunk(data=b"\0\1", sample_rate=16_000)),
        Delta(audio=AudioChunk(data=b"\2\3", sample_rate=16_000)),
        Done(),
    )
    (choice,) = whole.choices
    assert (choice.audio, choice.sample_rate, choice.logprobs) == (b"\0\1\2\3", 16_000, (token,))


def test_a_summary_is_a_text_with_a_language_whose_progress_leaves_no_trace() -> None:
    whole = answer(Detected(language="Python"), Progress(fraction=0.5), Delta(text="Adds."), Done(stop="x"))
    assert (whole.language, whole.choices[0].text, whole.choices[0].stop) == ("Python", "Adds.", "x")


def test_who_builds_an_answer_can_look_at_it_before_its_end() -> None:
    builder = AnswerBuilder()
    builder.take(Delta(text="a"))
    builder.take(Delta(text="b"))
    assert (builder.text, builder.events) == ("ab", 2)
    assert builder.answer("m") == Answer(choices=(Choice(text="ab"),), model="m")
