"""`import tensorrt` in a process whose PYTHONPATH names the folder above: the fake one."""

import os
import sys
from pathlib import Path

_ROOT = str(Path(__file__).resolve().parents[4])
if _ROOT not in sys.path:
    sys.path.append(_ROOT)

from tests.fake_tensorrt.faults import Faults  # noqa: E402
from tests.fake_tensorrt.module import make_module  # noqa: E402

sys.modules[__name__] = make_module(
    os.environ.get("FAKE_TENSORRT", "10.3.0"), Faults.from_environment()
)
