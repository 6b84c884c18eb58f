"""The command line, and `open_detector` for Python; what does the work is imported when called."""

from __future__ import annotations

import argparse
import ast
import contextlib
import difflib
import fcntl
import importlib
import importlib.util
import io
import json
import os
import sys
import threading
import time
from collections.abc import Sequence
from importlib import metadata
from typing import TYPE_CHECKING, Any, NoReturn

if TYPE_CHECKING:
    from pathlib import Path

    from edge.api import open_detector as open_detector
    from edge.tensorrt.record import Sidecar
    from edge.tensorrt.store import EngineRequest, Progress

COMMANDS: dict[str, tuple[str, str]] = {
    "run": ("edge.commands.run", "watch a camera, a stream, a video or pictures"),
    "score": ("edge.commands.score", "score files and folders, a line for each file"),
    "inspect": ("edge.commands.inspect", "print what files say of themselves, and what it means"),
    "label": ("edge.commands.label", "label the frames that run --keep kept"),
    "web": ("edge.commands.web", "open a page in the browser that judges pictures and clips"),
    "models": ("edge.commands.models", "list the shipped models with their manifests"),
    "doctor": ("edge.commands.doctor", "check this machine, and say how to fix what is missing"),
    "fleet": ("edge.commands.fleet", "publish models for boards, signed"),
    "config": ("edge.commands.config", "check a configuration file, or print its JSON Schema"),
    "demo": ("edge.commands.demo", "run the detector on a clip it assembles itself"),
    "train": ("training.commands.train", "train a teacher or any patch model"),
    "probe": ("training.probe.command", "fit a head on a frozen trunk"),
    "tune": ("training.probe.tune", "train the last blocks of a trunk, on kept maps"),
    "distill": ("training.commands.distill", "train a small model on the outputs of a large one"),
    "patches": (
        "training.commands.patches",
        "keep patches with a teacher's logits",
    ),
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
    "compare": ("training.evaluation.compare", "compare a new model with the one it is to replace"),
    "bench": (
        "benchmarks.command",
        "measure compute, latency and end-to-end rate; compare results",
    ),
}

EXTRAS = {
    "training": "train",
    "export": "train",
    "benchmarks": "bench",
    "search": "search",
    "demo": "demo",
    "web": "web",
    "fleet": "fleet",
}
"""Extras by the package or the command that needs them."""

INTERRUPTED = 130
_EXIT_CODES = "Exit codes: 0 done, 1 failed, 2 wrong usage, 130 Ctrl-C.\n"


def __getattr__(name: str) -> Any:
    """`patchwatch.open_detector`, without its imports for those who want the help text alone."""
    if name != "open_detector":
        raise AttributeError(f"module 'patchwatch' has no attribute {name!r}")
    from edge.api import open_detector

    return open_detector


class _Parser(argparse.ArgumentParser):
    """Refuses abbreviated flags, and suggests the nearest command for a mistyped one."""

    def _print_message(self, message: str, file: Any = None) -> None:
        """Print help; argparse would pass over that it cannot be written."""
        out = file or sys.stderr
        out.write(message)
        if out is sys.stdout:
            out.flush()

    def format_help(self) -> str:
        text = super().format_help()
        return text if "exit codes:" in text.lower() else f"{text}\n{_EXIT_CODES}"

    def error(self, message: str) -> NoReturn:
        end = "" if message.endswith((".", "?", "!")) else "."
        self.exit(2, f"patchwatch: error: {message}{end} See '{self.prog} --help'.\n")


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
    from edge.errors import without_logins

    near = difflib.get_close_matches(command, COMMANDS, n=1)
    hint = f"Did you mean '{near[0]}'?" if near else f"Commands: {', '.join(COMMANDS)}."
    return f"no command {without_logins(repr(command))}. {hint}"


