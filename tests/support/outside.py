"""All other mail servers: takes mail for anybody, refuses who does not exist, and remembers where each came from."""

import socketserver
import threading
from typing import NamedTuple, Self

UNKNOWN, LATER = "unknown", "later"  # recipients that begin so are refused, for ever or for now


class Arrived(NamedTuple):
    """A message. ``client``: the address that it was sent from; ``subject``: of its header."""

    client: str
    sender: str
    recipients: tuple[str, ...]
    subject: str


class Outside:
    """An SMTP server on a free port of the loopback interface; ``arrived`` grows while it runs."""

    def __init__(self) -> None:
        self.arrived: list[Arrived] = []
        self._server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), self._converse)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))

    @property
    def address(self) -> str:
        """``host:port``."""
        host, port = self._server.server_address[:2]
        return f"{host!s}:{port}"

    def of(self, subject: str) -> list[Arrived]:
        """The messages with this subject."""
        return [mail for mail in self.arrived if mail.subject == subject]

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def _converse(self, *arguments: object) -> None:
        _Conversation(self.arrived, *arguments)


class _Conversation(socketserver.StreamRequestHandler):
    def __init__(self, arrived: list[Arrived], *arguments: object) -> None:
        self._arrived = arrived
        super().__init__(*arguments)  # type: ignore[arg-type]  # what the server hands to its handlers

    def handle(self) -> None:
        """RFC 5321, as far as Postfix makes use of it."""
        self._say("220 mx.dest.example ESMTP")
        sender, recipients = "", list[str]()
        while line := self.rfile.readline():
            verb, _, rest = line.decode("utf-8", "replace").strip().partition(":")
            address = rest.partition("<")[2].partition(">")[0]
            match verb.upper().split()[0]:
                case "MAIL":
                    sender, recipients = address, []
                    self._say("250 2.1.0 Ok")
                case "RCPT" if address.startswith(UNKNOWN):
                    self._say(f"550 5.1.1 <{address}>: Recipient address rejected: User unknown")
                case "RCPT" if address.startswith(LATER):
                    self._say(f"450 4.2.0 <{address}>: Recipient address rejected: Greylisted")
                case "RCPT":
                    recipients.append(address)
                    self._say("250 2.1.5 Ok")
                case "DATA":
                    self._say("354 End data with <CR><LF>.<CR><LF>")
                    self._arrived.append(Arrived(self.client_address[0], sender, tuple(recipients), self._subject()))
                    self._say("250 2.0.0 Ok: queued")
                case "QUIT":
                    self._say("221 2.0.0 Bye")
                    return
                case _:
                    self._say("250 mx.dest.example")

    def _subject(self) -> str:
        """Reads the message."""
        subject = ""
        while (line := self.rfile.readline()) and line != b".\r\n":
            if not subject and line.startswith(b"Subject: "):
                subject = line.decode("utf-8", "replace")[9:].strip()
        return subject

    def _say(self, text: str) -> None:
        self.wfile.write(f"{text}\r\n".encode())
