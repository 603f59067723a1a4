"""The Makefile as it behaves: a copy in an empty tree, with scripts for Python, pip and notebooks."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import grimp
import papermill
import pytest

from actlab.core.sources import imports
from actlab.transfer import sweep

ROOT = Path(__file__).resolve().parents[1]
VERBS = (
    "help", "env", "lock", "test", "lint", "reproduce", "bench", "compare-search", "transfer", "multiverse",
    "generality", "lab-records", "paper-lab", "records", "clrs-data", "clrs-all", "notebooks-refresh", "report",
    "readme", "lab", "screenshots", "clean",
)  # fmt: skip
NOTEBOOKS = tuple(sorted(path.stem for path in (ROOT / "notebooks").glob("[0-9][0-9]_*.ipynb") if "." not in path.stem))
# Whose figures a notebook reads, through others too.
READ = {
    "06_lab_scores": {"05_search"},
    "17_claims": set(NOTEBOOKS[: NOTEBOOKS.index("17_claims")]),
    "18_take_home": {"05_search", "06_lab_scores", "13_transfer", "14_multiverse"},
}

NOT_INHERITED = {
    "MAKEFLAGS", "MFLAGS", "MAKELEVEL", "MAKEOVERRIDES", "PROFILE", "PARAMS", "BENCH", "LAB_OPTIONS", "ENV", "PYTHON",
    "PIP_OPTIONS",
}  # fmt: skip

# Stands for `python -m actlab notebooks run IN OUT -p profile P`; fails, OUT written, if IN is in `fail`.
RUNNER = """#!/bin/sh
echo "$5 ${*#*.ipynb*.ipynb }" >> ran.txt
mkdir -p "$(dirname "$6")"
cp "$5" "$6"
test ! -e fail || ! grep -q "$5" fail
"""

# Stands for a Python that makes environments; notes what it is asked for; pip fails while `fail` exists.
PYTHON = """#!/bin/sh
case "$*" in
    -c*) exit 0 ;;
    "-m venv"*) mkdir -p .venv/bin && cp python .venv/bin/python ;;
esac
echo "$*" >> asked.txt
case "$*" in "-m pip"*) test ! -e fail ;; esac
"""

CONDA = """#!/bin/sh
echo "$*" >> asked.txt
mkdir -p .conda/conda-meta
"""


def make(folder: Path, *arguments: str, path: str | None = None) -> subprocess.CompletedProcess:
    """Runs make in a folder, with nothing inherited from a make that runs these tests."""
    environment = {name: value for name, value in os.environ.items() if name not in NOT_INHERITED}
    environment["LC_ALL"] = "C"
    if path is not None:
        environment["PATH"] = path
    return subprocess.run(["make", *arguments], cwd=folder, env=environment, capture_output=True, text=True)


def prerequisites(profile: str = "smoke") -> dict[str, set[str]]:
    """What make itself says that each executed notebook depends on, order-only prerequisites left out."""
    database = make(ROOT, "--print-data-base", "--dry-run", "reproduce", f"PROFILE={profile}").stdout
    rules = re.findall(rf"^build/{profile}/notebooks/(\S+)\.ipynb: ([^|\n]*)", database, re.MULTILINE)
    return {name: set(files.split()) for name, files in rules}


def script(path: Path, text: str) -> None:
    path.write_text(text)
    path.chmod(0o755)


def touch(path: Path, minutes: int) -> None:
    """Dates a file some minutes after the tree's beginning, in the past."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
    os.utime(path, (1_600_000_000 + 60 * minutes,) * 2)


def ran(folder: Path) -> list[str]:
    """The notebooks that were run since the last call, in order."""
    log = folder / "ran.txt"
    lines = log.read_text().splitlines() if log.exists() else []
    log.unlink(missing_ok=True)
    return [re.match(r"notebooks/(\S+)\.ipynb", line)[1] for line in lines]


