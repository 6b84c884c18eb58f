"""Run a training module as a program: `python -m training.NAME`."""

from __future__ import annotations

import argparse
import importlib
import sys
from collections.abc import Callable, Mapping, Sequence

from edge.errors import PatchwatchError

INTERRUPTED = 130


def run_program(
    name: str,
    description: str | None,
    add_arguments: Callable[[argparse.ArgumentParser], None],
    run: Callable[[argparse.Namespace], int],
    argv: Sequence[str] | None = None,
) -> int:
    """Parse the command line and run; a person's mistake is one line on stderr.

    Args:
        name: of the module.
        description: for --help.
        add_arguments: declares the flags.
        run: does the work and returns the exit code.
        argv: words after the program; from `sys.argv` if None.

    Returns:
        The exit code.
    """
    parser = argparse.ArgumentParser(
        prog=f"python -m {name}",
        description=description,
        allow_abbrev=False,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_arguments(parser)
    try:
        return run(parser.parse_args(argv))
    except PatchwatchError as error:
        sys.stderr.write(f"{name}: error: {error}\n")
        return error.exit_code
    except KeyboardInterrupt:
        sys.stderr.write(f"{name}: interrupted\n")
        return INTERRUPTED


def add_subcommands(
    parser: argparse.ArgumentParser, subcommands: Mapping[str, tuple[str, str]]
) -> None:
    """Declare the commands below a command, each with its flags.

    Args:
        parser: of the command; its arguments get `subcommand`, the function that does the work.
        subcommands: name → the module that does it (`add_arguments`, `run`), and a line of help.
    """
    subparsers = parser.add_subparsers(
        title="commands", metavar="COMMAND", required=True, parser_class=type(parser)
    )
    for name, (module_name, text) in subcommands.items():
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


def run_subcommand(args: argparse.Namespace) -> int:
    """Run the command below a command; gives its exit code."""
    return int(args.subcommand(args))
