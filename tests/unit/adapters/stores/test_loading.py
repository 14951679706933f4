"""Rows that a thread writes: all of them, and what it could not write is told."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from pipeline.adapters.stores import loading
from pipeline.adapters.stores.chdb_store import ChdbStore, to_bytes
from pipeline.adapters.stores.loading import WriteBehind, source_of
from pipeline.ports import StoreError
from pipeline.storage.rows import event_columns
from pipeline.storage.storing import apply_ddl
from schemas import enforcement
from schemas.event import Event

AT = datetime(2026, 11, 24, 1, 50, 43, tzinfo=UTC)


def packed(frame: int, number: int) -> bytes:
    events = [Event("submission", AT + timedelta(days=31 * frame), "mx", "qmgr", account=str(n)) for n in range(number)]
    return to_bytes(event_columns([("file:1", frame, events)]))


def test_all_is_written_in_several_inserts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loading, "PACK", 10)
    monkeypatch.setattr(loading, "ROWS", 30)
    with ChdbStore(tmp_path) as store:
        apply_ddl(store)
        with WriteBehind(store) as out:
            for frame in range(100):
                out.add_packed(packed(frame, 10), [])
                out.add_packed(b"", [])
            out.add_all(enforcement.EXAMPLES)
        found = store.query("SELECT count() AS n, uniqExact(frame) AS frames FROM events")
        assert found.to_dict("records") == [{"n": 1000, "frames": 100}]
        assert store.query("SELECT count() AS n FROM decisions")["n"].tolist() == [len(enforcement.EXAMPLES)]


def read_and_fail(out: WriteBehind, path: Path) -> None:
    """Nothing more is to be written then."""
    out.add_packed(packed(0, 10), [])
    path.stat()


def test_what_the_thread_could_not_write_is_told(tmp_path: Path) -> None:
    with ChdbStore(tmp_path) as store:
        with pytest.raises(StoreError, match="no table events"), WriteBehind(store) as out:
            out.add_packed(packed(0, 10), [])
        apply_ddl(store)
        with pytest.raises(FileNotFoundError), WriteBehind(store) as out:
            read_and_fail(out, tmp_path / "nowhere")
        assert store.query("SELECT count() AS n FROM events")["n"].tolist() == [0]


def test_a_file_is_known_by_its_first_line() -> None:
    assert source_of(b"Nov 24 01:50:43 mx postfix/qmgr[1]: removed") == "file:15a232ad022187b2"
