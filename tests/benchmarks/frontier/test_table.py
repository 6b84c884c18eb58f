from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.frontier.record import frontier_text, sha256_of
from benchmarks.frontier.table import BEGIN, END, snippet, stale, written
from edge.errors import UsageError
from tests.benchmarks.frontier.made import frontier, point, write_quality

MADE = frontier(point("dear", 40.0), point("none", None), point("cheap", 1.5, 0.691, 0.664))


def card(folder: Path, table: str = "old") -> Path:
    path = folder / "card.md"
    path.write_text(f"# Model\n\n{BEGIN}\n{table}\n{END}\n\nWords that stay.\n")
    return path


def test_the_table_has_work_parameters_and_every_column_with_its_interval() -> None:
    lines = snippet(MADE).splitlines()
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[:5]]
    assert rows[0][:4] == ["model", "sees", "parameters", "GFLOP per frame"]
    assert rows[0][4:] == ["untouched", "JPEG 75", "H.264 CRF 23", "mean of compressed"]
    assert [row[0] for row in rows[2:]] == ["cheap", "dear", "none"]
    assert rows[2] == [
        "cheap",
        "center:512",
        "1,297",
        "1.50",
        "0.691 [0.64, 0.74]",
        "0.674 [0.62, 0.72]",
        "0.654 [0.58, 0.72]",
        "0.664 [0.60, 0.72]",
    ]
    assert rows[4][3] == "–"


def test_what_must_be_known_stands_below_the_table() -> None:
    text = snippet(MADE)
    assert "2·MACs" in text and "1280×720" in text and "`native` is the whole frame" in text
    assert "2030-01-01, commit `def5678`" in text
    assert "none is not counted: its file was not given." in text


def test_regions_say_what_is_seen_of_a_frame() -> None:
    native = point("a", 1.0).model_copy(update={"region": "native"})
    tiles = point("b", 6.0).model_copy(update={"region": "tiles:512"})
    assert tiles.work
    tiles = tiles.model_copy(update={"work": tiles.work.model_copy(update={"inputs": 6})})
    text = snippet(frontier(native, tiles))
    assert "| native, 720p |" in text and "| tiles:512, 6 × 512² |" in text


def test_another_file_of_the_name_is_told() -> None:
    found = point("a", 1.0)
    assert found.work
    work = found.work.model_copy(update={"file": "a.onnx", "same_file": False})
    text = snippet(frontier(found.model_copy(update={"work": work})))
    assert "a is counted in a.onnx, another file of its name than the one judged." in text


def test_a_card_is_stale_until_it_is_written(tmp_path: Path) -> None:
    path, source = card(tmp_path), tmp_path / "frontier.json"
    source.write_text(frontier_text(MADE))
    assert f"frontier {source} --card {path}" in str(stale(path, source))
    path.write_text(written(path, MADE))
    assert stale(path, source) is None and written(path, MADE) == path.read_text()
    assert path.read_text().startswith("# Model\n") and "Words that stay." in path.read_text()
    source.write_text(frontier_text(frontier(point("cheap", 1.6))))
    assert stale(path, source) is not None


def test_figures_that_changed_since_make_it_stale(tmp_path: Path) -> None:
    path, source = card(tmp_path), tmp_path / "frontier.json"
    quality = write_quality(tmp_path / "quality.json", a={})
    known = MADE.quality.model_copy(update={"sha256": sha256_of(quality)})
    made = MADE.model_copy(update={"quality": known})
    source.write_text(frontier_text(made))
    path.write_text(written(path, made))
    assert stale(path, source, quality) is None
    write_quality(quality, seed=1, a={})
    assert "made from other figures" in str(stale(path, source, quality))
    with pytest.raises(UsageError, match="cannot be read"):
        stale(path, source, tmp_path / "absent.json")


@pytest.mark.parametrize("text", ["none", f"{END}\n{BEGIN}", BEGIN, f"{BEGIN}{END}" * 2])
def test_a_card_without_its_markers_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "card.md"
    path.write_text(text)
    with pytest.raises(UsageError, match="expected one line"):
        written(path, MADE)


def test_an_absent_card_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot be read as text"):
        written(tmp_path / "card.md", MADE)
