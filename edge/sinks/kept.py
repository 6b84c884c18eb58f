"""Raw frames of doubtful moments, to be labelled and learned from: `--keep DIR`.

A frame is kept as the model's source gave it, nothing drawn, lossless: what a later training reads
of it must not be the traces of our own compression. Beside it is what was thought of it.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from typing_extensions import Self

from edge.decision.alerts import unix_time
from edge.decision.verdict import VerdictSettings, judge_once
from edge.files import write_whole
from edge.manifest import Calibration
from edge.pixels import to_bgr
from edge.sinks.base import ConfiguredSink, SinkContext
from edge.sinks.images import encode_image
from edge.sinks.paths import file_stem, free_name, local_stamp, make_folder, placed
from edge.sinks.retention import Retention
from edge.types import Picture, Result, State

if TYPE_CHECKING:
    from edge.config.parts import KeepConfig

Why = Literal["doubtful", "disputed", "alarm"]
OWN = re.compile(r"\d{8}-\d{6}_.+_(doubtful|disputed|alarm)(-\d+)?\.(json|png)")
"""Names of the files that this sink writes."""


class KeptSink(ConfiguredSink):
    """Writes `{YYYYmmdd-HHMMSS}_{stem}_{why}.png` and `.json` of moments worth a person's look.

    Doubtful is a frame whose own verdict is `uncertain`; disputed one whose own verdict contradicts
    that of the source; an alarm the first frame of a verdict `fake`. Of a source at most one is
    kept in `every_s` seconds. Old ones are deleted as `retention` says.

    Args:
        folder: created.
        every_s: seconds between two kept frames, by the clock of the frames.
        retention: in number and age.
    """

    name = "keep"

    def __init__(self, folder: Path, every_s: float, retention: Retention) -> None:
        self._folder, self._every_s, self._retention = folder, every_s, retention
        self._last_s: dict[str, float] = {}
        self._state: dict[str, State] = {}

    @classmethod
    def from_options(cls, options: KeepConfig, context: SinkContext) -> Self:
        """From the section `keep`."""
        folder = Path(placed(str(options.folder), context.name))
        retention = Retention.of(options.days, None, options.most)
        return cls(folder, options.every_s, retention)

    def check(self) -> None:
        """Create the folder."""
        make_folder(self._folder, "kept frames")

    def __enter__(self) -> Self:
        """Create the folder, and delete what is too old."""
        self.check()
        self._retention.apply(self._folder, OWN)
        return self

    def write(self, result: Result, picture: Picture) -> None:
        """Keep the frame if its moment is worth it."""
        source, now_s = result.frame.source, result.frame.time_s
        why = self._why(result)
        self._state[source] = result.verdict.state
        since_s = now_s - self._last_s.get(source, -self._every_s)
        # A clock that was set back, or a file that begins anew, must not stop it.
        if why is None or 0 <= since_s < self._every_s:
            return
        self._last_s[source] = now_s
        self._keep(result, why)

    def _why(self, result: Result) -> Why | None:
        if result.evidence is None or result.unchanged or result.verdict.score is None:
            return None
        verdict = result.verdict.state
        if verdict == "fake" != self._state.get(result.frame.source):
            return "alarm"
        margin = VerdictSettings().margin
        calibration = result.model.calibration if result.model else Calibration()
        own = judge_once(calibration, result.evidence.logit, margin).state
        if own == "uncertain":
            return "doubtful"
        return "disputed" if {own, verdict} == {"real", "fake"} else None

    def _keep(self, result: Result, why: Why) -> None:
        frame, evidence, verdict = result.frame, result.evidence, result.verdict
        assert evidence is not None and verdict.score is not None
        base = f"{local_stamp(unix_time(frame))}_{file_stem(frame.source)}_{why}"
        path = self._folder / free_name(self._folder, base, [".json", ".png"])
        facts = {
            "source": frame.source,
            "time": round(unix_time(frame), 3),
            "why": why,
            "verdict": verdict.state,
            "score": round(float(verdict.score), 4),
            "logit": round(float(evidence.logit), 4),
            "reason": verdict.reason,
            "model": result.model.name if result.model else None,
        }
        write_whole(
            path.with_name(f"{path.name}.png"),
            encode_image(to_bgr(frame.image, frame.pixel_format), ".png"),
        )
        text = json.dumps(facts, ensure_ascii=False, indent=1) + "\n"
        write_whole(path.with_name(f"{path.name}.json"), text.encode("utf-8", "backslashreplace"))
        self._retention.apply(self._folder, OWN)
