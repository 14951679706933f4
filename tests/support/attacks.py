"""What strangers can bring about with the rules: scripts of attacks as events, and what follows for others.

Pure: each script yields one event after another from a time on, everything is counted, judged and looked up by the very
parts that run in the jobs. ``table`` is what docs/attack-bounds.md shows.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import islice

from msgspec.structs import replace

from pipeline.detect.allowlist import Allowlist
from pipeline.detect.decide import duration_text
from pipeline.detect.detector import Detector
from pipeline.enforce.table import DecisionTable
from pipeline.networks import network
from pipeline.normalize.tally import Tallier
from pipeline.rules import RULES, RuleSet, build
from pipeline.rules.config import load
from schemas.enforcement import Decision
from schemas.event import Event

START = 1_795_478_400.0  # midnight
HOUR, DAY = 3600.0, 86_400.0
HOME, ABROAD = "JP", "BR"
OWNER, NEWCOMER, OWN = "owner@x.example", "newcomer@x.example", "attacker@x.example"
USUAL, ELSEWHERE, TRAVELLING = "198.51.100.7", "198.51.101.9", "198.19.0.9"
OFFICE, OFFICE_ABROAD, HOTEL, HOTEL_ABROAD = "203.0.113.80", "192.0.2.80", "203.0.114.80", "192.0.3.80"
WEBMAIL = "203.0.115.80"  # under [trusted]
MOST = 2500  # events of one attack; whoever needs more has not brought it about
COLLEAGUES = tuple(f"colleague{n}@x.example" for n in range(200))
SPAN = 72 * HOUR  # for which an attack is kept up


def country_of(address: str) -> str:
    """The country of the addresses here."""
    return ABROAD if address.startswith(("198.18.", "198.19.", "192.0.", "2001:db8:b")) else HOME


def tried(account: str, address: str, at: float) -> Event:
    """One wrong password."""
    return Event(
        "auth_failure", datetime.fromtimestamp(at, UTC), "mx", "imap-login", "imap", account, address,
        reason="password", country=country_of(address), network=network(address), channel="access",
    )  # fmt: skip


def came(account: str, address: str, at: float) -> Event:
    """One login."""
    return replace(tried(account, address, at), kind="auth_success", reason=None)


def sent(account: str, address: str, at: float) -> Event:
    """One message to one recipient."""
    return replace(
        came(account, address, at), kind="submission", program="smtpd", service="submission", sender=account, nrcpt=1
    )


def life() -> Iterator[Event]:
    """A week before: the owner at his place, and 200 people behind each of two addresses, every day."""
    for n in range(8):
        at = START - 7 * DAY + n * 23 * HOUR
        yield came(OWNER, USUAL, at)
        for number, account in enumerate(COLLEAGUES):
            yield came(account, OFFICE, at + 1 + number)
            yield came(f"abroad.{account}", OFFICE_ABROAD, at + 1 + number)


Script = Callable[[float], Iterator[Event]]


def guesses(account: str, sources: Callable[[int], str], every: float) -> Script:
    """One try after another at an account, the n-th from ``sources(n)``."""

    def script(at: float) -> Iterator[Event]:
        for n in range(MOST):
            yield tried(account, sources(n), at + n * every)

    return script


def names(address: str, every: float) -> Script:
    """A wrong password for one account after another, of accounts that there need not be."""

    def script(at: float) -> Iterator[Event]:
        for n in range(MOST):
            yield tried(f"made.up.{n}@x.example", address, at + n * every)

    return script


def before_he_comes(address: str, tries: int, every: float) -> Script:
    """So many tries at the owner's account from an address, and the owner logs in there."""

    def script(at: float) -> Iterator[Event]:
        for n in range(tries):
            yield tried(OWNER, address, at + n * every)
        yield came(OWNER, address, at + tries * every)

    return script


def then_from(address: str, before: int) -> Script:
    """Tries at the owner's account from so many networks, and from ``address`` as well."""

    def script(at: float) -> Iterator[Event]:
        for n in range(before):
            yield tried(OWNER, address if n == 0 else subnet(n), at + n)

    return script


def mail(address: str, every: float) -> Script:
    """Messages of the attacker's own account."""

    def script(at: float) -> Iterator[Event]:
        for n in range(MOST):
            yield sent(OWN, address, at + n * every)

    return script


def subnet(n: int) -> str:
    """The n-th /64 of one customer's /48, at home."""
    return f"2001:db8:a:{n % 65536:x}::1"


def bot(n: int) -> str:
    """The n-th of a botnet's addresses, abroad."""
    return f"198.18.{n // 250 % 256}.{n % 250 + 1}"


def only(address: str) -> Callable[[int], str]:
    """Always the same."""
    return lambda n: address


@dataclass(frozen=True)
class Attack:
    """``what``: who does what. ``victim``: whose account is looked at. ``address``: where the others are who are looked
    at, if not where the attack comes from."""

    rule: str
    what: str
    script: Script
    victim: str = OWNER
    address: str = ""


