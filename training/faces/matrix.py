"""Evaluate face models on face sets: each model on each set, as trained on by tested on.

A model is a checkpoint of faces, of `patchwatch train` or of `patchwatch probe`; a set is a folder
that `patchwatch data prepare` made; NAME=SET:WORD,WORD takes the fakes whose manipulation has one
of those words. With --train, the models are trained first, one for each train set, into DIR/models;
what is there already is not trained again, and what was stopped goes on. With --groups, train sets
and test sets are kinds of fakes of one set, each with all of its real faces, and all of them
together. DIR gets matrix.json, matrix.md and the heat table matrix.png and matrix.svg. In MLflow
are the curves of each training, its last grid of predictions and its model, and the tables.

    patchwatch matrix --models base=a.safetensors both=b.safetensors \\
        --tests base=sets/ff augment=sets/youtube -o out/matrix
    patchwatch matrix --train configs/training/faces.yaml --licence TEXT \\
        --tests base=sets/ff augment=sets/youtube -o out/matrix
    patchwatch matrix --train configs/training/probe-faces.yaml --licence TEXT --split val \\
        --tests clips=sets/clips --groups swaps=deepfacelive lip-sync=diff2lip 'driven=*' \\
        -o out/groups

Exit codes: 0 done, also where a combination has no figures, which is said; 1 failed, 2 wrong usage,
128 + signal when stopped.
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import get_args

from rich.progress import Progress

from edge.errors import ModelError, SourceError, UsageError
from edge.files import sha256_of, write_all
from edge.regions import FACE_SIZE, parse_region
from edge.schema import code_commit
from edge.signals import stop_signals
from edge.terminal import console, positive
from training.checkpoint import SUFFIX, Card, load_any
from training.evaluation.material import results_console
from training.evaluation.metrics import DRAWS
from training.evaluation.record import now
from training.evaluation.report import require_folder, require_matplotlib
from training.experiments import NONE, Experiment
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
from training.faces.model import score_faces
from training.faces.sets import SPLITS, FaceItem, FaceSet, Split, load_set
from training.flags import add_flags
from training.models import Model
from training.progress import progress_bar
from training.run_folder import CONFIG, is_resumable
from training.settings import Machine

ALL = "all"
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
    add_flags(parser, "--seed", default=0, help="of the intervals (default: 0)")
    add_flags(parser, "--device")
    add_flags(parser, "--workers", help="processes that read faces (default: %(default)s)")
    parser.add_argument(
        "--batch", type=positive, default=64, metavar="N", help="faces at once (default: 64)"
    )
    group = parser.add_argument_group("training first")
    group.add_argument(
        "--train",
        type=Path,
        metavar="CONFIG",
        help="of kind faces, whose train_set is replaced; with --groups, of a probe",
    )
    group.add_argument(
        "--groups",
        nargs="+",
        default=[],
        metavar="NAME=WORD,WORD",
        help="kinds of fakes by words in their manipulations; NAME=* for the others",
    )
    add_flags(group, "--licence", "--experiments")


def run(args: argparse.Namespace) -> int:
    """Evaluate every model on every set, print the tables and write the report."""
    tests = _named(args.tests, "--tests")
    models = _named(args.models, "--models")
    if not (models or args.train):
        raise UsageError("expected --models NAME=FILE or --train CONFIG, found neither.")
    if args.train and not args.licence:
        raise UsageError("--train writes cards: give --licence TEXT as well.")
    if args.groups and not (args.train and len(tests) == 1):
        raise UsageError("--groups divides one set: give --train, and one NAME=SET to --tests.")

    require_matplotlib()
    require_folder(args.output, PAGE, HEADING)
    groups: dict[str, list[str]] = {}
    if args.train:
        folder = next(iter(tests.values()))
        groups = grouped(folder, args.groups) if args.groups else {}
        code, trained = _train_groups(args, folder, groups) if groups else _train(args, tests)
        if code:
            return code
        models = {**trained, **models}
        tests = dict.fromkeys(groups, folder) or tests
    with stop_signals():
        matrix = judge(args, models, tests, groups)
        for grid in grids(matrix):
            results_console().print(grid.rich())
        for note in notes(matrix):
            console().print(note, soft_wrap=True, markup=False)
        written = files(matrix)
        write_all(args.output, written)
    uri = args.experiments if args.train else NONE
    experiment = Experiment(uri, args.output / MODELS / "matrix", "patchwatch", None)
    experiment.keep([*(args.output / name for name in written), *models.values()])
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
            experiments=args.experiments,
        )
        if found.code:
            console().print("Stopped. The same command goes on.")
            return found.code, {}
        if found.failure:
            console().print(f"{name}: {found.failure}", markup=False)
        trained[name] = found.checkpoint
    return 0, trained


def grouped(folder: Path, texts: Sequence[str]) -> dict[str, list[str]]:
    """Name of a group → manipulations of a set whose names have one of its words; `all` last.

    Raises:
        UsageError: a group is empty, or is called `all`.
    """
    words = {name: str(text).split(",") for name, text in _named(texts, "--groups").items()}
    rest = next((name for name, those in words.items() if those == ["*"]), None)
    kinds = sorted({v.manipulation for v in load_set(folder).videos() if v.manipulation})
    found: dict[str, list[str]] = {name: [] for name in words}
    for kind in kinds:
        named = [name for name, those in words.items() if any(word in kind for word in those)]
        if group := next(iter(named), rest):
            found[group].append(kind)
    if ALL in found or not all(found.values()):
        empty = ", ".join(name for name, those in found.items() if not those) or ALL
        raise UsageError(
            f"--groups: expected fakes in each, and none called {ALL}; found {empty}. The set has "
            f"{', '.join(kinds) or 'none that are named'}."
        )
    return {**found, ALL: [kind for those in found.values() for kind in those]}


def _train_groups(
    args: argparse.Namespace, path: Path, groups: Mapping[str, Sequence[str]]
) -> tuple[int, dict[str, Path]]:
    """A head for each group, on features that are computed once; exit code and checkpoints."""
    from training.config import load_config
    from training.probe import command
    from training.probe.config import ProbeConfig

    known = load_config(ProbeConfig, args.train, (), None).weights
    parser = argparse.ArgumentParser()
    command.add_arguments(parser)
    fakes = {v.folder: v.manipulation for v in load_set(path).videos("train") if v.manipulation}
    trained: dict[str, Path] = {}
    for name, kinds in groups.items():
        folder = args.output / MODELS / name
        trained[name] = folder / f"{name}{SUFFIX}"
        if trained[name].is_file():
            continue
        others = (source for source, kind in fakes.items() if kind not in kinds)
        weights = {**known, **dict.fromkeys(others, 0.0)}
        words = [args.train, "--data", path, "--output", folder, "--licence", args.licence]
        words += ["--features", args.output / command.FEATURES, "--workers", args.workers]
        words += ["--set", f"name={name}", f"weights={json.dumps(weights)}"]
        words += ["--resume"] * (folder / CONFIG).is_file()
        try:
            code = command.run(parser.parse_args([str(word) for word in words]))
        except ModelError as error:
            if not trained[name].is_file():
                raise
            console().print(f"{name}: {error}", markup=False)
        else:
            if code:
                return code, {}
    return 0, trained


def train_sets(sets: Mapping[str, FaceSet]) -> list[str]:
    """Which of `base`, `augment` and `both` can be learned from."""
    if not sets:
        raise UsageError("--train: expected sets named base, augment or both in --tests.")
    if "both" in sets or {"base", "augment"} <= sets.keys():
        return ["base", "augment", "both"]
    return list(sets)


def judge(
    args: argparse.Namespace,
    models: Mapping[str, Path],
    tests: Mapping[str, Path],
    groups: Mapping[str, Sequence[str]],
) -> Matrix:
    """Evaluate every model (name → checkpoint) on every set (name → folder).

    Of a set in `groups` the fakes of its manipulations alone count.
    """
    started, device = now(), Machine(args.device).torch_device()
    items = {name: _items(path, args.split) for name, path in tests.items()}
    for name, kinds in groups.items():
        items[name] = [item for item in items[name] if not item.label or item.manipulation in kinds]
    if not any(items.values()):
        raise SourceError(f"none of the sets has faces in its {args.split} videos.")
    opened = {name: load_any(path) for name, path in models.items()}
    facts = {name: _model_facts(name, models[name], card) for name, (_, card) in opened.items()}
    counted = tuple(set_facts(name, args.split, found) for name, found in items.items())
    with progress_bar() as progress:
        cells = [
            cell
            for name, (model, _) in opened.items()
            for cell in _cells(args, facts[name], model.to(device), items, progress)
        ]
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


def _model_facts(name: str, path: Path, card: Card) -> ModelFacts:
    return ModelFacts(
        name=name,
        file=path.name,
        sha256=sha256_of(path),
        architecture=card.architecture,
        size=parse_region(card.region).size or FACE_SIZE,
        calibration=card.calibration,
        trained_on=card.training.data,
    )


def _cells(
    args: argparse.Namespace,
    facts: ModelFacts,
    model: Model,
    items: Mapping[str, Sequence[FaceItem]],
    progress: Progress,
) -> Iterator[Cell]:
    """A model on every set that has faces; one that sets share, as kinds of fakes share the real
    ones, is judged once.
    """
    faces = list({item.path: item for found in items.values() for item in found}.values())
    places = {item.path: place for place, item in enumerate(faces)}
    task = progress.add_task(facts.name, total=len(faces), note="")
    logits = score_faces(
        model,
        faces,
        facts.size,
        batch=args.batch,
        workers=args.workers,
        on_faces=partial(progress.advance, task),
    )
    for test, found in items.items():
        if found:
            those = logits[[places[item.path] for item in found]]
            yield from cells_of(facts, test, found, those, args.seed)


def _items(path: Path, split: Split) -> list[FaceItem]:
    """The faces of a set, or of SET:WORD."""
    folder, word = str(path), ""
    if ":" in folder and not os.path.isdir(folder):  # Path.is_dir raises at very long names
        folder, _, word = folder.rpartition(":")
    found = load_set(Path(folder)).items(split)
    words = word.split(",")
    return [i for i in found if not i.label or any(w in (i.manipulation or "") for w in words)]
