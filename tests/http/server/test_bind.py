"""Where the host listens: what is wrong with an address or a certificate is told by name."""

from pathlib import Path

import pytest
import trustme
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
)
from modelhost.config import ServerConfig
from modelhost.contract.errors import ConfigError
from modelhost.http.server.bind import check_openness, tls_context


@pytest.fixture(scope="module")
def pems() -> dict[str, bytes]:
    authority = trustme.CA()
    one, other = (authority.issue_cert("localhost") for _ in range(2))
    key = one.private_key_pem.bytes()
    return {
        "cert": b"".join(pem.bytes() for pem in one.cert_chain_pems),
        "key": key,
        "foreign": other.private_key_pem.bytes(),
        "locked": load_pem_private_key(key, None).private_bytes(
            Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"secret")
        ),
        "junk": b"hello",
        "damaged": b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
    }


@pytest.mark.parametrize(
    ("cert", "key", "problem"),
    [
        ("gone", "key", r"server\.tls_cert: .*gone cannot be read: No such file"),
        ("cert", "gone", r"server\.tls_key: .*gone cannot be read: No such file"),
        ("junk", "key", r"server\.tls_cert: .*junk is no PEM file with a certificate"),
        ("cert", "junk", r"server\.tls_key: .*junk is no PEM file with a private key"),
        ("key", "cert", r"server\.tls_cert: .*key is no PEM file with a certificate"),
        ("damaged", "key", "damaged"),
        ("cert", "foreign", "the key is not that of the certificate"),
        ("cert", "locked", r"server\.tls_key: .*locked is encrypted"),
    ],
)
def test_a_certificate_that_cannot_be_used_is_refused_by_its_file(
    tmp_path: Path, pems: dict[str, bytes], cert: str, key: str, problem: str
) -> None:
    for name, content in pems.items():
        (tmp_path / name).write_bytes(content)
    with pytest.raises(ConfigError, match=problem) as caught:
        tls_context(ServerConfig(tls_cert=cert, tls_key=key), tmp_path)
    assert "_ssl.c" not in caught.value.message


def test_a_certificate_with_its_key_is_taken(tmp_path: Path, pems: dict[str, bytes]) -> None:
    for name in ("cert", "key"):
        (tmp_path / name).write_bytes(pems[name])
    context = tls_context(ServerConfig(tls_cert="cert", tls_key="key"), tmp_path)
    assert context is not None
    assert context.cert_store_stats()["x509"] == 0, "clients are not asked for certificates"
    assert tls_context(ServerConfig(), tmp_path) is None


@pytest.mark.parametrize("host", ["not an address", "http://127.0.0.1", "127.0.0.1:8000/x", "a,b"])
def test_what_is_no_address_is_called_so_and_not_asked_for_keys(host: str) -> None:
    with pytest.raises(ConfigError, match="neither an address nor a host's name"):
        check_openness(ServerConfig(host=host), keys=False)


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "localhost"])
def test_what_only_this_machine_reaches_needs_no_keys(host: str) -> None:
    check_openness(ServerConfig(host=host), keys=False)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "", "fe80::1%eth0", "box.lan"])
def test_an_address_that_others_reach_needs_keys(host: str) -> None:
    with pytest.raises(ConfigError, match="without a key"):
        check_openness(ServerConfig(host=host), keys=False)
    check_openness(ServerConfig(host=host), keys=True)
