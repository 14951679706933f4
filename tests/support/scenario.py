"""What honest users and abusers do to real mail servers, with known truth. ``play`` does it and tells what happened."""

import json
import random
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from itertools import count
from pathlib import Path
from typing import Literal

from tests.support.clients import LOGINS, Login, Mail, Reply, Submitter, imap_login, pop3_login, smtp_login
from tests.support.mailservers import DOMAIN, MailServers
from tests.support.places import ABROAD, HOME, Addresses

Label = Literal["honest", "mistaken", "abusive"]  # mistaken: an honest person's wrong password
NAMES = (
    *(f"normal{n:02}" for n in range(1, 13)),
    *(f"office{n:02}" for n in range(1, 9)),
    *("victim01", "bftarget", "disttarget", "stale01", "web01", "web02", "spoof01", "spoof02", "news01", "travel01"),
    "takeover01",
    *(f"member{n:02}" for n in range(1, 41)),
    *(f"stolen{n:02}" for n in range(20)),
)
ACCOUNTS = tuple(f"{name}@{DOMAIN}" for name in NAMES)
STOLEN = tuple(f"{name}@{DOMAIN}" for name in ("victim01", "web01", "spoof01", "spoof02", "takeover01"))


@dataclass(frozen=True)
class Done:
    """One action at a server. ``at``: seconds since the start. ``account``: of a mail without login, its sender."""

    actor: str
    label: Label
    at: float
    what: Literal["login", "mail"]
    account: str
    address: str | None
    ok: bool
    reply: str


