"""A private Postfix and Dovecot on free ports of the loopback interface; nothing under /etc is read or written.

Foreign clients are told by XCLIENT (SMTP, POP3) and ID (IMAP). Mail is accepted and thrown away, or goes to one server
that stands for all others. The lines that connect both to Sekimori are those of ``examples/``, with other ports.
"""

import hashlib
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Self

from pipeline.adapters.demo.broker import free_port
from tests.support.servers import ROOT

EXAMPLES = ROOT / "examples"
DOMAIN = "testbed.example"
API_KEY = "change-this-key"  # of the example
MAIL_UID = 5000
SLOW_ADDRESS = "127.0.0.2"  # from which the pool "slow" sends
START_SECONDS = 60.0
ENTRANCES = ("submission", "webmail", "strict", "imap", "pop3")


def password(account: str) -> str:
    return f"pw-{hashlib.sha256(account.encode()).hexdigest()[:10]}"


def missing() -> str:
    """What keeps the servers from running here, or nothing."""
    lacking = [name for name in ("postfix", "dovecot", "doveadm") if shutil.which(name, path=_path()) is None]
    if lacking:
        return f"{', '.join(lacking)} not found"
    version = subprocess.run(
        [shutil.which("dovecot", path=_path()) or "dovecot", "--version"], capture_output=True, text=True, check=True
    ).stdout.strip()
    if not version.startswith("2.3."):
        return f"Dovecot 2.3 is wanted, this is {version}"
    return "" if os.geteuid() == 0 else "this is not root"


