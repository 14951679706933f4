"""Whose word counts: signatures over everything that a message says, roles, and files of keys."""

import base64
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.adapters.kafka.security.signing import Role, Signer, Verifier, entry, new_key, signed_bytes
from pipeline.ports import Record
from pipeline.settings import SettingsError
from schemas.enforcement import OVER, SIGNATURE

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


def record(topic: str, key: bytes, value: bytes | None, headers: Any) -> Record:
    return Record(topic, 0, 0, 0, key, value, tuple(headers))


def reason(verifier: Verifier, *message: Any) -> str | None:
    refusal = verifier.refusal(record(*message))
    return refusal.reason if refusal is not None else None


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
    assert reason(verifier, topic, key, value, signed) is None
    topic, key, value, headers = other
    (signature,) = (pair for pair in signed if pair[0] == SIGNATURE)
    refused = reason(verifier, topic, key, value, [*headers, signature])
    alike = (*one[:3], sorted(one[3])) == (*other[:3], sorted(other[3]))
    assert refused == (None if alike else "wrong_signature")


@given(st.lists(st.binary(max_size=120), max_size=3))
def test_whatever_stands_in_the_header_is_refused(verifier: Verifier, told: list[bytes]) -> None:
    headers = [(SIGNATURE, text) for text in (*told, b"operator-1 " + b"A" * 88)]
    assert reason(verifier, "enforcement", KEY, VALUE, headers) is not None
    assert reason(verifier, "enforcement", KEY, VALUE, []) == "unsigned"


@pytest.mark.parametrize(
    ("topic", "key", "value", "over", "may"),
    [
        ("enforcement", KEY, VALUE, False, True),
        ("enforcement", KEY, None, False, False),  # people lift
        ("enforcement", KEY, None, True, True),
        ("enforcement", b"ip:manual:192.0.2.7", None, True, True),  # what is over is cleared away
        ("enforcement", b"ip:manual:192.0.2.7", None, False, False),
        ("enforcement", b"ip:manual:192.0.2.7", VALUE, False, False),
        ("enforcement", b"ip:manual:192.0.2.7", VALUE, True, False),
        ("settings", b"allow:ip:192.0.2.7", VALUE, False, False),
        ("settings", b"allow:ip:192.0.2.7", None, True, False),
        ("enforcement", b"nonsense", VALUE, False, False),
        ("enforcement", b"\xff:\xff:", VALUE, False, False),
    ],
)
def test_rules_decide_and_people_may_do_everything(
    keys: dict[Role, Signer], verifier: Verifier, topic: str, key: bytes, value: bytes | None, over: bool, may: bool
) -> None:
    headers = [(OVER, b"1")] if over else []
    of_detect = reason(verifier, topic, key, value, keys["detect"](topic, key, value, headers))
    assert of_detect == (None if may else "role")
    assert reason(verifier, topic, key, value, keys["operator"](topic, key, value, headers)) is None


def test_a_key_is_used_under_its_own_name_only(keys: dict[Role, Signer], verifier: Verifier) -> None:
    for name in ("operator-1", "operator-2"):
        forged = Signer(name, keys["detect"].key)("enforcement", KEY, VALUE, [])
        assert reason(verifier, "enforcement", KEY, VALUE, forged) is not None
    assert verifier.why_mute(keys["detect"]) == ""
    assert "another key" in verifier.why_mute(Signer("operator-1", keys["detect"].key))
    assert "not among" in verifier.why_mute(Signer("operator-2", keys["detect"].key))


def test_a_new_key_is_its_owners_and_is_trusted_as_told(tmp_path: Path) -> None:
    trusted = new_key(tmp_path / "hana-2026.pem", "operator")
    assert (tmp_path / "hana-2026.pem").stat().st_mode & 0o777 == 0o600
    with pytest.raises(FileExistsError):
        new_key(tmp_path / "hana-2026.pem", "operator")
    (tmp_path / "trusted.toml").write_text(trusted)
    signer = Signer.read(tmp_path / "hana-2026.pem")
    assert entry(signer, "operator") == trusted
    signed = signer("settings", KEY, None, [("actor", b"operator:hana")])
    assert reason(Verifier.read(tmp_path / "trusted.toml"), "settings", KEY, None, signed) is None


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
