"""A normalised event: one log line, understood. Topic ``events``."""

from datetime import UTC, datetime

import msgspec

from schemas.kinds import EventKind


class Event(msgspec.Struct, gc=False, omit_defaults=True):
    """One log line, understood.

    Fields that a line does not carry are ``None``. ``country``, ``network`` and ``channel`` are filled by
    ``pipeline.normalize.enrich``; ``account``, ``client_ip``, ``sender`` of a delivery by what joins lines.

    * ``time``: UTC, as written in the line.
    * ``host``: the host that wrote the line; empty where the line has none (Dovecot's own log file).
    * ``program``: the daemon, without pid and without instance name (``smtpd``, ``qmgr``, ``imap-login``, ``auth``).
    * ``service``: the entrance: ``submission``, ``smtps``, ``webmail``, ``smtp``, ``imap``, ``pop3``, ``managesieve``.
    * ``account``: the SASL user name, lower case. ``client_ip``: canonical text.
    * ``nrcpt``: recipients of the message; ``size``: bytes.
    * ``count``: attempts that the line stands for and no other line told before; 0: all were told, and nothing counts
      again, but of a submission its network.
    * ``status``: ``sent``, ``bounced``, ``deferred``, ``expired`` of a delivery; the reply code of a reject; ``queued``
      where a message got its queue id, ``removed`` where it ended.
    * ``method``: SASL mechanism. ``reason``: for auth failures an ``AuthReason``, else short text of the server.
    * ``dsn``: enhanced status code (RFC 3463) of a delivery. ``session``: of an access server, or the
      process of an MTA that speaks with one client. Of a message that goes through a filter, the queue id that it had
      before, or gets behind it.
    * ``pool``: the sending pool that a delivery left through, as decisions name it (``route``); none is the main pool.
    """

    kind: EventKind
    time: datetime
    host: str
    program: str
    service: str | None = None
    account: str | None = None
    client_ip: str | None = None
    queue_id: str | None = None
    sender: str | None = None
    recipient: str | None = None
    nrcpt: int | None = None
    size: int | None = None
    status: str | None = None
    method: str | None = None
    reason: str | None = None
    dsn: str | None = None
    session: str | None = None
    message_id: str | None = None
    count: int = 1
    country: str | None = None
    network: str | None = None
    channel: str | None = None
    pool: str | None = None

    @property
    def told(self) -> bool:
        """Other lines told all that this one stands for, so it does not count again.

        A submission that is told counts for its network alone: the MTA's line, which counted for the account, knew
        only the webmail's host.
        """
        return self.count <= 0

    def told_before(self, attempts: int | None = None) -> None:
        """Other lines told so many of its attempts (``None``: all), and those count there. Written as ``count``."""
        self.count = 0 if attempts is None else max(0, self.count - attempts)

    def told_in_full(self) -> None:
        """Another line told all of it, and with the right network: it counts for nobody. Written as kind ``other``."""
        self.kind = "other"


EXAMPLES: tuple[Event, ...] = (
    Event(
        kind="submission",
        time=datetime(2026, 11, 24, 1, 50, 43, tzinfo=UTC),
        host="mx",
        program="qmgr",
        service="submission",
        account="alice@example.org",
        client_ip="198.51.100.7",
        queue_id="4jYQJg4KFnzJB9r",
        sender="alice@example.org",
        nrcpt=2,
        size=430,
        method="PLAIN",
        country="JP",
        network="198.51.100.7",
        channel="smtp",
    ),
    Event(
        kind="auth_failure",
        time=datetime(2026, 11, 24, 1, 50, 44, tzinfo=UTC),
        host="",
        program="auth",
        service="imap",
        account="bob@example.org",
        client_ip="2001:db8::26",
        reason="password",
        session="AwA68PtgmFjGEg5J",
        country="RU",
        network="2001:db8::/64",
        channel="access",
    ),
    Event(
        kind="delivery",
        time=datetime(2026, 11, 24, 1, 50, 45, tzinfo=UTC),
        host="mx",
        program="smtp",
        account="alice@example.org",
        client_ip="198.51.100.7",
        queue_id="4jYQJg4KFnzJB9r",
        recipient="nobody@dest.example",
        status="bounced",
        dsn="5.1.1",
        reason="User unknown",
        pool="slow",
    ),
)
