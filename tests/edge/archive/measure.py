"""An archive on a Ray cluster of two nodes on loopback: rates, and what faults cost.

    python -m tests.edge.archive.measure

Small pictures with a word on them are scored by one worker, by two, by two of which one is killed,
and by two whose driver is killed and started again. Each time every picture must be in the output
once. Also: bytes of a row, and what a million names cost whoever lists them.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import psutil

from benchmarks.results_file import RESULTS, describe_machine, file_stem, now, write_json
from edge.archive.items import find_items
from tests.edge.archive.test_archive import tables
from tests.edge.archive.test_ray import is_worker

SIDE, NAMES = 256, 1_000_000


def main() -> int:
    """Measure, print and write it; the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pictures", type=int, default=5000, metavar="N")
    parser.add_argument("--output", type=Path, default=RESULTS, metavar="DIR")
    args = parser.parse_args()
    from ray.cluster_utils import Cluster

    load = os.getloadavg()
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    node = {"num_cpus": 1, "object_store_memory": 200 << 20}
    cluster = Cluster(initialize_head=True, head_node_args={**node, "include_dashboard": False})
    cluster.add_node(num_cpus=1, object_store_memory=200 << 20)
    with tempfile.TemporaryDirectory() as folder:
        write_pictures(Path(folder, "in"), args.pictures)
        try:
            rows = measure(Path(folder), str(cluster.address), args.pictures)
        finally:
            cluster.shutdown()
    result: dict[str, Any] = {
        "schema": 1,
        "theme": "archive",
        "time": now(),
        "machine": describe_machine(),
        "load_before": load,
        "load_after": os.getloadavg(),
        "size_wh": [SIDE, SIDE],
        "rows": rows,
        "listing": list_names(),
    }
    path = args.output / f"{file_stem('archive')}.json"
    write_json(path, result)
    sys.stdout.write(f"{path}\n")
    return 0


def write_pictures(folder: Path, count: int) -> None:
    """Smooth noise with a number on it, as JPEG."""
    folder.mkdir()
    rng = np.random.default_rng(27)
    for number in range(count):
        small = rng.integers(0, 256, (16, 16, 3), np.uint8)
        picture = cv2.resize(small, (SIDE, SIDE), interpolation=cv2.INTER_CUBIC)
        cv2.putText(picture, f"no. {number}", (8, 140), cv2.FONT_HERSHEY_SIMPLEX, 1.2, (0, 0, 0), 2)
        cv2.imwrite(str(folder / f"{number:06}.jpg"), picture)


def measure(folder: Path, address: str, count: int) -> list[dict[str, Any]]:
    """Each run, with what was scored and how fast."""
    words = [sys.executable, "-m", "patchwatch", "score", str(folder / "in"), "--ray", address]
    rows: list[dict[str, Any]] = []
    for workers, fault in ((1, ""), (2, ""), (2, "worker"), (2, "driver")):
        out = folder / f"out-{len(rows)}"
        command = [*words, "--output", str(out), "--workers", str(workers)]
        scored, kept, seconds = run(command, out, count, fault, address)
        size = sum(path.stat().st_size for path in out.rglob("*.parquet"))
        rows.append(
            {
                "workers": workers,
                "killed": fault or None,
                "pictures": count,
                "kept": kept,
                "seconds": seconds,
                "per_s": scored / seconds,
                "bytes_per_row": size / count,
            }
        )
        sys.stdout.write(f"{rows[-1]}\n")
        sys.stdout.flush()
    ratio = rows[1]["per_s"] / rows[0]["per_s"]
    sys.stdout.write(f"two workers score {ratio:.2f} times as fast as one\n")
    return rows


def run(
    command: list[str], out: Path, count: int, fault: str, cluster: str
) -> tuple[int, int, float]:
    """Pictures that the last driver scored, those it found in the tables, and its seconds."""
    kept = 0
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as driver:
        while fault and driver.poll() is None and len(tables(out)[0]) < 0.3 * count:
            time.sleep(0.5)
        if fault == "worker":
            next(p for p in psutil.process_iter() if is_worker(p, cluster)).kill()
        elif fault:
            driver.kill()
        said = driver.communicate()[1]
    if fault == "driver":
        kept = len(tables(out)[0])
        said = subprocess.run(command, stderr=subprocess.PIPE, text=True, check=False).stderr
    match = re.search(r"^(\d+) in ([\d.]+) s", said, re.MULTILINE)
    scores, errors = tables(out)  # holds that no source is in them twice
    assert match is not None and len(scores) == count and not errors, said
    assert int(match[1]) + kept == count, said
    return int(match[1]), kept, float(match[2])


def list_names() -> dict[str, float]:
    """What a million addresses cost, in seconds and bytes for each."""
    before, began = psutil.Process().memory_info().rss, time.monotonic()
    found = list(find_items(f"http://store/archive/{n:012}.jpg" for n in range(NAMES)))
    seconds = time.monotonic() - began
    size = psutil.Process().memory_info().rss - before
    return {"names": len(found), "seconds": seconds, "bytes_per_name": size / NAMES}


if __name__ == "__main__":
    raise SystemExit(main())