ATTACKS: tuple[Attack, ...] = (
    Attack("success_after_failures", "tries at the owner's account behind an address that he shares at home, before he "
           "logs in there", before_he_comes(OFFICE, 30, 1)),
    Attack("success_after_failures", "the same abroad", before_he_comes(OFFICE_ABROAD, 10, 60)),
    Attack("success_after_failures", "tries from elsewhere", guesses(OWNER, bot, 1)),
    Attack("account_many_origins", "tries without the password", guesses(OWNER, bot, 1)),
    Attack("account_send_rate", "tries without the password", guesses(OWNER, bot, 1)),
    Attack("account_send_surge", "tries without the password", guesses(OWNER, bot, 1)),
    Attack("foreign_senders", "tries without the password", guesses(OWNER, bot, 1)),
    Attack("failed_recipients", "tries without the password", guesses(OWNER, bot, 1)),
    Attack("account_many_guessers", "one try from each /64 of one customer's /48", guesses(OWNER, subnet, 1)),
    Attack("account_many_guessers", "one try every 4 min, each from another address", guesses(OWNER, bot, 240)),
    Attack("account_many_guessers", "one try every 36 min, each from another address", guesses(OWNER, bot, 2160)),
    Attack("account_many_guessers", "the first, at an account that has no known network", guesses(NEWCOMER, subnet, 1),
           NEWCOMER),
    Attack("account_password_errors", "one network at home, a try every 2 s", guesses(OWNER, only(HOTEL), 2)),
    Attack("account_password_errors", "one network abroad, a try every 29 s", guesses(OWNER, only(HOTEL_ABROAD), 29)),
    Attack("account_password_errors", "the same, a try every 14 min", guesses(OWNER, only(HOTEL_ABROAD), 840)),
    Attack("account_password_errors", "the same every 29 s, at an account that has no known network",
           guesses(NEWCOMER, only(HOTEL_ABROAD), 29), NEWCOMER),
    Attack("account_password_errors", "a try every 2 s through a webmail host under [trusted]",
           guesses(OWNER, only(WEBMAIL), 2)),
    Attack("ip_many_accounts", "one name after another, at home, where 200 accounts log in", names(OFFICE, 1)),
    Attack("ip_many_accounts", "the same abroad", names(OFFICE_ABROAD, 1)),
    Attack("ip_many_accounts", "the same at home, where nobody has logged in yet", names(HOTEL, 1)),
    Attack("ip_many_accounts", "the same abroad, where nobody has logged in yet", names(HOTEL_ABROAD, 1)),
    Attack("ip_many_accounts", "the same through a webmail host under [trusted]", names(WEBMAIL, 1)),
    Attack("ip_password_errors", "a try every 2 s, at home, where 200 accounts log in", guesses(OWN, only(OFFICE), 2)),
    Attack("ip_password_errors", "a try every 6 s, abroad, where 200 accounts log in",
           guesses(OWN, only(OFFICE_ABROAD), 6)),
    Attack("ip_password_errors", "the same every 24 min", guesses(OWN, only(OFFICE_ABROAD), 1440)),
    Attack("ip_password_errors", "a try every 2 s from one address of IPv6 at home", guesses(OWN, only(subnet(1)), 2)),
    Attack("ip_password_errors", "a try every 2 s through a webmail host under [trusted]",
           guesses(OWN, only(WEBMAIL), 2)),
    Attack("ip_send_rate", "mail by an account of his own, at home, where 200 accounts log in", mail(OFFICE, 0.25)),
    Attack("ip_send_rate", "the same abroad", mail(OFFICE_ABROAD, 1)),
    Attack("ip_accused", "8 networks guess at one account; from one of them, at home, 200 accounts log in",
           then_from(OFFICE, 8), address=OFFICE),
    Attack("ip_accused", "the same, where nobody has logged in yet", then_from(HOTEL, 8), address=HOTEL),
    Attack("ip_accused", "the same abroad, where nobody has logged in yet", then_from(HOTEL_ABROAD, 8),
           address=HOTEL_ABROAD),
    Attack("country_send_rate", "mail by an account of his own, abroad", mail(HOTEL_ABROAD, 1)),
    Attack("password_error_spike", "a try every 5 s at one account", guesses(OWNER, bot, 5)),
)  # fmt: skip


