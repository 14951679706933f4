"""The agent's table: which decisions hold for a client, answered from memory. Pure; the time is an argument.

Precedence: allowlist > manual decision > automatic decision. What is allowed by any of its account, address, prefix
or country is not restricted. Decisions in shadow mode are found only where no enforced one holds, and marked.

A hook never obeys ``notify`` (it is for people) nor a decision about the whole system: one message must not be able
to stop all mail.
"""

from collections.abc import Generator, Iterable
from typing import Final, Literal, NamedTuple

from pipeline.detect.granted import Granted
from pipeline.detect.standing import Lifts, Told
from pipeline.enforce.due import Due
from pipeline.enforce.terms import LOGIN_ACTIONS, Restriction, Terms, restriction_of
from pipeline.networks import Address, BySubject, CountryOf, Subject, no_country, parse_address, parse_network
from schemas.enforcement import MANUAL, Decision, decision_key, split_key
from schemas.kinds import SUBJECT_KINDS, Action, Mode, SubjectKind
from schemas.setting import Setting

Purpose = Literal["send", "login"]
STRENGTH: Final[dict[Purpose, tuple[Action, ...]]] = {
    "send": ("reject", "deny_login", "defer", "hold", "limit", "require_from_match", "route"),
    "login": ("deny_login", "reject", "delay_login", "challenge"),
}
"""What each purpose obeys, strongest first. ``deny_login`` reaches sending only with scope ``both``."""

_RANK = {purpose: {action: rank for rank, action in enumerate(order)} for purpose, order in STRENGTH.items()}
_MAX_SHARED = 10_000


class Holding(NamedTuple):
    """The restrictions that hold for a client, strongest first; never empty. All are in shadow mode, or none."""

    restrictions: tuple[Restriction, ...]
    shadow: bool


