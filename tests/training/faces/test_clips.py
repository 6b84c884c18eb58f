"""`patchwatch data clips`, self-blended fakes, and sets of aligned faces made of them."""

from __future__ import annotations

import shutil
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from patchwatch import main
from tests.edge.faces.pictures import POINTS, photograph
from tests.shared_data import shared
from tests.training.faces.made_videos import person_frames, truncated, write_video
from training.data.layouts import plan_splits
from training.faces.blend import self_blended
from training.faces.sampling import sampled
from training.faces.sets import load_set


def test_a_blended_face_changes_inside_the_face_alone_and_the_draw_fixes_it() -> None:
    clip, points = [photograph()] * 2, [POINTS] * 2
    heights = []
    for seed in range(12):
        targets, fakes = self_blended(clip, points, np.random.default_rng(seed))
        again = self_blended(clip, points, np.random.default_rng(seed))
        np.testing.assert_array_equal([targets, fakes], again)
        for target, fake in zip(targets, fakes, strict=True):
            changed = np.argwhere(np.abs(target.astype(int) - fake).max(axis=2) > 2)
            assert len(changed)
            # Within four eye distances of 43 pixels about the face's middle.
            assert (np.abs(changed - (116, 224)) < 90).all()
            heights.append(np.ptp(changed[:, 0]))
        # At times the change is made to the clip, and that is no fake.
        assert targets[0].shape == photograph().shape
    assert min(heights) < 60 < 100 < max(heights)


@pytest.fixture
def clips(tmp_path: Path) -> Path:
    """A pair, somebody else, and a file that is damaged."""
    root = tmp_path / "clips"
    for person, folder in enumerate(
        ("train/0_real/a-person", "train/1_fake/a-swap", "val/0_real/b", "val/1_fake/c")
    ):
        (root / folder).mkdir(parents=True)
        write_video(root / folder / "000.mp4", person_frames(person, 16))
    truncated(root / "val" / "1_fake" / "c" / "cut.mp4")
    return root


def test_clips_are_compressed_alike_and_give_a_set(
    clips: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made = tmp_path / "made"
    words = ["data", "clips", str(clips), str(made), "--draws", "2", "--blended", "1"]
    words += ["--length", "6", "--workers", "1"]
    assert main(words) == 1
    assert "cut.mp4: the file is truncated" in " ".join(capsys.readouterr().err.split())
    names = sorted(path.relative_to(made).as_posix() for path in made.rglob("*.mp4"))
    assert names == sorted([
        *(f"train/0_real/a-person/000-{n}.mp4" for n in ("0", "1", "b0")),
        "train/1_fake/blended-a-person/000-b0.mp4",
        *(f"train/1_fake/a-swap/000-{n}.mp4" for n in range(2)),
        *(f"val/{folder}/000-{n}.mp4" for folder in ("0_real/b", "1_fake/c") for n in range(2)),
    ])  # fmt: skip
    for pair in ("000-0", "000-1"):  # one size, one rate
        sizes, rates = [], []
        for folder in ("0_real/a-person", "1_fake/a-swap"):
            path = made / "train" / folder / f"{pair}.mp4"
            with av.open(str(path)) as container:
                sizes.append((container.streams.video[0].width, container.streams.video[0].frames))
            rates.append(path.read_bytes().split(b" crf=")[1].split()[0])
        assert sizes[0] == sizes[1] and sizes[0][1] == 6 and rates[0] == rates[1]
    target, fake = (
        next(iter(sampled(made / "train" / folder / "000-b0.mp4", 1))).image
        for folder in ("0_real/a-person", "1_fake/blended-a-person")
    )
    assert target.shape == fake.shape and (target != fake).any()

    before = {path: path.stat().st_mtime_ns for path in made.rglob("*.mp4")}
    assert main(words) == 1 and before == {p: p.stat().st_mtime_ns for p in before}
    words = ["data", "prepare", "clips", str(made), "--output", str(tmp_path / "set"), "--png"]
    assert main([*words, "--fps", "12", "--cache", str(tmp_path), "--workers", "1"]) == 0
    found = load_set(tmp_path / "set")
    people = {video.path: video.people for video in found.videos("train")}
    assert people["train/0_real/a-person/000-1.mp4"] == people["train/1_fake/a-swap/000-1.mp4"]
    assert found.manifest.stores[0].face_side == 3.6
    name, plan = plan_splits(tmp_path / "set", "auto")
    assert name == "faces" and {part.source for part in plan["train"]} == {
        "a-person", "a-swap", "blended-a-person"}  # fmt: skip


def test_wrong_rates_and_empty_folders_are_sentences(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["data", "clips", str(tmp_path), str(tmp_path / "out")]
    assert (
        main([*words, "--crf", "30", "20"]) == 2
        and "smaller number first" in capsys.readouterr().err
    )
    assert main(words) == 1 and "expected videos in train/0_real/SOURCE/" in capsys.readouterr().err


@pytest.mark.slow
def test_swaps_of_several_people_become_pairs_of_aligned_faces(tmp_path: Path) -> None:
    for folder in ("0_real/deepfacelive-val-person", "1_fake/deepfacelive-val-swap"):
        source = shared(f"faces/val/{folder}")
        for name in ("000.mp4", "004.mp4", "007.mp4"):
            target = tmp_path / "clips" / "val" / folder / name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source / name, target)
    words = ["data", "prepare", "clips", str(tmp_path / "clips"), "--output", str(tmp_path / "set")]
    assert main([*words, "--cache", str(tmp_path), "--workers", "1"]) == 0
    found = load_set(tmp_path / "set").items("val")
    people = {item.person for item in found}
    assert len(people) == 3
    for person in people:
        real, fake = (
            cv2.imread(str(next(x.path for x in found if (x.person, x.label) == (person, label))))
            for label in (0, 1)
        )
        assert real is not None and fake is not None
        # The same head in the same place, with another face.
        assert np.corrcoef(real.ravel(), fake.ravel())[0, 1] > 0.8 and (real != fake).any()
