"""Messages that a webmail tells as well as its MTA: joined by the queue id that the MTA answered with.

The webmail's line names the account and the browser's address, where the MTA sees the webmail's host. Whichever line
comes first is counted; the other one is not, but for what only the webmail knows, the network and country.
"""

import msgspec

from pipeline.normalize.generations import Dumped, Generations, Key
from schemas.event import Event

SAME_MESSAGE = 60.0  # seconds between the webmail's line and the MTA's; queue ids are used again


class WebmailMessage(msgspec.Struct, gc=False, array_like=True):
    """A message of a webmail, told by one line so far: the MTA's on ``host``, or the webmail's if that is ``None``."""

    account: str | None
    client_ip: str | None
    at: float
    host: str | None


class WebmailMessages:
    """Messages told by one of their two lines. ``limit``: messages remembered."""

    def __init__(self, limit: int) -> None:
        self._half_told: Generations[WebmailMessage] = Generations(limit)

    @property
    def forgotten(self) -> int:
        """Messages that had to be forgotten to stay in bounds."""
        return self._half_told.forgotten

    @property
    def any(self) -> bool:
        """Is one of them known? Most installations have no webmail."""
        return bool(self._half_told.young or self._half_told.old)

    def told_by_webmail(self, queue_id: str, event: Event) -> str | None:
        """The host of the MTA that told it before, so that ``event`` says only the network; ``None``: it is new."""
        at = event.time.timestamp()
        mtas = self._half_told.pop(("", queue_id))
        if mtas is None or mtas.host is None or abs(mtas.at - at) > SAME_MESSAGE:
            self._half_told.put(("", queue_id), WebmailMessage(event.account, event.client_ip, at, None))
            return None
        event.told_before()
        return mtas.host

    def told_by_mta(self, key: Key, event: Event) -> None:
        """The MTA accepted a message: a webmail's line may follow, if there is a webmail."""
        at = event.time.timestamp()
        self._half_told.put(("", key[1]), WebmailMessage(event.account, event.client_ip, at, key[0]))

    def was_first(self, key: Key, event: Event, other: str | None) -> WebmailMessage | None:
        """What the webmail told of the message of an MTA's line, and counted. ``other``: whose the message is, if that
        is known and not by webmail."""
        webmails = self._half_told.get(("", key[1]))
        if webmails is None or webmails.host is not None or abs(webmails.at - event.time.timestamp()) > SAME_MESSAGE:
            return None
        if other is not None and other != webmails.account:
            return None
        self._half_told.pop(("", key[1]))
        return webmails

    def dump(self) -> Dumped[WebmailMessage]:
        """The state."""
        return self._half_told.dump()

    def load(self, dumped: Dumped[WebmailMessage]) -> None:
        """Inverse of ``dump``."""
        self._half_told.load(dumped)
