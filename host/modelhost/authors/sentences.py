"""Cuts text into sentences as it comes: speech begins with the first of them, and can be stopped after each.

A cut in the wrong place is heard ("one million, | two hundred"); one too few only makes the next sound come later. So where it is
not clear that a sentence ends, none does.
"""

import re
import unicodedata

LONGEST = 200
"""Characters. Chosen, because they are about twelve seconds of speech, as long as a listener waits for a pause."""

AHEAD = 64
"""Characters after `longest` that are waited for before a cut is decided. Chosen, because what follows a mark tells what it
is."""

_SPACE = r"[^\S\u00a0\u2007\u202f]"  # those three are there to keep a number and its unit together
_CLOSERS = r"[\"'»”’)\]）」』】》]*"
_END = re.compile(
    rf"(?:(?P<mark>[.!?…؟۔]+)(?P<closers>{_CLOSERS})(?={_SPACE})"
    rf"|(?P<wide>(?:[。！？｡।॥።։။។]|(?<=[\u3040-\u30ff\u3400-\u9fff])[!?])+[!?]*)(?P<wide_closers>{_CLOSERS})"
    r"|(?P<line>[^\S\n]*\n))\s*"
)
_CLAUSE = re.compile(rf"[,;:،؛](?={_SPACE})\s*|(?<!\d)[，、；：]\s*|{_SPACE}+[-–—]+(?={_SPACE})\s*")
_WORD = re.compile(rf"{_SPACE}\s*")
_LISTED = re.compile(r"(?:[-*+•–—#>|]|\d{1,3}[.)])\s")
_DOTTED = re.compile(r"(?:[^\W\d_]{1,3}\.)+[^\W\d_]{1,3}")
_OPENERS = "\"'«“‘„(['¿¡*_"

_SHORT_LINE = 20
"""Characters. Chosen, because nobody wraps text to shorter lines, so such a line is a title, a verse, or one of a list."""

_BEFORE_NAMES = frozenset(
    [
        "mr",
        "mrs",
        "ms",
        "mx",
        "dr",
        "prof",
        "st",
        "gen",
        "col",
        "sgt",
        "capt",
        "lt",
        "rev",
        "hon",
        "fr",
        "hr",
        "hrn",
        "sr",
        "sra",
        "srta",
        "dña",
        "mme",
        "mlle",
        "avv",
        "dott",
        "sig",
        "ing",
        "herr",
        "vs",
        "bzw",
        "e",
    ]
)
"""Before a full stop these end no sentence, whatever follows. Single letters (initials, "z. B.") do not either."""

_BEFORE_NUMBERS = frozenset(
    [
        "no",
        "nos",
        "nr",
        "nrn",
        "n°",
        "fig",
        "figs",
        "vol",
        "art",
        "p",
        "pp",
        "pg",
        "pag",
        "pág",
        "s",
        "ch",
        "chap",
        "cap",
        "sec",
        "eq",
        "ca",
        "approx",
        "max",
        "min",
        "abs",
        "kap",
        "bd",
        "jan",
        "feb",
        "mar",
        "apr",
        "jun",
        "jul",
        "aug",
        "sep",
        "sept",
        "oct",
        "nov",
        "dec",
        "tel",
        "ext",
    ]
)
"""Nor these before a number."""

_BEFORE_SMALL = frozenset(
    [
        "approx",
        "etc",
        "inc",
        "ltd",
        "corp",
        "dept",
        "jr",
        "sr",
        "est",
        "univ",
        "blvd",
        "incl",
        "excl",
        "resp",
        "misc",
        "hrsg",
        "usw",
        "evtl",
        "ggf",
        "inkl",
        "exkl",
        "zzgl",
        "vgl",
        "ecc",
        "bspw",
        "allg",
    ]
)
"""Nor these before a small letter, nor any word of up to four letters."""

_ORDERED = frozenset(
    [
        "januar",
        "jänner",
        "februar",
        "märz",
        "april",
        "mai",
        "juni",
        "juli",
        "august",
        "september",
        "oktober",
        "november",
        "dezember",
        "jahrhundert",
        "jahrhunderts",
        "weltkrieg",
        "weltkriegs",
    ]
)
"""What makes a number with a full stop an ordinal, in a language that begins nouns with a capital."""


class Sentences:
    """Takes text in pieces, gives whole sentences with the space after them; together they are the text again.

    How the text is cut into pieces changes nothing.
    """

    def __init__(self, longest: int = LONGEST) -> None:
        """Cut sentences of more than `longest` characters too: after a clause, else between words."""
        self._longest = longest
        self._waiting = ""
        self._column = 0  # how much of the first line that waits has been given already

    @classmethod
    def of(cls, text: str, longest: int = LONGEST) -> list[str]:
        """Cut a whole text."""
        cutter = cls(longest)
        return cutter.feed(text) + cutter.finish()

    def feed(self, text: str) -> list[str]:
        """Take more text and give the sentences that are complete."""
        self._waiting += text
        return self._cut(over=False)

    def finish(self) -> list[str]:
        """Return what is left, at the end of the text."""
        sentences = self._cut(over=True)
        rest, self._waiting = self._waiting, ""
        return [*sentences, rest] if rest else sentences

    def _cut(self, *, over: bool) -> list[str]:
        sentences: list[str] = []
        at, wide = 0, self._longest + AHEAD
        while True:
            window = self._waiting[at : at + wide]
            end = _first_end(window, self._column, self._longest, decided=over or len(window) == wide)
            if not end:
                break
            sentence = window[:end]
            sentences.append(sentence)
            self._column = len(sentence) - sentence.rfind("\n") - 1 + (0 if "\n" in sentence else self._column)
            at += end
        self._waiting = self._waiting[at:]
        return sentences


