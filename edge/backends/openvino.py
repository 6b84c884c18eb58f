"""Runs a model file with OpenVINO: on any CPU that its wheels run on, on an Intel GPU or NPU.

What differs from the float32 model file, half precision or int8, is compared with ONNX Runtime on
made-up frames before it is used, once for each machine, model and version.
"""

from __future__ import annotations

import logging
import sys
from collections import OrderedDict
from contextlib import suppress
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from pydantic import ValidationError

from edge.backends.base import Backend, BackendChoice, kept_folder
from edge.errors import MissingDependency, ModelError, SinkError, UsageError
from edge.files import sha256_of, write_whole
from edge.manifest import Precision, read_manifest
from edge.proof import prove, shifted
from edge.regions import RegionSpec, parse_region, place
from edge.rounding import Weights, keep_sums
from edge.tensorrt.record import Proof, Shape
from edge.types import Batch, Evidence
from edge.weights import variant

if TYPE_CHECKING:
    import openvino

log = logging.getLogger(__name__)

DEVICES = {"cpu": "CPU", "gpu": "GPU", "npu": "NPU"}
"""`--device` → OpenVINO's name."""

EXTRA = "pip install 'patchwatch[openvino]'"

HALF = {"BF16": "bf16", "FP16": "f16"}
"""Capability of a device that computes in half precision → the hint that asks for it."""

SAME_VERDICTS = 0.04
"""Mean difference of a logit on the frames of a proof up to which half precision is taken unasked;
what that costs in verdicts is in docs/precision.md."""

INT8_MEAN = 1.0
"""As much for int8, beside its bound: twice what the shipped file differs by. A CPU without VNNI
sums products of 8 bits in 16 and is further off."""

PROOF_S = 1.5
"""About how long a proof may take."""

TYPICAL_HW = (720, 1280)
"""A frame, where the region leaves the model's view to it."""

_MOST_SIZES = 3
"""Sizes of frames compiled at once where a device takes no dynamic shapes."""


def open_model(path: Path, choice: BackendChoice) -> OpenVinoBackend:
    """The backend of a choice; see `edge.backends.open_backend`.

    Without a precision it is the machine's own where that changes no verdict, else float32.
    """
    core = load_core()
    if choice.precision is not None:
        return _proven(core, path, choice, choice.precision)
    if half_of(core, choice.device) is not None:
        try:
            backend = _proven(core, path, choice, "fp16")
        except ModelError as error:
            log.info("using float32, as half precision is refused: %s", error)
            return _proven(core, path, choice, "fp32")
        if keeps_verdicts(backend.proof):
            return backend
        log.info(
            "%s: half precision on this machine moves a logit by %.2g on average, where %.2g is "
            "allowed unasked; using float32. --precision fp16 takes it all the same.",
            path.name,
            backend.proof.mean_logit if backend.proof else float("nan"),
            SAME_VERDICTS,
        )
    return _proven(core, path, choice, "fp32")


def load_core() -> openvino.Core:
    """OpenVINO's entry point, one for the process; MissingDependency where it is not installed.

    The package that counts its users, which writes below the home folder and calls its maker, is
    not there for it.
    """
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
    try:
        import openvino  # noqa: F401  # only whether it can be imported matters
    except ImportError as error:
        raise MissingDependency("OpenVINO", "run a model with it", EXTRA) from error
    return _core()


@cache
def _core() -> openvino.Core:
    # Its CPU plugin gives the thread that compiles first a stack for signal handlers, and takes
    # the memory back when it goes. Of two that go in the order in which they came, the thread is
    # left with a stack that is no more, and the next Ctrl-C is a segmentation fault.
    import openvino

    return openvino.Core()


def half_of(core: openvino.Core, device: str) -> str | None:
    """The hint that has a device compute in half precision; None where it cannot."""
    able = core.get_property(_present(core, device), "OPTIMIZATION_CAPABILITIES")
    return next((hint for name, hint in HALF.items() if name in able), None)


def keeps_verdicts(proof: Proof | None) -> bool:
    """Whether a precision may be used unasked: every verdict is the same, and logits nearly."""
    if proof is None:
        return True
    return proof.ok and proof.agreement == 1 and (proof.mean_logit or 0.0) <= SAME_VERDICTS


