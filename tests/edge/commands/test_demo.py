from __future__ import annotations

import json
import sys
from pathlib import Path

import av
import numpy as np
import pytest

from edge.demo import DECODER, FPS, SECONDS_EACH, SIZE_HW, Part, decode, frames
from edge.weights import TINY
from patchwatch import main
from tests.fakes import grey

LENGTH = 3 * FPS * SECONDS_EACH


@pytest.mark.slow
def test_leaves_a_video_and_lines_and_gives_the_verdicts(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("skimage", reason="needs the photographs that scikit-image ships")
    output = tmp_path / "a" / "b"
    assert main(["demo", "--output", str(output), "--headless"]) == 0
    rows = [json.loads(line) for line in (output / "frames.jsonl").read_text().splitlines()]
    assert len(rows) == 2 * LENGTH
    for name in ("clip.mp4", "annotated.mp4"):
        with av.open(str(output / name)) as video:
            assert video.streams.video[0].codec_context.name == "h264"
            assert sum(1 for _ in video.decode(video=0)) == 2 * LENGTH
    err = capsys.readouterr().err
    assert err.count(f"{LENGTH} ") >= 2 and "photographs" in err
    assert any(word in err for word in ("right", "wrong", "undecided"))
    # Again over what is there, as a second 'make demo' does; with the model that takes less time.
    assert main(["demo", "--output", str(output), "--headless", "--model", TINY]) == 0


def test_without_scikit_image_it_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "skimage", None)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert main(["demo", "--output", str(tmp_path), "--headless"]) == 1
    assert "pip install 'patchwatch[demo]'" in capsys.readouterr().err


def test_the_decoder_is_small_and_restores_a_picture_without_copying_it() -> None:
    assert DECODER.stat().st_size < 16_384
    x, y = np.meshgrid(np.arange(161), np.arange(121))
    wave = 128 + 60 * np.sin(x / 9) + 40 * np.cos(y / 7)
    image = np.repeat(wave[..., None], 3, axis=2).round().astype(np.uint8)
    again = decode(image)
    assert again.shape == (120, 160, 3)
    error = again.astype(float) - image[:120, :160]
    assert 0 < np.square(error).mean() < 255**2 / 10**3  # better than 30 dB on a smooth picture


def test_nothing_is_enlarged() -> None:
    height, width = SIZE_HW
    fine = grey(0, height + 40, width + 90)
    fine[:, ::2] = 255
    views = list(frames(Part("stripes", 0, (fine,))))
    assert len(views) == FPS * SECONDS_EACH
    assert {view.shape for view in views} == {(height, width, 3)}
    # At its own size the stripes are untouched; an enlarged picture would have greys.
    assert set(np.unique(views[-1])) == {0, 255}
