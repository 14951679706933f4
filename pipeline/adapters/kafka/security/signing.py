"""Who said so: messages on ``enforcement`` and ``settings`` are signed, and those of strangers are not obeyed.

A signature (Ed25519, RFC 8032) is a header of the message, so that its value stays what it is for every reader. It
covers the topic, the key, the value or that there is none, and the other headers, so that none can be used with
another. A key has a name and a role: ``detect`` decides by rules and clears away what is over; ``operator`` may do
everything. Several keys of a role may be trusted at once: a new one is trusted everywhere before it is used, and the
old one is taken out when nothing that it signed holds any more.

What a signature does not tell is that a message is new, see ``pipeline.detect.standing``. Nor does it tell of which
installation it is: each has its own keys.
"""

import base64
import binascii
import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal, NamedTuple, get_args

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from pipeline.ports import Headers, Record
from pipeline.settings import SettingsError
from schemas.enforcement import MANUAL, OVER, SIGNATURE, split_key
from schemas.topics import ENFORCEMENT

Role = Literal["detect", "operator"]
ROLES: Final[tuple[Role, ...]] = get_args(Role)
NAME: Final = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-"


class Refusal(NamedTuple):
    """Why a message is not obeyed. ``reason``: one word, for counting; ``why``: for people."""

    reason: Literal["unsigned", "signed_twice", "unknown_key", "wrong_signature", "role"]
    why: str


@dataclass(frozen=True)
class Signer:
    """Signs with one key."""

    name: str
    key: Ed25519PrivateKey

    def __call__(self, topic: str, key: bytes, value: bytes | None, headers: Headers) -> Headers:
        """The headers to send a message with. ``topic``: its name without a prefix."""
        signature = self.key.sign(signed_bytes(topic, key, value, headers))
        return [*headers, (SIGNATURE, self.name.encode() + b" " + base64.b64encode(signature))]

    @classmethod
    def read(cls, path: Path) -> "Signer":
        """A file with an Ed25519 key as PEM (PKCS 8); the name of the key is the file's, without its ending.

        Raises SettingsError.
        """
        try:
            key = serialization.load_pem_private_key(path.read_bytes(), None)
        except (OSError, ValueError, TypeError, UnsupportedAlgorithm) as error:
            why = error.strerror if isinstance(error, OSError) else error
            raise SettingsError(f"{path} is no private key: {why}; make one with: sekimori keys new") from None
        if not isinstance(key, Ed25519PrivateKey):
            raise SettingsError(f"{path} is no Ed25519 key; make one with: sekimori keys new")
        return cls(_named(path.stem, str(path)), key)


@dataclass(frozen=True)
class Verifier:
    """Knows whom to believe. ``keys``: by name, the role and the public key."""

    keys: Mapping[str, tuple[Role, Ed25519PublicKey]]

    def refusal(self, record: Record) -> Refusal | None:
        """Why a message is not to be obeyed; None if it is."""
        headers = [(name, value) for name, value in record.headers if name != SIGNATURE]
        told = [value for name, value in record.headers if name == SIGNATURE]
        if not told:
            return Refusal("unsigned", "it is not signed")
        if len(told) > 1:
            return Refusal("signed_twice", "it is signed more than once")
        name, _, text = told[0].partition(b" ")
        known = self.keys.get(name.decode("ascii", "replace"))
        if known is None:
            shown = name[:80].decode("ascii", "backslashreplace")
            return Refusal("unknown_key", f"it is signed with a key that is not trusted: {shown}")
        role, key = known
        try:
            content = signed_bytes(record.topic, record.key or b"", record.value, headers)
            key.verify(base64.b64decode(text, validate=True), content)
        except (InvalidSignature, binascii.Error, ValueError):
            return Refusal("wrong_signature", "its signature is not right")
        if role == "operator" or _may_detect(record):
            return None
        return Refusal("role", f"a key of the role {role} may not")

    def why_mute(self, signer: Signer) -> str:
        """Why nothing would be obeyed that is signed with this key; "" if it would."""
        known = self.keys.get(signer.name)
        if known is None:
            return f"{signer.name} is not among the trusted keys"
        if known[1].public_bytes_raw() != signer.key.public_key().public_bytes_raw():
            return f"another key is trusted under the name {signer.name}"
        return ""

    @classmethod
    def read(cls, path: Path) -> "Verifier":
        """A file of TOML: a table for each key, ``[name]`` with ``role`` and ``public`` (base64).

        Raises SettingsError.
        """
        try:
            tables = tomllib.loads(path.read_text("utf-8"))
            keys = {_named(name, str(path)): _trusted(name, table) for name, table in tables.items()}
        except (OSError, ValueError) as error:
            raise SettingsError(f"{path} is no list of trusted keys: {error}") from None
        if not keys:
            raise SettingsError(f"{path} names no key: nothing would be obeyed; see: sekimori keys --help")
        return cls(keys)


def _may_detect(record: Record) -> bool:
    """Rules decide, and clear away what is over; what people decide, and whom they allow, is theirs."""
    try:
        _, rule, _ = split_key((record.key or b"").decode())
    except ValueError:
        return False
    if record.topic != ENFORCEMENT.name:
        return False
    return any(name == OVER for name, _ in record.headers) if record.value is None else rule != MANUAL


def _trusted(name: str, table: object) -> tuple[Role, Ed25519PublicKey]:
    if not isinstance(table, dict) or set(table) != {"role", "public"} or table["role"] not in ROLES:
        raise ValueError(f"[{name}] needs role = {' or '.join(ROLES)}, and public")
    return table["role"], Ed25519PublicKey.from_public_bytes(base64.b64decode(str(table["public"]), validate=True))


def _named(name: str, where: str) -> str:
    if not name or len(name) > 80 or set(name) - set(NAME):
        raise SettingsError(f"{where}: {name!r} is no name of a key: letters, digits, dot, hyphen, underscore")
    return name


def new_key(path: Path, role: Role) -> str:
    """Writes a new private key, for its owner only; returns what is to be added to the trusted keys.

    Raises SettingsError (no such name), FileExistsError, OSError.
    """
    name, key = _named(path.stem, str(path)), Ed25519PrivateKey.generate()
    form = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(key.private_bytes(*form))
    return entry(Signer(name, key), role)


def entry(signer: Signer, role: Role) -> str:
    """What the file of trusted keys has of a key."""
    public = base64.b64encode(signer.key.public_key().public_bytes_raw()).decode()
    return f'["{signer.name}"]\nrole = "{role}"\npublic = "{public}"\n'


def signed_bytes(topic: str, key: bytes, value: bytes | None, headers: Headers) -> bytes:
    """What is signed: each piece with its length, so that no two messages have the same."""
    pieces = [b"sekimori 1", topic.encode(), key, b"-" if value is None else b"+" + value]
    for name, content in sorted(headers):
        pieces += [name.encode(), content]
    return b"".join(b"%d:%s" % (len(piece), piece) for piece in pieces)
