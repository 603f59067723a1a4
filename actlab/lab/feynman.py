"""Equations of the Feynman Lectures as regression targets: the physics family of the lab (paper, section 4).

The numbering is the AI-Feynman benchmark's (Udrescu & Tegmark, AI Feynman: a physics-inspired method for
symbolic regression, Science Advances 6, eaay2631, 2020): volume, chapter and equation of The Feynman Lectures
on Physics (Feynman, Leighton & Sands, 1963-65), with the trailing zeros that some tables of it drop.

Which equations the paper used, and on which ranges, is not known: the choice and every box are [ours].
- Variables are plain numbers without units. An equation has one to four of them; in some longer ones,
  quantities are set to 1 and named in `fixed`: constants of nature, and scales that only choose the units.
- Of equations that differ in letters, constant factors or shifts alone (m g z, q v r / 2) one is kept, so that
  no held-out equation is a search equation under another name.
- A box may be widened by 75 % of its half-ranges on every side: the formula stays finite, real and smooth.
  II.24.17 is left out, since it was 99 % a plane on the boxes tried that may be so widened.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Equation:
    """One equation, its variables and the widest range in which the lab trains on it.

    `formula` is its right-hand side in Python arithmetic with numpy's functions. `function` computes it: it takes the
    variables in order, as arrays of any one shape, and returns an array of that shape. `low` and `high` bound each.
    `fixed` names the benchmark's quantities that are set to 1 here, or to the value in the comment at the entry; hbar
    is h / (2 pi). `held_out` says whether it is kept for the held-out suites.
    """

    name: str
    formula: str
    variables: tuple[str, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]
    function: Callable[..., np.ndarray]
    held_out: bool
    fixed: tuple[str, ...] = ()


def equations(held_out: bool) -> tuple[Equation, ...]:
    """The pool for the held-out suites alone, or the one for calibration and search, in the table's order."""
    return tuple(equation for equation in EQUATIONS if equation.held_out == held_out)


_SIGNED = (-2.0, 2.0)  # charges, fields, positions: the sign may change
_FACTOR = (0.5, 2.0)  # positive quantities that multiply
_DIVISOR = (1.0, 2.0)  # positive quantities that divide: at least 0.625 in the widened box
_ANGLE = (-3.0, 3.0)  # radians: nearly a whole turn

_FUNCTIONS = ("arcsin", "cos", "cosh", "exp", "expm1", "log", "pi", "sin", "sinc", "sqrt", "tanh")
_NUMPY = {name: getattr(np, name) for name in _FUNCTIONS}

