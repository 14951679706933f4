"""Whose word counts: signatures over everything that a message says, roles, and files of keys."""

import base64
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.adapters.kafka.signing import (
    SIGNATURE,
    Role,
    Signer,
    Verifier,
    lifted_at,
    new_key,
    signed_bytes,
    unsigned,
)
from pipeline.ports import Record
from pipeline.settings import SettingsError

KEY, VALUE = b"ip:ip_accused:192.0.2.7", b'{"id": "x"}'
HEADERS = st.lists(
    st.tuples(st.text(max_size=5).filter(lambda name: name != SIGNATURE), st.binary(max_size=5)), max_size=3
)
MESSAGES = st.tuples(st.text(max_size=5), st.binary(max_size=5), st.none() | st.binary(max_size=5), HEADERS)


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> dict[Role, Signer]:
    folder = tmp_path_factory.mktemp("keys")
    roles: tuple[Role, ...] = ("detect", "operator")
    (folder / "trusted.toml").write_text("\n".join(new_key(folder / f"{role}-1.pem", role) for role in roles))
    return {role: Signer.read(folder / f"{role}-1.pem") for role in roles}


@pytest.fixture(scope="module")
def verifier(keys: dict[Role, Signer]) -> Verifier:
    return Verifier({signer.name: (role, signer.key.public_key()) for role, signer in keys.items()})


def record(key: bytes, value: bytes | None, headers: Any) -> Record:
    return Record("enforcement", 0, 0, 0, key, value, tuple(headers))


@given(MESSAGES, MESSAGES)
def test_no_two_messages_are_signed_alike(one: Any, other: Any) -> None:
    def unordered(message: Any) -> Any:
        return (*message[:3], sorted(message[3]))

    assert (signed_bytes(*one) == signed_bytes(*other)) == (unordered(one) == unordered(other))


@given(MESSAGES, MESSAGES)
def test_a_signature_holds_for_its_message_only(
    keys: dict[Role, Signer], verifier: Verifier, one: Any, other: Any
) -> None:
    topic, key, value, headers = one
    signed = keys["operator"](topic, key, value, headers)
    assert verifier.refusal(topic, record(key, value, signed)) is None
    topic, key, value, headers = other
    (signature,) = (pair for pair in signed if pair[0] == SIGNATURE)
    refusal = verifier.refusal(topic, record(key, value, [*headers, signature]))
    alike = (*one[:3], sorted(one[3])) == (*other[:3], sorted(other[3]))
    assert refusal == (None if alike else "its signature is not right")


@given(st.lists(st.binary(max_size=120), max_size=3))
def test_whatever_stands_in_the_header_is_refused(verifier: Verifier, told: list[bytes]) -> None:
    headers = [(SIGNATURE, text) for text in (*told, b"operator-1 " + b"A" * 88)]
    assert verifier.refusal("enforcement", record(KEY, VALUE, headers)) is not None
    assert (
        verifier.refusal("enforcement", record(KEY, VALUE, unsigned("enforcement", KEY, VALUE, [])))
        == "it is not signed"
    )


@pytest.mark.parametrize(
    ("topic", "key", "value", "may"),
    [
        ("enforcement", KEY, VALUE, True),
        ("enforcement", KEY, None, True),
        ("enforcement", b"ip:manual:192.0.2.7", None, True),  # what is over is cleared away; see the age of tombstones
        ("enforcement", b"ip:manual:192.0.2.7", VALUE, False),
        ("settings", b"allow:ip:192.0.2.7", VALUE, False),
        ("settings", b"allow:ip:192.0.2.7", None, False),
        ("enforcement", b"nonsense", VALUE, False),
        ("enforcement", b"\xff:\xff:", VALUE, False),
    ],
)
def test_rules_decide_and_people_may_do_everything(
    keys: dict[Role, Signer], verifier: Verifier, topic: str, key: bytes, value: bytes | None, may: bool
) -> None:
    of_detect = verifier.refusal(topic, record(key, value, keys["detect"](topic, key, value, [])))
    assert of_detect == (None if may else "a key of the role detect may not")
    assert verifier.refusal(topic, record(key, value, keys["operator"](topic, key, value, []))) is None


def test_a_key_is_used_under_its_own_name_only(keys: dict[Role, Signer], verifier: Verifier) -> None:
    for name in ("operator-1", "operator-2"):
        forged = Signer(name, keys["detect"].key)("enforcement", KEY, VALUE, [])
        assert verifier.refusal("enforcement", record(KEY, VALUE, forged)) is not None


def test_a_new_key_is_its_owners_and_is_trusted_as_told(tmp_path: Path) -> None:
    trusted = new_key(tmp_path / "hana-2026.pem", "operator")
    assert (tmp_path / "hana-2026.pem").stat().st_mode & 0o777 == 0o600
    with pytest.raises(FileExistsError):
        new_key(tmp_path / "hana-2026.pem", "operator")
    (tmp_path / "trusted.toml").write_text(trusted)
    signed = Signer.read(tmp_path / "hana-2026.pem")("settings", KEY, None, [("actor", b"operator:hana")])
    assert Verifier.read(tmp_path / "trusted.toml").refusal("settings", record(KEY, None, signed)) is None


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "names no key"),
        ("x", "is no list of trusted keys"),
        ("[a]\nrole = 'detect'", "needs role"),
        ("[a]\nrole = 'boss'\npublic = ''", "needs role"),
        ("[a]\nrole = 'detect'\npublic = '?'", "is no list of trusted keys"),
        (f"[a]\nrole = 'detect'\npublic = '{base64.b64encode(b'x').decode()}'", "is no list of trusted keys"),
        ("['a b']\nrole = 'detect'\npublic = ''", "is no name of a key"),
        ("a = 1", "needs role"),
    ],
)
def test_a_wrong_list_of_keys_is_refused_with_the_reason(tmp_path: Path, text: str, why: str) -> None:
    (tmp_path / "trusted.toml").write_text(text)
    with pytest.raises(SettingsError, match=why):
        Verifier.read(tmp_path / "trusted.toml")


def test_what_is_no_key_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="is no private key"):
        Signer.read(tmp_path / "missing.pem")
    (tmp_path / "bad.pem").write_bytes(b"\xff")
    with pytest.raises(SettingsError, match="is no private key"):
        Signer.read(tmp_path / "bad.pem")
    with pytest.raises(SettingsError, match="is no name of a key"):
        new_key(tmp_path / "a key.pem", "detect")


@given(st.binary(max_size=40))
def test_the_age_of_a_tombstone_is_what_it_says_or_none(at: bytes) -> None:
    assert lifted_at(record(KEY, None, [("at", at)])) >= 0 or b"-" in at
    assert lifted_at(record(KEY, None, [("at", b"2026-11-24T01:00:00+00:00")])) == 1795482000.0
