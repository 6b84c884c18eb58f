"""Look after data sets: check one before a training, or fetch a published one."""

from __future__ import annotations

import argparse
import importlib
from types import MappingProxyType
from typing import Final

SUBCOMMANDS: Final = MappingProxyType(
    {
        "check": ("training.data.check", "count, decode and compare the pictures of a data set"),
        "prepare": ("training.faces.prepare", "cut the faces of videos into a set"),
        "get": ("training.data.get.command", "fetch a published data set"),
    }
)
"""Name → the module that does it (`add_arguments`, `run`), and a line of help."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the subcommands with their flags."""
    kind = type(parser)
    subparsers = parser.add_subparsers(
        title="commands", metavar="COMMAND", required=True, parser_class=kind
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
