"""Go the whole way once, small: make pictures, check, train, distil, export and evaluate them.

About a minute on one core. Every step is the command that a person would run; OUT keeps what each
of them left, with its messages in NAME.log. The exit code is 0 if the exported student tells the
made-up fakes of the validation pictures from their photographs (mean AUC of at least 0.75 over
generators, untouched), else 1.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from edge.errors import PatchwatchError, SinkError
from edge.labels import LABEL_FOLDERS
from edge.types import Image
from training.degrade import UNTOUCHED
from training.evaluation.metrics import AUC
from training.evaluation.summary import read_summary
from training.files import save_picture
from training.program import run_program

LEAST_AUC = 0.75
SIDE, PER_CAMERA, PER_CAMERA_VAL = 96, 12, 8
ENDING_LINES = 5

_COMMON = """
batch: 16
rate: 0.02
schedule: cosine
steps: 240
validate_every: 120
policy: {untouched: 0.5, two: 0, single: {jpeg: 1}, jpeg_quality: [85, 98]}
data: {crop: 64, first_compression: false}
validation: {columns: [untouched, JPEG 90], calibration: [untouched, JPEG 90], report: [untouched]}
"""
# A small teacher: LaDeDa learns nothing in the seconds that there are.
CONFIGS = {
    "teacher": "name: teacher\npreprocessing: NPR" + _COMMON,
    "student": "name: student\npreprocessing: right_diag\n"
    "teaching: {loss: bce, temperature: 2, weight: 0.7, agreement: 8}" + _COMMON,
}


def textured(rng: np.random.Generator, side: int) -> Image:
    """Noise smoothed to several scales, with straight edges and a sensor's grain.

    Returns:
        uint8 [side, side, 3] BGR.
    """
    image = np.zeros((side, side, 3), np.float32)
    for sigma in (2.0, 6.0, 20.0):
        noise = rng.standard_normal((side, side, 3), dtype=np.float32)
        image += cv2.GaussianBlur(noise, (0, 0), sigma) * sigma * rng.uniform(15, 40)
    places = np.indices((side, side)).transpose(1, 2, 0) - rng.uniform(0, side, 2)
    for _ in range(6):
        angle = rng.uniform(0, np.pi)
        beyond = places @ (np.cos(angle), np.sin(angle)) > rng.uniform(-side, side) / 2
        image += np.where(beyond[..., None], rng.uniform(-45, 45, 3), 0)
    return _rounded(image + 128 + rng.normal(0, 2, image.shape))


def grainy(rng: np.random.Generator, side: int) -> Image:
    """As `textured`, softened and with coarser grain: another camera."""
    soft = cv2.GaussianBlur(textured(rng, side), (0, 0), 0.7).astype(np.float32)
    return _rounded(soft + rng.normal(0, 4, soft.shape))


def nearest_decoder(image: Image) -> Image:
    """Halve by 2×2 means, double by repetition, and convolve with a fixed 3×3 filter."""
    filter_ = np.array([[0, -0.1, 0], [-0.1, 1.4, -0.1], [0, -0.1, 0]], np.float32)
    return _rounded(cv2.filter2D(_halved(image).repeat(2, axis=0).repeat(2, axis=1), -1, filter_))


def transposed_decoder(image: Image) -> Image:
    """Halve by 2×2 means, and double by a transposed convolution of 3×3 with stride 2.

    Its four phases have unequal weights, so that it leaves a chequerboard: Odena et al.,
    Deconvolution and Checkerboard Artifacts, 2016.
    """
    half = _halved(image)
    spaced = np.zeros((2 * half.shape[0], 2 * half.shape[1], 3), np.float32)
    spaced[::2, ::2] = half
    taps = np.array([0.53, 0.96, 0.53], np.float32)  # linear interpolation has 0.5, 1, 0.5
    return _rounded(cv2.sepFilter2D(spaced, -1, taps, taps))


CAMERAS = {"textured": textured, "grainy": grainy}
GENERATORS = {"nearest": nearest_decoder, "transposed": transposed_decoder}


def write_split(split: Path, per_camera: int, side: int, seed: int) -> None:
    """Write SPLIT/0_real/CAMERA/N.png, and others through each generator; else a SinkError."""
    rng = np.random.default_rng(seed)
    real, fake = (split / name for name in LABEL_FOLDERS)
    for folder in (*(real / name for name in CAMERAS), *(fake / name for name in GENERATORS)):
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise SinkError(f"{folder} cannot be written: {error.strerror or error}.") from error
    for camera, take in CAMERAS.items():
        for index in range(per_camera):
            save_picture(real / camera / f"{index}.png", take(rng, side))
            for generator, decode in GENERATORS.items():
                save_picture(fake / generator / f"{camera}-{index}.png", decode(take(rng, side)))


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the flags."""
    parser.add_argument("out", type=Path, metavar="OUT", help="folder that is made, or empty")


