"""Reconstruct photographs through decoders, and keep both sides of each pair without loss.

Only DATA/0_real is read. Of each photograph a region is taken as it is, never resized, so that the
pair differs in nothing but the decoder's traces. A run that was stopped goes on with the same
command; further decoders and photographs can be added to a folder that is there. Each decoder is
tried on a few photographs first: one that blurs would teach a detector only blur.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from rich.console import Console
from rich.table import Table

from edge.errors import UsageError
from edge.files import sha256_of, write_whole
from edge.labels import add_label_folders
from edge.schema import code_commit
from edge.signals import Stopped, stop_signals, uninterrupted
from edge.terminal import console, positive
from edge.types import Image
from training.checkpoint import SUFFIX
from training.data.folders import Picture, identity
from training.flags import add_flags
from training.pairs.autoencoders import Autoencoder, load_decoder, quality, reconstruct
from training.pairs.folder import MANIFEST, DecoderFigures, Manifest, PairWriter, read_manifest
from training.pairs.photographs import find_photographs, region
from training.progress import progress_bar
from training.validation import limited

TRIED_ON = 8
_LONGEST_STEM = 80


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the flags."""
    add = parser.add_argument
    add("data", type=Path, metavar="DATA", help="folder with 0_real/<source>/…; fakes are not read")
    add_label_folders(parser)
    add(
        "decoders",
        type=Path,
        nargs="+",
        metavar="DECODER",
        help=f"NAME{SUFFIX} or a folder of such from `patchwatch pairs train`",
    )
    add("--output", type=Path, required=True, metavar="PAIRS", help="folder for the pairs")
    add("--size", type=positive, default=256, metavar="PX", help="largest side (default: 256)")
    add("--limit", type=positive, metavar="N", help="photographs of each source at most")
    add(
        "--min-psnr",
        type=float,
        default=30.0,
        metavar="DB",
        help="least of a decoder (default: 30)",
    )
    add(
        "--min-hf",
        type=float,
        default=0.0,
        metavar="RATIO",
        help="least high-frequency energy that a decoder keeps, 1 for all of it (default: 0)",
    )
    add("--keep-low", action="store_true", help="take decoders below these too, with a warning")
    add("--seed", type=int, default=0, metavar="N", help="of the regions' places (default: 0)")
    add_flags(parser, "--threads")


class Decoder(NamedTuple):
    """An autoencoder of `pairs train`; `made_by` is its file, for the manifest."""

    model: Autoencoder
    name: str
    made_by: str


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
    decoders = open_decoders(args.decoders)
    manifest = _manifest(args, decoders)
    known = manifest.decoders
    found = find_photographs(args.data, manifest.multiple, out, args.label_folders)
    pictures = limited(found, args.limit)
    text = f"{args.data.name}: {len(pictures)} photographs"
    manifest = manifest.model_copy(update={"photographs": text})
    try:
        with stop_signals():
            _require_good(args, manifest, pictures, decoders, out)
            write_whole(args.output / MANIFEST, manifest.model_dump_json(indent=2) + "\n")
            writer = PairWriter(args.output)
            with progress_bar(out) as progress:
                task = progress.add_task("reconstructing", total=len(pictures), note="")
                for picture in pictures:
                    _make(args.data, manifest, writer, picture, decoders)
                    progress.advance(task)
    except Stopped as stopped:
        out.print("Stopped. The same command goes on from here.")
        return stopped.exit_code
    lines = {name: [x for x in writer.done.values() if x["decoder"] == name] for name in known}
    figures = {name: _figures(own, known[name]) for name, own in sorted(lines.items()) if own}
    whole = manifest.model_copy(update={"decoders": figures, "complete": True})
    write_whole(args.output / MANIFEST, whole.model_dump_json(indent=2) + "\n")
    table = Table("Decoder", "Pairs", "PSNR (mean)", "High frequencies (median)")
    for name, one in figures.items():
        table.add_row(name, str(one.pairs), f"{one.psnr_db:.2f} dB", f"×{one.hf_ratio:.2f}")
    out.print(table)
    return 0


