"""Addresses and prefixes as integers: fast to look up, and every spelling of one address is the same number.

Also what people type for a subject, and values that are found by their subject.
"""

import ipaddress
import socket
from collections.abc import Callable, Iterable, Iterator
from functools import lru_cache
from typing import Any, Final, Generic, NamedTuple, TypeVar

import msgspec

from schemas.kinds import SubjectKind

Subject = tuple[SubjectKind, str]

CountryOf = Callable[[str], str]
"""Address -> ISO 3166 code, "" if unknown."""

T = TypeVar("T")

V4_MAPPED = bytes(10) + b"\xff\xff"  # RFC 4291, 2.5.5.2
_MAX_SUBJECT: Final = 1024


class Address(NamedTuple):
    """``bits`` is 32 or 128. An IPv4-mapped IPv6 address is the IPv4 address."""

    bits: int
    value: int


class Network(NamedTuple):
    """The leading ``length`` bits of an address of ``bits`` bits, right-aligned in ``value``."""

    bits: int
    length: int
    value: int

    def holds(self, address: Address) -> bool:
        """Whether the address is in this network."""
        return address.bits == self.bits and address.value >> (self.bits - self.length) == self.value

    def covers(self, other: "Network") -> bool:
        """Whether every address of ``other`` is in this network."""
        return (
            self.bits == other.bits
            and self.length <= other.length
            and other.value >> (other.length - self.length) == self.value
        )

    def __str__(self) -> str:
        """An address where all bits are given, else CIDR."""
        number = self.value << (self.bits - self.length)
        text = str(ipaddress.IPv4Address(number) if self.bits == 32 else ipaddress.IPv6Address(number))
        return text if self.length == self.bits else f"{text}/{self.length}"