def _present(core: openvino.Core, device: str) -> str:
    name = DEVICES[device]
    if name not in {found.partition(".")[0] for found in core.available_devices}:
        found = ", ".join(core.available_devices) or "none"
        raise ModelError(
            f"--device {device}: OpenVINO finds no {name} here, only {found}. Install Intel's "
            "driver for it, or leave --device out."
        )
    return name


def _proven(
    core: openvino.Core, path: Path, choice: BackendChoice, precision: Precision
) -> OpenVinoBackend:
    """A backend whose evidence is close enough to ONNX Runtime's; ModelError where it is not."""
    manifest = read_manifest(path)
    own = path if precision != "int8" else variant(path, precision)
    if own is None:
        raise ModelError(
            f"{path}: no int8 variant beside it. Make one where torch is installed: "
            f"patchwatch export {path.name} -o {path.name} --precision int8."
        )
    name = _present(core, choice.device)
    folder = kept_folder(
        "openvino",
        metadata.version("openvino"),
        metadata.version("onnxruntime"),
        str(core.get_property(name, "FULL_DEVICE_NAME")),
        ",".join(sorted(core.get_property(name, "OPTIMIZATION_CAPABILITIES"))),
        precision,
        *(sha256_of(file) for file in (path, own)),
    )
    backend = OpenVinoBackend(core, own, choice.threads, choice.device, precision, folder)
    hw = typical_hw(choice.region or parse_region(manifest.region))
    kept = folder / f"proof-{hw[0]}x{hw[1]}-centred.json" if folder else None
    proof = None
    with suppress(OSError, UnicodeDecodeError, ValidationError):  # absent, cut short or older
        proof = Proof.model_validate_json(kept.read_text("utf-8")) if kept else None
    if proof is None:
        choice.progress("comparing OpenVINO with ONNX Runtime")
        shape = Shape(batch=1, height=hw[0], width=hw[1])
        centred = precision == "fp16"
        proof = prove(backend.infer, path, precision, shape, choice.progress, PROOF_S, centred)
        if kept is not None:
            with suppress(SinkError):
                write_whole(kept, proof.model_dump_json(indent=2) + "\n")
    if not proof.ok or (precision == "int8" and (proof.mean_logit or 0.0) > INT8_MEAN):
        raise ModelError(
            f"{path}: {precision} in OpenVINO on this {name} differs too much from the model file, "
            f"by {proof.mean_logit:.2g} in a logit on average of {proof.frames} frames and by "
            f"{proof.max_logit:.2g} at most. Use --precision fp32, or another --backend."
        )
    backend.proof = proof
    return backend


def typical_hw(region: RegionSpec) -> tuple[int, int]:
    """Height and width at which the model sees a typical frame, or a part of it."""
    return place(*TYPICAL_HW, region)[1]