@dataclass
class Scenario:
    """``seconds``: how long it takes. ``done`` grows while it is played."""

    servers: MailServers
    seconds: float
    seed: int = 1
    done: list[Done] = field(default_factory=list)
    sources: dict[str, list[str]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._random = random.Random(self.seed)
        self._addresses = Addresses(self.seed)
        self._recipients = count()
        self._plan: list[tuple[float, Callable[[], None]]] = []
        self._lock = threading.Lock()
        self._start = 0.0

    def play(self) -> None:
        """Does everything at its time. Raises what a client raised."""
        for actor in (self._honest, self._office, self._stale_phone, self._newsletter, self._traveller, self._owners):
            actor()
        for attack in (self._stolen, self._brute_force, self._takeover, self._reverse, self._distributed):
            attack()
        self._webmail()
        self._forged_senders()
        self._start = time.monotonic()
        with ThreadPoolExecutor(32) as pool:
            futures = []
            for at, action in sorted(self._plan, key=lambda planned: planned[0]):
                threading.Event().wait(max(0.0, self._start + at - time.monotonic()))
                futures.append(pool.submit(action))
            for future in futures:
                future.result()

    def write(self, path: Path) -> None:
        """What was done, as JSON lines."""
        path.write_text("".join(json.dumps(asdict(done)) + "\n" for done in self.done))

    def of(self, **wanted: object) -> list[Done]:
        """What was done by or with these, in the order of time."""
        found = [d for d in self.done if all(getattr(d, name) == value for name, value in wanted.items())]
        return sorted(found, key=lambda d: d.at)

    # -- what one client does

    def _login(
        self, share: float, actor: str, label: Label, how: Login, address: str, name: str, secret: str | None = None
    ) -> None:
        account = f"{name}@{DOMAIN}"

        def act() -> None:
            at = self._now()
            self._note(actor, label, at, "login", account, address, how(self.servers, address, account, secret))

        self._at(share, act)

    def _submit(
        self, share: float, actor: str, label: Label, address: str | None, name: str, *mails: Mail,
        entrance: str = "submission", login: bool = True,
    ) -> None:  # fmt: skip
        account = f"{name}@{DOMAIN}"

        def act() -> None:
            with Submitter(self.servers, address, entrance) as session:
                if login:
                    at, reply = self._now(), session.login(account)
                    self._note(actor, label, at, "login", account, address, reply)
                    if not reply.ok:
                        return
                for mail in mails:
                    at, reply = self._now(), session.send(mail)
                    self._note(actor, label, at, "mail", account, address, reply)

        self._at(share, act)

    def _at(self, share: float, act: Callable[[], None]) -> None:
        self._plan.append((max(0.0, share * self.seconds), act))

    def _now(self) -> float:
        return time.monotonic() - self._start

    def _note(
        self, actor: str, label: Label, at: float, what: Literal["login", "mail"], account: str, address: str | None,
        reply: Reply,
    ) -> None:  # fmt: skip
        with self._lock:
            self.done.append(Done(actor, label, at, what, account, address, reply.ok, reply.text))

    def _mail(self, name: str, recipients: int = 1, subject: str = "hello") -> Mail:
        sender = name if "@" in name else f"{name}@{DOMAIN}"
        to = (f"r{next(self._recipients):05}@dest{self._random.randrange(30):02}.example" for _ in range(recipients))
        return Mail(sender, tuple(to), subject)

    def _new(self, actor: str, country: str, v6: bool = False) -> str:
        address = self._addresses.new(country, v6)
        self.sources.setdefault(actor, []).append(address)
        return address

    def _spread(self, times: int, start: float, end: float) -> Iterator[tuple[int, float]]:
        for n in range(times):
            yield n, start + n * (end - start) / times

    # -- honest people

    def _honest(self) -> None:
        rnd = self._random
        for n in range(1, 13):
            name = f"normal{n:02}"
            address = self._new(name, HOME, n % 4 == 0)
            for _ in range(rnd.randrange(2, 6)):
                self._submit(rnd.random(), name, "honest", address, name, self._mail(name, rnd.choice((1, 1, 2, 4))))
            for _ in range(rnd.randrange(2, 5)):
                self._login(rnd.random(), name, "honest", pop3_login if n == 5 else imap_login, address, name)
        address = self._new("typo", HOME)
        self._login(0.30, "typo", "mistaken", imap_login, address, "normal03", "oops")
        self._login(0.33, "typo", "honest", imap_login, address, "normal03")

    def _office(self) -> None:
        address = self._new("office", HOME)
        for n in range(1, 9):
            name = f"office{n:02}"
            self._login(self._random.uniform(0, 0.9), "office", "honest", imap_login, address, name)
            for _ in range(2):
                self._submit(self._random.random(), "office", "honest", address, name, self._mail(name, 2))

    def _stale_phone(self) -> None:
        address = self._new("stale", HOME)
        for _, share in self._spread(int(self.seconds / 6), 0, 0.97):
            self._login(share, "stale-phone", "mistaken", imap_login, address, "stale01", "last-years-password")
        for share in (0.5, 0.99):
            self._submit(share, "stale", "honest", address, "stale01", self._mail("stale01"))

    def _newsletter(self) -> None:
        address = self._new("newsletter", HOME)
        for _, share in self._spread(80, 0, 0.97):
            mails = (self._mail("news01", 5, "newsletter") for _ in range(3))
            self._submit(share, "newsletter", "honest", address, "news01", *mails)

    def _traveller(self) -> None:
        home, hotel, airport = (self._new("traveller", country, country == "DE") for country in (HOME, "FR", "DE"))
        for share, address in ((0.05, home), (0.15, home), (0.45, hotel), (0.6, hotel), (0.8, airport)):
            self._login(share, "traveller", "honest", imap_login, address, "travel01")
            self._submit(share + 0.02, "traveller", "honest", address, "travel01", self._mail("travel01"))

    def _owners(self) -> None:
        """Of accounts that are attacked, from the addresses that they always had."""
        for name in ("bftarget", "disttarget", "member01", "member02"):
            address = self._new(f"owner-{name}", HOME)
            for share in (0.02, 0.5, 0.7, 0.97):
                self._login(share, f"owner-{name}", "honest", imap_login, address, name)
                self._submit(share + 0.02, f"owner-{name}", "honest", address, name, self._mail(name))

    # -- attacks

    def _stolen(self) -> None:
        """Ordinary first, then 300 mails from 24 addresses in 7 countries."""
        home = self._new("victim-owner", HOME)
        for share in (0.02, 0.15, 0.3):
            self._submit(share, "victim-owner", "honest", home, "victim01", self._mail("victim01"))
        bots = [self._new("stolen", ABROAD[n % len(ABROAD)], n % 5 == 4) for n in range(24)]
        for n, share in self._spread(60, 0.4, 0.85):
            mails = (self._mail("victim01", self._random.choice((1, 1, 2, 3)), f"offer {n}") for _ in range(5))
            self._submit(share, "stolen", "abusive", bots[n % len(bots)], "victim01", *mails)

    def _brute_force(self) -> None:
        address = self._new("brute-force", "RU")
        for n, share in self._spread(120, 0.2, 0.6):
            self._login(share, "brute-force", "abusive", LOGINS[n % 3], address, "bftarget", f"guess{n}")
        self._login(0.8, "brute-force", "abusive", imap_login, address, "bftarget")

    def _takeover(self) -> None:
        """40 guesses, then the right password and 60 mails from the same address."""
        address = self._new("takeover", "NG")
        for n, share in self._spread(40, 0.5, 0.7):
            self._login(share, "takeover", "abusive", smtp_login, address, "takeover01", f"try{n}")
        mails = (self._mail("takeover01", 2, "prize") for _ in range(60))
        self._submit(0.72, "takeover", "abusive", address, "takeover01", *mails)

    def _reverse(self) -> None:
        """One address, many accounts, two passwords each."""
        address = self._new("reverse", "VN")
        names = [*(f"member{n:02}" for n in range(1, 41)), *(f"nobody{n:02}" for n in range(1, 21))]
        self._random.shuffle(names)
        for n, share in self._spread(2 * len(names), 0.15, 0.65):
            secret = ("Spring2026", "123456")[n % 2]
            self._login(share, "reverse", "abusive", LOGINS[(n // 2) % 2], address, names[n // 2], secret)
        self._login(0.8, "reverse", "abusive", smtp_login, address, "member03")

    def _distributed(self) -> None:
        """80 addresses, one account, one or two tries each."""
        for n, share in self._spread(80, 0.25, 0.75):
            address = self._new("distributed", self._random.choice(ABROAD), n % 6 == 5)
            for again in range(self._random.choice((1, 2))):
                how = LOGINS[self._random.randrange(2)]
                self._login(share + again * 0.01, "distributed", "abusive", how, address, "disttarget", f"d{n}-{again}")
        self._login(0.85, "distributed-right", "abusive", imap_login, self._addresses.new("CN"), "disttarget")

    def _webmail(self) -> None:
        """Mass sending through the trusted web server, without SMTP AUTH; and an honest user of the same webmail."""
        thief, honest = self._new("webmail-thief", "BR"), self._new("webmail", HOME)
        self._login(0.42, "webmail-thief", "abusive", imap_login, thief, "web01")
        for _, share in self._spread(150, 0.45, 0.85):
            mail = self._mail("web01", 2, "winner")
            self._submit(share, "webmail-thief", "abusive", None, "web01", mail, entrance="webmail", login=False)
        self._login(0.05, "webmail", "honest", imap_login, honest, "web02")
        for share in (0.1, 0.3, 0.5, 0.7, 0.9):
            self._submit(share, "webmail", "honest", None, "web02", self._mail("web02"), entrance="webmail")

    def _forged_senders(self) -> None:
        home, abroad = self._new("forger", HOME), self._new("strict-forger", "DE")
        for n, share in self._spread(40, 0.3, 0.7):
            mail = self._mail(f"ceo{n % 7:02}@partner{n % 3}.example", subject="invoice")
            self._submit(share, "forger", "abusive", home, "spoof01", mail)
        for n, share in self._spread(15, 0.3, 0.7):
            mail = self._mail(f"normal{1 + n % 12:02}", subject="invoice")
            self._submit(share, "strict-forger", "abusive", abroad, "spoof02", mail, entrance="strict")
