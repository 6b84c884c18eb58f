from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
from PIL import Image

from edge.errors import SourceError
from patchwatch import COMMANDS, main

ROOT = Path(__file__).resolve().parents[1]


def test_without_an_extra_every_command_has_a_help_and_names_the_extra() -> None:
    script = """
        import sys

        absent = {"torch", "sklearn", "scipy", "httpx", "pooch", "matplotlib", "optuna", "mlflow",
                  "imagehash", "kornia", "onnx", "safetensors", "skimage", "psutil", "lightning",
                  "fastapi", "uvicorn", "starlette", "prometheus_client", "paho"}

        class Absent:
            def find_spec(self, name, path=None, target=None):
                if name.partition(".")[0] in absent:
                    raise ModuleNotFoundError(f"No module named {name!r}", name=name)

        sys.meta_path.insert(0, Absent())
        import patchwatch
        for command in patchwatch.COMMANDS:
            try:
                code = patchwatch.main([command, "--help"])
            except SystemExit as end:
                code = end.code
            assert code == 0, command
        for words in (["train", "x.yaml"], ["probe", "x.yaml"], ["data", "check", "x"]):
            assert patchwatch.main(words) == 1
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("pip install 'patchwatch[train]'") == 3, done.stderr
    assert done.stdout.count("usage: patchwatch ") == len(COMMANDS)


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


@pytest.mark.parametrize("command", COMMANDS)
def test_the_help_of_every_command_has_its_exit_codes(
    command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        main([command, "--help"])
    assert "xit codes: " in " ".join(capsys.readouterr().out.split())


def test_options_stand_anywhere() -> None:
    from patchwatch import make_parser, parse_anywhere

    for words in (
        ["MODEL", "--columns", "x", "DATA"],
        ["--columns", "x", "MODEL", "DATA"],
        ["MODEL", "DATA", "--columns", "x"],
    ):
        args = parse_anywhere(make_parser("evaluate"), words)
        assert (args.paths, args.columns) == (["MODEL", "DATA"], "x")
    args = parse_anywhere(make_parser("run"), ["a", "--headless", "b"])
    assert args.sources == ["a", "b"]
    args = parse_anywhere(make_parser("data"), ["check", "SET", "--no-leaks"])
    assert not args.leaks
    args = parse_anywhere(
        make_parser("score"), ["a", "--no-progress", "--", "--help.jpg", "-", "b"]
    )
    assert args.paths == ["a", "./--help.jpg", "./-", "b"]
    args = parse_anywhere(make_parser("evaluate"), ["MODEL", "--columns", "x", "--", "DATA"])
    assert args.paths == ["MODEL", "DATA"]


def test_a_refusal_recommends_no_suffix_that_cannot_be_read() -> None:
    from PIL import Image

    from edge.sources.images import IMAGE_SUFFIXES, readable_suffixes

    found = readable_suffixes()
    assert {".jpg", ".png", ".webp"} <= set(found) <= IMAGE_SUFFIXES
    assert all(Image.registered_extensions()[suffix] in Image.OPEN for suffix in found)


@pytest.mark.parametrize("imported", ["edge.errors", "edge.commands.models"])
def test_ctrl_c_while_modules_are_imported_leaves_no_traceback(imported: str) -> None:
    script = f"""
        import sys

        class Pressed:
            def find_spec(self, name, path=None, target=None):
                if name == {imported!r}:
                    sys.meta_path.remove(self)
                    raise KeyboardInterrupt

        sys.meta_path.insert(0, Pressed())
        sys.argv = ["patchwatch", "models"]
        from patchwatch import program
        program()
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )
    assert done.returncode == 130 and "Traceback" not in done.stderr, done.stderr


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
@pytest.mark.parametrize("words", [["config", "--help"], ["models", "--help"], ["--version"]])
def test_help_that_cannot_be_written_is_an_error(words: list[str]) -> None:
    program = [sys.executable, "-m", "patchwatch", *words]
    with open("/dev/full", "w") as full:
        done = subprocess.run(program, stdout=full, stderr=subprocess.PIPE, text=True)
    assert done.returncode == 1
    assert "No space left" in done.stderr and "Traceback" not in done.stderr


