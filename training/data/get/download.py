"""Download a file over HTTP by pooch, such that it can stop at any moment and go on later."""

from __future__ import annotations

import fcntl
import json
import os
import re
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from io import FileIO
from pathlib import Path

import pooch
import requests
import urllib3
from requests.exceptions import ConnectionError, RequestException, Timeout

from training.data.get.errors import AddressError, FetchError, disk_error

RETRIES = 5
"""Attempts in a row that may bring nothing before it is given up."""

LONGEST_WAIT_S = 60.0
_CHUNK_BYTES = 2**18
_TIMEOUT_S = (15.0, 60.0)
_BUSY = frozenset({408, 425, 429, 500, 502, 503, 504})
_PAGE_STARTS = (b"<!doctype html", b"<html")
_RANGE = re.compile(r"bytes (?:(\d+)-\d+|\*)/(\d+|\*)")

OnBytes = Callable[[int, "int | None"], None]
"""Called with the bytes so far and the bytes of the whole file, if that is known."""


class _RetryError(Exception):
    """An attempt that failed for now."""

    def __init__(self, reason: str, wait_s: float | None = None) -> None:
        super().__init__(reason)
        self.wait_s = wait_s


_TRY_AGAIN = (_RetryError, ConnectionError, Timeout, urllib3.exceptions.HTTPError)


def download(
    address: str,
    target: Path,
    sha256: str | None = None,
    on_bytes: OnBytes = lambda done, total: None,
    on_note: Callable[[str], None] = lambda text: None,
    pause: Callable[[float], None] = time.sleep,
) -> None:
    """Fetch a file, by way of TARGET.part, which an earlier run may have left.

    Args:
        address: http or https.
        target: appears when the file is whole and checked; its folder exists.
        sha256: of the file, in hexadecimal; None where nobody has published it.
        on_bytes: called with the progress.
        on_note: called with the reason of a wait, in a sentence.
        pause: waits for so many seconds.

    Raises:
        AddressError: it cannot be had there, or a page came instead.
        FetchError: the disk is full, or the file is not what was published, and was deleted.
            What came is kept in every other case.
    """
    pooch.get_logger().setLevel("WARNING")
    downloader = _Resuming(target, on_bytes, on_note, pause)
    try:
        pooch.retrieve(address, sha256, target.name, target.parent, downloader=downloader)
    except ValueError as error:  # as pooch says that the hash differs
        digest = str(error).partition("but got ")[2].partition(".")[0]
        raise FetchError(
            f"{address} is not what was published: its sha256 is {digest}, expected {sha256}. It "
            "was deleted: run the same command again, or take a good copy."
        ) from error
    except OSError as error:
        raise disk_error(target, error) from error


