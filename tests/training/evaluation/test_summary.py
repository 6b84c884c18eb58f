from __future__ import annotations

import json
from pathlib import Path

import pytest

from edge.errors import UsageError
from edge.manifest import Calibration
from patchwatch import main
from tests.training.evaluation.made import made_record
from training.evaluation.record import FILE, facts_of, read_sources
from training.evaluation.report import write_card
from training.evaluation.summary import read_summary, summarise

LIST = [
    {"name": "cam-a", "group": "photo", "label": "real", "paths": []},
    {"source": "cam-b", "group": "human_art", "matched": "gen-a"},
    {"name": "gen-a", "group": "gan", "year": 2021},
    {"name": "gen-b", "group": "dit", "year": 2024, "matched": "cam-a"},
    {"name": "elsewhere"},
]


@pytest.fixture
def listed(tmp_path: Path) -> Path:
    path = tmp_path / "sources.json"
    path.write_text(json.dumps(LIST))
    return path


def test_figures_by_group_year_and_matched_source(listed: Path, tmp_path: Path) -> None:
    record = made_record(("a",), each=40)
    known = facts_of(read_sources(listed), {item.source for item in record.items})
    assert set(known) == {"cam-a", "cam-b", "gen-a", "gen-b"}
    summary = summarise(record.model_copy(update={"sources": known}), 50)
    assert {s.name: (s.group, s.year) for s in summary.sources}["gen-b"] == ("dit", 2024)
    found = summary.models[0].columns["untouched"]
    assert list(found.groups) == ["human_art", "photo"]
    assert found.groups["photo"] == found.photographs["cam-a"]
    assert list(found.matched) == ["gen-a", "gen-b"]  # each side may name the other
    matched = found.matched["gen-a"]
    assert matched is not None and matched[1] < matched[0] < matched[2]
    assert found.years == {
        "2021": pytest.approx(found.generators["gen-a"]["AUC"][0]),  # type: ignore[index]
        "2024": pytest.approx(found.generators["gen-b"]["AUC"][0]),  # type: ignore[index]
    }
    card = tmp_path / "card.md"
    names = ("matched", "years", "false alarms per group", "uncertain")
    card.write_text("".join(f"<!-- figures:begin {n} -->\n<!-- figures:end -->\n" for n in names))
    write_card(card, summary)
    assert all(f"| {word} | a |" in card.read_text() for word in ("gen-a", "2024", "human_art"))
    write_card(card, summarise(record, 50))
    assert card.read_text().count("Not measured.") == 3


def test_uncertain_is_between_even_and_the_threshold() -> None:
    # Every logit scores 0.6: above even, and below the threshold.
    record = made_record(("a",), logits={"a": 0.405})
    lenient = record.models[0].model_copy(update={"calibration": Calibration()})
    strict = lenient.model_copy(update={"calibration": Calibration(threshold=0.9)})
    for model, share in ((lenient, 0.0), (strict, 1.0)):
        found = summarise(record.model_copy(update={"models": (model,)}), 20)
        uncertain = found.models[0].columns["untouched"].uncertain
        assert [x and x[0] for x in uncertain.values()] == [share, share]


def test_a_list_can_be_joined_to_what_was_scored_before(
    listed: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    scored, compact = tmp_path / FILE, tmp_path / "q.json"
    scored.write_text(made_record().model_dump_json(by_alias=True))
    words = ["evaluate", "--sources", str(listed), "--from"]
    assert main([*words, str(scored), "--compact", str(compact)]) == 0
    assert "AUC against the matched source" in capsys.readouterr().out
    assert read_summary(compact)[0].models[0].columns["JPEG 75"].years
    assert main([*words, str(compact)]) == 2
    assert "has no logits" in capsys.readouterr().err


def test_files_of_the_first_schema_are_read(tmp_path: Path) -> None:
    old = made_record().model_dump(by_alias=True, mode="json") | {"schema": 1}
    del old["sources"]
    (tmp_path / FILE).write_text(json.dumps(old))
    assert read_summary(tmp_path / FILE)[0].models[0].columns["untouched"].mean["AUC"]


@pytest.mark.parametrize("content", ["{}", '[{"group": "x"}]', "nothing"])
def test_what_is_no_list_is_one_sentence(tmp_path: Path, content: str) -> None:
    (tmp_path / "x.json").write_text(content)
    with pytest.raises(UsageError, match="expected a JSON list of sources with names"):
        read_sources(tmp_path / "x.json")
    with pytest.raises(UsageError, match="cannot be read"):
        read_sources(tmp_path / "absent.json")
