"""Patchwatch from Python: the example runs, and what it gives is what the commands give."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import pytest

import patchwatch
from edge import api
from edge.errors import ConfigError, SourceError
from tests.edge.commands.test_run import write_clip
from tests.fakes import barred
from tests.programs import in_python
from tests.servers import motion_jpeg


def test_a_picture_is_scored_as_an_array_and_as_a_file(tmp_path: Path, model: str) -> None:
    cv2.imwrite(str(tmp_path / "p.png"), barred(250))
    with patchwatch.open_detector(model) as detector:
        bright = detector.score(barred(250))
        assert (bright.state, detector.score(barred(5)).state) == ("fake", "real")
        assert detector.score(tmp_path / "p.png") == bright
        assert detector.manifest.name == "fake"
        with pytest.raises(SourceError, match="absent"):
            detector.score(tmp_path / "absent.png")
    detector.close()


def test_a_recording_gives_what_the_command_gives(
    tmp_path: Path, model: str, capsys: pytest.CaptureFixture[str]
) -> None:
    clip = write_clip(tmp_path / "clip.mp4", [barred(5)] * 30 + [barred(250)] * 30)
    with patchwatch.open_detector(model) as detector:
        results = list(detector.watch(clip))
    lines = ["run", str(clip), "--model", model, "--headless", "--json", "-"]
    assert patchwatch.main(lines) == 0
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [r.verdict.state for r in results] == [row["verdict"] for row in rows]
    assert [r.verdict.score for r in results] == [row["score"] for row in rows]


def test_pictures_are_judged_one_by_one(tmp_path: Path, model: str) -> None:
    for name, level in (("a", 250), ("b", 5)):
        cv2.imwrite(str(tmp_path / f"{name}.png"), barred(level))
    with patchwatch.open_detector(model) as detector:
        assert [r.verdict.state for r in detector.watch(tmp_path)] == ["fake", "real"]


def test_a_stream_gives_its_newest_frames_until_nobody_asks(model: str) -> None:
    ok, jpeg = cv2.imencode(".jpg", barred(250))
    assert ok
    with (
        motion_jpeg([jpeg.tobytes()]) as address,
        patchwatch.open_detector(model) as detector,
    ):
        states = []
        for result in detector.watch(address):
            states.append(result.verdict.state)
            if len(states) == 20:
                break
    assert states[-1] in ("fake", "uncertain") and "no_signal" not in states[5:]


def test_wrong_keys_are_one_sentence_and_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(ConfigError, match="Did you mean 'region'"):
        patchwatch.open_detector(reigon="native")
    with pytest.raises(AttributeError, match="no attribute 'open_detectors'"):
        _ = patchwatch.open_detectors


def test_the_example_runs_as_it_stands(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "picture.jpg"), barred(90, 300, 300))
    lines = (api.__doc__ or "").partition(":\n\n")[2].partition("The commands")[0]
    example = "\n".join(line[4:] for line in lines.splitlines())
    done = in_python(example, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("Verdict(state=")
