"""Calls that may never return: on a thread of their own, which is left behind."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeoutError
from typing import TypeVar

__all__ = ["FutureTimeoutError", "in_time"]

T = TypeVar("T")


def in_time(call: Callable[[], T], within_s: float, thread: str) -> T:
    """What a call returns or raises, so that neither it nor a library's calls back hold up Ctrl-C.

    Args:
        call: is left behind where it takes longer.
        within_s: how long it is waited for.
        thread: its name.

    Raises:
        FutureTimeoutError: it took longer.
    """
    answer: Future[T] = Future()

    def ask() -> None:
        try:
            answer.set_result(call())
        except BaseException as error:
            answer.set_exception(error)

    threading.Thread(target=ask, name=thread, daemon=True).start()
    return answer.result(within_s)
