"""The synthetic lab: tasks, the training of many small networks at once, a plain reference, labs of other settings."""

from actlab import face

__all__, __getattr__, __dir__ = face(
    __name__, ("feynman", "reference", "tasks", "tracing", "training", "training_view", "variant")
)
