"""A trained autoencoder on disk: `NAME.safetensors`, and its card `NAME.json`."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from safetensors import SafetensorError
from safetensors.torch import load as parse_safetensors
from safetensors.torch import save as dump_safetensors

from edge.errors import ModelError
from edge.files import written_whole
from training.checkpoint import SUFFIX, card_path
from training.pairs.autoencoders import Autoencoder, AutoencoderSpec


class DecoderCard(BaseModel):
    """What is known of an autoencoder besides its weights."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    schema_version: Literal[1] = 1
    name: str = Field(min_length=1)
    spec: AutoencoderSpec
    psnr_db: float = Field(description="Mean over the held-out photographs.")
    hf_ratio: float = Field(description="Median over them: high-frequency energy kept.")
    held_out: int = Field(description="Photographs that it was judged on.")
    photographs: str = Field(description="That it was trained on.")
    steps: int
    seconds: float = Field(description="That the steps took.")
    crop: int
    batch: int
    seed: int
    commit: str | None = None


def save_decoder(path: Path, model: Autoencoder, card: DecoderCard) -> None:
    """Write weights and card, each whole or not at all.

    Raises:
        SinkError: they cannot be written.
    """
    state = {key: value.detach().contiguous() for key, value in model.state_dict().items()}
    text = card.model_dump_json(indent=2) + "\n"
    with (
        written_whole(path, dump_safetensors(state)),
        written_whole(card_path(path), text.encode()),
    ):
        pass


def load_decoder(path: Path) -> tuple[Autoencoder, DecoderCard]:
    """Read `NAME.safetensors` with `NAME.json` beside it: the autoencoder in evaluation mode, its
    card.

    Raises:
        ModelError: a file is missing or broken, or the weights are not those of the card.
    """
    card = _card(card_path(path))
    model = Autoencoder(card.spec)
    try:
        model.load_state_dict(parse_safetensors(path.read_bytes()))
    except OSError as error:
        raise ModelError(f"{path} cannot be read: {error.strerror or error}.") from error
    except (SafetensorError, RuntimeError) as error:
        reason = str(error).splitlines()[-1].strip()
        raise ModelError(
            f"{path} does not hold the weights that {card_path(path).name} describes ({reason}). "
            f"Expected those that `patchwatch pairs train` wrote as NAME{SUFFIX}."
        ) from error
    return model.eval(), card


def fingerprint(*paths: Path) -> str:
    """Eight hex digits of what files hold, to tell decoders of one name apart."""
    digest = hashlib.blake2b(digest_size=4)
    for path in paths:
        digest.update(path.read_bytes())
    return digest.hexdigest()


def _card(path: Path) -> DecoderCard:
    try:
        return DecoderCard.model_validate_json(path.read_bytes())
    except OSError as error:
        raise ModelError(
            f"{path} cannot be read: {error.strerror or error}. It belongs beside the weights."
        ) from error
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "the file"
        raise ModelError(
            f"{path} is no card of an autoencoder: {where}: {first['msg']}. Train it again with "
            "`patchwatch pairs train`."
        ) from error
