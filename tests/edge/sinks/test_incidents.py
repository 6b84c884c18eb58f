from __future__ import annotations

import sqlite3
import time
from pathlib import Path

import pytest

from edge.decision.alerts import AlertSettings
from edge.errors import SinkError
from edge.sinks import incidents
from edge.sinks.incidents import IncidentsSink, IncidentStore
from edge.sinks.retention import Retention
from edge.types import Picture, Result, State
from tests.edge.sinks.results import make_result, plain

AT_ONCE = AlertSettings(debounce_s=0.0, cooldown_s=0.0)
NOW = time.time() - 100
RED = plain(48, 64, (0, 0, 255))


def result(at_s: float, state: State, threshold: float = 0.6) -> Result:
    return make_result(RED, round(at_s), "door", NOW + at_s, None, state, threshold=threshold)


def keep(sink: IncidentsSink, *results: Result) -> None:
    for each in results:
        sink.write(each, Picture.of(RED))


def test_an_incident_is_there_while_it_lasts_and_ends_with_the_verdict(tmp_path: Path) -> None:
    sink = IncidentsSink(tmp_path / "incidents.db", AT_ONCE, "Front door")
    with sink:
        keep(sink, result(0, "fake"))
        (lasting,) = sink.store.page(10)
        assert (lasting["source"], lasting["state"]) == ("Front door", "fake")
        assert lasting["ended"] is None
        keep(sink, result(3, "real"))
        (over,) = sink.store.page(10)
    assert over["id"] == lasting["id"] and over["duration_s"] == 3
    assert over["ended"] == pytest.approx(over["began"] + 3)
    assert over["has_snapshot"] and over["threshold"] == 0.6
    picture = sink.store.snapshot(over["id"])
    assert picture is not None and picture.startswith(b"\xff\xd8\xff")
    assert sink.store.get(over["id"]) == over and sink.store.get("x") is None


def test_the_threshold_is_that_of_the_model_that_raised_an_incident(tmp_path: Path) -> None:
    with IncidentsSink(tmp_path / "incidents.db", AT_ONCE, "door") as sink:
        keep(sink, result(0, "fake", 0.5), result(3, "real", 0.9), result(6, "fake", 0.9))
        newer, older = sink.store.page(10)
    assert (older["threshold"], newer["threshold"]) == (0.5, 0.9)


def test_what_lasts_at_the_end_is_closed_and_what_a_dead_run_left_too(tmp_path: Path) -> None:
    path = tmp_path / "incidents.db"
    with IncidentsSink(path, AT_ONCE, "door") as sink:
        keep(sink, result(0, "fake"), result(2, "fake"))
    (over,) = sink.store.page(10)
    assert over["ended"] is not None and not over["interrupted"]
    sink.store.put({**over, "id": "left", "ended": None, "run": "1-never"})
    with IncidentsSink(path, AT_ONCE, "door") as sink:
        left = sink.store.get("left")
    assert left is not None and left["interrupted"] and left["ended"] is not None


def test_what_a_failed_write_left_open_is_closed_when_it_goes_on(tmp_path: Path) -> None:
    path, away = tmp_path / "incidents.db", tmp_path / "away"
    sink = IncidentsSink(path, AT_ONCE, "door")
    with IncidentsSink(path, AT_ONCE, "yard") as other:
        keep(other, result(0, "fake"))
        with pytest.raises(SinkError), sink:
            keep(sink, result(0, "fake"))
            path.rename(away)
            path.mkdir()
            keep(sink, result(3, "real"))
        path.rmdir()
        away.rename(path)
        with sink:
            (lasting,) = sink.store.page(10, camera="yard")
            (closed,) = sink.store.page(10, camera="door")
    assert lasting["ended"] is None
    assert closed["interrupted"] and closed["ended"] == closed["began"] + closed["duration_s"]


def test_pages_of_incidents_miss_none_and_repeat_none(tmp_path: Path) -> None:
    store = IncidentStore(tmp_path / "incidents.db")
    store.check()
    for n in range(25):
        source = "door" if n % 2 else "yard"
        store.put({"id": f"{n:02}", "source": source, "began": float(n // 2), "ended": 1.0})
    seen: list[str] = []
    before = None
    while page := store.page(7, before):
        seen += [record["id"] for record in page]
        before = page[-1]["began"], page[-1]["id"]
    assert seen == [f"{n:02}" for n in range(24, -1, -1)]
    assert {record["source"] for record in store.page(50, camera="door")} == {"door"}


def test_the_old_go_by_age_and_by_size_and_what_lasts_stays(tmp_path: Path) -> None:
    store, now = IncidentStore(tmp_path / "incidents.db"), time.time()
    store.check()
    for n in range(10):
        ended = None if n == 9 else now
        store.put({"id": str(n), "began": now - 3600 * n, "ended": ended}, bytes(10_000))
    store.delete_old(Retention(keep_s=6.5 * 3600))
    assert [record["id"] for record in store.page(20)] == ["0", "1", "2", "3", "4", "5", "6", "9"]
    store.delete_old(Retention(keep_bytes=32_000))
    assert [record["id"] for record in store.page(20)] == ["0", "1", "2", "9"]


def test_what_grows_old_during_a_run_goes_though_nothing_is_raised(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    day = Retention(keep_s=86_400)
    with IncidentsSink(tmp_path / "incidents.db", AT_ONCE, "door", retention=day) as sink:
        sink.store.put({"id": "old", "began": NOW - 100_000, "ended": NOW - 99_000})
        keep(sink, result(0, "real"))
        assert sink.store.get("old") is not None
        monkeypatch.setattr(incidents, "_LOOK_S", -1.0)
        keep(sink, result(1, "real"))
        assert sink.store.get("old") is None


def test_a_file_that_is_something_else_is_left_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_text("not a database, but long enough to be taken for one " * 20)
    with pytest.raises(SinkError, match="incidents cannot be kept there"):
        IncidentStore(path).check()
    assert path.read_text().startswith("not a database")
    newer = tmp_path / "newer.db"
    with sqlite3.connect(newer) as database:
        database.execute("PRAGMA user_version = 9")
    database.close()
    with pytest.raises(SinkError, match="newer version"):
        IncidentStore(newer).check()
