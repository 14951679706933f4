#!/usr/bin/env python3
# ruff: noqa: E501  # log lines are long
"""Write a deterministic, mixed Postfix + Dovecot log in traditional syslog format.

Line shapes follow Postfix 3.7 and Dovecot 2.3 as captured from running daemons.
Addresses lie in reserved ranges: 198.18.0.0/15 and 2001:db8:0::/48 stand for the
home country, 100.64.0.0/10 and 2001:db8:f::/48 for other countries.
"""

import argparse
import heapq
import random
import sys
import time
from collections.abc import Callable, Iterator
from itertools import accumulate
from pathlib import Path

HOST = "mx1"
B32 = "0123456789BCDFGHJKLMNPQRSTVWXYZbcdfghjklmnpqrstvwxyz"
B64 = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"


class Generator:
    def __init__(self, seed: int, accounts: int, start: float, gap: float, error_rate: float) -> None:
        self.rng = random.Random(seed)
        self.accounts = accounts
        self.error_rate = error_rate
        self.cum = list(accumulate(1 / (i + 20) for i in range(accounts)))
        self.now, self.gap = start, gap
        self.heap: list[tuple[float, int, str, str]] = []
        self.seq = 0

    def user(self, i: int) -> str:
        return f"user{i:06d}@{'mail' if i % 5 else 'corp'}.example.org"

    def home_ip(self, i: int, k: int = 0) -> str:
        h = (i * 2654435761 + k * 40503) & 0xFFFFFFFF
        if h % 8 == 0:
            return f"2001:db8:0:{h >> 16:x}::{(h & 0xFFFF) or 1:x}"
        return f"198.{18 + (h >> 8 & 1)}.{h >> 24}.{(h >> 16 & 0xFF) or 1}"

    def foreign_ip(self) -> str:
        r = self.rng
        if r.random() < 0.08:
            return f"2001:db8:f:{r.randrange(1, 65536):x}::{r.randrange(1, 65536):x}"
        return f"100.{r.randrange(64, 128)}.{r.randrange(256)}.{r.randrange(1, 255)}"

    def name(self, ip: str) -> str:
        if ":" in ip or hash_str(ip) % 3 == 0:
            return f"unknown[{ip}]"
        return f"{ip.replace('.', '-')}.dyn.isp.example[{ip}]"

    def queue_id(self) -> str:
        r = self.rng
        if r.random() < 0.5:
            return f"{r.randrange(16**5):05X}{r.randrange(16**6):06X}"
        return "4j" + "".join(r.choices(B32, k=13))

    def emit(self, t: float, tag: str, text: str) -> None:
        self.seq += 1
        heapq.heappush(self.heap, (t, self.seq, tag, text))

    def send(self, t: float, user: str, ip: str, nrcpt: int = 1) -> None:
        r = self.rng
        pid, peer, q = r.randrange(2000, 32000), self.name(ip), self.queue_id()
        smtpd = f"postfix/{'submission' if pid % 3 else 'smtps'}/smtpd[{pid}]"
        self.emit(t, smtpd, f"connect from {peer}")
        if r.random() < self.error_rate:
            self.fail_smtp(t + 0.2, user, ip, pid)
        t += 0.4
        self.emit(t, smtpd, f"{q}: client={peer}, sasl_method={'PLAIN' if pid % 4 else 'LOGIN'}, sasl_username={user}")
        self.message(t, q, user, "smtp", nrcpt, lambda: f"rcpt{r.randrange(50000)}@dest{r.randrange(900)}.example.net")
        self.emit(
            t + 0.5,
            smtpd,
            f"disconnect from {peer} ehlo=2 starttls=1 auth=1 mail=1 rcpt={nrcpt} data=1 quit=1 commands={7 + nrcpt}",
        )

    def message(self, t: float, q: str, sender: str, agent: str, nrcpt: int, rcpt: Callable[[], str]) -> None:
        r = self.rng
        self.emit(
            t + 0.01,
            f"postfix/cleanup[{r.randrange(2000, 32000)}]",
            f"{q}: message-id=<{r.randrange(16**8):08x}.{r.randrange(16**8):08x}@{sender.split('@')[1]}>",
        )
        self.emit(
            t + 0.1,
            "postfix/qmgr[1412]",
            f"{q}: from=<{sender}>, size={int(r.lognormvariate(9, 1.4)) + 300}, nrcpt={nrcpt} (queue active)",
        )
        pid = r.randrange(2000, 32000)
        for _ in range(nrcpt):
            d, to = r.expovariate(1.2) + 0.1, rcpt()
            dom = to.split("@")[1]
            delays = f"delay={d + 0.2:.2g}, delays=0.1/0.01/{d * 0.4:.2g}/{d * 0.6:.2g}"
            if agent == "lmtp":
                self.emit(
                    t + d,
                    f"postfix/lmtp[{pid}]",
                    f"{q}: to=<{to}>, relay={HOST}.example.org[private/dovecot-lmtp], {delays}, dsn=2.0.0, "
                    f"status=sent (250 2.0.0 <{to}> {self.b64(22)} Saved)",
                )
            elif r.random() < 0.97:
                self.emit(
                    t + d,
                    f"postfix/smtp[{pid}]",
                    f"{q}: to=<{to}>, relay=mx.{dom}[100.64.{len(to)}.25]:25, {delays}, dsn=2.0.0, "
                    f"status=sent (250 2.0.0 Ok: queued as {self.queue_id()})",
                )
            else:
                self.emit(
                    t + d,
                    f"postfix/smtp[{pid}]",
                    f"{q}: to=<{to}>, relay=mx.{dom}[100.64.{len(to)}.25]:25, {delays}, dsn=5.1.1, "
                    f"status=bounced (host mx.{dom}[100.64.{len(to)}.25] said: 550 5.1.1 <{to}>: Recipient address rejected: User unknown (in reply to RCPT TO command))",
                )
        self.emit(t + 9, "postfix/qmgr[1412]", f"{q}: removed")

    def receive(self, t: float) -> None:
        r = self.rng
        pid, peer, q = r.randrange(2000, 32000), self.name(self.foreign_ip()), self.queue_id()
        to, frm = self.user(self.pick()), f"news{r.randrange(3000)}@sender{r.randrange(2000)}.example.com"
        self.emit(t, f"postfix/smtpd[{pid}]", f"connect from {peer}")
        if r.random() < 0.2:
            self.emit(
                t + 0.3,
                f"postfix/smtpd[{pid}]",
                f"NOQUEUE: reject: RCPT from {peer}: 554 5.7.1 <{to}>: Recipient address rejected: Access denied; "
                f"from=<{frm}> to=<{to}> proto=ESMTP helo=<{frm.split('@')[1]}>",
            )
            self.emit(
                t + 0.5, f"postfix/smtpd[{pid}]", f"disconnect from {peer} ehlo=1 mail=1 rcpt=0/1 quit=1 commands=3/4"
            )
            return
        self.emit(t + 0.3, f"postfix/smtpd[{pid}]", f"{q}: client={peer}")
        self.message(t + 0.3, q, frm, "lmtp", 1, lambda: to)
        self.emit(
            t + 0.9,
            f"postfix/smtpd[{pid}]",
            f"disconnect from {peer} ehlo=2 starttls=1 mail=1 rcpt=1 data=1 quit=1 commands=7",
        )

    def b64(self, k: int) -> str:
        return "".join(self.rng.choices(B64, k=k))

    def fail_smtp(self, t: float, user: str, ip: str, pid: int | None = None) -> None:
        pid = pid or self.rng.randrange(2000, 32000)
        self.emit(
            t,
            f"postfix/{'submission' if pid % 3 else 'smtps'}/smtpd[{pid}]",
            f"warning: {self.name(ip)}: SASL {'PLAIN' if pid % 4 else 'LOGIN'} authentication failed: (reason unavailable), sasl_username={user}",
        )

    def imap(self, t: float, user: str, ip: str, fail: bool | None = None) -> None:
        r = self.rng
        proto, ses = ("imap" if r.random() < 0.9 else "pop3"), self.b64(16)
        tail = f"method=PLAIN, rip={ip}, lip=198.18.0.10, "
        if r.random() < self.error_rate if fail is None else fail:
            self.emit(
                t,
                "dovecot",
                f"{proto}-login: Disconnected: Aborted login by logging out (auth failed, 1 attempts in 2 secs): user=<{user}>, {tail}TLS, session=<{ses}>",
            )
            return
        pid = r.randrange(2000, 32000)
        self.emit(t, "dovecot", f"{proto}-login: Login: user=<{user}>, {tail}mpid={pid}, TLS, session=<{ses}>")
        if proto == "imap":
            self.emit(
                t + r.expovariate(0.05),
                "dovecot",
                f"imap({user})<{pid}><{ses}>: Disconnected: Logged out in={r.randrange(100, 9000)} out={r.randrange(500, 90000)} "
                f"deleted=0 expunged=0 trashed=0 hdr_count={r.randrange(50)} hdr_bytes={r.randrange(20000)} body_count={r.randrange(5)} body_bytes={r.randrange(90000)}",
            )

    def pick(self) -> int:
        return self.rng.choices(range(self.accounts), cum_weights=self.cum)[0]

    def session(self) -> None:
        r = self.rng
        i, x = self.pick(), r.random()
        ip = self.home_ip(i, r.randrange(3)) if r.random() < 0.97 else self.foreign_ip()
        if x < 0.45:
            self.send(self.now, self.user(i), ip, 1 if r.random() < 0.8 else r.randrange(2, 9))
        elif x < 0.70:
            self.receive(self.now)
        else:
            self.imap(self.now, self.user(i), ip)
        burst = r.random()
        if burst < 0.0002:  # one address guesses the password of one account
            ip, u = self.foreign_ip(), self.user(self.pick())
            for k in range(120):
                (self.fail_smtp(self.now + k * 0.8, u, ip) if k % 2 else self.imap(self.now + k * 0.8, u, ip, True))
        elif burst < 0.0003:  # one address tries many accounts
            ip = self.foreign_ip()
            for k in range(200):
                self.fail_smtp(self.now + k * 0.5, self.user(r.randrange(self.accounts)), ip)
        elif burst < 0.0004:  # a stolen account sends in bulk from many countries
            u = self.user(self.pick())
            for k in range(60):
                self.send(self.now + k * 2, u, self.foreign_ip(), r.randrange(5, 30))

    def lines(self, n: int) -> Iterator[str]:
        done, last, stamp = 0, None, ""
        while done < n:
            self.session()
            self.now += self.rng.expovariate(1 / self.gap)
            while self.heap and self.heap[0][0] <= self.now and done < n:
                t, _, tag, text = heapq.heappop(self.heap)
                if int(t) != last:
                    last = int(t)
                    g = time.gmtime(last)
                    stamp = time.strftime("%b ", g) + f"{g.tm_mday:2d}" + time.strftime(" %H:%M:%S", g)
                done += 1
                yield f"{stamp} {HOST} {tag}: {text}\n"


def hash_str(s: str) -> int:
    h = 0
    for c in s:
        h = (h * 31 + ord(c)) & 0xFFFFFFFF
    return h


def main() -> None:
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument("-n", "--lines", type=int, default=1_000_000)
    p.add_argument("--seed", type=int, default=1)
    p.add_argument("--accounts", type=int, default=100_000)
    p.add_argument(
        "--gap", type=float, default=0.036, help="mean seconds of log time between sessions (0.036: about 160 lines/s)"
    )
    p.add_argument("--error-rate", type=float, default=0.015, help="share of logins with a wrong password")
    p.add_argument("--start", type=int, default=1795478400, help="Unix time of the first line")
    p.add_argument("-o", "--output", default="-")
    a = p.parse_args()
    with sys.stdout if a.output == "-" else Path(a.output).open("w", encoding="ascii") as out:
        out.writelines(Generator(a.seed, a.accounts, a.start, a.gap, a.error_rate).lines(a.lines))


if __name__ == "__main__":
    main()
