"""Dovecot auth policy (https://doc.dovecot.org/latest/core/config/auth/policy.html), as weakforced answers it.

``allow`` is asked before and after a login, ``report`` tells how it went. The answer is ``{"status": n, "msg": text}``:
below 0 refuses, 0 goes on, above 0 waits so many seconds.
"""

from typing import Any, Final, NamedTuple

import msgspec

from pipeline.hooks.hook import Answer, Context, HttpHook, HttpRequest, NoSuchRequest, Option, UnreadableRequest

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
        body: dict[str, Any] = {"status": self.status, "msg": self.msg}
        if self.challenge:
            body["r_attrs"] = {"challenge": "1"}
        return msgspec.json.encode(body)


class Pong(NamedTuple):
    """Of ``ping``, with which weakforced's clients ask whether it is there."""

    outcome: str = ""

    def encode(self) -> bytes:
        """JSON."""
        return b'{"status": "ok"}'


GO_ON: Final = AuthAnswer(0, "", "pass")
REPORTED: Final = AuthAnswer(0, "", "reported")

_DECODER = msgspec.json.Decoder(AuthRequest)


def parse(body: bytes) -> AuthRequest:
    """Raises UnreadableRequest."""
    try:
        return _DECODER.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise UnreadableRequest(str(error)) from None


def answer(request: HttpRequest, context: Context, now: float) -> Answer:
    """What Dovecot must be told at ``now`` (seconds since 1970 UTC), on any path. Raises UnreadableRequest,
    NoSuchRequest."""
    command = request.query.get("command", "")
    if command == "ping":
        return Pong()
    if request.method != "POST" or command not in {"allow", "report"}:
        raise NoSuchRequest("POST with ?command=allow or ?command=report is wanted")
    asked = parse(request.body)
    return _allow(asked, context, now) if command == "allow" else _report(asked, context)


HOOK: Final = HttpHook(
    "dovecot",
    (Option("--dovecot", "address", "Dovecot auth policy server (auth_policy_server_url)."),),
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
)


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


def _report(request: AuthRequest, context: Context) -> AuthAnswer:
    words = {True: "true", False: "false"}
    context.recorder.add("sekimori_enforce_reports_total", 1, words[request.success], words[request.policy_reject])
    return REPORTED
