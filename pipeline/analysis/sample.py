"""A sample to look at: two weeks of a small provider, made of two recorded logs of real servers.

The first recording is two and a half minutes long. What its honest accounts did is stretched and repeated over the
hours of each day as people work; the whole of it, attacks included, comes at most a few times a day, under other names.

The second, ``pools.log``, is a minute and a half of a Postfix with the transport ``slow`` of ``examples/postfix`` that
asked our policy agent while an operator's decisions (action ``route``) stood against three accounts and the network of
a hotel. It comes an hour after each attack, with one to three of the accounts, the decisions a minute before it.

It all shows what notebooks look like, and is data for tests: it is not what mail is like.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

from schemas.enforcement import MANUAL, Decision, decision_id
from schemas.kinds import SubjectKind

FIRST = date(2026, 11, 2)  # a Monday
DAYS = 14
CHANGE = date(2026, 11, 9)  # from here on ``stricter.toml`` holds
ZONE = ZoneInfo("Asia/Tokyo")
WORKING_HOURS, WEEKEND_HOURS = (8, 9, 10, 11, 13, 14, 15, 16, 17, 20, 22), (9, 11, 14, 18, 21)
ATTACK_HOURS = (3, 10, 14, 22)
ATTACKS = (1, 0, 2, 1, 3, 0, 1, 2, 1, 0, 4, 2, 1, 1)  # of each day
STRETCH = 16  # so that the honest part of the recording lasts 40 minutes
ROUTED_STRETCH = 4
ROUTED_ACCOUNTS = ("victim01", "takeover01", "spoof01")
ROUTED_NETWORK = "198.18.192.0/20"
FRAME = 400  # lines

_HONEST = rb"(?:normal|office|travel|stale)\d\d@testbed\.example"
_SENT = re.compile(rb": ([0-9A-Za-z]{6,20}): client=.*sasl_username=" + _HONEST)
_QUEUE_ID = re.compile(rb"^.{15} \S+ postfix/\S+: ([0-9A-Za-z]{6,20}): ")
_LOGIN = re.compile(rb"user=<" + _HONEST)


@dataclass(frozen=True)
class Copy:
    """One appearance of a recording. ``domain``: takes the place of the recorded one. ``routed``: it is the second one,
    with these accounts' mail in the pool ``slow``."""

    start: datetime
    attack: bool
    domain: bytes
    routed: tuple[str, ...] = ()


def schedule(days: int = DAYS) -> list[Copy]:
    """In order of time; they do not overlap."""
    copies = []
    for number in range(days):
        day = FIRST + timedelta(days=number)
        weekend = day.weekday() >= 5
        for hour in WEEKEND_HOURS if weekend else WORKING_HOURS:
            copies.append(Copy(_at(day, hour, 0), False, b"example.jp"))
        for hour in sorted(ATTACK_HOURS[(number + n) % len(ATTACK_HOURS)] for n in range(ATTACKS[number])):
            domain = b"customer%d.example" % (number * 24 + hour)
            routed = ROUTED_ACCOUNTS[: 1 + (number + hour) % len(ROUTED_ACCOUNTS)]
            copies += [Copy(_at(day, hour, 50), True, domain), Copy(_at(day, hour + 1, 42), False, domain, routed)]
    return sorted(copies, key=lambda copy: copy.start)


def _at(day: date, hour: int, minute: int) -> datetime:
    return datetime.combine(day, time(hour, minute), ZONE).astimezone(UTC)


def routes(copy: Copy) -> list[Decision]:
    """What an operator decided before a copy of the second recording."""
    accounts: list[tuple[SubjectKind, str]] = [("account", f"{name}@{copy.domain.decode()}") for name in copy.routed]
    at = copy.start - timedelta(minutes=1)
    return [
        Decision(
            id=decision_id(MANUAL, kind, subject, at),
            subject_kind=kind,
            subject=subject,
            action="route",
            scope="send",
            mode="enforce",
            rule=MANUAL,
            rule_version=1,
            reason="in the slow pool until the customer has answered" if kind == "account" else "hotel, often abused",
            issued_at=at,
            expires_at=at + timedelta(days=1),
            actor="operator:hana",
            parameters={"pool": "slow"},
        )
        for kind, subject in [*accounts, ("prefix", ROUTED_NETWORK)]
    ]


def sample_frames(mail: bytes, dovecot: bytes, pools: bytes, days: int = DAYS) -> Iterator[tuple[Copy, bytes, float]]:
    """The recorded logs in, (copy, frame, reference) out: lines in the order of time."""
    lines = sorted(mail.splitlines() + dovecot.splitlines(), key=lambda line: line[:15])
    honest = _honest(lines)
    for copy in schedule(days):
        chosen, stretch = (lines, 1) if copy.attack else (honest, STRETCH)
        if copy.routed:
            chosen, stretch = _routed(pools.splitlines(), copy.routed), ROUTED_STRETCH
        moved = _moved(chosen, copy.start, stretch, copy.domain)
        reference = copy.start.timestamp() + 3600
        for at in range(0, len(moved), FRAME):
            yield copy, b"\n".join(moved[at : at + FRAME]), reference


def _honest(lines: list[bytes]) -> list[bytes]:
    """The messages and logins of honest accounts."""
    messages = {match[1] for line in lines if (match := _SENT.search(line))}
    return [
        line for line in lines if ((found := _QUEUE_ID.match(line)) and found[1] in messages) or _LOGIN.search(line)
    ]


def _routed(lines: list[bytes], accounts: tuple[str, ...]) -> list[bytes]:
    """Without the messages of the other routed accounts."""
    others = "|".join(name for name in ROUTED_ACCOUNTS if name not in accounts)
    if not others:
        return lines
    pattern = re.compile(rb": ([0-9A-Za-z]{6,20}): client=.*sasl_username=(?:%s)@" % others.encode())
    messages = {match[1] for line in lines if (match := pattern.search(line))}
    return [line for line in lines if (found := _QUEUE_ID.match(line)) is None or found[1] not in messages]


def _moved(lines: list[bytes], start: datetime, stretch: int, domain: bytes) -> list[bytes]:
    if not lines:
        return []
    first = _seconds(lines[0])
    stamps: dict[bytes, bytes] = {}
    moved = []
    for line in lines:
        stamp = stamps.get(line[:15])
        if stamp is None:
            at = start + timedelta(seconds=(_seconds(line) - first) * stretch)
            stamp = stamps[line[:15]] = f"{at:%b} {at.day:2d} {at:%H:%M:%S}".encode()
        moved.append(stamp + line[15:].replace(b"testbed.example", domain))
    return moved


def _seconds(line: bytes) -> int:
    """Of the day, as a traditional time stamp has them (RFC 3164)."""
    return int(line[7:9]) * 3600 + int(line[10:12]) * 60 + int(line[13:15])