class OpenVinoBackend(Backend):
    """Runs a model file in OpenVINO for the least latency of one frame; see `open_model`.

    Args:
        core: OpenVINO.
        path: the model file.
        threads: on the CPU; None for every core.
        device: of `DEVICES`.
        precision: float32, the device's half precision, or that of an int8 file.
        cache: folder for compiled models, which OpenVINO names by model, device and settings.

    Attributes:
        proof: how far it is from ONNX Runtime; None if that was not measured. Its `shift` is
            taken off all evidence.

    Raises:
        ModelError: OpenVINO refuses the file or the settings.
        UsageError: the device does not compute in half precision.
    """

    name = "openvino"

    def __init__(
        self,
        core: openvino.Core,
        path: Path,
        threads: int | None = None,
        device: str = "cpu",
        precision: Precision = "fp32",
        cache: Path | None = None,
    ) -> None:
        self.manifest = read_manifest(path).computed_in(precision)
        self.proof: Proof | None = None
        self.device = device
        self.precision = precision
        self._core, self._path = core, path
        self._config: dict[str, Any] = {
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_PRECISION_HINT": "f32" if precision != "fp16" else self._half(),
        }
        if device == "cpu":
            # Threads that are tied to cores wait there for whatever else runs on them.
            self._config["ENABLE_CPU_PINNING"] = False
            if threads is not None:
                self._config["INFERENCE_NUM_THREADS"] = threads
        if cache is not None:
            self._config["CACHE_DIR"] = str(cache)
        self._requests: OrderedDict[tuple[int, ...], openvino.InferRequest] = OrderedDict()
        if device == "cpu":
            self._request((0,))

    def __exit__(self, *_: object) -> None:
        self._requests.clear()

    def infer(self, frames: Batch) -> list[Evidence]:
        """See `Backend.infer`."""
        request = self._request(frames.shape if self.device != "cpu" else (0,))
        try:
            request.start_async({"frames": frames}, share_inputs=True)
            request.wait()
        except RuntimeError as error:
            raise ModelError(
                f"{self._path}: OpenVINO failed on frames of shape {frames.shape}: "
                f"{_last_line(error)}"
            ) from error
        logits = request.get_tensor("logit").data
        maps: Any = [None] * len(logits)
        if self.manifest.patches is not None:
            maps = request.get_tensor("patch_logits").data.copy()
        found = [Evidence(float(logit), patch) for logit, patch in zip(logits, maps, strict=True)]
        shift = self.proof.shift if self.proof else 0.0
        return [shifted(one, shift) for one in found] if shift else found

    def _half(self) -> str:
        hint = half_of(self._core, self.device)
        if hint is None:
            found = self._core.get_property(DEVICES[self.device], "OPTIMIZATION_CAPABILITIES")
            raise UsageError(
                f"--precision fp16: expected a {DEVICES[self.device]} that computes in half "
                f"precision, found one with {', '.join(found)}. Leave --precision out."
            )
        return hint

    def _request(self, shape: tuple[int, ...]) -> openvino.InferRequest:
        """For batches of a shape; the CPU has one for all."""
        if shape not in self._requests:
            while len(self._requests) >= _MOST_SIZES:
                self._requests.popitem(last=False)
            self._requests[shape] = self._compiled(shape)
        self._requests.move_to_end(shape)
        return self._requests[shape]

    def _compiled(self, shape: tuple[int, ...]) -> openvino.InferRequest:
        try:
            graph = self._core.read_model(str(self._path))
            if self.precision == "fp16":
                _keep_sums(graph, self._config["INFERENCE_PRECISION_HINT"])
            if len(shape) > 1:
                graph.reshape({"frames": list(shape)})
            compiled = self._core.compile_model(graph, DEVICES[self.device], self._config)
            return compiled.create_infer_request()
        except RuntimeError as error:
            raise ModelError(
                f"{self._path}: OpenVINO {metadata.version('openvino')} cannot run it on "
                f"{DEVICES[self.device]} ({_last_line(error)}). Use --backend onnxruntime."
            ) from error


def _keep_sums(graph: openvino.Model, half: str) -> None:
    """Round the weights of convolutions before OpenVINO does, so that sums over windows stay.

    Rounded one by one they move a logit by twice as much (docs/precision.md).
    """
    from openvino import op

    for node in graph.get_ops():
        if node.get_type_name() not in ("Convolution", "GroupConvolution"):
            continue
        place = node.input(1)
        if place.get_source_output().get_node().get_type_name() == "Reshape":  # into groups
            place = place.get_source_output().get_node().input(0)
        weights = place.get_source_output().get_node()
        if weights.get_type_name() == "Constant":
            rounded = keep_sums(weights.data.astype(np.float64), ROUNDED[half])
            place.replace_source_output(op.Constant(rounded.astype(np.float32)).output(0))


def _to_bf16(values: Weights) -> Weights:
    """The nearest numbers of bfloat16: of float32 the upper half, rounded to even."""
    bits = values.astype(np.float32).view(np.uint32)
    bits = (bits + ((bits >> 16) & 1) + 0x7FFF) & np.uint32(0xFFFF0000)
    return bits.view(np.float32).astype(np.float64)


ROUNDED = {"bf16": _to_bf16, "f16": lambda values: values.astype(np.float16).astype(np.float64)}
"""OpenVINO's hint → the nearest number of that type."""


def _last_line(error: Exception) -> str:
    """Of OpenVINO's messages, which begin with places in its sources."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1][:200] if lines else type(error).__name__
