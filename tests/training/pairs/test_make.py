from __future__ import annotations

import signal
from pathlib import Path

import numpy as np
import pytest
import torch

import patchwatch
from edge.errors import SourceError
from edge.sources.images import read_image
from tests.training.pairs.photographs import write_photographs
from tests.training.pictures import index_folder
from training.pairs.autoencoders import SPECS, Autoencoder, DecoderCard, save_decoder
from training.pairs.folder import LINES, MANIFEST, PairWriter, read_manifest, read_pairs


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_photographs(tmp_path_factory.mktemp("data"), count=4)


def write_decoder(folder: Path, name: str, steps: int = 1) -> Path:
    torch.manual_seed(steps)
    path = folder / f"{name}.safetensors"
    spec = SPECS[name]
    card = DecoderCard(
        name=name, spec=spec, psnr_db=9, hf_ratio=1, held_out=1, photographs="", steps=steps,
        crop=32, batch=1, seed=0,
    )  # fmt: skip
    save_decoder(path, Autoencoder(spec), card)
    return path


def go(data: Path, pairs: Path, *words: str | Path) -> int:
    flags = ("--output", str(pairs), "--size", "48", "--threads", "1")
    return patchwatch.main(["pairs", "make", str(data), *flags, *map(str, words)])


def test_both_sides_are_kept_pixel_on_pixel_in_a_labelled_folder(
    data: Path, tmp_path: Path
) -> None:
    decoder = write_decoder(tmp_path, "ae4-nearest")
    pairs = tmp_path / "pairs"
    assert go(data, pairs, decoder, "--min-psnr", "0") == 0
    manifest = read_manifest(pairs)
    assert manifest.complete and manifest.size == 48
    assert manifest.decoders["ae4-nearest"].pairs == len(read_pairs(pairs)) == 4
    for pair in read_pairs(pairs):
        real, fake = read_image(pair.real), read_image(pair.fake)
        assert real.shape == fake.shape == (48, 48, 3) and not np.array_equal(real, fake)
        original = read_image(data / "0_real" / pair.source / f"{pair.real.name[0]}.png")
        windows = np.lib.stride_tricks.sliding_window_view(original, (48, 48, 3))
        assert (windows == real).all((-3, -2, -1)).any()  # cut out, never resized
    found = index_folder(pairs)
    assert found.sources(0) == {"camera-a": 2, "camera-b": 2}
    assert found.sources(1) == {"ae4-nearest": 4}


def test_a_weak_decoder_is_refused_or_taken_with_a_warning(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    decoder = write_decoder(tmp_path, "ae8-nearest")
    assert go(data, tmp_path / "pairs", decoder) == 2
    told = capsys.readouterr().err
    assert "expected decoders of at least 30 dB" in told and "ae8-nearest (" in told
    assert not (tmp_path / "pairs").exists()
    assert go(data, tmp_path / "pairs", decoder, "--keep-low", "--limit", "1") == 0
    assert "Warning: expected decoders" in " ".join(capsys.readouterr().err.split())
    assert len(read_pairs(tmp_path / "pairs")) == 2  # one of each source


def test_a_stopped_run_goes_on_and_gives_the_same(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_decoder(tmp_path, "ae4-bilinear")
    words = (write_decoder(tmp_path, "ae4-nearest").parent, "--keep-low")
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
    assert not read_manifest(tmp_path / "broken").complete
    with (tmp_path / "broken" / LINES).open("a") as lines:
        lines.write('{"real": "0_real/cam')  # as a killed program leaves it
    assert go(data, tmp_path / "broken", *words) == 0
    whole, broken = (read_pairs(tmp_path / name) for name in ("whole", "broken"))
    for one, other in zip(whole, broken, strict=True):
        assert one.fake.read_bytes() == other.fake.read_bytes()
        assert one.real.read_bytes() == other.real.read_bytes()


def test_decoders_can_be_added_but_not_changed(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pairs = tmp_path / "pairs"
    assert go(data, pairs, write_decoder(tmp_path, "ae8-nearest"), "--keep-low") == 0
    decoder = write_decoder(tmp_path, "ae4-bilinear")
    assert go(data, pairs, decoder, "--keep-low") == 0
    counts = {name: one.pairs for name, one in read_manifest(pairs).decoders.items()}
    assert counts == {"ae4-bilinear": 4, "ae8-nearest": 4}
    write_decoder(tmp_path, "ae4-bilinear", steps=2)
    assert go(data, pairs, decoder, "--keep-low") == 2
    assert "has pairs of another ae4-bilinear" in capsys.readouterr().err
    assert go(data, pairs, decoder, "--keep-low", "--seed", "1") == 2
    assert "was made with --seed 0, found 1" in capsys.readouterr().err


def test_bad_pictures_are_listed_and_passed_over(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = write_photographs(tmp_path / "data", count=2)
    (data / "0_real" / "camera-a" / "broken.png").write_bytes(b"\x89PNG no more")
    write_photographs(tmp_path / "small", count=1, side=16)
    (tmp_path / "small/0_real/camera-a/0.png").rename(data / "0_real/camera-a/tiny.png")
    decoder = write_decoder(tmp_path, "ae4-nearest")
    assert go(data, tmp_path / "pairs", decoder, "--keep-low") == 0
    told = capsys.readouterr().err
    assert "1 files are left out" in told and "broken.png" in told
    sizes = {read_image(pair.real).shape[:2] for pair in read_pairs(tmp_path / "pairs")}
    assert sizes == {(48, 48), (16, 16)}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("absent.safetensors",), "expected NAME.safetensors with its card"),
        (("decoder.onnx",), "are no longer taken"),
        (("DECODER", "--size", "4"), "multiples of 8"),
        (("DECODER", "DECODER"), "is called ae8-nearest like another decoder"),
        (("DECODER", "--seed", "-1"), "--seed -1"),
    ],
)
def test_a_mistake_is_one_sentence(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str],
    words: tuple[str, ...], message: str,
) -> None:  # fmt: skip
    decoder = write_decoder(tmp_path, "ae8-nearest")
    words = tuple(word.replace("DECODER", str(decoder)) for word in words)
    assert go(data, tmp_path / "pairs", *words) == 2
    told = " ".join(capsys.readouterr().err.split())
    assert "patchwatch: error: " in told and message in told and "Traceback" not in told
    assert not (tmp_path / "pairs").exists()


def test_a_folder_that_is_damaged_or_none_is_refused(data: Path, tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"no folder of pairs: expected pairs\.json"):
        read_pairs(tmp_path / "absent")
    assert go(data, tmp_path, write_decoder(tmp_path, "ae8-nearest"), "--keep-low") == 0
    lines = (tmp_path / LINES).read_text()
    (tmp_path / LINES).write_text(lines + '{"real": 1}\n')
    with pytest.raises(SourceError, match="expected lines with real, fake, decoder and psnr_db"):
        read_pairs(tmp_path)
    (tmp_path / LINES).write_text("")
    with pytest.raises(SourceError, match="has no pair yet"):
        read_pairs(tmp_path)
    (tmp_path / LINES).write_text(lines)
    read_pairs(tmp_path)[0].fake.unlink()
    with pytest.raises(SourceError, match=r"names 1_fake/.*webp, which is missing"):
        read_pairs(tmp_path)
    (tmp_path / MANIFEST).write_text("{}")
    with pytest.raises(SourceError, match="no manifest of pairs"):
        read_pairs(tmp_path)