class World:
    """Detector and agent with one rule in force (and with ``ip_accused`` those that accuse), after a week of life."""

    def __init__(self, rule: str) -> None:
        self._rules = alone(rule)
        self._detector = Detector(self._rules, Allowlist(self._rules.file.allow))
        self._tallier = Tallier(lambda address: address == WEBMAIL)
        self._table = DecisionTable()
        self._position = 0
        self._tell(life())

    def _tell(self, events: Iterable[Event]) -> list[Decision]:
        tallies = self._tallier.tally((event, "") for event in events)
        decisions = []
        while tallies:
            self._position += 1
            findings = self._detector.count(tallies, self._position)
            decisions += findings.decisions
            tallies = findings.accusations
        for decision in decisions:
            self._table.apply(decision.key, decision)
        return decisions

    def until(self, attack: Attack, at: float) -> tuple[list[Event], Decision | None]:
        """The attack from a time on, until its rule decides: (what it took, the decision)."""
        done = []
        for event in islice(attack.script(at), MOST):
            done.append(event)
            for decision in self._tell([event]):
                hit = attack.address in ("", decision.subject)
                if decision.rule == attack.rule and hit:
                    return done, decision
        return done, None

    def meets(self, account: str, address: str, at: float) -> str:
        """What somebody meets who logs in and sends from there."""
        asked = {"account": account, "address": address, "country_of": country_of}
        login = self._table.lookup("login", at, protocol="imap", **asked)  # type: ignore[arg-type]
        send = self._table.lookup("send", at, **asked)  # type: ignore[arg-type]
        if login is not None and not login.shadow:
            action = login.restrictions[0].terms.action
            return "locked out" if action == "deny_login" else "slowed" if action == "delay_login" else action
        return "cannot send" if send is not None and not send.shadow else "free"


def alone(rule: str) -> RuleSet:
    """The shipped rules with all off but one, and what it needs."""
    shipped = load(None)
    needed = {rule} | ({name for name, c in shipped.rules.items() if c.accuse} if rule == "ip_accused" else set())
    rules = {name: c if name in needed else replace(c, mode="off") for name, c in shipped.rules.items()}
    return build(replace(shipped, rules=rules), HOME)


@dataclass(frozen=True)
class Bound:
    """What one attack takes, and brings about. ``failures``: tries, or messages; ``span``: seconds from the first to
    the last. ``kept_up``: (tries within ``SPAN``, hours that people are restricted by them)."""

    attack: Attack
    failures: int
    networks: int
    span: float
    decision: Decision | None
    owner: tuple[str, str, str]
    others: tuple[str, str, str]
    kept_up: tuple[int, float]


def measure(attack: Attack) -> Bound:
    """Does the attack once, looks who meets what, and keeps it up."""
    world = World(attack.rule)
    done, decision = world.until(attack, START)
    acts = [event for event in done if event.kind != "auth_success"]
    last = done[-1].time.timestamp()
    source = attack.address or done[0].client_ip or ""
    owner = tuple(world.meets(attack.victim, address, last + 1) for address in (USUAL, ELSEWHERE, TRAVELLING))
    others = tuple(world.meets(COLLEAGUES[0], address, last + 1) for address in neighbours(source))
    assert len(owner) == len(others) == 3
    networks = len({event.network for event in acts})
    span = acts[-1].time.timestamp() - acts[0].time.timestamp()
    return Bound(
        attack, len(acts), networks, span, decision, owner, others, _kept_up(attack, world, len(acts), decision)
    )


def _kept_up(attack: Attack, world: World, tries: int, decision: Decision | None) -> tuple[int, float]:
    """Again and again when the restriction ends, as long as ``SPAN`` lasts."""
    hours = 0.0
    while decision is not None:
        hours += (decision.expires_at - decision.issued_at).total_seconds() / HOUR
        at = decision.expires_at.timestamp()
        if at >= START + SPAN:
            break
        done, decision = world.until(attack, at)
        tries += sum(event.kind != "auth_success" for event in done)
    return tries, hours


def neighbours(source: str) -> tuple[str, str, str]:
    """Others at the same address, in its /24 or /64, and in the next network: its /16 or /48."""
    if ":" in source:
        start = source.removesuffix("::1")
        return source, f"{start}::2", f"{start.rpartition(':')[0]}:ffff::1"
    start = source.rpartition(".")[0]
    return source, f"{start}.251", f"{start.rpartition('.')[0]}.251.1"


HEADER = (
    "| rule | what is done | tries | networks | within | what follows | owner: usual place | new place | abroad "
    "| others: same address | same /24 or /64 | same /16 or /48 | kept up for 72 h |\n" + "|---" * 13 + "|"
)


def row(bound: Bound) -> str:
    """One line of the table."""
    attack, decision = bound.attack, bound.decision
    if decision is None:
        cells = [f"{bound.failures}", f"{bound.networks}", _time(bound.span), "nothing"]
        kept = "nothing"
    else:
        length = int((decision.expires_at - decision.issued_at).total_seconds())
        shadow = " in shadow" if decision.mode == "shadow" else ""
        what = f"`{decision.action}`{shadow} for {duration_text(length)}"
        cells = [f"{bound.failures}", f"{bound.networks}", _time(bound.span), what]
        kept = f"{bound.kept_up[0]} tries, {bound.kept_up[1]:g} h"
    return "| " + " | ".join([f"`{attack.rule}`", attack.what, *cells, *bound.owner, *bound.others, kept]) + " |"


def _time(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:g} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def table() -> str:
    """The whole table of docs/attack-bounds.md."""
    order = [rule.id for rule in RULES]
    attacks = sorted(ATTACKS, key=lambda attack: order.index(attack.rule))
    return "\n".join([HEADER, *(row(measure(attack)) for attack in attacks)])


if __name__ == "__main__":  # python -m tests.support.attacks
    print(table())
