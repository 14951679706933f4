"""Lines of one message of an MTA, joined by host and queue id, or by host and session.

* smtpd's ``client=…, sasl_username=`` names account and address, qmgr's ``from=… nrcpt=`` says that the message was
  accepted, delivery lines tell the outcome. Only qmgr's line makes a ``submission``: the client line is also there for
  messages refused at DATA. A message without authentication (inbound mail, a forwarding, a list) is charged to nobody.
* A filter before the queue (``smtpd_proxy_filter``): smtpd's client line names no queue id, and the one behind the
  filter no account. The process that accepts the message says both, before qmgr's line or after it. The same holds for
  Dovecot's submission service, where the MTA behind it is not told who the client is.
* A filter behind the queue (``content_filter``): the message comes back without an account, under another queue id. It
  is counted once, under the first; but what becomes of it is its account's.
* Where lines overtake each other (``overtaken``), qmgr's may be first: then the client's line makes the ``submission``.
* Of some MTAs account, address and message stand in different lines of one session (of Sendmail: of one process).
"""

from pipeline.formats.reading.programs import LOCAL, RELAYED, WEBMAILS
from pipeline.normalize.generations import Dumped, Generations, Key
from pipeline.normalize.joining.message import MtaMessage
from pipeline.normalize.joining.webmail import WebmailMessages
from schemas.event import Event

OVERTAKEN = 60.0  # seconds that lines of one message may lie apart where they overtake each other
_LOOPBACK = ("127.", "::1")
_WITHIN = (*_LOOPBACK, "10.", "172.", "192.168.", "fc", "fd", "fe80:")
"""How addresses begin from which a filter may hand mail back; of others' mail from there, nothing comes of it."""


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
                if event.session is not None:
                    self._pass_on(message, (event.host, event.session))
        elif kind == "other":
            if event.status == "queued":
                self._queued((event.host, queue_id), event)
            elif event.status == "removed" or event.program in LOCAL:  # the id is used again, by this host
                self._gone((event.host, queue_id))
            elif event.session is not None:
                self._pass_on(self._known.get((event.host, queue_id)), (event.host, event.session))
        elif kind == "connect":
            key = event.host, queue_id
            if event.status is not None:
                self._accepted(key, event)
            elif event.account is not None or not self._came_back(key, event):
                self._open(key, event)
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
            if event.status == "queued":
                self._of_process(key, event, login)
            elif event.queue_id is not None:
                return  # it says under which queue id the message was known before: ``_came_back``
            elif event.account is not None:
                self._known.put(key, MtaMessage(event.account, event.client_ip, event.service, event.method))
            elif login is not None:
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

    def _of_process(self, key: Key, event: Event, client: MtaMessage | None) -> None:
        """What the process that accepts a message has said of its client; if it says it itself, both must agree."""
        if client is not None and not self.overtaken and event.program not in RELAYED:
            self._known.pop(key)  # the next message has a line of its own, which may be lost
        if client is not None and event.account in (None, client.account):
            event.account, event.client_ip, event.method = client.account, client.client_ip, client.method
            event.service = event.service or client.service
        if event.queue_id is None and event.account is not None:
            event.kind, event.service = "submission", self._entrance(event)

    def _accepted(self, key: Key, event: Event) -> None:
        """Who stands before the queue handed a message on: this is its client's line, before qmgr's or after it."""
        before = self._known.get(key)
        if before is not None and before.waiting is None and before.account is not None:
            return  # it was told who it is, its webmail has told it, or the line is there twice
        if before is None and event.program in RELAYED:
            return  # the MTA's lines are elsewhere; if it was told who the client is, it is counted there
        if event.account is None:
            self._known.pop(key)
        elif before is None and not self.overtaken:  # its queue is elsewhere: nothing will follow
            event.kind, event.service = "submission", self._entrance(event)
            self._submission(key, event)
            self._known.pop(key)
        else:
            service = self._entrance(event)
            message = MtaMessage(event.account, event.client_ip, service, event.method, nrcpt=event.nrcpt)
            self._known.put(key, message)
            if before is not None and before.sender is not None:
                self._came_late(key, event, message, before)

    def _came_back(self, key: Key, event: Event) -> bool:
        """Is it a filter that hands on a message? Whose it is the filter says by now, or another line will."""
        if event.session is not None:
            before = self._known.get((event.host, event.session))
            if before is not None and before.account is not None:
                self._known.put(key, before.behind_filter())
                return True
        elif event.client_ip is None or not event.client_ip.startswith(_WITHIN):
            return False
        if self._entrance(event) == "webmail":
            return False
        if not self.overtaken or self._known.get(key) is None:
            at = event.time.timestamp()
            self._known.put(key, MtaMessage(None, None, None, None, waiting=(at, None, None)))
        return True

    def _pass_on(self, message: MtaMessage | None, behind: Key) -> None:
        """A filter says under which queue id it handed a message on. It is believed of those alone that came back."""
        if message is None or message.account is None:
            return
        known = self._known.get(behind)
        if known is not None and known.waiting is not None:
            self._known.put(behind, message.behind_filter())

    def _entrance(self, event: Event) -> str | None:
        """``webmail`` for mail of a webmail's host, and of whoever logs in from the mail host itself."""
        address = event.client_ip
        if address is not None and (address in self._webmail_hosts or address.startswith(_LOOPBACK)):
            return "webmail" if event.account is not None or address in self._webmail_hosts else event.service
        return event.service

    def _open(self, key: Key, event: Event) -> None:
        service = self._entrance(event)
        if event.account or service == "webmail":
            before = self._known.get(key) if self.overtaken else None
            message = MtaMessage(event.account, event.client_ip, service, event.method)
            self._known.put(key, message)
            if before is not None and before.waiting is not None and before.sender is not None:
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
        event.sender, event.nrcpt, event.size = before.sender, message.nrcpt or nrcpt, size
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
        if (self.overtaken and message is None) or (message is not None and message.waiting is not None):
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
            event.kind, event.nrcpt = "submission", message.nrcpt or event.nrcpt
            message.submitted = True
            if webmails or message.service == "webmail":
                self._webmails.told_by_mta(key, event)

    def _submission(self, key: Key, event: Event) -> None:
        """A line that says all at once, or the webmail's host in place of the browser's."""
        event.service = self._entrance(event)
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