@pytest.fixture(scope="session")
def skeleton(tmp_path_factory):
    """The Makefile and the package, and the notebooks' code without outputs."""
    place = tmp_path_factory.mktemp("skeleton")
    shutil.copy(ROOT / "Makefile", place)
    shutil.copytree(ROOT / "actlab", place / "actlab", ignore=shutil.ignore_patterns("__pycache__"))
    (place / "notebooks").mkdir()
    (place / "docs").mkdir()
    shutil.copy(ROOT / "docs/guide.md", place / "docs")
    for name in NOTEBOOKS:
        cells = [{"cell_type": "code", "source": source} for source in code(name)]
        (place / f"notebooks/{name}.ipynb").write_text(json.dumps({"cells": cells}))
    for name in ("pyproject.toml", "constraints.txt", "environment.yml"):
        touch(place / name, 0)
    touch(place / "figures/one.png", 0)
    script(place / "runner", RUNNER)
    script(place / "python", PYTHON)
    for path in place.rglob("*.*"):
        touch(path, 0)
    return place


@pytest.fixture
def tree(skeleton, tmp_path):
    """The real Makefile and package, and all notebooks, with an environment that is up to date."""
    shutil.copytree(skeleton, tmp_path, dirs_exist_ok=True)
    touch(tmp_path / ".venv/.stamp", 1)
    return tmp_path


def code(name: str) -> list[str]:
    """The sources of a notebook's code cells."""
    cells = json.loads(notebook_path(name).read_text())["cells"]
    return ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]


def reproduce(folder: Path, *arguments: str) -> subprocess.CompletedProcess:
    return make(folder, "reproduce", "PROFILE=smoke", "PY=./runner", *arguments)


def reproduced(folder: Path) -> None:
    """Runs every notebook, and dates the outputs so that an edit made at once is newer beyond doubt."""
    assert reproduce(folder).returncode == 0
    assert ran(folder) == list(NOTEBOOKS)
    for path in folder.glob("build/smoke/notebooks/*.ipynb"):
        touch(path, 2)


def test_make_alone_prints_its_verbs():
    shown = make(ROOT)
    assert shown.returncode == 0
    assert set(re.findall(r"^make (\S+) +\S", shown.stdout, re.MULTILINE)) == set(VERBS)


@pytest.mark.parametrize("profile", ["latop", "", "smoke laptop"])
def test_a_mistyped_profile_gets_one_line_before_anything_is_built(tree, profile):
    shutil.rmtree(tree / ".venv")
    before = sorted(tree.rglob("*"))
    refused = make(tree, f"PROFILE={profile}", "reproduce", "PYTHON=./python")
    assert refused.returncode == 2
    assert refused.stdout == ""
    assert len(refused.stderr.splitlines()) == 1
    assert f"PROFILE: wanted smoke, laptop or paper; came '{profile}'" in refused.stderr
    assert sorted(tree.rglob("*")) == before


def test_a_module_that_is_new_or_gone_needs_no_edit_of_the_makefile(tree):
    reproduced(tree)
    (tree / "actlab/core/new.py").write_text("x = 1\n")
    stats = tree / "actlab/core/stats.py"
    stats.write_text(stats.read_text() + "\nfrom actlab.core import new\n")
    reproduce(tree)
    first = ran(tree)
    assert "03_trust" in first
    for path in tree.glob("build/smoke/notebooks/*.ipynb"):
        touch(path, 2)
    (tree / "actlab/core/new.py").touch()
    reproduce(tree)
    assert ran(tree) == first


def test_a_mistyped_environment_gets_one_line(tree):
    refused = make(tree, "ENV=cnda", "env")
    assert refused.returncode == 2
    assert len(refused.stderr.splitlines()) == 1
    assert "ENV: wanted venv or conda; came 'cnda'" in refused.stderr


