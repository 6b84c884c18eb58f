from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as PillowImage
from sklearn.metrics import (  # type: ignore[import-untyped]
    balanced_accuracy_score,
    roc_auc_score,
)

from edge.errors import SinkError, UsageError
from edge.manifest import Calibration, Training
from patchwatch import main
from tests.training.faces.face_sets import write_faces
from training.checkpoint import Card, save_checkpoint
from training.evaluation.metrics import clustered
from training.evaluation.report import require_folder
from training.faces.matrix import train_sets
from training.faces.matrix_report import (
    HEADING,
    PAGE,
    UNNAMED,
    Cell,
    Matrix,
    ModelFacts,
    cells_of,
    files,
    grids,
    heat_table,
    missing_of,
    page,
    set_facts,
)
from training.faces.sets import FaceItem, SetManifest, write_set
from training.models import ResNet18

SIZE = 32
FACTS = ModelFacts(
    name="base",
    file="base.safetensors",
    sha256="0" * 64,
    architecture="resnet18",
    size=SIZE,
    calibration=Calibration(bias=0.5),
    trained_on="made-up faces",
)


def faces(label: int, kind: str | None, videos: int, frames: int, name: str) -> list[FaceItem]:
    return [
        FaceItem(Path("x.png"), label, f"{name}{video}", kind, "faceforensics", str(video))
        for video in range(videos)
        for _ in range(frames)
    ]


def some_faces() -> list[FaceItem]:
    return [
        *faces(0, None, 8, 3, "r"),
        *faces(1, "Deepfakes", 6, 3, "d"),
        *faces(1, "FaceSwap", 5, 3, "s"),
    ]


def logits_of(items: Sequence[FaceItem], seed: int = 2) -> np.ndarray:
    """Faces of a video have most of their logit in common."""
    rng = np.random.default_rng(seed)
    videos = {item.video: rng.normal(0.5 * item.label) for item in items}
    return np.array([videos[item.video] + 0.3 * rng.normal() for item in items])


def test_a_cell_holds_what_scikit_learn_gives_of_frames_and_of_videos() -> None:
    items = some_faces()
    logits = logits_of(items)
    cells = {(c.manipulation, c.unit): c for c in cells_of(FACTS, "base", items, logits, 0)}
    assert set(cells) == {
        (kind, unit) for kind in (None, "Deepfakes", "FaceSwap") for unit in ("frame", "video")
    }
    for kind in (None, "Deepfakes", "FaceSwap"):
        chosen = [i for i, x in enumerate(items) if not x.label or kind in (None, x.manipulation)]
        labels = [items[i].label for i in chosen]
        check(cells[kind, "frame"], labels, logits[chosen])
        videos = sorted({items[i].video for i in chosen})
        means = [
            np.mean([logits[i] for i in chosen if items[i].video == video]) for video in videos
        ]
        check(cells[kind, "video"], [int(video[0] != "r") for video in videos], np.array(means))


def test_a_swap_is_set_against_its_own_original_and_shares_are_of_the_threshold() -> None:
    items = [*faces(0, None, 4, 2, "r"), *faces(1, "swap", 5, 2, "s")]
    real, fake = [-2.0, 0.0, 2.0, -1.0], [-1.0, -0.5, 3.0, 0.5, 9.0]
    logits = np.repeat([*real, *fake], 2) + np.tile([-0.1, 0.1], 9)
    facts = FACTS.model_copy(update={"calibration": Calibration(bias=0.7)})
    cells = {c.unit: c for c in cells_of(facts, "t", items, logits, 0) if c.manipulation is None}
    video = cells["video"]
    assert video.pairs and video.false_alarms and video.found
    # The fifth has no original; the second is below its own.
    assert video.pairs[0] == pytest.approx(3 / 4) and video.pairs[1] < 3 / 4 < video.pairs[2]
    assert video.false_alarms[0] == pytest.approx(1 / 4)
    assert video.found[0] == pytest.approx(2 / 5) and cells["frame"].pairs is None


