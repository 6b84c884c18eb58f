"""Evaluate face models on face sets: each model on each set, as trained on by tested on.

A model is a checkpoint that `patchwatch train` made of a configuration of kind faces; a set is a
folder that `patchwatch data prepare` made. With --train, the models are trained first, one for each
train set, into DIR/models; what is there already is not trained again, and what was stopped goes
on. DIR gets matrix.json, matrix.md and the heat table matrix.png and matrix.svg.

    patchwatch matrix --models base=a.safetensors both=b.safetensors \\
        --tests base=sets/ff augment=sets/youtube -o out/matrix
    patchwatch matrix --train configs/training/faces.yaml --licence TEXT \\
        --tests base=sets/ff augment=sets/youtube -o out/matrix

Exit codes: 0 done, also where a combination has no figures, which is said; 1 failed, 2 wrong usage,
128 + signal when stopped.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from functools import partial
from itertools import product
from pathlib import Path
from typing import get_args

from edge.errors import SourceError, UsageError
from edge.files import sha256_of, write_all
from edge.regions import FACE_SIZE, parse_region
from edge.schema import code_commit
from edge.signals import stop_signals
from edge.terminal import console, positive
from training.evaluation.metrics import DRAWS
from training.evaluation.options import results_console
from training.evaluation.record import now
from training.evaluation.report import require_folder, require_matplotlib
from training.faces.matrix_report import (
    HEADING,
    PAGE,
    Cell,
    Matrix,
    ModelFacts,
    cells_of,
    files,
    grids,
    missing_of,
    notes,
    set_facts,
)
from training.faces.sets import SPLITS, FaceSet, load_set
from training.progress import progress_bar
from training.run_folder import is_resumable
from training.settings import DEVICES, Machine

MODELS = "models"
"""Folder of the results with the runs of the models that were trained for them."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the flags."""
    parser.add_argument(
        "--models",
        nargs="+",
        default=[],
        metavar="NAME=FILE",
        help="checkpoints, each named by its train set",
    )
    parser.add_argument(
        "--tests", nargs="+", required=True, metavar="NAME=SET", help="prepared sets, named"
    )
    parser.add_argument(
        "-o", "--output", type=Path, required=True, metavar="DIR", help="folder for the results"
    )
    parser.add_argument(
        "--split", choices=SPLITS, default="test", help="of each set (default: %(default)s)"
    )
    parser.add_argument(
        "--seed", type=int, default=0, metavar="N", help="of the intervals (default: 0)"
    )
    parser.add_argument(
        "--device", choices=DEVICES, default="auto", help="auto (default): a GPU if there is one"
    )
    parser.add_argument(
        "--workers", type=int, default=1, metavar="N", help="processes that read faces (default: 1)"
    )
    parser.add_argument(
        "--batch", type=positive, default=64, metavar="N", help="faces at once (default: 64)"
    )
    group = parser.add_argument_group("training first")
    group.add_argument(
        "--train", type=Path, metavar="CONFIG", help="of kind faces; its train_set is replaced"
    )
    group.add_argument("--licence", metavar="TEXT", help="of the weights, for the cards")


def run(args: argparse.Namespace) -> int:
    """Evaluate every model on every set, print the tables and write the report."""
    tests = _named(args.tests, "--tests")
    models = _named(args.models, "--models")
    if not (models or args.train):
        raise UsageError("expected --models NAME=FILE or --train CONFIG, found neither.")
    if args.train and not args.licence:
        raise UsageError("--train writes cards: give --licence TEXT as well.")
    if args.workers < 0:
        raise UsageError(f"--workers: expected 0 or more, found {args.workers}.")
    require_matplotlib()
    require_folder(args.output, PAGE, HEADING)
    if args.train:
        code, trained = _train(args, tests)
        if code:
            return code
        models = {**trained, **models}
    with stop_signals():
        matrix = judge(args, models, tests)
        for grid in grids(matrix):
            results_console().print(grid.rich())
        for note in notes(matrix):
            console().print(note, soft_wrap=True, markup=False)
        write_all(args.output, files(matrix))
    console().print(f"Written to {args.output / PAGE}.", soft_wrap=True)
    return 0


