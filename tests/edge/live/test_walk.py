"""How many modules a live frame passes from the socket to the mp4, measured on a real run."""

from __future__ import annotations

import sys
import threading
from collections import defaultdict
from pathlib import Path
from types import FrameType

import av
import cv2
import numpy as np

import edge
from edge.config import build_config
from edge.live.session import LiveSession, single
from edge.opening import open_detector
from tests.fakes import barred
from tests.onnx_files import write_model
from tests.servers import motion_jpeg

ROOT = Path(edge.__file__).parent
SIZE_HW = (120, 160)

CARRIERS = {"Shot", "BufferedFrame", "Frame", "Job", "Crops", "Crop", "Region", "Result", "Picture"}
"""Types that hold the frame or what became of it."""

BESIDE = {"types.py", "pixels.py", "summary.py", "words.py", "live/status.py", "live/window.py"}
"""The types themselves; BGR passes the conversion as it is; what hands nothing on to the mp4."""


def carries(value: object) -> bool:
    """Whether a frame, or what was made of it, is in a value."""
    if isinstance(value, (list, tuple)):
        return any(carries(item) for item in value[:3])
    if isinstance(value, np.ndarray):
        return value.nbytes >= SIZE_HW[0] * SIZE_HW[1]
    return type(value).__name__ in CARRIERS or isinstance(value, (av.Packet, av.VideoFrame))


class Walk:
    """Notes the modules of ours whose functions take or return a frame, thread by thread."""

    def __init__(self) -> None:
        self.modules: dict[str, set[str]] = defaultdict(set)

    def __call__(self, frame: FrameType, event: str, returned: object) -> None:
        path = Path(frame.f_code.co_filename)
        if event not in ("call", "return") or not path.is_relative_to(ROOT):
            return
        values = [returned, *(frame.f_locals.values() if event == "call" else ())]
        if any(carries(value) for value in values):
            thread = threading.current_thread().name
            self.modules[thread].add(path.relative_to(ROOT).as_posix())


def test_a_live_frame_passes_thirteen_modules_at_most(tmp_path: Path) -> None:
    pictures = [cv2.imencode(".jpg", barred(9 * n, *SIZE_HW))[1].tobytes() for n in range(20)]
    model = write_model(tmp_path / "model.onnx")
    walk = Walk()
    with motion_jpeg(pictures, fps=10) as address:
        output = {"window": False, "save": str(tmp_path / "o.mp4")}
        config = build_config(
            {
                "source": address,
                "model": str(model),
                "output": output,
                "max_frames": 15,
                "faces": {"enabled": False},
            }
        )
        with open_detector(config) as detector:
            session = LiveSession(single(config, "door"), detector)
            threading.setprofile(walk)
            try:
                session.run()
            finally:
                threading.setprofile(None)
    assert sys.getprofile() is None and (tmp_path / "o.mp4").stat().st_size > 0
    passed = {name for names in walk.modules.values() for name in names} - BESIDE
    passed = {name for name in passed if not name.startswith("overlay/")}
    assert {"live/loop.py", "sinks/video.py"} <= passed
    assert len(passed) <= 13, {thread: sorted(names) for thread, names in walk.modules.items()}
