"""Costs of single operators against arithmetic done by hand."""

from __future__ import annotations

from benchmarks.compute.formulas import Array, Count, Kind, Operator


def floats(*shape: int) -> Array:
    return Array(shape, 4)


def operator(kind: Kind, inputs: tuple[Array, ...], output: Array) -> Operator:
    return Operator("op", "layer", kind, inputs, (output,))


def test_a_convolution_sums_a_kernel_for_every_output() -> None:
    conv = operator(
        "convolution",
        (floats(1, 3, 8, 8), floats(16, 3, 3, 3), floats(16)),
        floats(1, 16, 4, 4),
    )
    assert conv.macs == 16 * 4 * 4 * 27
    assert conv.flops == 2 * conv.macs
    assert conv.traffic_bytes == 4 * (192 + 432 + 16 + 256)


def test_groups_shorten_the_sum() -> None:
    depthwise = operator(
        "convolution", (floats(1, 6, 5, 5), floats(6, 1, 3, 3)), floats(1, 6, 3, 3)
    )
    assert depthwise.macs == 6 * 9 * 9


def test_a_matrix_product_has_inner_products() -> None:
    product = operator("matmul", (floats(2, 5, 7), floats(2, 7, 3)), floats(2, 5, 3))
    assert product.macs == 2 * 5 * 3 * 7


def test_other_operators_move_data_and_compute_nothing() -> None:
    cast = operator("elementwise", (Array((10, 10), 1),), floats(10, 10))
    assert (cast.macs, cast.traffic_bytes) == (0, 100 + 400)
    crop = operator("part", (floats(100, 100),), floats(10, 10))
    assert (crop.macs, crop.traffic_bytes) == (0, 2 * 400)
    renamed = operator("free", (floats(100, 100),), floats(10_000))
    assert (renamed.macs, renamed.traffic_bytes) == (0, 0)


def test_a_count_adds_up() -> None:
    product = operator("matmul", (floats(1, 8), floats(8, 4)), floats(1, 4))
    activation = operator("elementwise", (floats(1, 4),), floats(1, 4))
    count = Count((product, activation), parameters=32)
    assert (count.macs, count.flops) == (32, 64)
    assert count.traffic_bytes == 4 * (8 + 32 + 4) + 4 * (4 + 4)
    assert count.intensity == 64 / 208
    assert Count((), 0).intensity == 0
