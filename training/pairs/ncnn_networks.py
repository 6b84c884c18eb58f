"""Super-resolution networks in ncnn's form, as reconstructors.

The photograph is reduced with an antialiased filter and enlarged again by the network, so that the
result lies on the photograph. Factor, the rim that the network eats, and whether its output is to
be added to the enlarged input are found by running it, as the files do not tell.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ncnn
import numpy as np
from PIL import Image as PillowImage

from edge.errors import ModelError
from edge.types import FloatArray, Image
from training.pairs.decoder_file import fingerprint

BORDER = 8
"""Pixels of the reduced picture mirrored around it, beside those that the network eats."""

_ALIGNED = 4
"""Networks that halve within themselves need sides that are multiples of this before enlarging."""

_PROBES = (64, 96)
_GREY = 0.5
_MAGIC = "7767517"
_FACTORS = (2, 3, 4)


@dataclass(frozen=True, slots=True)
class _Form:
    """What probing a network has shown: output pixels for each input pixel; input pixels that are
    lost on each side; whether the output is to be added to the input, enlarged by repeating pixels.
    """

    scale: int
    eaten: int
    residual: bool


class EnlargingNetwork:
    """An enlarging network, `NAME.param` with `NAME.bin` beside it, with the reduction before it.

    Raises:
        ModelError: a file is missing or broken, or the network does not enlarge pictures 2, 3 or 4
            times.
    """

    def __init__(self, param: Path, name: str | None = None) -> None:
        self._param = param
        self._input, self._output, planes = _ends(param)
        if planes not in (0, 3):
            raise ModelError(
                f"{param}: expected a network of the three planes of a picture, found one of "
                f"{planes}. Networks with degradation maps cannot be used here."
            )
        self._net = _loaded(param)
        self._form = self._probed()
        self.factor = self._form.scale * _ALIGNED
        print_of = fingerprint(param, param.with_suffix(".bin"))
        self.made_by = (
            f"ncnn network {param.parent.name}/{param.name} {print_of}, after a reduction by "
            f"{self._form.scale}"
        )
        self.name = name or f"{param.parent.name}-{param.stem}".replace("models-", "")

    def __call__(self, picture: Image) -> Image:
        """uint8 [H, W, 3] BGR → the same, height and width multiples of `factor`."""
        height, width = (n // self._form.scale for n in picture.shape[:2])
        rgb = PillowImage.fromarray(np.ascontiguousarray(picture[:, :, ::-1]))
        # The filter that such networks are trained with.
        small = np.asarray(rgb.resize((width, height), PillowImage.Resampling.BICUBIC))
        again = np.clip(self._enlarged(small.astype(np.float32) / np.float32(255)), 0, 1) * 255
        return np.ascontiguousarray(again.round().astype(np.uint8)[:, :, ::-1])

    def _enlarged(self, small: FloatArray) -> FloatArray:
        form, rim = self._form, BORDER
        around = form.eaten + rim
        padded = np.pad(small, ((around, around), (around, around), (0, 0)), mode="symmetric")
        large = self._run(padded)
        cut = rim * form.scale
        large = large[cut : large.shape[0] - cut, cut : large.shape[1] - cut]
        if form.residual:
            large = large + small.repeat(form.scale, 0).repeat(form.scale, 1)
        return large

    def _probed(self) -> _Form:
        grey = [np.full((side, side, 3), _GREY, np.float32) for side in _PROBES]
        first, second = (self._run(picture) for picture in grey)
        scale, left = divmod(second.shape[0] - first.shape[0], _PROBES[1] - _PROBES[0])
        eaten, odd = divmod(scale * _PROBES[0] - first.shape[0], 2 * max(scale, 1))
        if left or odd or scale not in _FACTORS or eaten < 0:
            raise ModelError(
                f"{self._param}: expected a network that enlarges a picture 2, 3 or 4 times, found "
                f"one that makes {first.shape[1]}×{first.shape[0]} of {_PROBES[0]}×{_PROBES[0]} "
                "pixels."
            )
        return _Form(scale, eaten, bool(abs(np.median(first)) < _GREY / 2))

    def _run(self, picture: FloatArray) -> FloatArray:
        """float32 [h, w, 3] RGB in 0..1 → as the network gives it, [h', w', 3]."""
        planes = np.ascontiguousarray(picture.transpose(2, 0, 1), dtype=np.float32)
        extractor = self._net.create_extractor()
        extractor.input(self._input, ncnn.Mat(planes))
        code, out = extractor.extract(self._output)
        found = np.array(out)
        if code != 0 or found.ndim != 3 or found.shape[0] != 3:
            raise ModelError(
                f"{self._param}: expected three planes from {self._output!r}, found shape "
                f"{list(found.shape)} (code {code})."
            )
        return found.transpose(1, 2, 0).astype(np.float32)


def _ends(param: Path) -> tuple[str, str, int]:
    """Names of the first input and the last output, and planes of the first convolution (or 0)."""
    try:
        lines = param.read_text(encoding="ascii").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise ModelError(f"{param} cannot be read as the text form of ncnn ({error}).") from error
    layers = [line.split() for line in lines[2:] if line.strip()]
    inputs = [layer for layer in layers if layer[0] == "Input"]
    if lines[0].strip() != _MAGIC or not inputs or any(len(layer) < 5 for layer in layers):
        raise ModelError(
            f"{param}: expected ncnn's text form, which begins with {_MAGIC} and has an Input "
            "layer, found something else."
        )
    return inputs[0][4], _tops(layers[-1])[-1], _planes(layers)


def _tops(layer: list[str]) -> list[str]:
    bottoms, tops = int(layer[2]), int(layer[3])
    return layer[4 + bottoms : 4 + bottoms + tops]


def _planes(layers: list[list[str]]) -> int:
    """Of the first convolution, from its count of weights: outputs × inputs × kernel²."""
    for layer in layers:
        if layer[0] == "Convolution":
            values = dict(part.split("=", 1) for part in layer if "=" in part)
            size = int(values["1"])
            return int(values["6"]) // (int(values["0"]) * size * int(values.get("11", size)))
    return 0


def _loaded(param: Path) -> Any:
    weights = param.with_suffix(".bin")
    if not weights.is_file():
        raise ModelError(f"{param}: expected its weights as {weights.name} beside it, found none.")
    net = ncnn.Net()
    net.opt.use_vulkan_compute = False
    net.opt.num_threads = 1
    if net.load_param(str(param)) != 0 or net.load_model(str(weights)) != 0:
        raise ModelError(f"{param} and {weights.name} cannot be read by ncnn.")
    return net
