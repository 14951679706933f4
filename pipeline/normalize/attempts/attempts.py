"""Lines that speak of one try of one client -> one attempt, with one outcome. Of one source; bounded; pure.

* What a password store says (Dovecot's ``auth``, PAM, saslauthd) is a **claim**: the next store may say yes. It is held
  for ``claims.HOLD`` of its host's time, until the session says how the try ended, or nothing comes: then it failed.
  Claims of a session within ``CHAIN`` are of one try. While it is held, its event is in no frame.
* A login that succeeds voids the claims of its session, or of its account and address where a store knows no session.
* What a front end says (``auth failed, N attempts``) is the last word: of its tries those count that no claim told.
* ``outages`` and ``bursts`` say what is nobody's fault, and what is one mistake.

A claim's outcome follows from the lines of its host alone, in their order, and not from how they fall into frames. The
last claims of a host that falls silent wait for its next line.
"""

from collections.abc import Iterable, Sequence
from datetime import timedelta
from typing import Final, NamedTuple

import msgspec

from pipeline.formats.reading.programs import STORES, SUMMED_SESSIONS
from pipeline.normalize.attempts.bursts import Burst, Bursts, NetworkFailures
from pipeline.normalize.attempts.claims import HOLD, Claim, Claims, key_of, nameless, of_session
from pipeline.normalize.attempts.front_ends import FrontEnds, FrontEndState, entrance, may_echo
from pipeline.normalize.attempts.outages import Outages, OutageState
from pipeline.normalize.attempts.sessions import FailedSessions
from pipeline.normalize.doubles import Counted
from pipeline.normalize.generations import Dumped, Generations
from schemas.event import Event

CHAIN: Final = timedelta(seconds=2)
"""Stores are asked one after the other; Dovecot lets the next try of a session wait for two seconds."""
_OF_A_LOGIN: Final = frozenset(("connect", "submission"))  # if they name the mechanism by which an MTA let it in
_KINDS: Final = frozenset(("auth_failure", "auth_success", "other"))
SESSIONS: Final = 50_000


class AttemptState(msgspec.Struct, array_like=True):
    """What is saved. Fields are read by their places: new ones come last, and have defaults."""

    claims: list[Counted]
    sessions: Dumped[int]
    front_ends: FrontEndState
    outages: OutageState
    bursts: tuple[Dumped[Burst], Dumped[NetworkFailures]]
    let_in: Dumped[float]


class Settled(NamedTuple):
    """A frame's events and those of them that may count, each with its raw line: without what is still held, and with
    what is held no more, before the line that settled it."""

    events: list[Event]
    counted: list[Counted]


