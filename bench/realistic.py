# ruff: noqa: E501  # log lines are long
"""Logs as a central log server has them: the traffic that costs more than an even one. Seeded.

Lines stand in the order of arrival; the stamps of a host that is late are as much earlier. Besides what
``gen_maillog`` makes there are many customers behind few addresses, devices with old passwords that keep below a
limit, a newsletter sent through two servers, other mail servers, and JSON around the lines.
"""

import heapq
import json
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from bench.gen_maillog import B32, Generator

START = 1795478400.0  # seconds since 1970, as gen_maillog begins
ABROAD = ("BR", "CN", "DE", "FR", "IN", "RU", "US", "VN")
SHARED = 3  # addresses that carriers put customers behind
BASE62 = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
TLS = "TLS1.3:ECDHE_X25519__RSA_PSS_RSAE_SHA256__AES_256_GCM:256"


@dataclass(frozen=True)
class Host:
    """``late``: seconds until its lines arrive. ``envelope``: "", "journald" or "filebeat"."""

    name: str
    mta: str = "postfix"
    late: float = 0.0
    envelope: str = ""


@dataclass(frozen=True)
class Shape:
    """What a log is made of. ``shared``: part of the accounts that are behind shared addresses, 0 to 1. ``devices``:
    with old passwords: at home some 14 errors a minute, abroad some 13 in ten. ``newsletter``: one account sends 280
    messages in ten minutes through each of the first two hosts. ``gap``: mean seconds between sessions."""

    hosts: tuple[Host, ...] = (Host("mx1"),)
    shared: float = 0.3
    devices: tuple[int, int] = (0, 0)
    newsletter: bool = False
    gap: float = 0.12


def late(seconds: float) -> Shape:
    """One host of four is late, and the newsletter goes through it, too."""
    return Shape((Host("mx1"), Host("mx2", late=seconds), Host("mx3"), Host("mx4")), newsletter=True)


SHAPES: dict[str, Shape] = {
    "a host late by 0 s": late(0),
    "a host late by 30 s": late(30),
    "a host late by 5 min": late(300),
    "a host late by 30 min": late(1800),
    "devices below a limit": Shape(devices=(6, 60)),
    "JSON envelopes": Shape((Host("mx1", envelope="journald"), Host("mx2", envelope="filebeat"))),
    "other mail servers": Shape((Host("mx1", "exim"), Host("mx2", "sendmail"), Host("mx3"))),
    "all of it": Shape(
        (
            Host("mx1"),
            Host("mx2", late=300),
            Host("mx3", "exim", late=30),
            Host("mx4", "sendmail"),
            Host("mx5", envelope="journald"),
            Host("mx6", late=1800),
        ),
        devices=(4, 40),
        newsletter=True,
    ),
    "a whole day": Shape((Host("mx1"), Host("mx2", late=300)), devices=(0, 8), gap=5.0),
}


def country_of(address: str) -> str:
    """The home country and eight others, as the addresses of these logs lie."""
    if address.startswith(("198.18.", "198.19.", "2001:db8:0:")):
        return "JP"
    if address.startswith("100."):
        return ABROAD[int(address[4:].partition(".")[0]) % 8]
    return "US" if address.startswith("2001:db8:f:") else ""


