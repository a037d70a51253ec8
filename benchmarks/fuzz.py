"""Hostile files against the readers: `python benchmarks/fuzz.py [--reader png] [--inputs 50000] [--seed 0]`.

Valid files (fuzz_seeds.py) are damaged (bits, bytes, integers, cuts, splices; in TOML and JSON also keys and
values), and each is read in a child process of bounded memory. It must be read, or refused by a ValueError or
an OSError of one line that begins with the file's name. A finding is anything else: another exception, a line
on stderr, too much memory or time, a file written, the child's death. Findings are kept in --save, where a
run that was interrupted goes on. Input I of a seed is always the same bytes.
"""

from __future__ import annotations

import argparse
import copy
import json
import os
import random
import struct
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from fuzz_seeds import SEEDS

from haarmony.settings import tomllib

BATCH = 1000
"""Inputs of one child process."""
INTEGERS = (0, 1, 2, 3, 0x7F, 0x80, 0xFF, 0x100, 0x7FFF, 0x8000, 0xFFFF, 0x10000, 2**27, 2**31 - 1, 2**31)
INTEGERS += (2**32 - 1, 2**63 - 1, 2**64 - 1)
VALUES = (
    0,
    -1,
    1,
    2**31,
    2**63,
    2**70,
    1e308,
    -0.0,
    float("nan"),
    float("inf"),
    True,
    "",
    "\n",
    "..",
    "a\nb",
)
VALUES += ("x" * 5000, "\x1b[2J", "/etc/passwd", [], [[]], ["a", 1], {}, {"a": {"b": 1}}, [{}], [0] * 2000)
NUMBERS = (None, 1e300, 1e11, -1e-320, "1", "nan", 10**400)
"""Of JSON, where a matrix has its elements."""
EDITS = ("bit", "byte", "integer", "cut", "remove", "repeat", "splice", "text")
WORDS = (
    b"\0",
    b"\n",
    b"\xff\xd8",
    b"IDAT",
    b"[[",
    b'"""',
    b"nan",
    b"1e999",
    b"\xfe\xff\0\xe0",
    b"%s%n",
    b"9" * 40,
)


class Edit(NamedTuple):
    """One change: its kind, where from 0 to 1 in the data, and two numbers that say how."""

    kind: str
    where: float
    what: int
    size: int


