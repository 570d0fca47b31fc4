"""Chats that ask for a transcript and nothing else: they are answered like a transcription, however long the recording is."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from modelhost import AudioPart, Message
from modelhost.authors.languages import code_of

_WISH = re.compile(
    r"\W*(?:(?:please|can you|could you),? )*transcribe"
    r"(?: (?:this|the|my|that))?(?: (?:audio|recording|sound|file|clip|speech|voice|message|memo|note|meeting))*"
    r"(?: in (?P<language>[a-z]+))?(?:,? please)?\W*$",
    re.IGNORECASE,
)
"""All of what is wished for: words beside these ask for more than a transcript, and the model is to read them itself."""

CONTEXT = "context:"
LONGEST_WISH = 160
"""Characters: patterns are tried on no longer text, as some take time by the square of it."""

_SENTENCE_ENDS = ("\n", ". ", "! ", "? ", ": ")


@dataclass(frozen=True)
class Asked:
    """A transcript that is asked for."""

    audio: AudioPart
    context: str | None
    """What the recording is about."""
    language: str | None
    """The code of the language it is said to be in."""


def transcript_asked(messages: Sequence[Message]) -> Asked | None:
    """Find a wish for a transcript: the last turn has one recording and says `Transcribe …`, with only system turns before it.

    `Context: …` may stand before the wish, in as many paragraphs as it likes; system turns are context too.
    """
    *before, last = messages or (Message(role="user"),)
    sounds = [part for part in last.content if isinstance(part, AudioPart)]
    if last.role != "user" or len(sounds) != 1 or any(message.role not in ("system", "developer") for message in before):
        return None
    context, wish = _parts(last.text)
    found = _WISH.match(wish) if len(wish) <= LONGEST_WISH else None
    language = code_of(found["language"]) if found and found["language"] else None
    if not found or (found["language"] and not language):
        return None
    said = [*(message.text for message in before), context]
    return Asked(sounds[0], "\n".join(line for line in said if line.strip()) or None, language)


def _parts(text: str) -> tuple[str, str]:
    """Return the context, empty where there is none, and the sentence behind it."""
    text = text.strip()
    if not text[: len(CONTEXT)].lower().startswith(CONTEXT):
        return "", text
    behind = max(text.rfind(end) + len(end) if end in text else 0 for end in _SENTENCE_ENDS)
    behind = max(behind, len(CONTEXT))
    return text[len(CONTEXT) : behind].strip(), text[behind:]