class MailServers:
    """``ports``: of the entrances. ``policy``, ``auth_policy``: where Postfix and Dovecot ask, ``host:port``.

    ``outside``: where mail goes, ``host:port``; else it is thrown away, but for what is sent through the pool ``slow``.
    ``policy``: as Postfix writes it, if not over TCP.
    ``submission`` takes any sender, ``strict`` only the account's own, ``webmail`` trusts the loopback interface.
    """

    def __init__(self, accounts: Iterable[str], outside: str = "", policy: str = "") -> None:
        # The daemons' own users must reach it, and UNIX socket names are short: not pytest's folder.
        self.folder = Path(tempfile.mkdtemp(prefix="sekimori-", dir="/tmp"))
        self.folder.chmod(0o755)
        self.ports = {name: free_port() for name in ENTRANCES}
        self.policy, self.auth_policy = (f"127.0.0.1:{free_port()}" for _ in range(2))
        self._policy = policy or f"inet:{self.policy}"
        self.mail_log, self.dovecot_log = self.folder / "log/mail.log", self.folder / "log/dovecot.log"
        self.postfix, self.dovecot = self.folder / "postfix", self.folder / "dovecot"
        self._accounts, self._outside = sorted(accounts), outside

    def __enter__(self) -> Self:
        try:
            self._write()
            _run("postfix", "-c", str(self.postfix / "etc"), "check")  # makes the queue's folders
            _run("dovecot", "-c", str(self.dovecot / "dovecot.conf"))
            _run("postfix", "-c", str(self.postfix / "etc"), "start")
            self._wait_until_open()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        pids = [self.postfix / "spool/pid/master.pid", self.dovecot / "run/master.pid"]
        running = [pid for path in pids if (pid := _pid(path))]
        for pid in running:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGTERM)
        for pid in running:
            _wait_until_ended(pid)
        shutil.rmtree(self.folder)

    def _write(self) -> None:
        for name in ("log", "postfix/etc", "postfix/spool", "postfix/data", "dovecot/state", "dovecot/mail"):
            (self.folder / name).mkdir(parents=True)
        shutil.chown(self.postfix / "data", "postfix")
        os.chown(self.dovecot / "mail", MAIL_UID, MAIL_UID)
        etc = self.postfix / "etc"
        (etc / "main.cf").write_text(self._main_cf() + self._example("postfix/main.cf"))
        (etc / "master.cf").write_text(self._master_cf())
        (etc / "senders").write_text("".join(f"{a} {a}\n" for a in self._accounts))
        (self.dovecot / "users").write_text("".join(f"{a}:{{PLAIN}}{password(a)}\n" for a in self._accounts))
        (self.dovecot / "sekimori.conf").write_text(self._example("dovecot/sekimori-2.3.conf"))
        (self.dovecot / "dovecot.conf").write_text(self._dovecot_conf())

    def _example(self, name: str) -> str:
        text = (EXAMPLES / name).read_text()
        for documented, ours in (
            ("inet:127.0.0.1:10040", self._policy),
            ("127.0.0.1:10041", self.auth_policy),
            ("# -o smtp_bind_address=192.0.2.10", f"  -o smtp_bind_address={SLOW_ADDRESS}"),
        ):
            text = text.replace(documented, ours)
        return text

    def _main_cf(self) -> str:
        spool = self.postfix / "spool"
        host, _, port = self._outside.partition(":")
        # No domain that we write to exists, and what cannot be found goes to the fallback relay.
        fallback = f"smtp_fallback_relay = [{host}]:{port}\n" if port else ""
        return f"""compatibility_level = 3.6
queue_directory = {spool}
data_directory = {self.postfix}/data
mail_owner = postfix
setgid_group = postdrop
maillog_file = {self.mail_log}
maillog_file_prefixes = {self.folder}
myhostname = mx.{DOMAIN}
mydomain = {DOMAIN}
myorigin = $mydomain
mydestination =
local_recipient_maps =
alias_maps =
alias_database =
inet_interfaces = 127.0.0.1
inet_protocols = all
mynetworks = 127.0.0.0/8
smtpd_peername_lookup = no
smtp_dns_support_level = disabled
smtp_host_lookup = native
biff = no
default_transport = {"smtp" if port else "discard"}:
relay_transport = discard:
virtual_transport = discard:
local_transport = discard:
smtpd_authorized_xclient_hosts = 127.0.0.0/8
smtpd_sasl_type = dovecot
smtpd_sasl_path = private/auth
smtpd_sasl_auth_enable = no
smtpd_sender_login_maps = texthash:{self.postfix}/etc/senders
{fallback}"""

    def _master_cf(self) -> str:
        submission, webmail = self._example("postfix/submission.cf"), self._example("postfix/webmail.cf")
        services = "".join(
            (
                f"127.0.0.1:{self.ports['submission']} inet n - n - - smtpd\n{submission}",
                f"127.0.0.1:{self.ports['strict']} inet n - n - - smtpd\n{submission}",
                "  -o smtpd_sender_restrictions=reject_sender_login_mismatch\n",
                f"127.0.0.1:{self.ports['webmail']} inet n - n - - smtpd\n{webmail}",
            )
        )
        return f"""{services}{self._example("postfix/slow.cf")}pickup unix n - n 60 1 pickup
cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
verify unix - - n - 1 verify
flush unix n - n 1000? 0 flush
proxymap unix - - n - - proxymap
error unix - - n - - error
retry unix - - n - - error
discard unix - - n - - discard
smtp unix - - n - - smtp
anvil unix - - n - 1 anvil
postlog unix-dgram n - n - 1 postlogd
"""

    def _dovecot_conf(self) -> str:
        return f"""base_dir = {self.dovecot}/run
state_dir = {self.dovecot}/state
log_path = {self.dovecot_log}
protocols = imap pop3
listen = 127.0.0.1
ssl = no
disable_plaintext_auth = no
auth_mechanisms = plain login
auth_failure_delay = 0
login_trusted_networks = 127.0.0.1
mail_location = maildir:~/Maildir
first_valid_uid = {MAIL_UID}
mail_max_userip_connections = 100
passdb {{
  driver = passwd-file
  args = username_format=%u {self.dovecot}/users
}}
userdb {{
  driver = static
  args = uid={MAIL_UID} gid={MAIL_UID} home={self.dovecot}/mail/%u
}}
service imap-login {{
  inet_listener imap {{
    port = {self.ports["imap"]}
  }}
  inet_listener imaps {{
    port = 0
  }}
}}
service pop3-login {{
  inet_listener pop3 {{
    port = {self.ports["pop3"]}
  }}
  inet_listener pop3s {{
    port = 0
  }}
}}
service auth {{
  client_limit = 4096
  unix_listener {self.postfix}/spool/private/auth {{
    mode = 0660
    user = postfix
    group = postfix
  }}
}}
# Dovecot's own delay for addresses that fail would hide what is tested
service anvil {{
  client_limit = 2048
  unix_listener anvil-auth-penalty {{
    mode = 0
  }}
}}
!include {self.dovecot}/sekimori.conf
"""

    def _wait_until_open(self) -> None:
        deadline = time.monotonic() + START_SECONDS
        for name, port in self.ports.items():
            while not _open(port):
                if time.monotonic() > deadline:
                    logs = "\n".join(path.read_text() for path in (self.mail_log, self.dovecot_log) if path.exists())
                    raise AssertionError(f"{name} at port {port} is not open:\n{logs}")
                time.sleep(0.02)


def _run(command: str, *arguments: str) -> None:
    """Output goes to a file: a daemon that is left running would hold a pipe open for ever."""
    env = {"PATH": _path(), "TZ": "UTC", "LANG": "C"}
    with tempfile.TemporaryFile("w+") as output:
        run = subprocess.run(
            [command, *arguments],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            env=env,
            check=False,
            timeout=60,
        )
        output.seek(0)
        assert run.returncode == 0, f"{command}: {output.read()}"


def _path() -> str:
    return f"/usr/sbin:/sbin:{os.environ.get('PATH', os.defpath)}"


def _open(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _pid(path: Path) -> int:
    try:
        return int(path.read_text())
    except (OSError, ValueError):
        return 0


def _wait_until_ended(pid: int, seconds: float = 10.0) -> None:
    """Kills what does not end in time. The process is no child of ours."""
    deadline = time.monotonic() + seconds
    with suppress(ProcessLookupError):
        while True:
            os.kill(pid, signal.SIGKILL if time.monotonic() > deadline else 0)
            time.sleep(0.02)
