"""Watch a clip at its own speed and print what processor time that took, as JSON.

    python -m benchmarks.end_to_end.watch MODEL CLIP

A process of its own, so that the time of nothing else is counted; opened and warm before the
counting begins.
"""

from __future__ import annotations

import json
import resource
import sys
import time

from edge.backends import open_backend
from edge.decision.verdict import VerdictSettings
from edge.detector import Detector
from edge.pace import Pacer
from edge.pipeline import Pipeline, scored_evidence
from edge.regions import parse_region
from edge.sources import open_recording
from edge.weights import find_model


def watch(model: str, clip: str) -> dict[str, float]:
    """Watch a clip once at the model's own region.

    Returns:
        Seconds of wall, user and system time, frames and frames per second.

    Raises:
        PatchwatchError: the model or the clip cannot be used.
    """
    with open_backend(find_model(model)) as backend:
        detector = Detector(backend, parse_region(backend.manifest.region))
        with open_recording(clip) as source:
            scored_evidence(detector, next(f.image for f in source if f is not None))
        with open_recording(clip) as source:
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
    print(json.dumps(watch(*sys.argv[1:])))
