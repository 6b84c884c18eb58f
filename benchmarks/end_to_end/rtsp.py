"""What a sender answers to RTSP (RFC 2326), over the one TCP connection that the client opens."""

from __future__ import annotations

from collections.abc import Iterable, Iterator


def read_headers(lines: Iterable[bytes]) -> Iterator[tuple[str, str]]:
    """The headers of a request, names in lower case, up to the empty line that ends them."""
    for line in lines:
        name, _, value = line.decode().strip().partition(":")
        if not name:
            return
        yield name.lower(), value.strip()


def answer(method: str, headers: dict[str, str], address: str, sdp: str) -> str:
    """The answer to a request.

    Args:
        method: for instance "DESCRIBE".
        headers: of the request.
        address: of the stream.
        sdp: its description.
    """
    lines, body = [f"CSeq: {headers.get('cseq', '0')}", "Session: 1;timeout=60"], ""
    if method == "OPTIONS":
        lines.append("Public: OPTIONS, DESCRIBE, SETUP, PLAY, TEARDOWN")
    elif method == "SETUP":
        if "TCP" not in headers.get("transport", ""):
            return f"RTSP/1.0 461 Unsupported Transport\r\n{lines[0]}\r\n\r\n"
        lines.append("Transport: RTP/AVP/TCP;unicast;interleaved=0-1")
    elif method == "DESCRIBE":
        body = sdp
        lines += [f"Content-Base: {address}/", "Content-Type: application/sdp"]
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join(["RTSP/1.0 200 OK", *lines, "", body])
