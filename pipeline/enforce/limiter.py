"""Counts for the action ``limit``: how much was let through within the window, exact, on this agent."""

from collections import OrderedDict

from pipeline.enforce.terms import Restriction


class _Submission:
    __slots__ = ("at", "recipients", "seen")

    def __init__(self, at: float) -> None:
        self.at = at
        self.recipients = 0
        self.seen: set[str] = set()


class _Counter:
    """Messages of one limit within its window, oldest first, by the MTA's ``instance``."""

    __slots__ = ("messages", "recipients")

    def __init__(self) -> None:
        self.messages: OrderedDict[str, _Submission] = OrderedDict()
        self.recipients = 0

    def forget(self, until: float) -> None:
        while self.messages and next(iter(self.messages.values())).at <= until:
            self.recipients -= self.messages.popitem(last=False)[1].recipients


class Limiter:
    """Only what was let through counts, so that a client which keeps trying is not shut out for longer.

    At most ``capacity`` subjects are counted; the one that was idle longest is forgotten first. Memory of a subject is
    bounded by its own limits.
    """

    def __init__(self, capacity: int = 100_000) -> None:
        self._capacity = capacity
        self._unnamed = 0
        self._counters: OrderedDict[tuple[str, str, str], _Counter] = OrderedDict()

    def admit(self, restriction: Restriction, instance: str, recipient: str, recipients: int, now: float) -> bool:
        """Counts the request and says whether it stays within the limit.

        One message is one ``instance``, however often it is asked about; without one ("") each request is a message.
        ``recipients`` is the MTA's count (DATA, END-OF-MESSAGE); if it is 0 (RCPT), ``recipient`` is one more unless it
        was seen in this message before.
        """
        terms = restriction.terms
        if not instance:
            self._unnamed += 1
            instance = f"\0{self._unnamed}"
        counter = self._counter((terms.kind, terms.rule, restriction.subject))
        counter.forget(now - terms.window)
        message = counter.messages.get(instance) or _Submission(now)
        more = max(0, recipients - message.recipients) if recipients else int(recipient not in message.seen)
        if terms.recipients is not None and counter.recipients + more > terms.recipients:
            return False
        if instance not in counter.messages:
            if terms.messages is not None and len(counter.messages) >= terms.messages:
                return False
            counter.messages[instance] = message
        if not recipients and terms.recipients is not None:
            message.seen.add(recipient)
        message.recipients += more
        counter.recipients += more
        return True

    def _counter(self, key: tuple[str, str, str]) -> _Counter:
        counter = self._counters.get(key)
        if counter is None:
            if len(self._counters) >= self._capacity:
                self._counters.popitem(last=False)
            counter = self._counters[key] = _Counter()
        self._counters.move_to_end(key)
        return counter
