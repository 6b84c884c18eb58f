from __future__ import annotations

import json
import signal
from pathlib import Path

import numpy as np
import pytest
import torch

import patchwatch
from edge.sources.images import read_image
from tests.training.pairs.photographs import write_photographs
from training.pairs.autoencoders import SPECS, Autoencoder
from training.pairs.decoder_file import DecoderCard, save_decoder
from training.pairs.folder import LINES, PairWriter, read_pairs

UPSAMPLER = Path(__file__).parents[3] / "edge" / "demo" / "upsampler.onnx"


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_photographs(tmp_path_factory.mktemp("data"), count=4)


def write_decoder(folder: Path, name: str, steps: int = 1) -> Path:
    torch.manual_seed(steps)
    path = folder / f"{name}.safetensors"
    spec = SPECS[name]
    card = DecoderCard(
        name=name, spec=spec, psnr_db=9, hf_ratio=1, held_out=1, photographs="", steps=steps,
        seconds=1, crop=32, batch=1, seed=0,
    )  # fmt: skip
    save_decoder(path, Autoencoder(spec), card)
    return path


def go(data: Path, pairs: Path, *words: str | Path) -> int:
    flags = ("--output", str(pairs), "--size", "48", "--threads", "1")
    return patchwatch.main(["pairs", "make", str(data), *flags, *map(str, words)])


def test_both_sides_are_kept_pixel_on_pixel(data: Path, tmp_path: Path) -> None:
    assert go(data, tmp_path, UPSAMPLER, "--min-psnr", "10") == 0
    folder = read_pairs(tmp_path)
    assert len(folder) == 4 and folder.manifest.complete and folder.manifest.size == 48
    assert folder.manifest.decoders["upsampler"].pairs == 4
    assert {pair.source for pair in folder} == {"camera-a", "camera-b"}
    for pair in folder:
        real, fake = read_image(pair.real), read_image(pair.fake)
        assert real.shape == fake.shape == (48, 48, 3) and not np.array_equal(real, fake)
        original = read_image(data / "0_real" / pair.source / f"{pair.real.name[0]}.png")
        windows = np.lib.stride_tricks.sliding_window_view(original, (48, 48, 3))
        assert (windows == real).all((-3, -2, -1)).any()  # cut out, never resized


