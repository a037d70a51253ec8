"""The same job on a cluster of two machines, as Ray sees it: two nodes of one core each on this one.

What is decided about nodes that lack the folder, or CPUs, is tried without Ray too, on a stand-in for it.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from functools import partial
from importlib.util import find_spec
from itertools import count
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest

from haarmony import cluster, jobs, phantom
from haarmony.io import write

PAIRS = 6
SCRIPT = """
import os, signal, socket
from pathlib import Path
import ray
from ray.cluster_utils import Cluster
from haarmony import cluster as haarmony_cluster, jobs

class Mortal(jobs.Fusing):
    def __call__(self, a, b):
        if (DEATH / "die").exists():
            (DEATH / "die").unlink()
            (DEATH / "died").write_text(str(os.getpid()))
            os.kill(os.getpid(), signal.SIGKILL)
        return super().__call__(a, b)

DEATH = Path("death").absolute()

def node():  # for ports that it is not told Ray waits 15 s, which a busy machine exceeds
    free = [socket.create_server(("", 0)) for _ in PORTS]
    ports = {name: one.getsockname()[1] for name, one in zip(PORTS, free)}
    for one in free:
        one.close()
    return {"num_cpus": 1, **ports}

PORTS = ("metrics_agent_port", "metrics_export_port", "dashboard_agent_listen_port", "runtime_env_agent_port")
alone = {"include_dashboard": False, "include_log_monitor": False, "no_monitor": True}
cluster = Cluster(initialize_head=True, head_node_args=node() | alone)
cluster.add_node(**node(), include_log_monitor=False)
pairs = list(jobs.pairs(Path("a"), Path("b")).pairs)
fusing = Mortal(steps=2, threads=1)
for number, outcome in enumerate(jobs.run(pairs, Path("out"), fusing, ray=cluster.address)):
    if number == 0:  # four are begun, and no more before this is left
        (DEATH / "die").touch()
    print(outcome.pair.stem, outcome.status, outcome.error, flush=True)

# Now the head node has not the folder, then neither has.
do = haarmony_cluster._do

def elsewhere(what, job, here):
    node = ray.get_runtime_context().get_node_id()
    return do(what, job, "/nowhere" if node in WITHOUT else here)

def slowly(x):
    import time
    time.sleep(0.1)
    return x * x

haarmony_cluster._do = elsewhere
ray.init(address=cluster.address, log_to_driver=False)
first, second = (node["NodeID"] for node in ray.nodes())
for WITHOUT in ([first], [second], [first, second]):
    for job, result in haarmony_cluster.spread(slowly, range(6), address=cluster.address):
        try:
            print("job", job, result())
        except ChildProcessError as error:
            print("job", job, error)
ray.shutdown()
cluster.shutdown()

idle = Cluster(initialize_head=True, head_node_args=node() | alone | {"num_cpus": 0})
try:
    list(haarmony_cluster.spread(slowly, range(2), address=idle.address))
except ConnectionError as error:
    print("none:", str(error).removeprefix(idle.address))
