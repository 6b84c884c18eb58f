"""The one thread that touches the GPU: others hand it work and take what came of it."""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any, TypeVar

from edge.errors import PatchwatchError

if TYPE_CHECKING:
    from edge.cuda import Gpu
    from edge.cuda.pycuda import Cuda

log = logging.getLogger(__name__)

T = TypeVar("T")


class GpuOwner:
    """Enters a `Cuda` object, which `open_cuda` makes, on a thread of its own, runs calls there in
    order, and leaves it: the thread that pushed a context must pop it. `gpu` is what was found.

    Raises:
        GpuError: no GPU, or CUDA refuses.
        MissingDependency: no library for it.
    """

    def __init__(self, open_cuda: Callable[[], Cuda]) -> None:
        self._open_cuda = open_cuda
        self._work: queue.SimpleQueue[tuple[Future[Any], Callable[[Cuda], Any]] | None] = (
            queue.SimpleQueue()
        )
        self._ready: Future[Gpu] = Future()
        self._lock = threading.Lock()
        self._closed = False
        # A daemon: a driver that hangs must not keep the process alive.
        self._thread = threading.Thread(target=self._run, name="patchwatch-gpu", daemon=True)
        self._thread.start()
        self.gpu = self._ready.result()

    def post(self, call: Callable[[Cuda], T]) -> Future[T]:
        """Queue a call; what it returns or raises is in the future."""
        future: Future[T] = Future()
        with self._lock:
            if self._closed:
                raise RuntimeError("the GPU was given back already")
            self._work.put((future, call))
        return future

    def call(self, call: Callable[[Cuda], T]) -> T:
        """Run a call on the thread and wait for it."""
        return self.post(call).result()

    def close(self, last: Callable[[Cuda], object] | None = None) -> None:
        """Finish what is queued, run a last call, leave the context and end the thread.

        Raises:
            PatchwatchError: the last call failed; the context was left all the same.
        """
        with self._lock:
            over, self._closed = self._closed or not self._thread.is_alive(), True
        if over:
            return
        future: Future[object] = Future()
        self._work.put((future, last or (lambda cuda: None)))
        self._work.put(None)
        self._thread.join()
        future.result()

    def _run(self) -> None:
        try:
            with self._open_cuda() as cuda:
                self._ready.set_result(cuda.gpu)
                while (work := self._work.get()) is not None:
                    future, call = work
                    try:
                        future.set_result(call(cuda))
                    except BaseException as error:
                        future.set_exception(error)
                    del work, future, call  # a result must not outlive the wait for the next
        except PatchwatchError as error:
            if not self._ready.done():
                self._ready.set_exception(error)
            else:
                # Whoever waited for it has got the error that broke the GPU.
                log.warning("the GPU could not be given back as it should: %s", error)
        except BaseException as error:
            if self._ready.done():
                raise
            self._ready.set_exception(error)
