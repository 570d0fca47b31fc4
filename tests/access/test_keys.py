"""Who a key belongs to, and what of a configuration is no key."""

import hashlib
from pathlib import Path

import pytest
from hypothesis import given, strategies as st
from modelhost.access.keys import MOST_BYTES, SHORTEST, Caller, Keys, read_keys
from modelhost.config.schema import KeyConfig
from modelhost.contract.errors import ConfigError

ALICE = "a-key-of-alice-0123456789"
BOB = "a-key-of-bob-0123456789ab"


def digest(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest()


def test_a_key_is_its_owners_however_it_was_given(tmp_path: Path) -> None:
    (tmp_path / "bob").write_text(f"{BOB}\n")
    third = "a-key-of-carol-012345678"
    configured = {
        "alice": KeyConfig(key=ALICE),
        "bob": KeyConfig(file="bob", scopes=("metrics",)),
        "carol": KeyConfig(sha256=digest(third)),
    }
    keys = read_keys(configured, tmp_path, "here")
    assert len(keys) == 3
    owners = [keys.whose(key.encode()) for key in (ALICE, BOB, third)]
    assert [owner.name for owner in owners if owner] == ["alice", "bob", "carol"]
    assert owners[1] == Caller(name="bob", scopes=frozenset({"metrics"}))


@given(st.binary(max_size=40))
def test_no_other_key_is_anybodys(key: bytes) -> None:
    keys = Keys([(hashlib.sha256(ALICE.encode()).digest(), Caller(name="alice", scopes=frozenset()))])
    assert (keys.whose(key) is None) == (key != ALICE.encode())


def test_a_host_without_keys_has_none() -> None:
    assert not Keys([])
    assert Keys([]).whose(b"") is None


@pytest.mark.parametrize(
    ("configured", "said"),
    [
        ({"a": KeyConfig()}, "keys.a needs one of key, file and sha256"),
        ({"a": KeyConfig(key=ALICE, sha256=digest(ALICE))}, "keys.a needs one of key, file and sha256"),
        ({"a": KeyConfig(key=ALICE), "b": KeyConfig(sha256=digest(ALICE))}, "keys.b is the same key as keys.a"),
        ({"a": KeyConfig(key="x" * (SHORTEST - 1))}, "keys.a"),
        ({"a": KeyConfig(file="nowhere")}, "keys.a"),
        ({"a": KeyConfig(file="long")}, "keys.a"),
    ],
)
def test_what_is_no_key_is_told_with_where_and_not_what(tmp_path: Path, configured: dict[str, KeyConfig], said: str) -> None:
    (tmp_path / "long").write_text("x" * (MOST_BYTES + 1))
    with pytest.raises(ConfigError) as refused:
        read_keys(configured, tmp_path, "here")
    assert said in refused.value.message
    assert refused.value.message.startswith("here: ")
    assert ALICE not in refused.value.message
