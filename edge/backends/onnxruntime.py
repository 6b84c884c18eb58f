"""Runs a model file with ONNX Runtime: on the CPU, or on a GPU by its CUDA or TensorRT provider."""

from __future__ import annotations

import hashlib
import io
import logging
import os
import re
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stdout, suppress
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
from typing_extensions import Self

from edge.backends.base import BackendChoice
from edge.backends.providers import NAMES, Provider, explain_gpu, providers, reason_in
from edge.cuda import open_cuda
from edge.errors import ContractError, GpuError, MissingDependency, ModelError
from edge.files import sha256_of
from edge.manifest import Manifest, Precision, read_manifest
from edge.tensorrt.board import read_board
from edge.tensorrt.cache import default_folder
from edge.tensorrt.record import machine_of
from edge.types import Batch, Evidence
from edge.weights import variant

log = logging.getLogger(__name__)

_CONTRACT = (
    "Expected the input frames: uint8 [N, H, W, 3], and the outputs logit: float32 [N] and, where "
    "the manifest has patches, patch_logits: float32 [N, h, w]. Export the model with "
    "'patchwatch export'."
)


def open_model(path: Path, choice: BackendChoice) -> OnnxRuntimeBackend:
    """The backend of a choice; see `edge.backends.open_backend`."""
    precision = choice.precision or "fp32"
    own = path if precision == "fp32" else variant(path, precision)
    if choice.device == "cpu" and own is None:
        raise ModelError(
            f"{path}: no {precision} variant beside it. Make one where torch is installed: "
            f"patchwatch export {path.name} -o {path.name} --precision {precision}."
        )
    return OnnxRuntimeBackend(
        own or path,
        choice.threads,
        device=choice.device,
        precision=precision,
        typed=own is not None,
        engines=_engines_folder(own or path, precision) if choice.device == "tensorrt" else None,
    )


def _engines_folder(path: Path, precision: Precision) -> Path | None:
    """Where engines of ONNX Runtime's provider are kept: one folder for all that they depend on.

    None where the GPU is not known or the folder cannot be made, which is logged.
    """
    try:
        with open_cuda() as cuda:
            gpu = cuda.gpu
    except (MissingDependency, GpuError) as error:
        log.warning("engines will be built at every start, as the GPU is not known: %s", error)
        return None
    runtime = f"{_version('tensorrt')} in onnxruntime {_version('onnxruntime-gpu', 'onnxruntime')}"
    machine = machine_of(runtime, gpu.name, gpu.compute_capability, gpu.driver, read_board())
    parts = (machine.model_dump_json(), precision, sha256_of(path))
    key = hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]
    folder = default_folder() / f"onnxruntime-{key}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        log.warning(
            "engines cannot be kept in %s (%s), and will be built at every start. Make that folder "
            "writable, or name another.",
            folder,
            error.strerror or error,
        )
        return None
    return folder


def _version(*names: str) -> str:
    for name in names:
        with suppress(metadata.PackageNotFoundError):
            return metadata.version(name)
    return "of the system"


