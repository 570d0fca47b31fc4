"""What a backend must keep that writes text."""

import asyncio
import re
from contextlib import aclosing
from itertools import takewhile
from typing import Any, ClassVar

import msgspec
import pytest

from modelhost.contract.types import (
    Ability,
    Blob,
    ChoiceDone,
    Delta,
    GenerateRequest,
    Message,
    ResponseFormat,
    SummarizeRequest,
    TextPart,
    ToolDelta,
)
from modelhost.testing.backends import BackendTests
from modelhost.testing.loaded import Loaded
from modelhost.testing.requests import chat
from modelhost.testing.told_once import subject, telling, was_told

CONTROL = re.compile(
    r"<\|[\w-]+\|>|</?think(ing)?>|</?s>|<(bos|eos|pad|unk)>|<(start|end)_of_turn>|\[/?INST\]|<\|?(channel|turn)\|?>|\[(THINK|TOOL_CALLS)\]"
)
"""How the models of today write what only their templates should: turns, ends and thoughts."""


def text_of(events: list[Any], index: int = 0) -> str:
    """Return the words of one choice."""
    return "".join(event.text for event in events if isinstance(event, Delta) and event.index == index)


class WritesText(BackendTests):
    """Tests of whatever yields `Delta`."""

    def test_no_piece_is_empty(self, answered: list[Any]) -> None:
        """Empty pieces cost a frame and a chunk each, and say nothing; `complete` looks at all other answers."""
        self.without_empty_pieces(answered, f"of {self.request!r:.80}")

    def complete(self, events: list[Any], which: str) -> None:
        """Assert that an answer is complete, and that no piece of it is empty."""
        super().complete(events, which)
        self.without_empty_pieces(events, which)

    def without_empty_pieces(self, events: list[Any], which: str) -> None:
        """Assert that every piece says something, unless that was told."""
        mistake = (*subject(type(self)), self.ability, "empty pieces")
        if was_told(*mistake):
            return
        with telling(*mistake):
            for event in events:
                if isinstance(event, Delta):
                    said = event.text or event.reasoning or event.signature or event.logprobs or event.audio
                    assert said, f"{self.ability} yields an empty Delta in an answer {which}; leave it out"

    def test_the_text_has_no_control_tokens(self, answered: list[Any]) -> None:
        """They are for the template; thoughts belong into `Delta.reasoning`."""
        text = "".join(event.text for event in answered if isinstance(event, Delta))
        found = CONTROL.search(text)
        assert not found, (
            f"the text has {found[0] if found else ''} in it: keep control tokens to yourself, "
            "and yield thoughts as Delta(reasoning=…)"
        )

    def test_characters_are_whole(self, loaded: Loaded) -> None:
        """A character of several tokens comes when it is complete, and not as U+FFFD in pieces."""
        text = "".join(
            event.text for event in loaded.events(self.ability, self.of("日本語 🙂👍🏽 naïve")) if isinstance(event, Delta)
        )
        assert "\N{REPLACEMENT CHARACTER}" not in text, (
            "the text has U+FFFD in it; decode with an incremental decoder, and hold back what is no whole character yet"
        )

    def of(self, text: str) -> Any:
        """Make a request about a text."""
        raise NotImplementedError


