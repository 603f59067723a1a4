"""Figures: the shared style and drawing, and those of each study."""

from actlab import face

__all__, __getattr__, __dir__ = face(
    __name__,
    ("constants", "draw", "lab", "multiverse", "search", "spectra", "style", "tasks", "transfer"),
)
