"""Work spread over a Ray cluster: `haarmony.workers.spread` for more machines than one (extra `cluster`).

A job runs on one core, in whatever process Ray gives it; one whose process or machine dies is done again by
another, three times. Sources and models are read where the job runs, so every machine has them, and haarmony,
at the paths that this one has. Results come back here; no other machine writes any file.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Generator, Iterable
from functools import partial
from itertools import islice
from typing import Any, TypeVar

Job = TypeVar("Job")
Result = TypeVar("Result")


def require() -> None:
    """Raise `ModuleNotFoundError` where Ray is not installed, before any work is spent."""
    import ray  # noqa: F401


def spread(
    do: Callable[[Job], Result], jobs: Iterable[Job], *, address: str
) -> Generator[tuple[Job, Callable[[], Result]], None, None]:
    """Do jobs on a cluster.

    Args:
        do: What to do with a job, as for `haarmony.workers.spread`.
        jobs: The jobs, picklable like their results; two a core are taken at a time.
        address: The cluster's, as `ray.init` takes it: HOST:PORT, "auto", or "local" for one on this machine.

    Returns:
        An iterator over the jobs as they are done, each with a call that returns or raises what it came to;
        `ChildProcessError` where its processes died.

    Raises:
        ModuleNotFoundError: Ray is not installed.
        ConnectionError: While iterating: there is no cluster at that address.
    """
    import ray

    ours = not ray.is_initialized()
    if ours:
        ray.init(address=address, logging_level=logging.ERROR, log_to_driver=False)
    try:
        task = ray.remote(num_cpus=1, max_retries=3)(_do)
        here, what = os.getcwd(), ray.put(do)
        left = iter(jobs)
        running: dict[Any, Job] = {}
        while True:
            free = 2 * int(ray.cluster_resources().get("CPU", 1)) - len(running)
            running |= {task.remote(what, job, here): job for job in islice(left, max(free, 0))}
            if not running:
                return
            (done,), _ = ray.wait(list(running))
            yield running.pop(done), partial(_outcome, done)
    finally:
        if ours:
            ray.shutdown()


def _do(do: Callable[[Job], Result], job: Job, folder: str) -> Result:
    os.chdir(folder)  # for relative paths
    return do(job)


def _outcome(done: Any) -> Any:
    import ray

    try:
        return ray.get(done)
    except ray.exceptions.RayTaskError as error:
        raise error.cause from None  # what it was before Ray put a traceback into its message
    except ray.exceptions.RayError as error:
        raise ChildProcessError(f"the cluster lost it ({str(error).splitlines()[0]})") from error
