from __future__ import annotations

import io
import re
import threading
from collections.abc import Sequence
from dataclasses import dataclass, replace

import pytest
from rich.console import Console

from edge.live.status import Outcome, StatusView, summary_table
from edge.manifest import Calibration
from edge.overlay import Hud
from edge.sinks.worker import WorkerHealth
from edge.sources.live import Health
from edge.sources.supervisor import SignalState
from edge.summary import Summary
from edge.types import Evidence, Picture, Verdict
from tests.edge.sinks.results import make_result

WIDTH = 80
LONG = "a-camera-whose-name-has-forty-characters"
REASON = "no answer within 10 s. Check that the camera runs and its address is right."


@dataclass
class CameraState:
    """What a view learns of a camera."""

    name: str
    verdict: Verdict | None = None
    fps: float | None = None
    age_ms: float | None = None
    signal: SignalState = "streaming"
    skipped: int = 0
    retry_in_s: float | None = None
    error: str | None = None
    dropped: int = 0


DOOR = CameraState("door", Verdict("real", 0.07), 29.72, 41.3, skipped=3)
ROWS = [
    DOOR,
    CameraState(LONG, Verdict("fake", 0.934), 2.9, 612.0, skipped=90),
    CameraState(
        "yard",
        Verdict("no_signal"),
        signal="waiting",
        skipped=-1,
        retry_in_s=4.6,
        error=f"yard: {REASON}",
    ),
    CameraState("lobby", signal="opening", skipped=-1),
]


def health_of(state: CameraState) -> Health:
    """The health of a source of which a hundred frames came, or none."""
    received = 100 if state.skipped >= 0 else 0
    return Health(
        state.signal, state.error, None, 1, 0, 3, received, state.skipped, 0, 0, 0, state.retry_in_s
    )


def tell(view: StatusView, rows: Sequence[CameraState]) -> None:
    """Tell a view of cameras as a loop does, and let it draw."""
    view.sources([state.name for state in rows])
    for state in rows:
        if state.verdict is not None:
            silent = state.verdict.state == "no_signal"
            result = replace(
                make_result(source=state.name),
                verdict=state.verdict,
                evidence=None if silent else Evidence(0.0),
                age_ms=state.age_ms,
            )
            picture = Picture.of(result.frame.image)
            picture.hud = Hud(None, Calibration(), fps=state.fps)
            view.result(state.name, result, picture)
        sinks = [WorkerHealth("recording", "open", 0, state.dropped, 0, None)]
        view.health(state.name, health_of(state), sinks)
    view._due_s = 0.0
    view.tick()


def terminal(width: int = WIDTH) -> Console:
    """One that remembers what is written to it."""
    return Console(file=io.StringIO(), force_terminal=True, width=width, color_system="truecolor")


def written(console: Console) -> str:
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def screen(console: Console) -> list[str]:
    """What a terminal would show of it by now, without colours."""
    lines, row, column = [""], 0, 0
    for part in re.findall(r"\x1b\[[?\d;]*[A-Za-z]|[\r\n]|[^\r\n\x1b]+", written(console)):
        if part == "\r":
            column = 0
        elif part == "\n":
            row, column = row + 1, 0
            lines += [""] * (row + 1 - len(lines))
        elif part.startswith("\x1b"):
            lines[row] = "" if part.endswith("K") else lines[row]
            row -= int(part[2:-1] or 1) if part.endswith("A") else 0
        else:
            lines[row] = lines[row][:column].ljust(column) + part + lines[row][column + len(part) :]
            column += len(part)
    return [line.rstrip() for line in lines]


def shown(rows: Sequence[CameraState], width: int = WIDTH) -> list[str]:
    console = terminal(width)
    with StatusView(console) as view:
        tell(view, rows)
        return screen(console)


@pytest.mark.parametrize("width", [60, 80, 120, 200])
def test_each_camera_has_one_line_that_fits(width: int) -> None:
    lines = shown(ROWS, width)
    assert len(lines) == 1 + len(ROWS)
    assert max(len(line) for line in lines) <= width
    assert lines[0].split() == [
        "camera",
        "verdict",
        "(fake",
        "%)",
        "fps",
        "skipped",
        "age_ms",
        "signal",
    ]
    assert re.match(r"door +real 7 % +29.7 +3 % +41 streaming$", lines[1])
    assert lines[2].startswith("a-camera") and "fake 93 %" in lines[2]
    assert re.search(r"no_signal +– +– +– waiting", lines[3])
    assert re.match(r"lobby +– +– +– +– opening$", lines[4])
    if width == 200:
        assert LONG in lines[2]
        assert lines[3].endswith(f"waiting 5 s: {REASON}")