def test_a_weak_decoder_is_refused_or_taken_with_a_warning(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    decoder = write_decoder(tmp_path, "ae8-nearest")
    assert go(data, tmp_path / "pairs", decoder) == 2
    told = capsys.readouterr().err
    assert "expected decoders of at least 30 dB" in told and "ae8-nearest (" in told
    assert not (tmp_path / "pairs").exists()
    assert go(data, tmp_path / "pairs", decoder, "--keep-low", "--limit", "2") == 0
    assert "Warning: expected decoders" in " ".join(capsys.readouterr().err.split())
    assert len(read_pairs(tmp_path / "pairs")) == 2
    assert go(data, tmp_path / "more", UPSAMPLER, "--min-psnr", "1", "--min-hf", "90") == 2


def test_a_stopped_run_goes_on_and_gives_the_same(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = (UPSAMPLER, write_decoder(tmp_path, "vq4-nearest"), "--keep-low")
    assert go(data, tmp_path / "whole", *words) == 0
    add = PairWriter.add

    def add_and_stop(writer: PairWriter, *args: object) -> None:
        add(writer, *args)  # type: ignore[arg-type]  # passed on as they are
        if len(writer.done) == 3:
            signal.raise_signal(signal.SIGINT)

    with monkeypatch.context() as patch:
        patch.setattr(PairWriter, "add", add_and_stop)
        assert go(data, tmp_path / "broken", *words) == 130
    assert len(read_pairs(tmp_path / "broken")) == 3
    assert not read_pairs(tmp_path / "broken").manifest.complete
    assert go(data, tmp_path / "broken", *words) == 0
    assert (tmp_path / "whole" / LINES).read_text() == (tmp_path / "broken" / LINES).read_text()
    for one, other in zip(*(read_pairs(tmp_path / n) for n in ("whole", "broken")), strict=True):
        assert one.fake.read_bytes() == other.fake.read_bytes()
        assert one.real.read_bytes() == other.real.read_bytes()


def test_decoders_can_be_added_but_not_changed(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert go(data, tmp_path / "pairs", UPSAMPLER, "--keep-low") == 0
    decoder = write_decoder(tmp_path, "ae4-bilinear")
    assert go(data, tmp_path / "pairs", decoder, "--keep-low") == 0
    assert read_pairs(tmp_path / "pairs").decoders() == {"ae4-bilinear": 4, "upsampler": 4}
    assert read_pairs(tmp_path / "pairs").manifest.decoders["upsampler"].pairs == 4
    write_decoder(tmp_path, "ae4-bilinear", steps=2)
    assert go(data, tmp_path / "pairs", decoder, "--keep-low") == 2
    assert "has pairs of another ae4-bilinear" in capsys.readouterr().err
    assert go(data, tmp_path / "pairs", decoder, "--keep-low", "--seed", "1") == 2
    assert "was made with --seed 0, found 1" in capsys.readouterr().err


def test_bad_pictures_are_listed_and_passed_over(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = write_photographs(tmp_path / "data", count=2)
    (data / "0_real" / "camera-a" / "broken.png").write_bytes(b"\x89PNG no more")
    write_photographs(tmp_path / "small", count=1, side=16)
    (tmp_path / "small/0_real/camera-a/0.png").rename(data / "0_real/camera-a/tiny.png")
    decoder = write_decoder(tmp_path, "ae4-nearest")
    assert go(data, tmp_path / "pairs", decoder, UPSAMPLER, "--keep-low") == 0
    told = capsys.readouterr().err
    assert "1 pictures are left out" in told and "broken.png" in told
    sizes = {read_image(pair.real).shape[:2] for pair in read_pairs(tmp_path / "pairs")}
    assert sizes == {(48, 48), (16, 16)}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("absent.safetensors",), "absent.safetensors is not there"),
        ((UPSAMPLER, "--size", "4"), "multiples of 8"),
        ((UPSAMPLER, UPSAMPLER), "are both called upsampler"),
        ((UPSAMPLER, "--seed", "-1"), "--seed -1"),
    ],
)
def test_a_mistake_is_one_sentence(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str],
    words: tuple[str | Path, ...], message: str,
) -> None:  # fmt: skip
    assert go(data, tmp_path / "pairs", *words) == 2
    told = capsys.readouterr().err
    assert "patchwatch: error: " in told and message in told and "Traceback" not in told
    assert not (tmp_path / "pairs").exists()


def test_no_photograph_can_be_read(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "0_real" / "a").mkdir(parents=True)
    (tmp_path / "0_real" / "a" / "b.png").write_bytes(b"none")
    assert go(tmp_path, tmp_path / "pairs", UPSAMPLER) == 1
    assert "none of the first photographs could be read" in capsys.readouterr().err


def test_the_sheet_has_a_row_for_each_chosen_pair(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    go(data, tmp_path / "pairs", UPSAMPLER, write_decoder(tmp_path, "ae4-nearest"), "--keep-low")
    sheet = tmp_path / "sheet.png"
    words = ["pairs", "show", str(tmp_path / "pairs"), "--side", "48"]
    assert patchwatch.main([*words, "--output", str(sheet), "--rows", "3"]) == 0
    assert read_image(sheet).shape == (6 * (48 + 16), 3 * 48, 3)
    pair = read_pairs(tmp_path / "pairs").pairs[0]
    lines = json.loads((tmp_path / "pairs" / LINES).read_text().splitlines()[0])
    assert lines["psnr_db"] == pair.psnr_db
    assert patchwatch.main([*words, "--output", "sheet.jpg"]) == 2
    assert "ends in .png" in capsys.readouterr().err
