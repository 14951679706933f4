"""The floor: plain Python that only finds the interesting lines and counts them in exact 10-minute windows."""

from collections import defaultdict, deque
from pathlib import Path

WINDOW = 600


def count(path: Path) -> tuple[int, int]:
    """(lines, highest count of any account within ten minutes). Only same-day logs."""
    windows: dict[str, deque[int]] = defaultdict(deque)
    lines = highest = 0
    with path.open(encoding="utf-8", errors="replace") as file:
        for line in file:
            lines += 1
            at = line.find("sasl_username=")
            if at < 0:
                continue
            now = int(line[7:9]) * 3600 + int(line[10:12]) * 60 + int(line[13:15])
            window = windows[line[at + 14 : -1]]
            window.append(now)
            while window[0] <= now - WINDOW:
                window.popleft()
            highest = max(highest, len(window))
    return lines, highest
