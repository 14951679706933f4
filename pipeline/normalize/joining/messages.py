"""Lines of one message of an MTA, joined by host and queue id, or by host and session.

* smtpd's ``client=…, sasl_username=`` names account and address, qmgr's ``from=… nrcpt=`` says that the message was
  accepted, delivery lines tell the outcome. Only qmgr's line makes a ``submission``: the client line is also there for
  messages refused at DATA. A message without authentication (inbound mail, a forwarding, a list, a content filter's
  re-injection) is charged to nobody.
* Where lines overtake each other (``overtaken``), qmgr's may be first: then the client's line makes the ``submission``.
* Of some MTAs account, address and message stand in different lines of one session (of Sendmail: of one process).
"""

import msgspec

from pipeline.formats.reading.programs import LOCAL, WEBMAILS
from pipeline.normalize.generations import Dumped, Generations, Key
from pipeline.normalize.joining.webmail import WebmailMessages
from schemas.event import Event

OVERTAKEN = 60.0  # seconds that lines of one message may lie apart where they overtake each other


class MtaMessage(msgspec.Struct, gc=False, array_like=True):
    """What is known of a queue id, or of a session of an MTA. ``submitted`` once it was accepted. ``waiting``: it was
    accepted, and the client's line has not come: time (seconds since 1970), recipients, bytes."""

    account: str | None
    client_ip: str | None
    service: str | None
    method: str | None
    sender: str | None = None
    submitted: bool = False
    waiting: tuple[float, int | None, int | None] | None = None


