"""Runs a model file with ONNX Runtime: on the CPU, or on a GPU by its CUDA or TensorRT provider."""

from __future__ import annotations

import io
import logging
import os
import re
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, nullcontext, redirect_stdout, suppress
from importlib import metadata
from pathlib import Path

import onnxruntime as ort

from edge.backends.base import Backend, BackendChoice, kept_folder
from edge.backends.providers import NAMES, Provider, explain_gpu, providers, reason_in
from edge.cpus import thread_limit
from edge.cuda import open_cuda
from edge.errors import ContractError, GpuError, MissingDependency, ModelError, UsageError
from edge.files import sha256_of
from edge.manifest import Manifest, Precision, read_manifest
from edge.tensorrt.board import read_board
from edge.tensorrt.record import machine_of
from edge.types import Batch, Evidence, FloatArray
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
    if choice.device == "cpu" and precision != "fp32":
        raise UsageError(
            f"--precision {precision}: on a CPU ONNX Runtime takes 1.4 to 3.7 times as long for it "
            "as for float32. Leave --precision out, or use --backend openvino, which has it where "
            "it is faster."
        )
    own = path if precision == "fp32" else variant(path, precision)
    return OnnxRuntimeBackend(
        own or path,
        choice.threads,
        device=choice.device,
        precision=precision,
        typed=own is not None,
        engines=_engines_folder(own or path, precision) if choice.device == "tensorrt" else None,
    )


def _engines_folder(path: Path, precision: Precision) -> Path | None:
    """Where engines of ONNX Runtime's provider are kept: a folder for all that they depend on.

    None where the GPU is not known or the folder cannot be made, which is logged.
    """
    try:
        with open_cuda() as cuda:
            gpu = cuda.gpu
    except (MissingDependency, GpuError) as error:
        log.warning("engines will be built at every start, as the GPU is not known: %s", error)
        return None
    runtime = f"{_version('tensorrt')} in onnxruntime {_version('onnxruntime-gpu', 'onnxruntime')}"
    machine = machine_of(runtime, gpu)
    return kept_folder("onnxruntime", machine.model_dump_json(), precision, sha256_of(path))


def _version(*names: str) -> str:
    for name in names:
        with suppress(metadata.PackageNotFoundError):
            return metadata.version(name)
    return "of the system"


def open_network(path: Path, threads: int | None = None) -> Callable[[Batch], FloatArray]:
    """What runs a network of ours that is no detector, on the CPU.

    Args:
        path: with the input `frames`, uint8 [N, H, W, 3] BGR, and one output, float32.
        threads: per operator; None for every core that may be used.

    Raises:
        ModelError: the file is absent or cannot be loaded.
    """
    session = _open_session(path, threads or thread_limit(), "cpu", [(NAMES["cpu"], {})])

    def run(frames: Batch) -> FloatArray:
        output: FloatArray = session.run(None, {"frames": frames})[0]
        return output

    return run


