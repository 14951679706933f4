"""Counts of one subject, combined within one frame and second. Topic ``tallies``."""

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

CountedKind = Literal["account", "ip", "country", "system"]
MOST = (1 << 63) - 1  # of a count: what is larger is no count, and windows could not weigh it
Count = Annotated[int, Meta(ge=0, le=MOST)]
LAST_TIME = 21_474_836_480  # where windows end, in the year 2650


class Tally(msgspec.Struct, gc=False, array_like=True):
    """What one subject did, together with one peer, within one second of event time.

    An account's peer is the network that it came from, a network's peer is the account. Countries and the whole
    system have the peer ``""``. Written as a JSON array, in the order of the fields.

    * ``at``: event time of the last line counted, seconds since 1970 UTC.
    * ``subject``: account in lower case, IPv4 address, IPv6 /64 in CIDR form, ISO 3166 code, or ``*``.
    * ``country``: of the connecting address, ``""`` if unknown.
    * ``messages``, ``recipients``: accepted from an authenticated client. ``failed``: recipients that do not exist.
    * ``errors``: password errors of access servers. ``errors_mta``, ``errors_sasl``: password errors of SMTP
      AUTH, as the MTA and as the SASL server logged them: the same errors seen twice, so readers take the larger.
    * ``successes``: logins and authenticated messages. ``accused``: 1 if a rule found the peer attacking from here.
    * ``webmail``: of ``messages``, those by webmail.
    * ``senders``: envelope senders that are not the account's own. ``samples``, ``queue_ids``: up to
      3 log lines and their queue ids.
    """

    kind: CountedKind
    subject: str
    peer: str
    country: str
    at: Annotated[float, Meta(ge=0, lt=LAST_TIME)]
    messages: Count = 0
    recipients: Count = 0
    failed: Count = 0
    errors: Count = 0
    errors_mta: Count = 0
    errors_sasl: Count = 0
    successes: Count = 0
    webmail: Count = 0
    accused: Count = 0
    senders: tuple[str, ...] = ()
    samples: tuple[str, ...] = ()
    queue_ids: tuple[str, ...] = ()


EXAMPLES: tuple[Tally, ...] = (
    Tally("account", "alice@example.org", "198.51.100.7", "JP", 1795485043.0, messages=1, recipients=2, successes=1),
    Tally("ip", "2001:db8::/64", "bob@example.org", "RU", 1795485044.0, errors=1, samples=("Nov 24 ...",)),
    Tally("country", "RU", "", "RU", 1795485044.0, errors=12),
    Tally("ip", "203.0.113.9", "alice@example.org", "BR", 1795485044.0, accused=1),
)
