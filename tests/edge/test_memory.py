from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest

from edge import memory
from edge.backends import open_backend
from edge.backends.base import MAX_BATCH
from edge.cpus import groups
from edge.detector import Detector, Stopwatch
from edge.errors import RegionError
from edge.memory import largest_batch, refuse_huge
from edge.regions import parse_region
from edge.types import Frame
from edge.weights import find_model
from patchwatch import main
from tests.fakes import FakeBackend as AnyBackend
from tests.fakes import barred, make_manifest
from tests.programs import in_python


class FakeBackend(AnyBackend):
    """Of an architecture whose memory is reckoned with as of most."""

    def __init__(self) -> None:
        super().__init__(manifest=make_manifest(architecture="lite0_levels"))


@pytest.fixture
def small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine with 1 GB left; the file that says so."""
    said = tmp_path / "meminfo"
    said.write_text("MemTotal: 2000000 kB\nMemAvailable:    1000000 kB\n")
    monkeypatch.setattr(memory, "_MEMINFO", said)
    return said


def test_what_would_not_fit_is_refused_with_what_it_takes(small: Path) -> None:
    backend = FakeBackend()
    refuse_huge(backend, 1700, 2000)
    with pytest.raises(RegionError, match=r"9999×9999 .* 24\.0 GB .* 0\.8 GB .*--region"):
        refuse_huge(backend, 9999, 9999)
    # What the backend has taken already is not asked for again.
    small.write_text("MemAvailable: 1000 kB\n")
    refuse_huge(backend, 1700, 2000)
    with pytest.raises(RegionError):
        refuse_huge(backend, 1800, 2000)
    with pytest.raises(RegionError):
        refuse_huge(FakeBackend(), 1700, 2000)


@pytest.mark.parametrize(
    ("own", "group", "files"),
    [
        ("0::/pod/app", "pod", ("memory.max", "memory.current", "inactive_file")),
        (
            "9:memory:/docker/ab",
            "memory",  # as the container sees it
            ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
        ),
    ],
)
def test_the_limit_of_a_container_counts(
    small: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    own: str,
    group: str,
    files: tuple[str, str, str],
) -> None:
    small.write_text("MemAvailable: 9000000 kB\n")
    (tmp_path / "own").write_text(own + "\n")
    folder = tmp_path / "cgroup" / group
    folder.mkdir(parents=True)
    find = partial(groups, cgroups=tmp_path / "cgroup", own=tmp_path / "own")
    monkeypatch.setattr(memory, "groups", find)
    most, used, cache = files
    (folder / used).write_text("900000000\n")
    (folder / "memory.stat").write_text(f"anon 5\n{cache} 400000000\n")
    for limit, taken in (("max", True), ("9223372036854771712", True), ("1000000000", False)):
        (folder / most).write_text(f"{limit}\n")
        if taken:
            refuse_huge(FakeBackend(), 1700, 2000)
            continue
        # 1.0 GB less 0.9, and 0.4 that would be given up
        with pytest.raises(RegionError, match=r"at most 0\.4 GB"):
            refuse_huge(FakeBackend(), 1700, 2000)


def test_never_more_than_six_gigabytes_and_also_where_nothing_tells(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for text in ("MemAvailable: 900000000 kB\n", "MemAvailable: lots\n", "", None):
        said = tmp_path / "meminfo"
        said.unlink(missing_ok=True)
        if text is not None:
            said.write_text(text)
        monkeypatch.setattr(memory, "_MEMINFO", said)
        refuse_huge(FakeBackend(), 4900, 5000)
        with pytest.raises(RegionError, match=r"at most 6\.0 GB"):
            refuse_huge(FakeBackend(), 5100, 5000)


def test_fewer_pictures_share_a_batch_where_they_are_large(small: Path) -> None:
    backend = FakeBackend()
    assert largest_batch(backend, 64, 64) == MAX_BATCH
    assert largest_batch(backend, 1000, 1000) == 1
    assert largest_batch(backend, 800, 700) == 3
    detector = Detector(backend, parse_region("tiles:720"))
    detector.detect(barred(128, 1440, 2160), Stopwatch())
    assert backend.batches == [3, 3]


def test_no_region_takes_more_than_its_frame(small: Path) -> None:
    frame = Frame(barred(128, 180, 320), 0, 0.0, "clip")
    for spec in ("center:9999", "tiles:9999", "fit:9999", "native"):
        detector = Detector(FakeBackend(), parse_region(spec))
        detector.warm_up()
        job = detector.start(frame, Stopwatch())
        assert job.error is None, spec
    with pytest.raises(RegionError, match="GB of memory"):
        Detector(FakeBackend(), parse_region("resize:9999")).warm_up()


def test_the_command_says_it(
    small: Path, tmp_path: Path, model: str, capsys: pytest.CaptureFixture[str]
) -> None:
    import cv2

    cv2.imwrite(str(tmp_path / "large.png"), barred(250, 3000, 4000))
    cv2.imwrite(str(tmp_path / "small.png"), barred(250, 200, 300))
    words = ["--model", model, "--region", "native"]
    pictures = [str(tmp_path / name) for name in ("large.png", "small.png")]
    assert main(["score", *pictures, *words, "--backend", "onnxruntime"]) == 1
    out = capsys.readouterr().out
    assert "large.png" in out and "GB of memory" in out and "1  " in out
    assert main(["score", str(tmp_path / "small.png"), "--region", "resize:9999", *words[:2]]) == 1
    assert "GB of memory" in capsys.readouterr().err


_TAKES = """
import re, sys
from pathlib import Path
import numpy as np
from edge.backends import open_backend
from edge.weights import find_model
def most_kb():
    return int(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1])
with open_backend(find_model(sys.argv[1]), 1) as backend:
    backend.infer(np.zeros((1, 64, 64, 3), np.uint8))
    before = most_kb()
    backend.infer(np.zeros((1, 1200, 1200, 3), np.uint8))
    print((most_kb() - before) * 1024 / 1200**2)
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs /proc")
@pytest.mark.parametrize("name", ["lite0-levels", "tiny-ladeda"])
def test_a_shipped_model_takes_what_is_reckoned_with(name: str) -> None:
    done = in_python(_TAKES, name)
    with open_backend(find_model(name), 1) as backend:
        reckoned = memory._bytes(backend)
    assert 0.5 * reckoned < float(done.stdout) < 1.1 * reckoned
