"""Lines that look like mail log and that no format claims: a header that nobody knows, or an envelope.

``looks_like_mail`` is asked of ignored lines alone. It goes by what mail programs write and others do not: the words of
a text, or a program's name where a tag stands. It may be wrong both ways; nothing but a warning follows from it.
"""

import re
from typing import NamedTuple

from pipeline.formats.reading.headers import read_header
from pipeline.formats.reading.stamps import Stamps

MOST = 64  # pairs of host and form that are told apart
OTHERS = ("other", "other")
LONGEST = 300  # characters of a line that are shown
_MAIL = re.compile(
    r"\bpostfix[\w.-]*/[a-z]+(?:/[a-z]+)?(?:\[[0-9]+\])?\W|\bdovecot(?:\[[0-9]+\])?: |-login: (?:Info: )?[A-Z]"
    r"|\b(?:exim4?|sendmail|sm-mta|opensmtpd|smtpd|imapd|pop3d|vpopmail|saslauthd)\[[0-9]+\]: "
    r"|sasl_(?:method|username)=|\bSASL [A-Z0-9-]+ authentication |user=<[^>]*>, |, rip=[0-9a-f]|, lip=[0-9a-f]"
    r"|status=(?:sent|deferred|bounced) \(|\bqueued as [0-9A-Za-z]|, nrcpt=[0-9]|NOQUEUE: |\bLOGIN FAILED, user="
    r"|client=[^\s\[\]]+\[[0-9a-f.:]+\]|authenticator failed for |client log(?:in failed|ged in)"
    r"|(?:<=|=>|->|\*\*) [^\s@]+@\S+ (?:H|R|U|F|P|T)=|stat(?:us)?=Sent|\bFailed login for \S+ from"
)

_WORDS = (
    "postfix", "dovecot", "-login: ", "exim", "sendmail[", "sm-mta[", "smtpd[", "imapd[", "pop3d[", "vpopmail[",
    "saslauthd[", "sasl_", "SASL ", "user=<", ", rip=", ", lip=", "status=", "queued as ", ", nrcpt=", "NOQUEUE: ",
    "LOGIN FAILED, ", "client=", "authenticator failed", "client log", "Failed login", "stat=Sent", "<= ", "=> ",
    "-> ", "** ",
)  # fmt: skip
"""One of these is in whatever ``_MAIL`` finds: to look for them is far cheaper."""


class Missed(NamedTuple):
    """How many ``lines`` of a ``host`` and a ``form`` there were, and the first of them, as it may be shown."""

    host: str
    form: str
    lines: int
    first: str


def looks_like_mail(line: str) -> bool:
    """Whether a mail program may have written it."""
    for word in _WORDS:
        if word in line:
            return _MAIL.search(line) is not None
    return False


def shown(line: str) -> str:
    """The line as a log or a terminal may show it: what is no plain character escaped, cut at ``LONGEST``."""
    text = line[: LONGEST + 1].encode("unicode_escape").decode("ascii")
    return text if len(text) <= LONGEST and len(line) <= LONGEST else f"{text[:LONGEST]}..."


def form_of(line: str, stamps: Stamps, reference: float) -> tuple[str, str]:
    """(host, form) of a line; the host is empty where it names none that can be read.

    Forms: ``json``, ``header`` (host and program were read, and no format knows the program), ``stamp`` (it begins with
    a time, and what follows is not understood), ``priority``, ``bracket``, ``text``.
    """
    if line.startswith("{"):
        return "", "json"
    header = read_header(line, stamps, reference)
    if header is not None and header.tag and " " not in header.tag:
        return header.host[:255], "header"
    if header is not None or line[:1].isdigit() or stamps.bsd(line, reference)[1]:
        return "", "stamp"
    return "", {"<": "priority", "[": "bracket"}.get(line[:1], "text")


class MissedLines:
    """Counts them, with the first of each host and form. Bounded: at most ``MOST`` pairs, all others as ``OTHERS``."""

    def __init__(self) -> None:
        self._found: dict[tuple[str, str], tuple[int, str]] = {}

    def __len__(self) -> int:
        return len(self._found)

    def add(self, host: str, form: str, count: int, first: str) -> tuple[str, str]:
        """Counts so many more; returns the pair that they count under."""
        pair = host, form
        if pair not in self._found and len(self._found) >= MOST:
            pair = OTHERS
        known, before = self._found.get(pair, (0, first))
        self._found[pair] = known + count, before
        return pair

    def all(self) -> list[Missed]:
        """What was counted, in the order in which the pairs were first seen."""
        return [Missed(*pair, count, first) for pair, (count, first) in self._found.items()]
