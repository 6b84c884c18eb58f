"""Look after data sets: check one before a training, or fetch a published one."""

from __future__ import annotations

import argparse
import importlib

SUBCOMMANDS = {
    "check": ("training.data.check", "count, decode and compare the pictures of a data set"),
    "clips": ("training.faces.clips", "make training clips of faces: rates, blended fakes"),
    "portraits": ("training.data.portraits", "cut portraits out of a training set"),
    "prepare": ("training.faces.prepare", "cut the faces of videos into a set"),
    "shards": ("training.data.shards", "write a data set as WebDataset shards"),
    "get": ("training.data.get.command", "fetch a published data set"),
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the commands below `patchwatch data`, each with its flags."""
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
    """Run the command that was named; gives its exit code."""
    return int(args.subcommand(args))
