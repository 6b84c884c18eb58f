"""Search the settings of a face training: many trainings, each with other settings, the best kept.

CONFIG is a YAML file as configs/search/faces.yaml: a training's configuration, and what to try for
some of its keys. Trials are kept in a database, so that a search that was stopped or killed goes on
with the same command and loses nothing that was finished; what was under way is trained on from its
last saved state, or anew on another machine. Give several machines the same --storage (PostgreSQL
or MySQL) and an --output that they share. ${NAME} in --storage is taken from the environment, which
keeps a password out of the list of processes.

    patchwatch search configs/search/faces.yaml --base SET --augment SET --licence TEXT
    patchwatch search CONFIG --base SET --augment SET --licence TEXT --trials 40 --workers 2 \\
        --storage 'postgresql://user:${PASSWORD}@host/name' --study faces --output /shared/faces
    patchwatch search best -o best.safetensors     table of the trials; the best one's checkpoint
    patchwatch search dashboard                    curves, parallel coordinates, files: in a browser

Exit codes: 0 done, 1 failed, 2 wrong usage, 128 + signal when stopped.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich import box
from rich.table import Table

from edge.config import checked, read_yaml
from edge.errors import SourceError, UsageError
from edge.terminal import console, positive
from training.evaluation.options import results_console
from training.faces.dashboard import serve
from training.faces.sets import FaceSet, load_set
from training.faces.space import SearchConfig, corners, load_search_config, shown
from training.faces.storage import (
    DEFAULT,
    FOLDER,
    Address,
    Artifacts,
    begin_study,
    find_study,
    open_storage,
    parse_address,
    require_optuna,
    storage_errors,
)
from training.settings import DEVICES, Machine

if TYPE_CHECKING:
    from optuna import Study
    from optuna.storages import RDBStorage
    from optuna.trial import FrozenTrial

    from training.faces.trials import Search, Train

BEST, DASHBOARD = "best", "dashboard"
STUDY = "faces"
SETS = ("base", "augment", "both")
PORT = 8080


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the flags."""
    parser.add_argument(
        "what",
        metavar=f"CONFIG|{BEST}|{DASHBOARD}",
        help="a YAML file to search with, or what to do with a search",
    )
    parser.add_argument(
        "--storage",
        default=DEFAULT,
        metavar="URL",
        help=f"sqlite:///FILE, postgresql://… or mysql://… (default: {DEFAULT})",
    )
    parser.add_argument(
        "--study",
        metavar="NAME",
        help=f"(default: {STUDY}; of {BEST} and {DASHBOARD}: the only one)",
    )
    _add_search_arguments(parser)
    group = parser.add_argument_group(f"{BEST} and {DASHBOARD}")
    group.add_argument(
        "--artifacts", type=Path, metavar="DIR", help="where they lie, if they were moved"
    )
    group.add_argument("--host", default="127.0.0.1", help="to answer at (default: %(default)s)")
    group.add_argument(
        "--port", type=int, default=PORT, metavar="N", help="0: any (default: %(default)s)"
    )


