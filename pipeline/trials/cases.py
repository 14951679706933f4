"""Known cases: which accounts and addresses were abused, since when, and which are honest; how well decisions agree.

Three forms of file, told by the name's end. TOML::

    [[case]]
    subject = "alice@example.org"        # an account, an address or a prefix
    label = "abused"                     # or "honest"
    since = 2026-11-24T01:51:43Z         # of abused ones, if known
    until = 2026-11-24T03:00:00Z         # if known

CSV with these names in its first line, or a JSON object with these names on each line (``.jsonl``). Times are RFC 3339;
without an offset they are in the zone that is given.
"""

import csv
import io
import ipaddress
import json
import math
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo
from typing import Literal

from schemas.enforcement import Decision
from schemas.kinds import Action, SubjectKind

STOPS: tuple[Action, ...] = ("reject", "deny_login", "defer", "hold")
"""What stops mail, or a login; others slow it down, lead it elsewhere or only tell."""

FIELDS = frozenset({"subject", "label", "since", "until"})
Network = ipaddress.IPv4Network | ipaddress.IPv6Network


class CasesError(ValueError):
    """The file of known cases is wrong. The message names file, case and why."""


@dataclass(frozen=True)
class Case:
    """``since``, ``until``: of the abuse, seconds since 1970; from the start and without end if not known.

    ``network``: None for an account.
    """

    subject: str
    label: Literal["abused", "honest"]
    since: float = -math.inf
    until: float = math.inf
    network: Network | None = None


@dataclass(frozen=True)
class Score:
    """How decisions agree with known cases of one sort (accounts, or addresses).

    ``precision``: part of the restricted that were abused; ``recall``: part of the abused that were restricted; both
    0 to 1, None where there is nothing to divide by. ``median``, ``p90``: seconds from the start of the abuse to the
    first restriction, nearest rank, of the cases whose start is known. ``leaked``: messages from then to the first
    restriction of the account, or to the end where there was none. ``missed``, ``hurt``: subjects.
    """

    abused: int
    honest: int
    found: int
    hurt: tuple[str, ...]
    missed: tuple[str, ...]
    precision: float | None
    recall: float | None
    median: float | None
    p90: float | None
    leaked: int


def parse_cases(text: str, name: str, zone: tzinfo = UTC) -> list[Case]:
    """The cases of a file called ``name``. Raises CasesError."""
    try:
        rows = _rows(text, name)
    except (tomllib.TOMLDecodeError, json.JSONDecodeError, csv.Error) as error:
        raise CasesError(f"{name}: cannot be read: {error}") from None
    cases = [_case(row, f"{name}: case {number}", zone) for number, row in enumerate(rows, 1)]
    known: set[str] = set()
    for number, case in enumerate(cases, 1):
        if case.subject in known:
            raise CasesError(f"{name}: case {number}: {case.subject} is given twice")
        known.add(case.subject)
    return cases


def _rows(text: str, name: str) -> Sequence[object]:
    suffix = name.lower().rpartition(".")[2]
    if suffix == "toml":
        data = tomllib.loads(text)
        rows = data.get("case")
        if not isinstance(rows, list) or len(data) != 1:
            raise CasesError(f"{name}: must hold [[case]] tables and nothing else")
        return rows
    if suffix == "csv":
        return list(csv.DictReader(io.StringIO(text), strict=True))
    if suffix in ("jsonl", "ndjson"):
        return [json.loads(line) for line in text.splitlines() if line.strip()]
    raise CasesError(f"{name}: the name must end in .toml, .csv or .jsonl")


def _case(row: object, where: str, zone: tzinfo) -> Case:
    if not isinstance(row, Mapping):
        raise CasesError(f"{where}: must be a table of {', '.join(sorted(FIELDS))}")
    unknown = {str(key) for key in row} - FIELDS
    if unknown:
        raise CasesError(f"{where}: unknown: {', '.join(sorted(unknown))}; there are {', '.join(sorted(FIELDS))}")
    subject, label = row.get("subject"), row.get("label")
    if not isinstance(subject, str) or not subject.strip():
        raise CasesError(f"{where}: subject must be an account, an address or a prefix")
    if label not in ("abused", "honest"):
        raise CasesError(f"{where}: label must be abused or honest")
    since, until = _time(row.get("since"), where, zone), _time(row.get("until"), where, zone)
    subject = subject.strip().lower()
    return Case(
        subject,
        "abused" if label == "abused" else "honest",
        -math.inf if since is None else since,
        math.inf if until is None else until,
        _network(subject),
    )