def test_jupyterlab_serves_the_project_and_opens_a_copy_of_the_explorer_with_the_options_that_are_given(tree):
    (tree / "bin").mkdir()
    script(tree / "bin/jupyterlab", '#!/bin/sh\necho "$JUPYTER_CONFIG_PATH" > settings.txt\necho "$@" >> asked.txt\n')
    for options in ("", "--allow-root --no-browser"):
        assert make(tree, "lab", f"LAB_OPTIONS={options}", "PY=./bin/jupyterlab").returncode == 0
        quiet = "--LabApp.news_url=None --LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate"
        opened = f"--ServerApp.root_dir={tree} --LabApp.default_url=/lab/tree/candidates/explorer.ipynb"
        wanted = f"{opened} {quiet} {options}"
        assert (tree / "asked.txt").read_text().splitlines()[-1] == f"-m jupyterlab {wanted}".strip()
    code = "from jupyter_server.services.config.manager import ConfigManager as M; "
    code += "print(M(config_dir_name='labconfig').get('default_setting_overrides'))"
    read = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True,
        env=os.environ | {"JUPYTER_CONFIG_PATH": (tree / "settings.txt").read_text().strip()},
    )  # fmt: skip
    assert "apputils-extension:notification': {'fetchNews': 'false', 'checkForUpdates': False}" in read.stdout


def test_jupyterlab_reads_the_options_that_keep_it_off_the_network():
    from jupyterlab import NeverCheckForUpdate
    from jupyterlab.labapp import LabApp

    options = re.search(r"^LAB_OFFLINE := (.*)$", (ROOT / "Makefile").read_text(), re.MULTILINE)[1].split()
    lab = LabApp()
    lab.parse_command_line(options)
    assert lab.news_url is None and lab.check_for_updates_class is NeverCheckForUpdate


def test_the_explorers_copy_is_made_anew_only_from_a_newer_notebook_and_an_edited_one_is_kept(tree):
    copy, before = (tree / f"candidates/{name}.ipynb" for name in ("explorer", "explorer.before"))
    assert make(tree, "lab", "PY=true").returncode == 0
    copy.write_text("mine")
    touch(copy, 1)
    assert make(tree, "lab", "PY=true").returncode == 0
    assert copy.read_text() == "mine" and not before.exists()
    (tree / "notebooks/19_explorer.ipynb").write_text("newer")
    assert make(tree, "lab", "PY=true").returncode == 0
    assert (copy.read_text(), before.read_text()) == ("newer", "mine")


@pytest.mark.parametrize("lacking", ["node", "chromium", "playwright-core"])
def test_screenshots_are_skipped_with_the_reason_where_something_lacks(tree, tmp_path, lacking):
    (tree / "tests").mkdir()
    shutil.copy(ROOT / "tests/screenshots.cjs", tree / "tests")
    tools = tmp_path / "bin"
    tools.mkdir()
    for tool in ("sh", "find", "awk", "make", "mkdir", *(["node"] if lacking != "node" else [])):
        if (found := shutil.which(tool)) is None:
            pytest.skip(f"{tool} is not here")
        (tools / tool).symlink_to(found)
    browser = tmp_path / "chromium"
    if lacking != "chromium":
        browser.touch()
    shown = make(tree, "screenshots", f"CHROMIUM={browser}", "NODE_PATH=", path=str(tools))
    assert (shown.returncode, shown.stderr) == (0, "")
    (line,) = [line for line in shown.stdout.splitlines() if "skipped" in line]
    assert line.startswith("make screenshots: skipped: wanted ") and lacking in line.split(";")[0]
    assert not (tree / "build/screenshots").exists()


def test_bench_measures_the_parts_that_are_named(tree):
    for parts in ("", "lab isolation"):
        shown = make(tree, "bench", f"BENCH={parts}", "--dry-run").stdout
        assert shown.split() == [".venv/bin/python", "-m", "actlab", "bench", *parts.split()]


def test_reproduce_never_measures_times_since_its_tables_are_the_same_bytes_each_time(tree):
    planned = make(tree, "reproduce", "PROFILE=laptop", "--always-make", "--dry-run").stdout
    assert planned.count("actlab notebooks run") == len(NOTEBOOKS)
    assert "actlab bench" not in planned
    read = prerequisites()
    assert len(read) == len(NOTEBOOKS)
    assert not {"actlab/report/bench/lab.py", "actlab/report/bench/search.py"} & set().union(*read.values())


