"""The page on adding a format, followed to the letter in a copy: its two files, its entry, its checks."""

import json
import re
from pathlib import Path

from tests.support.pages import Checkout, blocks_of, check_out

BLOCKS = blocks_of("add-a-log-format.md")
TEXT = "login ok user=bob from=198.51.100.7"
WRAPPED = (
    f"Nov 24 01:50:43 pigeon[812]: {TEXT}",
    f"<22>1 2026-11-24T01:50:43Z mx pigeon 812 - - {TEXT}",
    f"2026-11-24T01:50:43.5+09:00 mx site-a/pigeon[812]: {TEXT}",
    f'{{"SYSLOG_IDENTIFIER":"pigeon","MESSAGE":"{TEXT}","__REALTIME_TIMESTAMP":"1795491435363357"}}',
)


def parsed(copy: Checkout, lines: list[str], status: int = 0) -> list[tuple[str, str | None]]:
    """Kind and account of each line, as ``sekimori parse`` tells them in the copy."""
    log = copy.root / "pigeon.log"
    log.write_text("\n".join(lines) + "\n", encoding="utf-8")
    events = [json.loads(row) for row in copy.run("-m", "pipeline.cli", "parse", str(log), status=status).splitlines()]
    return [(event["kind"], event.get("account")) for event in events]


def test_the_page_is_all_that_need_be_done(tmp_path: Path) -> None:
    copy = check_out(tmp_path)
    first = BLOCKS[""][0][1].splitlines()
    assert parsed(copy, first, status=1) == [("ignored", None)] * 4
    files = {found[1]: heading for heading in BLOCKS if (found := re.search(r": `(pipeline/\S+)`$", heading))}
    assert [*files] == ["pipeline/formats/pigeon.py", "pipeline/formats/pigeon.txt", "pipeline/formats/__init__.py"]
    *new, registry = files
    for path in new:
        copy.write(path, BLOCKS[files[path]][0][1])
    copy.add_entry(registry, "FORMATS", BLOCKS[files[registry]][0][1], "pigeon")
    kinds = ["auth_success", "auth_failure", "auth_failure", "other"]
    assert parsed(copy, first) == [(kind, "bob" if kind != "other" else None) for kind in kinds]
    assert parsed(copy, [*WRAPPED]) == [("auth_success", "bob")] * len(WRAPPED)
    ask = "from pipeline.formats.reading.topic import topic_of as t; import sys; print(t(sys.argv[1].encode()))"
    assert copy.run("-c", ask, first[0]) == "authlog\n"
    (copy.root / "pigeon.log").unlink()
    copy.check("tests/unit/formats", "tests/unit/normalize", "tests/test_architecture.py")
