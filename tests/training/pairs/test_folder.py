from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from edge.errors import SourceError
from edge.sources.images import read_image
from tests.training.pictures import smooth_noise
from training.data.folders import index_folder
from training.pairs.folder import LINES, MANIFEST, Manifest, PairWriter, read_pairs

MADE = Manifest(photographs="two made up", size=32, multiple=8, seed=0)
FIGURES = {"decoder": "ae4", "source": "camera", "psnr_db": 33.3, "hf_ratio": 0.9}
REAL, FAKE = (smooth_noise(np.random.default_rng(seed), 32) for seed in (0, 1))


def write(folder: Path, *decoders: str) -> PairWriter:
    writer = PairWriter(folder, MADE)
    for decoder in decoders:
        names = writer.names("camera", "a", decoder)
        writer.add(names, (REAL, FAKE), {**FIGURES, "decoder": decoder})
    return writer


def test_what_is_written_is_read_without_loss(tmp_path: Path) -> None:
    writer = write(tmp_path, "ae4", "ae8")
    writer.write_manifest(MADE.model_copy(update={"complete": True}))
    folder = read_pairs(tmp_path)
    assert folder.manifest.complete and folder.decoders() == {"ae4": 1, "ae8": 1}
    pair, other = folder
    assert (pair.decoder, pair.source, pair.psnr_db) == ("ae4", "camera", 33.3)
    assert np.array_equal(read_image(pair.real), REAL)
    assert np.array_equal(read_image(pair.fake), FAKE)
    assert len(folder) == 2 and other.real == pair.real


def test_it_is_a_labelled_folder_too(tmp_path: Path) -> None:
    write(tmp_path, "ae4", "ae8")
    found = index_folder(tmp_path)
    assert found.sources(0) == {"camera": 1} and found.sources(1) == {"ae4": 1, "ae8": 1}


def test_half_a_line_of_a_killed_program_is_passed_over(tmp_path: Path) -> None:
    write(tmp_path, "ae4")
    with (tmp_path / LINES).open("a") as lines:
        lines.write('{"real": "0_real/cam')
    assert len(read_pairs(tmp_path)) == 1
    writer = PairWriter(tmp_path, MADE)
    assert list(writer.done) == ["1_fake/ae4/camera--a.webp"]
    writer.add(writer.names("camera", "a", "ae8"), (REAL, FAKE), {**FIGURES, "decoder": "ae8"})
    assert read_pairs(tmp_path).decoders() == {"ae4": 1, "ae8": 1}
    with (tmp_path / LINES).open("a") as lines:
        lines.write('{"real": 1}\n')
    with pytest.raises(SourceError, match="expected lines with real, fake, decoder and psnr_db"):
        read_pairs(tmp_path)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    write(tmp_path, "ae4")
    (tmp_path / "1_fake/ae4/camera--a.webp").unlink()
    with pytest.raises(SourceError, match=r"names 1_fake/ae4/camera--a\.webp, which is missing"):
        read_pairs(tmp_path)


def test_other_folders_are_refused(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"no folder of pairs: expected pairs\.json"):
        read_pairs(tmp_path / "absent")
    write(tmp_path)
    with pytest.raises(SourceError, match=r"expected pairs\.jsonl in it"):
        read_pairs(tmp_path)
    (tmp_path / LINES).touch()
    with pytest.raises(SourceError, match="has no pair yet"):
        read_pairs(tmp_path)
    (tmp_path / MANIFEST).write_text(json.dumps({**MADE.model_dump(), "seed": "x"}))
    with pytest.raises(SourceError, match="no manifest of pairs: seed"):
        read_pairs(tmp_path)