class _Resuming:
    """Downloads for pooch: appends to NAME.part, then moves it to where pooch wants it."""

    def __init__(
        self,
        target: Path,
        on_bytes: OnBytes,
        on_note: Callable[[str], None],
        pause: Callable[[float], None],
    ) -> None:
        self._part = target.with_name(f"{target.name}.part")
        self._note = target.with_name(f"{target.name}.part.json")
        self._on_bytes, self._on_note, self._pause = on_bytes, on_note, pause

    def __call__(self, url: str, output_file: str, pooch: object) -> None:
        os.unlink(output_file)  # is empty, and would be left by a run that is killed
        failures = 0
        with self._locked() as file, requests.Session() as session:
            session.headers.update({"Accept-Encoding": "identity", "User-Agent": "patchwatch"})
            while True:
                before = file.seek(0, os.SEEK_END)
                try:
                    self._attempt(session, url, file)
                    break
                except _TRY_AGAIN as error:
                    failures = 1 if file.tell() > before else failures + 1
                    self._wait(url, error, failures)
                except RequestException as error:
                    raise AddressError(f"{url} cannot be asked: {error}.") from error
        os.replace(self._part, output_file)
        self._note.unlink(missing_ok=True)

    def _attempt(self, session: requests.Session, url: str, file: FileIO) -> None:
        have = file.tell()
        with session.get(
            url, headers=self._continuation(url, have), stream=True, timeout=_TIMEOUT_S
        ) as response:
            if response.status_code not in (206, 416):
                _require_file(response, url)
                self._restart(response, url, file)
            elif _content_range(response)[0] != (have if response.status_code == 206 else None):
                raise _RetryError("the server gave another part than was asked for")
            total = _content_range(response)[1]
            if response.status_code == 416:
                if total != have:
                    file.truncate(0)
                    raise _RetryError("the file has changed on the server", wait_s=0)
                return
            _require_room(self._part, file.tell(), total)
            self._on_bytes(file.tell(), total)
            # What has come, and no more: the rest of a chunk may never come.
            while chunk := response.raw.read1(_CHUNK_BYTES):
                if not file.tell() and chunk[:64].lstrip().lower().startswith(_PAGE_STARTS):
                    raise page_instead(url)
                file.write(chunk)
                self._on_bytes(file.tell(), total)
        if total is not None and file.tell() != total:
            raise _RetryError(f"{file.tell()} of {total} bytes came")

    def _continuation(self, url: str, have: int) -> dict[str, str]:
        try:
            note = json.loads(self._note.read_bytes())
            if have and note["address"] == url and note["validator"]:
                return {"Range": f"bytes={have}-", "If-Range": note["validator"]}
        except (OSError, ValueError, KeyError, TypeError):
            pass
        return {}

    def _restart(self, response: requests.Response, url: str, file: FileIO) -> None:
        """Throw away what came so far; the note goes first, as it must not speak of other bytes."""
        self._note.unlink(missing_ok=True)
        if file.tell():
            file.truncate(0)
            file.seek(0)
        tag = response.headers.get("ETag", "")
        # If-Range takes no weak tag (RFC 9110, 13.1.5).
        strong = tag if not tag.startswith("W/") else ""
        validator = strong or response.headers.get("Last-Modified")
        self._note.write_text(json.dumps({"address": url, "validator": validator}))

    def _wait(self, url: str, error: Exception, failures: int) -> None:
        reason = str(error) or type(error).__name__
        if failures > RETRIES:
            raise AddressError(
                f"{url} could not be fetched: {reason}. What came so far is kept: check the "
                "network, then run the same command again."
            ) from error
        asked = error.wait_s if isinstance(error, _RetryError) else None
        seconds = min(2.0 ** (failures - 1) if asked is None else asked, LONGEST_WAIT_S)
        self._on_note(f"{reason}; trying again in {seconds:g} s ({failures} of {RETRIES})")
        self._pause(seconds)

    @contextmanager
    def _locked(self) -> Iterator[FileIO]:
        """The part, for one process alone."""
        with self._part.open("ab", buffering=0) as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise FetchError(
                    f"{self._part} is being written by another run. Wait for it, or stop it."
                ) from error
            yield file


def page_instead(address: str) -> AddressError:
    """A page came where a file was expected."""
    return AddressError(
        f"{address} answered with a page for people (a form or a confirmation) instead of the "
        "file. Open it in a browser, download the file there, and pass it with --from FILE."
    )


def _require_file(response: requests.Response, address: str) -> None:
    status = response.status_code
    if status in _BUSY:
        seconds = response.headers.get("Retry-After", "")
        wait_s = float(seconds) if seconds.isdigit() else None
        raise _RetryError(f"the server answered {status}", wait_s)
    if status in (401, 403):
        raise AddressError(
            f"{address} is not open to everyone (the server answered {status}). Fetch it by hand "
            "where its page allows, and pass it with --from."
        )
    if status != 200:
        raise AddressError(
            f"{address} is not there (the server answered {status}). Fetch the file elsewhere and "
            "pass it with --from, or name a mirror with --address."
        )
    if response.headers.get("Content-Type", "").lower().startswith("text/html"):
        raise page_instead(address)


def _content_range(response: requests.Response) -> tuple[int | None, int | None]:
    """Where the body begins, and the bytes of the whole file; None where it is not said."""
    match = _RANGE.fullmatch(response.headers.get("Content-Range", "").strip())
    if match is not None:
        first, total = match.groups()
        return int(first) if first else None, None if total == "*" else int(total)
    length = response.headers.get("Content-Length", "")
    return None, int(length) if length.isdigit() and response.status_code == 200 else None


def _require_room(part: Path, have: int, total: int | None) -> None:
    free = shutil.disk_usage(part.parent).free
    if total is not None and total - have > free:
        raise FetchError(
            f"{part.stem} needs {total - have} more bytes and the disk that holds "
            f"{part.parent} has {free}. Make room, or name another folder with --output."
        )
