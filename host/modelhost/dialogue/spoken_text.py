"""A reply as it is read aloud: what its Markdown says, without the marks, while it is still being written.

Models are asked for plain words and write Markdown all the same, and a voice would say "asterisk asterisk". A parser wants whole
paragraphs, but a voice begins with the first sentence; so here text is let go word by word, a link or a tag as soon as it ends.
Only what a line as a whole may be (a table's row, a rule, the fence of code) waits for its end. What is shown keeps its marks.
"""

import html
import re
from collections.abc import Iterator

LONGEST_MARK = 200
"""Characters that are held back for the end of a link, a tag or a piece of code. Chosen, because what has no end by then is
text."""

_TAGS = (
    "a|b|i|u|s|p|em|br|hr|ul|ol|li|h[1-6]|td|th|tr|del|div|img|ins|kbd|pre|sub|sup|code|font|mark|span|small|strong|table|tbody|thead|"
    "center|details|summary|blockquote"
)
_INLINE = re.compile(
    rf"""
      \\(?P<escaped>[!-/:-@\[-`{{-~])
    | (?P<ticks>`+)(?P<code>[^`\n](?:[^\n]*?[^`\n])?)(?P=ticks)(?!`)
    | \[\^[^\]\n]{{1,30}}\]
    | !?\[(?P<link>[^\[\]\n]*)\](?:\([^()\s]*(?:\([^()\s]*\)[^()\s]*)*(?:[ \t]+"[^"\n]*")?\)|\[[^\[\]\n]*\])
    | <(?P<address>(?:https?://|mailto:)[^<>\s]*)>
    | <!--[^\n]*?-->
    | </?(?P<tag>{_TAGS})(?:[ \t][^<>\n]*)?/?>
    | (?P<entity>&(?:\#\d{{1,7}}|\#[xX][0-9A-Fa-f]{{1,6}}|[A-Za-z]{{2,31}});)
    | (?P<run>\*+|_+|~~+)
    | [\U0001f000-\U0001faff\u2600-\u27bf\u2b50\u2b55\ufe0f\u200d\u20e3]+
    """,
    re.VERBOSE | re.IGNORECASE,
)
_OPEN = re.compile(r"\[[^\[\]\n]*$|\]\((?:[^()\n]|\([^()\n]*\))*(?:\([^()\n]*)?$|\]\[[^\]\n]*$|<[A-Za-z/!][^<>\n]*$|`")
_BLOCK = re.compile(
    r"[ \t]*(?:>[ \t]?)*[ \t]*"
    r"(?:(?P<heading>\#{1,6})(?:[ \t]+|$)|(?P<item>[-*+•][ \t]+|(?=\d{1,3}[.)][ \t]))(?:\[[ xX]\][ \t]+)?)?"
)
_HEADING = re.compile(r"[\s>]*#{1,6}[ \t]")
_SPACE = re.compile(r"\s")
_MARKS_ALONE = re.compile(r"[\s>#*+\-•\d.)\[\]xX|=_~`:]*")
_WAITS = re.compile(r"[\s>]*(?:```|~~~|\||\[[^\]\n]*\]:)")
_FENCE = re.compile(r"[\s>]*(`{3,}|~{3,})[^`\n]*$")
_RULE = re.compile(r"[\s>]*(?:(?:-[ \t]*){3,}|(?:\*[ \t]*){3,}|(?:_[ \t]*){3,}|=+|[|:\- \t]*-[|:\- \t]*\|[|:\- \t]*)\s*$")
_DEFINITION = re.compile(r"[ \t]*\[[^\]\n]*\]:")