class Attempts:
    """The state of one source (a partition of raw lines, or a file)."""

    def __init__(self) -> None:
        self._claims = Claims()
        self._sessions = FailedSessions(SESSIONS)
        self._front_ends = FrontEnds()
        self._outages = Outages()
        self._bursts = Bursts()
        self._let_in: Generations[float] = Generations(SESSIONS)  # where lines come in any order: when a success was

    @property
    def forgotten(self) -> int:
        """Sessions that had to be forgotten to stay in bounds, and claims that failed before their time."""
        return self._sessions.forgotten + self._claims.forgotten

    @property
    def scattered(self) -> bool:
        """May lines that belong together come in any order?"""
        return self._sessions.overtaken

    @scattered.setter
    def scattered(self, value: bool) -> None:
        self._sessions.overtaken = value

    def settle(self, events: list[Event], counted: list[Counted]) -> Settled:
        """Completes a frame's events in place. ``counted``: those of them that may count, or that tell of trouble."""
        claims = self._claims
        if not claims:
            own = [event for event, _ in counted if event.kind in _KINDS]
            if STORES.isdisjoint([event.program for event in own if event.kind == "auth_failure"]):
                self._see_all(own)  # the usual frame: nothing waits for another line
                return Settled(events, counted)
        lines = {id(event): line for event, line in counted}
        settled = Settled([], [])
        for event in events:
            line = lines.get(id(event))
            held = self._see(event, line or "")
            claims.take_settled(*settled)
            if not held:
                settled.events.append(event)
                if line is not None:
                    settled.counted.append((event, line))
        return settled

    def finish(self) -> Settled:
        """Nothing comes any more: whatever is still held failed."""
        settled = Settled([], [])
        for claim in list(self._claims):
            if waiting := self._claims.of(claim.key):
                self._failed(waiting)
        self._claims.take_settled(*settled)
        return settled

    def _see_all(self, events: Iterable[Event]) -> None:
        """None of them a claim, and none is held."""
        watched = bool(self._outages) or self.scattered  # else a success says nothing
        for event in events:
            if watched or event.kind != "auth_success":
                self._see(event, "")
                watched = watched or (event.kind == "other" and bool(self._outages))

    def _see(self, event: Event, line: str) -> bool:
        """True if it is held."""
        claims, outages, kind = self._claims, self._outages, event.kind
        if claims:
            for due in claims.due(event.host, event.time):
                self._failed(due)
        if kind == "auth_failure":
            if event.program in STORES:
                return self._claim(event, line)
            self._word(event)
        elif kind == "auth_success":
            if outages:
                outages.success(event)
            if claims:
                self._void(event)
            if self.scattered and event.session is not None:
                self._let_in.put(of_session(event.host, event.session), event.time.timestamp())
        elif kind == "other":
            if event.reason == "temporary":
                outages.trouble(event)
        elif claims and event.account and event.method and kind in _OF_A_LOGIN:
            self._void(event)
        return False

    def _claim(self, event: Event, line: str) -> bool:
        """A store's refusal: not the last word, or no word at all. True if it is held."""
        if may_echo(event) and self._front_ends.tell(event):
            event.told_before()
            return False
        let_in = self._let_in.get(key_of(event))
        if let_in is not None and 0 <= let_in - event.time.timestamp() < HOLD.total_seconds():
            event.told_before()
            return False
        gone = self._claims.hold(event, line)
        if gone:
            self._failed(gone)
        return True

    def _word(self, event: Event) -> None:
        """A front end's failure."""
        if event.account and event.client_ip:
            self._front_ends.note(event)
            if self._claims:
                self._tell_echoes(event)
        if event.session is not None:
            if event.program in SUMMED_SESSIONS and self._claims:
                while waiting := self._claims.of(of_session(event.host, event.session)):
                    self._failed(waiting)
            self._sessions.see(event, event.session)
        self._complete(event)

    def _failed(self, claims: Sequence[Claim]) -> None:
        """Settles the first try of some claims of one key, in order: all of its stores said no."""
        first = claims[0].event
        of_try = [claim for claim in claims if first.time <= claim.event.time < first.time + CHAIN]
        self._claims.settle(of_try)
        last = of_try[-1].event
        if any(claim.event.reason == "temporary" for claim in of_try):
            last.reason = "temporary"  # the store that knows the account did not answer
        tries = _tries(of_try)
        for claim in of_try:
            claim.event.told_before()
        last.count = tries
        if last.session is not None:
            self._sessions.see(last, last.session)
        self._complete(last)

    def _complete(self, event: Event) -> None:
        if self._outages:
            self._outages.see(event)
        self._bursts.see(event)

    def _void(self, success: Event) -> None:
        """The try ended well: what stores said before was not the last word."""
        if success.session is not None:
            self._told_elsewhere(self._claims.of(of_session(success.host, success.session)))
        self._told_elsewhere(self._nameless(success))

    def _tell_echoes(self, word: Event) -> None:
        said = self._nameless(word)
        self._told_elsewhere([c for c in said if may_echo(c.event) and entrance(c.event) == entrance(word)])

    def _nameless(self, event: Event) -> list[Claim]:
        """Claims about the event's account that name no session, and its address or none."""
        places = {event.client_ip, None}
        return [c for address in places for c in self._claims.of(nameless(event.host, event.account, address))]

    def _told_elsewhere(self, claims: Sequence[Claim]) -> None:
        for claim in claims:
            claim.event.told_before()
        self._claims.settle(claims)

    def dump(self) -> AttemptState:
        """The state, to be kept with the offset up to which lines were seen."""
        return AttemptState(
            self._claims.dump(),
            self._sessions.dump(),
            self._front_ends.dump(),
            self._outages.dump(),
            self._bursts.dump(),
            self._let_in.dump(),
        )

    def load(self, state: AttemptState) -> None:
        """Inverse of ``dump``."""
        self._claims.load(state.claims)
        self._sessions.load(state.sessions)
        self._front_ends.load(state.front_ends)
        self._outages.load(state.outages)
        self._bursts.load(state.bursts)
        self._let_in.load(state.let_in)

    def take_over(self, sessions: Dumped[int], front_ends: FrontEndState, outages: OutageState) -> None:
        """What a version knew that held no claims."""
        self._sessions.load(sessions)
        self._front_ends.load(front_ends)
        self._outages.load(outages)


def _tries(claims: Sequence[Claim]) -> int:
    """How many tries the claims of a chain stand for. A session makes one at a time; where none is told, clients may
    try at the same time, and what one program says in the same words is said once for each."""
    if claims[0].event.session is not None:
        return max(claim.event.count for claim in claims)
    said: dict[tuple[str, str | None], int] = {}
    for claim in claims:
        words = claim.event.program, claim.event.reason
        said[words] = said.get(words, 0) + claim.event.count
    return max(said.values())
