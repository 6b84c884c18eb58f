from __future__ import annotations

import json
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from edge.demo import FPS, KINDS, SECONDS_EACH, SHOWN, SWAP, frames, swap
from edge.faces import FaceFinder
from patchwatch import main
from tests.fakes import grey

LENGTH = SHOWN * FPS * SECONDS_EACH


@pytest.mark.slow
def test_it_finds_generated_pictures_keeps_photographs_and_leaves_what_it_promises(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("skimage", reason="needs the photographs that scikit-image ships")
    pytest.importorskip(KINDS[1].package, reason=f"needs {KINDS[1].needs}")
    output = tmp_path / "a" / "b"
    assert main(["demo", "--output", str(output), "--headless"]) == 0
    rows = [json.loads(line) for line in (output / "frames.jsonl").read_text().splitlines()]
    assert len(rows) == 2 * LENGTH
    real, fake = ([row["verdict"] for row in rows[side::2]] for side in (0, 1))
    assert real.count("real") > 0.8 * LENGTH and "fake" not in real
    assert fake.count("fake") > 0.8 * LENGTH and "real" not in fake
    with av.open(str(output / "annotated.mp4")) as video:
        stream = video.streams.video[0]
        assert (stream.codec_context.name, stream.width, stream.height) == ("h264", 1280, 720)
        assert sum(1 for _ in video.decode(video=0)) == LENGTH
    still = cv2.imread(str(output / "overlay.jpg"))
    assert still is not None and still.shape == (480, 1280, 3)
    err = capsys.readouterr().err
    assert err.count("right") > 8 and "none of which was used for training" in err


def test_without_a_package_it_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert main(["demo", "--output", str(tmp_path), "--headless"]) == 1
    assert "pip install 'patchwatch[demo]'" in capsys.readouterr().err


def test_nothing_is_enlarged() -> None:
    height, width = KINDS[0].size_hw
    fine = grey(0, height + 40, width + 90)
    fine[:, ::2] = 255
    views = list(frames([fine], (height, width)))
    assert len(views) == FPS * SECONDS_EACH
    assert {view.shape for view in views} == {(height, width, 3)}
    # At its own size the stripes are untouched; an enlarged picture would have greys.
    assert set(np.unique(views[-1])) == {0, 255}


@pytest.mark.slow
def test_both_questions_are_asked_of_a_swap_and_what_came_of_it_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("skimage", reason="needs the photographs that scikit-image ships")
    pytest.importorskip(KINDS[1].package, reason=f"needs {KINDS[1].needs}")
    assert main(["demo", "--faces", "--output", str(tmp_path), "--headless"]) == 0
    rows = [json.loads(line) for line in (tmp_path / "frames.jsonl").read_text().splitlines()]
    assert len(rows) == 2 * FPS * SECONDS_EACH
    assert all(row["picture"]["verdict"] and len(row["faces"]) == 1 for row in rows[-2:])
    found = any(row["verdict"] == "fake" for row in rows[1::2])
    err = capsys.readouterr().err
    assert SWAP in err and ("The swap was found." in err) is found
    assert ("The swap was missed." in err) is not found
    assert "made by this program" in err


def test_only_the_face_is_replaced() -> None:
    pytest.importorskip("skimage", reason="needs the photographs that scikit-image ships")
    pytest.importorskip(KINDS[1].package, reason=f"needs {KINDS[1].needs}")
    before, after = swap()
    with FaceFinder() as finder:
        (was,), (now,) = finder.find(before), finder.find(after)
    # The new face looks out of the old one's place.
    assert np.abs(was.points - now.points).max() < 8
    left, top, right, bottom = was.xyxy
    changed = np.abs(before.astype(int) - after).max(axis=2)
    assert np.median(changed[top:bottom, left:right]) > 8
    changed[top - 60 : bottom + 60, left - 60 : right + 60] = 0
    assert not changed.any()
