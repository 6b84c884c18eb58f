"""What docs/jetson.md shows must be so: commands, keys, files, pipelines, versions, sentences."""

from __future__ import annotations

import ast
import re
import shlex
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
import yaml
from pydantic import BaseModel

from edge.commands.doctor import CHECKS
from edge.config import RunConfig, build_config
from edge.sources.devices import csi_pipeline
from edge.sources.policy import CameraMode
from edge.tensorrt.board import read_board
from patchwatch import COMMANDS, make_parser

ROOT = Path(__file__).resolve().parents[1]
PAGE = (ROOT / "docs" / "jetson.md").read_text(encoding="utf-8")
TEXT = re.sub(r"```.*?```", "", PAGE, flags=re.DOTALL)
CODE = re.findall(r"`([^`\n]+)`", TEXT)
"""What stands in backticks outside of the blocks."""


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", PAGE, flags=re.DOTALL | re.MULTILINE)


def shell_lines() -> list[str]:
    return "\n".join(blocks("sh")).replace("\\\n", " ").splitlines()


def commands() -> Iterator[list[str]]:
    """The words behind `patchwatch`, in blocks and in running text."""
    quoted = [code for code in CODE if code.startswith("patchwatch ")]
    for line in [*shell_lines(), *quoted]:
        words = shlex.split(line, comments=True)
        if words and words[0] == "patchwatch":
            yield words[1:]


@pytest.mark.parametrize("words", list(commands()), ids=" ".join)
def test_every_command_that_it_shows_parses(words: list[str]) -> None:
    assert words[0] in COMMANDS
    if words[1:]:
        assert make_parser(words[0]).parse_args(words[1:])


def test_the_ways_to_an_engine_a_service_and_a_report_are_shown() -> None:
    shown = [" ".join(words) for words in commands()]
    for needed in ("--engine", "--backend tensorrt", "--config configs/jetson.yaml", "--selftest"):
        assert any(needed in line for line in shown), needed


def test_every_flag_that_it_names_exists() -> None:
    known = "".join(make_parser(name).format_help() for name in ("run", "export", "doctor"))
    known += "".join(make_parser("config").format_help())
    # Of venv and Docker; --device is a flag of both Docker and ours.
    foreign = {"--system-site-packages", "--runtime", "--group-add", "--build-arg"}
    named = {code.split()[0] for code in CODE if code.startswith("--")}
    assert {"--precision", "--workspace", "--json"} <= named
    assert not {flag for flag in named - foreign if not re.search(rf"{flag}\b", known)}


def test_every_key_that_it_shows_is_one_of_the_configuration() -> None:
    for block in blocks("yaml"):
        assert build_config(yaml.safe_load(block), "the page")
    parts = {name for name, field in RunConfig.model_fields.items() if _is_part(field.annotation)}
    named = [code.partition(":")[0] for code in CODE if code.split(".")[0] in parts]
    assert {"capture.pixel_format", "output.json_lines"} <= set(named)
    for key in named:
        part, _, name = key.partition(".")
        assert name in getattr(RunConfig(), part).__class__.model_fields, key


def _is_part(annotation: object) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, BaseModel)


def test_the_lines_of_doctor_that_it_waits_for_are_there() -> None:
    waited = re.search(r"should say `ok` for (.*?), and of\s(.*?) `(.*?)`", TEXT, re.DOTALL)
    assert waited is not None
    names = re.split(r",\s| and ", waited[1])
    assert {*names, waited[2]} <= {check.name for check in CHECKS}
    assert any(waited[3] in text for text in _literals())


def test_every_file_of_ours_that_it_names_is_there() -> None:
    links = re.findall(r"\]\((?!http|#)([^)#]+)\)", PAGE)
    assert links and all((ROOT / "docs" / link).is_file() for link in links)
    words = [word for line in [*shell_lines(), *CODE] for word in line.split()]
    named = {word for word in words if re.match(r"(configs|deploy|docs|edge|export)/", word)}
    assert {"configs/jetson.yaml", "deploy/patchwatch.service", "deploy/jetson.Dockerfile"} <= named
    assert [name for name in named if not (ROOT / name).exists()] == []


def test_every_place_on_the_page_that_it_refers_to_is_there() -> None:
    headings = re.findall(r"^#+ (.+)$", PAGE, flags=re.MULTILINE)
    anchors = {re.sub(r"[^\w -]", "", heading).lower().replace(" ", "-") for heading in headings}
    referred = re.findall(r"\]\(#([^)]+)\)", PAGE)
    assert referred and set(referred) <= anchors
    steps = [int(heading.split(".")[0]) for heading in headings if heading[0].isdigit()]
    assert steps == list(range(1, len(steps) + 1))
    assert {int(n) for n in re.findall(r"\bsteps? (\d+)", PAGE)} <= set(steps)


