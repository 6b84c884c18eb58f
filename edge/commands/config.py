"""Check a configuration file for `patchwatch run`, or print the JSON Schema of such files."""

from __future__ import annotations

import argparse
import glob
import os
import re
import sys
from pathlib import Path

from edge.config import RunConfig, json_schema, load_config
from edge.config.parts import CameraConfig
from edge.errors import ConfigError, UsageError
from edge.sinks import wanted
from edge.sinks.paths import PLACE
from edge.sources import expand
from edge.sources.address import scheme_of
from edge.weights import find_model


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the flags of `patchwatch config`."""
    parser.add_argument("files", nargs="*", type=Path, metavar="FILE", help="YAML files to check")
    parser.add_argument("--schema", action="store_true", help="print the JSON Schema")


def check_files(config: RunConfig, path: Path) -> None:
    """See whether what a configuration names is there: models, source files, placeholders.

    Raises:
        ConfigError: something is not; a ModelError where it is a model.
    """
    for model in filter(None, (config.model, config.faces.model)):
        find_model(model)
    for source in filter(None, (config.source, *(c.source for c in config.cameras))):
        if scheme_of(source) is None and not source.isdecimal() and not source.startswith("/dev/"):
            place = expand(source)
            if not (os.path.exists(place) or glob.has_magic(source)):
                raise ConfigError(f"{path}: source: {source}: no such file or folder.")
    places: list[RunConfig | CameraConfig] = [config, *config.each_camera()]
    for camera in places:
        for kind in wanted(camera):
            for unknown in re.findall(r"\{[^{}]*\}", kind.place(camera, "") or ""):
                raise ConfigError(
                    f"{path}: {kind.name}: there is no placeholder {unknown}. Expected {PLACE}, "
                    "which becomes the name of the camera."
                )


def run(args: argparse.Namespace) -> int:
    """Print the schema, or `FILE: ok` for each file; the first bad one ends it with code 2."""
    if args.schema == bool(args.files):
        raise UsageError("give either files to check, or --schema.")
    if args.schema:
        sys.stdout.write(json_schema() + "\n")
    for path in args.files:
        check_files(load_config(path), path)
        sys.stdout.write(f"{path}: ok\n")
    return 0