class GeneratesText(WritesText):
    """Tests of `generate`."""

    ability: ClassVar[Ability] = "generate"
    request: ClassVar[Any] = chat("Count from one to ten, please.", max_tokens=16)
    odd: ClassVar[tuple[Any, ...]] = (
        chat("", max_tokens=4),
        chat(" \n\t", max_tokens=4),
        chat("🙂", max_tokens=4),
        chat("nul: \0", max_tokens=4),
        chat("Hello.", "", "Go on.", max_tokens=4),
        GenerateRequest(messages=(Message(role="system", content=(TextPart(text="Be brief."),)),), max_tokens=4),
        GenerateRequest(messages=(Message(role="user"),), max_tokens=4),
    )
    steady: ClassVar[bool] = True
    """Whether the same request with a seed gives the same text; False for what computes elsewhere."""
    same_together: ClassVar[bool] = True
    """Whether an answer is the same when others are made beside it; False where the rounding of a batch changes words."""
    counts: ClassVar[bool] = True
    """Whether tokens are counted; False where nobody can know."""

    def of(self, text: str) -> Any:
        """Ask for something."""
        return chat(text, max_tokens=16, temperature=0.0, seed=7)

    def test_the_text_comes_in_pieces(self, loaded: Loaded, answered: list[Any]) -> None:
        """A model that streams gives more than one piece of a longer answer."""
        pieces = [event for event in answered if isinstance(event, (Delta, ToolDelta))]
        assert pieces, "generate yields no Delta"
        assert len(pieces) > 1 or "streaming" not in loaded.card.features, (
            "the answer is one piece although the card's features say streaming; yield a Delta as soon as there is a word, "
            "or leave streaming out of the features"
        )

    def test_max_tokens_is_kept_and_told(self, loaded: Loaded) -> None:
        """An answer that is cut says so, and counts no more than was allowed."""
        whole = loaded.events("generate", chat("Tell me a long story about the sea.", max_tokens=16, temperature=0.0, seed=7))
        cut = loaded.events("generate", chat("Tell me a long story about the sea.", max_tokens=3, temperature=0.0, seed=7))
        usage, reason = cut[-1].usage, cut[-1].reason
        assert usage.output_tokens <= 3, f"max_tokens=3 gives {usage.output_tokens} tokens; count each and stop there"
        assert reason in ("length", "stop"), f"an answer without tools ends with reason={reason!r}; it is stop or length"
        if not self.steady:
            return
        assert len(text_of(cut)) <= len(text_of(whole)), "max_tokens=3 gives a longer text than 16; count tokens and stop there"
        if len(text_of(cut)) < len(text_of(whole)):
            assert reason == "length", f"an answer that max_tokens cut ends with reason={reason!r}; yield Done(reason='length')"

    def test_what_it_costs_is_counted(self, answered: list[Any]) -> None:
        """Clients are told what they used, and keys have shares of it."""
        if not self.counts:
            pytest.skip("it says that it cannot count")
        usage = answered[-1].usage
        assert usage.input_tokens > 0, "Done.usage.input_tokens is 0; count the prompt's tokens, or set `counts = False`"
        assert usage.output_tokens > 0, "Done.usage.output_tokens is 0; count the answer's tokens, or set `counts = False`"

    def test_choices_stay_apart(self, answered: list[Any]) -> None:
        """Without `n` there is one choice, number 0."""
        for event in answered:
            if isinstance(event, (Delta, ToolDelta, ChoiceDone)):
                assert event.index == 0, f"a {type(event).__name__} is of choice {event.index}; without n there is choice 0 alone"

    def test_nothing_comes_of_a_choice_that_is_done(self, answered: list[Any]) -> None:
        """`ChoiceDone` closes a choice."""
        self.in_order(answered)

    def in_order(self, events: list[Any]) -> None:
        """Assert that a choice ends once, after all of it."""
        over: set[int] = set()
        for event in events:
            if isinstance(event, (Delta, ToolDelta, ChoiceDone)):
                assert event.index not in over, (
                    f"a {type(event).__name__} of choice {event.index} comes after its ChoiceDone; "
                    "yield that when the choice is complete"
                )
            if isinstance(event, ChoiceDone):
                over.add(event.index)

    def test_as_many_choices_as_asked(self, loaded: Loaded) -> None:
        """With `n` in the features there is text in every one."""
        if "n" not in loaded.card.features:
            pytest.skip("the card's features do not name n")
        events = loaded.events("generate", chat("Say a word.", max_tokens=4, n=2))
        self.in_order(events)
        for index in (0, 1):
            assert text_of(events, index), (
                f"n=2 gives no text of choice {index}; yield Delta(index={index}), or leave n out of the features"
            )

    def test_the_same_seed_gives_the_same_text(self, loaded: Loaded) -> None:
        """At temperature 0, and with a seed at any other."""
        if not self.steady:
            pytest.skip("it says that it is not steady")
        for temperature, seed in ((0.0, 7), (0.8, 7), (0.8, 8), (0.8, 9)):  # one pair of a few words may be equal by chance
            request = chat("Tell me about the sea.", max_tokens=12, temperature=temperature, seed=seed)
            one, other = (text_of(loaded.events("generate", request)) for _ in range(2))
            same = len(list(takewhile(lambda pair: pair[0] == pair[1], zip(one, other, strict=False))))
            assert one == other, (
                f"temperature={temperature:g} and seed={seed} give two texts; after {one[:same][-20:]!r} they go on with "
                f"{one[same:][:20]!r} and {other[same:][:20]!r}; "
                "begin the dice of each call with request.seed, or set `steady = False`"
            )

    def test_a_stop_string_ends_the_text(self, loaded: Loaded) -> None:
        """It is no part of the text, and the reason is `stop`. What the card does not name `stop` for, the host cuts."""
        if not self.steady:
            pytest.skip("it says that it is not steady")
        for temperature in (0.0, 0.8):
            request = chat("Count from one to ten, please.", max_tokens=16, temperature=temperature, seed=7)
            whole = text_of(loaded.events("generate", request))
            words = [word for word in whole.split() if len(word) > 1]
            if len(words) > 2:
                break
        else:
            pytest.skip("it says too little to be stopped at a word")
        stop = words[len(words) // 2]
        events = loaded.events("generate", msgspec.structs.replace(request, stop=(stop,)))
        text, reason = text_of(events), events[-1].reason
        what = f"stop={stop!r} of {whole!r}"
        assert stop not in text, (
            f"{what} gives {text!r}; end before it with modelhost.StopStrings, or leave stop out of the features"
        )
        assert text == whole[: whole.index(stop)], f"{what} gives {text!r}; yield all that comes before it, and nothing more"
        assert reason == "stop", f"{what} ends with reason={reason!r}; yield Done(reason='stop')"
        self.gives_what_was_held_back(loaded, request, whole)
        told = events[-1].stop
        assert told in (None, stop), f"{what} is told to have ended at {told!r}; yield Done(stop=…) with the string that was met"

    def gives_what_was_held_back(self, loaded: Loaded, request: GenerateRequest, whole: str) -> None:
        """Assert that an answer's end is given though it is the beginning of a stop string that never comes."""
        stop = f"{whole[-3:]}, and no further"
        text = text_of(loaded.events("generate", msgspec.structs.replace(request, stop=(stop,))))
        assert text == whole, f"stop={stop!r}, which never comes, makes {text!r} of {whole!r}; yield StopStrings.flush() last"

    def test_answers_at_once_do_not_mix(self, loaded: Loaded) -> None:
        """What is said beside others is what is said alone."""
        number = min(loaded.card.concurrency, 4)
        if number == 1 or not self.steady or not self.same_together:
            pytest.skip("there is one call at a time, or nothing to compare with")
        topics = ("the sea", "old bridges", "a red fox", "winter bread")
        requests = [
            chat(f"Tell me about {topic}.", max_tokens=16, temperature=0.0, seed=at) for at, topic in enumerate(topics[:number])
        ]
        alone = [text_of(loaded.events("generate", one)) for one in requests]

        async def all_at_once() -> list[list[Any]]:
            return await asyncio.gather(*(loaded.collect("generate", one) for one in requests))

        for before, events in zip(alone, loaded.run(all_at_once()), strict=True):
            beside = text_of(events)
            assert beside == before, (
                f"beside others an answer is {beside[:60]!r}, alone {before[:60]!r}: "
                "keep what belongs to a call in local variables, "
                "not on self; say concurrency=1 if the runtime cannot; set `same_together = False` if a batch rounds differently"
            )

    def test_a_call_leaves_nothing_to_the_next(self, loaded: Loaded) -> None:
        """What is said after another conversation, one that was left in the middle, is what is said without it."""
        if not self.steady:
            pytest.skip("it says that it is not steady")
        asked = chat("Tell me about a red fox.", max_tokens=12, temperature=0.0, seed=3)
        other = chat("Tell me about winter bread.", max_tokens=12, temperature=0.8, seed=4)
        before = text_of(loaded.events("generate", asked))
        loaded.events("generate", other)
        loaded.run(self.left_early(loaded, other))
        after = text_of(loaded.events("generate", asked))
        assert after == before, (
            f"after another call an answer is {after[:60]!r}, before it {before[:60]!r}: keep what belongs to a call in local "
            "variables, not on self, and clear a runtime's cache before each"
        )

    async def left_early(self, loaded: Loaded, request: GenerateRequest) -> None:
        """Take one event of an answer, and leave."""
        events = loaded.instance.call("generate", request, loaded.context())
        await anext(aiter(events), None)
        await events.aclose()

    def test_who_reads_nothing_holds_nobody_up(self, loaded: Loaded) -> None:
        """A client whose line is slow takes its time; all others go on."""
        if loaded.card.concurrency == 1:
            pytest.skip("there is one call at a time")

        async def beside() -> list[Any] | None:
            slow = loaded.instance.call("generate", chat("Tell me a long story about the sea.", max_tokens=400), loaded.context())
            async with aclosing(slow):
                await anext(aiter(slow))  # and nothing more is read of it
                other = asyncio.ensure_future(loaded.collect("generate", self.request))
                await asyncio.wait([other], timeout=loaded.patience / 2)
                return other.result() if other.done() else None

        events = loaded.run(beside())
        if events is None:
            pytest.fail(
                f"an answer beside one that nobody reads has not come within {loaded.patience / 2:g} s; "
                "pass over calls whose events are not taken, and do not wait for them"
            )
        self.complete(events, "beside an answer that nobody reads")

    def test_who_leaves_changes_nothing_for_others(self, loaded: Loaded) -> None:
        """One call is cancelled while another is answered."""
        if loaded.card.concurrency == 1 or not self.steady or not self.same_together:
            pytest.skip("there is one call at a time, or nothing to compare with")
        request = chat("Tell me about old bridges.", max_tokens=16, temperature=0.0, seed=7)
        alone = text_of(loaded.events("generate", request))

        async def beside() -> tuple[str, str]:
            gone = loaded.instance.call("generate", chat("Tell me about the sea.", max_tokens=400), loaded.context())
            staying = asyncio.ensure_future(loaded.collect("generate", request))
            async with aclosing(gone):
                await anext(aiter(gone))
            return text_of(await staying), text_of(await loaded.collect("generate", request))

        for text in loaded.run(beside()):
            assert text == alone, (
                f"when another call is cancelled an answer is {text[:60]!r}, alone {alone[:60]!r}: "
                "cancel what belongs to that call, and nothing of the others"
            )

    def test_token_probabilities_come_when_asked_for(self, loaded: Loaded) -> None:
        """With `logprobs` in the features."""
        if "logprobs" not in loaded.card.features:
            pytest.skip("the card's features do not name logprobs")
        events = loaded.events("generate", chat("Say a word.", max_tokens=4, logprobs=True, top_logprobs=2))
        tokens = [one for event in events if isinstance(event, Delta) for one in event.logprobs]
        assert tokens, "logprobs=True gives none; fill Delta.logprobs, or leave logprobs out of the features"
        assert all((one.logprob or 0.0) <= 1e-6 for one in tokens), (
            "a logprob is above 0; give natural logarithms of probabilities"
        )
        assert all(len(one.top) <= 2 for one in tokens), "top_logprobs=2 gives more than two"

    def test_json_is_json(self, loaded: Loaded) -> None:
        """With `json_object` in the features."""
        if "json_object" not in loaded.card.features:
            pytest.skip("the card's features do not name json_object")
        request = chat("Give a JSON object.", max_tokens=200, temperature=0.0, response_format=ResponseFormat(kind="json_object"))
        events = loaded.events("generate", request)
        if events[-1].reason != "length":
            try:
                msgspec.json.decode(text_of(events))
            except msgspec.DecodeError:
                pytest.fail(f"json_object gives {text_of(events)[:60]!r}; constrain it, or leave json_object out of the features")

    def test_a_raw_prompt_is_continued(self, loaded: Loaded) -> None:
        """With `completion` in the features `prompt` comes in place of messages, as text or as token ids."""
        if "completion" not in loaded.card.features:
            pytest.skip("the card's features do not name completion")
        events = loaded.events("generate", GenerateRequest(prompt="One two three", max_tokens=8, temperature=0.0))
        self.complete(events, "to a raw prompt")


class SummarizesTexts(WritesText):
    """Tests of `summarize`."""

    ability: ClassVar[Ability] = "summarize"
    request: ClassVar[Any] = SummarizeRequest(text=Blob(b"The cat sat on the mat. Then it slept. " * 20))
    odd: ClassVar[tuple[Any, ...]] = (
        SummarizeRequest(text=Blob(b"")),
        SummarizeRequest(text=Blob(b" \n")),
        SummarizeRequest(text=Blob(b"\xff\xfe\x00 no text")),
        SummarizeRequest(text=Blob("🙂".encode())),
        SummarizeRequest(text=Blob(b"A cat."), persona="no-such-persona"),
        SummarizeRequest(text=Blob(b"A cat."), filename="../../cat.txt", language="xx"),
    )

    def of(self, text: str) -> Any:
        """Ask for a summary."""
        return SummarizeRequest(text=Blob(f"{text} is what they wrote. ".encode() * 10))

    def test_the_summary_says_something(self, answered: list[Any]) -> None:
        """There is text in it."""
        assert text_of(answered).strip(), "the summary has no text; yield Delta(text=…)"
