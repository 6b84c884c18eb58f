"""Train small autoencoders on the photographs of a labelled folder, to make pairs with.

DIR gets NAME.safetensors and NAME.json (PSNR and sharpness on photographs that were held out)
for each. While one is trained, its last checkpoint lies in NAME.run/; it is saved every
--save-every seconds and at every stop: the same command goes on from there, and skips those that
are finished.
"""

from __future__ import annotations

import argparse
import json
import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytorch_lightning as pl
import torch
from pydantic import Field, ValidationError
from rich.console import Console
from torch import Tensor
from torch.utils.data import DataLoader

from edge.errors import ConfigError, UsageError
from edge.files import write_whole
from edge.labels import add_label_folders
from edge.schema import Strict, code_commit, fault
from edge.terminal import console
from training.checkpoint import SUFFIX
from training.data.folders import Picture
from training.data.samples import endless
from training.flags import add_flags
from training.methods.autoencoder import AutoencoderTraining
from training.pairs.autoencoders import SPECS, DecoderCard, quality, reconstruct, save_decoder
from training.pairs.photographs import (
    KEPT_SIDE,
    PhotographCrops,
    find_photographs,
    hold_out,
    region,
)
from training.settings import LoopSettings, Machine
from training.trainer import LAST, fit

SETTINGS = "settings.json"
ALL = "all"
GLANCES, GLANCED_AT = 10, 4
"""How often a training is judged on the way, and on how many held-out photographs."""


class AutoencoderSettings(Strict):
    """What all autoencoders of one folder are trained with; each key is a flag."""

    steps: int = Field(default=4000, gt=0, description="for each")
    crop: int = Field(default=64, ge=32, multiple_of=8, description="side of a crop in pixels")
    batch: int = Field(default=8, gt=0, description="crops in a step")
    rate: float = Field(default=2.5e-3, gt=0, description="first learning rate of Adam")
    seed: int = Field(default=0, ge=0, description="of all that is random")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the flags."""
    add = parser.add_argument
    add("data", type=Path, metavar="DATA", help="folder with 0_real/<source>/…; fakes are not read")
    add_label_folders(parser)
    add("--output", type=Path, required=True, metavar="DIR", help="folder for the autoencoders")
    add("--specs", default=ALL, metavar="A,B", help=f"{ALL} (default), or of {', '.join(SPECS)}")
    for name, field in AutoencoderSettings.model_fields.items():
        kind = int if field.annotation is int else float
        shown = f"{field.description} (default: %(default)s)"
        add(f"--{name}", type=kind, default=field.default, metavar=name[0].upper(), help=shown)
    add(
        "--save-every",
        type=float,
        default=60.0,
        metavar="S",
        help="seconds between checkpoints: what a kill costs at most (default: %(default)s)",
    )
    add_flags(parser, "--threads")


def run(args: argparse.Namespace) -> int:
    """Train those that are not finished yet; 0, or 128 + signal when stopped before.

    Raises:
        UsageError: a flag or a name is wrong, or the folder was started with other settings.
        SourceError: the photographs cannot be had.
        ModelError: a checkpoint is broken, or a training fails.
        SinkError: the folder cannot be written to.
    """
    out, names, settings = console(), _names(args.specs), _settings(args)
    _begin(args.output, settings)
    waiting = []
    for name in names:
        if (args.output / f"{name}.json").exists():
            out.print(f"{name} is finished already.")
        else:
            waiting.append(name)
    if not waiting:
        return 0
    if args.threads:
        torch.set_num_threads(args.threads)
    found = find_photographs(args.data, settings.crop, out, args.label_folders)
    learned, held_out = hold_out(args.data, found)
    out.print(f"{len(learned)} photographs to learn from, {len(held_out)} held out")
    for name in waiting:
        code = _train(name, settings, learned, held_out, args, out)
        if code:
            out.print("Stopped. The same command goes on from here.")
            return code
    return 0


def _train(
    name: str,
    settings: AutoencoderSettings,
    learned: Sequence[Picture],
    held_out: Sequence[Picture],
    args: argparse.Namespace,
    out: Console,
) -> int:
    out.print(f"{name}:")
    torch.manual_seed(settings.seed)
    loop = LoopSettings(
        name=name,
        steps=settings.steps,
        batch=settings.batch,
        rate=settings.rate,
        schedule="cosine",
        clip_norm=1.0,
        validate_every=max(settings.steps // GLANCES, 1),
        save_every_s=args.save_every,
        seed=settings.seed,
    )
    images = [region(p, args.data, KEPT_SIDE, 8, settings.seed) for p in held_out]
    method = AutoencoderTraining(SPECS[name], loop, images[:GLANCED_AT])
    data = CropData(PhotographCrops(args.data, learned, settings.crop, settings.seed), loop.batch)
    folder: Path = args.output / f"{name}.run"
    folder.mkdir(parents=True, exist_ok=True)
    resume = (folder / LAST).is_file()
    fitted = fit(method, data, folder, Machine("cpu", 0), out, resume=resume)
    if fitted.code:
        return fitted.code
    model = method.model.eval()
    both = np.array([quality(image, reconstruct(model, image)) for image in images])
    psnr, ratio = float(both[:, 0].mean()), float(np.median(both[:, 1]))
    card = DecoderCard(
        name=name,
        spec=SPECS[name],
        psnr_db=round(psnr, 3),
        hf_ratio=round(ratio, 4),
        held_out=len(held_out),
        photographs=f"{len(learned)} photographs of {args.data.name}",
        steps=fitted.steps,
        crop=settings.crop,
        batch=settings.batch,
        seed=settings.seed,
        commit=code_commit(),
    )
    save_decoder(args.output / f"{name}{SUFFIX}", model, card)
    shutil.rmtree(folder, ignore_errors=True)
    out.print(
        f"{name}: {psnr:.2f} dB on {len(held_out)} held-out photographs, high frequencies "
        f"×{ratio:.2f}, after {fitted.steps} steps"
    )
    return 0


class CropData(pl.LightningDataModule):
    """Batches of crops of photographs without end, from the trainer's next step on."""

    def __init__(self, crops: PhotographCrops, batch: int) -> None:
        super().__init__()
        self._crops, self._batch = crops, batch

    def train_dataloader(self) -> DataLoader[dict[str, Tensor]]:
        """Batches as `training.data.module.PictureData` gives them."""
        return endless(self._crops, self._batch, self.trainer)


def _names(text: str) -> list[str]:
    names = list(SPECS) if text == ALL else [name.strip() for name in text.split(",")]
    for name in names:
        if name not in SPECS:
            raise UsageError(
                f"--specs: expected {ALL} or some of {', '.join(SPECS)}, separated by commas; "
                f"found {name!r}."
            )
    return list(dict.fromkeys(names))


def _settings(args: argparse.Namespace) -> AutoencoderSettings:
    values = {name: getattr(args, name) for name in AutoencoderSettings.model_fields}
    try:
        return AutoencoderSettings.model_validate(values)
    except ValidationError as error:
        raise UsageError(f"--{fault(error, '')}.") from error


def _begin(folder: Path, settings: AutoencoderSettings) -> None:
    path = folder / SETTINGS
    if not path.exists():
        write_whole(path, settings.model_dump_json(indent=2) + "\n")
        return
    try:
        before = json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"{path} cannot be read as the settings of a training. Name a new folder."
        ) from error
    for key, value in settings.model_dump().items():
        if before.get(key) != value:
            raise ConfigError(
                f"{folder} was started with --{key} {before.get(key)}, found {value}. Give the "
                "same, or name a new folder."
            )
