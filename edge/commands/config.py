"""Check a configuration file for `patchwatch run`, or print the JSON Schema of such files."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from edge.config import json_schema, load_config
from edge.errors import UsageError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the flags of `patchwatch config`."""
    parser.add_argument("files", nargs="*", type=Path, metavar="FILE", help="YAML files to check")
    parser.add_argument("--schema", action="store_true", help="print the JSON Schema")


def run(args: argparse.Namespace) -> int:
    """Print the schema, or `FILE: ok` for each file; the first bad one ends it with code 2."""
    if args.schema == bool(args.files):
        raise UsageError("give either files to check, or --schema.")
    if args.schema:
        sys.stdout.write(json_schema() + "\n")
    for path in args.files:
        load_config(path)
        sys.stdout.write(f"{path}: ok\n")
    return 0
