"""Lines of Postfix for the tests: messages of one account."""

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
