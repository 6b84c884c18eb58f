"""Watch a clip at its own speed and print what processor time that took, as JSON.

    python -m benchmarks.end_to_end.watch CLIP

A process of its own, so that the time of nothing else is counted; opened and warm before the
counting begins.
"""

from __future__ import annotations

import json
import resource
import sys
import time

from edge.backends import open_backend
from edge.detector import Detector
from edge.pace import Pacer
from edge.pipeline import Pipeline
from edge.regions import RegionSpec
from edge.sources import open_source
from edge.verdict import VerdictSettings
from edge.weights import DEFAULT, find_model


def watch(clip: str) -> dict[str, float]:
    """Watch it once; seconds of wall, user and system time, frames and frames per second.

    Raises:
        PatchwatchError: the model or the clip cannot be used.
    """
    with open_backend(find_model(DEFAULT)) as backend:
        with open_source(clip) as source:
            backend.infer(next(f.image[None] for f in source if f is not None))
        with open_source(clip) as source:
            detector = Detector(backend, RegionSpec("native"))
            pipeline = Pipeline(source, detector, [], VerdictSettings(), pacer=Pacer())
            before, began = resource.getrusage(resource.RUSAGE_SELF), time.perf_counter()
            summary = pipeline.run()
            after, ended = resource.getrusage(resource.RUSAGE_SELF), time.perf_counter()
    return {
        "wall_s": ended - began,
        "user_s": after.ru_utime - before.ru_utime,
        "system_s": after.ru_stime - before.ru_stime,
        "frames": summary.frames,
        "fps": summary.frames / (ended - began),
    }


if __name__ == "__main__":
    print(json.dumps(watch(sys.argv[1])))
