"""How a process that loads samples begins, and when it ends."""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1
"""Of prctl(2): the signal that the kernel sends to a process when its parent dies."""


def leave_signals_to_parent(_worker: int) -> None:
    """Start a loading process that Ctrl-C passes by, and that does not outlive its parent.

    With Ctrl-C in the loading process its parent would fail before it has saved. A parent that is
    killed outright can end nobody: the kernel does it on Linux. Must be called in the loading
    process, whose parent's thread has to live as long as the loading is wanted.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    if sys.platform == "linux":
        _die_with_parent()


def _die_with_parent() -> None:
    # Where a sandbox refuses it, the process is no worse off than before.
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, ctypes.c_ulong(signal.SIGKILL))
    parent = multiprocessing.parent_process()
    if parent is not None and not parent.is_alive():  # it died before the kernel was asked
        os._exit(1)
