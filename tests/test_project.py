"""What holds the project together: one-way imports, an instant package, pins, files that agree."""

import ast
import importlib.metadata
import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

import actlab
from actlab.__main__ import VERBS, main
from actlab.search.proposers.answers import LIKE_A_KEY

ROOT = Path(__file__).resolve().parents[1]
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
PROJECT = PYPROJECT["project"]

NO_TORCH = (
    "core.config", "core.records", "core.paper", "core.stats", "core.jobs", "candidates.language", "scoring.sandbox",
    "candidates.static_bounds", "scoring.pool", "report.figures.style", "__main__",
)  # fmt: skip


def python(code: str) -> str:
    """What a fresh interpreter prints."""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    return done.stdout


def pins() -> dict[str, str]:
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    return dict(line.split("==") for line in lines if not line.startswith("#"))


def direct_dependencies() -> list[Requirement]:
    extras = PROJECT["optional-dependencies"].values()
    texts = [*PROJECT["dependencies"], *(text for extra in extras for text in extra)]
    return [requirement for requirement in map(Requirement, texts) if requirement.name != "actlab"]


def test_the_layers_are_held_and_a_breach_is_named(tmp_path):
    lint = [str(Path(sys.executable).with_name("lint-imports")), "--no-logo", "--no-cache"]
    held = subprocess.run(lint, capture_output=True, text=True, cwd=ROOT)
    assert held.returncode == 0, held.stdout
    shutil.copytree(ROOT / "actlab", tmp_path / "actlab", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    breach = tmp_path / "actlab/core/config.py"
    breach.write_text(breach.read_text() + "\n\ndef late():\n    from actlab.lab import tasks\n    return tasks\n")
    broken = subprocess.run(
        lint, capture_output=True, text=True, cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(tmp_path)}
    )
    assert broken.returncode == 1
    assert "actlab.core.config -> actlab.lab.tasks" in broken.stdout


def test_at_most_ten_names_stand_at_the_top_and_each_package_tells_what_is_in_it():
    top = {path.name for path in (ROOT / "actlab").iterdir()} - {"__pycache__", "__init__.py", "py.typed"}
    assert len(top) <= 10
    assert set(actlab.__all__) == top - {"__main__.py"}
    assert all(f"`{name}`: " in actlab.__doc__ for name in actlab.__all__)
    faces = [path for path in (ROOT / "actlab").rglob("__init__.py") if "= face(" in path.read_text()]
    for folder in [path.parent for path in faces if path.parent != ROOT / "actlab"]:
        inside = {path.stem for path in folder.iterdir() if path.suffix == ".py" or (path / "__init__.py").exists()}
        face = importlib.import_module(".".join(folder.relative_to(ROOT).parts))
        assert set(face.__all__) == inside - {"__init__"}
        assert all(f"`{name}`: " in face.__doc__ for name in face.__all__), folder


@pytest.mark.parametrize("module", NO_TORCH)
def test_what_only_describes_never_imports_torch(module):
    assert python(f"import sys, actlab.{module}; print('torch' in sys.modules)") == "False\n"


def test_what_users_import_is_where_it_was():
    code = (
        "import actlab; from actlab.learnable import learnable; from actlab import activations as a, learnable as l; "
    )
    code += "print(a.gelu_sine is actlab.activations.get('gelu-sine').activation.function, learnable is l.learnable)"
    assert python(code) == "True True\n"


def test_importing_actlab_imports_nothing_heavy():
    heavy = {"torch", "numpy", "scipy", "pandas", "matplotlib", "anthropic", "papermill", "rdkit", "clrs"}
    assert set(python("import sys, actlab; print(*sys.modules)").split()) & heavy == set()


# A Python that finds torch, what torch itself needs, and this package: what `pip install .` brings.
BARE = """
import contextlib, importlib.machinery, io, pkgutil, sys
KEPT = {*sys.stdlib_module_names, 'actlab', 'torch', 'torchgen', 'functorch', 'typing_extensions', 'sympy', 'mpmath',
        'networkx', 'fsspec', 'filelock'}
find = importlib.machinery.PathFinder.find_spec
importlib.machinery.PathFinder.find_spec = (
    lambda name, path=None, target=None: find(name, path, target) if name.partition('.')[0] in KEPT else None)
import actlab
from actlab.__main__ import VERBS, main
ENOUGH = {'check': ['relu'], 'score': ['relu'], 'search': ['--out', 'run'], 'show': ['run'],
          'notebooks': ['run', 'a', 'b']}
for verb in VERBS:
    said = io.StringIO()
    with contextlib.redirect_stderr(said):
        assert main([verb, *ENOUGH.get(verb, [])]) == 2, verb
    print(said.getvalue(), end='')
import warnings
warnings.simplefilter('ignore')  # torch's own, of numpy
import torch
assert actlab.activations.get('gelu-sine')()(torch.ones(2)).isfinite().all()
for module in pkgutil.walk_packages(actlab.__path__, 'actlab.', onerror=lambda name: None):
    try:
        importlib.import_module(module.name)
    except actlab.NotInstalled as error:
        print(f'actlab {module.name}: {error}')
"""


