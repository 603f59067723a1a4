"""What `make bench` measures on this machine.

- `lab`: the lab, and the verb;
- `search`: searches;
- `costs`: hours of the full data sets.
"""

from actlab import face

__all__, __getattr__, __dir__ = face(__name__, __path__)
