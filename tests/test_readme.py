"""What the README shows must work: commands parse, targets exist, files are there."""

from __future__ import annotations

import re
import shlex
import subprocess
from pathlib import Path

import pytest

from benchmarks.readme import check_readme, newest
from patchwatch import COMMANDS, main, make_parser

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```sh\n(.*?)```", README, flags=re.DOTALL)
LINES = "\n".join(BLOCKS).replace("\\\n", " ").splitlines()
COMMAND_LINES = [shlex.split(line, comments=True) for line in LINES if "patchwatch" in line]


@pytest.mark.parametrize(
    "words",
    [words[1:] for words in COMMAND_LINES if words[0] == "patchwatch"],
    ids=lambda words: " ".join(words),
)
def test_every_command_that_it_shows_parses(words: list[str]) -> None:
    assert words[0] in COMMANDS
    assert make_parser(words[0]).parse_args(words[1:])


def test_every_make_target_that_it_names_exists() -> None:
    targets = set(re.findall(r"\bmake ([a-z]+)\b", "\n".join(LINES) + README))
    assert {"demo", "live", "test", "export", "setup"} <= targets
    for target in targets:
        command = ["make", "-n", target, "CHECKPOINT=x"]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr


def test_the_table_of_the_benchmark_is_that_of_the_newest_result() -> None:
    _, result = newest()
    assert check_readme(ROOT / "README.md", result) is None


def test_every_file_that_it_links_is_there() -> None:
    links = re.findall(r"\]\((?!http)([^)#]+)\)", README)
    assert links
    assert [link for link in links if not (ROOT / link).exists()] == []


def test_the_table_of_models_is_what_the_manifests_say(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models", "--markdown"]) == 0
    assert capsys.readouterr().out.strip() in README