def check(cell: Cell, labels: Sequence[int], logits: np.ndarray) -> None:
    assert (cell.reals, cell.fakes) == (labels.count(0), labels.count(1))
    assert cell.auc is not None and cell.balanced_accuracy is not None
    assert cell.auc[0] == pytest.approx(roc_auc_score(labels, logits))
    right = balanced_accuracy_score(labels, logits > FACTS.calibration.bias)
    assert cell.balanced_accuracy[0] == pytest.approx(right)
    for value, low, high in (cell.auc, cell.balanced_accuracy):
        assert 0 <= low <= value <= high <= 1 and low < high


def test_more_faces_of_the_same_videos_make_no_interval_narrower() -> None:
    """As from ten times as many faces, each counted once, it would be a third as wide."""
    few, many = ([*faces(0, None, 10, n, "r"), *faces(1, "Deepfakes", 10, n, "d")] for n in (1, 10))
    widths = []
    for items in (few, many):
        rng = np.random.default_rng(3)
        videos = {item.video: 0.0 for item in items}
        videos = {video: rng.normal(video[0] == "d") for video in videos}
        logits = np.array([videos[item.video] for item in items])
        labels = np.array([item.label for item in items])
        numbers = np.unique([item.video for item in items], return_inverse=True)[1] % 10
        sides, clusters = ([x[labels == label] for label in (0, 1)] for x in (logits, numbers))
        found = clustered(sides, Calibration(), 0, clusters)[0]
        assert found is not None
        widths.append(found[2] - found[1])
    assert widths[1] == pytest.approx(widths[0])


def test_an_empty_side_has_no_figures() -> None:
    items = faces(0, None, 3, 2, "r")
    cells = list(cells_of(FACTS, "base", items, np.zeros(6), 0))
    assert [(c.auc, c.fakes, c.reals) for c in cells] == [(None, 0, 3), (None, 0, 6)]


def test_what_a_matrix_cannot_show_is_told() -> None:
    items = some_faces()
    named = [x for x in items if x.manipulation != "FaceSwap"]
    unnamed = [*faces(0, None, 1, 1, "r"), *faces(1, None, 1, 1, "f")]
    sets = {
        "whole": items,
        "part": named,
        "youtube": unnamed,
        "none": [],
        "real": faces(0, None, 1, 1, "r"),
        "fake": faces(1, "FaceSwap", 1, 1, "f"),
    }
    facts = [set_facts(name, "test", found) for name, found in sets.items()]
    assert facts[2].videos == {UNNAMED: 1, "real": 1}
    assert list(missing_of(facts)) == [
        "part has no test videos of FaceSwap.",
        "youtube does not name how its fakes were made: they are judged together.",
        "none has no faces in its test videos: its column is empty.",
        "real has no fake test videos: its column is empty.",
        "fake has no real test videos: its column is empty.",
        "fake has no test videos of Deepfakes.",
    ]


def make_matrix() -> Matrix:
    items = some_faces()
    others = [*faces(0, None, 4, 2, "r"), *faces(1, None, 4, 2, "f")]
    models = [FACTS.model_copy(update={"name": name}) for name in ("base", "a|b")]
    tests = {"base": items, "augment": others, "empty": []}
    facts = [set_facts(name, "test", found) for name, found in tests.items()]
    cells = [
        cell
        for seed, model in enumerate(models)
        for name, found in tests.items()
        if found
        for cell in cells_of(model, name, found, logits_of(found, seed), 0)
    ]
    return Matrix(
        time="2026-01-01T00:00:00+00:00",
        commit=None,
        seed=0,
        draws=1000,
        models=tuple(models),
        tests=tuple(facts),
        cells=tuple(cells),
        missing=tuple(missing_of(facts)),
    )


def test_the_report_holds_every_figure_and_says_what_is_missing() -> None:
    matrix = make_matrix()
    text = page(matrix)
    assert text.startswith(HEADING) and "a\\|b" in text
    for cell in matrix.cells:
        assert cell.auc is not None
        assert f"{cell.auc[0]:.3f} [{cell.auc[1]:.2f}, {cell.auc[2]:.2f}]" in text
    assert all(f"- {sentence}" in text for sentence in matrix.missing)
    first = next(grids(matrix))
    assert first.head[1:] == ("base", "augment", "empty")
    assert [row[3] for row in first.rows] == ["n/a", "n/a"]
    assert "augment has only 4 fake, 4 real videos" in text


