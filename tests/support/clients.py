"""Mail clients that appear to be anywhere: SMTP and POP3 by XCLIENT, IMAP by ID."""

import re
import smtplib
import socket
from collections.abc import Callable
from contextlib import suppress
from typing import NamedTuple, Self

from tests.support.mailservers import MailServers, password

SECONDS = 60.0


class Reply(NamedTuple):
    """``queue_id``: of a message that was accepted."""

    ok: bool
    text: str
    queue_id: str = ""


class Mail(NamedTuple):
    """An envelope, and what the header From says if that is somebody else."""

    sender: str
    recipients: tuple[str, ...] = ("friend@elsewhere.example",)
    subject: str = "hello"
    header_from: str = ""


class Submitter:
    """One SMTP session at an entrance. ``address`` None: the client is this host itself."""

    def __init__(self, servers: MailServers, address: str | None, entrance: str = "submission") -> None:
        self._smtp = smtplib.SMTP("127.0.0.1", servers.ports[entrance], "pc.client.example", SECONDS)
        try:
            self._smtp.ehlo()
            if address is not None:
                self._appear_as(address)
        except BaseException:
            self._smtp.close()
            raise

    def _appear_as(self, address: str) -> None:
        prefix = "IPV6:" if ":" in address else ""
        code, text = self._smtp.docmd("XCLIENT", f"ADDR={prefix}{address} NAME=[UNAVAILABLE]")
        assert code == 220, text
        self._smtp.helo_resp = self._smtp.ehlo_resp = None
        self._smtp.ehlo()

    def login(self, account: str, secret: str | None = None, mechanism: str = "PLAIN") -> Reply:
        """``secret``: by default the right password."""
        self._smtp.user, self._smtp.password = account, secret or password(account)
        answer = self._smtp.auth_plain if mechanism == "PLAIN" else self._smtp.auth_login
        try:
            code, text = self._smtp.auth(mechanism, answer)
        except smtplib.SMTPAuthenticationError as error:
            return _reply(error.smtp_code, error.smtp_error)
        return _reply(code, text)

    def send(self, mail: Mail) -> Reply:
        """Tries one message."""
        code, text = self._smtp.mail(mail.sender)
        accepted = False
        for recipient in mail.recipients if code == 250 else ():
            code, text = self._smtp.rcpt(recipient)
            accepted = accepted or code == 250
        if not accepted:
            self._smtp.rset()
            return _reply(code, text)
        header_from = mail.header_from or mail.sender
        try:
            return _reply(*self._smtp.data(f"From: {header_from}\nSubject: {mail.subject}\n\n{'text ' * 20}\n"))
        except smtplib.SMTPDataError as error:
            return _reply(error.smtp_code, error.smtp_error)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        with suppress(smtplib.SMTPException, OSError):
            self._smtp.quit()
        self._smtp.close()


def submit(servers: MailServers, address: str | None, account: str, mail: Mail | None = None) -> Reply:
    """One session: login with the right password, one message."""
    with Submitter(servers, address) as session:
        login = session.login(account)
        return session.send(mail or Mail(account)) if login.ok else login


def smtp_login(servers: MailServers, address: str, account: str, secret: str | None = None) -> Reply:
    with Submitter(servers, address) as session:
        return session.login(account, secret, "LOGIN")


def imap_login(servers: MailServers, address: str, account: str, secret: str | None = None) -> Reply:
    with socket.create_connection(("127.0.0.1", servers.ports["imap"]), SECONDS) as connection:
        lines = connection.makefile("rb")
        lines.readline()

        def command(text: str) -> str:
            connection.sendall(f"a {text}\r\n".encode())
            while True:
                line = lines.readline().decode("utf-8", "replace")
                if not line or line.startswith("a "):
                    return line.removeprefix("a ").strip()

        command(f'ID ("name" "client" "x-originating-ip" "{address}" "x-originating-port" "40000")')
        answer = command(f'LOGIN {account} "{secret or password(account)}"')
        command("LOGOUT")
    return Reply(answer.startswith("OK"), answer)


def pop3_login(servers: MailServers, address: str, account: str, secret: str | None = None) -> Reply:
    with socket.create_connection(("127.0.0.1", servers.ports["pop3"]), SECONDS) as connection:
        lines = connection.makefile("rb")
        lines.readline()
        answer = ""
        for command in (f"XCLIENT ADDR={address} PORT=40000", f"USER {account}", f"PASS {secret or password(account)}"):
            connection.sendall(f"{command}\r\n".encode())
            answer = lines.readline().decode("utf-8", "replace").strip()
        connection.sendall(b"QUIT\r\n")
        lines.readline()
    return Reply(answer.startswith("+OK"), answer)


Login = Callable[[MailServers, str, str, str | None], Reply]
LOGINS: tuple[Login, ...] = (smtp_login, imap_login, pop3_login)


def _reply(code: int, text: bytes | str) -> Reply:
    answer = f"{code} {text if isinstance(text, str) else text.decode('utf-8', 'replace')}"
    queued = re.search(r"queued as (\S+)", answer)
    return Reply(200 <= code < 300, answer, queued[1] if queued else "")
