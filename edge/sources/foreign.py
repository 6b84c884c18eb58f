"""What is neither a picture nor a video, and what to do about it: PDFs and pages of the web."""

from __future__ import annotations

import re

LOOKED_AT = 4096
"""Bytes at the start of a file."""

_BEFORE = rb"\s*(?:<!--.*?-->\s*|<\?xml[^>]*>\s*)*"
_PAGE = re.compile(_BEFORE + rb"<(?:!doctype html|html|head)\b", re.I | re.S)
_BOM = b"\xef\xbb\xbf"


def foreign(head: bytes) -> str | None:
    """What a file is by its first bytes, and what to do; None where nothing is known."""
    if head.startswith(b"%PDF"):
        return (
            "a PDF document, and no picture or video. Turn its pages into pictures first: "
            "pdftoppm -png FILE.pdf page"
        )
    if _PAGE.match(head.removeprefix(_BOM)):
        return (
            "a web page, and no picture or video. Give the address of the file itself; of many "
            "sites yt-dlp fetches it: pip install yt-dlp && yt-dlp -o clip.mp4 ADDRESS"
        )
    return None