def _network(subject: str) -> Network | None:
    try:
        return ipaddress.ip_network(subject, strict=False)
    except ValueError:
        return None


def _time(value: object, where: str, zone: tzinfo) -> float | None:
    if value is None or value == "":
        return None
    try:
        time = value if isinstance(value, datetime) else datetime.fromisoformat(str(value))
    except ValueError:
        raise CasesError(f"{where}: {value!r} is no time such as 2026-11-24T01:51:43Z") from None
    return (time if time.tzinfo else time.replace(tzinfo=zone)).timestamp()


def stops_sending(decision: Decision) -> bool:
    """Would mail be stopped, were the decision enforced?"""
    return decision.action in STOPS and decision.scope in ("send", "both")


def stops_login(decision: Decision) -> bool:
    """Would a login be refused, were the decision enforced?"""
    return decision.action in ("deny_login", "reject") and decision.scope in ("login", "both")


def score(
    cases: Iterable[Case], decisions: Iterable[Decision], kind: SubjectKind, leaked: Mapping[str, int]
) -> Score | None:
    """Cases of accounts, or of addresses (``kind`` ip), against enforced decisions; None if there are no such cases.

    An account is restricted if its mail is stopped, an address if its mail or logins are. A restriction that had
    ended before the abuse began finds nothing. ``leaked``: messages of each abused account.
    """
    cases = [case for case in cases if (case.network is None) == (kind == "account")]
    if not cases:
        return None
    found = _Restricted(decisions)
    waits, missed, hurt, leak = [], [], [], 0
    for case in cases:
        first = found.first(case)
        if case.label == "honest":
            if first is not None:
                hurt.append(case.subject)
            continue
        if first is None:
            missed.append(case.subject)
        elif case.since > -math.inf:
            waits.append(max(0.0, first.issued_at.timestamp() - case.since))
        leak += leaked.get(case.subject, 0)
    abused = sum(case.label == "abused" for case in cases)
    hits = abused - len(missed)
    return Score(
        abused,
        len(cases) - abused,
        hits,
        tuple(hurt),
        tuple(missed),
        hits / (hits + len(hurt)) if hits + len(hurt) else None,
        hits / abused if abused else None,
        nearest_rank(waits, 0.5),
        nearest_rank(waits, 0.9),
        leak,
    )


class _Restricted:
    """Enforced decisions that stop something, by subject, in the order of time."""

    def __init__(self, decisions: Iterable[Decision]) -> None:
        self._accounts: dict[str, list[Decision]] = {}
        self._networks: dict[Network, list[Decision]] = {}
        for decision in sorted(decisions, key=lambda d: d.issued_at):
            if decision.mode != "enforce":
                continue
            if decision.subject_kind == "account" and stops_sending(decision):
                self._accounts.setdefault(decision.subject, []).append(decision)
            elif decision.subject_kind in ("ip", "prefix") and decision.action in STOPS:
                self._networks.setdefault(ipaddress.ip_network(decision.subject), []).append(decision)

    def first(self, case: Case) -> Decision | None:
        """The first that holds while, or begins after, the abuse; of an honest case, the first of all."""
        if case.network is None:
            held: Iterable[Decision] = self._accounts.get(case.subject, ())
        else:
            held = sorted(
                (d for network, of in self._networks.items() if _overlap(network, case.network) for d in of),
                key=lambda d: d.issued_at,
            )
        return next((d for d in held if d.expires_at.timestamp() > case.since), None)


def _overlap(one: Network, other: Network) -> bool:
    return one.version == other.version and one.overlaps(other)


def nearest_rank(values: Iterable[float], share: float) -> float | None:
    """The smallest value that at least ``share`` (0 to 1) of the values do not exceed; None of none."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)] if ordered else None
