"""What a backend must keep that turns text into tokens and back."""

import asyncio
from typing import Any, ClassVar

import pytest

from modelhost.contract.errors import BadInputError
from modelhost.contract.types import Ability, Done, TokenizeRequest, Tokens
from modelhost.testing.backends import BackendTests
from modelhost.testing.loaded import Loaded


class TokenizesText(BackendTests):
    """Tests of `tokenize`."""

    ability: ClassVar[Ability] = "tokenize"
    request: ClassVar[Any] = TokenizeRequest(text="The cat sat on the mat.")

    def answer(self, loaded: Loaded, **fields: Any) -> Tokens:
        """Ask, and return the one event before `Done`."""
        tokens, done = loaded.events("tokenize", TokenizeRequest(**fields))
        assert isinstance(tokens, Tokens), "tokenize yields one Tokens, then Done"
        assert isinstance(done, Done), "tokenize yields one Tokens, then Done"
        return tokens

    @pytest.mark.parametrize(
        "text",
        ["The cat sat on the mat.", " two  spaces , at\nthe ends\t ", "naïve café, 日本語", "🙂👍🏽 and 🇩🇪", "a" * 1000],
    )
    def test_text_survives_the_way_to_tokens_and_back(self, loaded: Loaded, text: str) -> None:
        """No space is lost or made up, and characters of several tokens are whole again."""
        there = self.answer(loaded, text=text, add_special=False)
        assert there.tokens, f"{text!r} has no tokens"
        assert there.text == "", "Tokens.text is for requests with tokens; leave it empty for a text"
        back = self.answer(loaded, tokens=there.tokens)
        assert back.tokens == there.tokens, "Tokens.tokens of a request with tokens are those of the request"
        assert back.text == text, (
            f"{text!r} comes back from its tokens as {back.text!r}; lose no space, and join the bytes before decoding"
        )

    def test_pieces_are_the_bytes_of_each_token(self, loaded: Loaded) -> None:
        """As many as tokens; joined they are the text, but for a space some models put in front."""
        for text in ("The cat sat.", "日本語 🙂"):
            answer = self.answer(loaded, text=text, add_special=False)
            if answer.pieces:
                assert len(answer.pieces) == len(answer.tokens), f"{len(answer.tokens)} tokens have {len(answer.pieces)} pieces"
                joined = b"".join(answer.pieces)
                assert joined.removeprefix(b" ") == text.encode(), (
                    f"the pieces of {text!r} make {joined!r}; give each token's own bytes"
                )

    def test_nothing_is_no_tokens_and_back(self, loaded: Loaded) -> None:
        """An empty text is a text."""
        assert self.answer(loaded, text="", add_special=False).tokens == (), "an empty text has tokens although add_special=False"
        assert self.answer(loaded, tokens=()).text == "", "no tokens give a text"

    def test_half_a_character_becomes_a_replacement_character(self, loaded: Loaded) -> None:
        """Tokens may be cut anywhere: that is no error."""
        tokens = self.answer(loaded, text="🙂", add_special=False).tokens
        if len(tokens) > 1:
            text = self.answer(loaded, tokens=tokens[:1]).text
            assert "\N{REPLACEMENT CHARACTER}" in text, f"half a character gives {text!r}; decode with errors='replace'"

    @pytest.mark.parametrize("token", [-1, 2**31, 2**62])
    def test_a_token_that_does_not_exist_is_refused(self, loaded: Loaded, token: int) -> None:
        """The caller named it, so it is the caller's error."""
        try:
            self.answer(loaded, tokens=(token,))
        except BadInputError:
            return
        pytest.fail(f"token {token} does not exist, and is answered; raise BadInputError(…, param='tokens')")

    def test_calls_are_not_counted(self, loaded: Loaded) -> None:
        """The host makes several at once, even of a model with one slot."""

        async def all_at_once() -> list[list[Any]]:
            return await asyncio.gather(*(loaded.collect("tokenize", self.request) for _ in range(4)))

        answers = loaded.run(all_at_once())
        assert all(answer == answers[0] for answer in answers), (
            "calls at once give unequal answers; tokenize is called beside other calls, whatever the card's concurrency is"
        )
