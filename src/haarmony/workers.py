"""Work spread over the processor's cores: one process a core, one job a process at a time."""

from __future__ import annotations

import math
import os
import signal
import sys
from collections.abc import Callable, Collection, Generator, Iterable, Iterator, Sized
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from functools import partial
from itertools import islice
from multiprocessing import get_context, parent_process
from multiprocessing.process import BaseProcess
from threading import Lock, Thread
from typing import Any, TypeVar

Job = TypeVar("Job")
Result = TypeVar("Result")

THREADS = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "BLIS_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
)
"""Environment variables that say how many threads BLAS and OpenMP use; both read them as they are loaded."""

_environment = Lock()


def cores() -> int:
    """How many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def count(workers: int | None) -> int:
    """A number of workers, by default one a core.

    Raises:
        ValueError: It is less than one.
    """
    if workers is not None and workers < 1:
        raise ValueError(f"workers must be at least 1, not {workers}")
    return workers or cores()


def worth(jobs: int, *, workers: int | None = None, per_worker: int = 1) -> int:
    """How many workers to spread so many jobs over: the number asked for, or one a core, but none idle.

    Args:
        jobs: How many there are.
        workers: The number asked for.
        per_worker: How many jobs are worth starting another process for, where none is.

    Raises:
        ValueError: Less than one worker.
    """
    return min(count(workers), math.ceil(jobs / (per_worker if workers is None else 1)))


def spread(
    do: Callable[[Job], Result],
    jobs: Iterable[Job],
    *,
    workers: int | None = None,
    per_worker: int = 1,
    apart: bool = False,
    hurried: Callable[[], bool] = bool,
) -> Generator[tuple[Job, Callable[[], Result]], None, None]:
    """Do jobs in parallel, each in one of several processes that use one BLAS thread each.

    Processes are spawned: the caller may run threads (torch, ONNX Runtime), which a fork would break. So a
    script that calls this guards its entry with ``if __name__ == "__main__"``. They leave Ctrl-C to this
    process, and end at once if it is killed.

    Args:
        do: What to do with a job: a function of a module, or a `functools.partial` of one.
        jobs: The jobs, picklable like their results. They are taken one by one as workers become free, so
            there may be any number of them.
        workers: Processes, and never more than jobs; with 1 the work is done in this process, by the calls
            given. By default one a core, fewer if there are fewer than `per_worker` jobs for each.
        per_worker: How many jobs are worth starting another process for.
        apart: Do it in a process of its own with 1 worker too, so that its memory can be told from others'.
        hurried: Asked at Ctrl-C, and where the iterator is closed: whether what is being done is to be given
            up at once, because Ctrl-C has come before, say.

    Returns:
        An iterator over the jobs as they are done, each with a call that returns or raises what it came to.
        A worker that dies (killed, out of memory) costs the job it had, whose call raises
        `ChildProcessError`, an `OSError`; another worker takes its place. Closing the iterator waits for the
        jobs that are being done and begins no other; on Ctrl-C these are still yielded, but not on a second.

    Raises:
        ValueError: Less than one worker.
        ChildProcessError: While iterating: a worker cannot be started.
    """
    most = count(workers)
    if isinstance(jobs, Sized):
        most = worth(len(jobs), workers=workers, per_worker=per_worker)
    return _in_processes(do, iter(jobs), most, hurried) if most > 1 or apart else _here(do, jobs)


def _here(
    do: Callable[[Job], Result], jobs: Iterable[Job]
) -> Generator[tuple[Job, Callable[[], Result]], None, None]:
    for job in jobs:
        yield job, partial(do, job)


class _Worker:
    """A process in a pool of its own, since a pool does not say which job its dead worker had."""

    def __init__(self) -> None:
        self.pool = ProcessPoolExecutor(1, get_context("spawn"), initializer=_start)
        with _inherited():
            self.started = self.pool.submit(int)

    def kill(self) -> None:
        """End it at once, whatever it is doing."""
        processes: dict[int, BaseProcess] = getattr(self.pool, "_processes", None) or {}
        for process in list(processes.values()):
            process.kill()


def _in_processes(
    do: Callable[[Job], Result], jobs: Iterator[Job], most: int, hurried: Callable[[], bool]
) -> Generator[tuple[Job, Callable[[], Result]], None, None]:
    workers: set[_Worker] = set()
    running: dict[Future[Result], tuple[Job, _Worker]] = {}

    def hand(job: Job, worker: _Worker | None) -> None:
        if worker is None:
            workers.add(worker := _Worker())
        try:
            running[worker.pool.submit(do, job)] = job, worker
        except BrokenProcessPool:  # it died with its last job, or since
            workers.remove(worker)
            hand(job, None)

    try:
        for job in islice(jobs, most):
            hand(job, None)
        while running:
            try:
                finished = wait(running, return_when=FIRST_COMPLETED).done
            except KeyboardInterrupt:  # what is being done ends all the same, and is not to be lost
                if hurried():
                    raise
                for future in _ended(running, workers):
                    yield running[future][0], partial(_outcome, future)
                raise
            done = [(future, *running.pop(future)) for future in finished]
            for future, _, worker in done:
                if _died(future) and _died(worker.started):
                    raise ChildProcessError("a worker process ended while it was starting")
                for following in islice(jobs, 1):  # before the caller, who may take its time, gets anything
                    hand(following, worker)
            for future, job, _ in done:
                yield job, partial(_outcome, future)
    finally:
        if hurried():
            _kill(workers)
        for worker in workers:
            worker.pool.shutdown(cancel_futures=True)


def _ended(running: Collection[Future[Result]], workers: Collection[_Worker]) -> set[Future[Result]]:
    """All that is running, once it has ended; on Ctrl-C its processes end instead."""
    try:
        return wait(running).done
    except KeyboardInterrupt:
        _kill(workers)
        raise


def _kill(workers: Collection[_Worker]) -> None:
    for worker in workers:
        worker.kill()


def _died(future: Future[Any]) -> bool:
    return isinstance(future.exception(), BrokenProcessPool)


def _outcome(future: Future[Result]) -> Result:
    if _died(future):
        raise ChildProcessError("the worker process died at it: killed, or out of memory")
    return future.result()


@contextmanager
def _inherited() -> Iterator[None]:
    """What a process started in this block inherits: one thread for BLAS, and no Ctrl-C from the start.

    Set in the new process it would come late: a script's own imports, NumPy say, run there before anything.
    """
    with _environment:  # two threads that start workers must not take the other's values for the caller's
        before = {name: os.environ.get(name) for name in THREADS}
        os.environ.update(dict.fromkeys(THREADS, "1"))
        try:
            if sys.platform == "win32":
                yield
                return
            mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
            try:
                yield
            finally:
                signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        finally:
            for name, value in before.items():
                if value is None:
                    del os.environ[name]
                else:
                    os.environ[name] = value


def _start() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's, which then stops its workers
    Thread(target=_leave_with_parent, daemon=True).start()


def _leave_with_parent() -> None:
    """End this worker when its parent is killed; it would wait for work for ever."""
    parent = parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
