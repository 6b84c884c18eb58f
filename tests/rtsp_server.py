"""A real RTSP server over GStreamer, run as a script by the system's Python (which has `gi`).

    /usr/bin/python3 rtsp_server.py FILE… [--once] [--port N] [--path /clip] [--credentials USER:PW]

Serves the H.264 tracks of mp4 files one after the other as one stream, over and over or once, and
prints the port it took. Files of different sizes make a stream that changes its size.
"""

from __future__ import annotations

import argparse
import base64
from typing import Any

import gi

gi.require_version("Gst", "1.0")
gi.require_version("GstRtspServer", "1.0")
from gi.repository import GLib, Gst, GstRtspServer  # noqa: E402  # versions must be asked for first

LAUNCH = (
    "( appsrc name=feed is-live=true format=time "
    "caps=video/x-h264,stream-format=byte-stream,alignment=au "
    "! h264parse ! rtph264pay name=pay0 pt=96 config-interval=1 )"
)


def read_pictures(path: str) -> list[Any]:
    """The coded pictures of a file, in order of decoding, each keyframe with its parameter sets."""
    pipeline = Gst.parse_launch(
        f'filesrc location="{path}" ! qtdemux ! h264parse config-interval=-1 '
        "! video/x-h264,stream-format=byte-stream,alignment=au ! appsink name=out sync=false"
    )
    sink = pipeline.get_by_name("out")
    pipeline.set_state(Gst.State.PLAYING)
    pictures = []
    while (sample := sink.emit("pull-sample")) is not None:
        pictures.append(sample.get_buffer())
    pipeline.set_state(Gst.State.NULL)
    return pictures


def in_a_row(files: list[list[Any]]) -> tuple[list[tuple[Any, int]], int]:
    """The pictures of several files, each with what its times are to be moved by; their length."""
    row, start = [], 0
    for pictures in files:
        first, last = pictures[0], pictures[-1]
        row += [(picture, start - first.dts) for picture in pictures]
        start += last.dts + last.duration - first.dts
    return row, start


class Feeder:
    """Pushes pictures into a client's appsrc, whenever it asks for more."""

    def __init__(self, row: list[tuple[Any, int]], length: int, once: bool) -> None:
        self._row = row
        self._length = length
        self._once = once
        self._next = 0

    def feed(self, source: Any, _wanted: int) -> None:
        """Push the next picture; at the end of what is shown once, the end."""
        turn, place = divmod(self._next, len(self._row))
        if turn and self._once:
            source.emit("end-of-stream")
            return
        original, moved = self._row[place]
        picture = original.copy_deep()
        picture.pts = original.pts + moved + turn * self._length
        picture.dts = original.dts + moved + turn * self._length
        picture.duration = original.duration
        source.emit("push-buffer", picture)
        self._next += 1


def ask_for_credentials(server: Any, factory: Any, credentials: str) -> None:
    """Let in only who knows them."""
    token = GstRtspServer.RTSPToken()
    token.set_string(GstRtspServer.RTSP_TOKEN_MEDIA_FACTORY_ROLE, "viewer")
    auth = GstRtspServer.RTSPAuth()
    auth.add_basic(base64.b64encode(credentials.encode()).decode(), token)
    server.set_auth(auth)
    permissions = GstRtspServer.RTSPPermissions()
    permissions.add_permission_for_role("viewer", "media.factory.access", True)
    permissions.add_permission_for_role("viewer", "media.factory.construct", True)
    factory.set_permissions(permissions)


def main() -> None:
    """Serve until the process is ended."""
    parser = argparse.ArgumentParser()
    parser.add_argument("files", nargs="+")
    parser.add_argument("--once", action="store_true")
    parser.add_argument("--port", default="0")
    parser.add_argument("--path", default="/clip")
    parser.add_argument("--credentials")
    arguments = parser.parse_args()
    Gst.init(None)
    row, length = in_a_row([read_pictures(file) for file in arguments.files])

    def configure(_factory: Any, media: Any) -> None:
        source = media.get_element().get_child_by_name("feed")
        source.connect("need-data", Feeder(row, length, arguments.once).feed)

    factory = GstRtspServer.RTSPMediaFactory()
    factory.set_launch(LAUNCH)
    factory.set_shared(True)
    factory.connect("media-configure", configure)
    server = GstRtspServer.RTSPServer()
    server.set_address("127.0.0.1")
    server.set_service(arguments.port)
    if arguments.credentials:
        ask_for_credentials(server, factory, arguments.credentials)
    server.get_mount_points().add_factory(arguments.path, factory)
    if not server.attach(None):
        raise SystemExit(f"port {arguments.port} is taken")
    print(server.get_bound_port(), flush=True)
    GLib.MainLoop().run()


if __name__ == "__main__":
    main()
