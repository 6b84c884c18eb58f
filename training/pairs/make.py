"""Reconstruct photographs through decoders, and keep both sides of each pair without loss.

Only DATA/0_real is read. Of each photograph a region is taken as it is, never resized, so that the
pair differs in nothing but the decoder's traces. A run that was stopped goes on with the same
command; further decoders and photographs can be added to a folder that is there. Each decoder is
tried on a few photographs first: one that blurs would teach a detector only blur.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console
from rich.table import Table

from edge.errors import SourceError, UsageError
from edge.schema import code_commit
from edge.signals import Stopped, stop_signals, uninterrupted
from edge.sources.images import read_image
from edge.terminal import console, positive
from edge.types import Image
from training.data.folders import Picture, Rejected
from training.pairs.folder import MANIFEST, DecoderFigures, Manifest, PairWriter, read_manifest
from training.pairs.photographs import describe, evenly, find_photographs, identity, region
from training.pairs.quality import hf_ratio, psnr_db
from training.pairs.reconstructors import KINDS, Reconstructor, open_reconstructors
from training.progress import print_rejected, progress_bar

TRIED_ON = 8
_LONGEST_STEM = 80


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the flags."""
    parser.add_argument(
        "data", type=Path, metavar="DATA", help="folder with 0_real/<source>/…; fakes are not read"
    )
    parser.add_argument("decoders", type=Path, nargs="+", metavar="DECODER", help=KINDS)
    parser.add_argument(
        "--output", type=Path, required=True, metavar="PAIRS", help="folder for the pairs"
    )
    parser.add_argument(
        "--size", type=positive, default=256, metavar="PX", help="largest side (default: 256)"
    )
    parser.add_argument(
        "--limit", type=positive, metavar="N", help="photographs at most, evenly over sources"
    )
    parser.add_argument(
        "--min-psnr",
        type=float,
        default=30.0,
        metavar="DB",
        help="of a decoder at least (default: 30)",
    )
    parser.add_argument(
        "--min-hf",
        type=float,
        default=0.0,
        metavar="RATIO",
        help="least high-frequency energy that a decoder keeps, 1 for all of it (default: 0)",
    )
    parser.add_argument(
        "--keep-low", action="store_true", help="take decoders below these too, with a warning"
    )
    parser.add_argument(
        "--seed", type=int, default=0, metavar="N", help="of the regions' places (default: 0)"
    )
    parser.add_argument(
        "--threads", type=positive, metavar="N", help="threads of torch (default: all cores)"
    )


def run(args: argparse.Namespace) -> int:
    """Make what is missing; the exit code is 0, or 128 + signal when stopped before.

    Raises:
        UsageError: a decoder is not known or too weak, or the folder was made otherwise.
        SourceError: there is no photograph to use.
        ModelError: a decoder cannot be used.
        SinkError: the folder cannot be written to.
    """
    out = console()
    if args.seed < 0:
        raise UsageError(f"--seed {args.seed}: expected 0 or more.")
    if args.threads:
        torch.set_num_threads(args.threads)
    pictures = find_photographs(args.data)
    decoders = open_reconstructors(args.decoders)
    manifest = _manifest(args, pictures, decoders)
    job = _Job(args.data, evenly(pictures, args.limit), decoders, manifest, out)
    try:
        with stop_signals():
            _require_good(job, args)
            writer = PairWriter(args.output, manifest)
            rejected = _make(job, writer)
    except Stopped as stopped:
        out.print("Stopped. The same command goes on from here.")
        return stopped.exit_code
    print_rejected(out, rejected)
    figures = _figures(list(writer.done.values()), manifest)
    if not figures:
        raise SourceError(f"{args.data} has no photograph that could be reconstructed.")
    writer.write_manifest(manifest.model_copy(update={"decoders": figures, "complete": True}))
    table = Table("Decoder", "Pairs", "PSNR (mean)", "High frequencies (median)")
    for name, one in figures.items():
        table.add_row(name, str(one.pairs), f"{one.psnr_db:.2f} dB", f"×{one.hf_ratio:.2f}")
    out.print(table)
    return 0


@dataclass(frozen=True, slots=True)
class _Job:
    """What is to be made."""

    data: Path
    pictures: Sequence[Picture]
    decoders: Sequence[Reconstructor]
    manifest: Manifest
    out: Console

    def region_of(self, picture: Picture) -> Image:
        """The part of a photograph that is reconstructed; a SourceError where there is none."""
        rng = np.random.default_rng((self.manifest.seed, int(identity(picture, self.data), 16)))
        image = read_image(picture.path)
        return region(image, self.manifest.size, self.manifest.multiple, rng)


def _make(job: _Job, writer: PairWriter) -> list[Rejected]:
    rejected: list[Rejected] = []
    with progress_bar(job.out) as progress:
        task = progress.add_task("reconstructing", total=len(job.pictures), note="")
        for picture in job.pictures:
            try:
                _make_one(job, writer, picture)
            except SourceError as error:
                rejected.append(Rejected(picture.path, f"{picture.path.name}: {error}"))
            progress.advance(task)
    return rejected


