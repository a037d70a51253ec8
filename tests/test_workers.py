"""Work spread over processes: each job's result once, whatever dies, and no more than is asked for."""

from __future__ import annotations

import itertools
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import pytest

from haarmony.workers import THREADS, cores, spread

posix = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such signals")
proc = pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="no /proc to look threads up in")


def square(x):
    """x² and who found it; 3 has none."""
    if x == 3:
        raise ValueError("3 is refused")
    return x * x, os.getpid()


def touch(folder, x):
    (folder / str(x)).touch()


def die_at_three(x):
    if x == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    return x * x


def threads_of_this_process(_):
    import numpy as np

    np.ones((600, 600)) @ np.ones((600, 600))
    status = Path("/proc/self/status").read_text()
    return int(status.split("Threads:")[1].split()[0])


def collect(outcomes):
    """Results by job, and errors by job."""
    results, errors = {}, {}
    for job, outcome in outcomes:
        assert job not in results | errors
        try:
            results[job] = outcome()
        except (ValueError, OSError) as error:
            errors[job] = error
    return results, errors


@pytest.mark.parametrize("length", ["known", "unknown"])
@pytest.mark.parametrize("workers", [1, 2])
def test_every_job_comes_to_its_result_or_its_error(length, workers):
    jobs = range(7) if length == "known" else iter(range(7))
    results, errors = collect(spread(square, jobs, workers=workers))
    if workers == 1:
        assert {pid for _, pid in results.values()} == {os.getpid()}
    else:
        assert os.getpid() not in {pid for _, pid in results.values()}
        assert len({pid for _, pid in results.values()}) <= 2
    assert {x: found for x, (found, _) in results.items()} == {0: 0, 1: 1, 2: 4, 4: 16, 5: 25, 6: 36}
    assert {x: str(error) for x, error in errors.items()} == {3: "3 is refused"}
    assert not multiprocessing.active_children()


def test_there_are_no_more_workers_than_jobs():
    assert collect(spread(square, [], workers=4)) == ({}, {})
    ((_, pid),) = collect(spread(square, [5], workers=4))[0].values()
    assert pid == os.getpid()
    for jobs in ([4, 5], iter([4, 5])):
        outcomes = spread(square, jobs, workers=9)
        next(outcomes)
        assert 1 <= len(multiprocessing.active_children()) <= 2
        outcomes.close()


def test_few_jobs_are_not_worth_a_process_unless_a_number_is_asked_for():
    for workers, here in ((None, True), (2, False)):
        results, _ = collect(spread(square, range(4, 8), workers=workers, per_worker=4))
        assert {pid == os.getpid() for _, pid in results.values()} == {here}


def test_one_worker_may_work_in_a_process_of_its_own():
    assert collect(spread(square, [], workers=1, apart=True)) == ({}, {})
    results, _ = collect(spread(square, range(4, 8), workers=1, apart=True))
    assert list(results) == [4, 5, 6, 7]
    (pid,) = {pid for _, pid in results.values()}
    assert pid != os.getpid()


def test_jobs_are_taken_as_they_are_needed_and_none_after_closing(tmp_path):
    """Of endless jobs ten are given; one more may be done then, and each worker may have another."""
    taken = itertools.count()
    outcomes = spread(partial(touch, tmp_path), taken, workers=2)
    for _ in range(10):
        next(outcomes)
    outcomes.close()
    begun = next(taken)
    assert 12 <= begun <= 13
    done = {int(path.name) for path in tmp_path.iterdir()}
    assert 10 <= len(done)
    assert done <= set(range(begun))
    assert not multiprocessing.active_children()


def test_workers_are_at_least_one_and_by_default_one_a_core():
    with pytest.raises(ValueError, match="workers must be at least 1, not 0"):
        spread(square, [1, 2], workers=0)
    assert 1 <= cores() <= (os.cpu_count() or 1)


@proc
def test_a_worker_runs_one_blas_thread(monkeypatch):
    """Where the caller's environment asks for two, a worker has its own thread and the one that watches."""
    for name in THREADS:
        monkeypatch.setenv(name, "2")
    monkeypatch.delenv("MKL_NUM_THREADS")
    before = dict(os.environ)
    results, _ = collect(spread(threads_of_this_process, range(2), workers=2))
    assert results == {0: 2, 1: 2}
    assert dict(os.environ) == before


@posix
def test_a_worker_that_dies_costs_its_job_alone():
    results, errors = collect(spread(die_at_three, range(8), workers=2))
    assert results == {x: x * x for x in range(8) if x != 3}
    assert list(errors) == [3]
    assert isinstance(errors[3], OSError)
    assert str(errors[3]) == "the worker process died at it: killed, or out of memory"


