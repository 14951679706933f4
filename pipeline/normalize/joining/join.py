"""Joins lines that speak of the same message. Host by host; memory is bounded."""

from collections.abc import Iterable

import msgspec

from pipeline.formats.reading.programs import SHARED_SESSIONS
from pipeline.normalize.generations import Dumped, Key
from pipeline.normalize.joining.messages import MtaMessage, MtaMessages
from pipeline.normalize.joining.webmail import WebmailMessage, WebmailMessages
from schemas.event import Event


class JoinState(msgspec.Struct, array_like=True):
    """What is saved. Fields are read by their places: new ones come last, and have defaults. ``sessions`` and
    ``echoes``: of failures, as earlier versions joined them here (see ``attempts``)."""

    messages: Dumped[MtaMessage]
    sessions: Dumped[int] = msgspec.field(default_factory=lambda: [[], []])
    webmails: Dumped[WebmailMessage] = msgspec.field(default_factory=lambda: [[], []])
    echoes: tuple[list[tuple[Key, float]], list[tuple[Key, float]]] = ([], [])


class Joiner:
    """The join state of one source (a partition of raw lines, or a file).

    ``webmail_hosts``: addresses whose mail is webmail; without authentication, its envelope sender is the account. The
    same holds for a smtpd whose service name is ``webmail``. ``limit``: queue ids remembered, about 300 bytes each.
    """

    def __init__(self, webmail_hosts: frozenset[str] = frozenset(), limit: int = 200_000) -> None:
        self._webmails = WebmailMessages(max(2, limit // 4))
        self._messages = MtaMessages(webmail_hosts, self._webmails, limit)

    @property
    def forgotten(self) -> int:
        """Queue ids that had to be forgotten to stay in bounds."""
        return self._messages.forgotten + self._webmails.forgotten

    def join(self, events: Iterable[Event]) -> None:
        """Completes events in place, in the order of their lines."""
        see_message = self._messages.see
        for event in events:
            if event.session is not None and event.program in SHARED_SESSIONS:
                self._messages.see_session(event, event.session)
            if event.queue_id is not None:
                see_message(event, event.queue_id)

    @property
    def scattered(self) -> bool:
        """May lines that belong together come in any order? Once they may, it stays so."""
        return self._messages.overtaken

    @scattered.setter
    def scattered(self, value: bool) -> None:
        self._messages.overtaken = value

    def dump(self) -> bytes:
        """The state, to be kept with the offset up to which lines were joined."""
        return _PACK.encode(JoinState(self._messages.dump(), webmails=self._webmails.dump()))

    def load(self, dumped: bytes) -> JoinState:
        """Inverse of ``dump``; returns what it found. Raises msgspec.DecodeError."""
        state = _UNPACK.decode(dumped)
        self._messages.load(state.messages)
        self._webmails.load(state.webmails)
        return state


_PACK = msgspec.msgpack.Encoder()
_UNPACK = msgspec.msgpack.Decoder(JoinState)
