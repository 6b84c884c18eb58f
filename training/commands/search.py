"""Search the settings of a face training: many trainings, each with other settings, the best kept.

CONFIG is a YAML file as configs/search/faces.yaml: a training's configuration, and what to try for
some of its keys. Trials are kept in a database, so that a search that was stopped or killed goes on
with the same command and loses nothing that was finished; what was running goes on from its last
checkpoint. Start the same command again for one more trial at a time, also on other machines: they
need the same --storage (PostgreSQL or MySQL) and an --output that they share. ${NAME} in --storage
is taken from the environment, which keeps a password out of the list of processes.

    patchwatch search configs/search/faces.yaml --base SET --augment SET --licence TEXT
    patchwatch search CONFIG --base SET --augment SET --licence TEXT --trials 40 \\
        --storage 'postgresql://user:${PASSWORD}@host/name' --study faces --output /shared/faces
    patchwatch search best -o best.safetensors     table of the trials; the best one's checkpoint

With MLflow installed every trial is a run there: `mlflow ui` shows curves and compares settings.

Exit codes: 0 done, 1 failed, 2 wrong usage, 128 + signal when stopped.
"""

from __future__ import annotations

import argparse
import math
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich import box
from rich.table import Table

from edge.config import checked, read_yaml
from edge.errors import ModelError, SourceError, UsageError, require
from edge.signals import Stopped, stop_signals
from edge.terminal import console, positive
from training.evaluation.material import results_console
from training.flags import SETS, add_flags
from training.settings import Machine

if TYPE_CHECKING:
    from optuna import Study
    from optuna.trial import FrozenTrial

