from __future__ import annotations

import threading
from functools import partial
from typing import Any

import pytest
from typing_extensions import Self

from edge.cuda import Gpu
from edge.errors import GpuError
from edge.tensorrt.owner import GpuOwner

ORIN = Gpu("Orin", (8, 7), True, True, False, 8 << 30, (12, 6))


class FakeCuda:
    """Enough of `Cuda` to be entered and left, on threads that it remembers."""

    gpu = ORIN

    def __init__(self, fails: Exception | None = None, fails_late: bool = False) -> None:
        self.entered: list[int] = []
        self.left: list[int] = []
        self._fails, self._fails_late = fails, fails_late

    def __enter__(self) -> Self:
        if self._fails is not None and not self._fails_late:
            raise self._fails
        self.entered.append(threading.get_ident())
        return self

    def __exit__(self, *_: object) -> None:
        self.left.append(threading.get_ident())
        if self._fails is not None:
            raise self._fails


def started(cuda: FakeCuda) -> GpuOwner:
    open_it: Any = lambda: cuda  # noqa: E731
    owner = GpuOwner(open_it)
    assert owner.gpu == ORIN
    return owner


def thread(cuda: Any) -> int:
    return threading.get_ident()


def test_everything_happens_on_the_one_thread_that_entered() -> None:
    cuda = FakeCuda()
    owner = started(cuda)
    places = {owner.call(thread) for _ in range(20)}
    last: list[int] = []
    owner.close(lambda cuda: last.append(thread(cuda)))
    assert places == set(cuda.entered) == set(cuda.left) == set(last)
    assert threading.get_ident() not in places


def test_calls_are_run_in_order_also_when_posted_from_several_threads() -> None:
    cuda = FakeCuda()
    owner = started(cuda)
    seen: list[tuple[int, int]] = []

    def note(what: tuple[int, int], cuda: Any) -> None:
        seen.append(what)

    def post(who: int) -> None:
        for i in range(200):
            owner.post(partial(note, (who, i)))

    threads = [threading.Thread(target=post, args=(who,)) for who in range(3)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    owner.close()
    assert len(seen) == 600
    assert all([i for w, i in seen if w == who] == list(range(200)) for who in range(3))


def test_an_error_is_the_callers_and_the_context_is_left_once_all_the_same() -> None:
    cuda = FakeCuda()
    owner = started(cuda)

    def fails(cuda: Any) -> None:
        raise GpuError("no memory")

    with pytest.raises(GpuError, match="no memory"):
        owner.call(fails)
    assert owner.call(lambda cuda: 7) == 7
    with pytest.raises(GpuError, match="no memory"):
        owner.close(fails)
    assert len(cuda.left) == 1
    owner.close()
    with pytest.raises(RuntimeError, match="given back"):
        owner.post(thread)


def test_a_gpu_that_cannot_be_left_is_a_line_and_no_traceback(
    caplog: pytest.LogCaptureFixture,
) -> None:
    started(FakeCuda(GpuError("CUDA_ERROR_ILLEGAL_ADDRESS"), fails_late=True)).close()
    assert "could not be given back as it should: CUDA_ERROR_ILLEGAL_ADDRESS" in caplog.text


def test_where_there_is_no_gpu_it_is_said() -> None:
    open_it: Any = lambda: FakeCuda(GpuError("no GPU"))  # noqa: E731
    with pytest.raises(GpuError, match="no GPU"):
        GpuOwner(open_it)
