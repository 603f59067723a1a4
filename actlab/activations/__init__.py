"""The functions of the paper and their rivals as drop-in torch code: `get(name)`, `names()`, each by its own name.

`zoo` defines them, and `trainable` makes modules of them whose constants are learned.
"""

from actlab import face

__all__, __getattr__, __dir__ = face(__name__, ("trainable", "zoo"), whole="zoo")
