"""Make fakes that are aligned with photographs.

A photograph and its reconstruction differ in nothing but the traces of the decoder that it went
through. A training is told of them by data.pairs.

    patchwatch pairs train pictures/train --output decoders
    patchwatch pairs make --output pairs pictures/train decoders
    patchwatch pairs show pairs
"""

from __future__ import annotations

import argparse
import importlib
from types import MappingProxyType
from typing import Final

SUBCOMMANDS: Final = MappingProxyType(
    {
        "train": ("training.pairs.train", "train small autoencoders on photographs"),
        "make": ("training.pairs.make", "reconstruct photographs through decoders"),
        "show": ("training.pairs.show", "draw photographs beside their reconstructions"),
    }
)
"""Name → the module that does it (`add_arguments`, `run`), and a line of help."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the subcommands with their flags."""
    subparsers = parser.add_subparsers(
        title="commands", metavar="COMMAND", required=True, parser_class=type(parser)
    )
    for name, (module_name, text) in SUBCOMMANDS.items():
        module = importlib.import_module(module_name)
        subparser = subparsers.add_parser(
            name,
            help=text,
            description=module.__doc__,
            allow_abbrev=False,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        module.add_arguments(subparser)
        subparser.set_defaults(subcommand=module.run)


def run(args: argparse.Namespace) -> int:
    """Run the subcommand; gives its exit code."""
    return int(args.subcommand(args))
