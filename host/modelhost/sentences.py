"""Cuts text into sentences as it comes: speech begins with the first of them, and can be stopped after each."""

import re

LONGEST = 200
"""Characters; about twelve seconds of speech."""

_END = re.compile(r"""(?:[.!?…]+["'»”’)\]]*(?=\s)|[。！？]+["'»”’）」』]*|\n)\s*""")
_CLAUSE = re.compile(r"[,;:，、；：—–]\s*|\s+-+\s+")

# Before a full stop these end no sentence. Single letters (initials, "z. B.") and numbers alone ("1. First") do not either.
_ABBREVIATIONS = frozenset(
    [
        "mr",
        "mrs",
        "ms",
        "dr",
        "prof",
        "st",
        "vs",
        "etc",
        "approx",
        "inc",
        "ltd",
        "jr",
        "sr",
        "gen",
        "col",
        "sgt",
        "capt",
        "rev",
        "fig",
        "vol",
        "no",
        "nr",
        "art",
        "hr",
        "fr",
        "hrsg",
        "bzw",
        "ca",
        "usw",
        "evtl",
        "ggf",
        "inkl",
        "max",
        "min",
        "mme",
        "mlle",
        "m",
        "sra",
        "srta",
        "dña",
        "avv",
        "dott",
        "sig",
        "ecc",
        "pág",
    ]
)


class Sentences:
    """Takes text in pieces, gives whole sentences with the space after them; together they are the text again."""

    def __init__(self, longest: int = LONGEST) -> None:
        """Cut sentences of more than `longest` characters too: after a clause, else between words."""
        self._longest = longest
        self._waiting = ""

    @classmethod
    def of(cls, text: str, longest: int = LONGEST) -> list[str]:
        """Cut a whole text."""
        cutter = cls(longest)
        return cutter.feed(text) + cutter.finish()

    def feed(self, text: str) -> list[str]:
        """Take more text and give the sentences that are complete."""
        self._waiting += text
        sentences: list[str] = []
        while cut := self._next_cut():
            sentences.append(self._waiting[:cut])
            self._waiting = self._waiting[cut:]
        return sentences

    def finish(self) -> list[str]:
        """Give what is left, at the end of the text."""
        rest, self._waiting = self._waiting, ""
        return [rest] if rest else []

    def _next_cut(self) -> int:
        """Give where the first sentence ends; 0 while that cannot be known."""
        for end in _END.finditer(self._waiting, 0, self._longest + 1):
            if end.end() < len(self._waiting) and not self._abbreviates(end):
                return end.end()
        return self._within() if len(self._waiting) > self._longest else 0

    def _abbreviates(self, end: re.Match[str]) -> bool:
        if not end[0].startswith(".") or end[0].startswith(".."):
            return False
        start = max(self._waiting.rfind(" ", 0, end.start()), self._waiting.rfind("\n", 0, end.start())) + 1
        word = self._waiting[start : end.start()].strip("(\"'").lower()
        return len(word) == 1 or word in _ABBREVIATIONS or (word.isdecimal() and not self._waiting[:start].strip())

    def _within(self) -> int:
        """Give where to cut a sentence that is too long: after its last clause, word, or anywhere."""
        head = self._waiting[: self._longest]
        clauses = [clause.end() for clause in _CLAUSE.finditer(head) if clause.end() >= self._longest // 3]
        return clauses[-1] if clauses else (head.rfind(" ") + 1 or self._longest)
