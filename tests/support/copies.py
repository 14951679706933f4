"""The recorded logs, several times over with other names and addresses, each in one file in the order of time."""

import re
from itertools import count

from tests.support.cluster import RECORDED

_V4 = re.compile(rb"198\.18\.(\d+)\.(\d+)")
_V6 = re.compile(rb"2001:db8:(\d)::")


def copies(number: int) -> list[list[bytes]]:
    """Lines of each copy. Accounts have a domain, and addresses a place in their country's block, of their own."""
    mail = (RECORDED / "mail.log").read_bytes().splitlines()
    dovecot = (RECORDED / "dovecot.log").read_bytes().splitlines()
    lines = sorted(mail + dovecot, key=lambda line: line[:15])  # stable: the order within each log stays
    free: dict[int, count[int]] = {}
    return [_copy(lines, n, free) for n in range(number)]


def _copy(lines: list[bytes], number: int, free: dict[int, "count[int]"]) -> list[bytes]:
    moved: dict[bytes, bytes] = {}

    def v4(match: re.Match[bytes]) -> bytes:
        block = int(match[1]) // 16
        if match[0] not in moved:
            place = next(free.setdefault(block, count(1)))
            moved[match[0]] = b"198.18.%d.%d" % (block * 16 + place // 250, place % 250 + 1)
        return moved[match[0]]

    def v6(match: re.Match[bytes]) -> bytes:
        return b"2001:db8:%s:%d::" % (match[1], number + 1)

    domain = b"c%d.example" % number
    return [_V6.sub(v6, _V4.sub(v4, line)).replace(b"testbed.example", domain) for line in lines]
