"""The finder of faces that ships: YuNet, from its authors' file to one that takes raw frames.

    python -m export.finder yunet_n_dynamic.onnx edge/faces/yunet.onnx

The file is that of github.com/ShiqiYu/libfacedetection.train (Apache-2.0), folder `onnx`. Its
weights and layers stay as they are; before them come the types and layout of our frames, and after
them all cells of its three grids become rows of one table.
"""

from __future__ import annotations

import sys
from pathlib import Path

import onnx
from onnx import TensorProto, helper

NOTES = {
    "licence": "Apache-2.0",
    "source": "YuNet (Wu, Peng and Yu, 2023), github.com/ShiqiYu/libfacedetection.train",
    "data": "WIDER FACE",
}


def convert(source: Path, target: Path) -> None:
    """Write the finder.

    Its input is `frames`, uint8 [N, H, W, 3] BGR, sides multiples of 32; its output `faces`,
    float32 [N, cells, 15], the cells of the grids of 8, 16 and 32 pixels one after the other, row
    by row: the square of the score, then in cells from the cell's corner the centre, the logarithms
    of width and height, and five points, x before y.
    """
    given = onnx.load(str(source))
    before = [
        helper.make_node("Cast", ["frames"], ["as_float"], to=TensorProto.FLOAT),
        helper.make_node("Transpose", ["as_float"], ["input"], perm=[0, 3, 1, 2]),
    ]
    after, tables = [], []
    for stride in (8, 16, 32):
        parts = [f"{part}_{stride}" for part in ("score", "bbox", "kps", "rows")]
        after += [
            helper.make_node("Mul", [f"cls_{stride}", f"obj_{stride}"], [parts[0]]),
            helper.make_node("Concat", parts[:3], [parts[3]], axis=2),
        ]
        tables.append(parts[3])
    graph = helper.make_graph(
        [*before, *given.graph.node, *after, helper.make_node("Concat", tables, ["faces"], axis=1)],
        "yunet",
        [helper.make_tensor_value_info("frames", TensorProto.UINT8, ["N", "H", "W", 3])],
        [helper.make_tensor_value_info("faces", TensorProto.FLOAT, ["N", "cells", 15])],
        initializer=list(given.graph.initializer),
    )
    model = helper.make_model(
        graph, opset_imports=list(given.opset_import), ir_version=given.ir_version
    )
    helper.set_model_props(model, NOTES)
    onnx.checker.check_model(model)
    onnx.save(model, str(target))


if __name__ == "__main__":
    convert(Path(sys.argv[1]), Path(sys.argv[2]))
