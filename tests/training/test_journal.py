from __future__ import annotations

import json
from pathlib import Path

import pytest
from rich.console import Console

from edge.errors import SinkError
from training.journal import LOG, Journal


def test_what_came_after_the_state_is_taken_back(tmp_path: Path) -> None:
    lines = [json.dumps({"step": step}) for step in (5, 10, 15)]
    (tmp_path / LOG).write_text("\n".join(lines) + '\n{"step": 2')
    with Journal(tmp_path, 10, Console()) as journal:
        journal.step(11, 0.5, 0.1)
        journal.validation(12, 0.5, 0.9, {"auc": {"a": 1.0}})
    found = [json.loads(line) for line in (tmp_path / LOG).read_text().splitlines()]
    assert [line["step"] for line in found] == [5, 10, 12]
    assert found[-1] == {"step": 12, "loss": 0.5, "score": 0.9, "auc": {"a": 1.0}}


def test_a_log_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    with Journal(tmp_path, 0, Console()) as journal:
        (tmp_path / LOG).mkdir()
        with pytest.raises(SinkError, match=r"log\.jsonl cannot be written"):
            journal.validation(1, 0.0, 0.0, {})
