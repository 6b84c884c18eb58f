from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest

PARENT = """
import multiprocessing
from torch.utils.data import DataLoader
from training.loading_process import leave_signals_to_parent

class Large:
    def __len__(self): return 10**6
    def __getitem__(self, index): return bytes(2**20)

loader = DataLoader(Large(), batch_size=None, num_workers=1, collate_fn=lambda sample: sample,
                    worker_init_fn=leave_signals_to_parent, multiprocessing_context="fork")
batches = iter(loader)
next(batches)
print(multiprocessing.active_children()[0].pid, flush=True)
import time; time.sleep(60)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux can be asked to end a child")
def test_a_loading_process_does_not_outlive_a_parent_that_is_killed() -> None:
    root = Path(__file__).resolve().parents[2]
    with subprocess.Popen(
        [sys.executable, "-c", PARENT], cwd=root, stdout=subprocess.PIPE, text=True
    ) as parent:
        assert parent.stdout is not None
        worker = int(parent.stdout.readline())
        assert _lives(worker)
        parent.kill()
    end = time.monotonic() + 60
    while _lives(worker) and time.monotonic() < end:
        time.sleep(0.02)
    assert not _lives(worker)


def _lives(process: int) -> bool:
    """Whether it runs; a zombie that nobody has collected yet does not."""
    try:
        status = Path(f"/proc/{process}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False
    return status.rpartition(")")[2].split()[0] not in "ZX"
