"""The agent's table: which decisions hold for a client, answered from memory. Pure; the time is an argument.

Precedence: allowlist > manual decision > automatic decision. What is allowed by any of its account, address, prefix
or country is not restricted. Decisions in shadow mode are found only where no enforced one holds, and marked.

A hook never obeys ``notify`` (it is for people) nor a decision about the whole system: one message must not be able
to stop all mail.
"""

from collections.abc import Callable, Iterable, Iterator
from heapq import heapify, heappop, heappush
from typing import Any, Final, Generic, Literal, NamedTuple, TypeVar

from pipeline.enforce.terms import Held, Terms, held_of
from pipeline.networks import Address, Network, parse_address, parse_network
from schemas.enforcement import Decision, split_key
from schemas.kinds import SUBJECT_KINDS, Action, Mode, SubjectKind
from schemas.setting import Setting

Purpose = Literal["send", "login"]
CountryOf = Callable[[str], str]
"""Address -> ISO 3166 code, "" if unknown."""

MANUAL: Final = "manual"
STRENGTH: Final[dict[Purpose, tuple[Action, ...]]] = {
    "send": ("reject", "deny_login", "defer", "hold", "limit", "require_from_match", "route"),
    "login": ("deny_login", "reject", "delay_login", "challenge"),
}
"""What each purpose obeys, strongest first. ``deny_login`` reaches sending only with scope ``both``."""

_RANK = {purpose: {action: rank for rank, action in enumerate(order)} for purpose, order in STRENGTH.items()}
_LOGIN_ACTIONS: Final = frozenset({"deny_login", "delay_login", "challenge"})
_MAX_SUBJECT = 1024
_MAX_SHARED = 10_000


def no_country(address: str) -> str:
    """The look-up of a provider without a GeoIP file."""
    del address
    return ""


class Verdict(NamedTuple):
    """Decisions that hold, strongest first; never empty. All are in shadow mode, or none."""

    held: tuple[Held, ...]
    shadow: bool


T = TypeVar("T")


class _BySubject(Generic[T]):
    """Values by account, network of any length, country, and account with address."""

    def __init__(self) -> None:
        self.names: dict[SubjectKind, dict[str, T]] = {"account": {}, "country": {}, "account_ip": {}, "system": {}}
        self.networks: dict[int, dict[int, dict[int, T]]] = {32: {}, 128: {}}

    def place(self, kind: SubjectKind, subject: str) -> tuple[dict[Any, T], str | int]:
        """Where the value of a subject is kept. Raises ValueError if it is no subject of that kind."""
        if not 0 < len(subject) <= _MAX_SUBJECT:
            raise ValueError(f"a subject has 1 to {_MAX_SUBJECT} characters, not {len(subject)}")
        if kind in {"ip", "prefix"}:
            network = parse_network(subject)
            return self.networks[network.bits].setdefault(network.length, {}), network.value
        if kind == "account_ip":
            account, _, source = subject.rpartition("|")
            return self.names[kind], _account_ip(account.lower(), parse_network(source))
        return self.names[kind], subject.upper() if kind == "country" else subject.lower()

    def find(self, account: str, address: Address | None, text: str, country_of: CountryOf) -> list[T]:
        """Values of everything that the client is."""
        found = []
        if account and (value := self.names["account"].get(account)) is not None:
            found.append(value)
        if address is None:
            return found
        for length, values in self.networks[address.bits].items():
            if (value := values.get(address.value >> (address.bits - length))) is not None:
                found.append(value)
        if account and (pairs := self.names["account_ip"]):
            for network in _sources(address):
                if (value := pairs.get(_account_ip(account, network))) is not None:
                    found.append(value)
        if (countries := self.names["country"]) and (value := countries.get(country_of(text))) is not None:
            found.append(value)
        return found

    def values(self) -> Iterator[T]:
        """Every value."""
        for by_name in self.names.values():
            yield from by_name.values()
        for by_length in self.networks.values():
            for by_network in by_length.values():
                yield from by_network.values()


