"""Lines of logs: what is a time in them, what differs from line to line, and whether a text is made of them."""

import re
from collections.abc import Iterator

_MONTH = r"(?:Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec)"

_DATED = (
    r"\d{4}[-/]\d\d[-/]\d\d[T ]\d\d:\d\d:\d\d"  # 2026-01-31T10:00:00, of most programs
    rf"|\d\d/{_MONTH}/\d{{4}}:\d\d:\d\d:\d\d"  # 31/Jan/2026:10:00:00, of web servers
    rf"|{_MONTH} [ \d]\d (?:\d{{4}} )?\d\d:\d\d:\d\d"  # Jan 31 10:00:00, of syslog
)

TIME = re.compile(rf"{_DATED}|\d\d:\d\d:\d\d")
"""A time of day, with its date where there is one."""

GRAVE = re.compile(
    r"\b(?:error|fail(?:ed|ure|s)?|fatal|critical|panic|exception|traceback|warn(?:ing)?|denied|killed)\b", re.IGNORECASE
)
"""Words for what an analyst must not miss."""

_LEVELS = "TRACE|DEBUG|INFO|NOTICE|WARN|WARNING|ERROR|CRITICAL|FATAL|ALERT|EMERG"

TELLING = re.compile(rf"\b(?:{_LEVELS})\b|^\d+$", re.IGNORECASE)
"""A word over which lines are never merged: a level, or a number that was kept because it says how something ended."""

PLACEHOLDER = "<*>"

_WORD = (
    rf"\b{_MONTH} [ \d]\d(?: \d{{4}})? \d\d:\d\d:\d\d"
    r"|\b\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(?:[.,]\d+)?(?:Z|[+-]\d\d:?\d\d)?"
    # From here on any word with a digit in it: numbers, addresses, versions, digests, ids. What HTTP and programs end
    # with is worth a line of its own: `" 500`, `status=500`, `code 137`.
    r'|(?<![^\W_])(?<!" )(?<!status=)(?<!status )(?<!status: )(?<!status":)(?<!status": )(?<!code=)(?<!code )(?<!code: )'
    r"[^\W\d_]*\d(?:[\w.:,+/-]*\w)?"
)
_VARIABLE_WORD = re.compile(_WORD)
_VARIABLE = re.compile(rf""" "[^"\n]*"|(?<!\w)'[^'\n]*'(?!\w)|{_WORD}"""[1:])

_COLOURS = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")

_FRAME = re.compile(r'\s+(?:File "|at )')

_BEGINS_LIKE_A_LOG = re.compile(rf".{{0,60}}?(?:{_DATED})|[\[(<]?(?:\d\d:\d\d:\d\d|\d{{10,13}}\b|(?:{_LEVELS})\b)")


def without_colours(block: str) -> str:
    """Return lines as a plain text has them: without a terminal's colours, and with plain ends."""
    if "\x1b" in block:
        block = _COLOURS.sub("", block)
    return block.replace("\r\n", "\n") if "\r" in block else block


def kinds_of(block: str, lines: list[str]) -> Iterator[str]:
    """Yield the kind of each line of a block: the line with a placeholder for everything that varies."""
    # Masking a block at once is several times faster than line by line.
    for line, masked in zip(lines, _VARIABLE.sub(PLACEHOLDER, block).split("\n"), strict=True):
        if '":' in line or '="' in line:  # JSON and logfmt, where quotes stand around what is said
            yield _VARIABLE_WORD.sub(PLACEHOLDER, line)
        elif line[:1].isspace() and is_frame(line):
            yield line
        else:
            yield masked


def is_frame(line: str) -> bool:
    """Return whether a line is part of a stack trace: its position is its message, so nothing of it may go."""
    return _FRAME.match(line) is not None


def looks_like_a_log(text: str) -> bool:
    """Return whether most of the first lines begin with a time or a level. Indented lines belong to the one before."""
    lines = [line for line in without_colours(text[:20_000]).split("\n")[:200] if line and not line[0].isspace()]
    begun = sum(_BEGINS_LIKE_A_LOG.match(line) is not None for line in lines)
    return begun >= 3 and begun >= len(lines) / 2