def test_the_heat_table_writes_each_value_into_a_cell_of_its_colour() -> None:
    matrix = make_matrix()
    video, frame = heat_table(matrix).axes
    for axes, unit in ((video, "video"), (frame, "frame")):
        labels = [label.get_text() for label in axes.get_xticklabels()]
        assert labels == [
            "base\nall fakes",
            "base\nDeepfakes",
            "base\nFaceSwap",
            "augment\nall fakes",
            "empty\nall fakes",
        ]
        shown = axes.images[0].get_array()
        assert shown is not None
        said = {(t.get_position()[0], round(t.get_position()[1])): t.get_text() for t in axes.texts}
        whole = matrix.cell("base", "base", None, "video" if unit == "video" else "frame")
        assert whole is not None and whole.auc is not None
        assert shown[0, 0] == pytest.approx(whole.auc[0])
        assert np.ma.is_masked(shown[1, 4]) and said[4, 1] == "n/a"
        assert f"{whole.auc[0]:.2f}" in [t.get_text() for t in axes.texts]


def test_the_files_can_be_read_again() -> None:
    matrix = make_matrix()
    made = files(matrix)
    assert set(made) == {"matrix.json", "matrix.md", "matrix.png", "matrix.svg"}
    assert Matrix.model_validate_json(made["matrix.json"]) == matrix
    assert json.loads(made["matrix.json"])["schema"] == 1
    assert made["matrix.png"].startswith(b"\x89PNG") and b"<svg" in made["matrix.svg"]


def write_model(path: Path) -> Path:
    card = Card(
        name="faces",
        architecture="resnet18",
        preprocessing="raw",
        region=f"faces:{SIZE}",
        training=Training(data="nothing"),
        licence="none",
    )
    model = ResNet18()
    card = card.model_copy(
        update={"architecture": model.architecture, "preprocessing": model.preprocessing}
    )
    save_checkpoint(path, model, card)
    return path


def test_the_command_judges_each_model_on_each_set(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_faces(tmp_path / "ff", "faceforensics", ["test"], faces=2)
    write_faces(tmp_path / "yt", "youtube", ["val"], faces=1)
    model = write_model(tmp_path / "m.safetensors")
    words = ["matrix", "--models", f"base={model}", f"both={model}", "--workers", "0"]
    words += ["--tests", f"base={tmp_path / 'ff'}", f"augment={tmp_path / 'yt'}"]
    assert main([*words, "-o", str(tmp_path / "out")]) == 0
    said = capsys.readouterr()
    assert "augment has no faces in its test videos" in said.err
    matrix = Matrix.model_validate_json((tmp_path / "out" / "matrix.json").read_bytes())
    assert [m.size for m in matrix.models] == [SIZE, SIZE]
    kinds = [(c.model, c.test, c.manipulation, c.unit, c.fakes) for c in matrix.cells]
    assert kinds == [
        (name, "base", kind, unit, count)
        for name in ("base", "both")
        for kind in (None, "Deepfakes")
        for unit, count in (("video", 2), ("frame", 4))
    ]
    # The same weights, the same draws.
    half = len(matrix.cells) // 2
    assert [c.auc for c in matrix.cells[:half]] == [c.auc for c in matrix.cells[half:]]
    with PillowImage.open(tmp_path / "out" / "matrix.png") as picture:
        assert picture.size[0] > 500

    assert main([*words, "-o", str(tmp_path / "out"), "--split", "train"]) == 1
    assert "none of the sets has faces in its train videos" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--models", "a.safetensors"], "--models: expected NAME=PATH"),
        (["--models", "a=x", "a=y"], "the name 'a' stands twice"),
        ([], "expected --models NAME=FILE or --train CONFIG"),
        (["--train", "f.yaml"], "give --licence TEXT"),
    ],
)
def test_wrong_usage_is_a_sentence(
    words: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["matrix", *words, "--tests", "t=set", "-o", str(tmp_path / "o")]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "o").exists()