def test_with_torch_alone_every_verb_and_every_module_that_needs_more_is_one_line_with_its_extra():
    lines = python(BARE).splitlines()
    wanted = rf"actlab \S+: actlab\.\S+ needs \S+: wanted the extra actlab\[({'|'.join(actlab._EXTRAS)})\]; came none"
    assert [line for line in lines if not re.fullmatch(wanted, line)] == []
    asked = [line.split(":")[0].removeprefix("actlab ") for line in lines]
    assert asked[: len(VERBS)] == list(VERBS)
    assert {"actlab.lab.training", "actlab.report.site", "actlab.search.runs"} <= set(asked)
    assert not [name for name in asked if name.startswith(("actlab.activations", "actlab.core.config"))]


def test_every_package_that_is_imported_is_of_an_extra_and_no_other_is_listed():
    imported = set()
    for path in (ROOT / "actlab").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            named = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            named += [node.module] if isinstance(node, ast.ImportFrom) else []
            imported |= {name.partition(".")[0] for name in named}
    listed = [name for brought in actlab._EXTRAS.values() for name in brought]
    optional = {"pyseccomp", "landlock"}  # whose lack has a line of its own
    assert imported - set(sys.stdlib_module_names) - {"actlab", "torch"} - optional == set(listed)
    for extra, names in actlab._EXTRAS.items():
        own = {Requirement(text).name for text in PROJECT["optional-dependencies"][extra]}
        distributions = importlib.metadata.packages_distributions()
        others = {r.name for r in direct_dependencies()} - own
        assert not [name for name in names if set(distributions[name]) & others], extra


def test_the_version_is_printed(capsys):
    with pytest.raises(SystemExit, match="0"):
        main(["--version"])
    assert capsys.readouterr().out == f"actlab {PROJECT['version']}\n"
    assert PROJECT["scripts"] == {"actlab": "actlab.__main__:main"}


def test_an_unknown_name_says_what_there_is():
    with pytest.raises(AttributeError, match=r"wanted one of activations, .*came 'activation'"):
        _ = actlab.activation


def test_the_version_is_the_same_everywhere():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert actlab.__version__ == PROJECT["version"] == str(citation["version"])


def test_the_citation_names_the_paper_and_the_companion():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert citation["cff-version"] == "1.2.0"
    assert {"message", "title", "authors"} <= citation.keys()
    assert citation["license"] == PROJECT["license"] == "MIT"
    paper = citation["preferred-citation"]
    assert paper["title"] == "Mining Generalizable Activation Functions"
    assert paper["doi"].endswith("2602.05688")
    names = [author["family-names"] for author in paper["authors"]]
    assert names == ["Vitvitskyi", "Boratko", "Grcic", "Pascanu", "Shah", "Veličković"]


def test_constraints_are_exact_pins_of_every_direct_dependency():
    text = (ROOT / "constraints.txt").read_text()
    comment, *lines = text.splitlines()
    assert "`make lock`" in comment
    for line in lines:
        assert line.startswith("#") or re.fullmatch(r"[A-Za-z0-9._-]+==[0-9][A-Za-z0-9.]*", line), line
    names = {canonicalize_name(name) for name in pins()}
    assert {canonicalize_name(requirement.name) for requirement in direct_dependencies()} <= names
    assert "actlab" not in names


def test_torch_is_pinned_once_and_for_every_platform():
    assert "torch==2.13.0" in PROJECT["optional-dependencies"]["lab"]
    assert pins()["torch"] == "2.13.0"


def test_the_functions_alone_ask_for_a_range_of_torch_and_are_typed():
    (requirement,) = map(Requirement, PROJECT["dependencies"])
    tried = ("2.11.0", "2.13.0", "2.14.1", "2.15.0")
    assert requirement.name == "torch" and all(version in requirement.specifier for version in tried)
    assert "2.10.0" not in requirement.specifier and "3.0" not in requirement.specifier
    guide = (ROOT / "docs" / "guide.md").read_text()
    assert all(version in guide for version in tried)
    assert (ROOT / "actlab" / "py.typed").exists()
    assert "py.typed" in PYPROJECT["tool"]["setuptools"]["package-data"]["actlab"]


def test_this_environment_has_the_pinned_versions():
    pinned = {canonicalize_name(name): version for name, version in pins().items()}
    for requirement in direct_dependencies():
        installed = importlib.metadata.version(requirement.name).partition("+")[0]
        assert installed == pinned[canonicalize_name(requirement.name)], requirement.name


def test_conda_installs_the_same_project_with_the_same_pins():
    environment = yaml.safe_load((ROOT / "environment.yml").read_text())
    assert environment["name"] == "actlab"
    python_line, pip_line, pip_packages = environment["dependencies"]
    assert pip_line == "pip"
    assert SpecifierSet(PROJECT["requires-python"]).contains(python_line.removeprefix("python="))
    assert pip_packages == {"pip": ["-c constraints.txt", "-e .[test]"]}


