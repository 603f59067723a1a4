"""What `make bench` measures on this machine: the lab, searches, and functions."""

from actlab import face

__all__, __getattr__, __dir__ = face(__name__, ("costs", "lab", "search"))
