"""`patchwatch data prepare` from videos to a set that a training reads, on real faces."""

from __future__ import annotations

import hashlib
import json
import shutil
import signal
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import pytest

import patchwatch
from edge.faces import FaceFinder
from edge.sources.images import read_image
from tests.training.faces import made_videos
from tests.training.faces.fake_finder import FakeFinder
from tests.training.faces.made_videos import (
    audio_only,
    faceforensics_tree,
    fake_frames,
    person_frames,
    truncated,
    write_video,
    youtube_tree,
)
from training.faces import prepare
from training.faces.sets import SPLITS, FaceSet, Split, load_set
from training.faces.split import Sides
from training.faces.trees import MANIPULATIONS

FILMS = "original_sequences/youtube/c23/videos"
SWAPS = "manipulated_sequences/Deepfakes/c23/videos"


class Home:
    """A folder with data sets, prepared sets and a cache."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def prepare(self, kind: str, *words: object, output: str, code: int = 0) -> FaceSet:
        cutting = [] if kind == "combine" else ["--cache", self.path / "cache", "--workers", 1]
        arguments = [kind, *words, "--output", self.path / output, *cutting]
        assert patchwatch.main(["data", "prepare", *map(str, arguments)]) == code
        return load_set(self.path / output)

    def refused(self, kind: str, *words: object, code: int = 1, output: str = "none") -> None:
        cache = [] if kind == "combine" else ["--cache", self.path / "cache"]
        arguments = [kind, *words, "--output", self.path / output, *cache]
        assert patchwatch.main(["data", "prepare", *map(str, arguments)]) == code


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path)


@pytest.fixture
def finder(monkeypatch: pytest.MonkeyPatch) -> FakeFinder:
    """In place of the true one, where faces are not what is tested."""
    made = FakeFinder()
    monkeypatch.setattr(prepare, "FaceFinder", lambda longest_side: made)
    return made


def hashed(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_both_data_sets_from_videos_to_what_a_training_reads(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    home = Home(tmp_path)
    tree = faceforensics_tree(tmp_path / "ff", manipulations=MANIPULATIONS[:4], actors=[(11, 12)])
    films = youtube_tree(tmp_path / "yt")
    base = home.prepare("faceforensics", tree, "--fps", 2, output="sets/base")
    told = capsys.readouterr().out
    assert "Checked: none of 8 people in 33 videos is in two splits." in told
    assert (
        "is given by its authors to whoever fills in their form" in told and "Missing" not in told
    )
    augment = home.prepare("youtube", films, "--fps", 2, output="sets/augment")
    both = home.prepare("combine", base.folder, augment.folder, output="sets/both")
    assert [len(made.videos()) for made in (base, augment, both)] == [33, 6, 39]
    for split in SPLITS:
        items = both.items(split)
        apart = [item for made in (base, augment) for item in made.items(split)]
        assert {i.path.resolve() for i in items} == {i.path.resolve() for i in apart}
        assert Counter(i.source for i in items) == Counter(i.source for i in apart)
    labels = Counter((item.manipulation, item.label) for s in SPLITS for item in base.items(s))
    assert labels == {(None, 0): 16, ("DeepFakeDetection", 1): 2} | {
        (name, 1): 12 for name in MANIPULATIONS[:4]
    }
    for item in both.items("train"):
        assert read_image(item.path).shape == (224, 224, 3)


def test_the_manifest_says_what_is_known_of_a_video(home: Home, finder: FakeFinder) -> None:
    tree = faceforensics_tree(home.path / "ff", actors=[(11, 12)])
    made = home.prepare("faceforensics", tree, "--fps", 2, output="base")
    videos = {video.path: video for video in made.videos()}
    fake, film = videos[f"{SWAPS}/000_003.mp4"], videos[f"{FILMS}/000.mp4"]
    assert fake.label == "fake" and fake.manipulation == "Deepfakes" and fake.compression == "c23"
    assert fake.people == ("youtube-000", "youtube-003") and film.people == ("youtube-000",)
    assert film.label == "real" and film.manipulation is None and film.split == fake.split
    assert fake.sha256 == hashed(tree / SWAPS / "000_003.mp4") and (fake.frames, fake.faces) == (
        2,
        2,
    )
    actors = [v for path, v in videos.items() if "DeepFakeDetection" in path]
    assert [v.people for v in actors] == [("actor-11", "actor-12")]
    store, origin = made.manifest.stores[0], made.manifest.origins[0]
    assert (store.detector_key, store.face_side, store.size) == ("fake-1", 3.6, 224)
    assert origin.root == str(tree) and "Terms of Use" in origin.access
    raw = json.loads((made.folder / "manifest.json").read_bytes())
    assert raw["schema"] == 1 and raw["stores"][0]["folder"].startswith("../cache/")


def test_nobody_is_on_two_sides_in_the_published_lists_either(
    home: Home, finder: FakeFinder, capsys: pytest.CaptureFixture[str]
) -> None:
    tree = faceforensics_tree(home.path / "ff", [(0, 3), (1, 5), (2, 6), (8, 9)], ["Deepfakes"])
    write_video(tree / SWAPS / "000_001.mp4", fake_frames(0, 1, 4))  # between train and val
    lists = home.path / "lists"
    lists.mkdir()
    for split, pair in zip(SPLITS, (("000", "003"), ("001", "005"), ("002", "006")), strict=True):
        (lists / f"{split}.json").write_text(json.dumps([pair]))
    made = home.prepare("faceforensics", tree, "--splits", lists, output="base")
    told = capsys.readouterr().out
    sides = {v.people[0]: v.split for v in made.videos() if v.label == "real"}
    listed = {"000": "train", "003": "train", "001": "val", "005": "val", "002": "test"}
    assert listed.items() <= {name.removeprefix("youtube-"): s for name, s in sides.items()}.items()
    assert f"Left out: 1 video whose people are on two sides: {SWAPS}/000_001.mp4." in told
    assert "dealt out like actors: youtube-008, youtube-009." in told
    assert len(made.videos()) == 16 and sides["youtube-008"] == sides["youtube-009"]


def test_a_set_that_grows_keeps_its_sides(home: Home, finder: FakeFinder) -> None:
    tree = faceforensics_tree(home.path / "ff", [(n, n + 100) for n in range(2)], [], frames=2)
    before = {v.path: v.split for v in home.prepare("faceforensics", tree, output="base").videos()}
    looked = finder.looked
    faceforensics_tree(tree, [(n, n + 100) for n in range(10, 22)], [], frames=2)
    after = {v.path: v.split for v in home.prepare("faceforensics", tree, output="base").videos()}
    afresh = {
        v.path: v.split for v in home.prepare("faceforensics", tree, output="afresh").videos()
    }
    assert before.items() <= after.items() and not before.items() <= afresh.items()
    assert len(after) == 28 and finder.looked == looked + 24, "known videos are not looked at again"


def test_the_outcome_is_checked_whatever_was_meant(
    home: Home,
    finder: FakeFinder,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    class Careless(Sides):
        def split(self, people: Iterable[str]) -> Split | None:
            return "val" if len(list(people)) == 2 else "train"

    monkeypatch.setattr(prepare, "deal_out", lambda casts, fixed: Careless({}, ()))
    tree = faceforensics_tree(home.path / "ff", [(0, 3)], ["Deepfakes"], frames=2)
    home.refused("faceforensics", tree, "--workers", 1)
    told = capsys.readouterr().err
    assert "in two splits; nothing was written: youtube-000, youtube-003." in told
    assert not (home.path / "none").exists()


def test_missing_parts_are_told_and_the_rest_is_prepared(
    home: Home, finder: FakeFinder, capsys: pytest.CaptureFixture[str]
) -> None:
    tree = faceforensics_tree(home.path / "ff", [(0, 3)], ["Deepfakes"])
    faceforensics_tree(tree, [(0, 3)], ["FaceSwap"], compression="c40")
    shutil.copy(tree / FILMS / "000.mp4", tree / FILMS / "portrait.mp4")
    made = home.prepare("faceforensics", tree, output="base")
    told = capsys.readouterr().out.splitlines()
    assert "Missing: manipulated_sequences/FaceSwap has no videos of c23; it has c40." in told
    assert "Missing: manipulated_sequences/Face2Face has no videos of c23." in told
    assert "Missing: original_sequences/actors has no videos of c23." in told
    assert "Nobody is left for val and test: there are too few groups of people." in told
    assert [
        line for line in told if line.startswith("Left out, as their names") and "portrait" in line
    ]
    assert not [line for line in told if "FaceShifter" in line]
    assert len(made.videos()) == 4 and list(made.manifest.notes) == told[: len(made.manifest.notes)]


def test_raw_is_also_called_c0(home: Home, finder: FakeFinder) -> None:
    tree = faceforensics_tree(home.path / "ff", [(0, 3)], ["Deepfakes"], compression="c0")
    made = home.prepare("faceforensics", tree, "--compression", "raw", output="base")
    assert {video.compression for video in made.videos()} == {"c0"}


def test_where_nothing_is_there_it_is_an_error(
    home: Home, finder: FakeFinder, capsys: pytest.CaptureFixture[str]
) -> None:
    home.refused("faceforensics", home.path)
    assert "expected original_sequences/ and manipulated_sequences/" in capsys.readouterr().err
    tree = faceforensics_tree(home.path / "ff", [(0, 3)], [])
    home.refused("faceforensics", tree, "--compression", "c40")
    told = capsys.readouterr().err
    assert "holds no video of compression c40" in told and "it has c23" in told
    home.refused("youtube", tree)
    assert "expected videos in real/, fake/, val/real/" in (told := capsys.readouterr().err)
    assert "answers 403" in told
    (home.path / "yt" / "real" / "frames").mkdir(parents=True)
    home.refused("youtube", home.path / "yt")
    assert "frames are taken from videos" in capsys.readouterr().err


def test_damaged_files_are_told_and_what_they_have_is_used(
    home: Home, finder: FakeFinder, capsys: pytest.CaptureFixture[str]
) -> None:
    tree = faceforensics_tree(home.path / "ff", [(0, 3)], ["Deepfakes"])
    audio_only(tree / FILMS / "010.mp4")
    truncated(tree / FILMS / "011.mp4")
    made = home.prepare("faceforensics", tree, "--fps", 4, output="base")
    told = capsys.readouterr().out
    assert f"{FILMS}/010.mp4: expected video, found no video track; it is left out." in told
    assert f"{FILMS}/011.mp4: the file is truncated (" in told and "frames of it are used" in told
    faults = {Path(video.path).name: video for video in made.videos() if video.fault}
    assert list(faults) == ["011.mp4"] and faults["011.mp4"].faces > 0
    home.prepare("faceforensics", tree, "--fps", 4, "--strict", output="base", code=1)


def test_nothing_that_can_be_decoded_is_an_error(
    home: Home, finder: FakeFinder, capsys: pytest.CaptureFixture[str]
) -> None:
    audio_only(home.path / "yt" / "real" / "a.mp4")
    home.refused("youtube", home.path / "yt")
    told = capsys.readouterr().err
    assert "none of 1 video can be decoded. real/a.mp4: expected video" in told
    assert not (home.path / "none").exists()


def test_a_video_without_any_face_is_counted_and_gives_no_items(
    home: Home, capsys: pytest.CaptureFixture[str]
) -> None:
    films = youtube_tree(home.path / "yt", train=1)
    write_video(films / "real" / "wall.mp4", made_videos.empty_frames(8))
    write_video(films / "fake" / "corner.mp4", made_videos.border_frames(8))
    made = home.prepare("youtube", films, "--fps", 4, output="augment")
    told = capsys.readouterr().out
    assert "No face was found in 1 of 6 videos: real/wall.mp4." in told
    videos = {video.path: video for video in made.videos()}
    assert (videos["real/wall.mp4"].faces, videos["real/wall.mp4"].without_face) == (0, 4)
    assert videos["fake/corner.mp4"].faces == 4
    assert not [item for item in made.items("train") if "wall" in item.video]
    row = next(line for line in told.splitlines() if "train   real" in line)
    assert row.split() == ["youtube", "train", "real", "2", "8", "4", "4", "1"]
    sums = next(line for line in told.splitlines() if line.strip().startswith("all"))
    assert sums.split() == ["all", "6", "24", "20", "4", "1"]


def test_one_file_counts_once(
    home: Home, finder: FakeFinder, capsys: pytest.CaptureFixture[str]
) -> None:
    films = youtube_tree(home.path / "yt", train=3)
    names = {label: sorted((films / label).iterdir()) for label in ("real", "fake")}
    shutil.copy(names["real"][0], films / "val" / "real" / "again.mp4")
    shutil.copy(names["real"][1], films / "fake" / "mislabelled.mp4")
    shutil.copy(names["fake"][0], films / "fake" / "twice.mp4")
    made = home.prepare("youtube", films, output="augment")
    told = capsys.readouterr().out
    hashes = [video.sha256 for video in made.videos()]
    assert len(set(hashes)) == len(hashes) == 7
    assert {video.split for video in made.videos() if video.sha256 == hashed(names["real"][0])} == {
        "val"
    }
    assert hashed(names["real"][1]) not in hashes and hashed(names["fake"][0]) in hashes
    assert "counts in val alone" in told and "labelled both real and fake, and left out" in told


def test_sets_that_share_a_file_or_were_cut_otherwise_are_told(
    home: Home, finder: FakeFinder, capsys: pytest.CaptureFixture[str]
) -> None:
    tree = faceforensics_tree(home.path / "ff", [(0, 3)], [])
    films = youtube_tree(home.path / "yt", train=1)
    shutil.copy(tree / FILMS / "000.mp4", films / "val" / "real" / "same.mp4")
    base = home.prepare("faceforensics", tree, output="base")
    augment = home.prepare("youtube", films, "--size", 96, output="augment")
    both = home.prepare("combine", base.folder, augment.folder, output="both")
    told = capsys.readouterr().out
    assert "cannot be known: only equal files were looked for" in told
    assert "were not cut in the same way" in told and "counts in val alone" in told
    same = [video for video in both.videos() if video.sha256 == hashed(tree / FILMS / "000.mp4")]
    assert [(video.source, video.split) for video in same] == [("youtube", "val")]
    sizes = {read_image(i.path).shape[0]: i.source for s in SPLITS for i in both.items(s)}
    assert sizes == {224: "faceforensics", 96: "youtube"}
    home.refused("combine", base.folder, code=2)


def test_a_folder_with_something_else_is_not_touched(
    home: Home, finder: FakeFinder, capsys: pytest.CaptureFixture[str]
) -> None:
    films = youtube_tree(home.path / "yt", train=1)
    home.refused("youtube", films, output="yt")
    assert "is not empty and holds no prepared set" in capsys.readouterr().err
    assert not (films / "manifest.json").exists()


def test_fifty_faces_are_found_and_kept_where_that_is_wanted(
    home: Home, capsys: pytest.CaptureFixture[str]
) -> None:
    for label in ("real", "fake"):
        frames = made_videos.crowd_frames(1 + (label == "fake"))
        write_video(home.path / "yt" / label / "crowd.mp4", frames)
    one = home.prepare("youtube", home.path / "yt", output="one")
    told = capsys.readouterr().out
    assert [(video.faces, video.further_faces) for video in one.videos()] == [(1, 49), (1, 49)]
    assert "98 smaller faces beside the largest not kept; --faces keeps more." in told
    many = home.prepare("youtube", home.path / "yt", "--faces", 60, output="many")
    assert [video.faces for video in many.videos()] == [50, 50]
    assert len({item.path for item in many.items("train")}) == 100


def test_a_stopped_run_goes_on_from_there(
    home: Home, finder: FakeFinder, capsys: pytest.CaptureFixture[str]
) -> None:
    films = youtube_tree(home.path / "yt", train=3)

    def stopping(frame: int) -> list[tuple[int, int, int, int]]:
        if frame == 5:
            signal.raise_signal(signal.SIGINT)
        return [(60, 60, 160, 160)]

    finder.boxes = stopping
    home.refused("youtube", films, "--workers", 1, output="augment", code=130)
    assert "Stopped. The same command goes on from here." in capsys.readouterr().err
    assert not (home.path / "augment").exists() and finder.looked == 5
    finder.boxes = [(60, 60, 160, 160)]
    assert len(home.prepare("youtube", films, output="augment").videos()) == 8
    assert finder.looked == 5 + 3, "five videos of eight were kept"


def test_processes_find_the_same(home: Home) -> None:
    films = youtube_tree(home.path / "yt", train=1)
    one = home.prepare("youtube", films, output="one")
    arguments = ["data", "prepare", "youtube", films, "--output", home.path / "two"]
    words = [*arguments, "--cache", home.path / "other", "--workers", 2]
    assert patchwatch.main(list(map(str, words))) == 0
    two = load_set(home.path / "two")
    assert one.videos() == two.videos()
    pairs = zip(one.items("train"), two.items("train"), strict=True)
    assert all(a.path.read_bytes() == b.path.read_bytes() and a.path != b.path for a, b in pairs)


@pytest.mark.parametrize(
    "frames", [person_frames(3, 1), fake_frames(3, 5, 1)], ids=["real", "fake"]
)
def test_the_made_faces_are_faces(frames: Sequence[np.ndarray]) -> None:
    with FaceFinder() as found:
        assert all(len(found.find(frame)) == 1 for frame in frames)


def test_the_trees_that_the_earlier_scripts_copied_are_read_as_they_stand(
    home: Home, finder: FakeFinder
) -> None:
    root = home.path / "both_deepfake"
    for name, person in {
        "real/033.mp4": 1,
        "fake/face2face_033_097.mp4": 2,
        "fake/deepfake_033_097.mp4": 3,
        "val/real/07__talking_against_wall.mp4": 4,
        "val/fake/deepfakedetection_09_03__kitchen_pan__8DTEGQ54.mp4": 5,
        "fake/a_film.mp4": 6,
        "val/real/another.mp4": 7,
    }.items():
        write_video(root / name, person_frames(person, 2))
    (root / "real" / "frames").mkdir()
    found = home.prepare("youtube", root, output="both").videos()
    assert {(v.split, v.label, v.source, v.manipulation, v.people) for v in found} == {
        ("train", "real", "faceforensics", None, ("youtube-033",)),
        ("train", "fake", "faceforensics", "Face2Face", ("youtube-033", "youtube-097")),
        ("train", "fake", "faceforensics", "Deepfakes", ("youtube-033", "youtube-097")),
        ("val", "real", "faceforensics", None, ("actor-07",)),
        ("val", "fake", "faceforensics", "DeepFakeDetection", ("actor-09", "actor-03")),
        ("train", "fake", "youtube", None, ()),
        ("val", "real", "youtube", None, ()),
    }


def test_precomputed_arrays_are_explained(home: Home, capsys: pytest.CaptureFixture[str]) -> None:
    (home.path / "precomputed").mkdir()
    np.save(home.path / "precomputed" / "faces.npy", np.zeros((2, 8, 8, 3), np.uint8))
    home.refused("youtube", home.path / "precomputed", output="set")
    assert "There are arrays, which say of no face whether it is real" in capsys.readouterr().err


SCRIPT = """
import argparse, pathlib, shutil
p = argparse.ArgumentParser()
p.add_argument("output", type=pathlib.Path)
for flag in ("-d", "-c", "-t", "--server"):
    p.add_argument(flag, required=True)
