"""Writing one summary: at once where the text fits the generator, else part by part and then together."""

from collections import deque
from collections.abc import Generator, Iterator

from modelhost import BadInputError, Delta, Progress

from modelhost_summarizer import prompts
from modelhost_summarizer.generator import TOO_LONG, TextGenerator, failed_without_words
from modelhost_summarizer.parts import split
from modelhost_summarizer.personas import Persona

MOST = 500_000
"""Characters of one prompt's text where nothing is known of the generator's context. Chosen, because they are some 150,000
tokens."""

LEAST = 200
"""Characters. Chosen, because a generator that has no space for a smaller part has none for any."""

SHORTER = 12
"""Characters of a part for each token of its notes. Chosen, because notes are then some four times shorter than the part."""

MARGIN = 0.85
"""Share of the computed space that is used. Chosen, because tokens are not spread evenly over a text."""


class SummaryWriter:
    """One summary in the making."""

    def __init__(
        self,
        generator: TextGenerator,
        persona: Persona,
        *,
        filename: str,
        language: str,
        max_tokens: int,
        context_length: int | None,
        begun: float = 0.0,
    ) -> None:
        self._generator = generator
        self._persona = persona
        self._what = prompts.described(filename, language)
        self._max_tokens = max_tokens
        self._context_length = context_length
        self._progress = begun
        self._has_words = False

    def summary(self, material: str) -> Iterator[Delta | Progress]:
        """Yield the summary, and progress where the text is read in parts.

        Raises `BadInputError` where not even a small part fits, and what the generator raises.
        """
        what = self._what
        max_characters = self._max_characters(material)
        while True:
            if len(material) <= max_characters:
                try:
                    yield from self._last_step(what, material)
                    return
                except BadInputError as error:
                    if self._has_words:
                        raise
                    max_characters = self._smaller(error, len(material))
            notes, max_characters = yield from self._notes(what, material, max_characters)
            if len(notes) >= len(material):
                raise self._does_not_fit()
            material, what = notes, prompts.notes_on(self._what)

    def _last_step(self, what: str, material: str) -> Iterator[Delta]:
        messages = prompts.for_summary(self._persona, material, what, self._max_tokens)
        for words in self._generator.write(messages, self._max_tokens):
            self._has_words = self._has_words or not words.isspace()
            yield Delta(text=words)
        if not self._has_words:
            raise failed_without_words(self._generator.reason)

    def _notes(self, what: str, material: str, max_characters: int) -> Generator[Progress, None, tuple[str, int]]:
        """Return notes on all parts, in order, and how many characters fit after all; a part that does not fit is split again."""
        parts = deque(split(material, max_characters))
        notes: list[str] = []
        while parts:
            position = f"part {len(notes) + 1} of {len(notes) + len(parts)}"
            yield self._step(position, 1 / (len(parts) + 1))
            part = parts.popleft()
            try:
                notes.append(f"Notes on {position}:\n{self._notes_on(what, part, position)}\n\n")
            except BadInputError as error:
                max_characters = self._smaller(error, len(part))
                parts.extendleft(reversed(split(part, max_characters)))
        yield self._step("putting the parts together", 0.0)
        return "".join(notes), max_characters

    def _notes_on(self, what: str, part: str, position: str) -> str:
        max_tokens = max(16, min(self._max_tokens, len(part) // SHORTER))
        messages = prompts.for_notes(self._persona, part, what, position, max_tokens)
        return "".join(self._generator.write(messages, max_tokens)).strip()

    def _step(self, step: str, share: float) -> Progress:
        """Return the progress so far, and go on by a share of what is left."""
        progress = Progress(fraction=self._progress, step=step)
        self._progress += (1 - self._progress) * share
        return progress

    def _max_characters(self, material: str) -> int:
        """Return how many characters of this text a prompt may have, as far as that can be known."""
        if self._context_length is None:
            return MOST
        density = self._generator.characters_a_token(material)
        frame = prompts.for_notes(self._persona, "", self._what, "part 100 of 100", self._max_tokens)
        left = self._context_length - self._max_tokens - sum(len(message.text) for message in frame) / 3
        max_characters = int(left * density * MARGIN)
        if max_characters < LEAST:
            raise self._does_not_fit()
        return max_characters

    def _smaller(self, error: BadInputError, tried: int) -> int:
        """Return the room to try next after a prompt did not fit; other errors are raised again."""
        if error.code != TOO_LONG:
            raise error
        if tried // 2 < LEAST:
            raise self._does_not_fit()
        return tried // 2

    def _does_not_fit(self) -> BadInputError:
        return BadInputError(
            f"the generator's context has no room for a text beside persona {self._persona.name!r} and {self._max_tokens} tokens "
            "of summary; ask for fewer with max_tokens, or name a generator with a longer context",
            param="max_tokens",
            code=TOO_LONG,
        )
