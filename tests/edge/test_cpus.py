"""CPUs that a process may use: in files as both versions have them, and in a real group."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from edge.cpus import find_cpus
from tests.programs import in_python

PRESENT = os.cpu_count() or 1


@pytest.fixture
def cgroups(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(os, "cpu_count", lambda: 16)
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(12)), raising=False)
    return tmp_path / "cgroup"


def write(folder: Path, **files: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / name.replace("__", ".")).write_text(text + "\n")


V1 = "12:cpuset:/\n5:cpu,cpuacct:/docker/ab\n0::/\n"


@pytest.mark.parametrize(
    ("own", "group", "files", "usable"),
    [
        ("0::/pod/app", "pod/app", {"cpu__max": "250000 100000"}, 3),
        ("0::/pod/app", "pod", {"cpu__max": "200000 100000"}, 2),  # of a group above
        ("0::/outside/name", "", {"cpu__max": "50000 100000"}, 1),  # seen as the root
        ("0::/pod/app", "pod/app", {"cpu__max": "max 100000"}, 12),
        ("0::/", "", {"cpu__max": "1600000 100000"}, 12),  # affinity leaves fewer
        (V1, "cpu,cpuacct/docker/ab", {"cpu__cfs_quota_us": "150000"}, 2),
        (V1, "cpu,cpuacct", {"cpu__cfs_quota_us": "400000"}, 4),
        (V1, "cpu,cpuacct", {"cpu__cfs_quota_us": "-1"}, 12),
        (V1, "cpuset", {"cpu__cfs_quota_us": "100000"}, 12),
        ("", "", {}, 12),
    ],
)
def test_quotas_of_containers_count(
    cgroups: Path, own: str, group: str, files: dict[str, str], usable: int
) -> None:
    period = {"cpu__cfs_period_us": "100000"} if "cpu__cfs_quota_us" in files else {}
    write(cgroups / group, **files, **period)
    (cgroups.parent / "own").write_text(own)
    found = find_cpus(cgroups, cgroups.parent / "own")
    assert found[:2] == (usable, 16)
    assert ("quota" in str(found)) == (usable < 12)
    assert ("affinity" in str(found)) == (usable == 12)


def test_files_that_are_absent_or_strange_are_no_limit(cgroups: Path, tmp_path: Path) -> None:
    assert find_cpus(cgroups, tmp_path / "none").usable == 12
    write(cgroups, cpu__max="soon")
    (tmp_path / "own").write_text("0::/")
    assert find_cpus(cgroups, tmp_path / "own").usable == 12


SCRIPT = """
import os, sys
try:
    with open(sys.argv[1], "w") as members:
        members.write(str(os.getpid()))
except OSError:
    sys.exit("elsewhere")
if os.path.basename(os.path.dirname(sys.argv[1])) not in open("/proc/self/cgroup").read():
    sys.exit("elsewhere")
from edge.cpus import thread_limit
from edge.backends import open_backend
from edge.weights import shipped
with open_backend(shipped()["tiny-ladeda"]) as backend:
    threads = backend._session.get_session_options().intra_op_num_threads
print(thread_limit(), threads)
"""


@pytest.mark.skipif(PRESENT < 2, reason="one CPU cannot be divided")
def test_a_process_in_a_real_group_takes_as_many_threads_as_its_quota() -> None:
    group, version_2 = Path("/sys/fs/cgroup/cpu") / f"patchwatch-{os.getpid()}", False
    if not group.parent.is_dir():
        group, version_2 = Path("/sys/fs/cgroup") / group.name, True
    try:
        group.mkdir()
    except OSError as error:
        pytest.skip(f"control groups cannot be made here ({error})")
    try:
        if version_2:
            (group / "cpu.max").write_text("80000 100000")
        else:
            (group / "cpu.cfs_quota_us").write_text("80000")
        done = in_python(SCRIPT, str(group / "cgroup.procs"))
        if done.stderr.strip() == "elsewhere":
            pytest.skip("a process cannot be moved into a control group, or does not stay in it")
        assert done.returncode == 0, done.stderr
        assert done.stdout.split() == ["1", "1"]
    except OSError as error:
        pytest.skip(f"control groups cannot be limited here ({error})")
    finally:
        group.rmdir()
