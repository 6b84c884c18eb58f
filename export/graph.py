"""From a torch module to an ONNX graph that old parsers read: opset 17, IR 8, one file."""

from __future__ import annotations

import tempfile
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
from onnx import GraphProto, ModelProto, TensorProto, helper, numpy_helper

from edge.errors import ManifestError
from edge.manifest import METADATA_KEY, Manifest, parse_manifest

if TYPE_CHECKING:
    from torch import nn

OPSET = 17
IR_VERSION = 8
"""The newest of both that the parser of TensorRT 8.5 knows."""

TYPED_OPSET, TYPED_IR_VERSION = 19, 9
"""Of int8 files whose other half is half precision, which TensorRT takes from 10 on."""

INPUT = "frames"
LOGIT = "logit"
PATCH_LOGITS = "patch_logits"

Shape = tuple[int, int, int]
"""Pictures, height, width."""

_TRACED: Shape = (2, 66, 70)
_DYNAMIC = {
    INPUT: {0: "batch", 1: "height", 2: "width"},
    LOGIT: {0: "batch"},
    PATCH_LOGITS: {0: "batch", 1: "patch_rows", 2: "patch_columns"},
}


def to_onnx(module: nn.Module, static: Shape | None = None, *, patches: bool = True) -> ModelProto:
    """The graph, without a manifest, of a module in evaluation mode: `frames` → (`logit`,
    `patch_logits`), or the first alone without `patches`. It takes any shape if `static` is None.
    """
    import torch  # the rest of the module is also used where torch is absent

    # A trace follows shapes and never values, so that any picture will do.
    outputs = [LOGIT, PATCH_LOGITS] if patches else [LOGIT]
    frames = torch.zeros((*(static or _TRACED), 3), dtype=torch.uint8)
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings(), torch.no_grad():
        # Deprecated, but the only exporter that writes opset 17 and axes as attributes.
        warnings.filterwarnings("ignore", "You are using the legacy", DeprecationWarning)
        warnings.filterwarnings("ignore", "The feature will be removed", DeprecationWarning)
        # A border on one side alone leaves operators that the exporter says it does not fold.
        warnings.filterwarnings("ignore", "Constant folding")
        if static:
            # A number read off a shape is then the constant that it should be.
            warnings.filterwarnings("ignore", "Converting a tensor")
        path = Path(folder) / "model.onnx"
        torch.onnx.export(
            module,
            (frames,),
            path,
            dynamo=False,
            opset_version=OPSET,
            input_names=[INPUT],
            output_names=outputs,
            dynamic_axes=None if static else {name: _DYNAMIC[name] for name in (INPUT, *outputs)},
        )
        proto = onnx.load_model(str(path))
    _drop_identities(proto.graph)
    _fold_constants(proto)
    proto.ir_version = min(proto.ir_version, IR_VERSION)
    return proto


def _drop_identities(graph: GraphProto) -> None:
    """Let operators read a weight itself: the exporter puts Identity before one that equals it."""
    weights = {tensor.name for tensor in graph.initializer}
    renamed = {
        node.output[0]: node.input[0]
        for node in graph.node
        if node.op_type == "Identity" and node.input[0] in weights
    }
    for node in [node for node in graph.node if node.output[0] in renamed]:
        graph.node.remove(node)
    for node in graph.node:
        for index, name in enumerate(node.input):
            node.input[index] = renamed.get(name, name)


def _fold_constants(proto: ModelProto) -> None:
    """Put constants for what is known of shapes and follows from constants: old parsers want it."""
    from onnx.reference import ReferenceEvaluator

    graph = proto.graph
    inferred = onnx.shape_inference.infer_shapes(proto).graph
    sizes = {
        value.name: [dim.dim_value for dim in value.type.tensor_type.shape.dim]
        for value in inferred.value_info
    }
    known = {tensor.name: tensor for tensor in graph.initializer}
    known |= {n.output[0]: n.attribute[0].t for n in graph.node if n.op_type == "Constant"}
    folded: dict[str, TensorProto] = {}
    for node in list(graph.node):
        name = node.output[0]
        if node.op_type == "Shape" and all(sizes.get(node.input[0], (0,))):
            value = np.asarray(sizes[node.input[0]], np.int64)
        elif node.input and set(node.input) <= {*known, ""}:
            inputs = {each: numpy_helper.to_array(known[each]) for each in node.input if each}
            results: Any = ReferenceEvaluator(node).run(None, inputs)
            value = np.asarray(results[0])
        else:
            continue
        folded[name] = known[name] = numpy_helper.from_array(value, name)
        graph.node.remove(node)
    read = {name for node in graph.node for name in node.input}
    graph.initializer.extend(tensor for name, tensor in folded.items() if name in read)


def embed(proto: ModelProto, manifest: Manifest) -> None:
    helper.set_model_props(proto, {METADATA_KEY: manifest.to_json()})


def manifest_in(proto: ModelProto, where: str) -> Manifest:
    """The manifest inside a graph, called `where` in messages; ManifestError for none, more than
    one, a broken one or one of a newer schema.
    """
    texts = [entry.value for entry in proto.metadata_props if entry.key == METADATA_KEY]
    if len(texts) != 1:
        raise ManifestError(f"expected one manifest under {METADATA_KEY!r}, found {len(texts)}.")
    return parse_manifest(texts[0], where)
