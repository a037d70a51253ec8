"""Hostile names, places and models at the command line: one line, code 2, nothing written outside OUT."""

import gzip
import hashlib
import os
import pickle
import re
import shutil
import struct
import sys
import zlib
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from haarmony.io import write

sys.path.insert(0, str(Path(__file__).parents[1] / "io"))
from dicoms import series_in

pytestmark = pytest.mark.usefixtures("shipped")


def tree(root="."):
    """Every file, folder and link below, and what it holds."""
    found = {}
    for top, folders, files in os.walk(root):
        for name in (*folders, *files):
            path = Path(top, name)
            if path.is_symlink():
                found[str(path)] = os.readlink(path)
            elif path.is_file():
                found[str(path)] = hashlib.sha256(path.read_bytes()).hexdigest()
            else:
                found[str(path)] = ""
    return found


def refused(run, *argv):
    """The one line that the command says; the files are as before."""
    before = tree()
    code, out, err = run(*argv)
    assert (code, out, len(err)) == (2, [], 1)
    assert err[0].startswith("haarmony: ")
    assert err[0].isprintable()
    assert tree() == before
    return err[0]


def chunk(name, data):
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def bomb(name):
    """A file of a kilobyte or so that claims to be far more."""
    if name == "a.png":
        size = struct.pack(">IIBBBBB", 2**31 - 1, 2**31 - 1, 8, 0, 0, 0, 0)
        return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", size) + chunk(b"IDAT", bytes(64))
    if name == "a.tif":
        tags = {256: 2**31, 257: 2**31, 258: 8, 259: 1, 262: 1, 273: 122, 277: 1, 278: 2**31, 279: 2**32 - 1}
        fields = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags.items())
        return b"II*\0" + struct.pack("<IH", 8, len(tags)) + fields + bytes(4)
    if name == "a.jpg":
        return b"\xff\xd8\xff\xc0\0\x0b\x08\xff\xff\xff\xff\1\1\x11\0\xff\xda\0\x08\1\1\0\0\x3f\0" + bytes(64)
    header = bytearray(352)
    struct.pack_into("<i", header, 0, 348)
    struct.pack_into("<8h", header, 40, 3, 32767, 32767, 32767, 1, 1, 1, 1)
    struct.pack_into("<2h", header, 70, 16, 32)
    header[344:348] = b"n+1\0"
    return gzip.compress(bytes(header))


@pytest.mark.parametrize("name", ["a.png", "a.tif", "a.jpg", "a.nii.gz"])
def test_a_bomb_on_either_side(here, run, name):
    Path(name).write_bytes(bomb(name))
    for sources in ((name, "pet.png"), ("mri.png", name)):
        out = "out.nii" if "nii" in name and sources[0] == name else "out.png"
        assert re.match(rf"haarmony: {name}: claims .*\d{{6}}", refused(run, "fuse", *sources, "-o", out))


@pytest.mark.parametrize("name", ["a\nb.png", "a\x1b[2J.png", "a\rb\u202e.png", "a\udcff.png"])
def test_a_name_with_a_newline_or_control_characters(here, run, name):
    Path(name).write_bytes(b"no picture")
    line = refused(run, "fuse", name, "pet.png", "-o", "out.png")
    assert "is no PNG" in line
    assert "there is no folder" in refused(run, "fuse", "mri.png", "pet.png", "-o", f"none/{name}")
    shutil.copy("mri.png", name)
    code, out, err = run("fuse", name, "pet.png", "-o", f"out  {name}")
    assert (code, Path(f"out  {name}").exists(), len(out)) == (0, True, 1)
    assert all(line.isprintable() for line in out + err)


def test_names_in_folders_lead_nowhere_else(here, run):
    names = ("..png", "...png", "a\\..\\b.png", "p 1\n.png", "-rf.png", "%s%n.png", "a\x1b[2J.png")
    for folder, source in (("x", "mri.png"), ("y", "pet.png")):
        Path(folder).mkdir()
        for name in names:
            shutil.copy(source, Path(folder, name))
    before = tree()
    code, _, err = run("fuse", "x", "y", "-o", "deep/out")
    assert code == 0
    assert all(line.isprintable() for line in err)
    after = tree()
    assert {name: after[name] for name in before} == before
    made = {name for name in after if name not in before}
    assert {Path(name).parts[0] for name in made} == {"deep"}
    written = {os.path.relpath(name, "deep/out") for name in made if name.endswith(".png")}
    assert written == {name for name in names if not name.startswith(".")}  # hidden files are passed over


def test_links_as_sources(here, run):
    Path("loop.png").symlink_to("loop.png")
    Path("gone.png").symlink_to("nowhere.png")
    Path("zero.png").symlink_to("/dev/zero")
    os.mkfifo("pipe.png")
    for name, says in (
        ("loop.png", "loop.png"),
        ("gone.png", "there is no such file"),
        ("zero.png", "is a device or a pipe"),
        ("pipe.png", "is a device or a pipe"),
    ):
        assert says in refused(run, "fuse", name, "pet.png", "-o", "out.png")
    Path("link.png").symlink_to("mri.png")  # and a sound one is followed
    assert run("fuse", "link.png", "pet.png", "-o", "out.png")[0] == 0


