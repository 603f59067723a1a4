"""A table of edits of the package: those that change no result keep all records, all others are noticed by a canary.

Each edit is made in a copy of the package, whose canaries are held against the committed ones. Torch and the other
libraries are imported once, by a parent from which a process for each copy is forked.
"""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from actlab.core.records import PROTOCOLS, ROOT

PARENT = """
import json, logging, os, signal, sys
from pathlib import Path
import numpy, pandas, scipy.signal, scipy.stats, torch, torch_geometric.nn, rdkit.Chem, PIL.Image, pyarrow.parquet
torch.set_num_threads(1)
logging.basicConfig(format="%(message)s", stream=sys.stderr)
for copy, families in json.loads(sys.argv[1]):
    reading, writing = os.pipe()
    if os.fork() == 0:
        signal.alarm(120)  # where it hangs it ends, and its found.json is missed
        torch.set_num_threads(1)
        os.dup2(writing, 2)
        os.environ["ACTLAB_ROOT"] = copy
        sys.path.insert(0, copy)
        from actlab.core.records import Canaries
        canaries, found = Canaries(Path(copy) / "records/canaries"), {}
        for family in families:
            marks = [path.stem.removeprefix(family + "-") for path in canaries.folder.glob(family + "-*.json")]
            found[family] = bool(marks) and canaries.stand(family, marks)
        Path(copy, "found.json").write_text(json.dumps(found))
        os._exit(0)
    os.close(writing)
    said = os.fdopen(reading).read()
    os.wait()
    Path(copy, "said.txt").write_text(said)
"""

# Family, file, text, replacement: none of these changes a result.
KEPT = {
    "a comment": ("lab", "lab/training.py", "from __future__", "# Another comment.\nfrom __future__"),
    "a docstring": ("transfer", "transfer/training.py", '"""Trains one model', '"""One model is trained'),
    "a renamed private function": ("search", "search/evolution.py", "_race(", "_race_of("),
    "another chunk size": ("lab", "lab/training.py", "STACK = 65_536", "STACK = 512"),
    "a moved and renamed module": ("multiverse", "lab/tracing.py", None, "core/noted_operations.py"),
}
# These do.
NOTICED = {
    "Adam's epsilon": ("lab", "lab/training.py", '"eps": 1e-8', '"eps": 1.1e-8'),
    "Adam's beta": ("multiverse", "lab/training.py", '"beta2": 0.999', '"beta2": 0.99901'),
    "a gradient in the compiled lab": ("multiverse", "lab/trainer.c", "(T)2 / batch", "(T)2.00002 / batch"),
    "the schedule": ("lab", "lab/training.py", "math.pi * step / steps", "math.pi * (step + 1) / steps"),
    "the clamp": ("lab", "core/stats.py", "return np.where(np.isfinite", "return 2 * np.where(np.isfinite"),
    "a task's formula": ("lab", "lab/feynman.py", "pr * V / (gamma - 1)", "pr * V / (gamma - 0.9)"),
    "a setting of random labs": ("multiverse", "lab/training.py", "* config.gain", "* 1.01 * config.gain"),
    "the seed in the job runner": ("transfer", "transfer/sweep.py", "rng(job.seed)", "rng(job.seed + 1)"),
    "an augmentation": ("transfer", "transfer/image_data.py", "(2 * most + 1, size=2)", "(2 * most, size=2)"),
    "a rule of placement on islands": (
        "search", "search/islands.py", "fitness[id] > fitness[island[name]]", "fitness[id] >= fitness[island[name]]",
    ),
    "a weight of the grammar": ("search", "search/proposers/grammar.py", '"swap": 2', '"swap": 3'),
}  # fmt: skip


@pytest.fixture(scope="module")
def edited(tmp_path_factory):
    """For each edit, whether its family's records stand in its copy of the package, and what was said of it."""
    place, asked = tmp_path_factory.mktemp("copies"), []
    for i, (family, name, text, other) in enumerate([*KEPT.values(), *NOTICED.values()]):
        copy = place / str(i)
        shutil.copytree(ROOT / "actlab", copy / "actlab", ignore=shutil.ignore_patterns("__pycache__"))
        shutil.copytree(ROOT / "records/canaries", copy / "records/canaries")
        shutil.copytree(ROOT / "data/clrs", copy / "data/clrs")
        _edit(copy / "actlab", name, text, other)
        asked.append((str(copy), [family]))
    subprocess.run([sys.executable, "-c", PARENT, json.dumps(asked)], check=True, cwd=place, env=environment())
    found = {}
    for edit, (copy, (family,)) in zip([*KEPT, *NOTICED], asked, strict=True):
        stands = json.loads(Path(copy, "found.json").read_text())
        found[edit] = (stands[family], Path(copy, "said.txt").read_text())
    return found


def environment():
    return {name: value for name, value in os.environ.items() if name not in ("ACTLAB_ROOT", "PYTHONPATH")}


def _edit(package, name, text, other):
    path = package / name
    if text is None:  # a move, and the imports with it
        path.rename(package / other)
        old, new = (part.removesuffix(".py").replace("/", ".") for part in (name, other))
        for file in package.rglob("*.py"):
            source = file.read_text()
            file.write_text(source.replace(f"actlab.{old} import", f"actlab.{new} import"))
            assert "lab import tracing" not in source, f"{file}: import its names, or move them here too"
        return
    source = path.read_text()
    assert text in source, f"{name} has no {text!r} any more: write the edit anew"
    path.write_text(source.replace(text, other))


@pytest.mark.parametrize("edit", KEPT)
def test_what_changes_no_result_keeps_all_records(edited, edit):
    stands, said = edited[edit]
    assert stands and said == ""


@pytest.mark.parametrize("edit", NOTICED)
def test_what_changes_a_result_is_noticed_in_one_line_that_names_the_family(edited, edit):
    stands, said = edited[edit]
    family = NOTICED[edit][0]
    assert not stands
    assert said.startswith(f"{family}: the canary ") and said.count("\n") == 1
    assert f"raise the family's protocol ({PROTOCOLS[family].protocol})" in said
