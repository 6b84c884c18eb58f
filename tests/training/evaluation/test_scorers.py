from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from edge.errors import ModelError, RegionError, UsageError
from edge.manifest import Calibration, Training
from edge.tensorrt.record import EngineKey, Shape
from edge.tensorrt.store import EngineRequest, write_engine
from export.engine.command import this_machine
from tests.build_here import BuildHere
from tests.fake_tensorrt import installed
from tests.fakes import grey, make_manifest
from tests.onnx_files import write_model
from tests.software_cuda import SoftwareGpu
from tests.software_cuda.fixtures import software_cuda as software_cuda
from tests.software_cuda.fixtures import software_gpu as software_gpu
from training.checkpoint import Card, save_checkpoint
from training.data.crops import normalised
from training.evaluation.scorers import ModelOptions, open_scorer, open_scorers
from training.models import build


def write_checkpoint(path: Path, region: str = "native", name: str = "made") -> Path:
    """A tiny network with random weights and its card."""
    torch.manual_seed(0)
    model = build("tiny_ladeda", "NPR")
    card = Card(
        name=name,
        architecture="tiny_ladeda",
        preprocessing="NPR",
        region=region,
        calibration=Calibration(bias=0.1),
        training=Training(data="nothing"),
        licence="none",
    )
    save_checkpoint(path, model, card)
    return path


def test_a_model_file_honours_its_region_and_another_one(tmp_path: Path) -> None:
    path = write_model(tmp_path / "m.onnx", make_manifest(region="center:16"))
    image = grey(0, 64, 64)
    image[24:40, 24:40] = 138
    with open_scorer(str(path), ModelOptions(threads=1)) as scorer:
        assert scorer.logit(image) == pytest.approx(10.0)
        assert scorer.facts.region == "center:16" and len(scorer.facts.sha256) == 64
        assert (scorer.facts.architecture, scorer.facts.preprocessing) == ("tiny_ladeda", "raw")
    with open_scorer(str(path), ModelOptions(region="tiles:32", threads=1)) as scorer:
        assert scorer.logit(image) == pytest.approx(float(image.mean()) - 128, abs=1e-3)


def test_an_engine_is_judged_like_the_model_that_it_was_built_from(
    tmp_path: Path, software_gpu: SoftwareGpu
) -> None:
    model = write_model(tmp_path / "m.onnx")
    with installed("10.3.0"):
        machine = this_machine()
        shape = Shape(batch=1, height=16, width=16)
        key = EngineKey(machine=machine, precision="fp32", shape=shape, onnx_sha256="0" * 64)
        plan, sidecar = BuildHere()(EngineRequest(model, key, tmp_path), lambda text: None)
        write_engine(tmp_path / "m.engine", plan, sidecar)
        image = grey(0, 64, 64)
        image[24:40, 24:40] = 138
        options = ModelOptions(region="center:16")
        with open_scorer(str(tmp_path / "m.engine"), options) as scorer:
            assert scorer.logit(image) == pytest.approx(10.0)
        whole = ModelOptions(region="native")
        with (
            open_scorer(str(tmp_path / "m.engine"), whole) as scorer,
            pytest.raises(ModelError, match="takes up to 1x16x16"),
        ):
            scorer.logit(image)


def test_a_checkpoint_gives_what_its_network_gives(tmp_path: Path) -> None:
    path = write_checkpoint(tmp_path / "c.safetensors", region="center:32")
    image = grey(90, 64, 64)
    image[::2] += 9
    model = build("tiny_ladeda", "NPR").eval()
    model.load_state_dict(load_file(str(path)))
    expected = float(model(normalised(image[16:48, 16:48])[None]).detach())
    with open_scorer(str(path), ModelOptions()) as scorer:
        assert scorer.logit(image) == pytest.approx(expected, rel=1e-5)
        assert scorer.facts.calibration.bias == 0.1 and scorer.facts.parameters
        assert (scorer.facts.architecture, scorer.facts.preprocessing) == ("tiny_ladeda", "NPR")
        with pytest.raises(RegionError, match="at least"):
            scorer.logit(grey(0, 2, 2))


def test_a_published_file_needs_to_be_told_what_it_is(tmp_path: Path) -> None:
    path = tmp_path / "p.pth"
    torch.save(build("tiny_ladeda", "NPR").state_dict(), path)
    with (
        pytest.raises(UsageError, match="--architecture and --preprocessing"),
        open_scorer(str(path), ModelOptions(architecture="tiny_ladeda")),
    ):
        pass
    options = ModelOptions(architecture="tiny_ladeda", preprocessing="NPR")
    with open_scorer(str(path), options) as scorer:
        assert scorer.facts.name == "p (NPR)" and scorer.facts.calibration == Calibration()
        assert isinstance(scorer.logit(grey(70)), float)


def test_a_shipped_model_goes_by_its_name() -> None:
    with open_scorer("tiny-ladeda", ModelOptions(threads=1)) as scorer:
        assert scorer.facts.name == "tiny-ladeda"


@pytest.mark.parametrize(
    ("name", "said"), [("m.plan", "ends in '.plan'"), ("absent", "neither a file nor")]
)
def test_what_cannot_be_judged_is_one_sentence(tmp_path: Path, name: str, said: str) -> None:
    (tmp_path / "m.plan").write_bytes(b"x")
    with pytest.raises(ModelError, match=said), open_scorer(str(tmp_path / name), ModelOptions()):
        pass


def test_a_wrong_region_is_one_sentence(tmp_path: Path) -> None:
    path = write_model(tmp_path / "m.onnx")
    with (
        pytest.raises(UsageError, match="not known"),
        open_scorer(str(path), ModelOptions(region="middle")),
    ):
        pass


def test_models_of_one_name_get_those_of_their_files(tmp_path: Path) -> None:
    paths = [write_model(tmp_path / name) for name in ("a.onnx", "b.onnx")]
    with open_scorers([str(p) for p in [*paths, paths[0]]], ModelOptions(threads=1)) as scorers:
        names = [scorer.facts.name for scorer in scorers]
    assert names == ["a.onnx (1)", "b.onnx", "a.onnx (3)"]