class DecisionTable:
    """Decisions and the allowlist. About 480 bytes a decision (bench/policy.py measures a million)."""

    def __init__(self) -> None:
        self.count: dict[Mode, int] = {"enforce": 0, "shadow": 0}
        self.allow_entries = 0
        self.changes = 0
        self._decisions: _BySubject[Held | tuple[Held, ...]] = _BySubject()
        self._allowed: _BySubject[Setting] = _BySubject()
        self._due: list[Held] = []
        self._shared: dict[Terms, Terms] = {}

    def apply(self, key: str, decision: Decision | None) -> bool:
        """Takes one message of ``enforcement``; None is the tombstone. False if it changed nothing.

        A decision replaces the one with its key unless that one was issued later. Raises ValueError for a key or a
        decision that cannot be obeyed: it is then as if the message had not come.
        """
        if decision is None:
            kind, rule, subject = _split(key)
            return self._drop(kind, rule, subject)
        if decision.key != key:
            raise ValueError(f"the key {key[:200]!r} is not that of the decision, {decision.key[:200]!r}")
        return self.restore(held_of(decision))

    def restore(self, held: Held) -> bool:
        """As ``apply``, for a decision that the table itself has handed out before."""
        if not held.terms.except_sources and len(self._shared) < _MAX_SHARED:
            held.terms = self._shared.setdefault(held.terms, held.terms)
        values, place = self._decisions.place(held.terms.kind, held.subject)
        others = []
        for known in _each(values.get(place)):
            if (known.terms.kind, known.terms.rule) != (held.terms.kind, held.terms.rule):
                others.append(known)
            elif known.issued_at > held.issued_at or _same(known, held):
                return False
            else:
                self._end(known)
        values[place] = (*others, held) if others else held
        self.count[held.terms.mode] += 1
        self.changes += 1
        heappush(self._due, held)
        return True

    def allow(self, key: str, setting: Setting | None) -> bool:
        """Takes one message of ``settings``, as ``apply`` does for ``enforcement``. Raises ValueError."""
        kind, subject = _split_allow(key)
        if setting is not None and setting.key != key:
            raise ValueError(f"the key {key[:200]!r} is not that of the setting, {setting.key[:200]!r}")
        values, place = self._allowed.place(kind, subject)
        known = values.get(place)
        if setting is None:
            values.pop(place, None)
        elif known is None or known.issued_at <= setting.issued_at:
            values[place] = setting
        self.allow_entries += (place in values) - (known is not None)
        self.changes += values.get(place) != known
        return values.get(place) != known

    def lookup(
        self,
        purpose: Purpose,
        now: float,
        *,
        account: str = "",
        address: str = "",
        protocol: str = "smtp",
        country_of: CountryOf = no_country,
    ) -> Verdict | None:
        """What holds for a client at ``now`` (seconds since 1970 UTC); None: nothing.

        ``account`` in lower case. An ``address`` that is none (Postfix writes ``unknown``) is as if it was not given.
        """
        try:
            client = parse_address(address) if address else None
        except ValueError:
            client = None
        found = self._decisions.find(account, client, address, country_of)
        if not found:
            return None
        ranks = _RANK[purpose]
        held = [h for some in found for h in _each(some) if _holds(h, purpose, now, protocol, client)]
        if not held or self._is_allowed(account, client, address, now, country_of):
            return None
        enforced = [h for h in held if h.terms.mode == "enforce"]
        chosen = enforced or held
        chosen = [h for h in chosen if h.terms.rule == MANUAL] or chosen
        chosen.sort(key=lambda h: (ranks[h.terms.action], -h.terms.seconds, -h.expires_at, h.text))
        return Verdict(tuple(chosen), not enforced)

    def expire(self, now: float, most: int = 10_000) -> int:
        """Forgets at most ``most`` decisions whose time is over; returns how many. To be called every second or so."""
        dropped = 0
        due = self._due
        while due and dropped < most and (due[0].expires_at <= now or not due[0].live):
            held = heappop(due)
            if held.live:
                dropped += self._drop(held.terms.kind, held.terms.rule, held.subject)
        if len(due) > 2 * len(self) + 1024:
            self._due = [held for held in due if held.live]
            heapify(self._due)
        return dropped

    def __len__(self) -> int:
        return self.count["enforce"] + self.count["shadow"]

    def decisions(self) -> list[Held]:
        """A quick copy, in no order; some may not be ``live`` any more."""
        return self._due.copy()

    def allowlist(self) -> list[Setting]:
        """Every allowlist entry."""
        return list(self._allowed.values())

    def take(self, other: "DecisionTable", *, decisions: bool, allowlist: bool) -> None:
        """Replaces the decisions, the allowlist or both by those of ``other``, which is of no further use."""
        self.changes += 1
        if decisions:
            self._decisions, self._due, self.count = other._decisions, other._due, other.count
            self._shared = other._shared
        if allowlist:
            self._allowed, self.allow_entries = other._allowed, other.allow_entries

    def _drop(self, kind: SubjectKind, rule: str, subject: str) -> bool:
        values, place = self._decisions.place(kind, subject)
        known = _each(values.get(place))
        others = tuple(h for h in known if (h.terms.kind, h.terms.rule) != (kind, rule))
        if len(others) == len(known):
            return False
        for held in known:
            if held not in others:
                self._end(held)
        if others:
            values[place] = others
        else:
            del values[place]
        return True

    def _end(self, held: Held) -> None:
        held.live = False
        self.changes += 1
        self.count[held.terms.mode] -= 1

    def _is_allowed(self, account: str, client: Address | None, text: str, now: float, country_of: CountryOf) -> bool:
        if not self.allow_entries:
            return False
        entries = self._allowed.find(account, client, text, country_of)
        return any(e.expires_at is None or e.expires_at.timestamp() > now for e in entries)


