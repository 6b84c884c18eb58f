from __future__ import annotations

import json
from pathlib import Path

from benchmarks.results_file import write_result


def test_a_result_says_where_and_with_what_it_was_measured(tmp_path: Path) -> None:
    path = write_result("start", {"a_s": 1.5}, {"rounds": 3}, tmp_path)
    data = json.loads(path.read_text())
    assert path.name.startswith("start_")
    assert data["figures"] == {"a_s": 1.5} and data["config"] == {"rounds": 3}
    assert data["machine"]["cpu"] and data["machine"]["libraries"]["onnxruntime"]
    assert data["commit"]
