# ruff: noqa: E501  # expressions are long
"""What a log watcher of regular expressions does, in the manner of fail2ban: for each filter and line a stamp, a prefix
that says whose line it is, and then one expression after another, until one fits."""

import re
from collections import defaultdict, deque
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

WINDOW = 600
MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
STAMP = re.compile(
    r"(?:^|[^0-9A-Za-z])(?:(?P<iso>\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d)(?:[.,]\d+)?(?:Z|[+-]\d\d:?\d\d)?"
    r"|(?P<month>[A-Z][a-z]{2}) +(?P<day>\d{1,2}) (?P<clock>\d\d:\d\d:\d\d))(?= |\"|$)"
)
ADDRESS = r"(?:::f{4,6}:)?(?P<ip>\d{1,3}(?:\.\d{1,3}){3}|(?:[0-9a-fA-F]{0,4}:){2,7}[0-9a-fA-F]{0,4})"


@dataclass(frozen=True)
class Filter:
    """``prefix``: of the lines that it is for, with a group ``content``; ``failures``: of that, with a group ``ip``."""

    prefix: re.Pattern[str]
    failures: tuple[re.Pattern[str], ...]


def _filter(program: str, *failures: str) -> Filter:
    prefix = rf"^\s*(?:\S+ )?(?:kernel: ?\[ *\d+\.\d+\]:? )?(?:@vserver_\S+ )?(?:\S+ )?{program}(?:\[\d+\])?:?\s+(?P<content>.+)$"
    return Filter(re.compile(prefix), tuple(re.compile(text.replace("<ADDRESS>", ADDRESS)) for text in failures))


FILTERS = (
    _filter(
        r"postfix(?:-\w+)?/\w+(?:/smtp[ds])?",
        r"^warning: [^[]*\[<ADDRESS>\](?::\d+)?: SASL (?:LOGIN|PLAIN|(?:CRAM|DIGEST)-MD5) authentication failed:(?! Connection lost to authentication server)",
        r"^NOQUEUE: reject: (?:RCPT|VRFY|EHLO|HELO) from [^[]*\[<ADDRESS>\](?::\d+)?: (?:450|454|550|554) [45]\.[17]\.\d (?:<[^>]*>: )?(?:Recipient address rejected|Helo command rejected|Sender address rejected|Relay access denied|Service unavailable)",
        r"^lost connection after (?:AUTH|UNKNOWN|EHLO|RSET) from [^[]*\[<ADDRESS>\](?::\d+)?$",
        r"^(?:dis)?connect from [^[]*\[<ADDRESS>\](?::\d+)? .*auth=0/(?:[2-9]|\d{2,})",
        r"^improper command pipelining after \S+ from [^[]*\[<ADDRESS>\](?::\d+)?:?",
    ),
    _filter(
        r"(?:dovecot(?:-auth)?|auth)",
        r"^(?:auth|auth-worker\(\d+\))?(?:: )?(?:Info: )?pam_unix(?:\(dovecot:auth\))?: authentication failure; .*rhost=<ADDRESS>(?:\s+user=\S*)?\s*$",
        r"^(?:pop3|imap|managesieve|submission)-login: (?:Info: )?(?:Login aborted|Aborted login|Disconnected|Remote closed connection|Client has quit the connection)(?::(?: [^ \(]+)+)? \((?:auth failed, \d+ attempts|tried to use (?:disabled|disallowed) \S+ auth|no auth attempts)[^)]*\)(?: \([^)]*\))?: (?:user=<[^>]*>, )?(?:method=\S+, )?rip=<ADDRESS>(?:, lip=\S+)?",
        r"^(?:auth|auth-worker\(\d+\)): (?:Info: )?(?:pam|passwd-file|sql|ldap)\([^,]*,<ADDRESS>(?:,\S*)?\): (?:unknown user|invalid credentials|Password mismatch)",
    ),
)


def count(path: Path) -> tuple[int, int]:
    """(lines, highest count of failures of any address within ten minutes). Each filter reads the whole file, as each
    does that has a log of its own to watch."""
    lines = highest = 0
    for of in FILTERS:
        windows: dict[str, deque[float]] = defaultdict(deque)
        lines = 0
        with path.open(encoding="utf-8", errors="replace") as file:
            for line in file:
                lines += 1
                found = _failure(of, line.rstrip("\n"))
                if found is not None:
                    at, address = found
                    window = windows[address]
                    window.append(at)
                    while window[0] <= at - WINDOW:
                        window.popleft()
                    highest = max(highest, len(window))
    return lines, highest


def _failure(of: Filter, line: str) -> tuple[float, str] | None:
    """Time and address of a failure that the filter finds in a line."""
    stamp = STAMP.search(line)
    if stamp is None:
        return None
    at = _time(stamp)
    prefix = of.prefix.match(line[: stamp.start()] + line[stamp.end() :])
    if prefix is None:
        return None
    for failure in of.failures:
        found = failure.search(prefix["content"])
        if found is not None:
            return at, found["ip"]
    return None


def _time(stamp: re.Match[str]) -> float:
    if stamp["iso"]:
        return datetime.fromisoformat(stamp["iso"]).replace(tzinfo=UTC).timestamp()
    hour, minute, second = map(int, stamp["clock"].split(":"))
    month = MONTHS.index(stamp["month"]) + 1
    return datetime(2026, month, int(stamp["day"]), hour, minute, second, tzinfo=UTC).timestamp()
