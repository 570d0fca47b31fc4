"""Chats that ask for a transcript: they are answered like the transcription of a recording, however long it is."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from modelhost import AudioPart, Message

_TRANSCRIBE = re.compile(
    r"^\W*(?:please |can you |could you )*(?:transcribe|write down|give (?:me )?(?:a|the) transcript)\b", re.IGNORECASE
)
_CONTEXT = re.compile(r"^\s*context:\s*(.*?)\s*(?:\n\s*\n|$)", re.IGNORECASE | re.DOTALL)


@dataclass(frozen=True)
class Asked:
    """A transcript that is asked for."""

    audio: AudioPart
    context: str | None
    """What the recording is about."""


def transcript_asked(messages: Sequence[Message]) -> Asked | None:
    """Find a wish for a transcript: the last turn has one recording, no turn before has any, and its text says `Transcribe …`.

    `Context: …` and an empty line may stand before that; system turns are context too.
    """
    *before, last = messages or (Message(role="user"),)
    sounds = [part for part in last.content if isinstance(part, AudioPart)]
    if last.role != "user" or len(sounds) != 1 or any(message.role not in ("system", "developer") for message in before):
        return None
    text = last.text
    context = _CONTEXT.match(text)
    if not _TRANSCRIBE.match(text[context.end() :] if context else text):
        return None
    said = [message.text for message in before] + ([context[1]] if context else [])
    return Asked(sounds[0], "\n".join(line for line in said if line.strip()) or None)