@pytest.mark.parametrize("pixel_format", ["bgr", "nv12"])
def test_the_pipelines_are_those_that_the_program_builds(pixel_format: str) -> None:
    mode = CameraMode(pixel_format="nv12" if pixel_format == "nv12" else "bgr")
    assert csi_pipeline(0, mode) + "\n" in blocks("text")


def test_no_pipeline_is_claimed_that_the_program_does_not_build() -> None:
    assert len(blocks("text")) == 2
    pipelines = [line for line in shell_lines() if "rtspsrc" in line or "nvarguscamerasrc" in line]
    assert len(pipelines) == 2
    assert all(line.startswith("gst-launch-1.0") for line in pipelines)


@pytest.mark.parametrize(
    ("release", "revision"),
    [("36", "3"), ("36", "4.3"), ("36", "5"), ("38", "2"), ("38", "4"), ("39", "2.1")],
)
def test_its_versions_are_those_that_the_board_is_told_by(
    tmp_path: Path, release: str, revision: str
) -> None:
    (tmp_path / "etc").mkdir()
    line = f"# R{release} (release), REVISION: {revision}, GCID: 1, BOARD: generic"
    (tmp_path / "etc" / "nv_tegra_release").write_text(line)
    jetpack = read_board(tmp_path).jetpack
    assert jetpack is not None
    short = f"{release}.{revision[0]}"
    rows = [row for row in _version_rows() if short in row[1] or row[1] == f"{release}.x"]
    assert len(rows) == 1
    assert set(jetpack.split(" or ")) <= set(rows[0][0].split(", "))


def _version_rows() -> list[list[str]]:
    table = PAGE.partition("## Versions")[2].partition("\n\n## ")[0]
    cells = [[cell.strip() for cell in line.split("|")[1:-1]] for line in table.splitlines()]
    return [row for row in cells if len(row) == 6 and row[0][:1].isdigit()]


def sentences() -> list[str]:
    """What the page says that Patchwatch says: the first column of the first table of troubles."""
    part = PAGE.partition("What Patchwatch says")[2].partition("What others say")[0]
    return re.findall(r"^\| `([^`]+)` \|", part, flags=re.MULTILINE)


@cache
def _literals() -> list[str]:
    """Every text of the program, with … where a value is put in."""
    found = []
    for room in ("edge", "export"):
        for path in sorted((ROOT / room).rglob("*.py")):
            tree = ast.parse(path.read_text(encoding="utf-8"))
            found += [text for node in ast.walk(tree) if (text := _literal(node))]
    return found


def _literal(node: ast.AST) -> str | None:
    if isinstance(node, ast.JoinedStr):
        parts = (str(p.value) if isinstance(p, ast.Constant) else "…" for p in node.values)
        return "".join(parts).replace("….…", "…")  # a version in two numbers
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return re.sub(r"%[sd]", "…", node.value)
    return None


@pytest.mark.parametrize("sentence", sentences())
def test_every_sentence_that_it_explains_is_one_that_the_program_says(sentence: str) -> None:
    said = sentence.strip("…")
    assert len(said.replace("…", "")) >= 12
    assert any(said in text for text in _literals())


def test_the_sentences_were_found() -> None:
    rows = PAGE.partition("What Patchwatch says")[2].partition("What others say")[0]
    assert len(sentences()) == rows.count("\n| ") - 2 >= 15


def test_one_liners_of_python_are_python() -> None:
    shown = [words for line in shell_lines() if (words := shlex.split(line, comments=True))]
    programs = [words[2] for words in shown if words[:2] == ["python3", "-c"]]
    assert programs
    for program in programs:
        compile(program, "the page", "exec")


def test_whatever_pip_may_bring_stays_with_numpy_1() -> None:
    """The system's OpenCV cannot be imported beside NumPy 2."""
    lines = [line for line in shell_lines() if "pip install" in line]
    order = [line for line in lines if "numpy" in line]
    # With numpy<2 alone pip is content with the older one of the system, which we are not.
    assert "'numpy>=1.24,<2'" in order[0]
    sh = "\n".join(shell_lines())
    assert sh.index("'numpy>=1.24,<2'") < sh.index("make setup")


def test_the_readme_leads_here() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    section = readme.partition("## Jetson\n")[2].partition("\n## ")[0]
    assert "](docs/jetson.md)" in section
    assert "numpy>=1.24,<2" in section
    assert len(section.strip().splitlines()) <= 16
