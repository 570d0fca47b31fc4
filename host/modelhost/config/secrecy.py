"""What is secret: the one rule for what is shown of a configuration, and for what a worker is given of the environment.

Names tell most secrets, a few tell themselves by their value. Whatever looks like one is taken for one: a worker that wants it
all the same gets it by `env`.
"""

import re
from typing import Any
from urllib.parse import parse_qsl, urlsplit

HIDDEN = "…"

_WORDS = re.compile(
    r"(api)?keys?|tokens?|secrets?|pats?|pwd|pass(wd|words?|phrase|code)?|cred(ential)?s?|auth(orization)?|bearer|jwt|cookies?|dsn|"
    r"sig(nature)?"
)
"""What a name may have as a word of its own: GITHUB_PAT, mysqlPwd, x-auth."""

_PARTS = re.compile(
    r"passw|passphrase|secret|credential|apikey|accesskey|privatekey|connectionstring|authorization|cookie|(key|token|pass|pwd)s?$"
)
"""What tells a secret also inside a word, or at its end: PGPASSWORD, OPENAI_APIKEY, DBPASS."""

_NO_SECRETS = frozenset({"api_key_header", "max_tokens", "tls_key", "pwd", "oldpwd", "gpg_key"})
"""Names that look like those of secrets, of what is none: a header, a number, a file's path, a folder, a public key."""

_TABLES = frozenset({"headers", "cookies", "query"})
"""Tables of names that are anybody's, so every value in them is taken for a secret."""

_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+")

_VALUE = re.compile(
    r"sk-|gh[oprsu]_|github_pat_|glpat-|hf_[A-Za-z0-9]{20}|xox[abeprs]-|AKIA[A-Z0-9]{16}|AIza|ya29\.|eyJ[\w-]+\.eyJ|-----BEGIN "
)
"""How keys of well-known services begin."""

_USER = re.compile(r"(?<=://)[^/?#\s]*:[^/?#\s]*@")
"""User and password in a URL."""

_PROXIES = frozenset({"http_proxy", "https_proxy", "all_proxy", "ftp_proxy"})
"""Variables that a worker needs to reach a hosted API, whatever is in them."""


def is_secret_name(name: str) -> bool:
    """Return whether what is called this is likely to be a secret: a variable, an option, a header or a parameter of a URL."""
    if name.lower() in _NO_SECRETS:
        return False
    return any(_WORDS.fullmatch(word.lower()) for word in _WORD.findall(name)) or bool(
        _PARTS.search(re.sub(r"[\W_]", "", name.lower()))
    )


def is_secret_value(value: str) -> bool:
    """Return whether a value tells by itself that it is a secret, or has one in it."""
    return bool(_VALUE.match(value) or _USER.search(value))


def given_to_workers(name: str, value: str) -> bool:
    """Return whether a variable of the host's environment may be seen by plugins."""
    if name.startswith("MODELHOST_"):
        return False
    return name.lower() in _PROXIES or not (is_secret_name(name) or is_secret_value(value))


def shown(value: Any, name: str = "") -> Any:
    """Return a value as it may be shown: secrets are `…`, also those inside tables, lists and URLs."""
    if isinstance(value, dict):
        # A table of secrets by name; a model may be called "monkey" all the same.
        secrets = is_secret_name(name) and all(isinstance(inner, str) for inner in value.values())
        if name in _TABLES or secrets:
            return {key: _hidden(inner) for key, inner in value.items()}
        return {key: shown(inner, key) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [shown(inner, name) for inner in value]
    if not isinstance(value, str):
        return value
    return HIDDEN if is_secret_name(name) or _VALUE.match(value) else shown_url(value)


def _hidden(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _hidden(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_hidden(inner) for inner in value]
    return HIDDEN


def shown_url(text: str) -> str:
    """Return a text with what is secret in the URLs in it left out: user and password, and parameters that are secrets."""
    text = _USER.sub(f"{HIDDEN}@", text)
    if "?" not in text:
        return text
    try:
        parameters = parse_qsl(urlsplit(text).query, keep_blank_values=True)
    except ValueError:
        return text
    for name, value in parameters:
        if value and is_secret_name(name):
            text = re.sub(rf"([?&]{re.escape(name)}=)[^&#\s]*", rf"\g<1>{HIDDEN}", text)
    return text
