"""The text of a candidate as a syntax tree, taken out of what a language model writes around it (ours)."""

from __future__ import annotations

import ast
import re
import textwrap
import warnings

from actlab.candidates.language import Refused, short

_FENCE = re.compile(r"(?:`{3,}|~{3,})(?:[ \t]*(?:python|py)\d?\b)?", re.IGNORECASE)
_CODE = re.compile(r"(?:async|class|def|import|print|return)\b|@|\w+\s*=")  # how a line begins that is no prose
_INSIDE = re.compile(r"\s|[)\]}]|el(?:se|if)\b|$")  # how one begins that goes on with what is above
_UNREADABLE = re.compile("[\0\ud800-\udfff]")


def parsed(source: str) -> ast.Module:
    """The syntax tree of a text; raises Refused where it is not Python."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of odd spellings, which are no errors
            return ast.parse(source)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise not_python(error) from error


def not_python(error: Exception) -> Refused:
    """The refusal of a text that Python refuses."""
    reason = error.msg if isinstance(error, SyntaxError) else str(error)
    near = short(getattr(error, "text", None) or "")
    advice = f"mend the syntax near `{near}`" if near else "mend the syntax"
    return Refused(f"not Python ({short(reason, 120)})", getattr(error, "lineno", 1) or 1, advice)


def unwrapped(text: str) -> str | None:
    """The program that stands in fences of Markdown or among prose, on the lines where it was; None if there is none.

    A part between fences that defines no activation is prose, too. Broken code is not: `check` refuses it.
    """
    kept: list[str] = []
    for part in _FENCE.split(text):
        code = _without_prose(textwrap.dedent(part)) if re.search(r"\bdef\s+activation\b", part) else None
        known = code is None or code.strip() in map(str.strip, kept)  # a program may be shown twice
        kept.append("\n" * part.count("\n") if known else code)
    return "".join(kept) if any(map(str.strip, kept)) and not _UNREADABLE.search(text) else None


def _without_prose(text: str) -> str | None:
    """A text with empty lines in the place of prose; None if a line of code is broken."""
    if _read(text) is not None:
        return text
    pieces: list[str] = []  # a line that is not indented, with what belongs to it
    for line in text.split("\n"):
        if pieces and _INSIDE.match(line):
            pieces[-1] += f"\n{line}"
        else:
            pieces.append(line)
    for i, piece in enumerate(pieces):
        body = _read(piece) or []
        words = any(isinstance(n, ast.Expr) or (isinstance(n, ast.AnnAssign) and n.value is None) for n in body)
        if piece.strip() and (words or not body):
            if _CODE.match(piece):
                return None
            pieces[i] = "\n" * piece.count("\n")
    return "\n".join(pieces)


def _read(text: str) -> list[ast.stmt] | None:
    try:
        return parsed(text).body
    except Refused:
        return None
