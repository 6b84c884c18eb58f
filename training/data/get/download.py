"""Download a file over HTTP by pooch, such that it can stop at any moment and go on later."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path

import pooch
import requests
import urllib3
from requests.adapters import HTTPAdapter
from requests.exceptions import RequestException

from edge.errors import PatchwatchError

RETRIES = urllib3.Retry(
    5, connect=1, backoff_factor=1, status_forcelist=(408, 425, 429, 500, 502, 503, 504)
)
_CHUNK_BYTES = 2**18
_TIMEOUT_S = (15.0, 60.0)

OnBytes = Callable[[int, "int | None"], None]
"""Called with the bytes so far and the bytes of the whole file, if that is known."""


class FetchError(PatchwatchError):
    """Something published cannot be had; says what to do instead."""


class AddressError(FetchError):
    """An address does not give the file."""


def disk_error(path: Path, error: OSError) -> FetchError:
    """Why a file cannot be written, as a sentence; what was written before stays."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return FetchError(
            f"The disk that holds {path.parent} is full. What came so far is kept: make room, "
            "then run the same command again."
        )
    return FetchError(f"{path} cannot be written: {error.strerror or error}.")


def download(
    address: str,
    target: Path,
    sha256: str | None = None,
    on_bytes: OnBytes = lambda done, total: None,
    retries: urllib3.Retry = RETRIES,
) -> None:
    """Fetch a file into an existing folder, by way of TARGET.part, which goes on when it is there.

    Raises:
        AddressError: it cannot be had there, or a page came instead.
        FetchError: the disk is full, or the file is not what was published, and was deleted.
            What came is kept in every other case.
    """
    pooch.get_logger().setLevel("WARNING")
    downloader = _Resuming(target, on_bytes, retries)
    try:
        pooch.retrieve(address, sha256, target.name, target.parent, downloader=downloader)
    except ValueError as error:  # as pooch says that the hash differs
        digest = str(error).partition("but got ")[2].partition(".")[0]
        raise FetchError(
            f"{address} is not what was published: its sha256 is {digest}, expected {sha256}. It "
            "was deleted: run the same command again, or take a good copy."
        ) from error
    except (RequestException, urllib3.exceptions.HTTPError) as error:
        raise AddressError(
            f"{address} could not be fetched: {error}. What came so far is kept: check the "
            "network, then run the same command again."
        ) from error
    except OSError as error:
        raise disk_error(target, error) from error


class _Resuming:
    """Downloads for pooch: appends to NAME.part, then moves it to where pooch wants it.

    NAME.part.tag holds address and ETag or date of the file that the part is of, as a server must
    confirm that it is still the same (If-Range; RFC 9110, 13.1.5, which takes no weak tag).
    """

    def __init__(self, target: Path, on_bytes: OnBytes, retries: urllib3.Retry) -> None:
        self._part = target.with_name(f"{target.name}.part")
        self._tag = target.with_name(f"{target.name}.part.tag")
        self._on_bytes, self._retries = on_bytes, retries

    def __call__(self, url: str, output_file: str, pooch: object) -> None:
        os.unlink(output_file)  # is empty, and would be left by a run that is killed
        with requests.Session() as session:
            session.mount(url, HTTPAdapter(max_retries=self._retries))
            while True:
                have = self._size()
                try:
                    self._go_on(session, url, have)
                    break
                except urllib3.exceptions.HTTPError:  # the connection broke
                    if self._size() <= have:
                        raise
        os.replace(self._part, output_file)
        self._tag.unlink(missing_ok=True)

    def _size(self) -> int:
        return self._part.stat().st_size if self._part.exists() else 0

    def _go_on(self, session: requests.Session, url: str, have: int) -> None:
        headers = {"Accept-Encoding": "identity"}
        known, _, tag = self._tag.read_text().partition("\n") if self._tag.exists() else ("",) * 3
        if have and tag and known == url:
            headers |= {"Range": f"bytes={have}-", "If-Range": tag}
        with session.get(url, headers=headers, stream=True, timeout=_TIMEOUT_S) as response:
            if response.status_code != 416:  # else the part is whole already
                self._receive(response, url, have)

    def _receive(self, response: requests.Response, url: str, have: int) -> None:
        if response.status_code != 206:
            _require_file(response, url)
            have = 0
            tag = response.headers.get("ETag", "W/")
            tag = response.headers.get("Last-Modified", "") if tag.startswith("W/") else tag
            self._part.unlink(missing_ok=True)  # first, as the tag must not speak of its bytes
            self._tag.write_text(f"{url}\n{tag}")
        length = response.headers.get("Content-Length", "")
        total = have + int(length) if length.isdigit() else None
        with self._part.open("ab", buffering=0) as file:
            self._on_bytes(have, total)
            # What has come, and no more: the rest of a chunk may never come.
            while chunk := response.raw.read1(_CHUNK_BYTES):
                file.write(chunk)
                have += len(chunk)
                self._on_bytes(have, total)


def _require_file(response: requests.Response, address: str) -> None:
    status = response.status_code
    if response.headers.get("Content-Type", "").lower().startswith("text/html") and status == 200:
        raise AddressError(
            f"{address} answered with a page for people (a form or a confirmation) instead of the "
            "file. Open it in a browser, download the file there, and pass it with --from FILE."
        )
    if status != 200:
        raise AddressError(
            f"{address} cannot be had (the server answered {status}). Fetch the file by hand where "
            "its page allows, and pass it with --from."
        )
