"""Rules gone wild, and customers of some days' standing who do a little more than they allow: a log, and tallies."""

import os
import random
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec

from pipeline.rules import RuleSet, build
from pipeline.rules.config import Brake, load
from schemas.tally import Tally
from tests.support.lines import frame, sent

CUSTOMERS = 60
START = datetime(2026, 11, 24, 1, tzinfo=UTC)
WAVE = START + timedelta(days=2)
LIMITS = '[rules.account_send_rate.limits]\nhome = ["2 messages / 10m"]\n'
AT = 1_795_485_600.0  # a full hour
STRICT = {
    "account_send_rate": "2 messages / 10m",
    "ip_send_rate": "3 messages / 10m",
    "account_password_errors": "3 guesses / 10m",
}
WILD = f"[brake]\nhourly = 3\n{LIMITS}"


def _lines(customer: int, start: datetime, messages: int) -> list[str]:
    time = f"{start + timedelta(seconds=3 * customer):%Y-%m-%dT%H:%M:%SZ}"
    lines = sent(messages, time, f"198.18.0.{customer + 1}")
    return [line.replace("alice@", f"user{customer:03}@").replace(": 0", f": {customer:03}") for line in lines]


def wave(folder: Path) -> Path:
    """The log."""
    lines = [line for n in range(CUSTOMERS) for line in _lines(n, START, 1)]
    lines += [line for n in range(CUSTOMERS) for line in _lines(n, WAVE, 3)]
    path = folder / "wave.log"
    path.write_bytes(frame(lines) + b"\n")
    ended = WAVE.timestamp() + 3600
    os.utime(path, (ended, ended))
    return path


def rules(folder: Path, text: str, name: str = "rules.toml") -> Path:
    """A rules file."""
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def wild(**brake: float) -> RuleSet:
    """Strict limits everywhere, and such a brake."""
    file, rules = load(None), dict(load(None).rules)
    for rule, limit in STRICT.items():
        rules[rule] = msgspec.structs.replace(rules[rule], limits={"home": [limit], "abroad": [limit]})
    return build(msgspec.structs.replace(file, rules=rules, brake=msgspec.convert(brake, Brake)), "JP")


def lives(rng: random.Random) -> list[list[Tally]]:
    """Frames of some days: accounts and their networks, most of them known for long, that send and fail."""
    at, frames = AT, []
    customers = [(f"user{n}@x.example", f"198.18.0.{n % 40}", rng.choice(("JP", "JP", "BR"))) for n in range(60)]
    for _ in range(60):
        frame = []
        for account, network, country in rng.sample(customers, rng.randint(1, 8)):
            counts = rng.choice(({"messages": rng.randint(1, 3), "recipients": 3, "successes": 1}, {"errors": 2}))
            frame += [Tally("account", account, network, country, at, **counts)]
            frame += [Tally("ip", network, account, country, at, **counts)]
            at += rng.randint(0, 60)
        frames.append(frame)
        at += rng.choice((10, 1000, 10_000, 40_000))
    return frames
