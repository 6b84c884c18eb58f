"""Keep patches with a teacher's logits in a file, as the published distillation learns from them.

Crops are drawn from the pictures of train/ as a training draws them, balanced over labels and
sources, and each is cut into patches of 10×10 pixels, every 8 pixels, with the teacher's logit of
the 9×9 there. CONFIG says how crops are cut and degraded (data, policy, seed); it is that of the
distillation. FILE is written from front to back, of a size that is known before the first patch,
and is verified whenever it is opened.

    patchwatch patches ladeda pictures/ -o out.patches.safetensors
    patchwatch distill configs/training/distill-paper.yaml --teacher ladeda \\
        --patches out.patches.safetensors --data pictures/ --output runs/student --licence TEXT

Exit codes: 0 done, 1 failed, 2 wrong usage, 130 Ctrl-C (no file is left then).
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from rich import filesize

from edge.errors import SinkError, UsageError
from edge.labels import add_label_folders
from edge.signals import stop_signals
from edge.terminal import console, positive
from training.config import DistillConfig, load_config
from training.data.config import DataConfig
from training.data.module import PictureData
from training.data.samples import Sample
from training.flags import add_flags, label_settings
from training.methods.base import model_input
from training.methods.distill import STUDENT_SIDE, cut, judged_patches, load_teachers
from training.models import PatchModel, build
from training.patch_set import SUFFIX, Part, write_patches
from training.progress import advancing


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the flags."""
    add = parser.add_argument
    add("teacher", type=Path, metavar="TEACHER", help="a checkpoint, or a shipped one's name")
    add("data", type=Path, metavar="DATA", help="folder with train/ and val/")
    add_label_folders(parser)
    add("-o", "--output", type=Path, required=True, metavar="FILE", help=f"NAME{SUFFIX}")
    add("--config", type=Path, metavar="CONFIG", help="YAML file of the distillation")
    add("--crops", type=positive, default=4000, metavar="N", help="to cut (default: %(default)s)")
    add(
        "--per-crop",
        type=positive,
        default=64,
        metavar="N",
        help="patches kept of each, drawn at random (default: %(default)s)",
    )
    add_flags(parser, "--set", "--threads", "--seed")


def run(args: argparse.Namespace) -> int:
    """Cut, judge and write.

    Raises:
        UsageError: the flags or the configuration are wrong, or the teacher cannot teach so.
        SourceError: the pictures cannot be had.
        SinkError: FILE exists, or cannot be written.
    """
    if not args.output.name.endswith(SUFFIX):
        raise UsageError(f"--output: expected a name that ends in {SUFFIX}, found {args.output}.")
    if args.output.exists():
        raise SinkError(f"{args.output} exists already. Give another name as --output.")
    if args.threads:
        torch.set_num_threads(args.threads)
    config = _config(args)
    torch.manual_seed(config.seed)
    (teacher,) = load_teachers(config, build(config.architecture, config.preprocessing))
    data = PictureData(config.data, config.policy, config.seed, folder=args.data)
    data.setup()
    side = (config.data.crop - STUDENT_SIDE) // config.teaching.stride + 1
    each = min(args.per_crop, side * side)
    facts = {
        "teacher": teacher.describe(),
        "teacher_sha256": teacher.sha256,
        "data": data.found.describe(),
        "config": config.model_dump_json(include={"data", "policy", "seed"}),
        "stride": str(config.teaching.stride),
    }
    with stop_signals(), advancing("judging crops", args.crops) as advance:

        def parts() -> Iterator[Part]:
            samples = data.samples()
            for index in range(args.crops):
                yield _judged(teacher.model, samples[index], config, side, each)
                advance()

        write_patches(args.output, parts(), args.crops * each, facts)
    size = filesize.decimal(args.output.stat().st_size)
    console().print(f"{args.output}: {args.crops * each} patches, {size}", markup=False)
    return 0


def _config(args: argparse.Namespace) -> DistillConfig:
    """What --config and --set say, with the teacher; without a file, the keys' defaults."""
    if args.config:
        settings = [*args.set, *label_settings(args.label_folders)]
        config = load_config(DistillConfig, args.config, settings, args.seed)
    elif args.set:
        raise UsageError("--set overrides a file: give --config too.")
    else:
        data = DataConfig(label_folders=args.label_folders)
        config = DistillConfig(name="patches", steps=1, seed=args.seed or 0, data=data)
    teaching = config.teaching.model_copy(update={"way": "patches", "teachers": (args.teacher,)})
    return config.model_copy(update={"teaching": teaching})


def _judged(
    teacher: PatchModel, sample: Sample, config: DistillConfig, side: int, each: int
) -> Part:
    """Patches of a crop, at places drawn by torch's generator, with the teacher's logits."""
    crop = torch.from_numpy(np.ascontiguousarray(sample["frames"]))[None]
    drawn = torch.randperm(side * side)[:each]
    places = torch.stack([torch.zeros_like(drawn), drawn // side, drawn % side])
    logits = judged_patches([teacher], model_input(crop), config.teaching.stride, places)
    raw = cut(crop.movedim(-1, 1), STUDENT_SIDE, config.teaching.stride, places)
    return raw.movedim(1, -1).numpy(), logits.numpy(), sample["label"]
