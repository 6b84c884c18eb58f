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
from edge.schema import Strict, code_commit
from edge.terminal import console, positive
from training.checkpoint import SUFFIX, card_path
from training.data.samples import endless
from training.methods.autoencoder import AutoencoderTraining, quality
from training.pairs.autoencoders import SPECS
from training.pairs.decoder_file import DecoderCard, save_decoder
from training.pairs.photographs import (
    Pool,
    PoolCrops,
    describe,
    evenly,
    find_photographs,
    read_pool,
)
from training.progress import progress_bar
from training.settings import LoopSettings, Machine
from training.trainer import LAST, fit

SETTINGS = "settings.json"
ALL = "all"
SHOWN_REJECTED = 5
GLANCES, GLANCED_AT = 10, 4
"""How often a training is judged on the way, and on how many held-out photographs."""


class AutoencoderSettings(Strict):
    """What all autoencoders of one folder are trained with; each key is a flag."""

    steps: int = Field(default=4000, gt=0, description="for each at most")
    minutes: float | None = Field(default=None, gt=0, description="for each at most")
    crop: int = Field(default=64, ge=32, multiple_of=8, description="side of a crop in pixels")
    batch: int = Field(default=8, gt=0, description="crops in a step")
    rate: float = Field(default=2.5e-3, gt=0, description="first learning rate of Adam")
    seed: int = Field(default=0, ge=0, description="of all that is random")
    photographs: int = Field(
        default=1500, gt=1, description="held in memory at most, evenly over sources"
    )


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the flags."""
    parser.add_argument(
        "data", type=Path, metavar="DATA", help="folder with 0_real/<source>/…; fakes are not read"
    )
    parser.add_argument(
        "--output", type=Path, required=True, metavar="DIR", help="folder for the autoencoders"
    )
    parser.add_argument(
        "--specs", default=ALL, metavar="A,B", help=f"{ALL} (default), or of {', '.join(SPECS)}"
    )
    for name, field in AutoencoderSettings.model_fields.items():
        kind = int if field.annotation is int else float
        shown = field.description if field.default is None else f"{field.description} (%(default)s)"
        parser.add_argument(
            f"--{name}", type=kind, default=field.default, metavar=name[0].upper(), help=shown
        )
    parser.add_argument(
        "--save-every",
        type=float,
        default=60.0,
        metavar="S",
        help="seconds between checkpoints: what a lost machine costs at most (%(default)s)",
    )
    parser.add_argument(
        "--threads", type=positive, metavar="N", help="threads of torch (default: all cores)"
    )


def run(args: argparse.Namespace) -> int:
    """Train those that are not finished yet.

    Returns:
        The exit code: 0 all are finished, 128 + signal when stopped before.

    Raises:
        UsageError: a flag or a name is wrong, or the folder was started with other settings.
        SourceError: the photographs cannot be had.
        ModelError: a checkpoint is broken, or a training fails.
        SinkError: the folder cannot be written to.
    """
    out, names, settings = console(), _names(args.specs), _settings(args)
    pictures = find_photographs(args.data)
    _begin(args.output, settings, names)
    waiting = [name for name in names if not card_path(_weights(args.output, name)).exists()]
    for name in sorted(set(names) - set(waiting)):
        out.print(f"{name} is finished already.")
    if not waiting:
        return 0
    if args.threads:
        torch.set_num_threads(args.threads)
    chosen = evenly(pictures, settings.photographs)
    with progress_bar(out) as progress:
        task = progress.add_task("reading photographs", total=len(chosen), note="")
        pool = read_pool(
            args.data, chosen, settings.crop, settings.seed, lambda: progress.advance(task)
        )
    out.print(
        f"{len(pool.learned)} photographs to learn from, {len(pool.held_out)} held out, "
        f"{len(pool.rejected)} left out"
    )
    for one in pool.rejected[:SHOWN_REJECTED]:
        out.print(f"  {one.reason}")
    for name in waiting:
        code = _train(name, settings, pool, describe(chosen), args, out)
        if code:
            out.print("Stopped. The same command goes on from here.")
            return code
    return 0


def _train(
    name: str,
    settings: AutoencoderSettings,
    pool: Pool,
    photographs: str,
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
        validate_every=max(settings.steps // GLANCES, 1),
        save_every_s=args.save_every,
        seed=settings.seed,
    )
    method = AutoencoderTraining(SPECS[name], loop, pool.held_out[:GLANCED_AT], settings.minutes)
    folder = args.output / f"{name}.run"
    folder.mkdir(parents=True, exist_ok=True)
    fitted = fit(
        method,
        PoolData(pool, settings),
        folder,
        Machine("cpu", 0),
        out,
        resume=(folder / LAST).is_file(),
    )
    if fitted.code:
        return fitted.code
    model = method.model.eval()
    both = np.array([quality(model, picture) for picture in pool.held_out])
    psnr, ratio = float(both[:, 0].mean()), float(np.median(both[:, 1]))
    card = DecoderCard(
        name=name,
        spec=SPECS[name],
        psnr_db=round(psnr, 3),
        hf_ratio=round(ratio, 4),
        held_out=len(pool.held_out),
        photographs=photographs,
        steps=fitted.steps,
        seconds=round(method.seconds, 1),
        crop=settings.crop,
        batch=settings.batch,
        seed=settings.seed,
        commit=code_commit(),
    )
    save_decoder(_weights(args.output, name), model, card)
    shutil.rmtree(folder, ignore_errors=True)
    out.print(
        f"{name}: {psnr:.2f} dB on {len(pool.held_out)} held-out photographs, high frequencies "
        f"×{ratio:.2f}, after {fitted.steps} steps in {method.seconds:.0f} s"
    )
    return 0


class PoolData(pl.LightningDataModule):
    """Batches of crops of photographs without end, from the trainer's next step on."""

    def __init__(self, pool: Pool, settings: AutoencoderSettings) -> None:
        super().__init__()
        self._pool, self._settings = pool, settings

    def train_dataloader(self) -> DataLoader[dict[str, Tensor]]:
        """Batches as `training.data.module.PictureData` gives them."""
        crops = PoolCrops(self._pool, self._settings.crop, self._settings.seed)
        return endless(crops, self._settings.batch, self.trainer)


def _weights(folder: Path, name: str) -> Path:
    return folder / f"{name}{SUFFIX}"


def _names(text: str) -> list[str]:
    if text == ALL:
        return list(SPECS)
    names = [name.strip() for name in text.split(",") if name.strip()]
    unknown = [name for name in names if name not in SPECS]
    if unknown or not names:
        raise UsageError(
            f"--specs: expected {ALL} or some of {', '.join(SPECS)}, separated by commas; found "
            f"{(unknown or [text])[0]!r}."
        )
    return list(dict.fromkeys(names))


def _settings(args: argparse.Namespace) -> AutoencoderSettings:
    values = {name: getattr(args, name) for name in AutoencoderSettings.model_fields}
    try:
        return AutoencoderSettings.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        raise UsageError(f"--{first['loc'][0]}: found {first['input']}. {first['msg']}.") from error


def _begin(folder: Path, settings: AutoencoderSettings, names: Sequence[str]) -> None:
    path = folder / SETTINGS
    if not path.exists():
        write_whole(path, settings.model_dump_json(indent=2) + "\n")
        return
    old = [name for name in names if (folder / f"{name}.state{SUFFIX}").exists()]
    if old:
        raise ConfigError(
            f"{folder} holds {old[0]}.state{SUFFIX} of an earlier version, which cannot be resumed "
            "any more. Delete it to train that autoencoder again."
        )
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