def test_links_in_the_place_of_outputs(here, run):
    Path("mine").write_text("mine")
    Path("out.png").symlink_to("mine")
    assert "exists already" in refused(run, "fuse", "mri.png", "pet.png", "-o", "out.png")
    Path("new.png.part").symlink_to("mine")
    for out, more in (("out.png", ["--overwrite"]), ("new.png", [])):
        assert run("fuse", "mri.png", "pet.png", "-o", out, *more)[0] == 0
        assert Path(out).is_file()
        assert not Path(out).is_symlink()
    assert not os.path.lexists("new.png.part")
    Path("out").mkdir()
    Path("out/p1.png.part").symlink_to("../mine")
    Path("out/p2.png").symlink_to("../mine")
    run("fuse", "mri", "pet", "-o", "out", "--overwrite")
    assert not os.path.lexists("out/p1.png.part")
    assert Path("mine").read_text() == "mine"


@pytest.mark.parametrize("loop", ["loop", "loop/out"], ids=["out", "its folder"])
def test_links_in_a_circle(here, run, loop):
    Path("loop").symlink_to("round")
    Path("round").symlink_to("loop")
    Path("loop.png").symlink_to("loop.png")
    series_in("ct", np.zeros((2, 16, 16), np.uint8))
    for argv in (
        ("fuse", "mri.png", "pet.png", "-o", f"{loop}.png"),
        ("fuse", "mri", "pet", "-o", loop),
        ("fuse", "ct", "ct", "-o", loop, "--format", "dicom"),
        ("fuse", "ct", loop, "-o", "out.nii"),
        ("fuse", "mri.png", "pet.png", "-o", "out.png", "--explain", loop),
        ("fuse", "mri.png", "pet.png", "-o", "out.png", "--transform", loop),
        ("benchmark", "--a", "mri", "--b", "pet", "-o", loop, "--methods", "maximum"),
    ):
        assert "loop" in refused(run, *argv)


def test_transforms_that_never_end_or_are_too_large(here, run):
    os.mkfifo("pipe.json")
    for name in ("pipe.json", "/dev/zero"):
        line = refused(run, "fuse", "mri.png", "pet.png", "-o", "out.png", "--transform", name)
        assert line == f"haarmony: {name}: is no regular file"
    with open("large.json", "wb") as file:
        file.truncate(2**20 + 1)
    line = refused(run, "fuse", "mri.png", "pet.png", "-o", "out.png", "--transform", "large.json")
    assert line.endswith("large.json: is 1048577 bytes long, more than the 1048576 that are read")
    Path("wide.json").write_text('{"matrix": "' + 100_000 * "x" + '", "centre": [1]}')
    line = refused(run, "fuse", "mri.png", "pet.png", "-o", "out.png", "--transform", "wide.json")
    assert len(line) < 400


def test_a_card_that_is_too_large(here, run, model):
    shutil.copytree(model, "model")
    with open("model/card.toml", "ab") as file:
        file.truncate(400_000_000)
    line = refused(run, "fuse", "mri.png", "pet.png", "-o", "out.png", "--model", "model")
    assert line.endswith("model/card.toml: is 400000000 bytes long, more than the 1048576 that are read")


def rehashed(folder, name, content):
    """Put a file into a model and its sha256 into the card, as who made both would."""
    Path(folder, name).write_bytes(content)
    card = Path(folder, "card.toml")
    line = f'"{name}" = "{hashlib.sha256(content).hexdigest()}"'
    text = re.sub(rf'"{name}" = ".*"', line, card.read_text())
    card.write_text(text if line in text else f"{text}{line}\n")