def make_parser(command: str) -> argparse.ArgumentParser:
    """The parser of one command; imports the module that does it.

    Raises:
        MissingDependency: a library of an extra is absent; names the extra.
    """
    module_name, text = COMMANDS[command]
    try:
        module = importlib.import_module(module_name)
        parser = _Parser(
            prog=f"patchwatch {command}",
            description=module.__doc__ or text,
            allow_abbrev=False,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        module.add_arguments(parser)
    except ImportError as error:
        from edge.errors import require_opencv

        require_opencv()
        _name_extra(command, error)
        raise
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
    from edge.errors import MissingDependency

    try:
        parser = make_parser(command)
    except MissingDependency as missing:
        if not {"-h", "--help"} & set(arguments):
            raise
        sys.stdout.write(_help_without_extra(command, missing))
        return 0
    args = parse_anywhere(parser, arguments)
    try:
        return int(args.run(args))
    except ModuleNotFoundError as error:
        _name_extra(command, error)
        raise


def parse_anywhere(parser: argparse.ArgumentParser, arguments: Sequence[str]) -> argparse.Namespace:
    """Parse the words after a command, options before, after and between the others.

    Where a command has commands of its own, only what follows one belongs to it. After `--` all are
    names, which argparse forgets when it looks at them a second time.
    """
    if "--" in arguments:
        place = arguments.index("--")
        names = (f"./{word}" if word.startswith("-") else word for word in arguments[place + 1 :])
        arguments = [*arguments[:place], "--", *names]
    if any(isinstance(action, argparse._SubParsersAction) for action in parser._actions):
        return parser.parse_args(arguments)
    return parser.parse_intermixed_args(arguments)


def _name_extra(command: str, error: ImportError) -> None:
    """Raise the error that names the extra which brings an absent library, if one does."""
    from edge.errors import MissingDependency

    extra = EXTRAS.get(command, EXTRAS.get(COMMANDS[command][0].partition(".")[0]))
    if isinstance(error, ModuleNotFoundError) and extra is not None:
        library, purpose = str(error.name).partition(".")[0], f"run 'patchwatch {command}'"
        raise MissingDependency(library, purpose, f"pip install 'patchwatch[{extra}]'") from error


def _help_without_extra(command: str, missing: Exception) -> str:
    """A command's text, read without importing the module, which needs what is absent."""
    module_name, text = COMMANDS[command]
    found = importlib.util.find_spec(module_name)
    path = None if found is None else found.origin
    if path is not None:
        with open(path, encoding="utf-8") as file:
            text = ast.get_docstring(ast.parse(file.read())) or text
    return f"usage: patchwatch {command} [ARG ...]\n\n{text}\n\nFor its flags: {missing}\n"


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
        _say("error", _unknown(arguments[0]))
        return 2
    return _guarded(arguments[0], arguments[1:])


def _guarded(command: str, arguments: Sequence[str]) -> int:
    from edge.errors import PatchwatchError

    try:
        return _dispatch(command, arguments)
    except PatchwatchError as error:
        _say("error", str(error))
        return error.exit_code
    except KeyboardInterrupt:
        _say("warning", "interrupted")
        return INTERRUPTED
    except BrokenPipeError:
        sys.stderr.close()
        return 1


def _say(level: str, message: str) -> None:
    """The last words of a command, in the form of its notes."""
    from edge.errors import printable

    line = f"patchwatch: {'error: ' if level == 'error' else ''}{printable(message)}"
    if os.environ.get("LOG_FORMAT", "").lower() == "json":
        record: dict[str, object] = {"time": round(time.time(), 3), "level": level}
        line = json.dumps(record | {"logger": "patchwatch", "message": message})
    sys.stderr.write(f"{line}\n")


def _unwritable(error: OSError) -> int:
    why = "is closed" if isinstance(error, io.UnsupportedOperation) else f"failed: {error.strerror}"
    _say("error", f"writing to standard output {why}. Send it somewhere with room.")
    return 1


def program() -> NoReturn:
    """The command line as a process of its own.

    A call that does not return is abandoned on a daemon thread. Were it to return during the
    interpreter's shutdown, C++ would abort the process; so where such a thread is left, the process
    exits without shutdown. Files were finished before.
    """
    _prepare_streams()
    try:
        code: int | str | None = main()
    except KeyboardInterrupt:  # before or after what `main` guards
        code = INTERRUPTED
    except SystemExit as end:
        code = end.code
    except OSError as error:
        if error.filename is not None:  # not of standard output
            raise
        code = _unwritable(error)
    try:
        sys.stdout.flush()
    except OSError as error:  # a full disk, or a reader that has gone
        if not (code or isinstance(error, BrokenPipeError)):
            code = _unwritable(error)
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    if any(thread.daemon and thread.is_alive() for thread in threading.enumerate()):
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(OSError, ValueError, AttributeError):
                stream.flush()
        os._exit(code if isinstance(code, int) else 1)
    sys.exit(code)


def _prepare_streams() -> None:
    """Occupy standard streams that were closed, and let no name be too odd to be printed.

    Else the first file that is opened would take a closed stream's place.
    """
    while os.open(os.devnull, os.O_RDWR) <= 2:  # gives the lowest number that is free
        pass
    if fcntl.fcntl(2, fcntl.F_GETFL) & os.O_ACCMODE == os.O_RDONLY:
        # A shell or the interpreter has opened a script in a closed stream's place.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
    sys.stdout = sys.stdout or open(os.devnull, encoding="utf-8")  # noqa: SIM115  # writing fails
    sys.stderr = sys.stderr or open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")


if __name__ == "__main__":
    program()
