"""The command line: each command's name → the package that does it, imported only when called."""

from __future__ import annotations

import argparse
import contextlib
import difflib
import importlib
import os
import sys
import threading
from collections.abc import Sequence
from importlib import metadata
from typing import TYPE_CHECKING, NoReturn

if TYPE_CHECKING:
    from pathlib import Path

    from edge.tensorrt.record import Sidecar
    from edge.tensorrt.store import EngineRequest, Progress

COMMANDS: dict[str, tuple[str, str]] = {
    "run": ("edge.commands.run", "watch a camera, a stream, a video or pictures"),
    "score": ("edge.commands.score", "score files and folders, a line for each file"),
    "models": ("edge.commands.models", "list the shipped models with their manifests"),
    "doctor": ("edge.commands.doctor", "check this machine, and say how to fix what is missing"),
    "config": ("edge.commands.config", "check a configuration file, or print its JSON Schema"),
    "demo": ("edge.commands.demo", "run the detector on a clip it assembles itself"),
    "train": ("training.commands.train", "train a teacher or any patch model"),
    "probe": ("training.probe.command", "fit a head on a frozen trunk"),
    "distill": ("training.commands.distill", "train a small model on the outputs of a large one"),
    "pairs": ("training.pairs.command", "make fakes that are aligned with photographs"),
    "data": ("training.data.command", "check data sets, fetch published ones"),
    "frames": ("training.faces.frames", "extract one picture per second from videos"),
    "search": ("training.commands.search", "search the settings of a face training"),
    "matrix": ("training.faces.matrix", "evaluate face models on face sets, each on each"),
    "export": ("export.command", "turn a checkpoint into a model file"),
    "evaluate": (
        "training.evaluation.command",
        "evaluate models on labelled pictures and videos, degraded as in use",
    ),
    "calibrate": ("training.evaluation.calibrate", "fit score and threshold to labelled pictures"),
    "bench": (
        "benchmarks.command",
        "measure compute, latency and end-to-end rate; compare results",
    ),
}

INTERRUPTED = 130


class _Parser(argparse.ArgumentParser):
    """Refuses abbreviated flags, and suggests the nearest command for a mistyped one."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"patchwatch: error: {message} See '{self.prog} --help'.\n")


def _usage() -> str:
    width = max(map(len, COMMANDS)) + 2
    rows = "\n".join(f"  {name:<{width}}{text}" for name, (_, text) in COMMANDS.items())
    return (
        "usage: patchwatch COMMAND [ARG ...]\n\n"
        "Real-time detection of AI-generated pictures and deepfakes on edge devices.\n\n"
        f"commands:\n{rows}\n\n"
        "patchwatch COMMAND --help says more; patchwatch --version prints the version.\n"
    )


def _unknown(command: str) -> str:
    near = difflib.get_close_matches(command, COMMANDS, n=1)
    hint = f"Did you mean '{near[0]}'?" if near else f"Commands: {', '.join(COMMANDS)}."
    return f"patchwatch: error: no command {command!r}. {hint}\n"


def make_parser(command: str) -> argparse.ArgumentParser:
    """The parser of one command; imports the module that does it."""
    module_name, text = COMMANDS[command]
    try:
        module = importlib.import_module(module_name)
    except ImportError:
        from edge.terminal import require_opencv

        require_opencv()
        raise
    parser = _Parser(
        prog=f"patchwatch {command}",
        description=module.__doc__ or text,
        allow_abbrev=False,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    module.add_arguments(parser)
    parser.set_defaults(run=module.run, build_engine=_build_engine, selftest_with=_selftest)
    return parser


def _build_engine(request: EngineRequest, progress: Progress) -> tuple[bytes, Sidecar]:
    """Passed to commands of the device, which may need an engine but cannot build one."""
    from export.engine.process import build_engine

    return build_engine(request, progress)


def _selftest(report: Path, tell: Progress) -> tuple[str, ...]:
    """Passed to `doctor`, as `edge` does not import what builds engines."""
    from export.engine.selftest import selftest

    return selftest(report, tell)


def _dispatch(command: str, arguments: Sequence[str]) -> int:
    args = make_parser(command).parse_args(arguments)
    return int(args.run(args))


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command.

    Args:
        argv: the words after `patchwatch`; from `sys.argv` if None.

    Returns:
        The exit code: 0 done, 1 failed, 2 wrong usage, 130 interrupted.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        sys.stdout.write(_usage())
        return 0 if arguments else 2
    if arguments[0] == "--version":
        sys.stdout.write(f"patchwatch {metadata.version('patchwatch')}\n")
        return 0
    if arguments[0] not in COMMANDS:
        sys.stderr.write(_unknown(arguments[0]))
        return 2
    return _guarded(arguments[0], arguments[1:])


def _guarded(command: str, arguments: Sequence[str]) -> int:
    from edge.errors import PatchwatchError

    try:
        return _dispatch(command, arguments)
    except PatchwatchError as error:
        sys.stderr.write(f"patchwatch: error: {error}\n")
        return error.exit_code
    except KeyboardInterrupt:
        sys.stderr.write("patchwatch: interrupted\n")
        return INTERRUPTED
    except BrokenPipeError:
        sys.stderr.close()
        return 1


def program() -> NoReturn:
    """The command line as a process of its own.

    A call that does not return is abandoned on a daemon thread. Were it to return during the
    interpreter's shutdown, C++ would abort the process; so where such a thread is left, the process
    exits without shutdown. Files were finished before.
    """
    code = main()
    if any(thread.daemon and thread.is_alive() for thread in threading.enumerate()):
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(OSError, ValueError, AttributeError):
                stream.flush()
        os._exit(code)
    sys.exit(code)


if __name__ == "__main__":
    program()
