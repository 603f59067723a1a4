"""How a candidate comes to its score: confined processes that train it, the pool of them, and the judge outside."""

from actlab import face

__all__, __getattr__, __dir__ = face(
    __name__,
    (
        "canary",
        "confinement",
        "evaluator",
        "forkserver",
        "laboratory",
        "messages",
        "pool",
        "sandbox",
        "summaries",
        "worker",
    ),
)