def test_another_page_is_not_written_over(tmp_path: Path) -> None:
    require_folder(tmp_path, PAGE, HEADING)
    (tmp_path / "matrix.md").write_text("# Mine")
    with pytest.raises(SinkError, match="is no report of this program"):
        require_folder(tmp_path, PAGE, HEADING)
    with pytest.raises(SinkError, match="is a file"):
        require_folder(tmp_path / "matrix.md", PAGE, HEADING)


def test_what_can_be_learned_from_follows_from_the_sets(tmp_path: Path) -> None:
    empty = write_set(tmp_path, SetManifest(schema=1, origins=(), stores=(), videos=()))
    assert train_sets({"base": empty}) == ["base"]
    assert train_sets({"base": empty, "augment": empty}) == ["base", "augment", "both"]
    assert train_sets({"both": empty}) == ["base", "augment", "both"]
    with pytest.raises(UsageError, match="expected sets named base, augment or both"):
        train_sets({})


def test_the_command_trains_first_and_not_again(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_faces(tmp_path / "base", "faceforensics", videos=1, faces=2)
    config = tmp_path / "faces.yaml"
    config.write_text("{kind: faces, name: f, init: null, size: 32, epochs: 1, batch: 4, grid: 0}")
    words = ["matrix", "--train", str(config), "--licence", "none", "--workers", "0"]
    words += ["--tests", f"base={tmp_path / 'base'}", "-o", str(tmp_path / "out")]
    assert main(words) == 0
    kept = tmp_path / "out" / "models" / "base"
    before = (kept / "log.csv").read_text()
    assert main(words) == 0
    assert (kept / "log.csv").read_text() == before
    matrix = Matrix.model_validate_json((tmp_path / "out" / "matrix.json").read_bytes())
    (model,) = matrix.models
    assert (model.name, model.file) == ("base", "f-base.safetensors")
    assert "(base)" in model.trained_on


def test_a_set_is_divided_into_kinds_that_are_learned_from_one_by_one(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made = write_faces(tmp_path / "set", "faceforensics", ["train", "val"], videos=4, faces=2)
    kinds = iter(["swap-a", "swap-b", "a", "other"] * 2)
    fakes = (v.model_copy(update={"manipulation": next(kinds)}) if v.label == "fake" else v
             for v in made.videos())  # fmt: skip
    write_set(made.folder, made.manifest.model_copy(update={"videos": tuple(fakes)}))
    config = tmp_path / "probe.yaml"
    config.write_text(
        "{name: p, architecture: tiny_ladeda, preprocessing: NPR, region: 'faces:48', folds: 0, "
        "views: [{region: 'faces:48'}], policy: null, strengths: [1], whitenings: [0], "
        "data: {layout: faces, first_compression: false, crop: 40}, "
        "validation: {columns: [untouched], calibration: [untouched], report: [untouched]}}"
    )
    words = ["matrix", "--train", str(config), "--licence", "none", "--workers", "0"]
    words += ["--tests", f"t={made.folder}", "--split", "val", "-o", str(tmp_path / "out")]
    groups = ["--groups", "swaps=swap", "lip-sync=a,mouth", "rest=*"]
    assert main([*words, *groups, "--experiments", "none"]) == 0
    matrix = Matrix.model_validate_json((tmp_path / "out" / "matrix.json").read_bytes())
    names = ["swaps", "lip-sync", "rest", "all"]
    assert [m.name for m in matrix.models] == [t.name for t in matrix.tests] == names
    assert [sum(t.videos.values()) - t.videos["real"] for t in matrix.tests] == [2, 1, 1, 4]
    # Another group gives another head, of the same features.
    assert len({m.sha256 for m in matrix.models}) == 4
    assert len([*(tmp_path / "out" / "features").glob("*.rows")]) == 1
    for wrong, message in (("a=none", "found a"), ("all=*", "found all"), ("x", "NAME=PATH")):
        assert main([*words, "--groups", wrong]) == 2
        assert message in capsys.readouterr().err