def run(args: argparse.Namespace) -> int:
    """Go the way, a line for each step; 0 learned, 1 not.

    Raises:
        PatchwatchError: a command failed.
        SinkError: OUT has something in it, or cannot be written to.
    """
    out: Path = args.out
    if out.exists() and not (out.is_dir() and not any(out.iterdir())):
        raise SinkError(f"{out} exists and is not empty. Name a new folder.")
    write_split(out / "data" / "train", PER_CAMERA, SIDE, seed=1)
    write_split(out / "data" / "val", PER_CAMERA_VAL, SIDE, seed=2)
    for name, text in CONFIGS.items():
        (out / f"{name}.yaml").write_text(text, encoding="utf-8")
    for words in _commands(out):
        started = time.monotonic()
        _run(words, out)
        seconds = time.monotonic() - started
        sys.stdout.write(f"patchwatch {words[0]}: {seconds:.1f} s, {out / words[0]}.log\n")
        sys.stdout.flush()
    student = 0.0
    for model in read_summary(out / "figures.json")[0].models:
        auc = (model.columns[UNTOUCHED].mean[AUC] or (0.0,))[0]
        student = auc if "student" in model.name else student
        sys.stdout.write(f"mean AUC of {model.name}: {auc:.3f}\n")
    if student < LEAST_AUC:
        sys.stderr.write(f"expected {LEAST_AUC} or more of the student, found {student:.3f}.\n")
    return 0 if student >= LEAST_AUC else 1


def _commands(out: Path) -> list[list[str]]:
    data, model = str(out / "data"), str(out / "student.onnx")
    machine = ["--device", "cpu", "--threads", "1", "--workers", "0", "--experiments", "none"]
    common = ["--data", data, "--licence", "none", *machine]
    teacher = str(out / "teacher" / "teacher.safetensors")
    return [
        ["data", "check", data, "--cache", str(out / "cache")],
        ["train", str(out / "teacher.yaml"), "--output", str(out / "teacher"), *common],
        ["distill", str(out / "student.yaml"), "--output", str(out / "student"), *common,
         "--teacher", teacher],
        ["export", str(out / "student" / "student.safetensors"), "--output", model],
        ["evaluate", teacher, model, data, "--columns", UNTOUCHED, "--threads", "1",
         "--compact", str(out / "figures.json")],
    ]  # fmt: skip


def _run(words: Sequence[str], out: Path) -> None:
    """Run a command of patchwatch; its messages go to a file, and on failure to the person."""
    log = out / f"{words[0]}.log"
    with log.open("wb") as file:
        line = [sys.executable, "-m", "patchwatch", *words]
        # Ctrl-C reaches it too, and it ends by itself; then so do we.
        code = subprocess.call(line, stdout=file, stderr=file, env={**os.environ, "COLUMNS": "120"})
    if code:
        lines = log.read_text(encoding="utf-8", errors="replace").splitlines()[-ENDING_LINES:]
        ending = "\n".join(lines)
        raise PatchwatchError(f"patchwatch {words[0]} gave exit code {code}; {log} ends:\n{ending}")


def _halved(image: Image) -> npt.NDArray[np.float32]:
    height, width, channels = image.shape
    blocks = image.reshape(height // 2, 2, width // 2, 2, channels)
    half: npt.NDArray[np.float32] = blocks.mean(axis=(1, 3), dtype=np.float32)
    return half


def _rounded(levels: npt.ArrayLike) -> Image:
    whole: Image = np.clip(np.rint(levels), 0, 255).astype(np.uint8)
    return whole


if __name__ == "__main__":
    sys.exit(run_program("training.smoke", __doc__, add_arguments, run))
