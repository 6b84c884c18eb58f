from __future__ import annotations

import io
from pathlib import Path

from PIL import Image as PillowImage
from rich.console import Console

from tests.training.data.layout_trees import TREES, plant
from training.data.dataset import open_dataset
from training.data.table import MOST_ROWS, found_notes, found_table, found_totals, source_rows


def _shown(root: Path, cache: Path) -> str:
    text = io.StringIO()
    Console(width=120, file=text).print(found_table(open_dataset(root, smallest=8, cache=cache)))
    return text.getvalue()


def test_a_row_for_each_label_and_source_with_what_is_lost(tmp_path: Path) -> None:
    root = plant(tmp_path / "data", ["0_real/[red]", "1_fake/made", "1_fake/lost"])
    PillowImage.new("L", (64, 48)).save(root / "1_fake" / "made" / "2.jpg")
    for index in range(2):
        (root / "1_fake" / "lost" / f"{index}.png").write_bytes(b"")
    folder = open_dataset(root, cache=tmp_path / "c").splits["all"]
    rows = {(row.label, row.source): row for row in source_rows(folder)}
    assert set(rows) == {(0, "[red]"), (1, "made"), (1, "lost")}
    made = rows[1, "made"]
    assert made.pictures == 3 and made.sizes == ((32, 32), (32, 32), (64, 48))
    assert made.formats == {"PNG": 2, "JPEG": 1} and made.left_out == 0
    assert rows[1, "lost"].sizes is None and rows[1, "lost"].left_out == 2
    text = _shown(root, tmp_path / "c")
    assert "[red]" in text and "32×32, 32×32, 64×48" in text and "PNG 2, JPEG 1" in text
    assert found_totals(open_dataset(root, cache=tmp_path / "c")) == "all: 2 real and 3 fake"


def test_many_sources_end_in_one_row(tmp_path: Path) -> None:
    folders = [f"{x}/s{i:02}" for x in ("0_real", "1_fake") for i in range(MOST_ROWS)]
    root = plant(tmp_path / "data", folders, each=1)
    assert f"{MOST_ROWS} more sources" in _shown(root, tmp_path / "c")


def test_odd_files_and_formats_that_tell_the_label_are_said(tmp_path: Path) -> None:
    root = plant(tmp_path / "data", TREES["plain"])
    assert found_notes(open_dataset(root, cache=tmp_path / "c")) == []
    for path in (root / "0_real" / "camera").iterdir():
        PillowImage.new("CMYK", (32, 32)).save(path.with_suffix(".jpg"))
        path.unlink()
    odd, telling = found_notes(open_dataset(root, cache=tmp_path / "c"))
    assert odd == "all: 2 CMYK (converted)."
    assert "are all JPEG, generated pictures all PNG" in telling
