"""Made-up logits, records and videos."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Literal

import av
import numpy as np

from edge.manifest import Calibration
from edge.types import Image
from training.data.folders import Picture
from training.evaluation import Evaluation
from training.evaluation.record import Item, Record, ScoredModel

SOURCES: tuple[tuple[Literal[0, 1], str], ...] = (
    (0, "cam-a"),
    (0, "cam-b"),
    (1, "gen-a"),
    (1, "gen-b"),
)
COLUMNS = ("untouched", "JPEG 75")


def made_evaluation(
    rng: np.random.Generator,
    cameras: int = 6,
    generators: int = 6,
    each: int = 8,
    gap: float = 1.0,
    between: float = 0.7,
) -> Evaluation:
    """Gaussian logits whose sources differ from each other by `between`."""
    pictures, logits = [], []
    for label, count in ((0, cameras), (1, generators)):
        for index in range(count):
            centre = gap * label + rng.normal(0, between)
            pictures += [Picture(Path("a"), label, f"s{label}{index}")] * each
            logits.append(rng.normal(centre, 1.0, each))
    return Evaluation(tuple(pictures), {"untouched": np.concatenate(logits)})


def made_record(
    models: Sequence[str] = ("a", "b"),
    each: int = 6,
    root: str = "nowhere",
    logits: Mapping[str, float | None] | None = None,
    seed: int = 0,
) -> Record:
    """Two cameras, two generators; a model's logits are noise around the label.

    Args:
        models: their names.
        each: pictures per source.
        root: their folder; need not exist.
        logits: model → the one logit that it gives to all, in place of noise.
        seed: of the noise.
    """
    rng = np.random.default_rng(seed)
    items = [
        Item(
            data=0,
            path=f"{('0_real', '1_fake')[label]}/{source}/{i}.png",
            label=label,
            source=source,
        )
        for label, source in SOURCES
        for i in range(each)
    ]
    return Record(
        time="2026-11-24T10:00:00+00:00",
        commit="0123456789abcdef",
        seed=0,
        fps=None,
        columns=COLUMNS,
        data=(root,),
        items=tuple(items),
        rejected=(),
        models=tuple(_made_model(name, items, rng, logits or {}) for name in models),
    )


def _made_model(
    name: str, items: Sequence[Item], rng: np.random.Generator, constant: Mapping[str, float | None]
) -> ScoredModel:
    def draw(item: Item) -> float | None:
        return constant[name] if name in constant else float(rng.normal(1.5 * item.label, 1.0))

    return ScoredModel(
        name=name,
        file=f"{name}.onnx",
        sha256="0" * 64,
        region="native",
        calibration=Calibration(bias=0.75),
        logits={column: [draw(item) for item in items] for column in COLUMNS},
    )


def write_video(path: Path, images: Sequence[Image], fps: int = 4) -> Path:
    """Write pictures of one even size as a nearly lossless H.264 file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=Fraction(fps))
        stream.height, stream.width = images[0].shape[:2]
        stream.pix_fmt = "yuv420p"
        stream.options = {"crf": "1", "preset": "ultrafast"}
        for image in images:
            frame = av.VideoFrame.from_ndarray(image, format="bgr24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path
