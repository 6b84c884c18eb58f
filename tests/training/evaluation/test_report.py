from __future__ import annotations

import json
from pathlib import Path

import pytest
from PIL import Image as PillowImage

from edge.errors import SinkError, UsageError
from tests.training.evaluation.made import COLUMNS, made_record
from tests.training.pictures import write_split
from training.evaluation.metrics import AUC, METRICS
from training.evaluation.plots import error_sheet, worst
from training.evaluation.record import FILE, Record
from training.evaluation.report import (
    PAGE,
    interval_text,
    notes,
    require_folder,
    stale,
    tables,
    write_card,
    write_report,
)
from training.evaluation.summary import read_summary, summarise, write_summary

DRAWS = 30


def test_the_same_json_gives_the_same_report(tmp_path: Path) -> None:
    record = made_record()
    write_report(record, summarise(record, DRAWS), tmp_path / "a")
    again = read_summary(tmp_path / "a" / FILE)[1]
    assert again is not None and again == record
    write_report(again, summarise(again, DRAWS), tmp_path / "b")
    names = sorted(path.name for path in (tmp_path / "a").iterdir())
    assert names == sorted(path.name for path in (tmp_path / "b").iterdir())
    assert {"roc.png", "roc.svg"} < set(names)
    for name in names:
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes(), name


def test_the_page_has_every_figure_and_links_every_plot(tmp_path: Path) -> None:
    record = made_record()
    problems = write_report(record, summarise(record, DRAWS), tmp_path)
    page = (tmp_path / PAGE).read_text()
    named = (*METRICS, *COLUMNS, "gen-a", "cam-b")
    assert all(text.lower() in page.lower() for text in named)
    assert all(f"({p.name})" in page for p in tmp_path.glob("*.svg"))
    assert len(problems) == 2 and all(problem in page for problem in problems)


def test_the_sheet_shows_the_surest_mistakes_once_each(tmp_path: Path) -> None:
    write_split(tmp_path, per_source=2, seed=0)
    files = sorted(path for path in tmp_path.rglob("*") if path.is_file())
    wrong = {path: 9.0 if "0_real" in path.parts else -9.0 for path in files}
    record = _record_of(tmp_path, wrong)
    model = record.models[0]
    assert len(worst(record, model, 0)) == len(worst(record, model, 1)) == 4
    assert worst(record, model, 0, most=1)[0].score > 0.99
    sheet = error_sheet(record, model)
    assert sheet is not None
    captions = [axes.get_title() for axes in sheet.get_axes()]
    assert len(captions) == 8 and captions[0] == "camera-a\nscore 1.000, untouched"


def test_no_mistake_needs_no_sheet(tmp_path: Path) -> None:
    write_split(tmp_path, per_source=1, seed=0)
    files = sorted(path for path in tmp_path.rglob("*") if path.is_file())
    record = _record_of(tmp_path, {p: -9.0 if "0_real" in p.parts else 9.0 for p in files})
    assert error_sheet(record, record.models[0]) is None


def test_the_compact_form_has_figures_but_no_logits_and_no_paths(tmp_path: Path) -> None:
    record = made_record(root="some-folder")
    summary = summarise(record, DRAWS)
    path = tmp_path / "quality.json"
    path.write_text(write_summary(summary))
    assert read_summary(path) == (summary, None)
    assert "some-folder" not in path.read_text() and "logits" not in path.read_text()
    assert summary.models[0].columns["untouched"].generators["gen-a"].keys() == set(METRICS)


def test_a_model_that_says_the_same_of_all_has_figures_and_one_that_says_nothing_has_none() -> None:
    flat = summarise(made_record(("a", "b"), logits={"a": 1.0, "b": None}), DRAWS)
    assert flat.models[0].columns["untouched"].mean[AUC] == (0.5, 0.5, 0.5)
    silent = flat.models[1].columns["untouched"]
    assert silent.mean[AUC] is None and silent.false_alarms is None
    assert silent.without_logit == 24
    assert tables(flat)[AUC].rows[1][1:] == ("n/a", "n/a")
    assert any("gave no logit for 24" in note for note in notes(flat))


