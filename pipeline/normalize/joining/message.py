"""What is known of one message of an MTA."""

import msgspec


class MtaMessage(msgspec.Struct, gc=False, array_like=True):
    """What is known of a queue id, or of a session of an MTA. ``submitted`` once it was accepted. ``waiting``: whose it
    is has not been said yet; when it was accepted (seconds since 1970), recipients, bytes. Until it is, ``sender`` is
    ``None``. ``nrcpt``: recipients as the client named them, if another line than the queue's has told them."""

    account: str | None
    client_ip: str | None
    service: str | None
    method: str | None
    sender: str | None = None
    submitted: bool = False
    waiting: tuple[float, int | None, int | None] | None = None
    nrcpt: int | None = None

    def behind_filter(self) -> "MtaMessage":
        """The same message under the queue id that it has behind a filter: it is counted already."""
        return MtaMessage(self.account, self.client_ip, self.service, self.method, self.sender, True)
