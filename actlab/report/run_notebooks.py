"""Runs notebooks for the Makefile: through papermill, with every output whole or absent.

    actlab notebooks run NOTEBOOK OUTPUT -p profile laptop
    actlab notebooks refresh NOTEBOOK...

Two equal runs give the same bytes: the kernel is always this Python's, its hashes and its drawing backend are
fixed, streams are merged, and what only tells when and where a notebook ran is taken out.
"""

import argparse
import ast
import os
import sys
import time
from collections.abc import Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import Any

import nbformat
import papermill
from ipykernel.kernelspec import get_kernel_dict
from jupyter_client import AsyncKernelManager
from jupyter_client.kernelspec import KernelSpec
from papermill.exceptions import PapermillExecutionError
from traitlets import default

from actlab.core.jobs import Runner

# [ours] The order of a set of strings follows their hashes; an inherited MPLBACKEND=Agg shows no pictures.
KERNEL_ENVIRONMENT = {"PYTHONHASHSEED": "0", "MPLBACKEND": "module://matplotlib_inline.backend_inline"}


class WrongCall(ValueError):
    """No such notebook or parameter; one line says what was wanted and what came."""


class ThisPython(AsyncKernelManager):
    """Starts the kernel of the Python that runs us, whatever kernelspecs the user's account has."""

    @default("transport_encryption")
    def _encrypted_where_possible(self) -> str:
        # Without it, ipykernel warns of its plain loopback sockets at each start.
        return "auto"

    @property
    def kernel_spec(self) -> KernelSpec:
        """The command and the environment of the kernel."""
        return KernelSpec(env=KERNEL_ENVIRONMENT, **get_kernel_dict())


def run(notebook: Path, output: Path, parameters: Mapping[str, Any]) -> None:
    """Executes a notebook in its own folder and writes the result to `output`, which may be the notebook itself.

    `parameters` are injected after the defaults in the cell tagged `parameters`. The output appears under its name only
    when all of the notebook ran; it is dated at the start of the run, so that a source edited meanwhile is newer. A
    failed run is kept beside it as `NAME.failed.ipynb`.

    Raises:
        WrongCall: no such notebook, or a parameter that it does not have.
        PapermillExecutionError: a cell raised.
    """
    notebook, output = Path(notebook).resolve(), Path(output).resolve()
    check_parameters(notebook, parameters)
    output.parent.mkdir(parents=True, exist_ok=True)
    partial = output.with_suffix(".partial.ipynb")
    started = time.time_ns()
    try:
        executed = papermill.execute_notebook(
            str(notebook),
            str(partial),
            parameters=dict(parameters),
            cwd=str(notebook.parent),
            kernel_name="python3",
            language="python",
            kernel_manager_class=ThisPython,
            coalesce_streams=True,
            progress_bar=sys.stderr.isatty(),
        )
    except Exception:
        if partial.exists():
            partial.replace(failed_path(output))
        raise
    except KeyboardInterrupt:
        partial.unlink(missing_ok=True)
        raise
    nbformat.write(strip(executed), partial)
    os.utime(partial, ns=(started, started))
    partial.replace(output)
    failed_path(output).unlink(missing_ok=True)


def refresh(notebook: Path) -> None:
    """Executes a notebook with its own parameters and writes the result over it, if the whole of it ran."""
    run(notebook, notebook, {})


def check_parameters(notebook: Path, parameters: Mapping[str, Any]) -> None:
    """Raises WrongCall for a name that the notebook's cell tagged `parameters` does not set (papermill only warns)."""
    if not notebook.is_file():
        raise WrongCall(f"notebook: wanted an existing .ipynb file; came {str(notebook)!r}")
    known = papermill.inspect_notebook(str(notebook))
    if unknown := [name for name in parameters if name not in known]:
        wanted = ", ".join(sorted(known)) or "none (no cell tagged 'parameters')"
        raise WrongCall(f"parameter of {notebook.name}: wanted {wanted}; came {unknown[0]!r}")


def strip(notebook: nbformat.NotebookNode) -> nbformat.NotebookNode:
    """Removes, in place, what differs between two equal runs; outputs, counts and cell ids stay.

    This is what nbstripout removes with the options in the Makefile. The injected cell, whose id papermill draws at
    random, gets a fixed one.
    """
    for part, key in product((notebook, *notebook.cells), ("papermill", "execution")):
        part.metadata.pop(key, None)
    for cell in notebook.cells:
        if "injected-parameters" in cell.metadata.get("tags", []):
            cell.id = "injected-parameters"
    return notebook


def failed_path(output: Path) -> Path:
    """Where the remains of a failed run are kept."""
    return output.with_suffix(".failed.ipynb")


def literal(text: str) -> Any:
    """A typed parameter: a Python literal where it reads as one (`3`, `1e-3`, `True`), else the text."""
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text


def named_values(pairs: Sequence[tuple[str, str]]) -> dict[str, Any]:
    """The `-p NAME VALUE` pairs as a mapping; raises WrongCall where a name comes twice."""
    values: dict[str, Any] = {}
    for name, text in pairs:
        if name in values:
            raise WrongCall(f"parameter {name!r}: wanted one value; came {values[name]!r} and {text!r}")
        values[name] = literal(text)
    return values


def options(parser: argparse.ArgumentParser) -> None:
    """Adds the verb's own options."""
    verbs = parser.add_subparsers(dest="action", required=True)
    one = verbs.add_parser("run", help="execute NOTEBOOK with parameters and write OUTPUT")
    one.add_argument("notebook", type=Path)
    one.add_argument("output", type=Path)
    one.add_argument("-p", dest="pairs", nargs=2, action="append", default=[], metavar=("NAME", "VALUE"))
    several = verbs.add_parser("refresh", help="execute each NOTEBOOK in place with its own parameters")
    several.add_argument("notebooks", type=Path, nargs="+")


def main(given: argparse.Namespace, runner: Runner) -> int:
    """Runs notebooks; returns the exit status: 0 done, 1 a cell failed, 130 interrupted."""
    if given.action == "run":
        return reported(given.notebook, given.output, named_values(given.pairs))
    return next(filter(None, (reported(notebook, notebook, {}) for notebook in given.notebooks)), 0)


def reported(notebook: Path, output: Path, parameters: Mapping[str, Any]) -> int:
    """Runs one notebook and says how it went; returns the exit status."""
    started = time.monotonic()
    try:
        run(notebook, output, parameters)
    except PapermillExecutionError as failure:
        print(failure, file=sys.stderr)
        why = f"cell [{failure.exec_count}] raised {failure.ename}: {failure.evalue}"
        print(f"{notebook}: {why}; what ran is kept as {failed_path(output)}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(f"{notebook}: interrupted; {output} was not written", file=sys.stderr)
        return 130
    print(f"{output}: ran in {time.monotonic() - started:.0f} s")
    return 0
