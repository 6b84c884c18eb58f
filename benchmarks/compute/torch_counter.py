"""Count a torch module by watching the operators that one pass dispatches.

On torch's meta device the pass costs neither time nor memory, whatever the size of the picture.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from benchmarks.compute.formulas import Array, Count, Kind, Operator
from edge.errors import ModelError

_MATMULS = {"mm", "bmm", "addmm", "baddbmm"}
_BIAS_FIRST = {"addmm", "baddbmm"}
# In torch these are views, in a graph they are operators: counted alike, to be compared.
_TRANSPOSES = {"permute", "transpose"}
_PARTS = {"slice", "select", "index"}
_FREE = {"empty", "detach", "_unsafe_view", "lift_fresh"}
_ELEMENTWISE = {
    "_adaptive_avg_pool2d",
    "_native_batch_norm_legit_no_training",
    "_softmax",
    "_to_copy",
    "add",
    "add_",
    "avg_pool2d",
    "cat",
    "clamp",
    "clone",
    "constant_pad_nd",
    "copy_",
    "div",
    "exp",
    "gelu",
    "hardtanh",
    "hardtanh_",
    "max_pool2d_with_indices",
    "mean",
    "mul",
    "native_batch_norm",
    "native_layer_norm",
    "pixel_shuffle",
    "relu",
    "relu_",
    "sigmoid",
    "silu",
    "sub",
    "sum",
    "topk",
    "upsample_bilinear2d",
    "upsample_nearest2d",
}


def count_module(module: nn.Module, *inputs: Tensor) -> Count:
    """Count one pass of a module.

    Args:
        module: in evaluation mode; on the meta device nothing is computed.
        inputs: what it takes, on its device.

    Returns:
        The operators with the names of the modules that they belong to; parameters as torch
        counts them (buffers are none).

    Raises:
        ModelError: an operator without a formula.
    """
    watch = _Watch()
    with torch.no_grad(), _named(module, watch.path), watch:
        module(*inputs)
    return Count(tuple(watch.operators), sum(weight.numel() for weight in module.parameters()))


class _Watch(TorchDispatchMode):  # type: ignore[no-untyped-call]  # torch has no types here
    """Writes down every operator that is dispatched."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # nor here
        self.path: list[str] = []
        self.operators: list[Operator] = []

    def __torch_dispatch__(
        self, func: Any, types: object, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        name = func.overloadpacket.__name__
        inputs = _arrays(args) + _arrays(kwargs or {})
        if name in _BIAS_FIRST:
            inputs = (*inputs[1:], inputs[0])
        layer = self.path[-1] if self.path else ""
        kind = _kind(name, func.is_view)
        self.operators.append(Operator(name, layer, kind, inputs, _arrays(result)))
        return result


@contextmanager
def _named(module: nn.Module, path: list[str]) -> Iterator[None]:
    """Keep `path` ending in the name of the module that is running."""
    handles = []
    for name, child in module.named_modules():
        handles += [
            child.register_forward_pre_hook(lambda *_, name=name: path.append(name)),
            child.register_forward_hook(lambda *_: _leave(path)),
        ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _leave(path: list[str]) -> None:
    # A hook that returned something would replace the module's output.
    path.pop()


def _arrays(tree: tuple[Any, ...] | Mapping[str, Any] | Tensor) -> tuple[Array, ...]:
    return tuple(
        Array(tuple(leaf.shape), leaf.element_size())
        for leaf in tree_leaves(tree)
        if isinstance(leaf, Tensor)
    )


def _kind(name: str, is_view: bool) -> Kind:
    if name in ("convolution", "_convolution"):
        return "convolution"
    if name in _MATMULS:
        return "matmul"
    if name in _PARTS:
        return "part"
    if name in _TRANSPOSES or name in _ELEMENTWISE:
        return "elementwise"
    if is_view or name in _FREE:
        return "free"
    raise ModelError(
        f"the torch operator {name!r} has no formula here, and counting it as nothing would be "
        "wrong. Add it to benchmarks/compute/torch_counter.py."
    )