@pytest.mark.parametrize(
    ("target", "verb"),
    [
        ("compare-search", "ablation"),
        ("transfer", "transfer"),
        ("multiverse", "multiverse"),
        ("generality", "generality"),
        ("lab-records", "lab-records"),
    ],
)
def test_a_long_run_has_its_profile(tree, target, verb):
    shown = make(tree, target, "PROFILE=smoke", "--dry-run").stdout
    assert shown.split() == [".venv/bin/python", "-m", "actlab", verb, "--profile", "smoke"]


def test_reproduce_runs_every_notebook_in_order_with_its_profile(tree):
    assert reproduce(tree).returncode == 0
    log = (tree / "ran.txt").read_text().splitlines()
    assert log == [f"notebooks/{name}.ipynb -p profile smoke" for name in NOTEBOOKS]
    assert sorted(path.stem for path in (tree / "build/smoke/notebooks").iterdir()) == list(NOTEBOOKS)


@pytest.mark.parametrize(
    ("profile", "said"),
    [("smoke", "07_preactivations: 7 of 19; 11 s on 2 cores, all of them about 10 minutes"),
     ("laptop", "07_preactivations: 7 of 19; 19 s on 2 cores, all of them about 35 minutes"),
     ("paper", "07_preactivations: 7 of 19")],
)  # fmt: skip
def test_each_notebook_says_which_of_how_many_it_is_and_how_long_it_takes(tree, profile, said):
    done = make(tree, f"build/{profile}/notebooks/07_preactivations.ipynb", f"PROFILE={profile}", "PY=./runner")
    assert said in done.stdout.splitlines()
    assert ran(tree) == ["07_preactivations"]


def test_the_laptop_profile_is_the_default():
    shown = make(ROOT, "--print-data-base", "--dry-run", "help").stdout
    assert re.search(r"^PROFILE = laptop$", shown, re.MULTILINE)


def test_a_second_reproduce_does_nothing(tree):
    reproduce(tree)
    ran(tree)
    again = reproduce(tree)
    assert again.returncode == 0
    assert "Nothing to be done for 'reproduce'" in again.stdout
    assert ran(tree) == []


@pytest.mark.parametrize(
    ("edited", "expected"),
    [
        ("notebooks/01_quickstart.ipynb", ["01_quickstart", "17_claims"]),
        ("notebooks/05_search.ipynb", ["05_search", "06_lab_scores", "17_claims", "18_take_home"]),
        ("notebooks/19_explorer.ipynb", ["19_explorer"]),
        ("constraints.txt", list(NOTEBOOKS)),
        ("README.md", []),
    ],
)
def test_an_edit_runs_what_depends_on_it(tree, edited, expected):
    reproduced(tree)
    (tree / edited).touch()
    touch(tree / ".venv/.stamp", 100_000_000)  # the environment is up to date, whatever its inputs
    reproduce(tree)
    assert ran(tree) == expected


MODULES = ("activations/zoo", "core/config", "lab/feynman", "lab/training", "search/evolution", "report/figures/style")


@pytest.fixture(scope="module")
def imported():
    """The files that each notebook depends on, as grimp sees the package."""
    graph = grimp.build_graph("actlab", exclude_type_checking_imports=True, cache_dir=None)
    found = {}
    for name in NOTEBOOKS:
        direct = {f"actlab.{module.replace('/', '.')}" for module in imports("\n".join(code(name)).encode())}
        modules = {module.removesuffix(".__init__") for module in direct}
        modules |= set().union(*(graph.find_upstream_modules(module) for module in modules))
        places = {module.replace(".", "/") for module in modules}
        found[name] = {f"{p}.py" if (ROOT / f"{p}.py").exists() else f"{p}/__init__.py" for p in places}
    return found


@pytest.mark.parametrize("module", MODULES)
def test_an_edited_module_runs_the_notebooks_that_import_it(tree, imported, module):
    edited = f"actlab/{module}.py"
    reproduced(tree)
    (tree / edited).touch()
    reproduce(tree)
    importers = {name for name in NOTEBOOKS if edited in imported[name]}
    assert importers
    assert ran(tree) == sorted(importers | {name for name, read in READ.items() if importers & read})


