"""Runs notebooks for the Makefile: through papermill, with every output whole or absent.

    actlab notebooks run NOTEBOOK OUTPUT -p profile laptop
    actlab notebooks refresh NOTEBOOK...

Two equal runs give the same bytes: the kernel is always this Python's, its hashes and its drawing backend are
fixed, streams are merged, and what only tells when and where a notebook ran is taken out.
"""

import argparse
import ast
import contextlib
import logging
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
from nbclient.exceptions import DeadKernelError
from papermill.exceptions import PapermillExecutionError
from traitlets import default

from actlab.core.jobs import Runner
from actlab.report import executed

# [ours] The order of a set of strings follows their hashes; an inherited MPLBACKEND=Agg shows no pictures.
KERNEL_ENVIRONMENT = {"PYTHONHASHSEED": "0", "MPLBACKEND": "module://matplotlib_inline.backend_inline"}
WORDS = {"true": True, "false": False, "none": None, "null": None}  # as people and JSON write them

logging.getLogger("papermill").addHandler(logging.NullHandler())  # what it logs, we say ourselves, in one line


class WrongCall(ValueError):
    """No such notebook or parameter; one line says what was wanted and what came."""


class Stopped(RuntimeError):
    """A notebook ended before its last cell was done: a cell ended Python, or the kernel was killed."""


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

    `parameters` are injected after the defaults in the cell tagged `parameters`, as `typed` reads them. The output
    appears under its name only when all of the notebook ran; it is dated at the start of the run, so that a source
    edited meanwhile is newer. A failed run is kept beside it as `NAME.failed.ipynb`.

    Raises:
        WrongCall: no such notebook, or a parameter that it does not have, or of another type.
        ValueError: a file that is no notebook.
        PapermillExecutionError: a cell raised.
        Stopped: a cell ended Python, or the kernel was killed.
    """
    notebook, output = Path(notebook).resolve(), Path(output).resolve()
    values = injected(notebook, parameters)
    output.parent.mkdir(parents=True, exist_ok=True)
    partial = output.with_suffix(".partial.ipynb")
    started = time.time_ns()
    try:
        ran = papermill.execute_notebook(
            *(str(path).replace("{", "{{").replace("}", "}}") for path in (notebook, partial)),  # it formats them
            parameters=values,
            cwd=str(notebook.parent),
            kernel_name="python3",
            language="python",
            kernel_manager_class=ThisPython,
            on_cell_executed=_went_on,
            progress_bar=sys.stderr.isatty(),
        )
    except Exception as error:
        if partial.exists():
            partial.replace(failed_path(output))
        if isinstance(error, DeadKernelError):
            last = max(cell.get("execution_count") or 0 for cell in executed.read(failed_path(output)).cells)
            raise Stopped(f"the kernel was killed, or died, in cell [{last}]") from error
        raise
    except KeyboardInterrupt:
        partial.unlink(missing_ok=True)
        raise
    nbformat.write(strip(ran), partial)
    os.utime(partial, ns=(started, started))
    partial.replace(output)
    failed_path(output).unlink(missing_ok=True)


def _went_on(cell: nbformat.NotebookNode, cell_index: int, execute_reply: Mapping[str, Any]) -> None:
    """Raises Stopped after a cell that ended Python: papermill takes `sys.exit(0)` and `exit()` for success."""
    reply, allowed = execute_reply["content"], "raises-exception" in cell.metadata.tags
    asked = any(payload["source"] == "ask_exit" for payload in reply.get("payload", ()))
    if asked or (reply.get("ename") == "SystemExit" and not allowed):
        raise Stopped(f"cell [{cell.execution_count}] ended Python ({'exit' if asked else 'SystemExit'})")


def refresh(notebook: Path) -> None:
    """Executes a notebook with its own parameters and writes the result over it, if the whole of it ran."""
    run(notebook, notebook, {})


def injected(path: Path, parameters: Mapping[str, Any]) -> dict[str, Any]:
    """The parameters with values of the types that the notebook's cell tagged `parameters` gives them.

    Raises:
        WrongCall: no such notebook, a name that its cell does not set (papermill only warns), or another type.
        ValueError: a file that is no notebook.
    """
    if not path.is_file():
        raise WrongCall(f"notebook: wanted an existing .ipynb file; came {str(path)!r}")
    notebook = executed.read(path)
    notebook.metadata.kernelspec = get_kernel_dict() | {"name": "python3"}  # which it may lack
    known = papermill.inspect_notebook(notebook)
    if unknown := [name for name in parameters if name not in known]:
        wanted = ", ".join(sorted(known)) or "none (no cell tagged 'parameters')"
        raise WrongCall(f"parameter of {path.name}: wanted {wanted}; came {unknown[0]!r}")
    return {name: typed(f"{path.name}: {name}", known[name]["default"], given) for name, given in parameters.items()}


def strip(notebook: nbformat.NotebookNode) -> nbformat.NotebookNode:
    """Removes, in place, what differs between two equal runs; outputs, counts and cell ids stay.

    This is what nbstripout removes with the options in the Makefile. The injected cell, whose id papermill draws at
    random, gets a fixed one. The streams of a cell are merged here: nbclient's own merging takes quadratic time.
    """
    for part, key in product((notebook, *notebook.cells), ("papermill", "execution")):
        part.metadata.pop(key, None)
    for cell in notebook.cells:
        if "injected-parameters" in cell.metadata.get("tags", []):
            cell.id = "injected-parameters"
        if cell.cell_type == "code":
            cell.outputs = merged(cell.outputs)
    return notebook


def merged(outputs: Sequence[nbformat.NotebookNode]) -> list[nbformat.NotebookNode]:
    """A cell's outputs with each stream in one, where it began; of each line, what was written after its last return.

    Where both streams begin side by side, stdout is first, since their order is not given.
    """
    texts: dict[str, list[str]] = {}
    kept = []
    for output in outputs:
        if output.output_type != "stream":
            kept.append(output)
            continue
        if output.name not in texts:
            stderr_before = output.name == "stdout" and kept and kept[-1].get("name") == "stderr"
            kept.insert(len(kept) - bool(stderr_before), output)
        texts.setdefault(output.name, []).append(output.text)
    for output in kept:
        if output.output_type == "stream":
            lines = "".join(texts[output.name]).split("\n")
            output.text = "\n".join(line[line.rfind("\r", 0, -1) + 1 :] for line in lines)
    return kept


def failed_path(output: Path) -> Path:
    """Where the remains of a failed run are kept."""
    return output.with_suffix(".failed.ipynb")


def typed(name: str, default: str, given: Any) -> Any:
    """A parameter's value of the type of its default; a text is read as `literal` reads it, if the default is none.

    Args:
        name: for errors.
        default: as the notebook has it; a default that is None, or no literal, takes any type.
        given: a text, or a value.

    Raises:
        WrongCall: it has another type.
    """
    usual = None
    with contextlib.suppress(ValueError, SyntaxError):
        usual = ast.literal_eval(default)
    value = literal(given) if isinstance(given, str) and not isinstance(usual, str) else given
    if type(usual) is float and type(value) is int:
        value = float(value)
    if usual is not None and type(value) is not type(usual):
        raise WrongCall(f"{name}: wanted {type(usual).__name__}, as in {default}; came {given!r}")
    return value


def literal(text: str) -> Any:
    """A typed value: true, false, null or None, a number (`007` is 7), a Python literal, else the text."""
    if text.lower() in WORDS:
        return WORDS[text.lower()]
    for read in (int, float, ast.literal_eval):
        with contextlib.suppress(ValueError, SyntaxError):
            return read(text)
    return text


def named_texts(pairs: Sequence[tuple[str, str]]) -> dict[str, str]:
    """The `-p NAME VALUE` pairs as a mapping; raises WrongCall where a name comes twice."""
    values: dict[str, str] = {}
    for name, text in pairs:
        if name in values:
            raise WrongCall(f"parameter {name!r}: wanted one value; came {values[name]!r} and {text!r}")
        values[name] = text
    return values


class _Pairs(argparse.ArgumentParser):
    """Takes the second word after `-p` as it is, where argparse would take `-1e-3` for an option."""

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """argparse's own, with a space before such words: what has a space is no option."""
        before = [None, None, *args]
        shifted = [f" {word}" if two_before == "-p" else word for two_before, word in zip(before, args, strict=False)]
        return super().parse_known_args(shifted, namespace)