class OnnxRuntimeBackend:
    """Runs `model.onnx`; the session exists from construction on, so a bad file fails at once.

    Args:
        path: the model file.
        threads: threads inside an operator on the CPU; None lets ONNX Runtime use every core.
        device: what runs it. With "tensorrt" TensorRT builds an engine first, which takes from
            seconds to minutes.
        precision: that the network computes in.
        typed: whether the file itself holds that precision's types; see `providers`.
        engines: folder for such engines of this model on this machine; None to keep none.

    Attributes:
        device: what runs it, never another than the requested one.

    Raises:
        ModelError: missing, not ONNX, or refused by the runtime; or ONNX Runtime would have run it
            on something else than `device`.
        ContractError: other inputs or outputs than the contract's.
        ManifestError: no manifest, a broken one or one of a newer schema.
        MissingDependency: this ONNX Runtime was built without a provider for the device.
        UsageError: the precision cannot be had from that file on that device.
        GpuError: no GPU, no driver, no memory left, or no code for the GPU.
    """

    name = "onnxruntime"

    def __init__(
        self,
        path: Path,
        threads: int | None = None,
        *,
        device: str = "cpu",
        precision: Precision = "fp32",
        typed: bool = True,
        engines: Path | None = None,
    ) -> None:
        self._path = path
        self.device = device
        wanted = providers(
            device,
            ort.get_available_providers(),
            precision,
            typed=typed,
            engines=engines,
            runtime=_runtime_version(),
            jetson=device != "cpu" and read_board().l4t is not None,
        )
        self.manifest = read_manifest(path)
        self._session = _open_session(path, threads, device, wanted)
        self._outputs = _check_contract(self._session, self.manifest, path)
        shape = self._session.get_inputs()[0].shape
        self._fixed_hw = tuple(d if isinstance(d, int) else None for d in shape[1:3])

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        del self._session

    def warm_up(self, height: int, width: int, batch: int = 1) -> None:
        """Run once on black frames of that shape; allocates what later runs need."""
        self.infer(np.zeros((batch, height, width, 3), np.uint8))

    def infer(self, frames: Batch, source: str | None = None) -> list[Evidence]:
        """Score uint8 [N, H, W, 3] BGR frames; see `Backend.infer`.

        Raises:
            ModelError: the model has a fixed size and the frames another, or the runtime failed.
            GpuError: the GPU failed.
        """
        self._refuse_other_size(frames)
        try:
            outputs = self._session.run(self._outputs, {"frames": frames})
        except Exception as error:  # the runtime's own exceptions share no public base class
            _raise_gpu_error(self._path, self.device, str(error), error)
            raise ModelError(
                f"{self._path}: ONNX Runtime failed on frames of shape {frames.shape}: "
                f"{_first_line(error)}"
            ) from error
        logits = outputs[0]
        maps = outputs[1] if len(outputs) > 1 else [None] * len(logits)
        return [Evidence(float(logit), patch) for logit, patch in zip(logits, maps, strict=True)]

    def _refuse_other_size(self, frames: Batch) -> None:
        found = frames.shape[1:3]
        if any(
            fixed is not None and fixed != size
            for fixed, size in zip(self._fixed_hw, found, strict=True)
        ):
            height, width = self._fixed_hw
            raise ModelError(
                f"{self._path}: made for frames of {height}×{width} pixels, got "
                f"{found[0]}×{found[1]}. Choose a region of that size, or export without --static."
            )


def _open_session(
    path: Path, threads: int | None, device: str, wanted: Sequence[Provider]
) -> ort.InferenceSession:
    options = ort.SessionOptions()
    options.log_severity_level = 4
    if threads is not None:
        options.intra_op_num_threads = threads
    # A plan of the memory is one more block of its size: at 720p 85 MB, for no time saved.
    options.enable_mem_pattern = False
    # A live source leaves gaps between frames; spinning through them would burn a core for nothing.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    if device != "cpu":
        return _open_on_gpu(path, options, device, wanted)
    try:
        return ort.InferenceSession(str(path), options, providers=list(wanted))
    except Exception as error:  # the runtime's own exceptions share no public base class
        raise _not_loaded(path, error) from error


def _open_on_gpu(
    path: Path, options: ort.SessionOptions, device: str, wanted: Sequence[Provider]
) -> ort.InferenceSession:
    """Open a session, and refuse one that ONNX Runtime put on something else without asking."""
    try:
        with _listening() as heard:
            session = _new_session(path, options, wanted)
    except Exception as error:  # the runtime's own exceptions share no public base class
        _raise_gpu_error(path, device, f"{error}\n{heard.text}", error)
        reason = reason_in(heard.text)
        if reason:
            raise _fell_back(path, device, "nothing", reason) from error
        raise _not_loaded(path, error) from error
    found = session.get_providers()[0]
    if found != NAMES[device]:
        _raise_gpu_error(path, device, heard.text)
        raise _fell_back(path, device, found, reason_in(heard.text))
    if heard.raw:
        os.write(2, heard.raw)
    return session