class ReadAloud:
    """Takes a reply in pieces and gives what is to be said of it, as soon as that is certain.

    How the reply is cut into pieces changes nothing.
    """

    def __init__(self) -> None:
        self._line = ""
        self._read = 0  # of the line
        self._seen = 0  # of it: up to here is known what is settled
        self._fence = ""
        self._begun = False
        self._breaks = False  # what comes next is a paragraph of its own

    @classmethod
    def of(cls, text: str) -> str:
        """Return what is to be said of a whole reply."""
        reader = cls()
        return reader.feed(text) + reader.finish()

    def feed(self, text: str) -> str:
        """Take more of the reply, and give what can be said now."""
        *lines, rest = (self._line + text).split("\n")
        pieces = []
        for self._line in lines:
            pieces += [*self._words(), self._end(), "\n"]
            self._read = self._seen = 0
        self._line = rest
        return "".join([*pieces, *self._words()])

    def finish(self) -> str:
        """Return the rest, at the end of the reply."""
        return self._end()

    def _words(self) -> Iterator[str]:
        """Yield the words of a line that are the same whatever follows."""
        if self._fence:
            return
        for space in _SPACE.finditer(self._line, self._seen):
            self._seen = space.end()
            if _is_settled(self._line[: space.end()], self._read):
                yield self._piece(space.end())

    def _end(self) -> str:
        """Return the rest of the line, which is complete."""
        is_heading = not self._fence and _HEADING.match(self._line)
        pieces = self._rest()
        self._breaks = self._breaks or bool(is_heading)
        return pieces

    def _rest(self) -> str:
        line = self._line
        if self._fence:
            bare = line.strip(" \t\r>")
            if bare.startswith(self._fence) and not bare.strip(self._fence[0]):
                self._fence, self._breaks = "", True
                return ""
            return self._say(line)
        if self._read:
            return self._piece(len(line))
        if fence := _FENCE.match(line):
            self._fence, self._breaks = fence[1], True
            return ""
        if _RULE.match(line) or _DEFINITION.match(line):
            self._breaks = True
            return ""
        if (row := line.strip(" \t\r>")).startswith("|"):
            self._breaks = True
            return self._say(", ".join(plain(cell.strip()) for cell in re.split(r"(?<!\\)\|", row.strip("|")) if cell.strip()))
        return self._piece(len(line))

    def _piece(self, end: int) -> str:
        """Return what the line says up to `end`."""
        piece, begins = self._line[self._read : end], self._read == 0
        self._read = end
        block = _BLOCK.match(piece) if begins else None
        if block:
            self._breaks = self._breaks or block["item"] is not None or bool(block["heading"])
            piece = piece[block.end() :]
        return self._say(plain(piece))

    def _say(self, text: str) -> str:
        if not text.strip():
            return text
        begun, self._begun = self._begun, True
        breaks, self._breaks = self._breaks, False
        return f"\n{text}" if breaks and begun else text


def _is_settled(line: str, read: int) -> bool:
    """Return whether what was not read of the beginning of a line means the same whatever follows."""
    piece = line[read:]
    if read == 0 and _WAITS.match(line):
        return False
    if len(piece) > LONGEST_MARK:
        return True
    return not (read == 0 and _MARKS_ALONE.fullmatch(line)) and not _OPEN.search(_INLINE.sub("", piece))


def plain(text: str) -> str:
    """Return what words of a line say, without their marks."""
    return _INLINE.sub(_said, text)


def _said(mark: re.Match[str]) -> str:
    for kept in ("escaped", "code", "address"):
        if mark[kept] is not None:
            return mark[kept]
    if mark["link"] is not None:
        return plain(mark["link"])
    if mark["entity"]:
        return html.unescape(mark["entity"])
    if mark["run"]:
        return _emphasis(mark)
    return " " if mark["tag"] and mark["tag"].lower() == "br" else ""


def _emphasis(mark: re.Match[str]) -> str:
    """Return nothing for a mark of emphasis, and itself for a sign: in "3*4", "2 * 3" or "snake_case"."""
    run, text = mark["run"], mark.string
    before, after = text[: mark.start()][-1:], text[mark.end() :][:1]
    if not before.strip() and not after.strip():
        return run if len(run) == 1 else ""
    if before.isalnum() and after.isalnum():
        alone = len(run) == 1 and text.count("*") == 1
        is_sign = run[0] == "_" or (run[0] == "*" and (alone or (before.isdecimal() and after.isdecimal())))
        return run if is_sign else ""
    return ""
