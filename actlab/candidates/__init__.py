"""What a candidate program may be: the language, its check, its cost and traits, and formulas as programs."""

from actlab import face

__all__, __getattr__, __dir__ = face(__name__, ("expression", "language", "profiling", "program", "static_bounds"))