def _first_end(text: str, column: int, longest: int, *, decided: bool) -> int:
    """Return where the first sentence of a text ends; 0 where that is its own end, or cannot be known before more has come.

    Where it is `decided`, nothing more comes that would count. The text begins at a `column` of its line.
    """
    for end in _END.finditer(text, 0, longest + 1):
        ends = _is_line_end(text, end, column, decided) if end["line"] is not None else _is_end(text, end, decided)
        if ends is None:
            return 0
        if ends and end.end() < len(text):
            return end.end()
    return _within(text, longest) if len(text) > longest and decided else 0


def _is_end(text: str, end: re.Match[str], decided: bool) -> bool | None:
    """Return whether a sentence ends with a mark; None where more text is needed to tell."""
    behind = text[end.end() :]
    following = behind[:8].lstrip(_OPENERS)[:1]
    if not following and len(behind) < 8 and not decided:
        return None
    if end["wide"]:
        # 「はい。」と言った: what is quoted is part of a sentence.
        return not (end["wide_closers"] and end[0] == end[0].rstrip() and following.isalpha())
    goes_on = following.islower() and behind[0] == following
    if end["mark"] != "." or (goes_on and end["closers"]):
        return not (goes_on and (end["closers"] or end["mark"].endswith((".", "…"))))  # "Wait... what", "Really?" she asked.
    word = _word_before(text, end.start())
    if word.isdecimal():
        return _is_end_after_number(text, end, word, decided)
    return _is_end_after_word(word, following)


def _word_before(text: str, at: int) -> str:
    start = max(text.rfind(space, 0, at) for space in " \n\t") + 1
    return text[start:at].lstrip(_OPENERS)


def _is_end_after_word(word: str, following: str) -> bool:
    small = word.lower()
    if _DOTTED.fullmatch(word):
        return small in ("a.m", "p.m") and following.isupper()
    if (len(word) == 1 and word.isalpha()) or small in _BEFORE_NAMES or (following.isdecimal() and small in _BEFORE_NUMBERS):
        return False
    if following.islower():  # "am 24.12. um", "est. in"
        return len(word) > 4 and not word[-1].isdecimal() and small not in _BEFORE_SMALL
    return True


def _is_end_after_number(text: str, end: re.Match[str], number: str, decided: bool) -> bool | None:
    """Return whether a full stop after a number ends a sentence: not that of "1. First of all" or of "am 3. Oktober"."""
    if not text[: end.start() - len(number)].strip():
        return False
    word = re.match(r"\w*", text[end.end() :])
    assert word is not None
    if word.end() == len(text) - end.end() and not decided:
        return None
    return not word[0][:1].islower() and word[0].lower() not in _ORDERED


def _is_line_end(text: str, end: re.Match[str], column: int, decided: bool) -> bool | None:
    """Return whether a sentence ends with a line; None where more text is needed to tell.

    It does where an empty line or an item of a list follows, or where the line was not wrapped: the next begins with a capital,
    and so long as that one is, its first word would have fitted.
    """
    if "\n" in end[0][end[0].index("\n") + 1 :]:
        return True
    above = text[text.rfind("\n", 0, end.start()) + 1 : end.start()]
    length = len(above) if "\n" in text[: end.start()] else len(above) + column
    below, line_break, _ = text[end.end() :].partition("\n")
    complete = bool(line_break) or decided
    if len(below) < 5 and not complete:
        return None
    if _LISTED.match(below):
        return True
    word = below.split(maxsplit=1)[0] if below.strip() else ""
    first = word.lstrip(_OPENERS)[:1]
    if first.islower():
        return False
    if (length < _SHORT_LINE and first.isupper()) or len(below) > length + 1 + len(word):
        return True
    return False if complete else None


def _within(text: str, longest: int) -> int:
    """Return where to cut a sentence that is too long: after its last clause, word, or anywhere."""
    clauses = [one.end() for one in _CLAUSE.finditer(text, 0, longest + 1) if longest // 3 <= one.end() <= longest]
    words = [one.end() for one in _WORD.finditer(text, 0, longest + 1) if 0 < one.end() <= longest]
    for cuts in (clauses, words):
        if whole := [cut for cut in cuts if not _is_after_number(text, cut)]:
            return whole[-1]
    return words[-1] if words else _anywhere(text, longest)


def _is_after_number(text: str, cut: int) -> bool:
    """Return whether a cut comes after a number that may go on: "1 000 000", "10 – 20", "5 million"."""
    return text[:cut].rstrip(" \t-–—")[-1:].isdecimal()


def _anywhere(text: str, longest: int) -> int:
    """Return the last place where no letter loses its accent, and if that can be, no number is cut."""
    cuts = [cut for cut in range(longest, longest // 2, -1) if not _is_joined(text, cut)]
    whole = (cut for cut in cuts if not (text[cut - 1].isdecimal() and text[cut].isdecimal()))
    return next(whole, cuts[0] if cuts else longest)


def _is_joined(text: str, cut: int) -> bool:
    """Return whether what follows belongs to the letter before: an accent, a vowel sign, a part of an emoji."""
    return unicodedata.category(text[cut])[0] == "M" or "\u200d" in (text[cut], text[cut - 1])
