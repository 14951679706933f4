"""What operators allow by hand, as the topic ``settings`` says it. Pure; the time is an argument.

Detector and agent ask the same entries: the one about a tally at the time of its events, the other about a client at
the time of its request.
"""

from collections.abc import Iterator
from typing import Any, Final

from pipeline.detect.standing import Lifts, Told
from pipeline.networks import Address, BySubject, CountryOf, parse_network, parse_subject
from schemas.kinds import SUBJECT_KINDS, SubjectKind
from schemas.setting import Setting
from schemas.tally import Tally

FOR_EVER: Final = float("inf")
_SOURCE: Final = 64  # of an IPv6 address: tallies name no longer prefix


class Granted:
    """Entries by their key, as the topic has them. Two keys may be spellings of one subject: each entry holds until
    it is lifted by its own key, so that what holds is the same after the topic was read again."""

    def __init__(self) -> None:
        self._entries: dict[str, Setting] = {}
        self._ends: BySubject[dict[str, float]] = BySubject()
        self._within: dict[int, dict[str, float]] = {}  # what lies within an IPv6 /64, by it
        self._lifts = Lifts()  # of signed messages only

    def apply(self, key: str, setting: Setting | None, told: Told | None = None) -> bool:
        """Takes one message of ``settings``; None is the tombstone. False if it changed nothing.

        An entry replaces the one with its key unless that one was issued later. ``told``: of a signed tombstone, see
        ``standing``. Raises ValueError for a key or an entry that cannot be obeyed: it is then as if the message had
        not come.
        """
        kind, subject = _split(key)
        if setting is not None and setting.key != key:
            raise ValueError(f"the key {key[:200]!r} is not that of the setting, {setting.key[:200]!r}")
        known = self._entries.get(key)
        if setting is not None and self._lifts.cover(key, setting.issued_at.timestamp()):
            return False
        if told is not None:
            if known is not None and known.issued_at.timestamp() > told.issued:
                return False
            self._lifts.note(key, told)
        if known == setting or (known and setting and known.issued_at > setting.issued_at):
            return False
        if setting is None:
            for ends, place in self._places(kind, subject):
                del ends[place][key]
                if not ends[place]:
                    del ends[place]
            del self._entries[key]
        else:
            self.grant(kind, subject, setting.expires_at.timestamp() if setting.expires_at else FOR_EVER, key)
            self._entries[key] = setting
        return True

    def grant(self, kind: SubjectKind, subject: str, until: float = FOR_EVER, key: str = "") -> None:
        """Allows a subject until then (seconds since 1970 UTC). Raises ValueError if it is none of that kind."""
        for ends, place in self._places(kind, subject):
            ends.setdefault(place, {})[key] = until

    def covers(self, tally: Tally) -> bool:
        """Is the tally's subject allowed at the time of the tally?

        A network is when an entry's network holds it or lies within it, and by its country.
        """
        at = tally.at
        if tally.kind == "account":
            return _any(self._ends.named("account", tally.subject), at)
        country = tally.country or (tally.subject if tally.kind == "country" else "")
        if tally.kind in {"country", "ip"} and country and _any(self._ends.named("country", country), at):
            return True
        if tally.kind != "ip":
            return False
        network = parse_network(tally.subject)
        if network.bits == 128 and network.length == _SOURCE and _any(self._within.get(network.value), at):
            return True
        return any(_any(ends, at) for ends in self._ends.around(network))

    def covers_client(
        self, now: float, account: str, address: Address | None, text: str, country_of: CountryOf
    ) -> bool:
        """Is the client allowed at ``now``? See ``BySubject.find``."""
        return bool(self._entries) and any(
            _any(ends, now) for ends in self._ends.find(account, address, text, country_of)
        )

    def find(self, key: str) -> Setting | None:
        """The entry with that key, if there is one."""
        return self._entries.get(key)

    def entries(self) -> list[Setting]:
        """All of them, in no order."""
        return list(self._entries.values())

    def copy(self) -> "Granted":
        """One that may be changed while others look things up here."""
        made = Granted()
        for key, setting in self._entries.items():
            made.apply(key, setting)
        made._lifts = self._lifts.copy()
        return made

    def __len__(self) -> int:
        return len(self._entries)

    def _places(self, kind: SubjectKind, subject: str) -> Iterator[tuple[dict[Any, dict[str, float]], str | int]]:
        yield self._ends.place(kind, subject)
        if kind in {"ip", "prefix"}:
            network = parse_network(subject)
            if network.bits == 128 and network.length > _SOURCE:
                yield self._within, network.value >> (network.length - _SOURCE)


def _any(ends: dict[str, float] | None, at: float) -> bool:
    return ends is not None and any(end > at for end in ends.values())


def _split(key: str) -> tuple[SubjectKind, str]:
    word, _, rest = key.partition(":")
    kind, colon, subject = rest.partition(":")
    if word != "allow" or not colon or kind not in SUBJECT_KINDS:
        raise ValueError(f"{key[:200]!r} is no key of the allowlist, allow:kind:subject")
    return parse_subject(subject, kind)