BEST = "best"
STUDY = "faces"
STORAGE = "sqlite:///search.db"
INSTALL = "pip install 'patchwatch[search]'"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the flags."""
    add = parser.add_argument
    add("what", metavar=f"CONFIG|{BEST}", help="a YAML file to search with, or show the best trial")
    add(
        "--storage",
        default=STORAGE,
        metavar="URL",
        help=f"sqlite:///FILE, postgresql://… or mysql://… (default: {STORAGE})",
    )
    add("--study", metavar="NAME", help=f"(default: {STUDY}; of {BEST}: the only one)")
    add(
        "-o",
        "--output",
        type=Path,
        metavar="PATH",
        help=f"folder of the trials (default: runs/STUDY); of {BEST}: the checkpoint to write",
    )
    group = parser.add_argument_group("searching")
    add_flags(group, *SETS, "--licence", "--experiments", "--device", "--threads")
    add = group.add_argument
    add("--trials", type=positive, metavar="N", help="finished in all, in place of the file's")
    add("--loaders", type=int, default=1, metavar="N", help="processes that prepare faces (1)")


def run(args: argparse.Namespace) -> int:
    """Search, or show what was found.

    Returns:
        The exit code.

    Raises:
        UsageError: the flags or a configuration are wrong.
        MissingDependency: a library of the search is absent.
        SinkError: the storage or a file cannot be written.
    """
    require("optuna", "search", INSTALL)
    return _best(args) if args.what == BEST else _search(args)


def _search(args: argparse.Namespace) -> int:
    from training import search
    from training.faces.config import FacesConfig
    from training.faces.sets import load_set

    address = search.parse_address(args.storage)
    config = search.load_search_config(Path(args.what))
    sets = _named_sets(args)
    settings: Any = read_yaml(config.training)
    for corner in search.corners(config, settings):
        checked(FacesConfig, corner, f"{config.training} with a value of the space")
    if args.threads:
        import torch

        torch.set_num_threads(args.threads)
    name = args.study or STUDY
    digests = {f"{key} set": search.set_digest(load_set(path)) for key, path in sets.items()}
    started = {"training": settings, "space": config.space, **digests}
    output = args.output or Path("runs") / name
    machine = Machine(args.device, args.loaders)
    objective = search.Objective(
        settings, config.ranges(), sets, output, args.licence, machine, name, args.experiments
    )
    wanted = args.trials or config.trials

    def end_trial(study: Study, trial: FrozenTrial) -> None:
        _print_trial(trial)
        if search.is_done(study, wanted):
            study.stop()

    with search.open_storage(address, config) as storage:
        study = search.open_study(storage, name, config, started)
        before = [t for t in study.get_trials(deepcopy=False) if t.state.is_finished()]
        if before:
            console().print(f"{len(before)} trials were finished before.")
        try:
            if not search.is_done(study, wanted):
                with stop_signals():
                    study.optimize(
                        objective, callbacks=[end_trial], catch=(ModelError, RuntimeError)
                    )
        except Stopped as stopped:
            console().print("Stopped. The same command goes on; what was finished is kept.")
            return stopped.exit_code
        results_console().print(_table(study))
    return 0


def _named_sets(args: argparse.Namespace) -> dict[str, Path]:
    """The prepared sets that the flags name; UsageError without one, or without a licence."""
    named = {flag[2:]: getattr(args, flag[2:]) for flag in SETS}
    sets = {name: path for name, path in named.items() if path}
    if not sets:
        raise UsageError("expected --base SET, --augment SET or both of them; found neither.")
    if not args.licence:
        raise UsageError("a search writes cards: give --licence TEXT.")
    return sets


def _print_trial(trial: FrozenTrial) -> None:
    score = "" if trial.value is None else f", score {trial.value:.4f}"
    console().print(
        f"trial {trial.number}: {_state(trial)} after {len(trial.intermediate_values)} epochs"
        f"{score}",
        soft_wrap=True,
        markup=False,
    )


def _best(args: argparse.Namespace) -> int:
    import optuna

    from training.checkpoint import SUFFIX
    from training.search import CHECKPOINT, open_storage, parse_address

    target: Path | None = args.output
    if target is not None and target.suffix != SUFFIX:
        raise UsageError(f"--output: a checkpoint's name ends in {SUFFIX}; found {target}.")
    with open_storage(parse_address(args.storage)) as storage:
        names = sorted(optuna.get_all_study_names(storage))
        name = args.study or (names[0] if len(names) == 1 else None)
        if name not in names:
            there = ", ".join(names) or "none"
            raise UsageError(
                f"--study: expected one that is in the storage ({there}), found {name}."
            )
        study = optuna.load_study(study_name=name, storage=storage)
        results_console().print(_table(study))
        if not any(t.state.name == "COMPLETE" for t in study.get_trials(deepcopy=False)):
            raise UsageError(f"{name}: no trial was trained to its end so far.")
        best = study.best_trial
    found = Path(best.user_attrs[CHECKPOINT])
    files = {suffix: found.with_suffix(suffix) for suffix in (SUFFIX, ".json")}
    if not all(path.is_file() for path in files.values()):
        raise SourceError(
            f"trial {best.number}: expected its checkpoint at {found}, found none. "
            "Bring back the folder of the trials."
        )
    if target is not None:
        target.parent.mkdir(parents=True, exist_ok=True)
        for suffix, path in files.items():
            shutil.copyfile(path, target.with_suffix(suffix))
    results_console().print(str(target or found), soft_wrap=True)
    return 0


def _table(study: Study) -> Table:
    """All trials that ended, the best first."""
    from training.search import has_failed

    trials = study.get_trials(deepcopy=False)
    rows = [t for t in trials if t.state.is_finished() and (t.value is not None or has_failed(t))]
    rows.sort(key=lambda t: -math.inf if t.value is None else t.value, reverse=True)
    keys = sorted({key for t in rows for key in t.params})
    table = Table(title=f"study {study.study_name}", title_justify="left", box=box.SIMPLE_HEAD)
    for name in ("trial", "score", "epochs run", *keys, "state"):
        table.add_column(name, justify="left" if name == "state" else "right")
    for trial in rows:
        cells = [str(trial.number), "" if trial.value is None else f"{trial.value:.4f}"]
        cells += [str(len(trial.intermediate_values)), *(_cell(trial, key) for key in keys)]
        table.add_row(*cells, _state(trial))
    return table


def _cell(trial: FrozenTrial, key: str) -> str:
    value = trial.params.get(key)
    return f"{value:.4g}" if isinstance(value, float) else "none" if value is None else str(value)


def _state(trial: FrozenTrial) -> str:
    error = trial.user_attrs.get("error")
    return f"failed: {error}" if error else trial.state.name.lower()
