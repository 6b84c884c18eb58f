from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from edge.errors import SourceError
from patchwatch import COMMANDS, main

ROOT = Path(__file__).resolve().parents[1]


@pytest.mark.parametrize(
    ("reason", "fix"),
    [
        ("No module named 'cv2'", "patchwatch[headless]"),
        ("numpy.core.multiarray failed to import", "pip install 'numpy>=1.24,<2'"),
    ],
)
@pytest.mark.parametrize("words", [["run", "p.png"], ["score", "p.png"], ["doctor"]])
def test_without_an_opencv_that_works_there_is_a_sentence(
    reason: str, fix: str, words: list[str], tmp_path: Path
) -> None:
    script = f"""
        import sys

        class Absent:
            def find_spec(self, name, path=None, target=None):
                if name == "cv2":
                    raise ImportError({reason!r})

        sys.meta_path.insert(0, Absent())
        import patchwatch
        sys.exit(patchwatch.main({words!r}))
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"DISPLAY": ":99", "PYTHONPATH": str(ROOT)},
    )
    assert done.returncode == 1
    assert reason in done.stdout + done.stderr
    if words != ["doctor"]:
        assert fix in done.stderr
    assert "Traceback" not in done.stderr


def test_help_lists_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    out = capsys.readouterr().out
    assert all(f"  {name}" in out for name in COMMANDS)


@pytest.mark.parametrize(
    ("words", "code", "text"),
    [([], 2, "usage:"), (["rnu"], 2, "Did you mean 'run'?"), (["--version"], 0, "patchwatch 0.")],
)
def test_without_a_known_command(
    words: list[str], code: int, text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words) == code
    assert text in "".join(capsys.readouterr())


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_a_help_text(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        main([command, "--help"])
    assert stopped.value.code == 0
    assert f"patchwatch {command}" in capsys.readouterr().out


def test_an_unknown_or_shortened_flag_is_wrong_usage(capsys: pytest.CaptureFixture[str]) -> None:
    for flag in ("--headles", "--zzz"):
        with pytest.raises(SystemExit) as stopped:
            main(["run", "x", flag])
        assert stopped.value.code == 2
        assert flag in capsys.readouterr().err


def test_an_error_is_one_line_and_its_exit_code(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*_: object) -> int:
        raise SourceError("it broke.")

    monkeypatch.setattr("patchwatch._dispatch", fail)
    assert main(["run"]) == 1
    assert capsys.readouterr().err == "patchwatch: error: it broke.\n"


def test_help_imports_no_heavy_library() -> None:
    script = (
        "import sys, patchwatch; patchwatch.main(['--help']); "
        "print([m for m in ('numpy', 'cv2', 'torch', 'onnxruntime', 'rich') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stdout.rstrip().endswith("[]")
