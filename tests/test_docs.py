"""What README and docs show must be so: commands, keys, files, anchors, pipelines, sentences."""

from __future__ import annotations

import ast
import re
import shlex
import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import yaml

from benchmarks.readme import check_readme, newest
from edge.commands.doctor import CHECKS
from edge.config import build_config
from edge.sources.devices import csi_pipeline, rtsp_pipeline
from edge.sources.policy import CameraMode
from edge.tensorrt.board import read_board
from patchwatch import COMMANDS, main, make_parser
from tests.edge.provenance.files import picture
from tests.edge.sources.clips import encode
from training.evaluation.report import stale

ROOT = Path(__file__).resolve().parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
TEXTS = {page.name: page.read_text(encoding="utf-8") for page in PAGES}
README, JETSON = TEXTS["README.md"], TEXTS["jetson.md"]


def blocks(text: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", text, flags=re.DOTALL | re.MULTILINE)


def shell_lines(text: str) -> list[str]:
    return "\n".join(blocks(text, "sh")).replace("\\\n", " ").splitlines()


def quoted(text: str) -> list[str]:
    """What stands in backticks outside of the blocks."""
    return re.findall(r"`([^`\n]+)`", re.sub(r"```.*?```", "", text, flags=re.DOTALL))


def commands() -> Iterator[tuple[str, ...]]:
    for text in TEXTS.values():
        inline = quoted(text) if text is JETSON else []
        shown = [code for code in inline if code.startswith("patchwatch ")]
        for line in [*shell_lines(text), *shown]:
            words = shlex.split(line, comments=True) if "patchwatch" in line else []
            known = words[:1] == ["patchwatch"] and "…" not in line and words[1:] and words[1][0]
            if known and known not in "-C":
                yield tuple(words[1:])


@pytest.mark.parametrize("words", sorted(set(commands())), ids=" ".join)
def test_every_command_that_is_shown_parses(words: tuple[str, ...]) -> None:
    assert words[0] in COMMANDS
    if words[1:]:
        assert make_parser(words[0]).parse_args(words[1:])


def test_every_make_target_that_is_named_exists() -> None:
    targets = set(re.findall(r"\bmake ([a-z]+(?:-[a-z]+)*)\b(?=[` \n])", README))
    assert {"demo", "test-all"} <= targets
    for target in targets:
        command = ["make", "-n", target, "CHECKPOINT=x"]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_file_and_place_that_a_page_links_is_there(page: Path) -> None:
    for link in re.findall(r"\]\((?!http)([^)]+)\)", page.read_text(encoding="utf-8")):
        file, _, anchor = link.partition("#")
        target = page.parent / file if file else page
        assert target.exists(), link
        if anchor:
            headings = re.findall(r"^#+ (.+)$", target.read_text("utf-8"), flags=re.MULTILINE)
            anchors = [re.sub(r"[^\w -]", "", h).lower().replace(" ", "-") for h in headings]
            assert anchor in anchors, link


def test_every_test_that_is_named_exists() -> None:
    named = {name for text in TEXTS.values() for name in re.findall(r"`(tests/[\w/.]+)`", text)}
    assert "tests/faults/test_stop.py" in named
    assert [name for name in sorted(named) if not (ROOT / name).exists()] == []


def test_every_block_of_yaml_is_a_configuration() -> None:
    shown = [block for text in TEXTS.values() for block in blocks(text, "yaml")]
    assert shown
    for block in shown:
        assert build_config(yaml.safe_load(block), "the page")


def test_every_file_of_ours_that_the_jetson_page_names_is_there() -> None:
    words = [word for line in [*shell_lines(JETSON), *quoted(JETSON)] for word in line.split()]
    named = {word for word in words if re.match(r"(configs|deploy|docs|edge|export)/", word)}
    assert {"configs/jetson.yaml", "deploy/patchwatch.service", "deploy/jetson.Dockerfile"} <= named
    assert [name for name in named if not (ROOT / name).exists()] == []


def test_the_pipelines_are_those_that_the_program_builds() -> None:
    built = [csi_pipeline(0, CameraMode(pixel_format=name)) + "\n" for name in ("bgr", "nv12")]
    built.append(rtsp_pipeline("rtsp://host/stream", "h264") + "\n")
    assert sorted(blocks(JETSON, "text")) == sorted(built)


@pytest.mark.parametrize(
    ("release", "revision"),
    [("36", "3"), ("36", "4.3"), ("36", "5"), ("38", "2"), ("38", "4"), ("39", "2.1")],
)
def test_the_versions_are_those_that_a_board_is_known_by(
    tmp_path: Path, release: str, revision: str
) -> None:
    (tmp_path / "etc").mkdir()
    line = f"# R{release} (release), REVISION: {revision}, GCID: 1, BOARD: generic"
    (tmp_path / "etc" / "nv_tegra_release").write_text(line)
    jetpack = read_board(tmp_path).jetpack
    assert jetpack is not None
    table = JETSON.partition("## Versions")[2].partition("\n\n## ")[0]
    cells = [[cell.strip() for cell in line.split("|")[1:-1]] for line in table.splitlines()]
    short = f"{release}.{revision[0]}"
    rows = [row for row in cells if len(row) == 6 and (short in row[1] or row[1] == f"{release}.x")]
    assert len(rows) == 1 and set(jetpack.split(" or ")) <= set(rows[0][0].split(", "))


@cache
def literals() -> str:
    """Every text of the program, with … where a value is put in."""
    trees = [
        ast.parse(path.read_text(encoding="utf-8"))
        for room in ("edge", "export")
        for path in sorted((ROOT / room).rglob("*.py"))
    ]
    return "\n".join(filter(None, (_literal(node) for tree in trees for node in ast.walk(tree))))


def _literal(node: ast.AST) -> str | None:
    if isinstance(node, ast.JoinedStr):
        parts = (str(p.value) if isinstance(p, ast.Constant) else "…" for p in node.values)
        return "".join(parts).replace("….…", "…")  # a version in two numbers
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return re.sub(r"%[sd]", "…", node.value)
    return None


def test_what_the_jetson_page_says_that_the_program_says_is_so() -> None:
    part = JETSON.partition("What Patchwatch says")[2].partition("What others say")[0]
    sentences = re.findall(r"^\| `([^`]+)` \|", part, flags=re.MULTILINE)
    assert len(sentences) == part.count("\n| ") - 2 >= 15
    assert [s for s in sentences if s.strip("…") not in literals()] == []
    waited = re.search(r"should say `ok` for (.*?), and of\s(.*?) `(.*?)`", JETSON, re.DOTALL)
    assert waited is not None and waited[3] in literals()
    assert {*re.split(r",\s| and ", waited[1]), waited[2]} <= {check.name for check in CHECKS}


def test_whatever_pip_may_bring_stays_with_numpy_1_on_a_jetson() -> None:
    """The system's OpenCV cannot be imported beside NumPy 2, and pip is content with too old."""
    sh = "\n".join(shell_lines(JETSON))
    assert sh.index("'numpy>=1.24,<2'") < sh.index("make setup")


def test_the_tables_are_those_of_the_committed_results(capsys: pytest.CaptureFixture[str]) -> None:
    _, result = newest()
    assert check_readme(ROOT / "docs" / "performance.md", result) is None
    assert main(["models", "--markdown"]) == 0
    assert capsys.readouterr().out.strip() in README
    quality = max((ROOT / "benchmarks" / "results").glob("quality_*.json"))
    card = ROOT / "docs" / "model-card.md"
    assert quality.name in TEXTS[card.name] and stale(card, quality) is None


CANNOT_RUN = {
    "0": "needs a camera",
    "--config": "needs cameras",
    "/dev/video0": "needs a board",
    "demo": "runs in tests/edge/commands/test_demo.py",
    "web": "serves until it is stopped; runs in tests/edge/web",
}
"""Commands of README and of the page of use with one of these words are parsed only."""


def first_commands() -> list[tuple[str, ...]]:
    """What these two pages show and this machine can run; no stream either."""
    lines = [line for page in ("README.md", "usage.md") for line in shell_lines(TEXTS[page])]
    found: dict[tuple[str, ...], None] = {}
    for line in lines:
        words = tuple(shlex.split(line, comments=True))
        words = words[1:] if words and words[0].startswith("CAMERA_PASSWORD=") else words
        if words and words[0].removeprefix(".venv/bin/") == "patchwatch":
            stream = any(word.startswith("rtsp:") for word in words)
            if words[1:] and not stream and words[1] != "COMMAND" and not CANNOT_RUN.keys() & words:
                found[words[1:]] = None
    return list(found)


def test_the_first_pages_commands_and_python_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "pictures").mkdir()
    for name in ("holiday.jpg", "picture.jpg", "pictures/a.jpg"):
        picture(600, 640).save(tmp_path / name)
    encode(tmp_path / "clip.mp4", [np.asarray(picture(544, 544, seed)) for seed in (1, 2, 3)])
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    shown = first_commands()
    assert len(shown) > 5 and ("score", "holiday.jpg") in shown
    failed = {words: code for words in shown if (code := main(list(words)))}
    assert failed == {}
    assert (tmp_path / "clip.html").stat().st_size > 10_000
    capsys.readouterr()
    for page in ("README.md", "usage.md"):
        for block in blocks(TEXTS[page], "python"):
            exec(compile(block, page, "exec"), {"__name__": page})
    assert capsys.readouterr().out.count("Verdict(state=") == 2