def _each(slot: Held | tuple[Held, ...] | None) -> tuple[Held, ...]:
    """Most subjects have one decision, and a tuple around each would cost 64 bytes."""
    if slot is None:
        return ()
    return slot if isinstance(slot, tuple) else (slot,)


def _holds(held: Held, purpose: Purpose, now: float, protocol: str, client: Address | None) -> bool:
    terms = held.terms
    if held.expires_at <= now or terms.scope not in {purpose, "both"} or terms.action not in _RANK[purpose]:
        return False
    if terms.protocols and protocol not in terms.protocols:
        return False
    if terms.except_sources and (purpose == "login" or terms.action in _LOGIN_ACTIONS):
        return client is None or not any(parse_network(s).holds(client) for s in terms.except_sources)
    return True


def _same(one: Held, other: Held) -> bool:
    return one.text == other.text and one.expires_at == other.expires_at and one.terms == other.terms


def _sources(address: Address) -> Iterable[Network]:
    """How the address may be written in an ``account_ip``: itself, and the /64 of an IPv6 address."""
    yield Network(address.bits, address.bits, address.value)
    if address.bits == 128:
        yield Network(128, 64, address.value >> 64)


def _account_ip(account: str, network: Network) -> str:
    return f"{account}|{network.length}/{network.value:x}"


def _split(key: str) -> tuple[SubjectKind, str, str]:
    try:
        kind, rule, subject = split_key(key)
    except ValueError:
        raise ValueError(f"{key[:200]!r} is no key, kind:rule:subject") from None
    if kind not in SUBJECT_KINDS:
        raise ValueError(f"{key[:200]!r}: there is no kind of subject {kind!r}")
    return kind, rule, subject


def _split_allow(key: str) -> tuple[SubjectKind, str]:
    word, _, rest = key.partition(":")
    kind, colon, subject = rest.partition(":")
    if word != "allow" or not colon or kind not in SUBJECT_KINDS:
        raise ValueError(f"{key[:200]!r} is no key of the allowlist, allow:kind:subject")
    return kind, subject