def test_a_silent_model_can_still_be_drawn(tmp_path: Path) -> None:
    record = made_record(("a", "b"), logits={"a": 1.0, "b": None})
    write_report(record, summarise(record, DRAWS), tmp_path)
    with PillowImage.open(tmp_path / "roc.png") as drawn:
        assert drawn.size[0] > 300


def test_intervals_are_written_in_the_unit_of_the_measure() -> None:
    assert interval_text((0.6914, 0.52, 0.851), AUC) == "0.691 [0.52, 0.85]"
    assert interval_text((0.048, 0.01, 0.12), "") == "4.8 % [1, 12]"
    assert interval_text(None, AUC) == "n/a"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"schema": 3}, "schema"),
        ({"theme": "bench"}, "theme"),
        ({"columns": ["untouched"]}, "other degradations"),
        ({"items": []}, "logits each"),
        ({"data": []}, "folder is not listed"),
    ],
)
def test_a_broken_file_is_one_sentence(
    tmp_path: Path, change: dict[str, object], said: str
) -> None:
    path = tmp_path / FILE
    path.write_text(json.dumps(json.loads(made_record().model_dump_json(by_alias=True)) | change))
    with pytest.raises(UsageError, match=said):
        read_summary(path)


def test_what_is_no_evaluation_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot be read"):
        read_summary(tmp_path / "absent.json")
    for content in ("not JSON", "[]", "{}", '{"theme": "quality"}'):
        (tmp_path / "x.json").write_text(content)
        with pytest.raises(UsageError, match="expected an evaluation"):
            read_summary(tmp_path / "x.json")


def test_a_folder_with_something_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / PAGE).write_text("# Mine")
    with pytest.raises(SinkError, match="no report of this program"):
        require_folder(tmp_path)
    with pytest.raises(SinkError, match="is a file"):
        require_folder(tmp_path / PAGE)


def _record_of(root: Path, logits: dict[Path, float]) -> Record:
    template = made_record(("a",))
    items = [
        template.items[0].model_copy(
            update={
                "path": path.relative_to(root).as_posix(),
                "label": int("1_fake" in path.parts),
                "source": path.parent.name,
            }
        )
        for path in logits
    ]
    said = {column: list(logits.values()) for column in COLUMNS}
    model = template.models[0].model_copy(update={"logits": said})
    return template.model_copy(
        update={"data": (str(root),), "items": tuple(items), "models": (model,)}
    )


TEXT = """# Model

<!-- figures:begin AUC -->
<!-- figures:end -->

Words that stay.

<!-- figures:begin false alarms per source -->
| old |
<!-- figures:end -->
"""
DRAWS = 30


def test_tables_are_rewritten_and_words_stay(tmp_path: Path) -> None:
    card, figures = tmp_path / "card.md", tmp_path / "quality.json"
    card.write_text(TEXT)
    summary = summarise(made_record(), DRAWS)
    figures.write_text(write_summary(summary))
    assert "not those of" in str(stale(card, figures))
    assert write_card(card, summary)
    text = card.read_text()
    assert "| model | untouched | JPEG 75 |" in text and "| cam-a (6) | b |" in text
    assert "Words that stay." in text and "| old |" not in text
    assert stale(card, figures) is None and not write_card(card, summary)
    figures.write_text(write_summary(summarise(made_record(seed=1), DRAWS)))
    assert stale(card, figures) is not None


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("no markers", "found 0 beginnings and 0 ends"),
        ("<!-- figures:begin AUC -->\n", "found 1 beginnings and 0 ends"),
        (
            "<!-- figures:begin AUC -->\n<!-- figures:begin AP -->\n<!-- figures:end -->",
            "found 2 beginnings and 1 ends",
        ),
        ("<!-- figures:begin speed -->\n<!-- figures:end -->", "no table 'speed'"),
    ],
)
def test_wrong_markers_are_one_sentence(tmp_path: Path, text: str, said: str) -> None:
    card = tmp_path / "card.md"
    card.write_text(text)
    with pytest.raises(UsageError, match=said):
        write_card(card, summarise(made_record(), DRAWS))
    assert card.read_text() == text


def test_an_absent_card_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot be read as text"):
        write_card(tmp_path / "card.md", summarise(made_record(), DRAWS))
