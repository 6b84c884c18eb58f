from __future__ import annotations

from pathlib import Path

import pytest

from edge.errors import SourceError, UsageError
from tests.fakes import grey
from tests.training.evaluation.made import write_video
from tests.training.pictures import write_split
from training.evaluation.material import open_material


def test_a_split_or_a_data_set_that_holds_it(tmp_path: Path) -> None:
    write_split(tmp_path / "test", per_source=1, seed=0)
    whole, part = open_material([tmp_path], "test"), open_material([tmp_path / "test"])
    assert [e.picture for e in whole.entries] == [e.picture for e in part.entries]
    assert whole.describe() == (
        "2 photographs: camera-a 1, camera-b 1; 2 generated pictures: made-a 1, made-b 1"
    )


def test_sources_of_several_folders_stay_apart(tmp_path: Path) -> None:
    for name in "ab":
        write_split(tmp_path / name, per_source=1, seed=0)
    material = open_material([tmp_path / "a", tmp_path / "b"])
    sources = {entry.picture.source for entry in material.entries}
    assert {"a/camera-a", "b/camera-a", "a/made-b", "b/made-b"} < sources
    assert [entry.data for entry in material.entries] == [0] * 4 + [1] * 4


def test_videos_alone_and_beside_pictures(tmp_path: Path) -> None:
    for name in ("0_real/x.mp4", "1_fake/gen/y.mp4"):
        write_video(tmp_path / name, [grey(90)] * 2)
    material = open_material([tmp_path])
    assert [(e.picture.source, e.video) for e in material.entries] == [
        ("unsorted", True),
        ("gen", True),
    ]
    assert "videos: 1" in material.describe()
    write_split(tmp_path / "more", per_source=1, seed=0)
    (tmp_path / "1_fake").rename(tmp_path / "more" / "1_fake" / "clips")
    mixed = open_material([tmp_path / "more"]).entries
    assert sum(entry.video for entry in mixed) == 1 and len(mixed) == 5


@pytest.mark.parametrize(
    ("videos", "said"),
    [([], "is no folder"), (["0_real/a.mp4"], "1_fake has no video")],
)
def test_what_lacks_is_one_sentence(tmp_path: Path, videos: list[str], said: str) -> None:
    for name in videos:
        write_video(tmp_path / "data" / name, [grey(90)] * 2)
        (tmp_path / "data" / "1_fake").mkdir()
    with pytest.raises(SourceError, match=said):
        open_material([tmp_path / "data"])


def test_published_layouts_and_their_splits(tmp_path: Path) -> None:
    for platform in ("reddit", "twitter"):
        write_split(tmp_path / "test" / platform, per_source=1, seed=0)
    write_split(tmp_path / "train", per_source=1, seed=0)
    every = open_material([tmp_path], "test").entries
    assert {entry.picture.source for entry in every} == {"reddit", "twitter"}
    one = open_material([tmp_path], "test/reddit", "wildrf").entries
    assert {entry.picture.source for entry in one} == {"reddit"}
    with pytest.raises(UsageError, match="no split 'val'"):
        open_material([tmp_path])


def test_photographs_alone_of_data_sets_and_plain_folders(tmp_path: Path) -> None:
    write_split(tmp_path / "set" / "val", per_source=1, seed=0)
    (tmp_path / "own" / "night").mkdir(parents=True)
    for name in ("a.png", "night/b.png"):
        source = tmp_path / "set" / "val" / "0_real" / "camera-a" / "0.png"
        (tmp_path / "own" / name).write_bytes(source.read_bytes())
    for place in ("set", "set/val", "set/val/0_real"):
        entries = open_material([tmp_path / place], photographs_only=True).entries
        assert [e.picture.source for e in entries] == ["camera-a", "camera-b"]
    both = open_material([tmp_path / "own", tmp_path / "set"], photographs_only=True)
    assert both.describe() == (
        "4 photographs: own 1, own/night 1, set/camera-a 1, set/camera-b 1; no generated pictures"
    )
    for wrong in (tmp_path, tmp_path / "set" / "val" / "1_fake"):
        with pytest.raises(SourceError, match="holds generated pictures by its name"):
            open_material([wrong], photographs_only=True)
    with pytest.raises(SourceError, match="is no folder"):
        open_material([tmp_path / "absent"], photographs_only=True)


def test_hidden_files_and_folders_are_left_out_and_links_followed_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    data, clip = tmp_path / "set", tmp_path / "elsewhere" / "far.mp4"
    write_split(data, per_source=1, seed=0)
    write_video(clip, [grey(90)] * 2)
    for label in ("0_real", "1_fake"):
        folder = data / label
        (folder / ".ipynb_checkpoints").mkdir()
        for hidden in (".ipynb_checkpoints/a.mp4", "._a.mp4", ".ipynb_checkpoints/a.png"):
            (folder / hidden).write_bytes(clip.read_bytes())
        (folder / "linked").symlink_to(clip.parent)
        (folder / "linked again").symlink_to(clip.parent)
        (folder / "loop").symlink_to(folder)
    found = open_material([data])
    videos = [entry.picture for entry in found.entries if entry.video]
    assert [(video.label, video.path.name) for video in videos] == [(0, "far.mp4"), (1, "far.mp4")]
    assert not found.rejected
    assert "hidden" in caplog.text and "1_fake" in caplog.text
