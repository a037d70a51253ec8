"""A model whose result is known without training, and folders to fuse."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from haarmony import cli, weights
from haarmony.io import write

CHANNELS = 16
CARD = """
name = "maximum"
title = "The pixel-wise maximum"
description = "Predicts the latent of the maximum as x_0, whatever z_t holds."
intended_use = "Tests."
limits = "None: it is exact."
training_data = "None."
version = "0"
parameters = 1234567
coloured = "second"

[diffusion]
codec = "haar"
prediction = "x_0"
sampler = "ddim"
steps = 2

[net]
denoiser_depth = 1
refiner_depth = 1

[scores.MRI-CT]
VIF = 0.638
SSIM = 1.379

[scores.MRI-PET]
VIF = 0.931
function = 0.88

[sha256]
"""


def _graph(
    name: str, inputs: dict[str, int], nodes: list[onnx.NodeProto], constants: list[onnx.TensorProto]
) -> bytes:
    tensors = [
        helper.make_tensor_value_info(i, TensorProto.FLOAT, ["b", c, "h", "w"]) for i, c in inputs.items()
    ]
    if name != "encoder":
        tensors.append(helper.make_tensor_value_info("t", TensorProto.INT64, ["b"]))
    out = helper.make_tensor_value_info("out", TensorProto.FLOAT, ["b", None, "h", "w"])
    graph = helper.make_graph(nodes, name, tensors, [out], constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    return model.SerializeToString()


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model folder of one-line networks: the condition is the maximum's latent, and so is x_0."""
    folder = tmp_path_factory.mktemp("model")
    latents = dict.fromkeys(("z_a", "z_b", "z_max"), CHANNELS)
    step = {"z": CHANNELS, "condition": CHANNELS}
    graphs = {
        "encoder": _graph("encoder", latents, [helper.make_node("Identity", ["z_max"], ["out"])], []),
        "denoiser": _graph("denoiser", step, [helper.make_node("Identity", ["condition"], ["out"])], []),
        "refiner": _graph("refiner", step, [helper.make_node("Identity", ["z"], ["out"])], []),
    }
    card = CARD
    for name, content in graphs.items():
        (folder / f"{name}.onnx").write_bytes(content)
        card += f'"{name}.onnx" = "{hashlib.sha256(content).hexdigest()}"\n'
    (folder / "card.toml").write_text(card)
    return folder


@pytest.fixture
def shipped(model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """That model under the name of the default one, as if it came with the package."""
    (tmp_path / "weights").mkdir()
    (tmp_path / "weights/medical").symlink_to(model)
    monkeypatch.setattr(weights, "SHIPPED", tmp_path / "weights")


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory: a grey mri.png, a coloured pet.png, folders mri and pet of pairs p1 to p3."""
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    write("mri.png", rng.integers(0, 256, (20, 18), dtype=np.uint8))
    write("pet.png", rng.integers(0, 256, (20, 18, 3), dtype=np.uint8))
    for folder, shape in (("mri", (20, 18)), ("pet", (20, 18, 3))):
        Path(folder).mkdir()
        for stem in ("p1", "p2", "p3"):
            write(f"{folder}/{stem}.png", rng.integers(0, 256, shape, dtype=np.uint8))
    return tmp_path


Run = Callable[..., tuple[int, list[str], list[str]]]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs the command in this process: exit code, lines of stdout, lines of stderr."""

    def call(*argv: str | Path) -> tuple[int, list[str], list[str]]:
        capsys.readouterr()
        code = cli.main([str(argument) for argument in argv])
        printed = capsys.readouterr()
        return code, printed.out.splitlines(), printed.err.splitlines()

    return call
