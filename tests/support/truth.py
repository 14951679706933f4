"""Holds decisions against the known truth of a recorded scenario."""

import ipaddress
import json
from dataclasses import dataclass, field
from pathlib import Path

from pipeline.adapters.files.logfile import named_frames
from pipeline.adapters.geoip import GeoFile
from pipeline.replay import Replay
from pipeline.rules import build
from pipeline.rules.config import load
from schemas.enforcement import Decision

# What the two logs cannot tell: a forged header From, and webmail's client behind the web server's address
UNTOLD = ("from-mismatch-header-only",)


def replay_files(files: list[Path], geo: Path) -> list[Decision]:
    flow = Replay(build(load(None), "JP"), lookup=GeoFile(geo))
    return [d for _, decisions in flow.run(named_frames(files)) for d in decisions]


def stops(decision: Decision) -> bool:
    return decision.mode == "enforce" and decision.action in ("reject", "defer", "hold", "deny_login")


@dataclass
class Report:
    missed_accounts: list[str] = field(default_factory=list)
    missed_addresses: list[str] = field(default_factory=list)
    hurt_accounts: list[str] = field(default_factory=list)
    hurt_addresses: list[str] = field(default_factory=list)
    leaked: dict[str, int] = field(default_factory=dict)


def judge(truth: dict, decisions: list[Decision]) -> Report:
    report = Report()
    stopped = {d.subject for d in decisions if d.subject_kind == "account" and stops(d) and d.scope in ("send", "both")}
    networks = [ipaddress.ip_network(d.subject) for d in decisions if d.subject_kind in ("ip", "prefix") and stops(d)]
    for account, known in truth["accounts"].items():
        if known["label"] == "abusive" and known["kind"] not in UNTOLD:
            if account not in stopped:
                report.missed_accounts.append(f"{account} ({known['kind']})")
        elif known["label"] in ("legit", "targeted") and account in stopped:
            report.hurt_accounts.append(f"{account} ({known['kind']})")
    for address, known in truth["ips"].items():
        restricted = any(ipaddress.ip_address(address) in n for n in networks)
        if known["label"] == "abusive" and known["kind"] not in UNTOLD:
            if not restricted:
                report.missed_addresses.append(f"{address} ({known['kind']})")
        elif known["label"] == "legit" and restricted:
            report.hurt_addresses.append(f"{address} ({known['kind']})")
    return report


def leaked(truth_events: Path, decisions: list[Decision], offset: float = 0.0, scale: float = 1.0) -> dict[str, int]:
    """Messages that each account sent up to the second of its decision, while it was abused."""
    when = {
        d.subject: d.issued_at.timestamp()
        for d in reversed(decisions)
        if d.subject_kind == "account" and d.scope == "send"
    }
    counts: dict[str, int] = {}
    for line in truth_events.read_text().splitlines():
        e = json.loads(line)
        user = e["user"] or e.get("frm")
        abuse = e["what"] == "mail" and e["result"] == "sent" and e["label"] == "abusive"
        if abuse and user in when and offset + (e["t"] - offset) * scale < when[user] + 1:
            counts[user] = counts.get(user, 0) + 1
    return counts
