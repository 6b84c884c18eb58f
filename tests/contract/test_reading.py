"""The readers of signatures and of source, on pieces that show what they must see."""

from __future__ import annotations

import textwrap

from tests.contract.calls import calls_of, our_files
from tests.contract.signatures import Parameter, read_signatures

P = Parameter


def test_signatures_are_read() -> None:
    (found,) = read_signatures("create_network(self: tensorrt.Builder, flags: int = 0) -> X")
    assert found == (P("flags", True),)
    doc = "set_timing_cache(self: C, cache: tensorrt.ITimingCache, ignore_mismatch: bool) -> bool"
    assert list(read_signatures(doc)) == [(P("cache", False), P("ignore_mismatch", False))]
    assert list(read_signatures("reset(self: tensorrt.Builder) -> None")) == [()]


def test_brackets_defaults_and_overloads_are_read() -> None:
    doc = """set_input_shape(*args, **kwargs)
Overloaded function.

1. set_input_shape(self: C, name: str, shape: tuple) -> bool


    Set (sizes, and more) of a tensor.

2. set_input_shape(self: C, name: str, shape: List[Tuple[int, bool]] = <X.Y: 2>, z: int = 1) -> bool
"""
    assert list(read_signatures(doc)) == [
        (P("name", False), P("shape", False)),
        (P("name", False), P("shape", True), P("z", True)),
    ]
    assert list(read_signatures("Initialize self.  See help(type(self)) for the signature.")) == []
    assert list(read_signatures("f(self: A, /, call: Callable[[int], bool], b: int) -> bool")) == [
        (P("call", False), P("b", False))
    ]


def test_uses_are_read_from_source() -> None:
    found = calls_of(
        [
            textwrap.dedent(
                """
            import tensorrt
            import tensorrt as t

            class L(t.ILogger):
                def __init__(self):
                    t.ILogger.__init__(self)

            def f(trt, config):
                config.set_flag(trt.BuilderFlag.TF32)
                config.clear_flag(getattr(trt.BuilderFlag, "FP16"))
                if hasattr(trt.ILayer, "precision") and hasattr(trt, "IProgressMonitor"):
                    return getattr(tensorrt.Builder, "platform_has_tf32", True)
                return other.BuilderFlag.NOT_MINE, "Text", "STRONGLY_TYPED"
            """
            )
        ]
    )
    assert found.chains == {
        ("ILogger",),
        ("BuilderFlag",),
        ("BuilderFlag", "TF32"),
        ("ILayer",),
        ("Builder",),
    }
    assert found.guarded == {
        ("ILayer", "precision"),
        ("IProgressMonitor",),
        ("Builder", "platform_has_tf32"),
    }
    assert found.words == {"FP16", "STRONGLY_TYPED"}


def test_our_files_are_found() -> None:
    names = {path.name for path in our_files()}
    assert {"log_lines.py", "__init__.py"} <= names
