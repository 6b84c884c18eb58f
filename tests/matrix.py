"""The runtime's tests on every Python at hand, with the lowest and the highest of its packages.

    python -m tests.matrix                      # each supported Python that is installed
    python -m tests.matrix 3.12 3.13 --only highest

Each pair gets a virtual environment of its own in `out/matrix`, made by uv; only the packages of
the runtime are in it, so that what needs torch is left out. Ends with 1 where one pair failed.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

VERSIONS = ("3.10", "3.11", "3.12", "3.13", "3.14")
RESOLUTIONS = {"lowest": "lowest-direct", "highest": "highest"}
TOOLS = (
    *("pytest>=8", "pytest-timeout", "pytest-xdist", "hypothesis>=6.100"),
    *("onnx", "psutil", "scikit-image"),
)
TESTS = ("tests/edge", "tests/faults")
LEFT_OUT = (
    *("tests/edge/cuda", "tests/edge/tensorrt"),
    # What extras do, and what browsers look at.
    *("tests/edge/web", "tests/edge/provenance", "tests/edge/sinks/test_mqtt.py"),
)
PACKAGES = "numpy|onnxruntime|opencv|av|pillow|pydantic|PyYAML|rich|simplejpeg|typing.extensions"


def interpreter(version: str) -> Path | None:
    """An interpreter of that version, on the path or of pyenv; None where there is none."""
    if found := shutil.which(f"python{version}"):
        done = subprocess.run([found, "--version"], capture_output=True, text=True, check=False)
        if f"Python {version}." in done.stdout:
            return Path(found)
    root = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    return next(iter(sorted(root.glob(f"{version}.*/bin/python"), reverse=True)), None)


def make(python: Path, folder: Path, resolution: str) -> str:
    """A virtual environment with the runtime's packages; which they are."""
    uv = shutil.which("uv") or str(Path(sys.executable).parent / "uv")
    own = str(folder / "bin" / "python")
    install = [uv, "pip", "install", "-q", "--python", own]
    lowest = ["--resolution", resolution, "--only-binary", ":all:"]
    runtime = [*install, *lowest, "-r", "pyproject.toml", "--extra", "headless"]
    listed = [uv, "pip", "freeze", "--python", own]
    subprocess.run([uv, "venv", "-q", "--clear", "--python", str(python), str(folder)], check=True)
    subprocess.run(runtime, check=True)
    frozen = folder / "runtime.txt"  # which the tools may not change
    frozen.write_bytes(subprocess.run(listed, capture_output=True, check=True).stdout)
    tools = [*install, "--only-binary", ":all:", "--constraint", str(frozen), *TOOLS]
    subprocess.run(tools, check=True)
    subprocess.run([*install, "--no-deps", "."], check=True)
    rows = frozen.read_text().split()
    return ", ".join(row for row in rows if re.match(rf"({PACKAGES})\b", row, re.IGNORECASE))


def main() -> int:
    """Try each pair, and print what became of it."""
    parser = argparse.ArgumentParser(prog="tests.matrix", description=__doc__)
    parser.add_argument("versions", nargs="*", default=VERSIONS, help="such as 3.12")
    parser.add_argument("--only", choices=RESOLUTIONS, help="one of both ends")
    parser.add_argument("--tests", nargs="+", default=TESTS, help="for pytest")
    args = parser.parse_args()
    results: list[tuple[str, str]] = []
    for version in args.versions:
        python = interpreter(version)
        for name in [args.only] if args.only else RESOLUTIONS:
            pair = f"Python {version}, {name}"
            if python is None:
                results.append((pair, "left out: not installed"))
                continue
            folder = Path("out/matrix") / f"{version}-{name}"
            try:
                packages = make(python, folder, RESOLUTIONS[name])
            except (OSError, subprocess.CalledProcessError) as error:
                results.append((pair, f"failed: {error}"))
                continue
            print(f"{pair}: {packages}", flush=True)
            left_out = [f"--ignore={path}" for path in LEFT_OUT]
            # Warnings of packages of other years are no failure of ours.
            words = ["-q", "-n", "2", "--dist", "loadfile", "-m", "not slow", "-W", "default"]
            command = [folder / "bin" / "python", "-m", "pytest", *words, *left_out, *args.tests]
            code = subprocess.run(command, check=False).returncode
            results.append((pair, "passed" if code == 0 else f"failed: pytest ended with {code}"))
    for pair, said in results:
        print(f"{pair}: {said}")
    return int(any(said.startswith("failed") for _, said in results))


if __name__ == "__main__":
    sys.exit(main())
