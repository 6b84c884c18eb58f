"""Unpack an archive of strangers: nothing outside the folder, and all of it or nothing."""

from __future__ import annotations

import gzip
import lzma
import os
import shutil
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path, PurePosixPath

from training.data.get.errors import FetchError, disk_error

OnMember = Callable[[int, "int | None"], None]
"""Called with the members so far and the number of all, if that is known."""


_BROKEN = (
    zipfile.BadZipFile,
    tarfile.TarError,
    gzip.BadGzipFile,
    lzma.LZMAError,
    zlib.error,
    EOFError,
)


def unpack(archive: Path, folder: Path, on_member: OnMember = lambda done, total: None) -> None:
    """Unpack a zip or tar, recognised by content, beside the folder, and put it in place at the
    end.

    Raises:
        FetchError: not such an archive, broken, encrypted, not safe, or there is no room.
    """
    beside = folder.with_name(f".{folder.name}.unpacking")
    shutil.rmtree(beside, ignore_errors=True)
    try:
        beside.mkdir()
        _unpack_into(archive, beside, on_member)
        os.replace(beside, folder)
    except tarfile.FilterError as error:
        raise FetchError(f"{archive} is not safe to unpack: {error}.") from error
    except _BROKEN as error:
        raise FetchError(f"{archive} is broken ({error}). Delete it and fetch it again.") from error
    except NotImplementedError as error:
        raise FetchError(f"{archive} cannot be unpacked here ({error}); do it by hand.") from error
    except OSError as error:
        raise disk_error(folder, error) from error
    finally:
        shutil.rmtree(beside, ignore_errors=True)


def _unpack_into(archive: Path, folder: Path, on_member: OnMember) -> None:
    if zipfile.is_zipfile(archive):
        _unzip(archive, folder, on_member)
    elif tarfile.is_tarfile(archive):
        _untar(archive, folder, on_member)
    else:
        raise FetchError(f"{archive} was expected to be a zip or tar archive, and is neither.")


def _unzip(archive: Path, folder: Path, on_member: OnMember) -> None:
    with zipfile.ZipFile(archive) as opened:
        members = opened.infolist()
        for member in members:
            _require_safe(archive, member)
        _require_room(archive, folder, sum(member.file_size for member in members))
        for done, member in enumerate(members, start=1):
            opened.extract(member, folder)
            on_member(done, len(members))


def _untar(archive: Path, folder: Path, on_member: OnMember) -> None:
    with tarfile.open(archive) as opened:
        for done, member in enumerate(opened, start=1):
            opened.extract(member, folder, filter="data")
            on_member(done, None)


def _require_safe(archive: Path, member: zipfile.ZipInfo) -> None:
    path = PurePosixPath(member.filename.replace("\\", "/"))
    if path.is_absolute() or ".." in path.parts:
        raise FetchError(
            f"{archive} is not safe to unpack: {member.filename!r} leads out of the folder."
        )
    if stat.S_ISLNK(member.external_attr >> 16):
        raise FetchError(f"{archive} is not safe to unpack: {member.filename!r} is a link.")
    if member.flag_bits & 1:
        raise FetchError(f"{archive} is encrypted; unpack it by hand.")


def _require_room(archive: Path, folder: Path, size: int) -> None:
    free = shutil.disk_usage(folder).free
    if size > free:
        raise FetchError(
            f"{archive.name} unpacks to {size} bytes and the disk that holds {folder.parent} has "
            f"{free}. Make room, or name another folder with --output; the archive is kept."
        )
