"""What readers see.

- `figures`: every figure, by study;
- `page`: captions and sentences of notebooks;
- `views`: tables and words on images, algorithms and molecules;
- `downstream`: what the notebooks on them have in common;
- `claims`: each claim with its numbers and verdict;
- `readme`: README's and docs/claims.md's numbers;
- `cards`: what to know of a function;
- `explorer`: type a function, see its plot, cost and score;
- `site`: the static site;
- `executed`: what executed notebooks drew;
- `run_notebooks`: runs notebooks for make;
- `bench`: what `make bench` measures.
"""

from actlab import face

__all__, __getattr__, __dir__ = face(__name__, __path__)
