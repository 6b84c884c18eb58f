from __future__ import annotations

from pathlib import Path
from typing import ClassVar

import pytest
from typing_extensions import Self

from edge import sinks
from edge.config import RunConfig, build_config
from edge.decision.verdict import VerdictSettings
from edge.detector import Detector
from edge.errors import ConfigError, SinkError
from edge.pipeline import Pipeline
from edge.regions import parse_region
from edge.schema import Strict
from edge.sinks import SinkKind, make_sinks, wanted
from edge.sinks.base import SinkContext
from edge.types import Picture, Result
from tests.fakes import FakeBackend, FakeSource, grey

CONTEXT = SinkContext("front door")


class TallyOptions(Strict):
    """Options of a sink that the table does not have."""

    start: int = 0


class TallySink:
    """Counts results: all there is to write for a new sink."""

    name = "tally"
    wants_picture = False
    counts: ClassVar[list[int]] = []

    def __init__(self, start: int) -> None:
        self._count = start

    @classmethod
    def from_options(cls, options: TallyOptions, context: SinkContext) -> Self:
        return cls(options.start)

    def check(self) -> None:
        if self._count < 0:
            raise SinkError("start is below 0.")

    def __enter__(self) -> Self:
        self.check()
        return self

    def __exit__(self, *_: object) -> None:
        self.counts.append(self._count)

    def write(self, result: Result, picture: Picture) -> None:
        self._count += 1


ROW = SinkKind("tally", f"{__name__}:TallySink", options=f"{__name__}:TallyOptions")


@pytest.fixture
def tally(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    monkeypatch.setattr(sinks, "SINKS", [*sinks.SINKS, ROW])
    TallySink.counts.clear()
    return TallySink.counts


def test_a_new_sink_is_one_class_and_one_row(tally: list[int]) -> None:
    config = build_config({"source": "clip.mp4", "sinks": {"tally": {"start": 10}}})
    made = make_sinks(config, CONTEXT)
    detector = Detector(FakeBackend(), parse_region("native"))
    Pipeline(FakeSource([grey(9)] * 5), detector, made, VerdictSettings()).run()
    assert tally == [15]


def test_its_options_may_differ_between_cameras_and_are_checked_without_opening(
    tally: list[int],
) -> None:
    other = {"name": "b", "source": "1", "sinks": {"tally": {"start": -3}}}
    cameras = [{"name": "a", "source": "0"}, other]
    configs = build_config({"cameras": cameras, "sinks": {"tally": None}}).each_camera()
    (a,), (b,) = (make_sinks(config, CONTEXT) for config in configs)
    a.check()
    with pytest.raises(SinkError, match="below 0"):
        b.check()
    assert tally == []


@pytest.mark.parametrize(
    ("section", "message"),
    [
        ({"talley": {}}, "there is no sink 'talley' here. Expected: mqtt, webhook, tally."),
        ({"tally": {"start": "x"}}, "tally.start: .*found 'x'"),
        ({"tally": {"begin": 1}}, "unknown key 'tally.begin'. Known here: start"),
        (["tally"], "expected sinks by their names"),
    ],
)
def test_what_the_table_does_not_have_is_refused(
    tally: list[int], section: object, message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        build_config({"source": "0", "sinks": section})


def everything(folder: Path) -> RunConfig:
    places = {
        "save": "{camera}.mp4",
        "images": "{camera}",
        "json_lines": "all.jsonl",
        "report": "all.html",
    }
    output = {key: str(folder / place) for key, place in places.items()}
    alerts = {"folder": str(folder / "events"), "database": str(folder / "incidents.db")}
    keep = {"folder": str(folder / "kept")}
    return build_config({"source": "0", "output": output, "alerts": alerts, "keep": keep})


def test_a_sink_is_made_for_each_place_and_checking_harms_nothing(tmp_path: Path) -> None:
    assert wanted(build_config({"source": "0"})) == []
    lines = tmp_path / "all.jsonl"
    lines.write_text("precious")
    config = everything(tmp_path)
    assert [(kind.name, kind.place(config, "front door")) for kind in wanted(config)] == [
        ("recording", str(tmp_path / "front-door.mp4")),
        ("images", str(tmp_path / "front-door")),
        ("report", str(tmp_path / "all.html")),
        ("events", str(tmp_path / "events")),
        ("kept", str(tmp_path / "kept")),
        ("incidents", str(tmp_path / "incidents.db")),
        ("lines", str(lines)),
    ]
    made = make_sinks(config, CONTEXT)
    for sink in made:
        sink.check()
    assert len(made) == 7 and lines.read_text() == "precious"
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == [lines]


@pytest.mark.parametrize("kind", [k.name for k in sinks.SINKS if k.section != "sinks"])
def test_a_place_that_cannot_be_written_is_found_by_checking(tmp_path: Path, kind: str) -> None:
    (tmp_path / "file").touch()
    config = everything(tmp_path / "file")
    (made,) = (each.make(config, CONTEXT) for each in wanted(config) if each.name == kind)
    with pytest.raises(SinkError, match="is a file"):
        made.check()
