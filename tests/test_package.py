"""What the whole package keeps to: imports one way, a light fusing path, frozen public names and flags."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest
import typer.main

import haarmony
from haarmony import cli

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

SRC = Path(haarmony.__file__).parent
ROOT = Path(__file__).resolve().parents[1]

# A part may import its own layer and those before it.
LAYERS = (
    {"settings", "codec", "support", "io", "colour", "anatomy", "phantom", "classical", "sheet"}
    | {"cluster", "digests", "journal", "manifest", "text", "tiling", "workers"},
    {"diffusion", "metrics"},
    {"weights", "nets"},
    {"engine", "engine_torch"},
    {"volumes", "transform", "poses", "register", "explain", "fusing_path", "fuser", "jobs", "series"},
    {"generator"},
    {"compare"},
    {"prior"},
    {"training"},
    {"app"},
    {"cli"},
)
RANK = {part: rank for rank, layer in enumerate(LAYERS) for part in layer}
SERVING = {"starlette", "uvicorn", "python_multipart", "anyio"}
TRAINING = {"engine_torch", "nets", "prior", "training"}
TORCH = {"torch", "accelerate", "einops", "onnx", "onnxscript", "safetensors", "tensorboard"}
DRAWING = {"figures", "pictures", "radar", "ranking", "report", "style", "tables"}  # of compare
HEAVY = TORCH | {
    "tomli_w",
    "jinja2",
    "pandas",
    "skimage",
    "scipy",
    "matplotlib",
    "tifffile",
    "rich",
    "pywt",
    "nibabel",
    "pydicom",
    "torchvision",
    "diffusers",
    "ray",
}

COMMANDS = {
    "app": ["--help", "--no-browser", "--port"],
    "benchmark": [
        *("--a", "--b", "--convention", "--help", "--methods", "--metrics", "--out", "--quiet"),
        *("--results", "--show", "--split", "-o"),
    ],
    "demo": ["--help", "--out", "--overwrite", "-o"],
    "evaluate": [
        *("--a", "--b", "--convention", "--csv", "--fused", "--help", "--json", "--metrics", "--quiet"),
    ],
    "export": ["--help", "--out", "-o", "CHECKPOINT"],
    "fuse": [
        *(
            "--colour",
            "--engine",
            "--explain",
            "--format",
            "--help",
            "--keep-identity",
            "--model",
            "--out",
            "--overwrite",
        ),
        *(
            "--plane",
            "--quiet",
            "--range-a",
            "--range-b",
            "--ray",
            "--register",
            "--seed",
            "--seeds",
            "--series-a",
            "--series-b",
        ),
        *("--slices", "--steps", "--tile", "--transform", "--window", "--workers", "-o", "A", "B"),
    ],
    "generate": [
        *("--help", "--model", "--number", "--out", "--overwrite", "--sampler", "--seed", "--steps"),
        *("-n", "-o"),
    ],
    "metrics": ["--help"],
    "models": ["--help"],
    "prior": ["--a", "--b", "--candidates", "--help", "--out", "--overwrite", "-o"],
    "train": ["--data", "--help", "--max-time", "--out", "--resume", "-o", "RECIPE"],
}


def sources() -> list[Path]:
    return sorted(SRC.rglob("*.py"))


def part_of(path: Path) -> str:
    return path.relative_to(SRC).parts[0].removesuffix(".py")


def imported(path: Path, *, inside: bool = True) -> Iterator[str]:
    """Dotted names a file imports; without `inside` only those that importing it loads."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    nodes = ast.walk(tree) if inside else _at_import(tree.body)
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def _at_import(body: list[ast.stmt]) -> Iterator[ast.AST]:
    for node in body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            continue
        yield node
        for name in ("body", "orelse", "finalbody"):
            yield from _at_import(getattr(node, name, []))


def parts_imported(path: Path) -> set[str]:
    names = (name.split(".") for name in imported(path) if name.startswith("haarmony."))
    return {name[1] for name in names if name[1] in RANK} - {part_of(path)}


def test_imports_go_one_way():
    for path in sources():
        if (part := part_of(path)) in ("__init__", "__main__"):
            continue
        assert part in RANK, f"{part} has no place in the order of imports"
        for other in parts_imported(path):
            assert RANK[other] <= RANK[part], f"{path.relative_to(SRC)} imports haarmony.{other}"


def test_parts_do_not_import_each_other_in_a_circle():
    graph: dict[str, set[str]] = {}
    for path in sources():
        graph.setdefault(part_of(path), set()).update(parts_imported(path))
    TopologicalSorter(graph).prepare()


@pytest.mark.parametrize("name", ["fuser.py", "fusing_path.py", "generator.py"])
def test_what_serves_knows_no_network(name):
    assert not parts_imported(SRC / name) & {"nets", "prior", "training"}


def test_torch_stays_in_the_parts_that_train():
    for path in sources():
        found = {name.split(".")[0] for name in imported(path)} & TORCH
        if found:
            assert part_of(path) in TRAINING, f"{path}: {found}"


def test_the_server_stays_in_the_app():
    for path in sources():
        found = {name.split(".")[0] for name in imported(path)} & SERVING
        assert not found or part_of(path) == "app", f"{path}: {found}"


def test_the_fusing_path_imports_nothing_heavy_at_module_level():
    for path in sources():
        if part_of(path) in TRAINING or (part_of(path) == "compare" and path.stem in DRAWING):
            continue
        found = {name.split(".")[0] for name in imported(path, inside=False)} & HEAVY
        assert not found, f"{path.relative_to(SRC)} imports {found} at module level"


def test_fusing_loads_nothing_heavy():
    code = "import sys, haarmony.cli, haarmony.jobs, haarmony.generator, onnxruntime; print(*sys.modules)"
    loaded = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout.split()
    assert "haarmony.fuser" in loaded
    assert not (HEAVY | SERVING) & set(loaded)


def test_the_version_costs_nothing():
    code = "import sys; from haarmony.cli import main; main(['--version']); print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    version, *loaded = done.stdout.split("\n", 1)
    assert version == f"haarmony {haarmony.__version__}"
    assert not (HEAVY | {"numpy", "onnxruntime", "PIL"}) & set(loaded[0].split())


def test_public_names_are_frozen():
    assert haarmony.__all__ == ["Fuser", "Picture", "Volume", "__version__", "fuse", "read", "write"]
    for name in haarmony.__all__:
        assert getattr(haarmony, name) is not None
    with pytest.raises(AttributeError, match="Fusor"):
        haarmony.Fusor  # noqa: B018


def test_commands_and_their_flags_are_frozen():
    group = typer.main.get_command(cli.app)
    found = {}
    for name, command in group.commands.items():
        params = command.get_params(typer.Context(command))
        shown = [param for param in params if not getattr(param, "hidden", False)]
        found[name] = sorted(flag for param in shown for flag in _flags(param))
    assert found == COMMANDS
    assert [param.opts for param in group.params] == [["--version"]]


def _flags(param: object) -> list[str]:
    return [param.metavar] if param.param_type_name == "argument" else [*param.opts, *param.secondary_opts]


def test_the_extras_are_what_the_command_line_names():
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"][
        "optional-dependencies"
    ]
    for extra, names in cli.EXTRAS.items():
        assert sorted(line.split(">")[0].replace("-", "_") for line in extras[extra]) == sorted(names)


def test_the_changelog_has_this_version():
    assert f"\n## [{haarmony.__version__}] - " in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
