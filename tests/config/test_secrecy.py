"""What is taken for a secret, by its name or by itself, and what of a configuration may be shown."""

import pytest
from modelhost.config.secrecy import HIDDEN, given_to_workers, is_secret_name, is_secret_value, shown, shown_url


@pytest.mark.parametrize(
    "name",
    [
        "api_key",
        "OPENAI_APIKEY",
        "GITHUB_PAT",
        "mysqlPwd",
        "PGPASSWORD",
        "x-auth",
        "Authorization",
        "DBPASS",
        "secret",
        "sig",
        "SENTRY_DSN",
    ],
)
def test_names_of_secrets_are_known_however_they_are_spelt(name: str) -> None:
    assert is_secret_name(name)
    assert not given_to_workers(name, "anything")


@pytest.mark.parametrize("name", ["max_tokens", "tls_key", "PWD", "path", "PATH", "keyboard", "author", "LANG"])
def test_names_that_only_look_like_it_are_none(name: str) -> None:
    assert not is_secret_name(name)
    assert given_to_workers(name, "anything")


@pytest.mark.parametrize(
    "value", ["sk-abc", "ghp_x", "hf_" + "a" * 20, "-----BEGIN PRIVATE KEY-----", "postgres://u:p@h/db", "eyJhbGciOi.eyJzdWIi"]
)
def test_some_values_tell_themselves(value: str) -> None:
    assert is_secret_value(value)
    assert not given_to_workers("ANYTHING", value)


@pytest.mark.parametrize("value", ["skate", "http://127.0.0.1:8000/v1", "ghost_", "a@b", "http://h/?a=b@c"])
def test_plain_values_do_not(value: str) -> None:
    assert not is_secret_value(value)


def test_workers_get_the_proxy_whatever_is_in_it_and_nothing_of_the_hosts_own() -> None:
    assert given_to_workers("HTTPS_PROXY", "http://u:p@proxy:3128")
    assert not given_to_workers("MODELHOST_SERVER__PORT", "1")


def test_what_is_shown_keeps_its_shape() -> None:
    config = {"models": {"monkey": {"max_tokens": 5, "api_key": "s", "list": [{"secret": "s"}, 1, None]}}, "on": True}
    assert shown(config) == {
        "models": {"monkey": {"max_tokens": 5, "api_key": HIDDEN, "list": [{"secret": HIDDEN}, 1, None]}},
        "on": True,
    }


@pytest.mark.parametrize("table", ["headers", "cookies", "query", "keys"])
def test_tables_of_anybodys_names_are_hidden_whole(table: str) -> None:
    assert shown({table: {"anything": "s"}}) == {table: {"anything": HIDDEN}}


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("http://user:pass@h/v1", f"http://{HIDDEN}@h/v1"),
        ("https://h/v1?version=2&sig=abc#end", f"https://h/v1?version=2&sig={HIDDEN}#end"),
        ("https://h/v1?version=2", "https://h/v1?version=2"),
        ("https://h/v1?token=", "https://h/v1?token="),
        ("what is this? no URL", "what is this? no URL"),
        ("http://[broken?key=a", "http://[broken?key=a"),
    ],
)
def test_a_url_is_shown_without_what_is_secret_in_it(url: str, said: str) -> None:
    assert shown_url(url) == said
