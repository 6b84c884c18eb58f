from __future__ import annotations

import os
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from edge.errors import ModelError
from edge.sources.images import read_image
from tests.shared_data import shared
from training.pairs.quality import psnr_db
from training.pairs.reconstructors import open_reconstructors
from training.pairs.taesd import TinyAutoencoder, decoder_layers, encoder_layers

# Facts of the published files, not taken from the module that is tested.
LAST = {"encoder": "14", "decoder": "19"}
NORMED = {"encoder": ("11", "12", "13"), "decoder": ("3", "4", "5")}


def write(folder: Path, latents: int, normed: bool, suffix: str = ".pth") -> tuple[Path, Path]:
    torch.manual_seed(0)
    paths = []
    for side, layers in (("encoder", encoder_layers), ("decoder", decoder_layers)):
        state = {key: value.half() for key, value in layers(latents, normed).state_dict().items()}
        assert state[f"{LAST[side]}.weight"].shape[0] == (latents if side == "encoder" else 3)
        found = {key.split(".")[0] for key in state if ".pool." in key}
        assert found == (set(NORMED[side]) if normed else set())
        path = folder / f"tiny_{side}{suffix}"
        if suffix == ".pth":
            torch.save(state, path)
        else:
            save_file(state, path)
        paths.append(path)
    return paths[0], paths[1]


@pytest.mark.parametrize(("latents", "normed"), [(4, False), (16, False), (32, True)])
def test_the_variant_shows_in_the_shapes(tmp_path: Path, latents: int, normed: bool) -> None:
    model = TinyAutoencoder(*write(tmp_path, latents, normed))
    again = model(np.full((16, 24, 3), 90, np.uint8))
    assert again.shape == (16, 24, 3) and again.dtype == np.uint8
    assert model.name == "tiny" and model.factor == 8


def test_the_encoder_is_found_beside_the_decoder(tmp_path: Path) -> None:
    encoder, decoder = write(tmp_path, 4, False, ".safetensors")
    (found,) = open_reconstructors([decoder])
    assert found.name == "tiny" and "tiny_encoder" in found.made_by
    encoder.unlink()
    with pytest.raises(ModelError, match=r"found no tiny_encoder\.safetensors"):
        open_reconstructors([decoder])


def test_halves_that_do_not_belong_together(tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    encoder, _ = write(tmp_path, 4, False)
    _, decoder = write(tmp_path / "other", 16, False)
    with pytest.raises(ModelError, match=r"expected 14.weight of shape \[16, 64, 3, 3\], found"):
        TinyAutoencoder(encoder, decoder)
    with pytest.raises(ModelError, match=r"expected the decoder of a tiny autoencoder"):
        TinyAutoencoder(encoder, encoder)


def test_nothing_is_unpickled(tmp_path: Path) -> None:
    encoder, decoder = write(tmp_path, 4, False)
    decoder.write_bytes(pickle.dumps({"1.weight": print}, protocol=2))
    with pytest.raises(ModelError, match="was not run"):
        TinyAutoencoder(encoder, decoder)
    decoder.unlink()
    with pytest.raises(ModelError, match="cannot be read"):
        TinyAutoencoder(encoder, decoder)


def test_published_weights_reconstruct_a_photograph() -> None:
    decoder = os.environ.get("PATCHWATCH_TINY_DECODER")
    if not decoder:
        pytest.skip("needs PATCHWATCH_TINY_DECODER, the file of a published tiny decoder")
    photograph = read_image(sorted(shared("data/val/0_real/kodak").iterdir())[0])[:128, :128]
    (model,) = open_reconstructors([Path(decoder)])
    assert psnr_db(photograph, model(photograph)) > 25
