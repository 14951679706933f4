"""Lines of Postfix for the tests: messages of one account."""

import time
from pathlib import Path

CLIENT = (
    "{time} mx postfix/submission/smtpd[1]: {qid}: client=x[{ip}], sasl_method=PLAIN, sasl_username=alice@x.example"
)
QUEUED = "{time} mx postfix/qmgr[1]: {qid}: from=<alice@x.example>, size=9, nrcpt=1 (queue active)"
ABROAD = "203.0.113.9"


def sent(number: int, time: str = "Nov 24 01:50:43", ip: str = ABROAD) -> list[str]:
    """The lines of so many messages."""
    return [line.format(time=time, qid=f"{n:010X}", ip=ip) for n in range(number) for line in (CLIENT, QUEUED)]


def frame(lines: list[str]) -> bytes:
    """The lines as they are sent."""
    return "\n".join(lines).encode()


def spam(folder: Path, account: str) -> Path:
    """A log of one account that has just sent 700 messages from abroad."""
    path = folder / f"{account}.log"
    now = time.strftime("%b %d %H:%M:%S", time.gmtime())
    path.write_bytes(frame(sent(700, now)).replace(b"alice@x.example", account.encode()) + b"\n")
    return path