@posix
def test_workers_killed_while_they_wait_are_replaced():
    outcomes = spread(square, range(10, 40), workers=2)
    first, _ = next(outcomes)
    time.sleep(0.3)  # both have done what they had, and more is not asked for
    killed = multiprocessing.active_children()
    for worker in killed:
        os.kill(worker.pid, signal.SIGKILL)
        worker.join()
    results, errors = collect(outcomes)
    assert results.keys() | errors.keys() == set(range(10, 40)) - {first}
    assert len(errors) <= 2
    assert {pid for _, pid in list(results.values())[-5:]}.isdisjoint(worker.pid for worker in killed)


SCRIPT = """
import os, sys, time
import numpy
from haarmony.workers import spread

def work(x):
    print(os.getpid(), flush=True)
    time.sleep(SECONDS)

def main():
    for _, outcome in spread(work, range(4), workers=2):
        outcome()
"""
GUARDED = f'{SCRIPT}\nif __name__ == "__main__":\n    main()\n'


def started(tmp_path, script, *, seconds=0):
    path = tmp_path / "script.py"
    path.write_text(script.replace("SECONDS", str(seconds)))
    return subprocess.Popen(
        [sys.executable, str(path)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def test_a_script_that_does_not_guard_its_entry_is_told(tmp_path):
    _, err = started(tmp_path, f"{SCRIPT}\nmain()\n").communicate(timeout=60)
    assert err.splitlines()[-1] == "ChildProcessError: a worker process ended while it was starting"
    assert 'if __name__ == "__main__"' in err or "if __name__ == '__main__'" in err


@proc
@pytest.mark.parametrize("after", ["starting", "working"])
def test_ctrl_c_is_the_parents_alone(tmp_path, after):
    run = started(tmp_path, GUARDED, seconds=1)
    if after == "working":
        run.stdout.readline()
    else:
        deadline = time.monotonic() + 30
        while len(children(run.pid)) < 3 and time.monotonic() < deadline:  # Python's own and two workers
            time.sleep(0.002)
        time.sleep(0.05)
    os.killpg(run.pid, signal.SIGINT)
    _, err = run.communicate(timeout=60)
    assert err.count("KeyboardInterrupt") == 1
    assert err.count("Traceback") == 1


@posix
def test_what_is_being_done_at_ctrl_c_is_not_lost(tmp_path):
    """Workers say "begun", the parent what came out: nothing is begun that does not come out."""
    script = GUARDED.replace("print(os.getpid(), flush=True)", 'print("begun", x, flush=True)').replace(
        "outcome()", 'print("done", _, outcome(), flush=True)'
    )
    run = started(tmp_path, script, seconds=1)
    lines = []
    while sum(line.startswith("begun") for line in lines) < 2:
        lines.append(run.stdout.readline())
        assert lines[-1], run.communicate(timeout=60)[1]
    os.killpg(run.pid, signal.SIGINT)
    out, err = run.communicate(timeout=60)
    begun, done = (
        {line.split()[1] for line in (*lines, *out.splitlines()) if line.startswith(word)}
        for word in ("begun", "done")
    )
    assert begun == done
    assert len(done) < 4
    assert err.count("KeyboardInterrupt") == 1
    assert run.returncode != 0


@posix
@pytest.mark.parametrize("hurried", [False, True], ids=["second", "hurried"])
def test_ctrl_c_that_is_to_end_at_once_does(tmp_path, hurried):
    script = GUARDED.replace("workers=2)", "workers=2, hurried=lambda: True)") if hurried else GUARDED
    run = started(tmp_path, script, seconds=60)
    pids = [int(run.stdout.readline()) for _ in range(2)]
    if not hurried:
        os.killpg(run.pid, signal.SIGINT)
        time.sleep(0.5)
        assert run.poll() is None
    begin = time.monotonic()
    os.killpg(run.pid, signal.SIGINT)
    _, err = run.communicate(timeout=50)
    assert time.monotonic() - begin < 10  # the machine may be busy; a job takes 60
    assert err.splitlines()[-1] == "KeyboardInterrupt"
    assert not any(Path(f"/proc/{pid}").exists() for pid in pids)


@posix
def test_workers_die_with_a_killed_parent(tmp_path):
    run = started(tmp_path, GUARDED, seconds=60)
    pids = [int(run.stdout.readline()) for _ in range(2)]
    run.kill()
    run.wait()
    run.stdout.close()
    run.stderr.close()
    deadline = time.monotonic() + 20
    while any(map(lives, pids)) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not any(map(lives, pids))


def lives(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def children(pid):
    return Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