def _add_search_arguments(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("searching")
    for name in SETS:
        group.add_argument(f"--{name}", type=Path, metavar="SET", help="a prepared set")
    group.add_argument(
        "--trials", type=positive, metavar="N", help="finished ones in all, in place of the file's"
    )
    group.add_argument(
        "--workers", type=positive, default=1, metavar="N", help="trials at once (default: 1)"
    )
    group.add_argument(
        "--threads", type=positive, metavar="N", help="of each worker (default: cores by workers)"
    )
    group.add_argument("--licence", metavar="TEXT", help="of the weights, for the cards")
    group.add_argument(
        "--device", choices=DEVICES, default="auto", help="auto (default): a GPU if there is one"
    )
    group.add_argument(
        "--loaders",
        type=int,
        default=1,
        metavar="N",
        help="processes of each worker that prepare faces; 0 for none (default: 1)",
    )
    parser.add_argument(
        "-o",
        "--output",
        type=Path,
        metavar="PATH",
        help=f"folder of the trials (default: runs/STUDY); of {BEST}: the checkpoint to write",
    )


def run(args: argparse.Namespace) -> int:
    """Search, or show what was found.

    Returns:
        The exit code.

    Raises:
        UsageError: the flags or a configuration are wrong.
        MissingDependency: a library of the search is absent.
        SinkError: the storage or a file cannot be written.
    """
    require_optuna()
    address = parse_address(args.storage)
    if args.what == BEST:
        return _best(args, address)
    if args.what == DASHBOARD:
        return _dashboard(args, address)
    from training.faces.trials import train_trial

    return search(args, address, train_trial)


def search(args: argparse.Namespace, address: Address, train: Train) -> int:
    """Search with any training.

    Args:
        args: the flags of `add_arguments`.
        address: of the storage.
        train: does one training; handed to other processes, hence a module's own function.
    """
    from training.faces.search_workers import run_workers

    asked = _asked(args, address, train)
    with open_storage(address, asked.config) as storage:
        with storage_errors(address):
            study = begin_study(storage, asked.study, _begun(asked), asked.artifacts)
        code = run_workers(asked, study, args.workers, console())
        if not code:
            results_console().print(_table(study))
    return code


def _asked(args: argparse.Namespace, address: Address, train: Train) -> Search:
    from training.faces.trials import Search

    config = load_search_config(Path(args.what))
    if args.trials:
        config = config.model_copy(update={"trials": args.trials})
    sets = {name: getattr(args, name) for name in SETS if getattr(args, name)}
    if not sets:
        raise UsageError("expected --base SET, --augment SET or both of them; found neither.")
    if not args.licence:
        raise UsageError("a search writes cards: give --licence TEXT.")
    settings = read_yaml(config.training)
    if not isinstance(settings, dict):
        raise UsageError(f"{config.training}: expected keys and values.")
    _require_legal(config, settings)
    study = args.study or STUDY
    return Search(
        address=address,
        study=study,
        config=config,
        settings=settings,
        sets=sets,
        output=args.output or Path("runs") / study,
        train=train,
        licence=args.licence,
        machine=Machine(args.device, args.loaders),
        cores=args.threads or max(1, (os.cpu_count() or 1) // args.workers),
    )


def _require_legal(config: SearchConfig, settings: dict[str, Any]) -> None:
    from training.faces.config import FacesConfig

    for corner in corners(config, settings):
        checked(FacesConfig, corner, f"{config.training} with a value of the space")


def _begun(asked: Search) -> dict[str, Any]:
    return {
        "training": asked.settings,
        "space": asked.config.model_dump(mode="json")["space"],
        **{f"{name} set": set_digest(load_set(path)) for name, path in asked.sets.items()},
    }


def set_digest(prepared: FaceSet) -> str:
    """A hash of which videos a set holds, how they are split and cut, wherever it lies."""
    manifest = prepared.manifest
    rows = sorted((v.sha256, v.split, v.label, v.faces) for v in manifest.videos)
    cuts = [(s.detector_key, s.crop_scale, s.size, s.fps) for s in manifest.stores]
    return hashlib.sha256(json.dumps([rows, cuts]).encode()).hexdigest()


def _dashboard(args: argparse.Namespace, address: Address) -> int:
    with open_storage(address) as storage:
        with storage_errors(address):
            folders = _folders(args, storage)
        return serve(storage, Artifacts(folders), args.host, args.port, console())


def _folders(args: argparse.Namespace, storage: RDBStorage) -> list[Path]:
    import optuna

    if args.artifacts:
        return [args.artifacts]
    if args.study:
        return [_folder(args, find_study(storage, args.study))]
    studies = optuna.get_all_study_summaries(storage, include_best_trial=False)
    if not studies:
        raise UsageError("--storage: expected a search, found none in it.")
    return [Path(s.user_attrs.get(FOLDER, ".")) for s in studies]


def _folder(args: argparse.Namespace, study: Study) -> Path:
    return Path(args.artifacts or study.user_attrs.get(FOLDER, "."))


def _best(args: argparse.Namespace, address: Address) -> int:
    with open_storage(address) as storage, storage_errors(address):
        study = find_study(storage, args.study)
        results_console().print(_table(study))
        trial = _best_trial(study)
        _export(args, study, trial)
    return 0


def _best_trial(study: Study) -> FrozenTrial:
    from optuna.trial import TrialState

    if not study.get_trials(deepcopy=False, states=[TrialState.COMPLETE]):
        raise UsageError(f"{study.study_name}: no trial was trained to its end so far.")
    return study.best_trial


def _export(args: argparse.Namespace, study: Study, trial: FrozenTrial) -> None:
    from training.checkpoint import SUFFIX

    target: Path | None = args.output
    if target is not None and target.suffix != SUFFIX:
        raise UsageError(f"--output: a checkpoint's name ends in {SUFFIX}; found {target}.")
    files = _kept(study, trial, _folder(args, study))
    if not {SUFFIX, ".json"} <= files.keys():
        raise SourceError(
            f"trial {trial.number}: expected its checkpoint in {_folder(args, study)}, found none. "
            "Name the folder: --artifacts."
        )
    if target is None:
        target = Path(trial.user_attrs["checkpoint"])
        if not target.is_file():
            console().print("Write the best checkpoint to a file of yours: -o FILE.safetensors")
            target = files[SUFFIX]
    else:
        target.parent.mkdir(parents=True, exist_ok=True)
        for suffix in (SUFFIX, ".json"):
            shutil.copyfile(files[suffix], target.with_suffix(suffix))
    results_console().print(str(target), soft_wrap=True)


def _kept(study: Study, trial: FrozenTrial, folder: Path) -> dict[str, Path]:
    """Suffix → where the store keeps the file, of the files that are there."""
    from optuna.artifacts import get_all_artifact_meta

    found = get_all_artifact_meta(trial, storage=study._storage)
    paths = {Path(meta.filename).suffix: folder / meta.artifact_id for meta in found}
    return {suffix: path for suffix, path in paths.items() if path.is_file()}


def _table(study: Study) -> Table:
    """All trials that ended, the best first."""
    from training.faces.trials import has_failed

    ended = [t for t in study.get_trials(deepcopy=False) if t.state.is_finished()]
    rows = [t for t in ended if t.value is not None or has_failed(t)]
    rows.sort(key=lambda t: -float("inf") if t.value is None else t.value, reverse=True)
    keys = sorted({key for t in rows for key in t.params})
    table = Table(title=f"study {study.study_name}", title_justify="left", box=box.SIMPLE_HEAD)
    for name in ("trial", "score", "epochs run", *keys, "state"):
        table.add_column(name, justify="left" if name == "state" else "right")
    for trial in rows:
        cells = [str(trial.number), "" if trial.value is None else f"{trial.value:.4f}"]
        cells += [str(len(trial.intermediate_values)), *(shown(trial.params.get(k)) for k in keys)]
        table.add_row(*cells, _state(trial))
    return table


def _state(trial: FrozenTrial) -> str:
    error = trial.user_attrs.get("error")
    return f"failed: {error}" if error else trial.state.name.lower()
