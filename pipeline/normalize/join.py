"""Joins lines that speak of the same message or session, host by host.

* smtpd's ``client=…, sasl_username=`` names account and address, qmgr's ``from=… nrcpt=`` says that the message was
  accepted, delivery lines tell the outcome: joined by host and queue id. Only qmgr's line makes a ``submission``:
  the client line is also there for messages refused at DATA. A message without authentication (inbound mail, a
  forwarding, a list, a content filter's re-injection) is charged to nobody.
* Sendmail, OpenSMTPD and Haraka name account, address and message in different lines of one session (of Sendmail: of
  one process): joined by host and session.
* An access server logs each failure (auth line) and then all of a session once more (login line, ``N attempts``):
  joined by session id, so that the login line counts only what was not seen.
* A webmail's line on a message it sent names the account and the browser's address, where the MTA sees the webmail's
  host: joined by the queue id that the MTA answered with. Whichever line comes first is counted; the other one is not,
  but for what only the webmail knows, the network and country.

Memory is bounded by two generations: when the young one holds half the allowance it becomes the old one, and the
old one is forgotten.
"""

from collections.abc import Iterable
from typing import Generic, TypeVar

import msgspec

from pipeline.normalize.echoes import Dump, Failures
from schemas.event import Event

SESSION_MTAS = frozenset(
    ("smtpd", "sm-mta", "sendmail", "sm-msp-queue", "sm-client", "sm-acceptingconnections", "sendmail-client", "haraka")
)
WEBMAILS = frozenset(("roundcube",))
"""Programs whose line on a message sent names the MTA's queue id."""
SAME_MESSAGE = 60.0  # seconds between the webmail's line and the MTA's; queue ids are used again
V = TypeVar("V")
Key = tuple[str, str]


class Message(msgspec.Struct, gc=False, array_like=True):
    """What is known of a queue id. ``submitted`` once qmgr accepted it."""

    account: str | None
    client_ip: str | None
    service: str | None
    method: str | None
    sender: str | None = None
    submitted: bool = False


class Sent(msgspec.Struct, gc=False, array_like=True):
    """A message of a webmail, told by one line so far: the MTA's on ``host``, or the webmail's if that is ``None``."""

    account: str | None
    client_ip: str | None
    at: float
    host: str | None


