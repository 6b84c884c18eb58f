"""Train the small up-sampling decoder of the demonstration, and write it as ONNX.

It halves a photograph by averaging and restores it with a transposed convolution: the last step of
the decoders that image generators use, with the periodic trace that it leaves. PHOTOS is searched
to the bottom; HELD_OUT likewise, for the quality that the file states. The file runs in ONNX
Runtime alone: `picture`, uint8 [N, H, W, 3] BGR, H and W at least 2 → `picture_again`, the same
with H and W rounded down to even.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
import torch
import torch.nn.functional as F
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor, nn

from edge.files import written_whole
from edge.sources.images import read_image
from edge.terminal import console, positive
from training.data.crops import random_crop
from training.data.folders import Part, find_pictures, index_pictures
from training.data.ledger import Ledger
from training.pairs.quality import psnr_db
from training.program import run_program
from training.progress import progress_bar

CHANNELS = 12
CROP = 96
BATCH = 16
RATE = 4e-3
OPSET, IR_VERSION = 17, 8
BORDER = 4
"""Low-resolution pixels repeated around the picture, so that no layer meets a border of zeros."""

CROPPED = 3
"""Transposed convolution's padding: 1 for its 4×4 kernel, and what is left of the border twice."""

LICENCE = (
    "Apache-2.0 for the weights' distribution; trained on pictures for research use with mixed "
    "licences"
)


class Upsampler(nn.Module):
    """The decoder: float32 [N, 3, h, w], BGR in 0..1 → float32 [N, 3, 2h, 2w]."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, CHANNELS, 5)
        self.conv2 = nn.Conv2d(CHANNELS, CHANNELS, 3)
        self.up = nn.ConvTranspose2d(CHANNELS, 3, 4, stride=2, padding=CROPPED)

    def forward(self, x: Tensor) -> Tensor:
        """Up-sample by two."""
        x = F.pad(x, (BORDER,) * 4, mode="replicate")
        out: Tensor = self.up(F.relu(self.conv2(F.relu(self.conv1(x)))))
        return out


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the flags."""
    parser.add_argument("photos", type=Path, metavar="PHOTOS", help="folder to learn from")
    parser.add_argument(
        "--held-out", type=Path, required=True, metavar="FOLDER", help="photographs to judge on"
    )
    parser.add_argument("--output", type=Path, required=True, metavar="FILE.onnx")
    parser.add_argument("--steps", type=positive, default=3000, metavar="N")
    parser.add_argument("--seed", type=int, default=0)


def run(args: argparse.Namespace) -> int:
    """Train, write, measure; the exit code is 0."""
    out = console()
    photos, held_out = find_photos(args.photos, CROP), find_photos(args.held_out, CROP)
    out.print(f"{len(photos)} photographs to learn from, {len(held_out)} held out")
    model = train(photos, args.steps, args.seed)
    psnr = measure(to_onnx(model, {}), held_out)
    data = to_onnx(model, _metadata(psnr, len(photos), len(held_out)))
    with written_whole(args.output, data):
        out.print(f"Mean PSNR {psnr:.2f} dB on the held-out photographs")
    out.print(f"{args.output}: {len(data)} bytes")
    return 0


def find_photos(folder: Path, smallest: int) -> list[Path]:
    """Pictures under a folder that are at least `smallest` pixels high and wide.

    Raises:
        SourceError: there is none.
    """
    parts = [Part(folder, 0)]
    with Ledger(None, folder) as ledger:
        found = index_pictures(find_pictures(parts), parts, ledger, smallest)
    return [picture.path for picture in found.pictures]


def train(photos: Sequence[Path], steps: int, seed: int) -> Upsampler:
    """Fit the decoder to restore halved crops, by the mean absolute difference and a cosine
    schedule.
    """
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    model = Upsampler()
    adam = torch.optim.Adam(model.parameters(), lr=RATE)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(adam, steps)
    with progress_bar() as progress:
        task = progress.add_task("training", total=steps, note="")
        for _ in range(steps):
            crops = _draw(photos, rng)
            adam.zero_grad()
            loss = F.l1_loss(model(F.avg_pool2d(crops, 2)), crops)
            loss.backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
            adam.step()
            schedule.step()
            progress.advance(task)
    return model.eval()


