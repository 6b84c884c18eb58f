"""The loss of AUC between two ways of judging, against figures worked out by hand."""

from __future__ import annotations

import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as PillowImage

from edge.errors import ModelError, RegionError, SourceError
from edge.manifest import Calibration
from edge.types import Image
from export import auc
from export.auc import Labelled, Loss, compare, find_labelled, loss_of, require
from training.evaluation import auc as sklearn_auc

PICTURES = [
    Labelled(Path("r0"), 0, "camera"),
    Labelled(Path("r1"), 0, "phone"),
    Labelled(Path("a0"), 1, "gan"),
    Labelled(Path("a1"), 1, "gan"),
    Labelled(Path("b0"), 1, "diffusion"),
]
EVEN = Calibration()


def fill(folder: Path, levels: dict[str, int]) -> Path:
    """Flat pictures: path below the folder → grey level."""
    for name, level in levels.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        PillowImage.new("RGB", (16, 12), (level, level, level)).save(path)
    return folder


def level(image: Image) -> float:
    return float(image[0, 0, 0]) - 100


@pytest.mark.parametrize(
    ("reals", "fakes", "expected"),
    [
        ([0, 1], [2, 3], 1.0),
        ([2, 3], [0, 1], 0.0),
        ([0, 2], [1, 3], 0.75),
        ([1], [1], 0.5),
        ([0, 1], [1, 1], 0.75),
        ([0, 1, 1, 2], [1], 0.5),
    ],
)
def test_the_area_by_hand_with_ties_counted_half(
    reals: list[float], fakes: list[float], expected: float
) -> None:
    sides = np.array(reals, np.float64), np.array(fakes, np.float64)
    assert auc.auc(*sides) == expected == pytest.approx(sklearn_auc(*sides))


def test_the_loss_is_that_of_the_mean_over_generators() -> None:
    reference = np.array([-1.0, 0.0, 1.0, 2.0, 3.0])
    candidate = np.array([-1.0, 1.5, 1.0, 2.0, 3.0])
    loss = loss_of(PICTURES, reference, candidate, EVEN)
    assert loss.reference == {"diffusion": 1, "gan": 1}
    assert loss.candidate == {"diffusion": 1, "gan": 0.75}
    assert (loss.reference_auc, loss.candidate_auc, loss.lost) == (1, 0.875, 0.125)
    assert loss.photographs == {"camera": 1, "phone": 1}
    assert loss.generated == {"diffusion": 1, "gan": 2}
    assert loss.pictures == 5
    # A score of 0.8 is a logit of 1.386: the second photograph passes it, no verdict else changes.
    calibration = Calibration(threshold=0.8)
    assert loss_of(PICTURES, reference, candidate, calibration).agreement == 0.8
    assert loss_of(PICTURES, reference, reference, calibration).agreement == 1


def test_more_than_the_bound_is_refused_with_the_figures() -> None:
    fine = Loss({"g": 0.9}, {"g": 0.8951}, {"c": 2}, {"g": 3}, 1.0)
    require(fine, Path("data"), "int8")
    bad = Loss({"g": 0.9}, {"g": 0.894}, {"c": 2}, {"g": 3}, 1.0)
    with pytest.raises(
        ModelError,
        match=r"^int8: the mean AUC per generator on 5 pictures of data falls from 0\.9000 to "
        r"0\.8940, by 0\.0060 where 0\.005 is allowed\.$",
    ):
        require(bad, Path("data"), "int8")
    better = Loss({"g": 0.8}, {"g": 0.9}, {"c": 2}, {"g": 3}, 1.0)
    require(better, Path("data"), "int8")


def test_a_folder_is_judged_both_ways(tmp_path: Path) -> None:
    folder = fill(
        tmp_path,
        {
            "0_real/camera/a.png": 10,
            "0_real/b.png": 20,
            "1_fake/gan/deep/c.png": 200,
            "1_fake/gan/.hidden.png": 0,
            "1_fake/gan/notes.txt.png": 15,
            "elsewhere/d.png": 0,
        },
    )
    told: list[tuple[int, int]] = []
    loss = compare(folder, level, lambda image: -level(image), EVEN, lambda *x: told.append(x))
    assert loss.photographs == {"camera": 1, "unsorted": 1}
    assert loss.generated == {"gan": 2}
    assert (loss.reference_auc, loss.candidate_auc, loss.agreement) == (0.75, 0.25, 0)
    assert told == [(0, 4), (1, 4), (2, 4), (3, 4), (4, 4)]


def test_what_cannot_be_judged_is_left_out_and_told(tmp_path: Path) -> None:
    folder = fill(tmp_path, {f"{name}.png": 10 for name in ("0_real/a", "0_real/b", "1_fake/c")})
    (folder / "0_real/broken.png").write_bytes(b"no picture")

    def choosy(image: Image) -> float:
        if image.shape[0] < 12:
            raise RegionError("too small.")
        return level(image)

    PillowImage.new("RGB", (16, 4)).save(folder / "1_fake/small.png")
    loss = compare(folder, level, choosy, EVEN)
    assert loss.pictures == 3
    assert [reason.split(":")[0].rsplit("/", 1)[1] for reason in loss.left_out] == [
        "broken.png",
        "small.png",
    ]
    (folder / "1_fake/c.png").unlink()
    with pytest.raises(SourceError, match=r"no generated pictures .* The first of 2 left"):
        compare(folder, level, choosy, EVEN)
    with pytest.raises(SourceError, match="has no photographs to judge"):
        find_labelled(fill(tmp_path / "other", {"1_fake/x/a.png": 10}))


def test_a_logit_that_is_no_number_is_refused(tmp_path: Path) -> None:
    folder = fill(tmp_path, {"0_real/a.png": 10, "1_fake/b.png": 200})
    with pytest.raises(ModelError, match=r"a\.png: its logit is nan"):
        compare(folder, level, lambda image: math.nan, EVEN)


def test_it_runs_where_a_board_lacks_everything() -> None:
    script = (
        "import sys; sys.modules.update(dict.fromkeys("
        "['torch', 'onnx', 'onnxruntime', 'sklearn', 'safetensors', 'training', 'cv2', 'av'])); "
        "import export.auc"
    )
    subprocess.run([sys.executable, "-c", script], check=True, cwd=Path(__file__).parents[2])
