"""Writing one summary: at once where the text fits the generator, else part by part and then together."""

from collections import deque
from collections.abc import Generator, Iterator

from modelhost import BadInputError, Delta, Progress

from modelhost_summarizer import prompts
from modelhost_summarizer.generator import TOO_LONG, TextGenerator, failed_without_words
from modelhost_summarizer.parts import split
from modelhost_summarizer.personas import Persona

MOST = 500_000
"""Characters of one prompt's text where nothing is known of the generator's context: some 150,000 tokens."""

LEAST = 200
"""Characters; a part that must be smaller means that there is no room for any."""

SHORTER = 12
"""A part has so many times the characters that its notes have tokens: notes are then some four times shorter than the part."""

MARGIN = 0.85
"""How much of the room that was computed is used: tokens are not spread evenly over a text."""


class Writing:
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
        self._said = False

    def summary(self, material: str) -> Iterator[Delta | Progress]:
        """Yield the summary, and progress where the text is read in parts.

        Raises `BadInputError` where not even a small part fits, and what the generator raises.
        """
        what = self._what
        room = self._room(material)
        while True:
            if len(material) <= room:
                try:
                    yield from self._last_step(what, material)
                    return
                except BadInputError as error:
                    if self._said:
                        raise
                    room = self._less(error, len(material))
            notes, room = yield from self._notes(what, material, room)
            if len(notes) >= len(material):
                raise self._no_room()
            material, what = notes, prompts.notes_on(self._what)

    def _last_step(self, what: str, material: str) -> Iterator[Delta]:
        messages = prompts.for_summary(self._persona, material, what, self._max_tokens)
        for words in self._generator.write(messages, self._max_tokens):
            self._said = self._said or not words.isspace()
            yield Delta(text=words)
        if not self._said:
            raise failed_without_words(self._generator.reason)

    def _notes(self, what: str, material: str, room: int) -> Generator[Progress, None, tuple[str, int]]:
        """Return notes on all parts, in order, and the room there turned out to be; a part that does not fit is split again."""
        parts = deque(split(material, room))
        notes: list[str] = []
        while parts:
            place = f"part {len(notes) + 1} of {len(notes) + len(parts)}"
            yield self._step(place, 1 / (len(parts) + 1))
            part = parts.popleft()
            try:
                notes.append(f"Notes on {place}:\n{self._notes_on(what, part, place)}\n\n")
            except BadInputError as error:
                room = self._less(error, len(part))
                parts.extendleft(reversed(split(part, room)))
        yield self._step("putting the parts together", 0.0)
        return "".join(notes), room

    def _notes_on(self, what: str, part: str, place: str) -> str:
        max_tokens = max(16, min(self._max_tokens, len(part) // SHORTER))
        messages = prompts.for_notes(self._persona, part, what, place, max_tokens)
        return "".join(self._generator.write(messages, max_tokens)).strip()

    def _step(self, step: str, share: float) -> Progress:
        """Tell where the work is, and go on by a share of what is left."""
        told = Progress(fraction=self._progress, step=step)
        self._progress += (1 - self._progress) * share
        return told

    def _room(self, material: str) -> int:
        """Return how many characters of this text a prompt may have, as far as that can be known."""
        if self._context_length is None:
            return MOST
        density = self._generator.characters_a_token(material)
        frame = prompts.for_notes(self._persona, "", self._what, "part 100 of 100", self._max_tokens)
        left = self._context_length - self._max_tokens - sum(len(message.text) for message in frame) / 3
        room = int(left * density * MARGIN)
        if room < LEAST:
            raise self._no_room()
        return room

    def _less(self, error: BadInputError, tried: int) -> int:
        """Return the room to try next after a prompt did not fit; other errors are raised again."""
        if error.code != TOO_LONG:
            raise error
        if tried // 2 < LEAST:
            raise self._no_room()
        return tried // 2

    def _no_room(self) -> BadInputError:
        return BadInputError(
            f"the generator's context has no room for a text beside persona {self._persona.name!r} and {self._max_tokens} tokens "
            "of summary; ask for fewer with max_tokens, or name a generator with a longer context",
            param="max_tokens",
            code=TOO_LONG,
        )