def options(parser: argparse.ArgumentParser) -> None:
    """Adds the verb's own options."""
    verbs = parser.add_subparsers(dest="action", required=True, parser_class=_Pairs)
    one = verbs.add_parser("run", help="execute NOTEBOOK with parameters and write OUTPUT")
    one.add_argument("notebook", type=Path)
    one.add_argument("output", type=Path)
    one.add_argument("-p", dest="pairs", nargs=2, action="append", default=[], metavar=("NAME", "VALUE"))
    several = verbs.add_parser("refresh", help="execute each NOTEBOOK in place with its own parameters")
    several.add_argument("notebooks", type=Path, nargs="+")


def main(given: argparse.Namespace, runner: Runner) -> int:
    """Runs notebooks; returns the exit status: 0 done, 1 a cell failed, 130 interrupted."""
    if given.action == "run":
        pairs = [(name, text.removeprefix(" ")) for name, text in given.pairs]
        return reported(given.notebook, given.output, named_texts(pairs))
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
    except Stopped as failure:
        print(f"{notebook}: {failure}; what ran is kept as {failed_path(output)}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(f"{notebook}: interrupted; {output} was not written", file=sys.stderr)
        return 130
    print(f"{output}: ran in {time.monotonic() - started:.0f} s")
    return 0
