from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("torch")

from benchmarks.compute.forms import counts
from benchmarks.frontier.count import inputs_of, make_frontier
from benchmarks.frontier.record import Point, sha256_of
from edge.errors import ModelError, UsageError
from edge.manifest import Training
from edge.weights import shipped
from tests.benchmarks.frontier.made import write_quality
from tests.fakes import make_manifest
from tests.onnx_files import write_model
from training.checkpoint import Card, save_checkpoint
from training.models import build

TINY = {"architecture": "tiny_ladeda", "preprocessing": "x_grad"}


def macs(height: int, width: int) -> int:
    return next(counts("tiny_ladeda", "x_grad", "folded", [(height, width)])).macs


def only(quality: Path, *files: str) -> Point:
    (found,) = make_frontier(quality, files).models
    return found


@pytest.mark.parametrize(
    ("region", "inputs", "size"),
    [
        ("native", 1, (720, 1280)),
        ("center:512", 1, (512, 512)),
        ("center:900", 1, (720, 900)),
        ("resize:96", 1, (96, 96)),
        ("tiles:512", 6, (512, 512)),
    ],
)
def test_a_region_says_what_is_cut_out_of_a_720p_frame(
    region: str, inputs: int, size: tuple[int, int]
) -> None:
    assert inputs_of(region) == (inputs, size)


def test_a_model_without_a_file_is_counted_from_its_architecture(tmp_path: Path) -> None:
    quality = write_quality(tmp_path / "q.json", a={**TINY, "region": "tiles:512"})
    found = only(quality)
    assert found.work and found.work.counted_from == "architecture"
    assert found.work.macs == 6 * macs(512, 512)
    assert found.work.gflops == 2 * found.work.macs / 1e9
    assert set(found.auc) == {"untouched", "JPEG 75"} and found.untouched()


def test_a_shipped_model_is_counted_in_its_file(tmp_path: Path) -> None:
    sha256 = sha256_of(shipped()["tiny-ladeda"])
    quality = write_quality(tmp_path / "q.json", a={"sha256": sha256}, b={})
    made = make_frontier(quality, ["tiny-ladeda"])
    a, b = made.models
    assert a.work and a.work.same_file and a.work.file == "tiny-ladeda.onnx"
    assert a.work.macs == macs(720, 1280) and a.architecture == "tiny_ladeda"
    assert b.work is None and b.missing and "does not name its architecture" in b.missing
    assert made.quality.sha256 == sha256_of(quality) and made.columns == ("untouched", "JPEG 75")


def test_a_checkpoint_is_counted_as_it_would_be_exported(tmp_path: Path) -> None:
    path = tmp_path / "made.safetensors"
    card = Card.model_validate(
        {"name": "a", "training": Training(data="nothing"), "licence": "none", **TINY}
    )
    save_checkpoint(path, build(**TINY), card)
    found = only(write_quality(tmp_path / "q.json", a={"region": "resize:64"}), str(path))
    assert found.work and found.work.macs == macs(64, 64)
    assert found.work.counted_from == "file" and not found.work.same_file


def test_the_very_file_goes_before_one_of_the_name(tmp_path: Path) -> None:
    other = write_model(tmp_path / "other.onnx", make_manifest(name="a"))
    sha256 = sha256_of(shipped()["tiny-ladeda"])
    quality = write_quality(tmp_path / "q.json", a={"sha256": sha256})
    for files in (("tiny-ladeda", str(other)), (str(other), "tiny-ladeda")):
        found = only(quality, *files)
        assert found.work and found.work.file == "tiny-ladeda.onnx"


def test_what_cannot_be_counted_says_why(tmp_path: Path) -> None:
    strange = {**TINY, "architecture": "of_tomorrow"}
    found = only(write_quality(tmp_path / "q.json", a=strange))
    assert found.work is None and "'of_tomorrow' is not known" in str(found.missing)
    idle = write_model(tmp_path / "idle.onnx", make_manifest(name="a"))
    found = only(write_quality(tmp_path / "q.json", a={}), str(idle))
    assert found.work is None and "no convolution" in str(found.missing)


def test_wrong_files_are_one_sentence(tmp_path: Path) -> None:
    quality = write_quality(tmp_path / "q.json", a={})
    with pytest.raises(UsageError, match=r"models that were judged \(a\), found tiny-ladeda"):
        make_frontier(quality, ["tiny-ladeda"])
    (tmp_path / "a.onnx").write_bytes(b"no")
    with pytest.raises(ModelError, match="expected an ONNX model"):
        make_frontier(quality, [str(tmp_path / "a.onnx")])
    write_model(tmp_path / "b.onnx", "")
    with pytest.raises(ModelError, match="no patchwatch manifest"):
        make_frontier(quality, [str(tmp_path / "b.onnx")])
    (tmp_path / "a.pth").touch()
    with pytest.raises(ModelError, match="counted from its architecture"):
        make_frontier(quality, [str(tmp_path / "a.pth")])
    with pytest.raises(ModelError, match="neither a file nor a shipped model"):
        make_frontier(quality, ["absent"])
    with pytest.raises(UsageError, match="cannot be read"):
        make_frontier(tmp_path / "absent.json")