class Generations(Generic[V]):
    """A dict of at most ``limit`` entries that forgets the longest untouched half at a time."""

    def __init__(self, limit: int) -> None:
        self._half = max(1, limit // 2)
        self.young: dict[Key, V] = {}
        self.old: dict[Key, V] = {}
        self.forgotten = 0

    def __bool__(self) -> bool:
        return bool(self.young or self.old)

    def get(self, key: Key) -> V | None:
        """The value; touching it makes it young again."""
        value = self.young.get(key)
        if value is None and self.old:
            value = self.old.pop(key, None)
            if value is not None:
                self.put(key, value)
        return value

    def put(self, key: Key, value: V) -> None:
        """Sets a value, forgetting old ones if need be."""
        self.young[key] = value
        if len(self.young) > self._half:
            self.forgotten += len(self.old)
            self.old, self.young = self.young, {}

    def pop(self, key: Key) -> V | None:
        """Removes and returns a value."""
        value = self.young.pop(key, None)
        if self.old:
            older = self.old.pop(key, None)
            return older if value is None else value
        return value

    def dump(self) -> list[list[tuple[Key, V]]]:
        """Both generations, old first."""
        return [list(self.old.items()), list(self.young.items())]

    def load(self, dumped: Iterable[Iterable[tuple[Key, V]]]) -> None:
        """Inverse of ``dump``."""
        self.old, self.young = (dict(part) for part in dumped)


def _complete(event: Event, message: Message) -> None:
    event.account = event.account or message.account
    event.client_ip = event.client_ip or message.client_ip
    event.service = event.service or message.service
    event.sender = event.sender or message.sender


class _Dump(msgspec.Struct, array_like=True):
    messages: list[list[tuple[Key, Message]]]
    sessions: list[list[tuple[Key, int]]]
    sent: list[list[tuple[Key, Sent]]] = msgspec.field(default_factory=lambda: [[], []])
    failures: Dump = ([], [])


class Joiner:
    """The join state of one source (a partition of raw lines, or a file).

    ``webmail_hosts``: addresses whose mail is webmail; without authentication, its envelope sender is the account. The
    same holds for a smtpd whose service name is ``webmail``. ``limit``: queue ids remembered, about 300 bytes each.
    """

    def __init__(self, webmail_hosts: frozenset[str] = frozenset(), limit: int = 200_000) -> None:
        self._webmail_hosts = webmail_hosts
        self._messages: Generations[Message] = Generations(limit)
        self._sessions: Generations[int] = Generations(max(2, limit // 4))
        self._failures = Failures()
        self._sent: Generations[Sent] = Generations(max(2, limit // 4))

    @property
    def forgotten(self) -> int:
        """Queue ids and sessions that had to be forgotten to stay in bounds."""
        return self._messages.forgotten + self._sessions.forgotten + self._sent.forgotten

    def join(self, events: Iterable[Event]) -> None:
        """Completes events in place, in the order of their lines."""
        for event in events:
            queue_id = event.queue_id
            if event.session is not None and event.program in SESSION_MTAS:
                self._mta_session(event, (event.host, f"={event.session}"))
                if queue_id is None:
                    continue
            if queue_id is None:
                if event.kind == "auth_failure":
                    self._failures.see(event)
                    if event.session is not None:
                        self._session(event, event.session)
                elif event.reason == "temporary" and event.kind == "other":
                    self._failures.trouble(event)
                continue
            kind = event.kind
            if kind == "delivery" or kind == "reject":  # noqa: PLR1714  # the hottest line: twice as fast as a set
                message = self._messages.get((event.host, queue_id))
                if message is not None:
                    _complete(event, message)
            elif kind == "other":
                if event.status == "queued":
                    self._queued((event.host, queue_id), event)
                elif event.status == "removed" or event.program == "pickup":  # the id is used again, by this host
                    self._messages.pop((event.host, queue_id))
            elif kind == "connect":
                self._open((event.host, queue_id), event)
            elif kind == "submission":
                self._submission((event.host, queue_id), event)

    def _submission(self, key: Key, event: Event) -> None:
        if event.program in WEBMAILS:
            self._told_by_webmail(key[1], event)
            return
        if event.client_ip in self._webmail_hosts:
            event.service = "webmail"
        message = self._webmail_was_first(key, event)
        if message is None:
            message = Message(event.account, event.client_ip, event.service, event.method, event.sender, True)
            self._told_by_mta(key, event)
        else:
            event.kind = "other"
            event.account, event.client_ip, event.service = message.account, message.client_ip, message.service
        self._messages.put(key, message)

    def _told_by_webmail(self, queue_id: str, event: Event) -> None:
        at = event.time.timestamp()
        sent = self._sent.pop(("", queue_id))
        if sent is None or sent.host is None or abs(sent.at - at) > SAME_MESSAGE:
            self._sent.put(("", queue_id), Sent(event.account, event.client_ip, at, None))
            return
        event.count = 0
        message = self._messages.get((sent.host, queue_id))
        if message is not None:
            message.account, message.client_ip, message.service = event.account, event.client_ip, "webmail"

    def _told_by_mta(self, key: Key, event: Event) -> None:
        if event.service == "webmail" or self._sent:
            self._sent.put(("", key[1]), Sent(event.account, event.client_ip, event.time.timestamp(), key[0]))

    def _webmail_was_first(self, key: Key, event: Event) -> Message | None:
        """The message of an MTA's line that a webmail's line has told and counted."""
        sent = self._sent.get(("", key[1])) if self._sent else None
        if sent is None or sent.host is not None or abs(sent.at - event.time.timestamp()) > SAME_MESSAGE:
            return None
        known = self._messages.get(key)
        if known is not None and known.account not in (None, sent.account) and known.service != "webmail":
            return None
        self._sent.pop(("", key[1]))
        return Message(sent.account, sent.client_ip, "webmail", event.method, event.sender, True)

    def _open(self, key: Key, event: Event) -> None:
        webmail = event.service == "webmail" or event.client_ip in self._webmail_hosts
        if event.account or webmail:
            service = "webmail" if webmail else event.service
            self._messages.put(key, Message(event.account, event.client_ip, service, event.method))
        else:
            self._messages.pop(key)  # the queue id is used again, by mail that belongs to nobody

    def _mta_session(self, event: Event, key: Key) -> None:
        """What a session's earlier lines say of this one, and what this one says of later ones."""
        login = self._messages.get(key)
        if event.kind == "connect":
            if login is not None:
                self._messages.pop(key)  # the second such line is the end of the session
            elif event.client_ip:
                self._messages.put(key, Message(None, event.client_ip, event.service, None))
            return
        if login is not None and event.kind != "delivery" and event.client_ip in (None, login.client_ip):
            event.client_ip = login.client_ip
            if event.kind not in {"auth_failure", "auth_success"}:
                event.account, event.method = event.account or login.account, event.method or login.method
                event.service = event.service or login.service
        if event.kind == "auth_success":
            self._messages.put(key, Message(event.account, event.client_ip, event.service, event.method))
        elif event.status == "queued" and event.queue_id is not None:
            self._open((event.host, event.queue_id), event)

    def _queued(self, key: Key, event: Event) -> None:
        message = self._webmail_was_first(key, event) if self._sent else None
        if message is not None:
            self._messages.put(key, message)
        else:
            message = self._messages.get(key)
        if message is None:
            if event.client_ip is None or event.client_ip not in self._webmail_hosts:
                return
            message = Message(None, event.client_ip, "webmail", None)  # of an MTA whose one line says all
            self._messages.put(key, message)
        if message.account is None:
            message.account = event.sender.lower() if event.sender else None
        message.sender = event.sender
        event.account = message.account
        event.client_ip = message.client_ip
        event.service = message.service
        event.method = message.method
        if not message.submitted and message.account:
            event.kind = "submission"
            message.submitted = True
            self._told_by_mta(key, event)

    def _session(self, event: Event, session: str) -> None:
        key = (event.host, session)
        if event.service == "webmail":
            self._two_logs(event, key)
        elif event.program.endswith("-login"):
            event.count = max(0, event.count - (self._sessions.pop(key) or 0))
        else:
            self._sessions.put(key, (self._sessions.get(key) or 0) + event.count)

    def _two_logs(self, event: Event, key: Key) -> None:
        """Roundcube tells a failure in ``errors``, with the mechanism, and in ``userlogins``, or in one of them."""
        step = 1 if event.method else -1
        balance = self._sessions.get(key) or 0
        if balance * step < 0:
            event.count = 0
        self._sessions.put(key, balance + step)

    def dump(self) -> bytes:
        """The state, to be kept with the offset up to which lines were joined."""
        failures = self._failures.dump()
        return _PACK.encode(_Dump(self._messages.dump(), self._sessions.dump(), self._sent.dump(), failures))

    def load(self, dumped: bytes) -> None:
        """Inverse of ``dump``. Raises msgspec.DecodeError."""
        dump = _UNPACK.decode(dumped)
        self._messages.load(dump.messages)
        self._sessions.load(dump.sessions)
        self._sent.load(dump.sent)
        self._failures.load(dump.failures)


_PACK = msgspec.msgpack.Encoder()
_UNPACK = msgspec.msgpack.Decoder(_Dump)
