from __future__ import annotations

from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
import torch.nn.functional as F
from PIL import Image as PillowImage

from edge.types import Image
from tests.training.pictures import smooth_noise
from training.pairs.quality import psnr_db
from training.program import run_program
from training.upsampler import Upsampler, add_arguments, run, to_onnx

SMALL = 16 * 1024


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Pictures this small are slower on many threads, much so on a busy machine."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def _photos(folder: Path, seed: int) -> Path:
    folder.mkdir()
    rng = np.random.default_rng(seed)
    for index in range(3):
        PillowImage.fromarray(smooth_noise(rng, 112)).save(folder / f"{index}.png")
    return folder


def _run_onnx(file: bytes, pictures: Image) -> Image:
    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    again: Image = session.run(None, {"picture": pictures})[0]
    return again


def test_training_writes_a_small_file_that_restores_pictures(tmp_path: Path) -> None:
    words = [str(_photos(tmp_path / "a", 0)), "--held-out", str(_photos(tmp_path / "b", 1))]
    words += ["--output", str(tmp_path / "up.onnx"), "--steps", "50"]
    assert run_program("training.upsampler", None, add_arguments, run, words) == 0
    data = (tmp_path / "up.onnx").read_bytes()
    assert len(data) <= SMALL
    picture = smooth_noise(np.random.default_rng(2), 96)
    again = _run_onnx(data, picture[None])[0]
    assert psnr_db(picture, again) > psnr_db(picture, np.full_like(picture, picture.mean())) + 1
    notes = {entry.key: entry.value for entry in onnx.load_from_string(data).metadata_props}
    assert {"name", "description", "training", "validation", "licence"} <= set(notes)
    assert "dB on 3 photographs" in notes["validation"]


@pytest.mark.parametrize("height_width", [(2, 2), (33, 47), (64, 31), (97, 64)])
def test_the_file_does_what_torch_does_at_any_size(height_width: tuple[int, int]) -> None:
    torch.manual_seed(0)
    model = Upsampler().eval()
    rng = np.random.default_rng(0)
    pictures = rng.integers(0, 256, (2, *height_width, 3), dtype=np.uint8)
    again = _run_onnx(to_onnx(model, {}), pictures)
    even = (height_width[0] // 2 * 2, height_width[1] // 2 * 2)
    assert again.shape == (2, *even, 3) and again.dtype == np.uint8
    with torch.no_grad():
        x = torch.from_numpy(pictures).permute(0, 3, 1, 2).float() / 255
        expected = (model(F.avg_pool2d(x, 2)) * 255).clamp(0, 255).permute(0, 2, 3, 1).numpy()
    assert np.abs(again - expected).max() <= 0.51


def test_a_folder_without_photographs_is_one_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [str(tmp_path), "--held-out", str(tmp_path), "--output", str(tmp_path / "up.onnx")]
    assert run_program("training.upsampler", None, add_arguments, run, words) == 1
    assert "has no picture that can be used" in capsys.readouterr().err
    assert not (tmp_path / "up.onnx").exists()


def test_the_shipped_decoder_is_small_described_and_runs() -> None:
    path = files("edge.demo") / "upsampler.onnx"
    data = path.read_bytes()
    notes = {entry.key: entry.value for entry in onnx.load_from_string(data).metadata_props}
    assert len(data) <= SMALL and "Apache-2.0" in notes["licence"]
    smooth = np.linspace(0, 255, 33 * 47 * 3).reshape(1, 33, 47, 3).astype(np.uint8)
    assert psnr_db(smooth[0], _run_onnx(data, smooth)[0]) > 30