def measure(model: bytes, photos: Sequence[Path]) -> float:
    """Mean over photographs of the PSNR of what ONNX Runtime makes of them, in dB."""
    import onnxruntime

    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    pictures = [read_image(path) for path in photos]
    again = [session.run(None, {"picture": picture[None]})[0][0] for picture in pictures]
    return float(np.mean([psnr_db(a, b) for a, b in zip(pictures, again, strict=True)]))


def to_onnx(model: Upsampler, metadata: dict[str, str]) -> bytes:
    """The decoder with the halving before it, from uint8 to uint8, as an ONNX file."""
    graph = helper.make_graph(
        _nodes(),
        "upsampler",
        [helper.make_tensor_value_info("picture", TensorProto.UINT8, ["N", "H", "W", 3])],
        [helper.make_tensor_value_info("picture_again", TensorProto.UINT8, ["N", "H2", "W2", 3])],
        _constants(model),
    )
    opset = [helper.make_opsetid("", OPSET)]
    file = helper.make_model(
        graph, opset_imports=opset, ir_version=IR_VERSION, producer_name="patchwatch"
    )
    helper.set_model_props(file, metadata)
    onnx.checker.check_model(file, full_check=True)
    return bytes(file.SerializeToString())


def _nodes() -> list[onnx.NodeProto]:
    node = helper.make_node
    crop = [CROPPED] * 4
    return [
        node("Cast", ["picture"], ["bytes"], to=TensorProto.FLOAT),
        node("Transpose", ["bytes"], ["planes"], perm=[0, 3, 1, 2]),
        node("AveragePool", ["planes"], ["half"], kernel_shape=[2, 2], strides=[2, 2]),
        node("Mul", ["half", "to_unit"], ["unit"]),
        node("Pad", ["unit", "border"], ["padded"], mode="edge"),
        node("Conv", ["padded", "conv1.weight", "conv1.bias"], ["c1"]),
        node("Relu", ["c1"], ["r1"]),
        node("Conv", ["r1", "conv2.weight", "conv2.bias"], ["c2"]),
        node("Relu", ["c2"], ["r2"]),
        node("ConvTranspose", ["r2", "up.weight", "up.bias"], ["up"], strides=[2, 2], pads=crop),
        node("Mul", ["up", "to_bytes"], ["scaled"]),
        node("Clip", ["scaled", "least", "to_bytes"], ["clipped"]),
        node("Round", ["clipped"], ["rounded"]),
        node("Cast", ["rounded"], ["bytes_again"], to=TensorProto.UINT8),
        node("Transpose", ["bytes_again"], ["picture_again"], perm=[0, 2, 3, 1]),
    ]


def _constants(model: Upsampler) -> list[TensorProto]:
    arrays = {name: value.numpy() for name, value in model.state_dict().items()}
    arrays["to_unit"] = np.float32(1 / 255)
    arrays["to_bytes"] = np.float32(255)
    arrays["least"] = np.float32(0)
    arrays["border"] = np.array([0, 0, BORDER, BORDER] * 2, dtype=np.int64)
    return [numpy_helper.from_array(np.asarray(a), name) for name, a in arrays.items()]


def _metadata(psnr: float, photos: int, held_out: int) -> dict[str, str]:
    return {
        "name": "upsampler",
        "description": (
            "Halves a picture by 2×2 averages and restores it with a transposed convolution, for "
            "a demonstration of the trace that generators leave. Not a detector."
        ),
        "training": f"{photos} photographs for research use, of mixed licences",
        "validation": f"mean PSNR {psnr:.2f} dB on {held_out} photographs not trained on",
        "licence": LICENCE,
    }


def _draw(photos: Sequence[Path], rng: np.random.Generator) -> Tensor:
    drawn = [photos[int(index)] for index in rng.integers(len(photos), size=BATCH)]
    crops = np.stack([random_crop(read_image(path), CROP, rng) for path in drawn])
    return torch.from_numpy(crops).permute(0, 3, 1, 2).contiguous() / 255.0


if __name__ == "__main__":
    sys.exit(run_program("training.upsampler", __doc__, add_arguments, run))