def test_a_file_that_is_open_in_place_of_standard_error_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "script"
    path.write_text("as it was")
    with path.open() as file:  # read only, as a shell opens its script
        program = [sys.executable, "-m", "patchwatch", "no-such-command"]
        done = subprocess.run(program, stdout=subprocess.PIPE, stderr=file)
    assert done.returncode == 2  # and not that of a message which cannot be written
    assert path.read_text() == "as it was"


@pytest.mark.parametrize("encoding", ["ascii", "latin-1"])
def test_every_message_prints_on_a_terminal_that_knows_few_letters(
    tmp_path: Path, encoding: str
) -> None:
    folder = tmp_path / "sätze—1" / "0_real"
    folder.mkdir(parents=True)
    for level in (0, 255):
        Image.new("RGB", (160, 160), (level, 9, 9)).save(folder / f"bild—é{level}.png")
    (tmp_path / "bad—.yaml").write_text("sourec: é—")
    words = [
        *([command, "--help"] for command in COMMANDS),
        *([command, "--nope—é"] for command in COMMANDS),
        ["évaluate—"],
        ["doctor"],
        ["score", str(folder)],
        ["inspect", str(folder / "bild—é0.png")],
        ["score", str(tmp_path / "fehlt—é.png")],
        ["run", str(tmp_path / "fehlt—é.mp4")],
        ["run", "--config", str(tmp_path / "bad—.yaml")],
        ["config", str(tmp_path / "bad—.yaml")],
    ]
    script = f"""
        import patchwatch

        patchwatch._prepare_streams()
        for words in {words!r}:
            try:
                code = patchwatch.main(words)
            except SystemExit as end:
                code = end.code
            assert code in (0, 1, 2), (code, ascii(words))
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)],
        capture_output=True,
        check=False,
        env=os.environ | {"PYTHONPATH": str(ROOT), "PYTHONIOENCODING": encoding, "LC_ALL": "C"},
    )
    assert done.returncode == 0 and b"Traceback" not in done.stderr, done.stderr
    done.stdout.decode(encoding), done.stderr.decode(encoding)
    assert b"fehlt" in done.stderr and b"bild" in done.stdout and b"sourec" in done.stderr


@pytest.mark.parametrize(
    "words",
    [
        ("inspect", "http://joe:secret@127.0.0.1/a.jpg"),
        ("inspect", "rtsp://joe:secret@cam/live"),
        ("label", "rtsp://joe:secret@cam/live"),
        ("run", "--config", "http://joe:secret@h/x"),
    ],
)
def test_no_error_shows_a_password(
    words: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(list(words)) != 0
    shown = "".join(capsys.readouterr())
    assert shown and "secret" not in shown and "joe" not in shown


MISTYPED = [
    "http://joe:hunter2@cam/x.jpg",
    "http://joe:a hunter2@cam/x.jpg",
    "http://joe:a@hunter2@cam/x.jpg",
    "http://joe:a/hunter2@cam/x.jpg",
    "http:/joe:hunter2@cam/x.jpg",
    "http//joe:hunter2@cam/x.jpg",
    "http:joe:hunter2@cam/x.jpg",
    "joe:hunter2@cam/x.jpg",
    "http://hunter2@cam/x.jpg",
    "http://joe:hunter2",
    "http://joe:hunter2@cam:cam/x.jpg",
    "http://joe:[hunter2@cam/x.jpg",
]


@pytest.mark.parametrize("address", MISTYPED)
def test_no_message_shows_the_password_of_a_mistyped_address(
    address: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    configs: list[object] = [
        {"source": [address]},
        {"model": address},
        {address: 1},
        {"cameras": [{"name": "door", "sorce": address}]},
        {"source": "x", "sinks": {"mqtt": {"host": address}}},
        {"source": "x", "sinks": {"webhook": [address]}},
    ]
    commands = [[address], ["inspect", address], ["label", address], ["config", address]]
    for number, config in enumerate(configs):
        Path(f"{number}.yaml").write_text(json.dumps(config))
        commands.append(["config", f"{number}.yaml"])
    for words in commands:
        assert main(words) in (1, 2), words
        said = capsys.readouterr()
        assert said.err.count("\n") == 1
        assert "hunter2" not in said.out + said.err, words
