"""Threads in which a service asks its collection and its files."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from threadpoolctl import threadpool_limits

Answer = TypeVar("Answer")


class QueryThreads:
    """A few threads, each of which computes on one core.

    Eight searches at once that each take all cores get in each other's way: on two cores 28 a
    second by cells among 100,000 x 1,280, where one core each does 1,000 (measured once, by hand).

    Parameters
    ----------
    name : str
        What for, as it stands in a debugger.
    n_threads : int
    """

    def __init__(self, name: str, n_threads: int) -> None:
        self._pool = ThreadPoolExecutor(n_threads, name, initializer=_compute_on_one_core)

    async def answer(self, question: Callable[[], Answer]) -> Answer:
        """Return what a function returns that is called in one of the threads."""
        return await asyncio.get_running_loop().run_in_executor(self._pool, question)

    def begin(self, task: Callable[[], None]) -> None:
        """Have a function called in one of the threads, and do not wait for it."""
        self._pool.submit(task)

    def close(self) -> None:
        """Let running questions end, and take no more."""
        self._pool.shutdown(wait=True, cancel_futures=True)


def _compute_on_one_core() -> None:
    # Of OpenMP this holds for the thread that calls it, of BLAS for the process.
    threadpool_limits(limits=1)