def external(location):
    """A graph whose one weight lies in another file."""
    weight = TensorProto(name="w", data_type=1, dims=[1], data_location=TensorProto.EXTERNAL)
    for key, value in (("location", location), ("offset", "0"), ("length", "4")):
        entry = weight.external_data.add()
        entry.key, entry.value = key, value
    out = helper.make_tensor_value_info("out", 1, ["b", None, "h", "w"])
    z = helper.make_tensor_value_info("z_max", 1, ["b", 16, "h", "w"])
    graph = helper.make_graph(
        [helper.make_node("Mul", ["z_max", "w"], ["out"])], "encoder", [z], [out], [weight]
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    return made.SerializeToString()


@pytest.mark.parametrize("location", ["weights.bin", "../here/weights.bin", "/etc/hostname"])
def test_a_graph_with_weights_elsewhere(here, run, model, location):
    shutil.copytree(model, "model")
    np.ones(1, np.float32).tofile("weights.bin")
    rehashed("model", "encoder.onnx", external(location))
    line = refused(run, "fuse", "mri.png", "pet.png", "-o", "out.png", "--model", "model")
    assert "/model/encoder.onnx: keeps weights outside itself" in line


def test_a_graph_that_is_not_the_card_s(here, run, model):
    shutil.copytree(model, "model")
    sound = onnx.load("model/encoder.onnx")
    sound.producer_name = "someone else"
    Path("model/encoder.onnx").write_bytes(sound.SerializeToString())
    line = refused(run, "fuse", "mri.png", "pet.png", "-o", "out.png", "--model", "model")
    assert "/model/encoder.onnx: sha256 differs from the model card's" in line


def test_a_graph_with_operators_of_one_s_own(here, run, model):
    shutil.copytree(model, "model")
    graph = onnx.load("model/encoder.onnx")
    graph.graph.node[0].domain, graph.graph.node[0].op_type = "mine", "Shell"
    graph.opset_import.append(helper.make_opsetid("mine", 1))
    rehashed("model", "encoder.onnx", graph.SerializeToString())
    line = refused(run, "fuse", "mri.png", "pet.png", "-o", "out.png", "--model", "model")
    assert "/model/encoder.onnx: cannot be loaded" in line


def answering(shape, kind):
    """A denoiser that answers so whatever it is asked."""
    fill = b"x" if kind == TensorProto.STRING else 1
    count = int(np.prod(shape))
    value = helper.make_tensor("v", kind, shape, [fill] * count)
    out = helper.make_tensor_value_info("out", kind, None)
    inputs = [helper.make_tensor_value_info("z", 1, ["b", 16, "h", "w"])]
    node = helper.make_node("Constant", [], ["out"], value=value)
    graph = helper.make_graph([node], "denoiser", inputs, [out])
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    return made.SerializeToString()


@pytest.mark.parametrize(
    ("shape", "kind"),
    [
        ((), TensorProto.FLOAT),
        ((1, 16), TensorProto.FLOAT),
        ((0, 16, 8, 8), TensorProto.FLOAT),
        ((1, 3, 8, 8), TensorProto.FLOAT),
        ((1, 16, 8, 8), TensorProto.STRING),
        ((1, 16, 8, 8), TensorProto.INT64),
        ((1, 16, 8, 8, 1), TensorProto.FLOAT),
        ((1, 16, 3, 3), TensorProto.FLOAT),
    ],
)
def test_a_graph_that_answers_with_something_else(here, run, model, shape, kind):
    shutil.copytree(model, "model")
    rehashed("model", "denoiser.onnx", answering(shape, kind))
    line = refused(run, "fuse", "mri.png", "pet.png", "-o", "out.png", "--model", "model")
    assert "the model is damaged: a graph answers with " in line


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("denoiser_depth = .*", "denoiser_depth = -2", "net: denoiser_depth is -2, not from 0 to 1000"),
        ("refiner_depth = .*", "refiner_depth = 1001", "net: refiner_depth is 1001, not from 0 to 1000"),
        (r"\[diffusion\]", "[diffusion]\ngrid = 9999999999999999999", "diffusion.grid: "),
    ],
)
def test_a_card_with_numbers_beyond_reason(here, run, model, old, new, says):
    shutil.copytree(model, "model")
    card = Path("model/card.toml")
    text = re.sub(r"\ngrid = .*", "", card.read_text()) if "grid" in new else card.read_text()
    card.write_text(re.sub(old, new, text))
    assert card.read_text() != text
    line = refused(run, "fuse", "mri.png", "pet.png", "-o", "out.png", "--model", "model")
    assert f"model/card.toml: {says}" in line


class Touch:
    """Unpickled, it makes a file."""

    def __reduce__(self):
        return os.mkdir, ("ran",)


def test_a_pickle_in_the_place_of_weights_does_not_run(here, run):
    from haarmony.weights import __file__ as package

    pickle.loads(pickle.dumps(Touch()))
    assert Path("ran").is_dir()  # as it would
    Path("ran").rmdir()
    shutil.copytree(Path(package).parent / "medical", "model")
    for name, engine in (("model.safetensors", "torch"), ("encoder.onnx", "onnx")):
        rehashed("model", name, pickle.dumps(Touch()))
        line = refused(
            run, "fuse", "mri.png", "pet.png", "-o", "out.png", "--model", "model", "--engine", engine
        )
        assert f"/model/{name}: " in line
    assert not Path("ran").exists()


def test_a_card_that_names_files_elsewhere(here, run, model):
    """Only a kind's own graphs are opened, whatever a card lists."""
    shutil.copytree(model, "model")
    write("mine.png", np.zeros((4, 4), np.uint8))
    with open("model/card.toml", "a") as file:
        file.write('"../mine.png" = "00"\n"/etc/hostname" = "00"\n')
    assert run("fuse", "mri.png", "pet.png", "-o", "out.png", "--model", "model")[0] == 0
