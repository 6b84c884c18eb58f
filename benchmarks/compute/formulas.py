"""What one operator costs; the only place with formulas, for every counter.

A MAC is one multiplication with its addition, and FLOPs are 2·MACs. Convolutions and matrix
products have MACs; a bias, a batch norm, an activation, a cast or a transpose has none but moves
data. Memory traffic is that of operators run one after the other: each reads its inputs and its
weights once and writes its outputs once. A runtime that fuses operators moves less; one whose
caches are too small for a weight or a row moves more.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

Kind = Literal["convolution", "matmul", "elementwise", "part", "free"]
"""`part` reads no more of its input than it writes (a slice); `free` only renames (a reshape)."""


@dataclass(frozen=True, slots=True)
class Array:
    """A tensor without its values.

    Attributes:
        shape: () of a scalar.
        itemsize: bytes of an element.
    """

    shape: tuple[int, ...]
    itemsize: int

    @property
    def elements(self) -> int:
        """How many numbers it holds."""
        return math.prod(self.shape)

    @property
    def bytes(self) -> int:
        """Size in memory."""
        return self.elements * self.itemsize


@dataclass(frozen=True, slots=True)
class Operator:
    """One step of a network, as a counter saw it.

    Attributes:
        name: of the operation in its framework, for instance "Conv".
        layer: where in the network.
        kind: which formulas hold.
        inputs: weights among them. Of a convolution [N, C, …], [O, C/groups, …] and perhaps a
            bias; of a matrix product […, m, k], […, k, n] and perhaps a bias.
        outputs: of a convolution [N, O, …]; of a matrix product […, m, n].
    """

    name: str
    layer: str
    kind: Kind
    inputs: tuple[Array, ...]
    outputs: tuple[Array, ...]

    @property
    def macs(self) -> int:
        """Multiplications that are summed up."""
        formula = _MACS.get(self.kind)
        return formula(self) if formula else 0

    @property
    def flops(self) -> int:
        """2·MACs."""
        return 2 * self.macs

    @property
    def traffic_bytes(self) -> int:
        """Bytes read and written, each once."""
        written = sum(array.bytes for array in self.outputs)
        if self.kind == "free":
            return 0
        if self.kind == "part":
            return 2 * written
        return written + sum(array.bytes for array in self.inputs)


@dataclass(frozen=True, slots=True)
class Count:
    """The operators of a network on one input, in order.

    Attributes:
        operators: all of them, those without cost too.
        parameters: how many numbers the network stores.
    """

    operators: tuple[Operator, ...]
    parameters: int

    @property
    def macs(self) -> int:
        """Of all operators."""
        return sum(operator.macs for operator in self.operators)

    @property
    def flops(self) -> int:
        """2·MACs."""
        return 2 * self.macs

    @property
    def traffic_bytes(self) -> int:
        """Of all operators, run one after the other."""
        return sum(operator.traffic_bytes for operator in self.operators)

    @property
    def intensity(self) -> float:
        """Arithmetic intensity in FLOPs per byte of traffic."""
        return self.flops / max(1, self.traffic_bytes)


def _convolution_macs(operator: Operator) -> int:
    """Every output element sums over a kernel of (C/groups) · height · width weights."""
    return operator.outputs[0].elements * math.prod(operator.inputs[1].shape[1:])


def _matmul_macs(operator: Operator) -> int:
    """Every output element is an inner product of length k."""
    return operator.outputs[0].elements * operator.inputs[0].shape[-1]


_MACS: dict[Kind, Callable[[Operator], int]] = {
    "convolution": _convolution_macs,
    "matmul": _matmul_macs,
}
