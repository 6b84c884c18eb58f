"""Download a file over HTTP by pooch, such that it can stop at any moment and go on later."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pooch
import requests
import urllib3
from requests.adapters import HTTPAdapter
from requests.exceptions import RequestException

from training.data.get.errors import AddressError, FetchError, disk_error

RETRIES = urllib3.Retry(
    5, connect=1, backoff_factor=1, status_forcelist=(408, 425, 429, 500, 502, 503, 504)
)
_CHUNK_BYTES = 2**18
_TIMEOUT_S = (15.0, 60.0)
_PAGE_STARTS = (b"<!doctype html", b"<html")

OnBytes = Callable[[int, "int | None"], None]
"""Called with the bytes so far and the bytes of the whole file, if that is known."""


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
        headers = {"Accept-Encoding": "identity", **self._range(url, have)}
        with session.get(url, headers=headers, stream=True, timeout=_TIMEOUT_S) as response:
            if response.status_code != 416:  # else the part is whole already
                self._receive(response, url, have)

    def _range(self, url: str, have: int) -> dict[str, str]:
        known, _, tag = self._tag.read_text().partition("\n") if self._tag.exists() else ("",) * 3
        return {"Range": f"bytes={have}-", "If-Range": tag} if have and tag and known == url else {}

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
        _require_room(self._part, have, total)
        with self._part.open("ab", buffering=0) as file:
            self._on_bytes(have, total)
            # What has come, and no more: the rest of a chunk may never come.
            while chunk := response.raw.read1(_CHUNK_BYTES):
                if not have and chunk[:64].lstrip().lower().startswith(_PAGE_STARTS):
                    raise _page_instead(url)
                file.write(chunk)
                have += len(chunk)
                self._on_bytes(have, total)


def _page_instead(address: str) -> AddressError:
    return AddressError(
        f"{address} answered with a page for people (a form or a confirmation) instead of the "
        "file. Open it in a browser, download the file there, and pass it with --from FILE."
    )


def _require_file(response: requests.Response, address: str) -> None:
    status = response.status_code
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
        raise _page_instead(address)


def _require_room(part: Path, have: int, total: int | None) -> None:
    free = shutil.disk_usage(part.parent).free
    if total is not None and total - have > free:
        raise FetchError(
            f"{part.stem} needs {total - have} more bytes and the disk that holds "
            f"{part.parent} has {free}. Make room, or name another folder with --output."
        )
