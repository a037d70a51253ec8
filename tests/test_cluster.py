"""The same job on a cluster of two machines, as Ray sees it: two nodes of one core each on this one."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from importlib.util import find_spec

import numpy as np
import pytest

from haarmony import jobs, phantom
from haarmony.io import write

PAIRS = 6
SCRIPT = """
import os, signal, socket
from pathlib import Path
from ray.cluster_utils import Cluster
from haarmony import jobs

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
for outcome in jobs.run(pairs, Path("out"), Mortal(steps=2, threads=1), ray=cluster.address):
    if outcome.pair.stem == "p0":
        (DEATH / "die").touch()
    print(outcome.pair.stem, outcome.status, outcome.error, flush=True)
cluster.shutdown()
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
