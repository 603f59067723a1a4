"""What readers see: figures, claims, cards, the explorer, the site, the README's numbers; and how notebooks are run."""

from actlab import face

__all__, __getattr__, __dir__ = face(
    __name__, ("bench", "cards", "claims", "executed", "explorer", "figures", "page", "readme", "run_notebooks", "site")
)
