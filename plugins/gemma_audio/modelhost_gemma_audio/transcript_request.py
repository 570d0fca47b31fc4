"""Chats that ask for a transcript and nothing else: they are answered by transcription, however long the recording is."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from modelhost import AudioPart, Message
from modelhost.authors.languages import code_of

_REQUEST = re.compile(
    r"\W*(?:(?:please|can you|could you),? )*transcribe"
    r"(?: (?:this|the|my|that))?(?: (?:audio|recording|sound|file|clip|speech|voice|message|memo|note|meeting))*"
    r"(?: in (?P<language>[a-z]+))?(?:,? please)?\W*$",
    re.IGNORECASE,
)
"""The whole sentence: any other word asks for more than a transcript, so that the model must answer it."""

CONTEXT = "context:"
LONGEST_REQUEST = 160
"""Characters of the sentence; chosen, because the pattern can take time by the square of a text, and none is longer."""

_SENTENCE_ENDS = ("\n", ". ", "! ", "? ", ": ")


@dataclass(frozen=True)
class TranscriptRequest:
    """A chat's request for a transcript."""

    audio: AudioPart
    context: str | None
    """What the recording is about, as the chat says."""
    language: str | None
    """The code of the recording's language, as the chat says."""


def find_transcript_request(messages: Sequence[Message]) -> TranscriptRequest | None:
    """Return the request, if the last turn has one recording and says `Transcribe …`, with only system turns before it.

    `Context: …` may stand before that sentence, in any number of paragraphs; system turns are context too.
    """
    *before, last = messages or (Message(role="user"),)
    sounds = [part for part in last.content if isinstance(part, AudioPart)]
    if last.role != "user" or len(sounds) != 1 or any(message.role not in ("system", "developer") for message in before):
        return None
    context, sentence = _parts(last.text)
    found = _REQUEST.match(sentence) if len(sentence) <= LONGEST_REQUEST else None
    language = code_of(found["language"]) if found and found["language"] else None
    if not found or (found["language"] and not language):
        return None
    context_lines = [*(message.text for message in before), context]
    return TranscriptRequest(sounds[0], "\n".join(line for line in context_lines if line.strip()) or None, language)


def _parts(text: str) -> tuple[str, str]:
    """Return the context, empty where there is none, and the sentence after it."""
    text = text.strip()
    if not text[: len(CONTEXT)].lower().startswith(CONTEXT):
        return "", text
    behind = max(text.rfind(end) + len(end) if end in text else 0 for end in _SENTENCE_ENDS)
    behind = max(behind, len(CONTEXT))
    return text[len(CONTEXT) : behind].strip(), text[behind:]
