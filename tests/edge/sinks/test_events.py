from __future__ import annotations

import json
import logging
import os
import threading
import time
from collections.abc import Callable, Iterable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from edge.decision.alerts import AlertSettings, Event
from edge.errors import SinkError, SourceFault
from edge.sinks.events import EventsSink
from edge.sinks.feed import to_event_record
from edge.sinks.leftovers import run_id
from edge.sinks.retention import Retention
from edge.types import Frame, Image, Picture, Result, State, Verdict
from tests.edge.sinks.results import files_up_to, give, moving, names, plain, stamp
from tests.fakes import make_manifest

BEGAN = 1_700_000_000.123456
AT_ONCE = AlertSettings(debounce_s=0.0, cooldown_s=0.0)
QUICK = AlertSettings(states=("fake",), debounce_s=1.0, cooldown_s=2.0)
PATIENCE_S = 60.0


def result(
    at_s: float,
    state: State,
    score: float | None = 0.9,
    source: str = "door",
    error: str | None = None,
    fault: SourceFault | None = None,
    image: Image | None = None,
) -> Result:
    shown = plain(48, 64, (40, 80, 120)) if image is None else image
    pts = None if state == "no_signal" else 5 + at_s
    frame = Frame(shown, round(at_s * 10), BEGAN + at_s, source, pts)
    model = make_manifest(calibration={"threshold": 0.55})
    return Result(frame, None, Verdict(state, score), error=error, fault=fault, model=model)


def spell(state: State, start: float, end: float, score: float | None = 0.9) -> list[Result]:
    """A result every half second, from `start` on up to before `end`."""
    return [result(start + i / 2, state, score) for i in range(round(2 * (end - start)))]


def undrawn() -> Image:
    raise AssertionError("no event, no picture")


def red() -> Image:
    return plain(48, 64, (0, 0, 255))


def feed(sink: EventsSink, results: Iterable[Result], draw: Callable[[], Image] = red) -> None:
    for each in results:
        sink.write(each, Picture(draw))


def strict(path: Path) -> dict[str, Any]:
    def refuse(word: str) -> None:
        raise AssertionError(f"{word} is no JSON")

    record = json.loads(path.read_text(encoding="utf-8"), parse_constant=refuse)
    assert isinstance(record, dict)
    return record


