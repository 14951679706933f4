"""Postfix policy delegation (http://www.postfix.org/SMTPD_POLICY_README.html, actions: access(5)).

A request is ``name=value`` lines, ended by an empty line; the answer is one ``action=`` line and an empty line. The
answer is never OK: in relay restrictions it would open the relay to clients that did not log in.
"""

from typing import Final, NamedTuple

from pipeline.enforce.table import Holding
from pipeline.enforce.terms import Restriction
from pipeline.enforce.wording import empty_sender, in_shadow
from pipeline.hooks.hook import Context, LineHook, Option, UnreadableRequest

DISCONNECT: Final = "--disconnect"

_ENVELOPE_STATES: Final = frozenset({b"RCPT", b"DATA", b"END-OF-MESSAGE"})
_SENDER_STATES: Final = _ENVELOPE_STATES | {b"MAIL"}
_WEBMAIL: Final = b"webmail"


class PolicyRequest(NamedTuple):
    """What we need of a request. ``account`` is in lower case and empty if nobody has logged in. ``instance``: which
    message it is about, its queue id where the mail server gives no instance, "" if neither is known."""

    state: bytes
    account: str
    sender: str
    address: str
    recipient: str
    recipients: int
    instance: str
    webmail: bool


class PolicyAnswer(NamedTuple):
    """``action`` as Postfix wants it, and in one word for the metrics."""

    action: str
    outcome: str

    def encode(self) -> bytes:
        """The bytes to send."""
        return f"action={self.action}\n\n".encode("ascii")


DUNNO: Final = PolicyAnswer("DUNNO", "dunno")


def parse(request: bytes) -> PolicyRequest:
    """One request, without the empty line that ends it. Raises UnreadableRequest."""
    try:
        # A value may hold "=", a name may not. The last one wins where a name comes twice; Postfix sends none twice.
        given = dict([line.split(b"=", 1) for line in request.split(b"\n")])
    except ValueError:
        raise UnreadableRequest("a line holds no '='") from None
    if given.get(b"request") != b"smtpd_access_policy":
        raise UnreadableRequest("request=smtpd_access_policy is wanted")
    count = given.get(b"recipient_count", b"") or b"0"
    if not (count.isdigit() and len(count) < 10):
        raise UnreadableRequest("recipient_count is no number")
    return PolicyRequest(
        state=given.get(b"protocol_state", b""),
        account=_text(given.get(b"sasl_username", b"")).lower(),
        sender=_text(given.get(b"sender", b"")).lower(),
        address=_text(given.get(b"client_address", b"")),
        recipient=_text(given.get(b"recipient", b"")),
        recipients=int(count),
        instance=_text(given.get(b"instance") or given.get(b"queue_id", b"")),
        webmail=given.get(b"policy_context") == _WEBMAIL,
    )


def answer(request: bytes, context: Context, now: float) -> PolicyAnswer:
    """What Postfix must be told at ``now`` (seconds since 1970 UTC). Raises UnreadableRequest.

    Only authenticated clients are judged; of a webmail host that does not log in (``policy_context=webmail``, or a
    client on the mail server itself) also the envelope sender, by the account alone.
    """
    asked = parse(request)
    holding = _holding(asked, context, now)
    if holding is None:
        return DUNNO
    if holding.shadow:
        first = holding.restrictions[0]
        return PolicyAnswer(f"INFO {in_shadow(first.terms.action, first.terms.rule, first.text)}", "shadow")
    for restriction in holding.restrictions:
        told = _told(restriction, asked, context, now)
        if told is not None:
            return told
    return DUNNO


HOOK: Final = LineHook(
    "postfix",
    (
        Option("--policy", "address", "Postfix policy server (check_policy_service inet:HOST:PORT)."),
        Option("--policy-unix", "path", "The same on a UNIX socket."),
        Option(DISCONNECT, "flag", "A refusal also ends the SMTP session (521)."),
    ),
    answer,
    obeys={
        "send": {
            "reject": "mail is refused",
            "deny_login": "mail is refused",
            "defer": "mail is put off: the client is told to come again",
            "hold": "mail is taken, and waits on the mail server until somebody releases it (postsuper -H)",
            "limit": "mail above the limit is put off, on each mail server for itself",
            "require_from_match": "mail whose envelope sender is not the account's own is refused",
            "route": "mail leaves by the pool",
        }
    },
    go_on=DUNNO,
)


def _holding(request: PolicyRequest, context: Context, now: float) -> Holding | None:
    protocol = "webmail" if request.webmail else "smtp"
    if request.account:
        return context.table.lookup(
            "send",
            now,
            account=request.account,
            address=request.address,
            protocol=protocol,
            country_of=context.country_of,
        )
    if request.sender and (request.webmail or request.address.startswith("127.") or request.address == "::1"):
        return context.table.lookup("send", now, account=request.sender, protocol="webmail")
    return None


def _told(restriction: Restriction, request: PolicyRequest, context: Context, now: float) -> PolicyAnswer | None:
    """None: this decision lets the request pass, and a weaker one may have something to say."""
    match restriction.terms.action:
        case "reject" | "deny_login":
            return _refusal(restriction.text, "reject", context)
        case "defer":
            return PolicyAnswer(f"DEFER_IF_PERMIT 4.7.1 {restriction.text}", "defer")
        case "hold":
            return PolicyAnswer(f"HOLD {restriction.text}", "hold")
        case "route":
            return PolicyAnswer(f"FILTER {restriction.terms.pool}:", "route")
        case "require_from_match":
            return _own_sender(restriction, request, context)
        case "limit":
            if request.state not in _ENVELOPE_STATES:
                return None
            if context.limiter.admit(restriction, request.instance, request.recipient, request.recipients, now):
                return None
            return PolicyAnswer(f"DEFER_IF_PERMIT 4.7.1 {restriction.text}", "limit")
        case _:
            return None


def _own_sender(restriction: Restriction, request: PolicyRequest, context: Context) -> PolicyAnswer | None:
    """The sender must belong to the account. Which others do is known to Postfix (smtpd_sender_login_maps)."""
    if request.state not in _SENDER_STATES:
        return None
    if not request.sender:  # passes every mismatch check of Postfix
        return _refusal(empty_sender(restriction.text), "mismatch", context)
    if not request.account or request.account == request.sender:
        return None
    return PolicyAnswer("reject_authenticated_sender_login_mismatch", "mismatch")


def _refusal(text: str, outcome: str, context: Context) -> PolicyAnswer:
    # Postfix closes the connection after 521, see access(5).
    return PolicyAnswer(f"521 5.7.1 {text}" if DISCONNECT in context.flags else f"REJECT 5.7.1 {text}", outcome)


def _text(value: bytes) -> str:
    return value.decode("utf-8", "backslashreplace")