def open_decoders(paths: Sequence[Path]) -> list[Decoder]:
    """Open every file that is named, or lies in a folder that is.

    Raises:
        UsageError: a file is missing or none of `pairs train`, or two have one name.
        ModelError: one cannot be used.
    """
    files = []
    for path in paths:
        inside = [p for p in sorted(path.glob(f"*{SUFFIX}")) if p.with_suffix(".json").exists()]
        own = inside if path.is_dir() else [path]
        if not own or not path.exists() or own[0].suffix != SUFFIX:
            raise UsageError(
                f"{path}: expected NAME{SUFFIX} with its card NAME.json, as `patchwatch pairs "
                "train` writes it, or a folder of such; found neither. Other decoders (ONNX, ncnn, "
                "published tiny autoencoders) are no longer taken."
            )
        files += own
    found: dict[str, Decoder] = {}
    for file in files:
        model, card = load_decoder(file)
        if card.name in found:
            raise UsageError(
                f"{file} is called {card.name} like another decoder, and pairs are kept by that "
                "name. Leave one of them out."
            )
        digest = sha256_of(file)[:8]
        made_by = f"patchwatch autoencoder {file.name} {digest}, {card.steps} steps"
        found[card.name] = Decoder(model, card.name, made_by)
    return list(found.values())


def _make(
    data: Path,
    manifest: Manifest,
    writer: PairWriter,
    picture: Picture,
    decoders: Sequence[Decoder],
) -> None:
    # The file's own name, and what tells it from others of that name.
    stem = f"{picture.path.stem[:_LONGEST_STEM]}-{identity(picture, data)}"
    real: Image | None = None
    for decoder in decoders:
        names = writer.names(picture.source, stem, decoder.name)
        if names[1] in writer.done:
            continue
        if real is None:
            real = region(picture, data, manifest.size, manifest.multiple, manifest.seed)
        again = reconstruct(decoder.model, real)
        psnr, ratio = quality(real, again)
        figures = {"psnr_db": round(psnr, 3), "hf_ratio": round(ratio, 4)}
        with uninterrupted():
            writer.add(
                names,
                (real, again),
                {"decoder": decoder.name, "source": picture.source, **figures},
            )


def _require_good(
    args: argparse.Namespace,
    manifest: Manifest,
    pictures: Sequence[Picture],
    decoders: Sequence[Decoder],
    out: Console,
) -> None:
    """Try each decoder before any of them fills a disk."""
    step = max(len(pictures) // TRIED_ON, 1)
    tried = [
        region(picture, args.data, manifest.size, manifest.multiple, manifest.seed)
        for picture in pictures[::step][:TRIED_ON]
    ]
    low = []
    for decoder in decoders:
        found = np.array([quality(real, reconstruct(decoder.model, real)) for real in tried])
        psnr, ratio = float(found[:, 0].mean()), float(np.median(found[:, 1]))
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
    out.print(f"Warning: {text}.")


def _manifest(args: argparse.Namespace, decoders: Sequence[Decoder]) -> Manifest:
    multiple = math.lcm(*(decoder.model.spec.factor for decoder in decoders))
    before = read_manifest(args.output) if (args.output / MANIFEST).exists() else None
    known: Mapping[str, DecoderFigures] = {}
    if before is not None:
        _require_same(args, before, multiple, decoders)
        multiple, known = before.multiple, before.decoders
    if multiple > args.size:
        raise UsageError(
            f"--size {args.size}: these decoders together need sides that are multiples of "
            f"{multiple}. Give a larger size, or make folders of their own."
        )
    return Manifest(
        photographs="",
        size=args.size,
        multiple=multiple,
        seed=args.seed,
        limit=args.limit,
        commit=code_commit(),
        decoders={**known, **{d.name: DecoderFigures(made_by=d.made_by) for d in decoders}},
    )


def _require_same(
    args: argparse.Namespace, before: Manifest, multiple: int, decoders: Sequence[Decoder]
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
                f"{decoder.made_by}). Rename the decoder, or name a new folder."
            )


def _figures(lines: Sequence[Mapping[str, Any]], before: DecoderFigures) -> DecoderFigures:
    return DecoderFigures(
        pairs=len(lines),
        psnr_db=round(float(np.mean([line["psnr_db"] for line in lines])), 3),
        hf_ratio=round(float(np.median([line["hf_ratio"] for line in lines])), 4),
        made_by=before.made_by,
    )
