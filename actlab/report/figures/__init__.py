"""Figures: the shared style and drawing, and those of each study."""

from actlab import face

__all__, __getattr__, __dir__ = face(__name__, ("constants", "multiverse", "spectra", "style", "tasks", "transfer"))