p.add_argument("-n", type=int)
a = p.parse_args()
input("Press any key to accept the terms")
if a.server == "CA":
    raise SystemExit("The server is down.")
here = pathlib.Path(__file__).parent / "whole"
for folder in {"original": ["original_sequences/youtube"],
               "DeepFakeDetection_original": []}.get(a.d, [f"manipulated_sequences/{a.d}"]):
    place = pathlib.Path(folder) / a.c / a.t
    for path in sorted((here / place).glob("*.mp4"))[:a.n]:
        (a.output / place).mkdir(parents=True, exist_ok=True)
        shutil.copy(path, a.output / place)
"""


def test_the_authors_script_fills_the_tree_first(
    home: Home, finder: FakeFinder, capfd: pytest.CaptureFixture[str]
) -> None:
    """A script with the flags and the question of the authors' own, which may not be passed on."""
    faceforensics_tree(home.path / "whole", ((1, 2),), ("Deepfakes",))
    script = home.path / "download.py"
    script.write_text(SCRIPT)
    words = (home.path / "ff", "--script", script, "--videos", 1)
    found = home.prepare("faceforensics", *words, output="set").videos()
    assert sorted(video.path for video in found) == [f"{SWAPS}/001_002.mp4", f"{FILMS}/001.mp4"]
    home.refused("faceforensics", *words, "--server", "CA")
    assert "download.py ended with exit code 1 at original" in capfd.readouterr().err
    home.refused("faceforensics", home.path, "--script", home.path / "absent", code=2)
    assert "absent: no such file" in capfd.readouterr().err
