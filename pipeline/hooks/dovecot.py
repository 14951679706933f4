"""Dovecot auth policy (https://doc.dovecot.org/latest/core/config/auth/policy.html), as weakforced answers it.

``allow`` is asked before and after a login, ``report`` tells how it went; as ``?command=allow`` or ``/command/allow``.
The answer to ``allow`` is ``{"status": n, "msg": text, "r_attrs": {}}``: below 0 refuses, 0 goes on, above 0 waits so
many seconds.

A value of another type than it should have is no reason to let a login pass unjudged: it is taken as weakforced would
take it, as if it was not there, but that numbers stand for their text and ``"true"`` for true.
"""

from typing import Any, Final, NamedTuple

import msgspec

from pipeline.hooks.hook import Answer, Context, HttpHook, HttpRequest, NoSuchRequest, Option, UnreadableRequest
from schemas.codec import DecodeError, decoded

_PROTOCOLS: Final = {"submission": "smtp", "sieve": "managesieve"}  # Dovecot's service names -> ours


class AuthRequest(msgspec.Struct, frozen=True):
    """Body of ``allow`` and ``report``: what we read of Dovecot's attributes. Only ``login`` must be there.

    ``pwhash`` is 12 bits of a hash of user and password: equal for a repeated wrong password. ``fail_type`` says why a
    login that is reported did not succeed: ``credentials``, ``disabled``, ``expired``, ``account``, ``policy``,
    ``internal``.
    """

    login: str
    remote: str = ""
    protocol: str = ""
    pwhash: str = ""
    fail_type: str = ""
    success: bool = False
    policy_reject: bool = False


class AuthAnswer(NamedTuple):
    """``outcome`` is for the metrics. ``challenge``: a webmail asks for its second factor before it goes on."""

    status: int
    msg: str
    outcome: str
    challenge: bool = False

    def encode(self) -> bytes:
        """JSON. ``r_attrs`` are weakforced's attributes of an answer; Dovecot passes over them."""
        attributes = {"challenge": "1"} if self.challenge else {}
        return msgspec.json.encode({"status": self.status, "msg": self.msg, "r_attrs": attributes})


class Done(NamedTuple):
    """Of ``report``, and of ``ping``, with which weakforced's clients ask whether it is there."""

    outcome: str = ""

    def encode(self) -> bytes:
        """JSON."""
        return b'{"status": "ok"}'


class _Body(msgspec.Struct):
    """As it comes. ``login`` must be there, whatever it is."""

    login: Any
    remote: Any = None
    protocol: Any = None
    pwhash: Any = None
    fail_type: Any = None
    success: Any = None
    policy_reject: Any = None


GO_ON: Final = AuthAnswer(0, "", "pass")
REPORTED: Final = Done("reported")

_DECODER = msgspec.json.Decoder(_Body)


def parse(body: bytes) -> AuthRequest:
    """Raises UnreadableRequest."""
    try:
        given = decoded(_DECODER.decode, body)
    except DecodeError as error:
        raise UnreadableRequest(str(error)) from None
    return AuthRequest(
        _text(given.login),
        _text(given.remote),
        _text(given.protocol),
        _text(given.pwhash),
        _text(given.fail_type),
        _truth(given.success),
        _truth(given.policy_reject),
    )


def answer(request: HttpRequest, context: Context, now: float) -> Answer:
    """What Dovecot must be told at ``now`` (seconds since 1970 UTC), on any path. Raises UnreadableRequest,
    NoSuchRequest."""
    command = request.query.get("command", "") or request.path.rpartition("/command/")[2]
    if command == "ping":
        return Done()
    if request.method != "POST" or command not in {"allow", "report"}:
        raise NoSuchRequest("POST with ?command=allow or ?command=report is wanted")
    asked = parse(request.body)
    return _allow(asked, context, now) if command == "allow" else _report(asked, context)


HOOK: Final = HttpHook(
    "dovecot",
    (
        Option("--dovecot", "address", "Dovecot auth policy server (auth_policy_server_url)."),
        Option("--dovecot-open", "flag", "Let other hosts ask it without a key (SEKIMORI_DOVECOT_API_KEY)."),
    ),
    answer,
    obeys={
        "login": {
            "deny_login": "logins are refused",
            "reject": "logins are refused",
            "delay_login": "logins wait",
            "challenge": "webmail asks for its second factor; other logins pass",
        }
    },
    go_on=GO_ON,
    api_key=lambda settings: settings.dovecot_api_key,
    keyless="--dovecot-open",
)


def _text(value: object) -> str:
    if isinstance(value, str):
        return value
    return str(value) if isinstance(value, int | float) and not isinstance(value, bool) else ""


def _truth(value: object) -> bool:
    return value is True or value == "true"


def _allow(request: AuthRequest, context: Context, now: float) -> AuthAnswer:
    protocol = request.protocol.lower()
    holding = context.table.lookup(
        "login",
        now,
        account=request.login.lower(),
        address=request.remote,
        protocol=_PROTOCOLS.get(protocol, protocol),
        country_of=context.country_of,
    )
    if holding is None:
        return GO_ON
    restriction = holding.restrictions[0]
    if holding.shadow:
        return AuthAnswer(0, "", "shadow")
    match restriction.terms.action:
        case "delay_login":
            return AuthAnswer(restriction.terms.seconds, restriction.text, "delay")
        case "challenge" if protocol == "webmail":
            return AuthAnswer(0, restriction.text, "challenge", challenge=True)
        case "challenge":
            return GO_ON
        case _:
            return AuthAnswer(-1, restriction.text, "deny")


def _report(request: AuthRequest, context: Context) -> Done:
    words = {True: "true", False: "false"}
    context.recorder.add("sekimori_enforce_reports_total", 1, words[request.success], words[request.policy_reject])
    return REPORTED
