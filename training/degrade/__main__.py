"""Measure how many samples a second each degradation and the default policy give on one core.

DATA is a folder with pictures. A sample is a crop of SIZE px out of a picture in memory; decoding
the file is not counted.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import get_args

import numpy as np
from rich.console import Console
from rich.progress import track
from rich.table import Table

from edge.errors import UsageError
from edge.sources.images import read_image
from edge.terminal import console, positive
from edge.types import Image
from training.degrade.chain import Chain
from training.degrade.policy import Kind, Policy
from training.program import run_program

_PICTURES = 16
_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp"})


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the flags."""
    parser.add_argument(
        "--bench", type=Path, required=True, metavar="DATA", help="folder with pictures"
    )
    parser.add_argument(
        "--size", type=positive, default=128, metavar="PX", help="side of a crop (%(default)s)"
    )
    parser.add_argument(
        "--seconds", type=float, default=1.0, metavar="S", help="for each row (%(default)s)"
    )


def run(args: argparse.Namespace) -> int:
    """Measure and print a table on stdout."""
    pictures = _pictures(args.bench)
    policy = Policy()
    draws: dict[str, Callable[[np.random.Generator], Chain]] = {
        kind: partial(_alone, policy, kind) for kind in get_args(Kind)
    }
    draws["the policy"] = policy.draw
    table = Table("Degradation", "Samples per second")
    for name in track(draws, "measuring", console=console(), transient=True):
        table.add_row(name, f"{samples_per_s(pictures, draws[name], args.size, args.seconds):.0f}")
    Console(highlight=False).print(table)
    return 0


def samples_per_s(
    pictures: list[Image],
    draw: Callable[[np.random.Generator], Chain],
    size: int,
    seconds: float,
) -> float:
    """Draw and apply chains for so long, with the same draws each time."""
    rng = np.random.default_rng(0)
    draw(rng).crop(pictures[0], size)
    done, start = 0, time.perf_counter()
    while (spent := time.perf_counter() - start) < seconds or not done:
        at = float(rng.random()), float(rng.random())
        draw(rng).crop(pictures[done % len(pictures)], size, at)
        done += 1
    return done / spent


def _alone(policy: Policy, kind: Kind, rng: np.random.Generator) -> Chain:
    return Chain(steps=(policy.step(kind, rng),))


def _pictures(folder: Path) -> list[Image]:
    files = sorted(p for p in folder.rglob("*") if p.suffix.lower() in _SUFFIXES)
    if not files:
        raise UsageError(f"{folder}: expected a folder with pictures, found none.")
    step = max(len(files) // _PICTURES, 1)
    return [read_image(path) for path in files[::step][:_PICTURES]]


if __name__ == "__main__":
    sys.exit(run_program("training.degrade", __doc__, add_arguments, run))