class DecisionTable:
    """Decisions and the allowlist. About 480 bytes a decision (bench/policy.py measures a million)."""

    def __init__(self) -> None:
        self.count: dict[Mode, int] = {"enforce": 0, "shadow": 0}
        self.changes = 0
        self.taken = 0  # how often all decisions were replaced by others
        self._decisions: BySubject[Restriction | tuple[Restriction, ...]] = BySubject()
        self.granted = Granted()
        self._due = Due()
        self._lifts = Lifts()  # of signed messages only
        self._shared: dict[Terms, Terms] = {}

    def apply(self, key: str, decision: Decision | None, told: Told | None = None) -> bool:
        """Takes one message of ``enforcement``; None is the tombstone. False if it changed nothing.

        A decision replaces the one with its key unless that one was issued later. ``told``: of a signed tombstone, see
        ``standing``. Raises ValueError for a key or a decision that cannot be obeyed: it is then as if the message had
        not come.
        """
        if decision is None:
            kind, rule, subject = _split(key)
            if told is not None:
                known = self.find(key)
                if known is not None and known.issued_at > told.issued:
                    return False
                self._lifts.note(key, told)
            return self._drop(kind, rule, subject)
        if decision.key != key:
            raise ValueError(f"the key {key[:200]!r} is not that of the decision, {decision.key[:200]!r}")
        return self.restore(restriction_of(decision))

    def find(self, key: str) -> Restriction | None:
        """The decision with that key, if there is one. Any thread may ask. Raises ValueError, as ``apply``."""
        kind, rule, subject = _split(key)
        for known in _each(self._decisions.get(kind, subject)):
            if (known.terms.kind, known.terms.rule) == (kind, rule):
                return known
        return None

    def restore(self, new: Restriction) -> bool:
        """As ``apply``, for a restriction that the table itself has handed out before."""
        if self._lifts and self._lifts.cover(decision_key(new.terms.kind, new.terms.rule, new.subject), new.issued_at):
            return False
        new.terms = self.share(new.terms)
        values, place = self._decisions.place(new.terms.kind, new.subject)
        others = []
        for known in _each(values.get(place)):
            if (known.terms.kind, known.terms.rule) != (new.terms.kind, new.terms.rule):
                others.append(known)
            elif known.issued_at > new.issued_at or _same(known, new):
                return False
            else:
                self._end(known)
        values[place] = (*others, new) if others else new
        self.count[new.terms.mode] += 1
        self.changes += 1
        self._due.add_all((new,))
        return True

    def share(self, terms: Terms) -> Terms:
        """Equal terms, which many decisions have; for ``restore_all``."""
        if terms.except_sources or len(self._shared) >= _MAX_SHARED:
            return terms
        return self._shared.setdefault(terms, terms)

    def restore_all(self, restrictions: Iterable[Restriction]) -> list[str]:
        """As ``restore`` for each, in less time; their terms are ``share``d already. Returns why some were left out."""
        place_of, count, added, refused = self._decisions.place, self.count, [], []
        for new in restrictions:
            terms = new.terms
            try:
                values, place = place_of(terms.kind, new.subject)
                if place in values:
                    self.restore(new)
                    continue
            except ValueError as error:
                refused.append(str(error))
                continue
            values[place] = new
            count[terms.mode] += 1
            added.append(new)
        self._due.add_all(added)
        self.changes += len(added)
        return refused

    def allow(self, key: str, setting: Setting | None, told: Told | None = None) -> bool:
        """Takes one message of ``settings``, see ``Granted.apply``. Raises ValueError."""
        changed = self.granted.apply(key, setting, told)
        self.changes += changed
        return changed

    @property
    def allow_entries(self) -> int:
        """How many entries the allowlist has."""
        return len(self.granted)

    @property
    def about_countries(self) -> int:
        """How many countries are restricted: without a GeoIP file nobody is from there."""
        return self._decisions.number("country")

    def lookup(
        self,
        purpose: Purpose,
        now: float,
        *,
        account: str = "",
        address: str = "",
        protocol: str = "smtp",
        country_of: CountryOf = no_country,
    ) -> Holding | None:
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
        holding = [r for some in found for r in _each(some) if _holds(r, purpose, now, protocol, client)]
        if not holding or self.granted.covers_client(now, account, client, address, country_of):
            return None
        enforced = [r for r in holding if r.terms.mode == "enforce"]
        chosen = enforced or holding
        chosen = [r for r in chosen if r.terms.rule == MANUAL] or chosen
        chosen.sort(key=lambda r: (ranks[r.terms.action], -r.terms.seconds, -r.expires_at, r.text))
        return Holding(tuple(chosen), not enforced)

    def expire(self, now: float, most: int = 10_000) -> int:
        """Forgets at most ``most`` decisions whose time is over; returns how many. To be called every second or so."""
        self._lifts.expire(now)
        over = self._due.over(now, most)
        for restriction in over:
            self._drop(restriction.terms.kind, restriction.terms.rule, restriction.subject)
        if len(self._due) > 2 * len(self) + 1024:
            self._due.forget_dead()
        return len(over)

    def __len__(self) -> int:
        return self.count["enforce"] + self.count["shadow"]

    def decisions(self) -> list[Restriction]:
        """All of them, in no order."""
        return [r for part in self.parts() for r in part]

    def parts(self, size: int = 1_000) -> Generator[list[Restriction]]:
        """The same, about ``size`` at a time; between two parts the table may change, and what comes or is renewed
        meanwhile is there, too, perhaps twice."""
        return self._due.parts(size)

    def about(self, subject: Subject, size: int = 1_000) -> Generator[list[Restriction]]:
        """All that may ``concern`` a subject (see ``subjects``) as it is when the first are taken, and some that do
        not; about ``size`` at a time."""
        found = self._decisions.about(*subject)
        for start in range(0, len(found), size):
            yield [r for some in found[start : start + size] for r in _each(some)]

    def hidden(self, now: float, size: int = 1_000) -> Generator[list[Restriction]]:
        """Those that are over at ``now`` and not yet forgotten, at most ``size`` at a time."""
        return self._due.hidden(now, size)

    def allowlist(self) -> list[Setting]:
        """Every allowlist entry."""
        return self.granted.entries()

    def take(self, other: "DecisionTable", *, decisions: bool, allowlist: bool) -> None:
        """Replaces the decisions, the allowlist or both by those of ``other``, which has those of this one then.

        To let go of a million takes a while, see ``clear``.
        """
        self.changes += decisions or allowlist
        if decisions:
            self.taken += 1
            self._decisions, other._decisions = other._decisions, self._decisions
            self._due, other._due = other._due, self._due
            self._shared, other._shared = other._shared, self._shared
            self._lifts, other._lifts = other._lifts, self._lifts
            self.count, other.count = other.count, self.count
        if allowlist:
            self.granted, other.granted = other.granted, self.granted

    def clear(self) -> None:
        """Lets go of all decisions, little by little, so that other threads have their turn meanwhile."""
        self._due.clear()
        self._decisions.clear()
        self.count = dict.fromkeys(self.count, 0)

    def _drop(self, kind: SubjectKind, rule: str, subject: str) -> bool:
        values, place = self._decisions.place(kind, subject)
        known = _each(values.get(place))
        others = tuple(r for r in known if (r.terms.kind, r.terms.rule) != (kind, rule))
        if len(others) == len(known):
            return False
        for restriction in known:
            if restriction not in others:
                self._end(restriction)
        if others:
            values[place] = others
        else:
            del values[place]
        return True

    def _end(self, restriction: Restriction) -> None:
        restriction.live = False
        self.changes += 1
        self.count[restriction.terms.mode] -= 1


def _each(slot: Restriction | tuple[Restriction, ...] | None) -> tuple[Restriction, ...]:
    """Most subjects have one decision, and a tuple around each would cost 64 bytes."""
    if slot is None:
        return ()
    return slot if isinstance(slot, tuple) else (slot,)


def _holds(restriction: Restriction, purpose: Purpose, now: float, protocol: str, client: Address | None) -> bool:
    terms = restriction.terms
    if restriction.expires_at <= now or terms.scope not in {purpose, "both"} or terms.action not in _RANK[purpose]:
        return False
    if terms.protocols and protocol not in terms.protocols:
        return False
    if terms.except_sources and (purpose == "login" or terms.action in LOGIN_ACTIONS):
        return client is None or not any(parse_network(s).holds(client) for s in terms.except_sources)
    return True


def _same(one: Restriction, other: Restriction) -> bool:
    return (one.text, one.why, one.expires_at, one.terms) == (other.text, other.why, other.expires_at, other.terms)


def _split(key: str) -> tuple[SubjectKind, str, str]:
    try:
        kind, rule, subject = split_key(key)
    except ValueError:
        raise ValueError(f"{key[:200]!r} is no key, kind:rule:subject") from None
    if kind not in SUBJECT_KINDS:
        raise ValueError(f"{key[:200]!r}: there is no kind of subject {kind!r}")
    return kind, rule, subject
