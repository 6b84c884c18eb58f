from __future__ import annotations

import pytest

from benchmarks.end_to_end.processes import cores, run_python
from edge.errors import PatchwatchError


def test_a_process_is_timed_and_heard() -> None:
    ended = run_python(["-c", "import time; time.sleep(0.2); print('done')"])
    assert ended.output == "done\n"
    assert 0.2 <= ended.wall_s < 5


def test_peak_memory_is_its_own_and_not_that_of_who_started_it() -> None:
    here = b"x" * 300_000_000
    small = run_python(["-c", "pass"]).peak_mb
    large = run_python(["-c", "b'x' * 200_000_000"]).peak_mb
    assert len(here) == 300_000_000
    assert small < 60
    assert 200 < large < 260


def test_a_failure_is_told_with_its_last_words() -> None:
    with pytest.raises(PatchwatchError, match=r"raise SystemExit.*failed: no such thing"):
        run_python(["-c", "raise SystemExit('first\\nno such thing')"])


def test_cores_are_counted() -> None:
    assert cores() >= 1
