"""What a candidate program may be, and what one is.

- `language`: what a program may be written with, and the rules that refuse the rest;
- `reading`: its text as a syntax tree, apart from fences and prose;
- `derivatives`: functions whose derivatives torch lacks;
- `program`: its check and its compilation;
- `static_bounds`: bounds of numbers and lengths, without running it;
- `cost`: floating-point operations of a forward and a backward pass;
- `profiling`: behaviour, traits and fingerprint, by running it;
- `expression`: an expression of x as a program.
"""

from actlab import face

__all__, __getattr__, __dir__ = face(__name__, __path__)