def _make_one(job: _Job, writer: PairWriter, picture: Picture) -> None:
    # The file's own name, and what tells it from others of that name.
    stem = f"{picture.path.stem[:_LONGEST_STEM]}-{identity(picture, job.data)}"
    real = None
    for decoder in job.decoders:
        names = writer.names(picture.source, stem, decoder.name)
        if names[1] not in writer.done:
            real = job.region_of(picture) if real is None else real
            again = decoder(real)
            figures = {"decoder": decoder.name, "source": picture.source, **_measured(real, again)}
            with uninterrupted():
                writer.add(names, (real, again), figures)


def _measured(real: Image, again: Image) -> dict[str, float]:
    return {
        "psnr_db": round(psnr_db(real, again), 3),
        "hf_ratio": round(hf_ratio(real, again), 4),
    }


def _require_good(job: _Job, args: argparse.Namespace) -> None:
    """Try each decoder before any of them fills a disk."""
    tried = list(_regions_to_try(job))
    low = []
    for decoder in job.decoders:
        found = [_measured(real, decoder(real)) for real in tried]
        psnr = float(np.mean([one["psnr_db"] for one in found]))
        ratio = float(np.median([one["hf_ratio"] for one in found]))
        if psnr < args.min_psnr or ratio < args.min_hf:
            low.append(f"{decoder.name} ({psnr:.1f} dB, high frequencies ×{ratio:.2f})")
    if not low:
        return
    text = (
        f"expected decoders of at least {args.min_psnr:g} dB and ×{args.min_hf:g} of the high "
        f"frequencies, found {', '.join(low)} on {len(tried)} photographs"
    )
    if not args.keep_low:
        raise UsageError(f"{text}. Leave these out, lower --min-psnr or --min-hf, or --keep-low.")
    job.out.print(f"Warning: {text}.")


def _regions_to_try(job: _Job) -> Iterator[Image]:
    found = 0
    for picture in evenly(job.pictures, TRIED_ON * 4):
        try:
            real = job.region_of(picture)
        except SourceError:
            continue  # listed when its turn comes
        yield real
        found += 1
        if found == TRIED_ON:
            return
    if not found:
        raise SourceError(
            f"{job.data}: none of the first photographs could be read, or they are smaller than "
            f"{job.manifest.multiple}×{job.manifest.multiple} pixels."
        )


def _manifest(
    args: argparse.Namespace, pictures: Sequence[Picture], decoders: Sequence[Reconstructor]
) -> Manifest:
    multiple = math.lcm(*(decoder.factor for decoder in decoders))
    before = read_manifest(args.output) if (args.output / MANIFEST).exists() else None
    if before is not None:
        _require_same(args, before, multiple, decoders)
        multiple = before.multiple
    if multiple > args.size:
        raise UsageError(
            f"--size {args.size}: these decoders together need sides that are multiples of "
            f"{multiple}. Give a larger size, or make folders of their own."
        )
    return Manifest(
        photographs=f"{args.data.name}: {describe(evenly(pictures, args.limit))}",
        size=args.size,
        multiple=multiple,
        seed=args.seed,
        limit=args.limit,
        commit=code_commit(),
        decoders={
            **(before.decoders if before else {}),
            **{d.name: DecoderFigures(made_by=d.made_by) for d in decoders},
        },
    )


def _require_same(
    args: argparse.Namespace, before: Manifest, multiple: int, decoders: Sequence[Reconstructor]
) -> None:
    for key in ("size", "seed"):
        if getattr(args, key) != getattr(before, key):
            raise UsageError(
                f"{args.output} was made with --{key} {getattr(before, key)}, found "
                f"{getattr(args, key)}. Give the same, or name a new folder."
            )
    if before.multiple % multiple:
        raise UsageError(
            f"{args.output} has regions with sides of multiples of {before.multiple}, and these "
            f"decoders need {multiple}. Name a new folder."
        )
    for decoder in decoders:
        known = before.decoders.get(decoder.name)
        if known is not None and known.made_by != decoder.made_by:
            raise UsageError(
                f"{args.output} has pairs of another {decoder.name} ({known.made_by}; found "
                f"{decoder.made_by}). Rename the decoder's file, or name a new folder."
            )


def _figures(lines: Sequence[dict[str, Any]], manifest: Manifest) -> dict[str, DecoderFigures]:
    found = {}
    for name, before in sorted(manifest.decoders.items()):
        own = [line for line in lines if line["decoder"] == name]
        if own:
            found[name] = DecoderFigures(
                pairs=len(own),
                psnr_db=round(float(np.mean([line["psnr_db"] for line in own])), 3),
                hf_ratio=round(float(np.median([line["hf_ratio"] for line in own])), 4),
                made_by=before.made_by,
            )
    return found
