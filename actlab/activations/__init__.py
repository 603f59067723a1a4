"""The functions of the paper and their rivals as drop-in torch code: `get(name)`, `names()`, each by its own name.

- `zoo`: each function and its entry in the registry;
- `registry`: functions by name, as modules and as candidate programs;
- `trainable`: modules whose constants are trained;
- `tables`: which function stands in which table.
"""

from actlab import face

__all__, __getattr__, __dir__ = face(__name__, __path__, whole="zoo")
