"""Whom a line of Postfix speaks of where it counts nothing: postscreen, tlsproxy, dnsblog, anvil, and smtpd's warnings.

Only words of Postfix's own stand to the left of these addresses, and the host's name, which was checked to be one.
"""

import re

from pipeline.formats.reading.fields import CANONICAL_IP

_ADDRESS = r"(?P<ip>[0-9A-Fa-f:.]+)"
_PEER = rf"[^\s\[\]]*\[{_ADDRESS}\]"
_SMTPD = re.compile(
    r"(?:(?:SSL_accept error|setting up TLS connection|non-SMTP command|Illegal address syntax"
    r"|improper command pipelining after [A-Z-]+|(?:Anonymous|Untrusted|Trusted|Verified) TLS connection established"
    r"|(?:Connection|Message delivery request|Recipient address|New TLS session|AUTH command) (?:rate|concurrency) "
    rf"limit exceeded: [0-9]+) from )?{_PEER}(?=[: ]|\Z)"
)
_NAMED = re.compile(
    rf"hostname \S+ does not resolve to address {_ADDRESS}(?=: |\Z)"
    rf"|{_ADDRESS.replace('ip', 'old')}: (?:hostname \S+ verification failed|address not listed for hostname)(?=[: ])"
)
_SCREEN = re.compile(
    r"(?:(?:NOQUEUE: [a-z-]+: [A-Z-]+|CONNECT|PREGREET [0-9]+ after [0-9.]+|HANGUP after [0-9.]+|BARE NEWLINE"
    r"|NON-SMTP COMMAND|COMMAND (?:COUNT|LENGTH|TIME) LIMIT|COMMAND PIPELINING) from "
    r"|DISCONNECT |PASS (?:NEW|OLD) |(?:WHITE|ALLOW|BLACK|DENY)LISTED |DNSBL rank -?[0-9]+ for "
    r"|TLS handshake failed for service=\S+ peer=|SSL_accept error from "
    rf"|(?:Anonymous|Untrusted|Trusted|Verified) TLS connection established from )\[{_ADDRESS}\]:[0-9]+"
)
_LISTED = re.compile(rf"addr {_ADDRESS} (?:listed|blocked) by domain ")
_RATE = re.compile(rf"statistics: max [a-z ]+ [0-9/s]+ for \((?:[0-9]+(?:\.[0-9]+){{3}}:)?[\w-]+:{_ADDRESS}\) at ")


def peer_of_smtpd(text: str) -> str | None:
    """The client in a line of smtpd, without ``warning: ``."""
    match = _SMTPD.match(text) or _NAMED.match(text)
    return CANONICAL_IP[next(filter(None, match.groups()))] if match else None


def peer_of(text: str) -> str | None:
    """The client in a line of another daemon."""
    match = _SCREEN.match(text) or _RATE.match(text) or _LISTED.match(text)
    return CANONICAL_IP[match["ip"]] if match else None