class OurHosts(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Our own hosts (``[trusted]`` of a rules file): nobody's origin. ``hosts``: addresses and prefixes; ``webmail``:
    addresses whose unauthenticated mail belongs to its sender."""

    hosts: list[str] = []
    webmail: list[str] = []

    def webmails(self) -> frozenset[str]:
        """``webmail`` in canonical form. Raises ValueError."""
        return frozenset(str(ipaddress.ip_address(text)) for text in self.webmail)

    def predicate(self) -> Callable[[str], bool]:
        """Is a canonical address one of ours? Raises ValueError."""
        networks = [ipaddress.ip_network(text) for text in (*self.hosts, *self.webmail)]
        by_mask: dict[bool, dict[int, set[int]]] = {False: {}, True: {}}
        for n in networks:
            by_mask[n.version == 6].setdefault(int(n.netmask), set()).add(int(n.network_address))

        def is_ours(address: str) -> bool:
            is_v6 = ":" in address
            packed = socket.inet_pton(socket.AF_INET6 if is_v6 else socket.AF_INET, address)
            number = int.from_bytes(packed, "big")
            return any(number & mask in ours for mask, ours in by_mask[is_v6].items())

        return is_ours


def no_country(address: str) -> str:
    """The look-up of a provider without a GeoIP file."""
    del address
    return ""


def ipv6_text(packed: bytes) -> str:
    """16 bytes -> the address as RFC 5952 writes it; what holds an IPv4 address is written in hexadecimal, too."""
    text = socket.inet_ntop(socket.AF_INET6, packed)  # several times as fast as ipaddress
    return text if "." not in text else str(ipaddress.IPv6Address(packed))


def parse_address(text: str) -> Address:
    """IPv4 or IPv6 address, any valid spelling. Raises ValueError."""
    if ":" not in text:
        return Address(32, _ipv4(text))
    try:
        packed = socket.inet_pton(socket.AF_INET6, text)
    except OSError:
        raise ValueError(f"{text[:64]!r} is no IP address") from None
    if packed.startswith(V4_MAPPED):
        return Address(32, int.from_bytes(packed[12:], "big"))
    return Address(128, int.from_bytes(packed, "big"))


def _ipv4(text: str) -> int:
    try:
        return int.from_bytes(socket.inet_pton(socket.AF_INET, text), "big")
    except OSError:
        raise ValueError(f"{text[:64]!r} is no IP address") from None


@lru_cache(maxsize=1 << 14)
def parse_network(text: str) -> Network:
    """Address or CIDR; host bits are cut off. Raises ValueError."""
    base, slash, length_text = text.partition("/")
    bits, value = parse_address(base)
    if not slash:
        return Network(bits, bits, value)
    if not (length_text.isascii() and length_text.isdigit() and int(length_text) <= bits):
        raise ValueError(f"{text[:64]!r} is no prefix: the length must be 0 to {bits}")
    length = int(length_text)
    return Network(bits, length, value >> (bits - length))


@lru_cache(maxsize=1 << 16)
def network(address: str) -> str:
    """Canonical address -> what counts as one source: the IPv4 address, or the IPv6 /64 as CIDR. ValueError if none."""
    if ":" not in address:
        return address
    try:
        packed = socket.inet_pton(socket.AF_INET6, address)
    except OSError:
        raise ValueError(f"{address[:64]!r} is no IP address") from None
    return f"{ipv6_text(packed[:8] + bytes(8))}/64"


def parse_subject(text: str, kind: SubjectKind | None = None) -> Subject:
    """What people type -> (kind, the one way to write it). Without ``kind`` the form decides.

    ``user@domain`` is an account, ``198.51.100.7`` an ip, ``2001:db8::/48`` a prefix, ``RU`` a country (two capital
    letters), ``user@domain|198.51.100.7`` an account_ip. Raises ValueError for anything else.
    """
    text = text.strip()
    if not text or not text.isprintable():
        raise ValueError("the subject is empty or holds characters that cannot be printed")
    kind = kind or _kind_of(text)
    if kind == "account":
        return kind, text.lower()
    if kind in {"ip", "prefix"}:
        return kind, str(parse_network(text))
    if kind == "country":
        if not (len(text) == 2 and text.isascii() and text.isalpha()):
            raise ValueError(f"{text!r} is no ISO 3166 code such as JP")
        return kind, text.upper()
    if kind == "account_ip":
        account, bar, source = text.rpartition("|")
        if not (bar and account):
            raise ValueError(f"{text!r} is not of the form account|address")
        return kind, f"{account.lower()}|{parse_network(source)}"
    raise ValueError(f"{kind} cannot be restricted or allowed")


def _kind_of(text: str) -> SubjectKind:
    if "|" in text:
        return "account_ip"
    if "@" in text:
        return "account"
    if len(text) == 2 and text.isascii() and text.isalpha() and text.isupper():
        return "country"
    try:
        parse_network(text)
    except ValueError:
        raise ValueError(
            f"{text[:64]!r} is no account (user@domain), address, prefix, country (two capitals) or account|address;"
            " for an account without a domain say so with --kind account"
        ) from None
    return "prefix" if "/" in text else "ip"


class BySubject(Generic[T]):
    """Values by account, network of any length, country, and account with address.

    Every spelling of a subject is one place. A look-up asks once for each length of prefix that is there, however many
    values there are.
    """

    def __init__(self) -> None:
        self._names: dict[SubjectKind, dict[str, T]] = {"account": {}, "country": {}, "account_ip": {}, "system": {}}
        self._padded: dict[str, T] = {}  # accounts with a space before or behind, which people type without
        self._networks: dict[int, dict[int, dict[int, T]]] = {32: {}, 128: {}}

    def place(self, kind: SubjectKind, subject: str) -> tuple[dict[Any, T], str | int]:
        """Where the value of a subject is kept. Raises ValueError if it is no subject of that kind."""
        if not 0 < len(subject) <= _MAX_SUBJECT:
            raise ValueError(f"a subject has 1 to {_MAX_SUBJECT} characters, not {len(subject)}")
        if kind == "account":
            return self._names["account"] if subject.strip() == subject else self._padded, subject.lower()
        if kind in {"ip", "prefix"}:
            if "/" not in subject and ":" not in subject:  # most are; a million of them are of no use in a cache
                return self._networks[32].setdefault(32, {}), _ipv4(subject)
            network = parse_network(subject)
            return self._networks[network.bits].setdefault(network.length, {}), network.value
        if kind == "account_ip":
            account, _, source = subject.rpartition("|")
            return self._names[kind], _account_ip(account.lower(), parse_network(source))
        return self._names[kind], subject.upper() if kind == "country" else subject.lower()

    def get(self, kind: SubjectKind, subject: str) -> T | None:
        """The value of one subject, if it has any; changes nothing, so that any thread may ask. Raises ValueError."""
        if kind in {"ip", "prefix"}:
            network = parse_network(subject)
            return self._networks[network.bits].get(network.length, {}).get(network.value)
        values, place = self.place(kind, subject)
        return values.get(place)

    def find(self, account: str, address: Address | None, text: str, country_of: CountryOf) -> list[T]:
        """Values of everything that a client is. ``account`` in lower case, "" if unknown; ``text``: the address."""
        found = []
        if account and (value := self.named("account", account)) is not None:
            found.append(value)
        if address is None:
            return found
        for length, values in self._networks[address.bits].items():
            if (value := values.get(address.value >> (address.bits - length))) is not None:
                found.append(value)
        if account and (pairs := self._names["account_ip"]):
            for network in _sources(address):
                if (value := pairs.get(_account_ip(account, network))) is not None:
                    found.append(value)
        if (countries := self._names["country"]) and (value := countries.get(country_of(text))) is not None:
            found.append(value)
        return found

    def named(self, kind: SubjectKind, name: str) -> T | None:
        """The value of an account (in lower case) or a country (in capitals) itself."""
        value = self._names[kind].get(name)
        return self._padded.get(name) if value is None and self._padded and kind == "account" else value

    def number(self, kind: SubjectKind) -> int:
        """Of an account, a country ...: how many there are of that kind (networks are not told apart)."""
        return len(self._names[kind]) + (len(self._padded) if kind == "account" else 0)

    def about(self, kind: SubjectKind, name: str) -> list[T]:
        """Values of all that may ``concern`` a subject (see ``subjects``), and of some that do not: an account and a
        network are looked up, and what people rarely restrict is there whole."""
        pairs = self._names["account_ip"].values()
        if kind == "account":
            one = self._names[kind].get(name.lower())
            return [*(() if one is None else (one,)), *self._padded.values(), *pairs]
        if kind in {"ip", "prefix"}:
            try:
                return [*self.around(parse_network(name)), *pairs]
            except ValueError:
                return []
        return list(self._names[kind].values())

    def around(self, network: Network) -> list[T]:
        """Values of the networks that hold this one."""
        return [
            value
            for length, values in self._networks[network.bits].items()
            if length <= network.length
            and (value := values.get(network.value >> (network.length - length))) is not None
        ]

    def clear(self) -> None:
        """Removes all, one by one: at once a million would hold up every thread."""
        every: list[dict[Any, T]] = [*self._names.values(), self._padded]
        for by_length in self._networks.values():
            every += by_length.values()
        for values in every:
            while values:
                values.popitem()

    def values(self) -> Iterator[T]:
        """Every value."""
        for by_name in self._names.values():
            yield from by_name.values()
        yield from self._padded.values()
        for by_length in self._networks.values():
            for by_network in by_length.values():
                yield from by_network.values()


def _sources(address: Address) -> Iterable[Network]:
    """How the address may be written in an ``account_ip``: itself, and the /64 of an IPv6 address."""
    yield Network(address.bits, address.bits, address.value)
    if address.bits == 128:
        yield Network(128, 64, address.value >> 64)


def _account_ip(account: str, network: Network) -> str:
    return f"{account}|{network.length}/{network.value:x}"
