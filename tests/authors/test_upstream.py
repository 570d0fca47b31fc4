"""Which URLs name this machine."""

import pytest
from modelhost.authors.upstream import is_local_url


@pytest.mark.parametrize(
    "url",
    ["http://localhost", "https://models.localhost:8443/v1", "http://127.0.0.1:9", "http://127.9.9.9/", "http://[::1]:8000/v1"],
)
def test_loopback_addresses_and_localhost_are_this_machine(url: str) -> None:
    assert is_local_url(url)


@pytest.mark.parametrize(
    "url",
    [
        "https://api.example.com",
        "http://192.168.0.2",
        "http://localhost.example.com",
        "http://127.0.0.1.example.com",
        "",
        "http://",
    ],
)
def test_whatever_else_is_elsewhere(url: str) -> None:
    assert not is_local_url(url)
