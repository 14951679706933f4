"""Who can be restricted or allowed: names that somebody can have, and whom a restriction is about."""

from collections.abc import Iterable

from pipeline.networks import Network, Subject, parse_network, parse_subject
from schemas.enforcement import split_key
from schemas.kinds import COUNTRIES, SUBJECT_KINDS, SubjectKind


def named_subject(text: str, kind: SubjectKind | None = None) -> Subject:
    """As ``parse_subject``, for what is to be restricted or allowed: somebody or something that there can be.

    Raises ValueError also for patterns, which are no names and would never match, and for codes of no country.
    """
    kind, name = parse_subject(text, kind)
    account = name.rpartition("|")[0] if kind == "account_ip" else name if kind == "account" else None
    if account is not None:
        check_account(account)
    if kind == "country":
        check_country(name)
    return kind, name


def check_account(name: str) -> None:
    """Raises ValueError if it is a pattern or a domain, and so no account."""
    local, at, domain = name.rpartition("@")
    if "*" in name or (at and not (local and domain)):
        raise ValueError(
            f"{name[:64]!r} is no account; there are no patterns, nor whole domains: name each account, or where"
            " the trouble comes from (an address, a prefix, a country)"
        )


def check_country(code: str) -> None:
    """Raises ValueError if no country has that ISO 3166 code."""
    if code not in COUNTRIES:
        raise ValueError(f"{code[:64]!r} is no ISO 3166 code such as JP")


def is_same(subject: Subject, wanted: Subject) -> bool:
    """Whether what holds for ``subject`` is about ``wanted``: the same, or the /64 of a wanted IPv6 address."""
    outer, inner = _network_of(subject), _network_of(wanted)
    if outer is None or inner is None:
        return _canonical(subject) == wanted
    return outer == inner or (inner.length == 128 and outer.length == 64 and outer.covers(inner))


def concerns(subject: Subject, wanted: Subject) -> bool:
    """Whether it is of interest to who asks for ``wanted``: the same, a network around it, or a part of it."""
    outer, inner = _network_of(subject), _network_of(wanted)
    if outer is not None and inner is not None:
        return outer.covers(inner)
    if subject[0] == "account_ip":
        account, _, address = subject[1].rpartition("|")
        if concerns(("account", account), wanted) or concerns(("ip", address), wanted):
            return True
    return _canonical(subject) == wanted


class Concerning:
    """Subjects, of which it is asked many times whether one of them ``concerns`` another."""

    def __init__(self, subjects: Iterable[Subject]) -> None:
        self._names: set[Subject] = set()
        self._networks: dict[tuple[int, int], set[int]] = {}
        for kind, name in subjects:
            self._add((kind, name))
            if kind == "account_ip":
                account, _, address = name.rpartition("|")
                self._add(("account", account))
                self._add(("ip", address))

    def _add(self, subject: Subject) -> None:
        self._names.add(_canonical(subject))
        if (network := _network_of(subject)) is not None:
            self._networks.setdefault(network[:2], set()).add(network.value)

    def __contains__(self, wanted: Subject) -> bool:
        """Does one concern it?"""
        inner = _network_of(wanted)
        return wanted in self._names or (
            inner is not None
            and any(
                bits == inner.bits and length <= inner.length and inner.value >> (inner.length - length) in values
                for (bits, length), values in self._networks.items()
            )
        )


def subject_of_key(key: str) -> Subject | None:
    """Of a key of ``enforcement`` (``kind:rule:subject``) or ``settings`` (``allow:kind:subject``); None if none."""
    try:
        first, second, subject = split_key(key)
    except ValueError:
        return None
    kind = second if first == "allow" else first
    return (kind, subject) if kind in SUBJECT_KINDS else None


def _canonical(subject: Subject) -> Subject:
    """As ``parse_subject`` writes it: others may have written it in another way."""
    try:
        return parse_subject(subject[1], subject[0])
    except ValueError:
        return subject


def _network_of(subject: Subject) -> Network | None:
    if subject[0] not in {"ip", "prefix"}:
        return None
    try:
        return parse_network(subject[1])
    except ValueError:
        return None
