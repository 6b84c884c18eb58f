"""Train small autoencoders on the photographs of a labelled folder, to make pairs with.

DIR gets NAME.safetensors and NAME.json (PSNR and sharpness on photographs that were held out)
for each. While one is trained, NAME.state.safetensors is saved every --save-every seconds and at
every stop: the same command goes on from there, and passes over those that are finished.
"""

from __future__ import annotations

import argparse
import json
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import torch
from pydantic import ValidationError
from rich.console import Console
from rich.progress import Progress

from edge.errors import ConfigError, UsageError
from edge.files import written_whole
from edge.schema import code_commit
from edge.signals import Stopped, stop_signals, uninterrupted
from edge.terminal import console, positive
from training.checkpoint import SUFFIX, card_path
from training.loop import progress_bar
from training.pairs.autoencoders import SPECS
from training.pairs.decoder_file import DecoderCard, save_decoder
from training.pairs.fit import Fit, FitSettings, judge
from training.pairs.photographs import Pool, describe, evenly, find_photographs, read_pool

SETTINGS = "settings.json"
ALL = "all"
SHOWN_REJECTED = 5
GLANCES, GLANCED_AT = 10, 4
"""How often a training tells where it is, and on how many held-out photographs."""


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
    parser.add_argument(
        "--steps", type=positive, default=4000, metavar="N", help="for each at most (default: 4000)"
    )
    parser.add_argument("--minutes", type=float, metavar="M", help="for each at most")
    parser.add_argument(
        "--crop", type=positive, default=64, metavar="PX", help="side of a crop (default: 64)"
    )
    parser.add_argument(
        "--batch", type=positive, default=8, metavar="N", help="crops in a step (default: 8)"
    )
    parser.add_argument(
        "--rate",
        type=float,
        default=2.5e-3,
        metavar="R",
        help="first learning rate of Adam (default: 0.0025)",
    )
    parser.add_argument(
        "--photographs",
        type=positive,
        default=1500,
        metavar="N",
        help="held in memory at most, evenly over sources (default: 1500)",
    )
    parser.add_argument(
        "--seed", type=int, default=0, metavar="N", help="of all that is random (default: 0)"
    )
    parser.add_argument(
        "--save-every",
        type=float,
        default=60.0,
        metavar="S",
        help="seconds between saved states: what a lost machine costs at most (default: 60)",
    )
    parser.add_argument(
        "--threads", type=positive, metavar="N", help="threads of torch (default: all cores)"
    )


@dataclass(frozen=True, slots=True)
class Work:
    """What the trainings of one folder have in common."""

    folder: Path
    settings: FitSettings
    pool: Pool
    photographs: str
    save_every_s: float
    out: Console


def run(args: argparse.Namespace) -> int:
    """Train those that are not finished yet.

    Returns:
        The exit code: 0 all are finished, 128 + signal when stopped before.

    Raises:
        UsageError: a flag or a name is wrong, or the folder was begun with other settings.
        SourceError: the photographs cannot be had.
        ModelError: a saved state is broken, or a training fails.
        SinkError: the folder cannot be written to.
    """
    out, names, settings = console(), _names(args.specs), _settings(args)
    pictures = find_photographs(args.data)
    _begin(args.output, settings)
    waiting = [name for name in names if not card_path(_weights(args.output, name)).exists()]
    for name in sorted(set(names) - set(waiting)):
        out.print(f"{name} is finished already.")
    if not waiting:
        return 0
    if args.threads:
        torch.set_num_threads(args.threads)
    chosen = evenly(pictures, settings.photographs)
    try:
        with progress_bar(out) as progress, stop_signals():
            task = progress.add_task("reading photographs", total=len(chosen), note="")
            pool = read_pool(
                args.data, chosen, settings.crop, settings.seed, lambda: progress.advance(task)
            )
            _tell_rejected(pool, out)
            work = Work(args.output, settings, pool, describe(chosen), args.save_every, out)
            for place, name in enumerate(waiting, 1):
                _train(name, f"{name} ({place} of {len(waiting)})", work, progress)
    except Stopped as stopped:
        out.print("Stopped. The same command goes on from here.")
        return stopped.exit_code
    return 0


def _train(name: str, title: str, work: Work, progress: Progress) -> None:
    state = work.folder / f"{name}.state{SUFFIX}"
    fit = Fit(SPECS[name], work.settings, work.pool)
    if state.exists():
        fit.restore(state)
    try:
        _advance(fit, title, state, work, progress)
        _finish(name, fit, work)
    except Stopped:
        progress.stop()
        fit.save(state)
        raise
    with suppress(OSError):
        state.unlink()


def _advance(fit: Fit, title: str, state: Path, work: Work, progress: Progress) -> None:
    task = progress.add_task(title, total=work.settings.steps, completed=fit.step, note="")
    saved_at = time.monotonic()
    while fit.done < 1:
        glance = int(fit.done * GLANCES)
        with uninterrupted():
            loss = fit.advance()
        total = max(round(fit.step / fit.done), fit.step)  # fewer steps where minutes end it
        progress.update(task, completed=fit.step, total=total, note=f"loss {loss:.4f}")
        if int(fit.done * GLANCES) > glance:
            _glance(fit, work)
        if time.monotonic() - saved_at >= work.save_every_s:
            with uninterrupted():
                fit.save(state)
            saved_at = time.monotonic()
    progress.remove_task(task)


def _glance(fit: Fit, work: Work) -> None:
    psnr, ratio = judge(fit.model, work.pool.held_out[:GLANCED_AT])
    work.out.print(
        f"  step {fit.step}, {fit.seconds:.0f} s: loss {fit.take_mean_loss():.4f}, {psnr:.2f} dB, "
        f"high frequencies ×{ratio:.2f}"
    )


def _finish(name: str, fit: Fit, work: Work) -> None:
    settings, pool = work.settings, work.pool
    psnr, ratio = judge(fit.model, pool.held_out)
    card = DecoderCard(
        name=name,
        spec=SPECS[name],
        psnr_db=round(psnr, 3),
        hf_ratio=round(ratio, 4),
        held_out=len(pool.held_out),
        photographs=work.photographs,
        steps=fit.step,
        seconds=round(fit.seconds, 1),
        crop=settings.crop,
        batch=settings.batch,
        seed=settings.seed,
        commit=code_commit(),
    )
    save_decoder(_weights(work.folder, name), fit.model, card)
    work.out.print(
        f"{name}: {psnr:.2f} dB on {len(pool.held_out)} held-out photographs, high frequencies "
        f"×{ratio:.2f}, after {fit.step} steps in {fit.seconds:.0f} s"
    )


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


def _settings(args: argparse.Namespace) -> FitSettings:
    values = {name: getattr(args, name) for name in FitSettings.model_fields}
    try:
        return FitSettings.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        raise UsageError(f"--{first['loc'][0]}: found {first['input']}. {first['msg']}.") from error


def _begin(folder: Path, settings: FitSettings) -> None:
    path = folder / SETTINGS
    if not path.exists():
        with written_whole(path, (settings.model_dump_json(indent=2) + "\n").encode()):
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
                f"{folder} was begun with --{key} {before.get(key)}, found {value}. Give the same, "
                "or name a new folder."
            )


def _tell_rejected(pool: Pool, out: Console) -> None:
    out.print(
        f"{len(pool.learned)} photographs to learn from, {len(pool.held_out)} held out, "
        f"{len(pool.rejected)} left out"
    )
    for one in pool.rejected[:SHOWN_REJECTED]:
        out.print(f"  {one.reason}")
