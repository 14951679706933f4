"""The truth of the recorded scenario as a file of known cases, and its logs with the time at which they were made."""

import json
import os
import shutil
from pathlib import Path

from tests.support.paths import RECORDED
from tests.support.truth import UNTOLD

ENDED = 1795485300  # seconds since 1970; tells the year of the lines


def known_cases(truth: dict) -> str:
    """JSON lines. Attacked accounts are honest; what the logs cannot tell is left out."""
    lines = []
    for subject, known in (truth["accounts"] | truth["ips"]).items():
        if known["kind"] in UNTOLD:
            continue
        case = {"subject": subject, "label": "abused" if known["label"] == "abusive" else "honest"}
        if "abusive_from" in known:
            case["since"] = known["abusive_from"]
        lines.append(json.dumps(case))
    return "\n".join(lines) + "\n"


def prepare(folder: Path) -> Path:
    """Puts logs, GeoIP file and known cases into a folder, under the names that the documentation uses."""
    for name in ("mail.log", "dovecot.log", "geo.mmdb"):
        shutil.copyfile(RECORDED / name, folder / name)
        os.utime(folder / name, (ENDED, ENDED))
    truth = json.loads((RECORDED / "truth.json").read_text())
    (folder / "cases.jsonl").write_text(known_cases(truth))
    return folder