def _new_session(
    path: Path, options: ort.SessionOptions, wanted: Sequence[Provider]
) -> ort.InferenceSession:
    # Finds CUDA's libraries among installed packages; came with 1.21.
    preload: Any = getattr(ort, "preload_dlls", None)
    if preload is not None:
        preload()
    # Older releases know neither word, and fall back, which is found out by looking.
    session = ort.InferenceSession(str(path), options, providers=list(wanted), enable_fallback=0)
    session.disable_fallback()
    return session


def _not_loaded(path: Path, error: Exception) -> ModelError:
    return ModelError(
        f"{path}: not an ONNX model that ONNX Runtime {ort.__version__} can load "
        f"({_first_line(error)}). Copy or export it again."
    )


def _fell_back(path: Path, device: str, found: str, reason: str) -> ModelError:
    why = f" ({reason})" if reason else ""
    return ModelError(
        f"{path}: expected ONNX Runtime to run it with --device {device}, found that it would use "
        f"{found} instead{why}. Install what {NAMES[device]} needs, or leave --device out."
    )


def _raise_gpu_error(path: Path, device: str, text: str, error: Exception | None = None) -> None:
    """Raise what a text says of the GPU, if it says anything.

    Raises:
        GpuError: it does.
    """
    sentence = explain_gpu(text) if device != "cpu" else None
    if sentence is not None:
        said = reason_in(text) or (_first_line(error) if error else "")
        raise GpuError(f"{path}: {sentence}. ONNX Runtime: {said}") from error


@dataclass(slots=True)
class _Heard:
    """What was written to stderr meanwhile."""

    raw: bytes = b""

    @property
    def text(self) -> str:
        return self.raw.decode("utf-8", "replace")


@contextmanager
def _listening() -> Iterator[_Heard]:
    """Keep what goes to the process's stderr, and to Python's stdout.

    That a provider did not come up is told there alone, by C code, through a logger that no option
    of a session reaches; older releases announce their falling back on stdout, among our results.
    """
    heard = _Heard()
    with redirect_stdout(io.StringIO()), _stderr_into(heard):
        yield heard


@contextmanager
def _stderr_into(heard: _Heard) -> Iterator[None]:
    sys.stderr.flush()
    try:
        saved = os.dup(2)
    except OSError:  # it was closed, as that of a service may be
        yield
        return
    with tempfile.TemporaryFile() as file:
        os.dup2(file.fileno(), 2)
        try:
            yield
        finally:
            with suppress(OSError, ValueError):
                sys.stderr.flush()
            os.dup2(saved, 2)
            os.close(saved)
            file.seek(0)
            heard.raw = file.read()


def _runtime_version() -> tuple[int, int]:
    numbers = [int(part) for part in re.findall(r"\d+", ort.__version__)[:2]]
    return numbers[0], numbers[1]


def _check_contract(session: ort.InferenceSession, manifest: Manifest, path: Path) -> list[str]:
    wanted = ["logit"] if manifest.patches is None else ["logit", "patch_logits"]
    ranks = {"logit": 1, "patch_logits": 3}
    inputs = session.get_inputs()
    outputs = {node.name: node for node in session.get_outputs()}
    input_fits = (
        [node.name for node in inputs] == ["frames"]
        and inputs[0].type == "tensor(uint8)"
        and len(inputs[0].shape) == 4
        and inputs[0].shape[3] == 3
    )
    outputs_fit = all(
        name in outputs
        and outputs[name].type == "tensor(float)"
        and len(outputs[name].shape) == ranks[name]
        for name in wanted
    )
    if input_fits and outputs_fit:
        return wanted
    found = _describe(inputs) + " → " + _describe(list(outputs.values()))
    raise ContractError(f"{path}: its tensors are {found}. {_CONTRACT}")


def _describe(nodes: Sequence[ort.NodeArg]) -> str:
    return ", ".join(f"{node.name}: {node.type}{node.shape}" for node in nodes) or "none"


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0][:200] if str(error).strip() else type(error).__name__
