from __future__ import annotations

import io
import json
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest

import patchwatch
from edge.commands.label import preview


@pytest.fixture
def kept(tmp_path: Path) -> Path:
    """Five frames of a camera in five hours."""
    folder = tmp_path / "kept"
    folder.mkdir()
    for hour in range(5):
        path = folder / f"20261130-0{hour}0000_gate_doubtful.png"
        cv2.imwrite(str(path), np.full((8, 8, 3), 40 * hour, np.uint8))
        facts = {"source": "rtsp://host/gate", "verdict": "real", "score": 0.4, "why": "doubtful"}
        path.with_suffix(".json").write_text(json.dumps(facts))
    return folder


def label(monkeypatch: pytest.MonkeyPatch, kept: Path, keys: str) -> int:
    monkeypatch.setattr("sys.stdin", io.StringIO("".join(f"{key}\n" for key in keys)))
    return patchwatch.main(["label", str(kept)])


def labelled(kept: Path) -> list[str]:
    return sorted(str(p.parent.relative_to(kept)) for p in kept.glob("*/*/*/*.png"))


def test_each_key_does_what_it_says_and_every_third_hour_is_kept_back(
    kept: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert label(monkeypatch, kept, "rxfsdr") == 0
    said = capsys.readouterr().err
    assert "rtsp://host/gate, real 40%, doubtful" in said and "Expected one of: r real" in said
    assert "2 real, 1 generated, 1 left" in said
    assert labelled(kept) == ["train/0_real/host-gate", "train/0_real/host-gate",
                              "val/1_fake/host-gate"]  # fmt: skip
    for picture in kept.glob("*/*/*/*.png"):
        assert picture.with_suffix(".json").is_file()
    assert len(list(kept.glob("*.png"))) == 1


def test_stopping_loses_nothing_and_back_undoes(
    kept: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = {p.name: p.read_bytes() for p in kept.iterdir()}
    assert label(monkeypatch, kept, "bfbq") == 0
    assert {p.name: p.read_bytes() for p in kept.iterdir() if p.is_file()} == before
    assert label(monkeypatch, kept, "r") == 0  # the input ends
    assert len(labelled(kept)) == 1 and len(list(kept.glob("*.png"))) == 4


def test_back_returns_to_what_came_before_whatever_was_done_with_it(
    kept: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    shown = [p.name for p in sorted(kept.glob("*.png"))]
    # 0 real, 1 later; back to 1, back to 0, which is real no more; 1 is deleted; back to 0 again.
    assert label(monkeypatch, kept, "rsbbfdbq") == 0
    said = capsys.readouterr().err
    asked = [line.split(": ")[1] for line in said.splitlines() if " of 5: " in line]
    assert asked == [shown[i] for i in (0, 1, 2, 1, 0, 1, 2, 0)]
    assert labelled(kept) == [] and "0 real, 0 generated, 4 left" in said
    assert not (kept / shown[1]).exists()


def test_frames_that_are_gone_meanwhile_are_passed_over(
    kept: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Lets frames go between two keys, as 'run --keep' lets its oldest go."""
    frames = sorted(kept.glob("*.png"))

    def keys() -> Iterator[str]:
        yield "r\n"  # 0
        frames[1].unlink()
        yield "f\n"  # 1, which was asked about and is gone
        frames[3].unlink()
        yield "r\n"  # 2
        for path in kept.glob("*/*/*/*_gate_*.png"):  # another person took what was labelled
            path.unlink()
        yield "b\n"  # at 4, as 3 is gone; nothing before it is left
        yield "f\n"

    lines = keys()
    monkeypatch.setattr("sys.stdin", SimpleNamespace(readline=lambda: next(lines, "")))
    assert patchwatch.main(["label", str(kept)]) == 0
    said = capsys.readouterr().err
    assert f"{frames[1].name} is gone." in said and f" of 5: {frames[3].name}" not in said
    assert "There is none before." in said and "0 real, 1 generated, 0 left" in said


def test_frames_of_one_hour_stay_together(kept: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for path in sorted(kept.iterdir()):
        path.rename(path.with_name(f"20261130-00{path.name[9:11]}{path.name[13:]}"))
    label(monkeypatch, kept, "rfrfr")
    assert {name.partition("/")[0] for name in labelled(kept)} == {"train"}


def test_of_single_pictures_every_third_is_kept_back(
    kept: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number, path in enumerate(sorted(kept.glob("*.json"))):
        path.write_text(json.dumps({"source": f"p{number}.jpg"}))
    label(monkeypatch, kept, "rfrfr")
    assert [name.partition("/")[0] for name in labelled(kept)] == ["train"] * 3 + ["val"] * 2


def test_a_folder_that_is_none_is_one_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert patchwatch.main(["label", str(tmp_path / "none")]) == 1
    assert "is no folder. Name the one that 'run --keep' was given." in capsys.readouterr().err


def test_a_preview_has_two_pixels_to_a_character() -> None:
    image = np.zeros((20, 40, 3), np.uint8)
    image[10:] = (0, 0, 255)
    text = preview(image, 8)
    assert text.plain.splitlines() == ["▀" * 8] * 2
    styles = {str(span.style) for span in text.spans}
    assert styles == {"#000000 on #000000", "#ff0000 on #ff0000"}
