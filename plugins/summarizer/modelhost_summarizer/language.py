"""What a text is written in: told by its name where it has one, else by what it begins with.

Pygments knows the names of files. Its guesses by content, and those of other libraries of a size that suits a plugin, are
wrong more often than right on real files, so content is judged by a few signs that hardly lie, and is else just text.
"""

import json
import re
from pathlib import PurePath

from modelhost.authors.languages import code_of, name_of, spoken
from pygments.lexers import find_lexer_class, find_lexer_class_for_filename, get_lexer_by_name
from pygments.util import ClassNotFound

from modelhost_summarizer.log_lines import looks_like_a_log

LOG = "Log"
TEXT = "Text"

DOCUMENTS = frozenset({TEXT, "Markdown", "reStructuredText", "TeX", "Org Mode", "Groff", "MediaWiki", "Typst"})
"""Languages of documents, of those that Pygments knows."""

_LOG_NAME = re.compile(r"\.log(?:[.\-_][\w\-]+)*$|^(?:syslog|messages|dmesg|kern|nohup\.out)(?:\.\d+)?$", re.IGNORECASE)

_OURS = {"Text only": TEXT, "Kernel log": LOG}
"""Names of ours for what Pygments calls otherwise."""

_PREFERRED = {".sql": "SQL", ".pl": "Perl"}
"""What endings mean that several languages have, and that Pygments gives to one few people use."""

_INTERPRETER = re.compile(r"#!\s*\S*?/?(?:env\s+(?:-\S+\s+)*)?([a-zA-Z]+)[\d.]*(?:\s|$)")

_BEGINNINGS: tuple[tuple[str, str], ...] = (
    ("XML", r"\s*<\?xml\b"),
    ("HTML", r"\s*<(?:![Dd][Oo][Cc][Tt][Yy][Pp][Ee] html|html)\b"),
    ("PHP", r"\s*<\?php\b"),
    ("Diff", r"diff --git a/|--- .*\n\+\+\+ "),
)
"""What a text in a language begins with."""

_C = r"^[ \t]*#[ \t]*(?:include [<\"]|define \w+|ifn?def \w+|endif)"
_JAVASCRIPT = r"^[ \t]*(?:(?:const|let|var) [\w{}, ]+ = |(?:export )?(?:async )?function\b|import .* from ['\"]|module\.exports)"

_LINES: tuple[tuple[str, str], ...] = (
    ("Python", r"^[ \t]*(?:(?:async )?def \w+\(.*|class \w+.*:|from [\w.]+ import .+|import [\w.]+(?: as \w+)?)$"),
    ("Markdown", r"^(?:#{2,6} \S|# \S.*\n\n|```|[-*] \[[ x]\] |.{0,200}?\[[^\]\n]{1,200}\]\(\S)"),
    ("reStructuredText", r"^(?:\.\. \w[\w-]*::|\.\. _)"),
    ("Rust", r"^[ \t]*(?:pub(?:\(\w+\))? )?(?:fn \w+.*[{(<]|impl\b.*\{|struct \w+.*\{|enum \w+.*\{|use [\w:]+::)"),
    ("Go", r"^(?:package \w+$|func (?:\([^)]*\) )?\w+\(|import \(?$|type \w+ (?:struct|interface) \{)"),
    ("Java", r"^(?:package [\w.]+;|import (?:static )?[\w.*]+;|[ \t]*(?:public|private|protected) [\w<>\[\] ]+[({])"),
    ("C", _C),
    ("C++", rf"{_C}|^[ \t]*(?:using namespace \w+;|namespace \w+|template ?<|class \w+.*\{{)|^.*\bstd::"),
    ("JavaScript", _JAVASCRIPT),
    (
        "TypeScript",
        rf"{_JAVASCRIPT}|^(?:export )?(?:interface \w+|type \w+ =|enum \w+)|^[ \t]*(?:private|public|readonly) \w+\??:",
    ),
    ("SQL", r"^(?:CREATE|INSERT INTO|SELECT|ALTER TABLE|DROP|UPDATE)\b.*"),
    ("CSS", r"^[.#@]?[\w\-.#: ,>*]+\{\s*(?:$|[\w-]+:)"),
    ("TOML", r"^\[[\w.\"-]+\]$|^[\w-]+ = (?:[\"\[{]|\d|true|false)"),
)
"""What lines in a language look like. The one with the most such lines, two at least, is it; of equals the first.

The text is a stranger's, so no pattern may look at it more than a few times: nothing that repeats crosses the end of a line.
"""

_BEGINNING_OF = tuple((name, re.compile(pattern)) for name, pattern in _BEGINNINGS)
_LINE_OF = tuple((name, re.compile(pattern, re.MULTILINE)) for name, pattern in _LINES)


def detect(filename: str, beginning: str) -> str:
    """Return the name of the language, as Pygments has it; `Log` for logs, `Text` for what is nothing else."""
    base = re.split(r"[/\\]", filename)[-1][-255:]
    if _LOG_NAME.search(base):
        return LOG
    named = _by_name(base, beginning)
    return named if named and named != TEXT else _by_content(beginning)


def named(label: str) -> str | None:
    """Return the name that `detect` would give for what somebody calls a language, or the English name of one that people speak.

    None where it is to be detected, as with `auto`; what nobody knows stays as it is.
    """
    if spoken(label) is None:
        return None
    if label.lower() == "log":
        return LOG
    try:
        name = str(get_lexer_by_name(label.lower()).name)
    except ClassNotFound:
        code = code_of(label)
        return name_of(code).title() if code else label
    return _OURS.get(name, name)


def is_code(language: str) -> bool:
    """Return whether a language is written for machines. One that is no programmer's, such as `German`, is for people."""
    return language not in DOCUMENTS and find_lexer_class(language) is not None


def _by_name(base: str, beginning: str) -> str | None:
    if preferred := _PREFERRED.get(PurePath(base).suffix.lower()):
        return preferred
    # Where several languages have an ending, Pygments looks at the text, with patterns that are not made for strangers' texts.
    lexer = find_lexer_class_for_filename(base, beginning[:2048]) if base else None
    return None if lexer is None else _OURS.get(lexer.name, lexer.name)


def _by_content(beginning: str) -> str:
    if (found := _INTERPRETER.match(beginning[:200])) and (named := _by_interpreter(found[1])):
        return named
    if looks_like_a_log(beginning):
        return LOG
    if _is_json(beginning):
        return "JSON"
    for name, sign in _BEGINNING_OF:
        if sign.match(beginning):
            return name
    lines = {name: sum(1 for _ in sign.finditer(beginning)) for name, sign in _LINE_OF}
    likeliest = max(lines, key=lambda name: lines[name])
    return likeliest if lines[likeliest] >= 2 else TEXT


def _by_interpreter(name: str) -> str | None:
    try:
        return str(get_lexer_by_name({"node": "javascript"}.get(name, name)).name)
    except ClassNotFound:
        return None


def _is_json(beginning: str) -> bool:
    """Return whether it is JSON as far as it goes: a beginning may end anywhere."""
    start = beginning.lstrip()
    if start[:1] not in ("{", "["):
        return False
    try:
        json.JSONDecoder().raw_decode(start)
    except json.JSONDecodeError as error:
        return len(start) > 64 and (error.pos > len(start) - 64 or error.msg.startswith("Unterminated string"))
    except RecursionError:
        return False
    return True
