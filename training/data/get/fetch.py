"""Download a file over HTTP so that it can stop at any moment and go on later."""

from __future__ import annotations

import re
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import httpx

from training.data.get.errors import AddressError, FetchError
from training.data.get.part_file import PartFile, Version, open_part

RETRIES = 5
"""Attempts in a row that may bring nothing before it is given up."""

LONGEST_WAIT_S = 60.0
_TIMEOUT = httpx.Timeout(60.0, connect=15.0)
_BUSY = frozenset({408, 425, 429, 500, 502, 503, 504})
_PAGE_STARTS = (b"<!doctype html", b"<html")

OnBytes = Callable[[int, "int | None"], None]
"""Called with the bytes so far and the bytes of the whole file, if that is known."""


class _AgainError(Exception):
    """An attempt that failed for now."""

    def __init__(self, reason: str, wait_s: float | None = None) -> None:
        super().__init__(reason)
        self.wait_s = wait_s


def download(
    address: str,
    target: Path,
    on_bytes: OnBytes = lambda done, total: None,
    on_note: Callable[[str], None] = lambda text: None,
    pause: Callable[[float], None] = time.sleep,
) -> None:
    """Fetch a file into TARGET.part, from where an earlier run stopped if the server allows it.

    Args:
        address: http or https.
        target: not written; its folder exists.
        on_bytes: told the progress.
        on_note: told why it waits, in a sentence.
        pause: waits for so many seconds.

    Raises:
        AddressError: it cannot be had there, or a page came instead.
        FetchError: the disk is full. What came is kept in every case.
    """
    failures = 0
    headers = {"Accept-Encoding": "identity", "User-Agent": "patchwatch"}
    with (
        open_part(target) as part,
        httpx.Client(follow_redirects=True, timeout=_TIMEOUT, headers=headers) as client,
    ):
        while True:
            before = part.size
            try:
                return _attempt(client, address, part, target, on_bytes)
            except (httpx.TransportError, _AgainError) as error:
                failures = 1 if part.size > before else failures + 1
                _wait(address, error, failures, on_note, pause)
            except (httpx.InvalidURL, httpx.RequestError) as error:
                raise AddressError(f"{address} cannot be asked: {error}.") from error


def _wait(
    address: str,
    error: Exception,
    failures: int,
    on_note: Callable[[str], None],
    pause: Callable[[float], None],
) -> None:
    reason = str(error) or type(error).__name__
    if failures > RETRIES:
        raise AddressError(
            f"{address} could not be fetched: {reason}. What came so far is kept: check the "
            "network, then run the same command again."
        ) from error
    asked = error.wait_s if isinstance(error, _AgainError) else None
    seconds = min(2.0 ** (failures - 1) if asked is None else asked, LONGEST_WAIT_S)
    on_note(f"{reason}; trying again in {seconds:g} s ({failures} of {RETRIES})")
    pause(seconds)


def _attempt(
    client: httpx.Client, address: str, part: PartFile, target: Path, on_bytes: OnBytes
) -> None:
    with client.stream("GET", address, headers=_continuation(part, address)) as response:
        if response.status_code == httpx.codes.REQUESTED_RANGE_NOT_SATISFIABLE:
            return _past_the_end(response, part, address)
        _require_file(response, address)
        _place(response, part, address)
        assert part.version is not None
        total = part.version.total
        _require_room(target, part.size, total)
        on_bytes(part.size, total)
        # No chunk size: httpx would gather one, and lose it where the connection breaks.
        for chunk in response.iter_raw():
            if part.size == 0 and chunk[:64].lstrip().lower().startswith(_PAGE_STARTS):
                raise page_instead(address)
            part.write(chunk)
            on_bytes(part.size, total)
    if total is not None and part.size != total:
        raise _AgainError(f"{part.size} of {total} bytes came")


def _continuation(part: PartFile, address: str) -> dict[str, str]:
    version = part.version
    if not part.size or version is None or version.address != address or not version.validator:
        return {}
    return {"Range": f"bytes={part.size}-", "If-Range": version.validator}


def _require_file(response: httpx.Response, address: str) -> None:
    status = response.status_code
    if status in _BUSY:
        raise _AgainError(f"the server answered {status}", _retry_after(response))
    if status in (401, 403):
        raise AddressError(
            f"{address} is not open to everyone (the server answered {status}). Fetch it by hand "
            "where its page allows, and pass it with --from."
        )
    if status not in (200, 206):
        raise AddressError(
            f"{address} is not there (the server answered {status}). Fetch the file elsewhere and "
            "pass it with --from, or name a mirror with --address."
        )
    if response.headers.get("Content-Type", "").lower().startswith("text/html"):
        raise page_instead(address)


def page_instead(address: str) -> AddressError:
    """A page came where a file was expected."""
    return AddressError(
        f"{address} answered with a page for people (a form or a confirmation) instead of the "
        "file. Open it in a browser, download the file there, and pass it with --from FILE."
    )


def _place(response: httpx.Response, part: PartFile, address: str) -> None:
    """Have the part stand where the body begins."""
    if response.status_code == 206:
        first, total = _content_range(response)
        assert part.version is not None
        if first == part.size and total == part.version.total:
            return
        part.restart(Version(address=address))
        raise _AgainError("the file has changed on the server", wait_s=0)
    length = response.headers.get("Content-Length", "")
    total = int(length) if length.isdigit() else None
    part.restart(Version(address=address, validator=_validator(response), total=total))


def _past_the_end(response: httpx.Response, part: PartFile, address: str) -> None:
    _, total = _content_range(response)
    if total != part.size or part.version is None or part.version.total not in (None, total):
        part.restart(Version(address=address))
        raise _AgainError("the file has changed on the server", wait_s=0)


def _content_range(response: httpx.Response) -> tuple[int | None, int | None]:
    pattern = r"bytes (?:(\d+)-\d+|\*)/(\d+|\*)"
    match = re.fullmatch(pattern, response.headers.get("Content-Range", "").strip())
    if match is None:
        return None, None
    first, total = match.groups()
    return int(first) if first else None, None if total == "*" else int(total)


def _validator(response: httpx.Response) -> str | None:
    tag: str = response.headers.get("ETag", "")
    # If-Range takes no weak tag (RFC 9110, 13.1.5).
    if tag and not tag.startswith("W/"):
        return tag
    date: str | None = response.headers.get("Last-Modified")
    return date


def _retry_after(response: httpx.Response) -> float | None:
    seconds: str = response.headers.get("Retry-After", "")
    return float(seconds) if seconds.isdigit() else None


def _require_room(target: Path, have: int, total: int | None) -> None:
    free = shutil.disk_usage(target.parent).free
    if total is not None and total - have > free:
        raise FetchError(
            f"{target.name} needs {total - have} more bytes and the disk that holds "
            f"{target.parent} has {free}. Make room, or name another folder with --output."
        )
