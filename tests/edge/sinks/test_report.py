from __future__ import annotations

import re
from pathlib import Path

import cv2
import pytest

from patchwatch import main
from tests.edge.commands.test_run import write_clip
from tests.fakes import barred


@pytest.fixture
def parts(tmp_path: Path) -> Path:
    """Two dark seconds, four bright ones and two dark ones."""
    images = [barred(level, 60, 80) for level in (5, 250, 250, 5) for _ in range(20)]
    return write_clip(tmp_path / "a&b.mp4", images, fps=10)


def test_a_recording_has_a_timeline_the_stretches_and_its_worst_moments(
    parts: Path, tmp_path: Path, model: str, capsys: pytest.CaptureFixture[str]
) -> None:
    report = tmp_path / "new" / "out.html"
    assert main(["run", str(parts), "--model", model, "--headless", "--report", str(report)]) == 0
    page = report.read_text(encoding="utf-8")
    assert "<b class=fake>FAKE</b> looks generated; fake for" in page
    assert re.search(r"<li>0:0\d to 0:0\d, at most fake &gt;99 %", page)
    assert page.count("data:image/jpeg;base64,") == 4  # one of each two seconds
    assert "a&amp;b.mp4" in page and "a&b.mp4" not in page
    assert not re.search(r"(src|href)='?http|<script", page)
    assert "<title>0:03: FAKE" in page and "dashed: the threshold, 50 %" in page
    # The terminal says the same, and where the report is.
    said = capsys.readouterr().err
    assert "a&b.mp4: FAKE (fake >99 %), looks generated; fake for" in said
    assert re.search(r"fake from 0:0\d to 0:0\d", said) and f"written: {report}" in said
    assert "latency_ms" not in said


def test_pictures_are_ranked_and_the_terminal_counts_them(
    tmp_path: Path, model: str, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, report = tmp_path / "pictures", tmp_path / "out.html"
    folder.mkdir()
    for name, level in (("dark", 5), ("bright", 250)):
        cv2.imwrite(str(folder / f"{name}.png"), barred(level))
    words = ["--model", model, "--headless", "--verbose", "--report", str(report)]
    assert main(["run", str(folder), *words]) == 0
    page = report.read_text(encoding="utf-8")
    assert page.index("bright.png") < page.index("dark.png")
    assert page.count("<figure title=") == page.count("data:image/jpeg;base64,") == 2
    said = capsys.readouterr().err
    assert "1 FAKE" in said and "1 REAL" in said and "latency_ms" in said


def test_a_place_that_cannot_be_written_is_a_sentence(
    parts: Path, tmp_path: Path, model: str, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--model", model, "--headless", "--report", str(tmp_path)]
    assert main(["run", str(parts), *words]) == 1
    assert "is a folder. Give the name of a file" in capsys.readouterr().err
