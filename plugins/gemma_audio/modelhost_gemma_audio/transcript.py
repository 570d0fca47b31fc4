"""Makes a transcript of a model's answer: the spoken words, without the model's own remarks, and no loop."""

import re
import zlib
from collections.abc import Sequence

from modelhost.authors.languages import code_of, name_of

LOOP = 2.4
"""Compression ratio above which a text repeats itself: the limit of https://github.com/openai/whisper, whisper/transcribe.py."""

TAIL = 48
"""Tokens of one repeated pattern that make a loop; chosen, because no speaker repeats a phrase for so long."""

_LANGUAGE = re.compile(r"^\s*\[\s*([A-Za-z]{2,3})(?:-\w+)?\s*\]\s*")
_INTRODUCTION = re.compile(
    r"^\s*(?:(?:sure|okay|ok|certainly|of course)\W+)?here(?:'s|’s| is) (?:the|a|your) (?:\w+ )?transcript(?:ion)?"
    r"(?: of [^\n:]{0,60})?:\s*"
    r"|^[^\n:]{0,60}transcript(?:ion)?[^\n:]{0,40}:[ \t*]*\n\s*",
    re.IGNORECASE,
)
"""A whole phrase, or a line of its own: a transcript has no line ends. Less might be what somebody said."""
_FENCE = re.compile(r"^\s*```\w*\n(.*?)\n?```\s*$", re.DOTALL)
_NOTHING = re.compile(r"^\W*$|^[\[(<*]+(?:no \w+|silence|inaudible|blank audio|music)(?: \w+){0,3}[\])>*.]+$", re.IGNORECASE)
_QUOTES = (('"', '"'), ("“", "”"), ("«", "»"))


def instruction(*, language: str | None, translate: bool, prompt: str | None, hotwords: Sequence[str], tell: bool) -> str:
    """Return the instruction for a transcript; `language` is a code, and `tell` asks which language it is."""
    name = name_of(language).title() if language else ""
    lines = []
    if prompt:
        lines.append(f"Context: {prompt.strip()}")
    if hotwords:
        lines.append(f"Names and words that may occur: {', '.join(hotwords)}.")
    if translate:
        lines.append(f"Translate what is said in this recording{f' in {name}' if name else ''} into English.")
    else:
        lines.append(f"Transcribe this recording{f' in {name}' if name else ' in the language that is spoken'}.")
    lines.append(
        "Write only the words, with punctuation: no introduction, no remarks, no line breaks. Where nobody speaks, write nothing."
    )
    if tell:
        lines.append("Begin with the ISO 639-1 code of the language that is spoken, in brackets, such as [en].")
    return "\n".join(lines)


def leading_language(text: str) -> tuple[str | None, str]:
    """Return the code of the language that a text begins with, as asked for, and the rest; else None and the whole text."""
    found = _LANGUAGE.match(text)
    code = code_of(found[1]) if found else None
    return (code, text[found.end() :]) if found and code else (None, text)


def spoken(text: str) -> str:
    """Return a model's text without what it says about it: introductions, quotes around all of it, remarks that nobody speaks."""
    if fenced := _FENCE.match(text):
        text = fenced[1]
    introduced = _INTRODUCTION.match(text)
    bare = " ".join(text[introduced.end() if introduced else 0 :].split())
    if introduced:
        bare = _unquoted(bare)
    return "" if _NOTHING.match(bare) else bare


def loops(tokens: Sequence[int]) -> bool:
    """Return whether the last `TAIL` tokens or more are one pattern, at least four times over."""
    return any(
        len(tokens) >= (length := max(TAIL, 4 * period)) and list(tokens[-length + period :]) == list(tokens[-length:-period])
        for period in range(1, TAIL)
    )


def packing(text: str) -> float:
    """Return a text's compression ratio; that of ordinary sentences is below 2."""
    data = text.encode()
    return len(data) / len(zlib.compress(data)) if data else 0.0


def same_words(one: str, other: str) -> bool:
    """Return whether two texts have mostly the same words, however often."""
    here, there = (set(re.findall(r"\w+", text.lower())) for text in (one, other))
    return 2 * len(here & there) >= len(here | there)


def _unquoted(text: str) -> str:
    for first, last in _QUOTES:
        if len(text) > 1 and text[0] == first and text[-1] == last:
            return text[1:-1].strip()
    return text