# Name, formula, range of each variable, what is fixed; by number of variables.
# fmt: off
_TABLE = (
    ("I.6.20a", "exp(-theta**2 / 2) / sqrt(2 * pi)", {"theta": (-2.5, 2.5)}),
    ("I.41.16", "omega**3 / (pi**2 * expm1(omega))", {"omega": (2.0, 6.0)}, "hbar", "c", "kb", "T"),
    ("II.11.3", "1 / (1 - omega**2)", {"omega": (-0.2, 0.5)}, "q", "Ef", "m", "omega_0"),
    ("II.35.18", "0.5 / cosh(B)", {"B": (-1.5, 2.5)}, "n_0", "mom", "kb", "T"),
    # omega_0 is 0: omega is the detuning; numpy's sinc is sin(pi x) / (pi x)
    ("III.9.52", "sinc(omega / (2 * pi))**2", {"omega": (-4.0, 10.0)}, "p_d", "Ef", "hbar", "t", "omega_0"),
    ("III.14.14", "expm1(Volt)", {"Volt": (-2.0, 1.0)}, "I_0", "q", "kb", "T"),
    # atomic units, in which 4 pi epsilon is 1 too
    ("III.19.51", "-1 / (2 * n**2)", {"n": (1.0, 1.8)}, "m", "q", "hbar", "epsilon"),
    ("I.6.20", "exp(-(theta / sigma)**2 / 2) / (sqrt(2 * pi) * sigma)", {"theta": (-2.5, 2.5), "sigma": (0.8, 2.0)}),
    ("I.12.5", "q2 * Ef", {"q2": _SIGNED, "Ef": _SIGNED}),
    ("I.14.4", "k_spring * x**2 / 2", {"k_spring": _FACTOR, "x": _SIGNED}),
    ("I.15.10", "m_0 * v / sqrt(1 - v**2)", {"m_0": _FACTOR, "v": (-0.5, 0.5)}, "c"),
    ("I.16.6", "(u + v) / (1 + u * v)", {"u": (-0.5, 0.5), "v": (0.2, 0.6)}, "c"),
    ("I.25.13", "q / C", {"q": _SIGNED, "C": _DIVISOR}),
    ("I.26.2", "arcsin(n * sin(theta2))", {"n": (0.1, 0.85), "theta2": (-0.6, 0.6)}),
    ("II.3.24", "Pwr / (4 * pi * r**2)", {"Pwr": _FACTOR, "r": _DIVISOR}),
    ("II.11.28", "1 + n * alpha / (1 - n * alpha / 3)", {"n": (0.3, 1.2), "alpha": (0.3, 1.2)}),
    ("II.38.14", "Y / (2 * (1 + sigma))", {"Y": _FACTOR, "sigma": (-0.4, 0.5)}),
    ("III.4.33", "omega / expm1(omega / T)", {"omega": (0.8, 2.8), "T": (0.35, 1.0)}, "hbar", "kb"),
    ("III.8.54", "sin(E_n * t)**2", {"E_n": (0.5, 1.5), "t": (0.3, 2.0)}, "hbar"),
    ("I.6.20b", "exp(-((theta - theta1) / sigma)**2 / 2) / (sqrt(2 * pi) * sigma)",
     {"theta": (-2.0, 2.0), "theta1": (-1.0, 1.0), "sigma": (0.8, 2.0)}),
    ("I.10.7", "m_0 / sqrt(1 - v**2 / c**2)", {"m_0": (1.0, 1.4), "v": (0.7, 1.5), "c": (2.35, 3.2)}),
    ("I.12.4", "q1 / (4 * pi * epsilon * r**2)", {"q1": _SIGNED, "epsilon": _DIVISOR, "r": _DIVISOR}),
    ("I.14.3", "m * g * z", {"m": _FACTOR, "g": _FACTOR, "z": _SIGNED}),
    ("I.15.3x", "(x - u * t) / sqrt(1 - u**2)", {"x": _SIGNED, "u": (-0.5, 0.5), "t": (-4.0, 4.0)}, "c"),
    ("I.18.12", "r * F * sin(theta)", {"r": _FACTOR, "F": _FACTOR, "theta": _ANGLE}),
    ("I.27.6", "1 / (1 / d1 + n / d2)", {"d1": (0.8, 2.4), "n": (0.6, 2.0), "d2": (0.8, 2.4)}),
    ("I.30.3", "Int_0 * sin(n * theta / 2)**2 / sin(theta / 2)**2",
     {"Int_0": _FACTOR, "n": (1.5, 2.5), "theta": (1.2, 4.0)}),
    ("I.30.5", "arcsin(wavelength / (n * d))", {"wavelength": (0.2, 0.8), "n": (1.3, 2.1), "d": (1.4, 2.2)}),
    ("I.34.10", "omega_0 / (1 - v / c)", {"omega_0": (1.0, 2.0), "v": (0.3, 1.5), "c": (2.8, 4.0)}),
    ("I.37.4", "I1 + I2 + 2 * sqrt(I1 * I2) * cos(delta)", {"I1": (0.8, 2.4), "I2": (0.8, 2.4), "delta": _ANGLE}),
    ("I.39.11", "pr * V / (gamma - 1)", {"gamma": (1.5, 2.1), "pr": _FACTOR, "V": _FACTOR}),
    ("I.47.23", "sqrt(gamma * pr / rho)", {"gamma": (0.8, 1.8), "pr": (0.6, 2.0), "rho": (0.6, 2.0)}),
    ("I.48.20", "m * c**2 / sqrt(1 - v**2 / c**2)", {"m": (0.6, 1.4), "v": (0.7, 1.5), "c": (2.2, 2.7)}),
    ("II.4.23", "q / (4 * pi * epsilon * r)", {"q": _SIGNED, "epsilon": _DIVISOR, "r": _DIVISOR}),
    ("II.8.7", "3 * q**2 / (20 * pi * epsilon * d)", {"q": _SIGNED, "epsilon": _DIVISOR, "d": _DIVISOR}),
    ("II.27.16", "epsilon * c * Ef**2", {"epsilon": _FACTOR, "c": _FACTOR, "Ef": _SIGNED}),
    ("II.34.2a", "q * v / (2 * pi * r)", {"q": _SIGNED, "v": _SIGNED, "r": _DIVISOR}),
    ("II.37.1", "mom * (1 + chi) * B", {"mom": _SIGNED, "chi": (-0.5, 1.0), "B": _SIGNED}),
    ("III.15.12", "2 * U * (1 - cos(k * d))", {"U": _FACTOR, "k": (-2.5, 2.5), "d": (0.6, 1.6)}),
    ("III.15.14", "(h / (2 * pi))**2 / (2 * E_n * d**2)", {"h": (2.0, 8.0), "E_n": _DIVISOR, "d": _DIVISOR}),
    ("III.17.37", "beta * (1 + alpha * cos(theta))", {"beta": _FACTOR, "alpha": (0.3, 1.5), "theta": _ANGLE}),
    ("I.8.14", "sqrt((x2 - x1)**2 + (y2 - y1)**2)",
     {"x1": (-0.5, 1.0), "x2": (2.4, 4.0), "y1": _SIGNED, "y2": _SIGNED}),
    ("I.12.2", "q1 * q2 / (4 * pi * epsilon * r**2)",
     {"q1": _SIGNED, "q2": _SIGNED, "epsilon": _DIVISOR, "r": _DIVISOR}),
    ("I.12.11", "Ef + B * v * sin(theta)", {"Ef": _SIGNED, "B": _SIGNED, "v": _FACTOR, "theta": _ANGLE}, "q"),
    ("I.13.4", "m * (v**2 + u**2 + w**2) / 2", {"m": _FACTOR, "v": _SIGNED, "u": _SIGNED, "w": _SIGNED}),
    ("I.13.12", "m1 * m2 * (1 / r2 - 1 / r1)", {"m1": _FACTOR, "m2": _FACTOR, "r1": _DIVISOR, "r2": _DIVISOR}, "G"),
    ("I.15.3t", "(t - u * x / c**2) / sqrt(1 - u**2 / c**2)",
     {"t": (-1.0, 1.0), "u": (-0.7, 0.7), "x": (-10.0, 10.0), "c": (2.0, 3.8)}),
    ("I.18.4", "(m1 * r1 + m2 * r2) / (m1 + m2)",
     {"m1": (0.6, 2.0), "r1": (-3.0, 0.5), "m2": (0.6, 2.0), "r2": (-0.5, 3.0)}),
    ("I.18.14", "m * r * v * sin(theta)", {"m": _FACTOR, "r": _FACTOR, "v": _FACTOR, "theta": _ANGLE}),
    ("I.24.6", "m * (omega**2 + omega_0**2) * x**2 / 4",
     {"m": _FACTOR, "omega": _FACTOR, "omega_0": _FACTOR, "x": _SIGNED}),
    ("I.29.16", "sqrt(x1**2 + x2**2 - 2 * x1 * x2 * cos(theta1 - theta2))",
     {"x1": (0.4, 1.0), "x2": (2.0, 3.0), "theta1": (-2.0, 2.0), "theta2": (-1.0, 1.0)}),
    ("I.32.5", "q**2 * a**2 / (6 * pi * epsilon * c**3)",
     {"q": _FACTOR, "a": _SIGNED, "epsilon": _DIVISOR, "c": (1.2, 1.8)}),
    ("I.32.17", "4 * pi / 3 * (Ef * r * omega**2 / (omega**2 - omega_0**2))**2",
     {"Ef": _SIGNED, "r": (1.0, 2.0), "omega": (0.8, 1.2), "omega_0": (2.4, 3.2)}, "epsilon", "c"),
    ("I.34.8", "q * v * B / p", {"q": _SIGNED, "v": (-1.0, 3.0), "B": _FACTOR, "p": _DIVISOR}),
    ("I.38.12", "4 * pi * epsilon * (h / (2 * pi))**2 / (m * q**2)",
     {"epsilon": _FACTOR, "h": (2.0, 8.0), "m": _DIVISOR, "q": _DIVISOR}),
    ("I.40.1", "n_0 * exp(-m * x / T)", {"n_0": _FACTOR, "m": (0.5, 1.5), "x": (0.0, 2.0), "T": (1.0, 2.4)}, "g", "kb"),
    ("I.43.43", "kb * v / ((gamma - 1) * A)", {"gamma": (1.5, 2.1), "kb": _FACTOR, "v": _FACTOR, "A": _DIVISOR}),
    ("I.44.4", "n * T * log(V2 / V1)", {"n": _FACTOR, "T": _FACTOR, "V2": (1.5, 4.0), "V1": (0.6, 2.0)}, "kb"),
    ("I.50.26", "x1 * (cos(omega * t) + alpha * cos(omega * t)**2)",
     {"x1": _FACTOR, "omega": (0.7, 1.5), "t": (0.5, 3.5), "alpha": (-0.5, 1.5)}),
    ("II.6.11", "p_d * cos(theta) / (4 * pi * epsilon * r**2)",
     {"epsilon": _DIVISOR, "p_d": _FACTOR, "theta": _ANGLE, "r": _DIVISOR}),
    ("II.6.15b", "3 * p_d * cos(theta) * sin(theta) / (4 * pi * epsilon * r**3)",
     {"epsilon": _DIVISOR, "p_d": _FACTOR, "theta": (-1.5, 1.5), "r": (1.0, 1.8)}),
    ("II.11.17", "1 + p_d * Ef * cos(theta) / T",
     {"p_d": _FACTOR, "Ef": _SIGNED, "theta": _ANGLE, "T": _DIVISOR}, "n_0", "kb"),
    ("II.11.20", "n_rho * p_d**2 * Ef / (3 * T)",
     {"n_rho": _FACTOR, "p_d": _SIGNED, "Ef": _SIGNED, "T": _DIVISOR}, "kb"),
    ("II.11.27", "n * alpha * epsilon * Ef / (1 - n * alpha / 3)",
     {"n": (0.3, 1.2), "alpha": (0.3, 1.2), "epsilon": _FACTOR, "Ef": _SIGNED}),
    ("II.13.17", "2 * current / (4 * pi * epsilon * c**2 * r)",
     {"epsilon": _DIVISOR, "c": (1.0, 1.8), "current": _SIGNED, "r": _DIVISOR}),
    ("II.35.21", "n_rho * mom * tanh(mom * B / T)",
     {"n_rho": _FACTOR, "mom": _FACTOR, "B": (-1.5, 1.5), "T": (0.7, 2.2)}, "kb"),
    ("III.4.32", "1 / expm1(h * omega / (2 * pi * kb * T))",
     {"h": (5.0, 9.0), "omega": (1.2, 2.2), "kb": (0.8, 1.4), "T": (0.8, 1.4)}),
    ("III.10.19", "mom * sqrt(Bx**2 + By**2 + Bz**2)",
     {"mom": _FACTOR, "Bx": _SIGNED, "By": _SIGNED, "Bz": (0.8, 2.4)}),
    ("III.13.18", "2 * E_n * d**2 * k / (h / (2 * pi))", {"E_n": _FACTOR, "d": _FACTOR, "k": _SIGNED, "h": (3.0, 6.5)}),
)
# fmt: on


def _equations() -> Iterator[Equation]:
    """The whole table. Within each number of variables the rows alternate, held-out first. [ours]"""
    seen = Counter()
    for name, formula, boxes, *fixed in _TABLE:
        low, high = zip(*boxes.values(), strict=True)
        function = eval(f"lambda {', '.join(boxes)}: {formula}", _NUMPY)
        yield Equation(name, formula, tuple(boxes), low, high, function, seen[len(boxes)] % 2 == 0, tuple(fixed))
        seen[len(boxes)] += 1


EQUATIONS: tuple[Equation, ...] = tuple(_equations())