class Traffic(Generator):
    """The sessions of ``gen_maillog`` and what a shape has besides, on several hosts."""

    def __init__(self, seed: int, shape: Shape, accounts: int) -> None:
        super().__init__(seed, accounts, START, shape.gap, 0.015)
        self.shape = shape
        self.host = shape.hosts[0]
        self.due: list[tuple[float, int]] = []
        """(when, number of a device; below 0: of a host that the newsletter goes through)."""
        self.devices = [self._device(number) for number in range(sum(shape.devices))]
        self.due += [(self.now + self.rng.random(), number) for number in range(len(self.devices))]
        if shape.newsletter:
            self.due += [(self.now, -1), (self.now + 1, -2)]
        heapq.heapify(self.due)

    def _device(self, number: int) -> tuple[str, str, float, Host]:
        """Account, address, seconds between its tries, and its server."""
        at_home = number < self.shape.devices[0]
        address = self.home_ip(7 * number + 1, 1) if at_home else self.foreign_ip()
        host = self.shape.hosts[number % len(self.shape.hosts)]
        return self.user(7 * number + 1), address, 60 / 14 if at_home else 600 / 13, host

    def home_ip(self, i: int, k: int = 0) -> str:
        if i * 2654435761 % 1000 < 1000 * self.shape.shared:
            return f"198.19.250.{1 + i % SHARED}"
        return super().home_ip(i, k)

    def session(self) -> None:
        self.host = self.rng.choice(self.shape.hosts)
        super().session()
        while self.due[:1] and self.due[0][0] <= self.now:
            at, number = self.due[0]
            heapq.heapreplace(self.due, (at + self._act(at, number), number))

    def _act(self, at: float, number: int) -> float:
        """Does it, and returns the seconds until it is done again."""
        if number < 0:
            self.host = self.shape.hosts[-1 - number]
            self.send(at, "newsletter@corp.example.org", "198.18.7.7")
            return 600 / 280
        account, address, gap, self.host = self.devices[number]
        self.imap(at, account, address, True)
        return gap * self.rng.uniform(0.95, 1.05)

    def send(self, t: float, user: str, ip: str, nrcpt: int = 1) -> None:
        if self.host.mta == "exim":
            self._send_exim(t, user, ip, nrcpt)
        elif self.host.mta == "sendmail":
            self._send_sendmail(t, user, ip, nrcpt)
        else:
            super().send(t, user, ip, nrcpt)

    def _send_exim(self, t: float, user: str, ip: str, nrcpt: int) -> None:
        r = self.rng
        q = f"1x{self._base62(4)}-000{self._base62(3)}-{self._base62(2)}"
        tag, peer = (
            f"exim[{r.randrange(2000, 32000)}]",
            f"H=(pc{r.randrange(99)}.client.example) [{ip}]:{r.randrange(1025, 65000)}",
        )
        if r.random() < self.error_rate:
            self.emit(
                t,
                tag,
                f"plain_server authenticator failed for {peer[2:]}: 535 Incorrect authentication data (set_id={user})",
            )
        size, at = r.randrange(300, 90000), t + 0.4
        self.emit(
            at,
            tag,
            f"{q} <= {user} {peer} P=esmtpsa X={TLS} CV=no A=plain_server:{user} S={size} id={r.randrange(16**8):08x}@pc",
        )
        for _ in range(nrcpt):
            to, arrow = (
                f"rcpt{r.randrange(50000)}@dest{r.randrange(900)}.example.net",
                "=>" if r.random() < 0.97 else "**",
            )
            told = f'X={TLS} CV=yes C="250 2.0.0 Ok: queued as {self.queue_id()}"' if arrow == "=>" else (
                f": SMTP error from remote mail server after RCPT TO:<{to}>: 550 5.1.1 <{to}>: User unknown"
            )  # fmt: skip
            self.emit(
                at + r.expovariate(1.2),
                tag,
                f"{q} {arrow} {to} R=dnslookup T=remote_smtp H=mx.{to.split('@')[1]} [192.0.2.9] {told}",
            )
        self.emit(t + 9, tag, f"{q} Completed")

    def _send_sendmail(self, t: float, user: str, ip: str, nrcpt: int) -> None:
        r = self.rng
        pid = r.randrange(2000, 32000)
        tag, q = f"sm-mta[{pid}]", f"6AO{''.join(r.choices(B32, k=5))}{pid:06d}"
        if r.random() < self.error_rate:
            self.emit(
                t,
                tag,
                f"{q}: AUTH failure (PLAIN): authentication failure (-13) SASL(-13): authentication failure: Password verification failed, user={user}, relay=[{ip}]",
            )
        self.emit(t + 0.3, tag, f"AUTH=server, relay=[{ip}], authid={user}, mech=PLAIN, bits=0")
        self.emit(
            t + 0.4,
            tag,
            f"{q}: from=<{user}>, size={r.randrange(300, 90000)}, class=0, nrcpts={nrcpt}, msgid=<{r.randrange(16**8):08x}@pc>, proto=ESMTPA, daemon=MSA, relay=[{ip}]",
        )
        for _ in range(nrcpt):
            to = f"rcpt{r.randrange(50000)}@dest{r.randrange(900)}.example.net"
            told = "dsn=2.0.0, stat=Sent (Ok)" if r.random() < 0.97 else "dsn=5.1.1, stat=User unknown"
            self.emit(
                t + 0.5 + r.expovariate(1.2),
                tag,
                f"{q}: to=<{to}>, ctladdr=<{user}> (1000/1000), delay=00:00:01, xdelay=00:00:01, mailer=esmtp, pri=30100, relay=mx.{to.split('@')[1]}. [192.0.2.5], {told}",
            )

    def _base62(self, length: int) -> str:
        return "".join(self.rng.choices(BASE62, k=length))

    def emit(self, t: float, tag: str, text: str) -> None:
        super().emit(t, "", _line(self.host, t - self.host.late, tag, text))

    def lines(self, n: int) -> Iterator[str]:
        done = 0
        while done < n:
            self.session()
            self.now += self.rng.expovariate(1 / self.gap)
            while self.heap and self.heap[0][0] <= self.now and done < n:
                done += 1
                yield heapq.heappop(self.heap)[3]


def _line(host: Host, at: float, tag: str, text: str) -> str:
    fields: dict[str, object]
    program, _, pid = tag.removesuffix("]").partition("[")
    if host.envelope == "journald":
        fields = {
            "__REALTIME_TIMESTAMP": f"{at * 1e6:.0f}", "_HOSTNAME": host.name, "PRIORITY": "6", "_UID": "0",
            "_TRANSPORT": "syslog", "SYSLOG_FACILITY": "2", "SYSLOG_IDENTIFIER": program, "SYSLOG_PID": pid or "1",
            "_SYSTEMD_UNIT": "mail.service", "MESSAGE": text,
        }  # fmt: skip
        return json.dumps(fields) + "\n"
    line = f"{_stamp(int(at))} {host.name} {tag}: {text}"
    if host.envelope == "filebeat":
        stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(at)) + f".{int(at * 1000) % 1000:03d}Z"
        fields = {
            "@timestamp": stamp, "@metadata": {"beat": "filebeat", "type": "_doc", "version": "8.11.0"}, "message": line,
            "log": {"file": {"path": "/var/log/mail.log"}, "offset": int(at)}, "host": {"name": host.name},
            "agent": {"hostname": host.name, "type": "filebeat"}, "input": {"type": "log"}, "ecs": {"version": "8.0.0"},
        }  # fmt: skip
        return json.dumps(fields) + "\n"
    return line + "\n"


@lru_cache(maxsize=1024)
def _stamp(second: int) -> str:
    moment = time.gmtime(second)
    return time.strftime("%b ", moment) + f"{moment.tm_mday:2d}" + time.strftime(" %H:%M:%S", moment)


def write(path: Path, shape: str, lines: int, seed: int = 1, accounts: int = 20_000) -> Path:
    """Writes a log of one of ``SHAPES``, and dates the file as if the log had just ended. Returns its path."""
    traffic = Traffic(seed, SHAPES[shape], accounts)
    with path.open("w", encoding="ascii") as out:
        out.writelines(traffic.lines(lines))
    os.utime(path, (traffic.now, traffic.now))
    return path