def _named(texts: Sequence[str], flag: str) -> dict[str, Path]:
    found: dict[str, Path] = {}
    for text in texts:
        name, separator, path = text.partition("=")
        if not (separator and name and path):
            raise UsageError(f"{flag}: expected NAME=PATH, found {text!r}.")
        if name in found:
            raise UsageError(f"{flag}: the name {name!r} stands twice. Give each its own.")
        found[name] = Path(path)
    return found


def _train(args: argparse.Namespace, sets: Mapping[str, Path]) -> tuple[int, dict[str, Path]]:
    """One model for each train set that the sets allow; the exit code, and the checkpoints."""
    from training.config import load_config
    from training.faces.config import FacesConfig, TrainSet
    from training.faces.train import train_faces

    config = load_config(FacesConfig, args.train, (), None)
    opened = {name: load_set(path) for name, path in sets.items() if name in get_args(TrainSet)}
    trained: dict[str, Path] = {}
    for name in train_sets(opened):
        folder = args.output / MODELS / name
        found = train_faces(
            config.model_copy(update={"train_set": name, "name": f"{config.name}-{name}"}),
            opened,
            folder,
            licence=args.licence,
            out=console(),
            machine=Machine(args.device, args.workers),
            resume=is_resumable(folder),
        )
        if found.code:
            console().print("Stopped. The same command goes on.")
            return found.code, {}
        if found.failure:
            console().print(f"{name}: {found.failure}", markup=False)
        trained[name] = found.checkpoint
    return 0, trained


def train_sets(sets: Mapping[str, FaceSet]) -> list[str]:
    """Which of `base`, `augment` and `both` can be learned from."""
    if not sets:
        raise UsageError("--train: expected sets named base, augment or both in --tests.")
    if "both" in sets or {"base", "augment"} <= sets.keys():
        return ["base", "augment", "both"]
    return list(sets)


def judge(
    args: argparse.Namespace, models: Mapping[str, Path], tests: Mapping[str, Path]
) -> Matrix:
    """Evaluate every model (name → checkpoint) on every set (name → folder)."""
    from training.checkpoint import load_resnet18
    from training.faces.model import score_faces

    started, device = now(), Machine(args.device).torch_device()
    items = {name: load_set(path).items(args.split) for name, path in tests.items()}
    if not any(items.values()):
        raise SourceError(f"none of the sets has faces in its {args.split} videos.")
    opened = {name: load_resnet18(path) for name, path in models.items()}
    facts = {
        name: ModelFacts(
            name=name,
            file=models[name].name,
            sha256=sha256_of(models[name]),
            architecture=card.architecture,
            size=parse_region(card.region).size or FACE_SIZE,
            calibration=card.calibration,
            trained_on=card.training.data,
        )
        for name, (_, card) in opened.items()
    }
    counted = tuple(set_facts(name, args.split, found) for name, found in items.items())
    cells: list[Cell] = []
    with progress_bar() as progress:
        for name, test in product(opened, [test for test, found in items.items() if found]):
            task = progress.add_task(f"{name} on {test}", total=len(items[test]), note="")
            logits = score_faces(
                opened[name][0].to(device),
                items[test],
                facts[name].size,
                batch=args.batch,
                workers=args.workers,
                on_faces=partial(progress.advance, task),
            )
            cells += cells_of(facts[name], test, items[test], logits, args.seed)
    return Matrix(
        time=started,
        commit=code_commit(),
        seed=args.seed,
        draws=DRAWS,
        models=tuple(facts.values()),
        tests=counted,
        cells=tuple(cells),
        missing=tuple(missing_of(counted)),
    )
