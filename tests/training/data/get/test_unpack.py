from __future__ import annotations

import io
import shutil
import stat
import tarfile
import zipfile
from pathlib import Path

import pytest

from training.data.get.errors import FetchError
from training.data.get.unpack import unpack


def write_zip(path: Path, files: dict[str, bytes], link: str = "") -> Path:
    """A zip; `link` names a member that is a symbolic link."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            member = zipfile.ZipInfo(name)
            mode = stat.S_IFLNK if name == link else stat.S_IFREG
            member.external_attr = (mode | 0o644) << 16
            archive.writestr(member, data)
    return path


def write_tar(path: Path, files: dict[str, bytes], links: dict[str, str] | None = None) -> Path:
    """A gzipped tar; `links` gives symbolic links with their targets."""
    with tarfile.open(path, "w:gz") as archive:
        for name, data in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
        for name, to in (links or {}).items():
            member = tarfile.TarInfo(name)
            member.type, member.linkname = tarfile.SYMTYPE, to
            archive.addfile(member)
    return path


FILES = {"set/0_real/a.png": b"real" * 99, "set/1_fake/ä.png": b"fake" * 99}


@pytest.mark.parametrize("write", [write_zip, write_tar])
def test_an_archive_is_unpacked_whatever_its_name(tmp_path: Path, write: object) -> None:
    assert callable(write)
    told: list[int] = []
    archive = write(tmp_path / "strange.bin", FILES)
    unpack(archive, tmp_path / "out", lambda done, total: told.append(done))
    for name, data in FILES.items():
        assert (tmp_path / "out" / name).read_bytes() == data
    assert told == [1, 2]


@pytest.mark.parametrize("name", ["../evil", "/tmp/evil", "a/../../evil", "..\\evil"])
def test_a_zip_that_leads_out_is_refused(tmp_path: Path, name: str) -> None:
    archive = write_zip(tmp_path / "a.zip", {"good": b"1", name: b"2"})
    _refused(archive, tmp_path, "leads out of the folder")


def test_a_zip_with_a_link_is_refused(tmp_path: Path) -> None:
    archive = write_zip(tmp_path / "a.zip", {"good": b"1", "link": b"/etc/passwd"}, link="link")
    _refused(archive, tmp_path, "is a link")


@pytest.mark.parametrize("name", ["../evil", "a/../../evil"])
def test_a_tar_that_leads_out_is_refused(tmp_path: Path, name: str) -> None:
    _refused(write_tar(tmp_path / "a.tar", {"good": b"1", name: b"2"}), tmp_path, "not safe")


@pytest.mark.parametrize("to", ["/etc/passwd", "../../outside"])
def test_a_tar_with_a_link_that_leads_out_is_refused(tmp_path: Path, to: str) -> None:
    _refused(write_tar(tmp_path / "a.tar", {"good": b"1"}, {"link": to}), tmp_path, "not safe")


def test_a_broken_zip_leaves_nothing(tmp_path: Path) -> None:
    archive = write_zip(tmp_path / "a.zip", {"a": bytes(range(256)) * 40, "b": b"x"})
    data = bytearray(archive.read_bytes())
    data[60:90] = b"\0" * 30
    archive.write_bytes(data)
    _refused(archive, tmp_path, "is broken")


def test_a_short_tar_leaves_nothing(tmp_path: Path) -> None:
    archive = write_tar(tmp_path / "a.tar", {str(i): bytes(2000) for i in range(9)})
    archive.write_bytes(archive.read_bytes()[:-40])
    _refused(archive, tmp_path, "is broken")


def test_what_is_no_archive_is_said(tmp_path: Path) -> None:
    (tmp_path / "a.zip").write_bytes(b"hello")
    _refused(tmp_path / "a.zip", tmp_path, "expected to be a zip or tar archive, and is neither")


def test_too_little_room_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    little = shutil.disk_usage(tmp_path)._replace(free=10)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: little)
    archive = write_zip(tmp_path / "a.zip", FILES)
    _refused(archive, tmp_path, "unpacks to 792 bytes .* has 10")


def test_what_an_interrupted_run_left_is_cleared(tmp_path: Path) -> None:
    (tmp_path / ".out.unpacking").mkdir()
    (tmp_path / ".out.unpacking" / "old").write_bytes(b"old")
    unpack(write_zip(tmp_path / "a.zip", FILES), tmp_path / "out")
    assert [p.name for p in (tmp_path / "out").iterdir()] == ["set"]


def _refused(archive: Path, tmp_path: Path, text: str) -> None:
    before = set(tmp_path.parent.rglob("*"))
    with pytest.raises(FetchError, match=text):
        unpack(archive, tmp_path / "out")
    assert set(tmp_path.parent.rglob("*")) == before