def test_an_event_is_written_when_it_is_raised_and_again_when_it_ends(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    folder = tmp_path / "new" / "events"
    name = f"{stamp(BEGAN + 2)}_door_fake"
    with EventsSink(folder, QUICK) as sink:
        feed(sink, spell("real", 0, 2, 0.1) + spell("fake", 2, 3, 0.8), undrawn)
        assert names(folder) == []
        feed(sink, [result(3.0, "fake", 0.93)])
        assert names(folder) == [f"{name}.jpg", f"{name}.json"]
        raised = strict(folder / f"{name}.json")
        feed(sink, spell("fake", 3.5, 5, 0.97) + spell("uncertain", 5, 6.5, 0.5), undrawn)
        assert strict(folder / f"{name}.json") == raised
        feed(sink, spell("real", 6.5, 8, 0.2), undrawn)
        ended = strict(folder / f"{name}.json")
    assert strict(folder / f"{name}.json") == ended
    assert len(raised["id"]) == 32
    assert raised == {
        "id": raised["id"],
        "source": "door",
        "state": "fake",
        "began": round(BEGAN + 2, 3),
        "raised": round(BEGAN + 3, 3),
        "ended": None,
        "duration_s": 1.0,
        "score": 0.93,
        "highest_score": 0.93,
        "threshold": 0.55,
        "snapshot": f"{name}.jpg",
        "run": run_id(),
    }
    assert ended == raised | {
        "ended": round(BEGAN + 5, 3),
        "duration_s": 3.0,
        "highest_score": 0.97,
    }
    assert names(folder) == [f"{name}.jpg", f"{name}.json"]
    picture = cv2.imread(str(folder / f"{name}.jpg"))  # of when it was raised
    assert picture is not None and picture.shape == (48, 64, 3)
    assert np.abs(picture.astype(int) - (0, 0, 255)).max() <= 3
    clock = time.strftime("%H:%M:%S", time.localtime(BEGAN + 2))
    assert caplog.messages == [
        f"door: FAKE since {clock} (score 0.93), {folder / name}.json",
    ]


def test_no_signal_says_why(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    settings = AlertSettings(states=("no_signal",), debounce_s=3.0, cooldown_s=2.0)
    silences = [
        result(5.0 * i, "no_signal", None, error="door: no answer within 10 s.", fault="timeout")
        for i in range(3)
    ]
    with EventsSink(tmp_path, settings) as sink:
        feed(sink, silences)
        feed(sink, spell("uncertain", 15, 20))
    (path,) = tmp_path.glob("*_door_no_signal.json")
    record = strict(path)
    assert (record["reason"], record["fault"]) == ("door: no answer within 10 s.", "timeout")
    assert record["score"] is None and record["highest_score"] is None
    assert record["began"] == round(BEGAN, 3) and record["duration_s"] == 15
    clock = time.strftime("%H:%M:%S", time.localtime(BEGAN))
    assert caplog.messages == [f"door: NO SIGNAL since {clock}, {path}"]


@pytest.mark.parametrize("error", [None, KeyboardInterrupt])
def test_what_still_lasts_is_ended_when_the_sink_is_closed(
    tmp_path: Path, error: type[BaseException] | None
) -> None:
    settings = AlertSettings(states=("fake", "no_signal"), debounce_s=1.0, cooldown_s=100.0)
    with pytest.raises(error) if error else nullcontext(), EventsSink(tmp_path, settings) as sink:
        feed(sink, spell("fake", 0, 4) + spell("no_signal", 4, 10, None))
        if error is not None:
            raise error
    fake, lost = (strict(path) for path in sorted(tmp_path.glob("*.json")))
    assert (fake["state"], fake["duration_s"]) == ("fake", 4.0)
    assert (lost["state"], lost["duration_s"]) == ("no_signal", 5.5)
    assert lost["ended"] == round(BEGAN + 9.5, 3)


def test_names_that_exist_get_a_number(tmp_path: Path) -> None:
    name = f"{stamp(BEGAN)}_door_fake"
    (tmp_path / f"{name}.json").write_text("precious")
    (tmp_path / f"{name}-2.jpg").write_text("precious")
    with EventsSink(tmp_path, QUICK) as sink:
        feed(sink, spell("fake", 0, 3))
    assert {path.name for path in tmp_path.glob("*-3.*")} == {f"{name}-3.jpg", f"{name}-3.json"}
    assert strict(tmp_path / f"{name}-3.json")["snapshot"] == f"{name}-3.jpg"
    assert (tmp_path / f"{name}.json").read_text() == "precious"
    assert (tmp_path / f"{name}-2.jpg").read_text() == "precious"


def test_many_cameras_of_one_name_share_a_folder(tmp_path: Path) -> None:
    ready = threading.Barrier(8, timeout=PATIENCE_S)

    def watch() -> None:
        with EventsSink(tmp_path, AT_ONCE) as sink:
            ready.wait()
            feed(sink, [result(0.0, "fake"), result(0.5, "real")])

    threads = [threading.Thread(target=watch) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE_S)
    records = [strict(path) for path in tmp_path.glob("*.json")]
    assert len({record["id"] for record in records}) == 8
    assert len({record["snapshot"] for record in records}) == 8
    assert all((tmp_path / record["snapshot"]).is_file() for record in records)
    assert len(names(tmp_path)) == 16


def fail() -> Image:
    raise ZeroDivisionError("division by zero")


@pytest.mark.parametrize(
    ("draw", "reason"),
    [
        (fail, "division by zero"),
        (lambda: plain(1, 70_000, (0, 0, 0)), "70000×1 pixels"),
        (lambda: next(moving(240, 320, 1)), "the file has reached the largest size"),
        (None, ""),
    ],
    ids=["drawing", "encoding", "writing", "not wanted"],
)
def test_an_event_is_worth_more_than_its_picture(
    tmp_path: Path, draw: Callable[[], Image] | None, reason: str, caplog: pytest.LogCaptureFixture
) -> None:
    with EventsSink(tmp_path, QUICK, snapshot=draw is not None) as sink, files_up_to(2000):
        feed(sink, spell("fake", 0, 3), draw or undrawn)
    (path,) = tmp_path.iterdir()
    assert strict(path)["snapshot"] is None
    assert (draw is None) == (caplog.text == "") and reason in caplog.text


def test_an_event_that_cannot_be_written_is_an_error_and_leaves_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    with (
        pytest.raises(SinkError, match="largest size allowed"),
        EventsSink(tmp_path, QUICK) as sink,
        files_up_to(100),
    ):
        feed(sink, spell("fake", 0, 3))
    assert names(tmp_path) == []
    # It is logged all the same.
    assert "door: FAKE since" in caplog.text


def test_strange_values_are_strict_json(tmp_path: Path) -> None:
    source = "caf\udce9/\N{SNOWMAN}.mp4"
    event = Event("1", "fake", 10.0, 10.0, 0.0, np.float32(0.25), np.float64(0.5))  # type: ignore[arg-type]  # as a model's figures may come
    record = to_event_record(event, source, None, None, None)
    assert '"score": 0.25, "highest_score": 0.5' in json.dumps(record, allow_nan=False)
    settings = AlertSettings(states=("fake",), debounce_s=0.0, cooldown_s=1.0)
    with EventsSink(tmp_path, settings, snapshot=False) as sink:
        frame = Frame(plain(4, 4, (0, 0, 0)), 0, float("nan"), source)
        give(sink, Result(frame, None, Verdict("fake", 0.5)))
    (path,) = tmp_path.iterdir()
    assert strict(path)["source"] == source
    assert abs(strict(path)["began"] - time.time()) < 3600


def test_after_a_failure_it_continues_and_closes_what_that_left_open(tmp_path: Path) -> None:
    folder, away = tmp_path / "events", tmp_path / "away"
    sink = EventsSink(folder, AT_ONCE, snapshot=False)
    with pytest.raises(SinkError, match="cannot be written"), sink:
        feed(sink, [result(0, "fake")], undrawn)
        folder.rename(away)
        folder.touch()
        feed(sink, [result(1, "real")], undrawn)
    folder.unlink()
    away.rename(folder)
    with sink:
        (path,) = folder.iterdir()
        assert strict(path)["ended"] is not None and strict(path)["interrupted"]
        feed(sink, [result(3, "fake")], undrawn)
    assert f"{stamp(BEGAN + 3)}_door_fake.json" in names(folder)


def test_what_a_run_that_died_left_open_is_closed_and_marked(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with EventsSink(tmp_path, QUICK) as running:
        feed(running, spell("fake", 0, 3))
        (path,) = tmp_path.glob("*.json")
        record = strict(path)
        pid, *started = record["run"].split("-")
        died, other = tmp_path / "died.json", tmp_path / "other.json"
        for name, run in ((died, f"{pid}-0-1"), (tmp_path / "odd.json", "?")):
            name.write_text(json.dumps(record | {"run": run}, indent=2))
        other.write_text('{"ended": null}')
        with EventsSink(tmp_path, QUICK):
            pass
        assert strict(path) == record and strict(other) == {"ended": None}
        closed = strict(died)
        assert closed["ended"] == round(record["began"] + 1, 3) and closed["interrupted"] is True
    assert len(caplog.messages) == 2 and "died.json" in caplog.text
    assert strict(path)["ended"] is not None and "interrupted" not in strict(path)
    assert started


@pytest.mark.parametrize("by", ["age", "size"])
def test_old_events_are_deleted_with_their_pictures_and_nothing_else(
    tmp_path: Path, by: str
) -> None:
    old = time.time() - 1000
    names_of = [f"2020010{day}-120000_door_fake" for day in range(1, 5)]
    for number, name in enumerate([*names_of, "notes", "20200101-120000_door"]):
        for suffix, text in (("json", '{"ended": 1.0}'), ("jpg", "x" * 5000)):
            (tmp_path / f"{name}.{suffix}").write_text(text)
            os.utime(tmp_path / f"{name}.{suffix}", (old + number,) * 2)
    (tmp_path / f"{names_of[1]}.json").write_text('{"ended": null}')
    os.utime(tmp_path / f"{names_of[1]}.json", (old, old))
    keep = Retention(keep_s=900) if by == "age" else Retention(keep_bytes=11_000)
    with EventsSink(tmp_path, QUICK, snapshot=False, retention=keep) as sink:
        feed(sink, spell("fake", 0, 3))
    left = {path.stem for path in tmp_path.iterdir()}
    kept = {names_of[1], "notes", "20200101-120000_door", f"{stamp(BEGAN)}_door_fake"}
    assert left == (kept if by == "age" else kept | {names_of[3]})


def test_events_grow_too_old_while_none_is_raised(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [time.monotonic()]
    with EventsSink(tmp_path, QUICK, snapshot=False, retention=Retention(keep_s=900)) as sink:
        for day in (1, 2):
            path = tmp_path / f"2020010{day}-120000_door_fake.json"
            path.write_text('{"ended": 1.0}')
            os.utime(path, (time.time() - 500 * (3 - day),) * 2)
        feed(sink, spell("real", 0, 3))
        assert len(list(tmp_path.iterdir())) == 2
        monkeypatch.setattr("edge.sinks.events.time.monotonic", lambda: now[0] + 4000)
        feed(sink, spell("real", 4, 7))
    assert [path.name for path in tmp_path.iterdir()] == ["20200102-120000_door_fake.json"]
