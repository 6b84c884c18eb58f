"""Whatever turns a photograph into an aligned fake of itself, ours or other people's."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Protocol

import numpy as np

from edge.errors import MissingDependency, ModelError, UsageError
from edge.types import Image
from training.checkpoint import SUFFIX
from training.pairs.autoencoders import reconstruct
from training.pairs.decoder_file import fingerprint, load_decoder

ONNX, NCNN, TINY = ".onnx", ".param", (".pth", ".pt")
KINDS = (
    f"NAME{SUFFIX} or a folder of such from `patchwatch pairs train`, NAME{ONNX} (a picture in and "
    f"out), NAME{NCNN} with NAME.bin beside it (an enlarging network of ncnn), NAME_decoder.pth or "
    f"NAME_decoder{SUFFIX} with the encoder beside it (a tiny autoencoder)"
)
"""What can be named on the command line, for people."""

_ONNX_FACTOR = 8
"""No file says its own; a region whose sides are multiples of 8 fits factors of 1, 2, 4 and 8."""


class Reconstructor(Protocol):
    """A decoder with all that must come before it.

    `name` is that of the decoder in a folder of pairs; height and width of the pictures that it
    takes are multiples of `factor`; `made_by` is its kind and its file's name, for the manifest.
    """

    @property
    def name(self) -> str: ...

    @property
    def factor(self) -> int: ...

    @property
    def made_by(self) -> str: ...

    def __call__(self, picture: Image) -> Image:
        """uint8 [H, W, 3] BGR → its reconstruction, likewise, pixel on pixel."""


class TrainedAutoencoder:
    """One of our own: `NAME.safetensors`, with its card beside it."""

    def __init__(self, path: Path) -> None:
        self._model, card = load_decoder(path)
        self.name, self.factor = card.name, card.spec.factor
        self.made_by = (
            f"patchwatch autoencoder {path.name} {fingerprint(path)}, {card.steps} steps, commit "
            f"{card.commit}"
        )

    def __call__(self, picture: Image) -> Image:
        """See `Reconstructor`."""
        return reconstruct(self._model, picture)


class OnnxPicture:
    """An ONNX file from pictures to pictures: uint8 [N, H, W, 3] BGR in and out."""

    factor = _ONNX_FACTOR

    def __init__(self, path: Path) -> None:
        import onnxruntime

        self._path, self.name = path, path.stem
        try:
            self._session: Any = onnxruntime.InferenceSession(
                path, providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # it has an error of its own for each kind of broken file
            raise ModelError(
                f"{path}: expected an ONNX file that ONNX Runtime can run, found none."
            ) from error
        inputs, outputs = self._session.get_inputs(), self._session.get_outputs()
        kinds = [value.type for value in (*inputs, *outputs[:1])]
        if kinds != ["tensor(uint8)"] * 2:
            raise ModelError(
                f"{path}: expected one input and an output of uint8 [N, H, W, 3] BGR, found "
                f"{', '.join(kinds)}."
            )
        self.made_by = f"ONNX file {path.name} {fingerprint(path)}"
        self._input, self._output = inputs[0].name, outputs[0].name

    def __call__(self, picture: Image) -> Image:
        """See `Reconstructor`.

        Raises:
            ModelError: the file gives a picture of another shape.
        """
        again: Image = self._session.run([self._output], {self._input: picture[None]})[0][0]
        if again.shape != picture.shape:
            raise ModelError(
                f"{self._path}: expected a picture of shape {list(picture.shape)} as it went in, "
                f"found {list(again.shape)}."
            )
        return np.ascontiguousarray(again)


def open_reconstructors(paths: list[Path]) -> list[Reconstructor]:
    """Open everything that is named, in order; see `KINDS`.

    Raises:
        UsageError: a file is of no known kind, is missing, or two have one name.
        ModelError: one cannot be used.
        MissingDependency: its library is absent.
    """
    files = [file for path in paths for file in _files(path)]
    found = [_open(file) for file in files]
    seen: dict[str, Path] = {}
    for file, one in zip(files, found, strict=True):
        if one.name in seen:
            raise UsageError(
                f"{file} and {seen[one.name]} are both called {one.name}, and pairs are kept by "
                "that name. Rename one of the files."
            )
        seen[one.name] = file
    return found


def _files(path: Path) -> list[Path]:
    if not path.exists():
        raise UsageError(f"{path} is not there. Expected {KINDS}.")
    if not path.is_dir():
        return [path]
    files = [p for p in sorted(path.glob(f"*{SUFFIX}")) if p.with_suffix(".json").exists()]
    if not files:
        raise UsageError(f"{path} has no NAME{SUFFIX} with its card NAME.json. Expected {KINDS}.")
    return files


def _open(path: Path) -> Reconstructor:
    if path.suffix == ONNX:
        return OnnxPicture(path)
    if path.suffix == NCNN:
        return _open_ncnn(path)
    if path.suffix == SUFFIX and path.with_suffix(".json").exists():
        return TrainedAutoencoder(path)
    if path.suffix in (*TINY, SUFFIX):
        from training.pairs.taesd import TinyAutoencoder, find_encoder

        return TinyAutoencoder(find_encoder(path), path)
    raise UsageError(f"{path} is of no known kind. Expected {KINDS}.")


def _open_ncnn(path: Path) -> Reconstructor:
    try:
        from training.pairs.ncnn_networks import EnlargingNetwork
    except ImportError as error:
        raise MissingDependency("ncnn", f"run {path.name}", "pip install ncnn") from error
    return EnlargingNetwork(path)