def test_the_graph_has_all_that_a_notebook_imports_and_no_module_that_nothing_of_it_does(imported):
    for name, files in prerequisites().items():
        listed = {path for path in files if re.fullmatch(r"actlab/.*\.py", path) and not path.endswith("__init__.py")}
        wanted = {path for path in imported[name] if not path.endswith("__init__.py")}
        assert listed == wanted, f"{name}: missing {wanted - listed}, superfluous {listed - wanted}"
        assert ("actlab/lab/trainer.c" in files) == ("actlab/lab/compiled.py" in wanted)


def notebook_path(name: str) -> Path:
    return ROOT / "notebooks" / f"{name}.ipynb"


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_every_parameter_that_make_injects_exists_in_the_notebook(name):
    output = f"build/smoke/notebooks/{name}.ipynb"
    planned = make(ROOT, "--always-make", "--dry-run", output, "PROFILE=smoke").stdout
    command = next(line for line in planned.splitlines() if f" {output} " in line)
    injected = dict(re.findall(r"-p (\S+) (\S+)", command))
    assert injected == {"profile": "smoke"}
    assert injected.keys() <= papermill.inspect_notebook(str(notebook_path(name))).keys()


def test_an_environment_that_was_built_again_runs_nothing(tree):
    reproduced(tree)
    (tree / ".venv/.stamp").touch()
    assert "Nothing to be done" in reproduce(tree).stdout


def test_a_failed_notebook_is_never_taken_as_done(tree):
    (tree / "fail").write_text("notebooks/02_synthetic_lab.ipynb")
    failed = reproduce(tree)
    assert failed.returncode == 2
    assert ran(tree) == ["01_quickstart", "02_synthetic_lab"]
    assert not (tree / "build/smoke/notebooks/02_synthetic_lab.ipynb").exists()
    (tree / "fail").unlink()
    assert reproduce(tree).returncode == 0
    assert ran(tree) == list(NOTEBOOKS[1:])


def test_the_leftovers_of_a_failed_notebook_are_no_notebooks(tree):
    touch(tree / "notebooks/02_synthetic_lab.failed.ipynb", 0)
    reproduce(tree)
    assert ran(tree) == list(NOTEBOOKS)


def test_the_environment_is_built_once_and_again_when_its_inputs_change(tree):
    shutil.rmtree(tree / ".venv")
    asked = tree / "asked.txt"
    install = "-m pip install --find-links wheels -c constraints.txt -e .[test]"
    arguments = ("env", "PYTHON=./python", "PIP_OPTIONS=--find-links wheels")
    assert make(tree, *arguments).returncode == 0
    assert asked.read_text().splitlines() == ["-m venv --clear .venv", install]
    asked.unlink()
    assert "Nothing to be done" in make(tree, *arguments).stdout
    for edited in ("constraints.txt", "pyproject.toml"):
        touch(tree / ".venv/.stamp", 1)
        (tree / edited).touch()
        assert make(tree, *arguments).returncode == 0
        assert asked.read_text().splitlines() == [install]
        asked.unlink()


def test_a_half_built_environment_is_built_anew(tree):
    shutil.rmtree(tree / ".venv")
    (tree / "fail").touch()
    assert make(tree, "env", "PYTHON=./python").returncode == 2
    assert (tree / ".venv/bin/python").exists()
    (tree / "fail").unlink()
    (tree / "asked.txt").unlink()
    assert make(tree, "env", "PYTHON=./python").returncode == 0
    assert "-m venv --clear .venv" in (tree / "asked.txt").read_text()


def test_reproduce_builds_a_missing_environment_first(tree):
    shutil.rmtree(tree / ".venv")
    planned = reproduce(tree, "--dry-run", "PYTHON=./python").stdout
    assert planned.index("-m venv") < planned.index("-m pip install") < planned.index("actlab notebooks run")


def test_an_old_python_is_refused_in_one_line(tree):
    shutil.rmtree(tree / ".venv")
    script(tree / "old", "#!/bin/sh\nexit 1\n")
    refused = make(tree, "env", "PYTHON=./old")
    assert refused.returncode == 2
    assert refused.stderr.splitlines()[0] == "make env: wanted Python 3.11 or newer; came PYTHON=./old"


