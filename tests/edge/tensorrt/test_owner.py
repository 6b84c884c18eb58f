from __future__ import annotations

import threading
from functools import partial

import pytest

from edge.cuda.base import Cuda
from edge.errors import GpuError
from edge.tensorrt.owner import GpuOwner
from tests.edge.tensorrt.fake_cuda import ORIN, ThreadsOfCuda


def thread(cuda: Cuda) -> int:
    return threading.get_ident()


def test_everything_happens_on_the_one_thread_that_entered() -> None:
    cuda = ThreadsOfCuda()
    owner = GpuOwner(lambda: cuda)
    assert owner.start() == ORIN
    places = {owner.call(thread) for _ in range(20)}
    last: list[int] = []
    owner.close(lambda cuda: last.append(thread(cuda)))
    assert places == set(cuda.entered) == set(cuda.left) == set(last)
    assert threading.get_ident() not in places


def test_calls_are_run_in_order_also_when_posted_from_several_threads() -> None:
    cuda = ThreadsOfCuda()
    owner = GpuOwner(lambda: cuda)
    owner.start()
    seen: list[tuple[int, int]] = []

    def note(what: tuple[int, int], cuda: Cuda) -> None:
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


def test_an_error_is_the_callers_and_the_thread_goes_on() -> None:
    owner = GpuOwner(ThreadsOfCuda)
    owner.start()

    def fails(cuda: Cuda) -> None:
        raise GpuError("no memory")

    with pytest.raises(GpuError, match="no memory"):
        owner.call(fails)
    assert owner.call(lambda cuda: 7) == 7
    owner.close()


def test_the_context_is_left_even_if_the_last_call_fails() -> None:
    cuda = ThreadsOfCuda()
    owner = GpuOwner(lambda: cuda)
    owner.start()

    def fails(cuda: Cuda) -> None:
        raise GpuError("cannot be freed")

    with pytest.raises(GpuError, match="cannot be freed"):
        owner.close(fails)
    assert len(cuda.left) == 1


def test_a_gpu_that_cannot_be_left_is_a_line_and_no_traceback(
    caplog: pytest.LogCaptureFixture,
) -> None:
    class Broken(ThreadsOfCuda):
        def __exit__(self, *_: object) -> None:
            raise GpuError("CUDA_ERROR_ILLEGAL_ADDRESS")

    owner = GpuOwner(Broken)
    owner.start()
    owner.close()
    assert "could not be given back as it should: CUDA_ERROR_ILLEGAL_ADDRESS" in caplog.text


def test_where_there_is_no_gpu_starting_says_so_and_closing_is_harmless() -> None:
    owner = GpuOwner(lambda: ThreadsOfCuda(GpuError("no GPU")))
    with pytest.raises(GpuError, match="no GPU"):
        owner.start()
    owner.close()


def test_a_closed_owner_takes_no_work_and_closes_once() -> None:
    owner = GpuOwner(ThreadsOfCuda)
    owner.start()
    owner.close()
    owner.close()
    with pytest.raises(RuntimeError, match="given back"):
        owner.post(thread)
