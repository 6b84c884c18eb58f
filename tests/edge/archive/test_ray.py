"""An archive on a Ray cluster of two nodes on loopback, whose workers are killed."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import cv2
import psutil
import pytest

from tests.edge.archive.test_archive import PROGRAM, counted, tables
from tests.fakes import barred, wait_for
from tests.onnx_files import write_model
from tests.servers import Gate

pytest.importorskip("ray.data", reason="needs Ray: pip install 'patchwatch[ray]'")
pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def cluster() -> Iterator[str]:
    """The address of two nodes with a CPU each."""
    from ray.cluster_utils import Cluster

    nodes = {"num_cpus": 1, "object_store_memory": 100 << 20}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        made = Cluster(initialize_head=True, head_node_args={**nodes, "include_dashboard": False})
        made.add_node(**nodes)
        yield str(made.address)
        made.shutdown()


def test_every_file_is_scored_once_though_workers_are_killed(tmp_path: Path, cluster: str) -> None:
    folder, out, model = tmp_path / "in", tmp_path / "out", write_model(tmp_path / "m.onnx")
    folder.mkdir()
    for level in range(5, 255, 5):
        cv2.imwrite(str(folder / f"{level}.png"), barred(level))
    (folder / "broken.jpg").write_bytes(b"\xff\xd8\xff nothing more")
    held = (folder / "250.png").read_bytes()
    with Gate(held) as gate:
        words = [*PROGRAM, str(folder), f"{gate.address}/held.png", "--output", str(out)]
        words += ["--ray", cluster, "--model", str(model)]
        with subprocess.Popen(words, stderr=subprocess.PIPE, text=True) as driver:
            wait_for(lambda: gate.asked or driver.poll() is not None, 300)
            workers = [p for p in psutil.process_iter() if is_worker(p, cluster)]
            assert len(workers) == 2, driver.stderr and driver.stderr.read()
            for worker in workers:
                worker.kill()
            wait_for(lambda: gate.asked > 1 or driver.poll() is not None, 300)
            gate.open()
            said = driver.communicate()[1]
        assert counted(said)["failed"] == 1 and sum(counted(said).values()) == 52, said
        again = subprocess.run(words, capture_output=True, text=True, check=False)
    assert counted(again.stderr) == {"skipped": 51, "failed": 1}
    scores, errors = tables(out)
    assert len(scores) == 51 and [Path(name).name for name in errors] == ["broken.jpg"]


def is_worker(process: psutil.Process, cluster: str) -> bool:
    """Whether it is one that scores, of the cluster of an address and no other's."""
    try:
        scores = re.match(r"ray::.*Map\(Worker\)", process.cmdline()[0])
        parent = process.parent() if scores else None
        return parent is not None and f"--gcs-address={cluster}" in parent.cmdline()
    except (psutil.Error, IndexError):
        return False


def test_an_address_where_no_cluster_is(tmp_path: Path) -> None:
    picture, model = tmp_path / "p.png", write_model(tmp_path / "m.onnx")
    cv2.imwrite(str(picture), barred(5))
    words = [*PROGRAM, str(picture), "--output", str(tmp_path / "out"), "--model", str(model)]
    done = subprocess.run([*words, "--ray", "folder"], capture_output=True, text=True, check=False)
    assert done.returncode in (1, 2) and done.stderr.count("\n") == 1, done.stderr
