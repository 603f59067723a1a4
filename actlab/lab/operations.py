"""Pointwise functions as lists of operations: plain data, checked against one table, and written as C (ours).

A confined process may not make machine code. It sends what a candidate does as a list; this module checks the list and
writes C from the table's templates alone, so that no text of a candidate reaches a compiler.

A list has one step an operation, `[name, *arguments]`. An argument is the number of an earlier step, as an int (0 is
the input, the first step is 1), or a constant, as a float. The last two entries are the steps of value and slope. Where
a function of our own has constants that are learned, their numbers follow on the input's, before the first step's; the
partial derivatives by them are further results.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

MOST = 2_000  # steps of a list; the longest of the zoo's has about 200
NUMBER, TRUTH = "n", "t"


@dataclass(frozen=True)
class Operation:
    """An entry of the table: the kinds of its arguments and of its result, n for a number and t for a truth, and C."""

    arguments: str
    result: str
    text: str  # {0}, {1}, ... stand for the arguments


# Functions of the C library, of one argument and of two: those that glibc has for vectors, and others.
VECTOR = {
    1: [
        "acos",
        "acosh",
        "asin",
        "asinh",
        "atan",
        "atanh",
        "cos",
        "cosh",
        "erf",
        "erfc",
        "exp",
        "exp2",
        "expm1",
        "log",
        "log10",
        "log1p",
        "log2",
        "sin",
        "sinh",
        "tan",
        "tanh",
    ],
    2: ["atan2", "hypot", "pow"],
}
ELEMENTS = {1: ["ceil", "floor", "lgamma", "rint", "sqrt", "trunc"], 2: ["fmod"]}


def _table() -> dict[str, Operation]:
    found = {}
    for functions in (VECTOR, ELEMENTS):
        for count, names in functions.items():
            given = ", ".join(f"{{{place}}}" for place in range(count))
            found |= {name: Operation("n" * count, "n", f"{name}_({given})") for name in names}
    signs = {"add": "+", "sub": "-", "mul": "*", "div": "/"}
    found |= {name: Operation("nn", "n", f"{{0}} {sign} {{1}}") for name, sign in signs.items()}
    signs = {"lt": "<", "le": "<=", "gt": ">", "ge": ">=", "eq": "==", "ne": "!="}
    found |= {name: Operation("nn", "t", f"{{0}} {sign} {{1}}") for name, sign in signs.items()}
    signs = {"and": "&", "or": "|", "xor": "^"}
    found |= {name: Operation("tt", "t", f"{{0}} {sign} {{1}}") for name, sign in signs.items()}
    return found | {
        "abs": Operation("n", "n", "(vec)((lanes){0} & ~SIGN)"),
        "copysign": Operation("nn", "n", "(vec)(((lanes){0} & ~SIGN) | ((lanes){1} & SIGN))"),
        "neg": Operation("n", "n", "-{0}"),
        "sign": Operation("n", "n", "PICK({0} > 0, K(1), K(0)) - PICK({0} < 0, K(1), K(0))"),
        # Both keep a NaN of either argument, as torch's do.
        "maximum": Operation("nn", "n", "PICK(({0} > {1}) | ({0} != {0}), {0}, {1})"),
        "minimum": Operation("nn", "n", "PICK(({0} < {1}) | ({0} != {0}), {0}, {1})"),
        "not": Operation("t", "t", "~{0}"),
        "isnan": Operation("n", "t", "{0} != {0}"),
        "number": Operation("t", "n", "PICK({0}, K(1), K(0))"),
        "truth": Operation("n", "t", "{0} != 0"),
        "where": Operation("tnn", "n", "PICK({0}, {1}, {2})"),
    }


TABLE = _table()


class Unlisted(ValueError):
    """A function that is no list of the table's operations; says why."""