def test_ci_calls_the_command_of_the_readme():
    script = ROOT / ".ci" / "run"
    assert os.access(script, os.X_OK)
    lines = [line for line in script.read_text().splitlines() if line and not line.startswith("#")]
    assert lines[-1] == "exec make test"
    readme = (ROOT / "README.md").read_text()
    assert "make test" in readme
    assert "make reproduce" in readme


def test_pre_commit_fetches_nothing_and_strips_as_the_makefile_does():
    repositories = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"]
    assert [repository["repo"] for repository in repositories] == ["local"]
    hooks = {hook["id"]: hook for hook in repositories[0]["hooks"]}
    assert {hook["language"] for hook in hooks.values()} == {"system"}
    makefile = (ROOT / "Makefile").read_text().replace("\\\n", " ")
    options = re.search(r"^STRIP := (.*)$", makefile, re.MULTILINE)[1]
    assert shlex.split(hooks["nbstripout"]["entry"])[1:] == shlex.split(options)


def test_warnings_are_errors_and_each_exception_names_a_package():
    first, *exceptions = PYPROJECT["tool"]["pytest"]["ini_options"]["filterwarnings"]
    assert first == "error"
    text = (ROOT / "pyproject.toml").read_text()
    for exception in exceptions:
        line = next(line for line in text.splitlines() if exception in line.replace("\\\\", "\\"))
        assert re.search(r"# \S+ .*until", line), f"wanted a comment '# package ... until ...'; came {line}"


def test_the_licence_is_mit_and_names_its_holder():
    text = (ROOT / "LICENSE").read_text()
    assert text.startswith("MIT License\n\nCopyright (c) 2026 the actlab authors\n")
    assert PROJECT["license-files"] == ["LICENSE"]


def test_contributing_is_one_page_and_says_where_each_kind_of_addition_goes():
    text = (ROOT / "CONTRIBUTING.md").read_text()
    assert len(text.splitlines()) <= 60
    table = [line for line in text.splitlines() if line.startswith("| ")]
    assert table[0] == "| I want to add | edit | test |"
    added = [row.split(" | ")[0].removeprefix("| ") for row in table[1:]]
    for kind in ("activation", "tasks", "study", "benchmark", "bench", "proposer", "verb", "notebook", "figure",
                 "function for candidates"):  # fmt: skip
        assert any(kind in name for name in added), kind


def bodies() -> Iterator[tuple[str, list[ast.stmt], int]]:
    """Every function of the package: its name, its statements below the docstring, and their lines."""
    for path in sorted((ROOT / "actlab").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                first, *rest = node.body
                body = rest if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant) else node.body
                lines = body[-1].end_lineno - body[0].lineno + 1 if body else 0
                yield f"{path.relative_to(ROOT / 'actlab').with_suffix('')}.{node.name}", body, lines


def test_no_function_runs_over_a_screen():
    assert {name for name, _, lines in bodies() if lines > 45} == set()


def test_no_two_functions_say_the_same():
    same = defaultdict(list)
    for name, body, lines in bodies():
        if lines >= 4:
            same[ast.dump(ast.Module(body, []))].append(name)
    assert [names for names in same.values() if len(names) > 1] == []


def with_keys(root: Path) -> list[str]:
    """The tracked files under a root that hold anything like a key of the service; tests have one of their own."""
    listed = subprocess.run(["git", "-C", root, "ls-files", "-z"], capture_output=True, text=True, check=True).stdout
    like_a_key = re.compile(LIKE_A_KEY.pattern.encode())
    return [
        name
        for name in filter(None, listed.split("\0"))
        if not name.startswith("tests/") and (root / name).is_file() and like_a_key.search((root / name).read_bytes())
    ]


@pytest.mark.skipif(not (ROOT / ".git").exists(), reason="tells tracked files from others by git")
def test_no_key_is_in_any_notebook_record_figure_or_source():
    assert with_keys(ROOT) == []


@pytest.mark.parametrize("name", ["notebooks/01.ipynb", "records/a.csv", "figures/a.md", "docs/a.md", "actlab/a.py"])
def test_a_key_that_is_planted_is_found(tmp_path, name):
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_text('{"source": "key = sk-ant-api03-planted"}')
    (tmp_path / "clean.md").write_text("ask-antonym")
    for command in (["init", "-q"], ["add", "-A"]):
        subprocess.run(["git", "-C", tmp_path, *command], check=True)
    assert with_keys(tmp_path) == [name]


def test_no_number_is_left_to_be_filled_in():
    for path in (ROOT / "README.md", *sorted((ROOT / "notebooks").glob("*.ipynb"))):
        assert not re.findall(r"\b[A-Z]+_(?:TIME|TOTAL|ROWS)\b", path.read_text()), path.name