def test_the_verdict_has_its_colour() -> None:
    console = terminal()
    with StatusView(console) as view:
        tell(view, ROWS)
    assert "\x1b[38;2;255;96;48mfake 93 %" in written(console)
    assert "\x1b[38;2;28;204;182mreal 7 %" in written(console)


def test_what_the_outputs_lost_is_reported_once_something_is_lost() -> None:
    assert "dropped" not in "".join(shown(ROWS))
    lines = shown([DOOR, replace(DOOR, name="hall", dropped=17)])
    assert "dropped" in lines[0]
    assert re.search(r" 41 +17 streaming$", lines[2])


def test_one_camera_is_one_line() -> None:
    assert shown([DOOR]) == ["door  1 frames  real 7 %  29.7 fps  skipped 3 %  age_ms 41"]
    (waiting,) = shown([ROWS[2]])
    assert waiting.startswith("yard  0 frames  no_signal  waiting 5 s: no answer within 10 s.")
    assert len(waiting) == WIDTH and waiting.endswith("…")
    assert shown([replace(DOOR, dropped=2)])[0].endswith("dropped 2")


def test_a_name_is_not_taken_for_markup_or_commands() -> None:
    (line,) = shown([replace(DOOR, name="[red]door[/red]\x1b[2J\n")])
    assert line.startswith("[red]door[/red] [2J   1 frames")


def test_lines_from_other_threads_stay_whole_above_the_table() -> None:
    console = terminal()
    notes = [f"patchwatch: note {number}" for number in range(40)]

    def say() -> None:
        for note in notes:
            console.print(note, markup=False, soft_wrap=True)

    with StatusView(console) as view:
        tell(view, ROWS)
        thread = threading.Thread(target=say)
        thread.start()
        while thread.is_alive():
            tell(view, ROWS)
        thread.join()
        tell(view, ROWS)
        assert screen(console) == [*notes, *shown(ROWS)]
    assert [line for line in screen(console) if line] == notes


def test_cameras_that_come_and_go_leave_no_line_behind() -> None:
    console = terminal()
    with StatusView(console) as view:
        for rows in (ROWS, ROWS[:2], ROWS[:1], ROWS):
            tell(view, rows)
            lines = [line for line in screen(console) if line]
            # What it counts goes on.
            assert [re.sub(r"\d+ frames", "1 frames", line) for line in lines] == shown(rows)


def test_without_a_terminal_or_cameras_nothing_is_written() -> None:
    console = Console(file=io.StringIO())
    with StatusView(console) as view:
        tell(view, ROWS)
    assert written(console) == ""
    console = terminal()
    with StatusView(console) as view:
        tell(view, [])
    tell(view, ROWS)
    assert written(console) == ""


@pytest.mark.parametrize("width", [80, 120])
def test_the_summary_has_a_row_for_each_camera(width: int) -> None:
    summary = Summary(scored=10_789, last_verdict=Verdict("uncertain", 0.5))
    summary.ages_ms.extend(float(age) for age in range(1, 101))
    rows = [
        Outcome("door", summary, None, replace(health_of(DOOR), received=107_892), 0.123),
        Outcome(LONG, Summary(), None, None, None),
    ]
    console = Console(file=io.StringIO(), width=width)
    console.print(summary_table(rows))
    heading, door, other = (" ".join(line.split()) for line in written(console).splitlines()[1:])
    assert heading == "camera frames scored skipped connects signal p50 p99 (fake %)"
    assert door == "door 107892 10789 0 % 3 12 % 50 99 uncertain 50 %"
    assert other.endswith(" 0 0 – 0 – – – –")


@pytest.mark.parametrize("beside", [True, False])
def test_the_verdict_of_a_source_that_has_ended_is_not_shown_as_if_it_held(beside: bool) -> None:
    console = terminal()
    with StatusView(console) as view:
        tell(view, [DOOR, *[replace(DOOR, name="yard")] * beside])
        assert not any("ended" in line for line in screen(console))
        tell(view, [replace(DOOR, signal="ended"), *[replace(DOOR, name="yard")] * beside])
        lines = screen(console)
        (ended,) = (line for line in lines if "door" in line)
        assert "ended, " in ended
        assert not any("ended" in line for line in lines if "yard" in line)