def test_conda_is_asked_for_the_environment_file(tree):
    (tree / "bin").mkdir()
    script(tree / "bin/conda", CONDA)
    path = f"{tree / 'bin'}{os.pathsep}{os.environ['PATH']}"
    assert make(tree, "env", "ENV=conda", path=path).returncode == 0
    assert "Nothing to be done" in make(tree, "env", "ENV=conda", path=path).stdout
    (tree / "environment.yml").touch()
    touch(tree / ".conda/.stamp", 1)
    make(tree, "env", "ENV=conda", path=path)
    assert (tree / "asked.txt").read_text().splitlines() == [
        "env create -p .conda -f environment.yml",
        "env update --prune -p .conda -f environment.yml",
    ]


def test_a_missing_conda_is_named_in_one_line(tree):
    folders = os.environ["PATH"].split(os.pathsep)
    without = [folder for folder in folders if not (Path(folder) / "conda").exists()]
    refused = make(tree, "env", "ENV=conda", path=os.pathsep.join(without))
    assert refused.returncode == 2
    assert refused.stderr.startswith("make env: ENV=conda wanted conda on the PATH; came none")
    assert not (tree / ".conda/.stamp").exists()


def test_the_steps_of_the_tests_run_in_order_and_files_at_once_unless_told_otherwise(tree):
    planned = make(tree, "--dry-run", "test").stdout
    steps = ("-m ruff check .", "-m pytest -n auto --maxprocesses 4 --dist loadfile tests", "-m pytest --nbval-lax")
    places = [planned.index(step) for step in steps]
    assert places == sorted(places)
    tests = [line for line in planned.splitlines() if "-m pytest" in line]
    assert len(tests) == 2
    assert all(line.startswith("OMP_NUM_THREADS=1 MKL_NUM_THREADS=1 ") for line in tests)
    alone = make(tree, "--dry-run", "test", "AT_ONCE=").stdout
    assert "-m pytest  tests" in alone


def test_clean_leaves_the_environment_and_the_figures(tree):
    touch(tree / "tests/__pycache__/test_lab.pyc", 0)
    hours_of_a_gpu = [tree / sweep.kept("paper").folder.relative_to(ROOT) / "images.csv",
                      tree / sweep.checkpoints("paper").relative_to(ROOT) / "begun.pt"]  # fmt: skip
    for path in hours_of_a_gpu:
        touch(path, 0)
    reproduce(tree)
    assert make(tree, "clean").returncode == 0
    assert all(path.exists() for path in hours_of_a_gpu)
    assert not (tree / "build").exists()
    assert not (tree / "tests/__pycache__").exists()
    assert (tree / ".venv/.stamp").exists()
    assert (tree / "figures/one.png").exists()
    assert len(list((tree / "notebooks").iterdir())) == len(NOTEBOOKS)


def test_the_notebook_on_algorithms_stands_on_their_samples():
    samples = {path.relative_to(ROOT).as_posix() for path in (ROOT / "data/clrs").glob("*.npz")}
    assert samples and samples <= prerequisites()["11_algorithms"]


@pytest.mark.skipif(not (ROOT / ".git").exists(), reason="wants a checkout of git's")
@pytest.mark.parametrize(
    ("path", "ignored"),
    [
        ("data/cifar-10/data_batch_1", True), ("data/ogb/ogbg_molhiv/mapping/README.md", True),
        ("data/clrs/bfs.npz", False), ("data/clrs/README.json", False), ("checkpoints/a.pt", True),
        ("candidates/explorer.ipynb", True), ("candidates/mine.py", True), ("actlab/candidates/program.py", False),
        ("records/transfer-paper/.lock", True), ("records/transfer-paper/images.csv", False),
    ],
)  # fmt: skip
def test_git_leaves_out_fetched_data_and_checkpoints_but_neither_samples_nor_records(path, ignored):
    asked = subprocess.run(["git", "check-ignore", "--no-index", "-q", path], cwd=ROOT)
    assert asked.returncode == (0 if ignored else 1)
