"""Run a training module as a program: `python -m training.NAME`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence

from edge.errors import PatchwatchError

INTERRUPTED = 130


def run_program(
    name: str,
    description: str | None,
    add_arguments: Callable[[argparse.ArgumentParser], None],
    run: Callable[[argparse.Namespace], int],
    argv: Sequence[str] | None = None,
) -> int:
    """Parse the command line (`sys.argv` if None), run, and give the exit code; a person's mistake
    is one line on stderr.
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
