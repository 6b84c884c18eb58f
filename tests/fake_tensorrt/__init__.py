"""A TensorRT for tests: the real one's surface for three versions, with ONNX Runtime behind it.

    with installed("8.6.1") as fake:        # `import tensorrt` now gives it
        fake.faults.logit_offset = 1.0      # and something goes wrong

In a process of its own it is found with `tests/fake_tensorrt/site` on `PYTHONPATH`; the version is
`$FAKE_TENSORRT`, and `$FAKE_TENSORRT_FAULTS` holds the fields of `Faults` as JSON.

It has only what the bindings of that version have (`tests/contract` compares them), and refuses
what the real one refuses, in its words. Its plans hold the ONNX itself, which ONNX Runtime runs on
the CPU. Where a CUDA driver is loaded the work is put into its stream, addresses are taken for the
host's, and the primary context must be current on the calling thread; without a driver it runs at
once.

`test_fake` lists what it models of a board, and what it does not; what the driver lacks stands in
`tests/software_cuda/test_driver.py`.
"""

from tests.fake_tensorrt.faults import Faults
from tests.fake_tensorrt.install import Installed, installed, site_environment
from tests.fake_tensorrt.releases import RELEASES

VERSIONS = tuple(RELEASES)

__all__ = ["VERSIONS", "Faults", "Installed", "installed", "site_environment"]