class OnnxRuntimeBackend(Backend):
    """Runs `model.onnx` on exactly the requested device; a bad file fails at construction.

    Args:
        path: the model file.
        threads: per operator on the CPU; None for every core.
        device: with "tensorrt" an engine is built first, in seconds to minutes.
        precision, typed, engines: see `providers`.

    Raises:
        ModelError: the file is none that can be used, or would have run on another device.
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
        release = re.findall(r"\d+", ort.__version__)
        wanted = providers(
            device,
            ort.get_available_providers(),
            precision,
            typed=typed,
            engines=engines,
            runtime=(int(release[0]), int(release[1])),
            jetson=device != "cpu" and read_board().l4t is not None,
        )
        self.manifest = read_manifest(path).computed_in(precision)
        self._session = _open_session(path, threads, device, wanted)
        self._outputs = _check_contract(self._session, self.manifest, path)
        shape = self._session.get_inputs()[0].shape
        self._fixed_hw = tuple(d if isinstance(d, int) else None for d in shape[1:3])

    def __exit__(self, *_: object) -> None:
        del self._session

    def infer(self, frames: Batch) -> list[Evidence]:
        """See `Backend.infer`; ModelError too where the model has a fixed size, and not this."""
        found, fixed_hw = frames.shape[1:3], self._fixed_hw
        if any(fixed not in (None, size) for fixed, size in zip(fixed_hw, found, strict=True)):
            raise ModelError(
                f"{self._path}: made for frames of {fixed_hw[0]}×{fixed_hw[1]} pixels, got "
                f"{found[0]}×{found[1]}. Choose a region of that size, or export without --static."
            )
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


def _open_session(
    path: Path, threads: int | None, device: str, wanted: Sequence[Provider]
) -> ort.InferenceSession:
    """Open a session, and refuse one that ONNX Runtime put on something else without asking."""
    options = ort.SessionOptions()
    options.log_severity_level = 4
    if path.name.endswith(".int8.fp16.onnx"):
        # Made for TensorRT: ONNX Runtime's optimisers break quantisers in half precision.
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    if threads is not None:
        options.intra_op_num_threads = threads
    # A plan of the memory is one more block of its size: at 720p 85 MB, for no time saved.
    options.enable_mem_pattern = False
    # A live source leaves gaps between frames; spinning through them would burn a core for nothing.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    on_gpu = device != "cpu"
    # Older releases ignore it, and fall back, which is found out by looking.
    no_fallback = {"enable_fallback": 0} if on_gpu else {}
    try:
        with _captured_stderr() if on_gpu else nullcontext(bytearray()) as written:
            # Finds CUDA's libraries among installed packages; came with 1.21.
            if on_gpu and hasattr(ort, "preload_dlls"):
                ort.preload_dlls()
            session = ort.InferenceSession(
                str(path), options, providers=list(wanted), **no_fallback
            )
    except Exception as error:  # the runtime's own exceptions share no public base class
        text = written.decode("utf-8", "replace")
        _raise_gpu_error(path, device, f"{error}\n{text}", error)
        if reason := reason_in(text):
            raise _fell_back(path, device, "nothing", reason) from error
        raise ModelError(
            f"{path}: not an ONNX model that ONNX Runtime {ort.__version__} can load "
            f"({_first_line(error)}). Copy or export it again."
        ) from error
    if on_gpu:
        session.disable_fallback()
        text = written.decode("utf-8", "replace")
        found = session.get_providers()[0]
        if found != NAMES[device]:
            _raise_gpu_error(path, device, text)
            raise _fell_back(path, device, found, reason_in(text))
        if written:
            os.write(2, written)
    return session


def _fell_back(path: Path, device: str, found: str, reason: str) -> ModelError:
    why = f" ({reason})" if reason else ""
    return ModelError(
        f"{path}: expected ONNX Runtime to run it with --device {device}, found that it would use "
        f"{found} instead{why}. Install what {NAMES[device]} needs, or leave --device out."
    )


def _raise_gpu_error(path: Path, device: str, text: str, error: Exception | None = None) -> None:
    """Raise `GpuError` if a text says that the GPU failed."""
    sentence = explain_gpu(text) if device != "cpu" else None
    if sentence is not None:
        reason = reason_in(text) or (_first_line(error) if error else "")
        raise GpuError(f"{path}: {sentence}. ONNX Runtime: {reason}") from error


@contextmanager
def _captured_stderr() -> Iterator[bytearray]:
    """Keep what goes to the process's stderr, complete at the end; drop Python's stdout.

    Only there C code writes why a provider did not come up; older releases announce a fallback on
    stdout, among our results.
    """
    written = bytearray()
    sys.stderr.flush()
    with ExitStack() as stack:
        stack.enter_context(redirect_stdout(io.StringIO()))
        try:
            saved = os.dup(2)
        except OSError:  # it was closed, as that of a service may be
            yield written
            return
        file = stack.enter_context(tempfile.TemporaryFile())
        os.dup2(file.fileno(), 2)
        try:
            yield written
        finally:
            with suppress(OSError, ValueError):
                sys.stderr.flush()
            os.dup2(saved, 2)
            os.close(saved)
            file.seek(0)
            written += file.read()


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
