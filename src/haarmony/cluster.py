"""Work spread over a Ray cluster: `haarmony.workers.spread` for more machines than one (extra `cluster`).

A job runs on one core, in whatever process Ray gives it; one whose process or machine dies is done again by
another, three times. Sources and models are read where the job runs, so every machine has them, and haarmony,
at the paths that this one has; what comes to one that has not even the working directory goes to another.
Results come back here; no other machine writes any file.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Generator, Iterable
from functools import partial
from itertools import count, islice
from typing import Any, NamedTuple, TypeVar

Job = TypeVar("Job")
Result = TypeVar("Result")

_log = logging.getLogger(__name__)


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
        ConnectionError: While iterating: there is no cluster at that address, or it has no CPU for more.
    """
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    ours = not ray.is_initialized()
    if ours:
        ray.init(address=address, logging_level=logging.ERROR, log_to_driver=False)
    try:
        task = ray.remote(num_cpus=1, max_retries=3)(_do)
        here, what = os.getcwd(), ray.put(do)
        left = iter(jobs)
        running: dict[Any, Job] = {}
        without: set[str] = set()  # the nodes that have not the folder
        turns = count()
        while True:
            free = 2 * int(ray.cluster_resources().get("CPU", 0)) - len(running)
            if free <= 0 and not running:
                raise ConnectionError(f"{address}: the cluster has no CPU to work on; add a machine that has")
            running |= {task.remote(what, job, here): job for job in islice(left, max(free, 0))}
            if not running:
                return
            (done,), _ = ray.wait(list(running))
            job, outcome = running.pop(done), _outcome(done)
            if isinstance(outcome, _Astray):
                node, problem = outcome
                new = node not in without
                without.add(node)
                if nodes := _nodes(without):
                    if new:
                        _log.warning("%s on the cluster's node %s; others do its work", problem, node)
                    there = NodeAffinitySchedulingStrategy(nodes[next(turns) % len(nodes)], soft=True)
                    running[task.options(scheduling_strategy=there).remote(what, job, here)] = job
                    continue
                outcome = partial(_fail, ChildProcessError(f"{problem} on any node of the cluster"))
            yield job, outcome
    finally:
        if ours:
            ray.shutdown()


class _Astray(NamedTuple):
    """What a job comes to on a node that has not the folder."""

    node: str
    problem: str


def _do(do: Callable[[Job], Result], job: Job, folder: str) -> Result | _Astray:
    try:
        os.chdir(folder)  # for relative paths
    except OSError as error:
        import ray

        return _Astray(ray.get_runtime_context().get_node_id(), f"{folder}: {error.strerror}")
    return do(job)


def _nodes(without: set[str]) -> list[str]:
    """The nodes that can work, without some."""
    import ray

    able = (node for node in ray.nodes() if node["Alive"] and node["Resources"].get("CPU", 0) >= 1)
    return [node["NodeID"] for node in able if node["NodeID"] not in without]


def _outcome(done: Any) -> Callable[[], Any] | _Astray:
    import ray

    try:
        result = ray.get(done)
    except ray.exceptions.RayTaskError as error:
        return partial(_fail, error.cause)  # what it was before Ray put a traceback into its message
    except ray.exceptions.RayError as error:
        lost = ChildProcessError(f"the cluster lost it ({str(error).splitlines()[0]})")
        lost.__cause__ = error
        return partial(_fail, lost)
    return result if isinstance(result, _Astray) else lambda: result


def _fail(error: Exception) -> Any:
    raise error
