"""actlab: a reproducible companion to "Mining Generalizable Activation Functions".

- `activations`: the functions, as plain torch code, by name, and with constants that are trained;
- `candidates`: what a program that a search proposes may be written with, and what it is;
- `lab`: the synthetic tasks, and the training of many small networks on them;
- `scoring`: how a candidate gets its score, from a confined process to a profile's table of losses;
- `search`: the evolutionary search, its proposers, and what came of a run;
- `transfer`: images, molecules and algorithms, and whether functions help there;
- `studies`: trust in the lab, constants, frequencies, and labs drawn at random;
- `report`: figures, claims, the site, the explorer, and how notebooks are run;
- `core`: settings, records, statistics, and the runner of long jobs, on which all of this stands.

What is in a package is imported when it is first used, so that `import actlab` takes no time and
`actlab.activations.gelu_sine(x)` needs no other import. `__version__` is the installed version. `activations` needs
torch alone; what needs more raises `NotInstalled`, which names the extra to install, such as `actlab[lab]`.
"""

import importlib.abc
import pkgutil
import sys
from collections.abc import Callable, Iterable
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from actlab import activations as activations

Face = tuple[list[str], Callable[[str], object], Callable[[], list[str]]]


def face(package: str, path: Iterable[str], whole: str | None = None) -> Face:
    """What a package shows: `__all__`, `__getattr__` and `__dir__` of its `__init__`; it imports what is used.

    Args:
        package: its name.
        path: its `__path__`, whose modules and packages it shows.
        whole: one of them, whose public names are the package's too.
    """
    modules = [module.name for module in pkgutil.iter_modules(path) if not module.name.startswith("_")]

    def inner() -> ModuleType:
        return importlib.import_module(f"{package}.{whole}")

    def get(name: str) -> object:
        if name in modules:
            return importlib.import_module(f"{package}.{name}")
        if whole is not None and not name.startswith("__") and hasattr(inner(), name):
            return getattr(inner(), name)
        raise AttributeError(f"module {package!r}: wanted one of {', '.join(names())}; came {name!r}")

    def names() -> list[str]:
        own = {} if whole is None else {name: getattr(inner(), name) for name in dir(inner())}
        shown = [name for name, value in own.items() if getattr(value, "__module__", "").startswith(f"{package}.")]
        return sorted([*modules, *(name for name in shown if not name.startswith("_"))])

    return modules, get, names


__all__, _get, _names = face(__name__, __path__)


# What each extra of pyproject.toml brings, by the names under which this package imports it.
_EXTRAS = {
    "lab": ("numpy", "scipy", "pandas", "pyarrow", "matplotlib", "seaborn", "tqdm"),
    "search": ("anthropic", "httpx2"),
    "cluster": ("distributed",),
    "benchmarks": ("PIL", "sklearn", "torch_geometric", "rdkit", "ogb"),
    "notebooks": (
        "IPython", "ipykernel", "ipywidgets", "jinja2", "jupyter_client", "latex2mathml", "mistune", "nbclient",
        "nbconvert", "nbformat", "papermill", "pygments", "traitlets",
    ),
}  # fmt: skip


class NotInstalled(ModuleNotFoundError):
    """A module of this package needs a package that is not installed; one line names the extra which brings it."""


class _Last(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Asked for what nothing else finds: `actlab.learnable`, now `activations.trainable`, and what is not installed."""

    def find_spec(self, name: str, path: object = None, target: object = None) -> ModuleSpec | None:
        """The spec of `actlab.learnable`; raises NotInstalled where this package imports what is not installed."""
        if name == f"{__name__}.learnable":
            return ModuleSpec(name, self)
        if extra := next((extra for extra, brought in _EXTRAS.items() if name in brought), None):
            frame = sys._getframe(1)
            while (importer := frame.f_globals.get("__name__", "")).startswith(("importlib", "_frozen")):
                frame = frame.f_back
            if importer.startswith(f"{__name__}."):
                raise NotInstalled(f"{importer} needs {name}: wanted the extra actlab[{extra}]; came none", name=name)
        return None

    def exec_module(self, module: ModuleType) -> None:
        """Fills it with what the other one has."""
        other = vars(importlib.import_module(f"{__name__}.activations.trainable"))
        vars(module).update({name: value for name, value in other.items() if not name.startswith("__")})


sys.meta_path.append(_Last())


def __getattr__(name: str) -> object:
    """A package, imported now, or the version, looked up now.

    Raises:
        AttributeError: `name` is neither.
    """
    if name == "__version__":
        return importlib.import_module("importlib.metadata").version(__name__)
    if name == "learnable":
        return importlib.import_module(f"{__name__}.learnable")
    return _get(name)


def __dir__() -> list[str]:
    """The names that tab completion shows."""
    return sorted([*globals(), *__all__, "__version__"])