def edited(data: bytes, edit: Edit, other: bytes) -> bytes:
    """The data after one change."""
    at = min(int(edit.where * len(data)), max(0, len(data) - 1))
    if edit.kind == "bit" and data:
        return data[:at] + bytes([data[at] ^ 1 << edit.what % 8]) + data[at + 1 :]
    if edit.kind == "byte" and data:
        return data[:at] + bytes([edit.what % 256]) + data[at + 1 :]
    if edit.kind == "integer":
        width, order = (1, 2, 4, 8)[edit.size % 4], ("little", "big")[edit.size // 4 % 2]
        at -= at % (width if edit.size % 3 else 1)  # most fields are aligned
        number = INTEGERS[edit.what % len(INTEGERS)] % 256**width
        return data[:at] + number.to_bytes(width, order) + data[at + width :]
    if edit.kind == "cut":
        return data[:at]
    length = 1 + edit.size % 64
    if edit.kind == "remove":
        return data[:at] + data[at + length :]
    if edit.kind == "repeat":
        return data[:at] + data[at : at + length] * (1 + edit.what % 4) + data[at:]
    if edit.kind == "splice":
        start = edit.what % max(1, len(other))
        return data[:at] + other[start : start + length] + data[at + length * (edit.size % 2) :]
    word = WORDS[edit.what % len(WORDS)]
    return data[:at] + word + data[at + len(word) * (edit.size % 2) :]


def draw(rng: random.Random) -> Edit:
    """A change at random; a third of them near the start, where headers are, and some near the end."""
    where, part = rng.random(), rng.random()
    where = where * where * where if part < 0.4 else 1 - where * where * where if part < 0.5 else where
    return Edit(rng.choice(EDITS), where, rng.randrange(2**16), rng.randrange(2**16))


def mutant(reader: str, seed: int, index: int) -> bytes:
    """Input `index` of a seed."""
    rng = random.Random(f"{reader} {seed} {index}")
    seeds = SEEDS[reader]()
    chosen, other = rng.choice(seeds), rng.choice(seeds)
    if reader in TOML and rng.random() < 0.7:
        return _other_keys(chosen.data, rng)
    if reader in JSON and rng.random() < 0.7:
        return _other_values(chosen.data, rng)
    data = chosen.data
    for _ in range(rng.choice((1, 1, 1, 2, 3, 6))):
        data = edited(data, draw(rng), other.data)
    try:
        return chosen.pack(data)
    except (ValueError, struct.error):  # too damaged to be packed
        return data


def _other_keys(data: bytes, rng: random.Random) -> bytes:
    import tomli_w

    content = tomllib.loads(data.decode())
    for _ in range(rng.choice((1, 1, 2, 4))):
        table = content
        while (inner := [v for v in table.values() if isinstance(v, dict) and v]) and rng.random() < 0.6:
            table = rng.choice(inner)
        key, kind = rng.choice(list(table) or ["a"]), rng.randrange(5)
        if kind == 0:
            table.pop(key, None)
        elif kind == 1:
            table[key + rng.choice(("", "x", "\n", "."))] = table.pop(key, 1)
        elif kind == 2:
            table[rng.choice(("kind", "task", "name", "a\nb", "\x1b[2J", "__class__"))] = rng.choice(VALUES)
        else:
            table[key] = copy.deepcopy(rng.choice(VALUES))
        if not content:
            break
    return tomli_w.dumps(content).encode()


def _other_values(data: bytes, rng: random.Random) -> bytes:
    content = json.loads(data)
    for _ in range(rng.choice((1, 1, 2, 4))):
        inside = content
        keys = list(inside)
        while keys and isinstance(inside[key := rng.choice(keys)], dict | list) and rng.random() < 0.8:
            inside = inside[key]
            keys = list(inside) if isinstance(inside, dict) else list(range(len(inside)))
        if not keys:
            continue
        kind, key = rng.randrange(4), rng.choice(keys)
        if kind == 0:
            inside.pop(key)
        elif kind == 1 and isinstance(inside, list):
            inside.insert(key, copy.deepcopy(inside[key]))
        else:
            inside[key] = copy.deepcopy(
                rng.choice((*VALUES, None, 1e300, 1e11, -1e-320, "1", "nan", 10**400))
            )
        if not content:
            break
    return json.dumps(content).encode()


def _read_card(path: Path) -> None:
    from haarmony.weights import load_any

    load_any(path.parent)


def _read_recipe(path: Path) -> None:
    from haarmony.training.tasks import load_recipe

    load_recipe(path)


def _read_transform(path: Path) -> None:
    from haarmony.transform import Transform

    Transform.load(path).described()


def _read(path: Path) -> None:
    from haarmony.io import read

    read(path)


TOML: dict[str, Callable[[Path], None]] = {"card": _read_card, "recipe": _read_recipe}
JSON: dict[str, Callable[[Path], None]] = {"transform": _read_transform}


def outcome(reader: str, path: Path) -> str:
    """Read, refused, or what is wrong with the answer to a file."""
    try:
        (TOML | JSON).get(reader, _read)(path)
    except (ValueError, OSError) as error:
        text = str(error)
        if not text.startswith(f"{path}: "):
            return f"message does not begin with the file: {text[:200]!r}"
        return "refused" if text.isprintable() else f"message is no plain line: {text[:200]!r}"
    except BaseException as error:
        return f"{type(error).__name__}: {str(error)[:200]!r}"
    return "read"


def child(reader: str, seed: int, first: int, last: int, *, megabytes: int) -> None:
    """Read inputs in the working directory, and say on stdout what came of them, for the parent alone."""
    import resource  # not on Windows, where the tests use the rest

    report = os.fdopen(os.dup(1), "w")
    said = os.open("../said", os.O_RDWR | os.O_CREAT | os.O_TRUNC)
    os.dup2(said, 1)
    os.dup2(said, 2)
    at = os.open("../at", os.O_RDWR | os.O_CREAT)
    path = Path("card.toml" if reader == "card" else "input").absolute()
    path.write_bytes(SEEDS[reader]()[0].data)
    outcome(reader, path)  # what is imported for it is no growth
    for category in (UserWarning, RuntimeWarning, SyntaxWarning, FutureWarning, BytesWarning):
        warnings.simplefilter("always", category)
    limit = (
        2**20 * (4 * megabytes)
        + int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    )
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    counts, files = {"read": 0, "refused": 0}, {path.name}
    for index in range(first, last):
        data = mutant(reader, seed, index)
        path.write_bytes(data)
        os.pwrite(at, struct.pack("<q", index), 0)
        os.ftruncate(said, 0)
        Path("/proc/self/clear_refs").write_text("5")  # the peak starts from here
        before, start = _status("VmRSS"), time.process_time()
        answer = outcome(reader, path)
        seconds, grown = time.process_time() - start, (_status("VmHWM") - before) // 1024
        sys.stdout.flush()
        sys.stderr.flush()
        problems = [] if answer in counts else [answer]
        if os.fstat(said).st_size:
            problems.append(f"said {os.pread(said, 200, 0)!r}")
            os.lseek(said, 0, os.SEEK_SET)
        if grown > megabytes:
            problems.append(f"memory grew by {grown} MB")
        if seconds > SECONDS:
            problems.append(f"took {seconds:.0f} s")
        if set(os.listdir()) != files or path.read_bytes() != data:
            problems.append(f"wrote {sorted(set(os.listdir()) - files)}")
            files = set(os.listdir())
        if problems:
            print(json.dumps({"index": index, "problem": "; ".join(problems)}), file=report)
        else:
            counts[answer] += 1
    print(json.dumps(counts), file=report, flush=True)


SECONDS = 5.0
"""Processor time a file may take; the parent ends a child that takes far longer for one."""


def _status(name: str) -> int:
    """A figure of this process, in KiB."""
    text = Path("/proc/self/status").read_text()
    return int(text[text.index(name) + len(name) + 1 :].split(maxsplit=1)[0])


def batch(reader: str, seed: int, first: int, last: int, *, megabytes: int) -> dict[str, Any]:
    """What came of some inputs: how many were read and refused, and the findings."""
    total: dict[str, Any] = {"first": first, "read": 0, "refused": 0, "findings": []}
    while first < last:
        with tempfile.TemporaryDirectory() as folder:
            inner = Path(folder, "in")
            inner.mkdir()
            at = Path(folder, "at")
            command = [
                sys.executable,
                os.path.abspath(__file__),
                "--child",
                reader,
                str(seed),
                str(first),
                str(last),
            ]
            with open(Path(folder, "report"), "w+") as report, open(Path(folder, "died"), "w+") as died:
                process = subprocess.Popen(
                    [*command, str(megabytes)], cwd=inner, stdout=report, stderr=died, env=os.environ
                )
                reached, moved = -1, time.monotonic()
                while process.poll() is None:
                    time.sleep(0.05)
                    now = struct.unpack("<q", at.read_bytes())[0] if at.exists() and at.stat().st_size else -1
                    if now != reached:
                        reached, moved = now, time.monotonic()
                    elif time.monotonic() - moved > 20 * SECONDS + 60:
                        process.kill()
                report.seek(0)
                lines = [json.loads(line) for line in report if line.endswith("\n")]
                died.seek(0)
                last_words = died.read() + Path(folder, "said").read_text(errors="replace")
            reached = struct.unpack("<q", at.read_bytes())[0] if at.exists() and at.stat().st_size else -1
        total["findings"] += [line for line in lines if "index" in line]
        done = next((line for line in lines if "read" in line), None)
        if done:
            total["read"] += done["read"]
            total["refused"] += done["refused"]
            return total
        if reached < first:
            raise SystemExit(f"the child process did not start: {last_words}")
        # It ended at input `reached`; those before it had an answer, which are not told apart here.
        found = {line["index"] for line in total["findings"]}
        total["findings"].append({"index": reached, "problem": f"the process ended ({process.returncode})"})
        total["refused"] += sum(index not in found for index in range(first, reached))
        first = reached + 1
    return total


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--reader", choices=SEEDS, action="append", help="which; may be repeated; default all"
    )
    parser.add_argument("--inputs", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--memory", type=int, default=512, metavar="MB", help="that a file may take")
    parser.add_argument("--save", type=Path, default=Path("fuzz"), help="folder of findings and of progress")
    parser.add_argument("--child", nargs=5, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        reader, *numbers = options.child
        seed, first, last, megabytes = map(int, numbers)
        child(reader, seed, first, last, megabytes=megabytes)
        return
    if options.inputs < 1:
        parser.error(f"argument --inputs: {options.inputs} is less than 1")
    options.save.mkdir(parents=True, exist_ok=True)
    print(f"{'reader':8}{'inputs':>8}{'read':>8}{'refused':>9}{'findings':>10}", flush=True)
    for reader in options.reader or SEEDS:
        journal = options.save / f"{reader}-{options.seed}.jsonl"
        done = [json.loads(line) for line in journal.read_text().splitlines()] if journal.exists() else []
        batches = {one["first"]: one for one in done}
        for first in range(0, options.inputs, BATCH):
            last = min(first + BATCH, options.inputs)
            if first in batches and batches[first]["last"] == last:
                continue
            one = batch(reader, options.seed, first, last, megabytes=options.memory) | {"last": last}
            for finding in one["findings"]:
                name = f"{reader}-{options.seed}-{finding['index']}"
                (options.save / name).write_bytes(mutant(reader, options.seed, finding["index"]))
            with journal.open("a") as file:
                file.write(json.dumps(one) + "\n")
            batches[first] = one
        counted = [one for first, one in batches.items() if first < options.inputs]
        read, refused = (sum(one[key] for one in counted) for key in ("read", "refused"))
        findings = sum(len(one["findings"]) for one in counted)
        total = read + refused + findings
        print(f"{reader:8}{total:8}{read:8}{refused:9}{findings:10}", flush=True)


if __name__ == "__main__":
    main()