def checked(steps: Any, constants: int = 0, inputs: int = 1, table: Mapping[str, Operation] = TABLE) -> list[list[Any]]:
    """The list, if it is one.

    Args:
        steps: what should be one.
        constants: how many the function learns.
        inputs: how many it has besides.
        table: of what its steps may be.

    Raises:
        Unlisted: where it has another form, is too long, or has a step that is none of the table's.
    """
    results = 2 + constants
    if not isinstance(steps, list) or not 1 <= len(steps) - results <= MOST:
        raise Unlisted(f"wanted 1 to {MOST} steps, and {results} numbers of steps")
    if not all(type(i) is int for i in steps[-results:]):
        raise Unlisted(f"wanted {results} numbers of steps as the last entries")
    kinds = [NUMBER] * (inputs + constants)
    for place, step in enumerate(steps[:-results], 1):
        if not isinstance(step, list) or not step or not isinstance(step[0], str) or step[0] not in table:
            raise Unlisted(f"step {place}: wanted an operation of the table")
        operation = table[step[0]]
        if len(step) - 1 != len(operation.arguments):
            raise Unlisted(f"step {place}: {step[0]} wants {len(operation.arguments)} arguments; got {len(step) - 1}")
        for argument, wanted in zip(step[1:], operation.arguments, strict=True):
            _refuse_other(argument, wanted, kinds, f"step {place}: {step[0]}")
        kinds.append(operation.result)
    for result in steps[-results:]:
        _refuse_other(result, NUMBER, kinds, "the results")
    return steps


def _refuse_other(argument: Any, wanted: str, kinds: Sequence[str], where: str) -> None:
    if type(argument) is float:
        kind = NUMBER
        if not math.isfinite(argument):
            raise Unlisted(f"{where} wants finite constants")
    elif type(argument) is int and 0 <= argument < len(kinds):
        kind = kinds[argument]
    else:
        raise Unlisted(f"{where} wants earlier steps and constants")
    if kind != wanted:
        names = {NUMBER: "a number", TRUTH: "a truth"}
        raise Unlisted(f"{where} wants {names[wanted]}; got {names[kind]}")


def c_source(steps: Any, constants: int = 0) -> str:
    """The C of `act(z, constants, n, value, slope, partials, apart)`.

    It writes values and slopes at n numbers z, whole vectors of them, and the partial derivatives by so many learned
    constants, each `apart` numbers from the one before. Before it belongs `vectors.h`. The list of operations is
    checked.

    Raises:
        Unlisted: where the list is none.
    """
    given = [f"        const vec s{place} = (vec){{}} + constants[{place - 1}];" for place in range(1, constants + 1)]
    listed = checked(steps, constants)[: -2 - constants]
    body = [_OPENING, *given, *(f"        {step_text(i, step)}" for i, step in enumerate(listed, 1 + constants))]
    value, slope, *partials = map(argument_text, steps[-2 - constants :])
    ending = [
        f"        *(loose *)(value + i) = {value};",
        f"        *(loose *)(slope + i) = {slope};",
        *(f"        *(loose *)(partials + {place} * apart + i) = {by};" for place, by in enumerate(partials)),
        "    }",
        "}",
        "",
    ]
    return "\n".join([*declarations(listed), *body, *ending])


def step_text(place: int, step: Sequence[Any]) -> str:
    """The C of a step of the table that is not a sum."""
    name, *arguments = step
    kind = "vec" if TABLE[name].result == NUMBER else "lanes"
    return f"const {kind} s{place} = {TABLE[name].text.format(*map(argument_text, arguments))};"


def declarations(steps: Sequence[Sequence[Any]]) -> list[str]:
    """What stands before functions that call the C library as these steps do."""
    used = {name for name, *_ in steps}
    return [_declared(name, count) for count in (1, 2) for name in sorted(used & {*VECTOR[count], *ELEMENTS[count]})]


def _declared(name: str, count: int) -> str:
    """What stands before a function that calls one of the C library."""
    arguments = ", ".join(["vec"] * count)
    if name in VECTOR[count]:
        return f"__attribute__((const)) vec MANY{count}({name})({arguments});\n#define {name}_ MANY{count}({name})"
    return f"EACH{count}({name})"


_OPENING = """\
void act(const T *z, const T *constants, long n, T *value, T *slope, T *partials, long apart)
{
    for (long i = 0; i < n; i += V) {
        const vec s0 = *(const loose *)(z + i);"""


def argument_text(argument: int | float) -> str:
    """The C of an argument of a step."""
    return f"s{argument}" if isinstance(argument, int) else f"K({argument!r})"