idle.shutdown()
"""


@pytest.mark.skipif(find_spec("ray") is None, reason="needs the extra 'cluster'")
def test_a_cluster_makes_the_same_bytes_though_a_worker_is_killed(tmp_path):
    for folder in ("a", "b", "death"):
        (tmp_path / folder).mkdir()
    a, b = phantom.head(size=64).pair("PET", 32)
    for i in range(PAIRS):
        write(tmp_path / f"a/p{i}.png", np.roll(a, i, axis=0))
        write(tmp_path / f"b/p{i}.png", np.roll(b, i, axis=0))
    (tmp_path / "b/p4.png").write_text("no picture")
    list(jobs.run(jobs.pairs(tmp_path / "a", tmp_path / "b").pairs, tmp_path / "here", jobs.Fusing(steps=2)))
    (tmp_path / "script.py").write_text(SCRIPT)
    done = subprocess.run(
        [sys.executable, "script.py"], cwd=tmp_path, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    fused = sorted(line for line in lines if line.endswith("fused None"))
    assert fused == [f"p{i} fused None" for i in range(PAIRS) if i != 4]
    (failed,) = (line for line in lines if line.startswith("p4"))
    assert failed.startswith("p4 failed b/p4.png: is no PNG, TIFF, JPEG, BMP or GIF picture")
    assert int((tmp_path / "death/died").read_text()) > 0
    for i in range(PAIRS):
        if i != 4:
            here, there = (
                hashlib.sha256((tmp_path / folder / f"p{i}.png").read_bytes()).hexdigest()
                for folder in ("here", "out")
            )
            assert here == there
    assert not list((tmp_path / "out").glob("*.part"))
    came = sorted(line for line in lines if line.startswith("job "))
    nowhere = "/nowhere: No such file or directory on any node of the cluster"
    assert came == sorted(
        [f"job {i} {i * i}" for i in range(6)] * 2 + [f"job {i} {nowhere}" for i in range(6)]
    )
    assert lines[-1] == "none: : the cluster has no CPU to work on; add a machine that has"


def stand_in(monkeypatch, nodes, *, cpus):
    """Ray, as far as `spread` asks it: nodes by name, each with the folder that it is in, or none."""
    turns = count()

    def attempt(there, do, job, here):
        ray.node = there or [*nodes][next(turns) % len(nodes)]
        result = nodes[ray.node](lambda: cluster._do(do, job, here))
        return lambda: result

    def remote(do):
        return SimpleNamespace(
            remote=partial(attempt, None),
            options=lambda scheduling_strategy: SimpleNamespace(remote=partial(attempt, scheduling_strategy)),
        )

    ray = ModuleType("ray")
    ray.is_initialized = lambda: True
    ray.remote = lambda **options: remote
    ray.put = lambda value: value
    ray.get = lambda done: done()
    ray.wait = lambda running: (running[:1], running[1:])
    ray.cluster_resources = lambda: {"CPU": cpus} if cpus else {}
    ray.nodes = lambda: [{"NodeID": name, "Alive": True, "Resources": {"CPU": 1}} for name in nodes]
    ray.get_runtime_context = lambda: SimpleNamespace(get_node_id=lambda: ray.node)
    ray.exceptions = SimpleNamespace(RayTaskError=ZeroDivisionError, RayError=ArithmeticError)
    strategies = ModuleType("ray.util.scheduling_strategies")
    strategies.NodeAffinitySchedulingStrategy = lambda node, soft: node
    for module in (ray, ModuleType("ray.util"), strategies):
        name = module.__name__
        monkeypatch.setitem(sys.modules, name, module)


def has(run):
    return run()


def lacks(run):
    change = os.chdir
    os.chdir = lambda folder: change(f"{folder}/nowhere")
    try:
        return run()
    finally:
        os.chdir = change


def square(x):
    return x * x


def test_what_comes_to_a_node_without_the_folder_is_done_on_another(tmp_path, monkeypatch, caplog):
    monkeypatch.chdir(tmp_path)
    stand_in(monkeypatch, {"one": lacks, "two": has, "three": lacks}, cpus=3)
    came = {job: result() for job, result in cluster.spread(square, range(9), address="here")}
    assert came == {x: x * x for x in range(9)}
    assert sorted(record.getMessage() for record in caplog.records) == [
        f"{tmp_path}: No such file or directory on the cluster's node {name}; others do its work"
        for name in ("one", "three")
    ]


def test_where_no_node_has_the_folder_each_job_fails_in_a_line(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    stand_in(monkeypatch, {"one": lacks, "two": lacks}, cpus=2)
    for _, result in cluster.spread(square, range(3), address="here"):
        with pytest.raises(ChildProcessError, match="No such file or directory on any node of the cluster"):
            result()


def test_a_cluster_without_cpus_is_refused(monkeypatch):
    stand_in(monkeypatch, {"one": has}, cpus=0)
    with pytest.raises(ConnectionError, match="here:1: the cluster has no CPU to work on; add a machine"):
        list(cluster.spread(square, range(3), address="here:1"))
