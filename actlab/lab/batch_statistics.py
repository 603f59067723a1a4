"""Functions that see their batch, as lists of operations with sums over a tensor's axes and rolls, written as C (ours).

Such a function has no slope. Its list computes from the input (0) and from the derivative by its value (1) the value
and the derivative by its input. A sum ends a pass over the tensor [rows, units], and so does a roll, but for one of the
input; a pass computes anew what it needs of elements, and keeps only sums and what is rolled. Means and variances are
written with sums, whose divisors belong to a shape: a function has a list for batches, and one for all points at once.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from actlab.lab.operations import MOST, NUMBER, TABLE, Operation, Unlisted, checked, declarations, step_text

SUMS = {"sum": "", "sum_rows": "c", "sum_columns": "r"}  # along which axes the result varies, of columns and rows
ROLLS = ("roll_columns", "roll_rows")  # around an axis: along a row, which has all columns, and along a column
WITH_SUMS = TABLE | {name: Operation(NUMBER, NUMBER, "") for name in SUMS}
WITH_SUMS |= {name: Operation(NUMBER * 2, NUMBER, "") for name in ROLLS}  # of an element, by a constant
FARTHEST = 4096  # that something is rolled
PARTS = ("batch", "whole")  # the lists of a function: for batches of the training size, and for all points as one


def checked_lists(steps: Any) -> dict[str, Any]:
    """The lists, if they are such.

    Raises:
        Unlisted: where they have another form, or one of them is no list.
    """
    if not isinstance(steps, dict) or sorted(steps) != sorted(PARTS):
        raise Unlisted(f"wanted lists for {' and '.join(PARTS)}")
    for part in PARTS:
        _checked(steps[part])
    return steps


def _checked(steps: Any) -> list[list[Any]]:
    """A list without its results; each pass may compute all steps anew, so that their number is bounded together."""
    listed = checked(steps, inputs=2, table=WITH_SUMS)[:-2]
    axes = _axes(dict(enumerate(listed, 2)))
    for place, (name, *arguments) in enumerate(listed, 1):
        if name in ROLLS:
            of, by = arguments
            if type(by) is not float or by != int(by) or abs(by) > FARTHEST:
                raise Unlisted(f"step {place}: {name} wants a whole number up to {FARTHEST}")
            if type(of) is not int or len(axes[of]) < 2:
                raise Unlisted(f"step {place}: {name} wants what varies along both axes")
    passes = 1 + sum(step[0] in (*SUMS, *ROLLS) for step in listed)
    if passes * len(listed) > 2 * MOST:
        raise Unlisted(f"wanted at most {2 * MOST} steps in all passes; got {len(listed)} in {passes} passes")
    return listed


def c_source(steps: Any) -> str:
    """The C of `forward` and `backward`, (z, d, rows, units, used, out, room, most): one list, which is checked.

    Both read z [rows, units] and write `out`, of the same shape: the value, or the derivative by z where d is that by
    the value. Units beyond those in use count for nothing, and stay 0. There is room for `sums` times `most` numbers,
    at least the larger of rows and units, and after these for `rolled` tensors.

    Raises:
        Unlisted: where the list is none.
    """
    listed = _checked(steps)
    value, derivative = steps[-2:]
    functions = _function("forward", listed, value), _function("backward", listed, derivative)
    return "\n".join([*declarations(listed), _HELPERS, *functions])


def sums(steps: Sequence[Any]) -> int:
    """How many sums a list keeps as arrays."""
    return sum(step[0] in ("sum_rows", "sum_columns") for step in steps[:-2])


def rolled(steps: Sequence[Any]) -> int:
    """How many tensors a list keeps, to roll them."""
    return len({step[1] for step in steps[:-2] if step[0] in ROLLS} - {0})


_HELPERS = """\
static inline T all(vec a)
{
    T total = 0;
    for (long j = 0; j < V; j++) total += a[j];
    return total;
}
static inline long around(long place, long size) { return (place % size + size) % size; }
static inline vec along(const T *row, long from, long used)
{
    vec a;
    if (from + V <= used) return *(const loose *)(row + from);
    for (long j = 0; j < V; j++) {
        a[j] = row[from];
        if (++from == used) from = 0;
    }
    return a;
}"""


def _axes(steps: dict[int, Any]) -> dict[int, set[str]]:
    """Along which axes, of columns and rows, the inputs and each step vary."""
    axes: dict[int, set[str]] = {0: {"c", "r"}, 1: {"c", "r"}}
    for place, (operation, *arguments) in steps.items():
        before = [axes[argument] for argument in arguments if type(argument) is int]
        axes[place] = set(SUMS[operation]) if operation in SUMS else set().union(*before)
    return axes


def _function(name: str, listed: Sequence[Any], result: int) -> str:
    steps = dict(enumerate(listed, 2))
    axes, level = _axes(steps), {0: 0, 1: 0}
    for place, (operation, *arguments) in steps.items():
        ends = operation in SUMS or (operation in ROLLS and arguments[0] != 0)
        level[place] = max((level[i] for i in arguments if type(i) is int), default=0) + ends
    needed = _needed([result], steps, set())
    kept = [place for place in sorted(needed) if place in steps and steps[place][0] in ("sum_rows", "sum_columns")]
    turned = sorted({steps[i][1] for i in needed & steps.keys() if steps[i][0] in ROLLS} - {0})
    lines = [f"void {name}(const T *z, const T *d, long rows, long units, long used, T *out, T *room, long most)", "{"]
    lines += [f"    T *const a{place} = room + {i} * most;" for i, place in enumerate(kept)]
    lines += [f"    T *const b{of} = room + {len(kept)} * most + {i} * rows * units;" for i, of in enumerate(turned)]
    for now in range(level[result] + 1):
        lines += [
            f"    {step_text(place, steps[place])}"
            for place in sorted(needed & steps.keys())
            if level[place] == now and not axes[place] and steps[place][0] not in SUMS
        ]
        new = [i for i in sorted(needed & steps.keys()) if level[i] == now + 1]
        ended = [i for i in new if steps[i][0] in SUMS or (steps[i][0] in ROLLS and steps[i][1] != 0)]
        final = result if now == level[result] else None
        if ended or final is not None:
            lines += _pass(steps, axes, ended, final)
    return "\n".join([*lines, "}", ""])


def _pass(steps: dict[int, Any], axes: dict[int, set[str]], ended: Sequence[int], final: int | None) -> list[str]:
    """One pass over the tensor, after which some sums are known, or the result is written."""
    seen = [steps[i][1] for i in ended] + ([] if final is None else [final])
    columns, rows = _elements(steps, axes, [i for i in seen if type(i) is int])
    opening, opened, closed, after = [], [], [], []
    rows += [
        f"*(vec *)(b{of} + r * units + c) = s{of};"
        for of in sorted({steps[i][1] for i in ended if steps[i][0] in ROLLS})
    ]
    for i in ended:
        if steps[i][0] in ROLLS:
            continue
        (argument,) = steps[i][1:]
        part = f"s{argument}" if type(argument) is int else f"K({argument!r})"
        if steps[i][0] == "sum":
            opening.append(f"vec t{i} = {{}};")
            rows.append(f"t{i} += PICK(on, {part}, K(0));")
            after.append(f"const vec s{i} = (vec){{}} + all(t{i});")
        elif steps[i][0] == "sum_rows":
            opened.append(f"vec t{i} = {{}};")
            rows.append(f"t{i} += {part};")
            closed.append(f"*(vec *)(a{i} + c) = t{i};")
        else:
            opening.append(f"for (long r = 0; r < rows; r++) a{i}[r] = 0;")
            rows.append(f"a{i}[r] += all(PICK(on, {part}, K(0)));")
    if final is not None:
        rows.append(f"*(vec *)(out + r * units + c) = PICK(on, s{final}, K(0));")
    return [
        *(f"    {line}" for line in opening),
        "    for (long c = 0; c < units; c += V) {",
        "        lanes on;",
        "        for (long j = 0; j < V; j++) on[j] = -(c + j < used);",
        *(f"        {line}" for line in (*columns, *opened)),
        "        for (long r = 0; r < rows; r++) {",
        *(f"            {line}" for line in rows),
        "        }",
        *(f"        {line}" for line in closed),
        "    }",
        *(f"    {line}" for line in after),
    ]


def _elements(steps: dict[int, Any], axes: dict[int, set[str]], results: Sequence[int]) -> tuple[list[str], list[str]]:
    """What a pass computes of a column, and of each element in it, up to some results."""
    inside = sorted(_needed(results, steps, {i for i in axes if not axes[i]} | _kept(steps)))
    own = [i for i in inside if i in steps and steps[i][0] not in (*SUMS, *ROLLS)]
    columns = [f"const vec s{i} = *(const vec *)(a{i} + c);" for i in inside if _is(steps, i, "sum_rows")]
    columns += [step_text(i, steps[i]) for i in own if axes[i] == {"c"}]
    rows = [f"const vec s{i} = *(const vec *)({'zd'[i]} + r * units + c);" for i in inside if i < 2]
    rows += [f"const vec s{i} = (vec){{}} + a{i}[r];" for i in inside if _is(steps, i, "sum_columns")]
    rows += [_turned(i, *steps[i]) for i in inside if i in steps and steps[i][0] in ROLLS]
    rows += [step_text(i, steps[i]) for i in own if "r" in axes[i]]
    return columns, rows


def _turned(place: int, name: str, of: int, by: float) -> str:
    """The C of a vector of what was rolled."""
    tensor = f"b{of}" if of else "z"
    if name == "roll_rows":
        return f"const vec s{place} = *(const vec *)({tensor} + around(r - {int(by)}, rows) * units + c);"
    return f"const vec s{place} = along({tensor} + r * units, around(c - {int(by)}, used), used);"


def _is(steps: dict[int, Any], place: int, name: str) -> bool:
    return place in steps and steps[place][0] == name


def _kept(steps: dict[int, Any]) -> set[int]:
    return {place for place, step in steps.items() if step[0] in (*SUMS, *ROLLS)}


def _needed(results: Sequence[int], steps: dict[int, Any], known: set[int]) -> set[int]:
    """The steps and inputs from which results are computed; no further back than what is known, which is among them."""
    found, open_ = set(), list(results)
    while open_:
        place = open_.pop()
        if place not in found:
            found.add(place)
            if place in steps and place not in known:
                open_ += [argument for argument in steps[place][1:] if type(argument) is int]
    return found
