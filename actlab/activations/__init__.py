"""The functions of the paper and their rivals as drop-in torch code: `get(name)`, `names()`, each by its own name.

- `zoo`: each function and its entry in the registry;
- `registry`: functions by name, as modules and as candidate programs;
- `trainable`: modules whose constants are trained;
- `tables`: which function stands in which table.
"""

from typing import TYPE_CHECKING

from actlab import face

if TYPE_CHECKING:  # what an editor reads: the functions, and any other name as a module class, such as GELUSine
    from actlab.activations import registry as registry
    from actlab.activations import tables as tables
    from actlab.activations import trainable as trainable
    from actlab.activations import zoo as zoo
    from actlab.activations.zoo import *  # noqa: F403
    from actlab.activations.zoo import ActivationModule as ActivationModule

    def __getattr__(name: str) -> type[ActivationModule]: ...
else:
    __all__, __getattr__, __dir__ = face(__name__, __path__, whole="zoo")  # noqa: F405
