"""actlab: a reproducible companion to "Mining Generalizable Activation Functions".

What is in a package is imported when it is first used, so that `import actlab` takes no time and
`actlab.activations.gelu_sine(x)` needs no other import. `__version__` is the installed version.
"""

import importlib
import sys
from collections.abc import Callable, Sequence


def face(
    package: str, modules: Sequence[str], whole: str | None = None
) -> tuple[tuple[str, ...], Callable[[str], object], Callable[[], list[str]]]:
    """What a package shows: `__all__`, `__getattr__` and `__dir__` of its `__init__`, which import nothing by themselves.

    Args:
        package: its name.
        modules: its modules and packages.
        whole: one of them, whose public names are the package's too.
    """

    def get(name: str) -> object:
        if name in modules:
            return importlib.import_module(f"{package}.{name}")
        if whole is not None and not name.startswith("__"):
            inner = importlib.import_module(f"{package}.{whole}")
            if name in vars(inner):
                return vars(inner)[name]
        raise AttributeError(f"module {package!r}: wanted one of {', '.join(names())}; came {name!r}")

    def names() -> list[str]:
        inner = importlib.import_module(f"{package}.{whole}").__all__ if whole else ()
        return sorted([*modules, *inner])

    return tuple(modules), get, names


_PACKAGES = ("activations", "candidates", "core", "lab", "report", "scoring", "search", "studies", "transfer")
__all__, _get, _names = face(__name__, _PACKAGES)


class _Learnable:
    """Finds `actlab.learnable`, as `actlab.activations.trainable` was called before."""

    @staticmethod
    def find_spec(name: str, path: object = None, target: object = None) -> object:
        """The spec of that module, under its old name."""
        if name != f"{__name__}.learnable":
            return None
        module = importlib.import_module(f"{__name__}.activations.trainable")
        return importlib.util.spec_from_loader(name, _Loaded(module))


class _Loaded:
    """A loader of a module that is there."""

    def __init__(self, module: object) -> None:
        self.module = module

    def create_module(self, spec: object) -> object:
        return self.module

    def exec_module(self, module: object) -> None:
        pass


def __getattr__(name: str) -> object:
    """A package, imported now, or the version, looked up now.

    Raises:
        AttributeError: `name` is neither.
    """
    if name == "__version__":
        return importlib.import_module("importlib.metadata").version(__name__)
    if name == "learnable":
        return importlib.import_module(f"{__name__}.activations.trainable")
    return _get(name)


def __dir__() -> list[str]:
    """The names that tab completion shows."""
    return sorted([*globals(), *__all__, "__version__"])