class MtaMessages:
    """What is known of each message. ``webmail_hosts``: addresses whose mail is webmail, as ``Joiner`` says.

    ``limit``: queue ids remembered.
    """

    def __init__(self, webmail_hosts: frozenset[str], webmails: WebmailMessages, limit: int) -> None:
        self.overtaken = False
        self._webmail_hosts = webmail_hosts
        self._webmails = webmails
        self._known: Generations[MtaMessage] = Generations(limit)

    @property
    def forgotten(self) -> int:
        """Queue ids and sessions that had to be forgotten to stay in bounds."""
        return self._known.forgotten

    def see(self, event: Event, queue_id: str) -> None:
        """Completes an event with a queue id in place."""
        kind = event.kind
        if kind == "delivery" or kind == "reject":  # noqa: PLR1714  # the hottest line: twice as fast as a set
            message = self._known.get((event.host, queue_id))
            if message is not None:
                _complete(event, message)
        elif kind == "other":
            if event.status == "queued":
                self._queued((event.host, queue_id), event)
            elif event.status == "removed" or event.program in LOCAL:  # the id is used again, by this host
                self._gone((event.host, queue_id))
        elif kind == "connect":
            self._open((event.host, queue_id), event)
        elif kind == "submission":
            if event.program in WEBMAILS:
                self._told_by_webmail(queue_id, event)
            else:
                self._submission((event.host, queue_id), event)

    def see_session(self, event: Event, session: str) -> None:
        """What a session's earlier lines say of this one, and what this one says of later ones."""
        key = (event.host, f"={session}")
        login = self._known.get(key)
        if event.kind == "connect":
            if login is not None:
                self._known.pop(key)  # the second such line is the end of the session
            elif event.client_ip:
                self._known.put(key, MtaMessage(None, event.client_ip, event.service, None))
            return
        if login is not None and event.kind != "delivery" and event.client_ip in (None, login.client_ip):
            event.client_ip = login.client_ip
            if event.kind not in {"auth_failure", "auth_success"}:
                event.account, event.method = event.account or login.account, event.method or login.method
                event.service = event.service or login.service
        if event.kind == "auth_success":
            self._known.put(key, MtaMessage(event.account, event.client_ip, event.service, event.method))
        elif event.status == "queued" and event.queue_id is not None:
            self._open((event.host, event.queue_id), event)

    def _open(self, key: Key, event: Event) -> None:
        webmail = event.service == "webmail" or event.client_ip in self._webmail_hosts
        if event.account or webmail:
            service = "webmail" if webmail else event.service
            before = self._known.get(key) if self.overtaken else None
            message = MtaMessage(event.account, event.client_ip, service, event.method)
            self._known.put(key, message)
            if before is not None and before.waiting is not None:
                self._came_late(key, event, message, before)
        else:
            self._known.pop(key)  # the queue id is used again, by mail that belongs to nobody

    def _came_late(self, key: Key, event: Event, message: MtaMessage, before: MtaMessage) -> None:
        """The client's line comes after the one that says that its message was accepted."""
        assert before.waiting is not None
        at, nrcpt, size = before.waiting
        account = message.account or (before.sender.lower() if before.sender else None)
        if account is None or abs(event.time.timestamp() - at) > OVERTAKEN:
            return
        message.account, message.sender, message.submitted = account, before.sender, True
        event.kind, event.account, event.service = "submission", account, message.service
        event.sender, event.nrcpt, event.size = before.sender, nrcpt, size
        self._webmails.told_by_mta(key, event)

    def _gone(self, key: Key) -> None:
        """The message has left the queue; where lines overtake, those that it is counted by may be still to come."""
        message = self._known.get(key) if self.overtaken else None
        if not self.overtaken or (message is not None and message.submitted):
            self._known.pop(key)

    def _queued(self, key: Key, event: Event) -> None:
        webmails = self._webmails.any
        message = self._webmail_was_first(key, event) if webmails else None
        if message is not None:
            self._known.put(key, message)
        else:
            message = self._known.get(key)
        if self.overtaken and (message is None or message.waiting is not None):
            waiting = event.time.timestamp(), event.nrcpt, event.size
            self._known.put(key, MtaMessage(None, None, None, None, event.sender, waiting=waiting))
            message = None
        if message is None:
            if event.client_ip is None or event.client_ip not in self._webmail_hosts:
                return
            message = MtaMessage(None, event.client_ip, "webmail", None)  # of an MTA whose one line says all
            self._known.put(key, message)
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
            if webmails or message.service == "webmail":
                self._webmails.told_by_mta(key, event)

    def _submission(self, key: Key, event: Event) -> None:
        """A line that says all at once, or the webmail's host in place of the browser's."""
        if event.client_ip in self._webmail_hosts:
            event.service = "webmail"
        message = self._webmail_was_first(key, event) if self._webmails.any else None
        if message is None:
            message = MtaMessage(event.account, event.client_ip, event.service, event.method, event.sender, True)
            self._webmails.told_by_mta(key, event)
        else:
            event.told_in_full()
            event.account, event.client_ip, event.service = message.account, message.client_ip, message.service
        self._known.put(key, message)

    def _told_by_webmail(self, queue_id: str, event: Event) -> None:
        host = self._webmails.told_by_webmail(queue_id, event)
        message = None if host is None else self._known.get((host, queue_id))
        if message is not None:
            message.account, message.client_ip, message.service = event.account, event.client_ip, "webmail"

    def _webmail_was_first(self, key: Key, event: Event) -> MtaMessage | None:
        """The message of an MTA's line that a webmail's line has told and counted."""
        known = self._known.get(key)
        other = known.account if known is not None and known.service != "webmail" else None
        told = self._webmails.was_first(key, event, other)
        if told is None:
            return None
        return MtaMessage(told.account, told.client_ip, "webmail", event.method, event.sender, True)

    def dump(self) -> Dumped[MtaMessage]:
        """The state."""
        return self._known.dump()

    def load(self, dumped: Dumped[MtaMessage]) -> None:
        """Inverse of ``dump``."""
        self._known.load(dumped)


def _complete(event: Event, message: MtaMessage) -> None:
    event.account = event.account or message.account
    event.client_ip = event.client_ip or message.client_ip
    event.service = event.service or message.service
    event.sender = event.sender or message.sender
