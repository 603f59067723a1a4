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

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy import arcsin, cos, exp, log, pi, sin, sinc, sqrt, tanh

Boxes = dict[str, tuple[float, float]]


@dataclass(frozen=True)
class Equation:
    """One equation, its variables and the widest range in which the lab trains on it.

    `function` takes the variables in order, as arrays of any one shape, and returns an array of that shape.
    `formula` (Python arithmetic) and `latex` are its right-hand side. `low` and `high` bound each variable.
    `fixed` names the benchmark's quantities that are set to 1 here, or to what is said at the entry; hbar is
    h / (2 pi).
    """

    name: str
    formula: str
    latex: str
    variables: tuple[str, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]
    function: Callable[..., np.ndarray]
    held_out: bool
    fixed: tuple[str, ...] = ()

    @property
    def reduced(self) -> bool:
        """Whether the benchmark's equation has more variables than this one."""
        return bool(self.fixed)


def equations(held_out: bool) -> tuple[Equation, ...]:
    """The pool for the held-out suites alone, or the one for calibration and search, in the table's order."""
    return tuple(equation for equation in EQUATIONS if equation.held_out == held_out)


def _row(
    name: str, formula: str, latex: str, boxes: Boxes, function: Callable[..., np.ndarray], *fixed: str
) -> tuple[str, str, str, Boxes, Callable[..., np.ndarray], tuple[str, ...]]:
    return name, formula, latex, boxes, function, fixed


_SIGNED = (-2.0, 2.0)  # charges, fields, positions: the sign may change
_FACTOR = (0.5, 2.0)  # positive quantities that multiply
_DIVISOR = (1.0, 2.0)  # positive quantities that divide: at least 0.625 in the widened box
_ANGLE = (-3.0, 3.0)  # radians: nearly a whole turn

# An entry in few lines: name, text and LaTeX; boxes; code and what is set to 1.
# fmt: off
_ONE_VARIABLE = (
    _row(
        "I.6.20a", "exp(-theta**2 / 2) / sqrt(2 * pi)", r"e^{-\theta^2/2} / \sqrt{2\pi}",
        {"theta": (-2.5, 2.5)}, lambda theta: exp(-(theta**2) / 2) / sqrt(2 * pi),
    ),
    _row(
        "I.41.16", "omega**3 / (pi**2 * (exp(omega) - 1))", r"\frac{\omega^3}{\pi^2 (e^{\omega} - 1)}",
        {"omega": (2.0, 6.0)}, lambda omega: omega**3 / (pi**2 * np.expm1(omega)), "hbar", "c", "kb", "T",
    ),
    _row(
        "II.11.3", "1 / (1 - omega**2)", r"\frac{1}{1 - \omega^2}",
        {"omega": (-0.2, 0.5)}, lambda omega: 1 / (1 - omega**2), "q", "Ef", "m", "omega_0",
    ),
    _row(
        "II.35.18", "1 / (exp(B) + exp(-B))", r"\frac{1}{e^{B} + e^{-B}}",
        {"B": (-1.5, 2.5)}, lambda B: 0.5 / np.cosh(B), "n_0", "mom", "kb", "T",
    ),
    _row(  # omega_0 is 0: omega is the detuning; numpy's sinc is sin(pi x) / (pi x)
        "III.9.52", "sinc(omega / (2 * pi))**2", r"\frac{\sin^2(\omega/2)}{(\omega/2)^2}",
        {"omega": (-4.0, 10.0)}, lambda omega: sinc(omega / (2 * pi)) ** 2,
        "p_d", "Ef", "hbar", "t", "omega_0",
    ),
    _row(
        "III.14.14", "exp(Volt) - 1", r"e^{V} - 1",
        {"Volt": (-2.0, 1.0)}, lambda Volt: np.expm1(Volt), "I_0", "q", "kb", "T",
    ),
    _row(  # atomic units, in which 4 pi epsilon is 1 too
        "III.19.51", "-1 / (2 * n**2)", r"-\frac{1}{2 n^2}",
        {"n": (1.0, 1.8)}, lambda n: -1 / (2 * n**2), "m", "q", "hbar", "epsilon",
    ),
)

_TWO_VARIABLES = (
    _row(
        "I.6.20", "exp(-(theta / sigma)**2 / 2) / (sqrt(2 * pi) * sigma)",
        r"\frac{e^{-(\theta/\sigma)^2/2}}{\sqrt{2\pi} \sigma}",
        {"theta": (-2.5, 2.5), "sigma": (0.8, 2.0)},
        lambda theta, sigma: exp(-((theta / sigma) ** 2) / 2) / (sqrt(2 * pi) * sigma),
    ),
    _row("I.12.5", "q2 * Ef", r"q_2 E", {"q2": _SIGNED, "Ef": _SIGNED}, lambda q2, Ef: q2 * Ef),
    _row(
        "I.14.4", "k_spring * x**2 / 2", r"\frac{1}{2} k x^2",
        {"k_spring": _FACTOR, "x": _SIGNED}, lambda k_spring, x: k_spring * x**2 / 2,
    ),
    _row(
        "I.15.10", "m_0 * v / sqrt(1 - v**2)", r"\frac{m_0 v}{\sqrt{1 - v^2}}",
        {"m_0": _FACTOR, "v": (-0.5, 0.5)}, lambda m_0, v: m_0 * v / sqrt(1 - v**2), "c",
    ),
    _row(
        "I.16.6", "(u + v) / (1 + u * v)", r"\frac{u + v}{1 + u v}",
        {"u": (-0.5, 0.5), "v": (0.2, 0.6)}, lambda u, v: (u + v) / (1 + u * v), "c",
    ),
    _row("I.25.13", "q / C", r"\frac{q}{C}", {"q": _SIGNED, "C": _DIVISOR}, lambda q, C: q / C),
    _row(
        "I.26.2", "arcsin(n * sin(theta2))", r"\arcsin(n \sin\theta_2)",
        {"n": (0.1, 0.85), "theta2": (-0.6, 0.6)}, lambda n, theta2: arcsin(n * sin(theta2)),
    ),
    _row(
        "II.3.24", "Pwr / (4 * pi * r**2)", r"\frac{P}{4\pi r^2}",
        {"Pwr": _FACTOR, "r": _DIVISOR}, lambda Pwr, r: Pwr / (4 * pi * r**2),
    ),
    _row(
        "II.11.28", "1 + n * alpha / (1 - n * alpha / 3)", r"1 + \frac{n\alpha}{1 - n\alpha/3}",
        {"n": (0.3, 1.2), "alpha": (0.3, 1.2)}, lambda n, alpha: 1 + n * alpha / (1 - n * alpha / 3),
    ),
    _row(
        "II.38.14", "Y / (2 * (1 + sigma))", r"\frac{Y}{2(1 + \sigma)}",
        {"Y": _FACTOR, "sigma": (-0.4, 0.5)}, lambda Y, sigma: Y / (2 * (1 + sigma)),
    ),
    _row(
        "III.4.33", "omega / (exp(omega / T) - 1)", r"\frac{\omega}{e^{\omega/T} - 1}",
        {"omega": (0.8, 2.8), "T": (0.35, 1.0)}, lambda omega, T: omega / np.expm1(omega / T), "hbar", "kb",
    ),
    _row(
        "III.8.54", "sin(E_n * t)**2", r"\sin^2(E t)",
        {"E_n": (0.5, 1.5), "t": (0.3, 2.0)}, lambda E_n, t: sin(E_n * t) ** 2, "hbar",
    ),
)

_THREE_VARIABLES = (
    _row(
        "I.6.20b", "exp(-((theta - theta1) / sigma)**2 / 2) / (sqrt(2 * pi) * sigma)",
        r"\frac{e^{-((\theta - \theta_1)/\sigma)^2/2}}{\sqrt{2\pi} \sigma}",
        {"theta": (-2.0, 2.0), "theta1": (-1.0, 1.0), "sigma": (0.8, 2.0)},
        lambda theta, theta1, sigma: exp(-(((theta - theta1) / sigma) ** 2) / 2) / (sqrt(2 * pi) * sigma),
    ),
    _row(
        "I.10.7", "m_0 / sqrt(1 - v**2 / c**2)", r"\frac{m_0}{\sqrt{1 - v^2/c^2}}",
        {"m_0": (1.0, 1.4), "v": (0.7, 1.5), "c": (2.35, 3.2)},
        lambda m_0, v, c: m_0 / sqrt(1 - v**2 / c**2),
    ),
    _row(
        "I.12.4", "q1 / (4 * pi * epsilon * r**2)", r"\frac{q_1}{4\pi\varepsilon r^2}",
        {"q1": _SIGNED, "epsilon": _DIVISOR, "r": _DIVISOR},
        lambda q1, epsilon, r: q1 / (4 * pi * epsilon * r**2),
    ),
    _row(
        "I.14.3", "m * g * z", r"m g z",
        {"m": _FACTOR, "g": _FACTOR, "z": _SIGNED}, lambda m, g, z: m * g * z,
    ),
    _row(
        "I.15.3x", "(x - u * t) / sqrt(1 - u**2)", r"\frac{x - u t}{\sqrt{1 - u^2}}",
        {"x": _SIGNED, "u": (-0.5, 0.5), "t": (-4.0, 4.0)}, lambda x, u, t: (x - u * t) / sqrt(1 - u**2), "c",
    ),
    _row(
        "I.18.12", "r * F * sin(theta)", r"r F \sin\theta",
        {"r": _FACTOR, "F": _FACTOR, "theta": _ANGLE}, lambda r, F, theta: r * F * sin(theta),
    ),
    _row(
        "I.27.6", "1 / (1 / d1 + n / d2)", r"\frac{1}{1/d_1 + n/d_2}",
        {"d1": (0.8, 2.4), "n": (0.6, 2.0), "d2": (0.8, 2.4)}, lambda d1, n, d2: 1 / (1 / d1 + n / d2),
    ),
    _row(
        "I.30.3", "Int_0 * sin(n * theta / 2)**2 / sin(theta / 2)**2",
        r"I_0 \frac{\sin^2(n\theta/2)}{\sin^2(\theta/2)}",
        {"Int_0": _FACTOR, "n": (1.5, 2.5), "theta": (1.2, 4.0)},
        lambda Int_0, n, theta: Int_0 * sin(n * theta / 2) ** 2 / sin(theta / 2) ** 2,
    ),
    _row(
        "I.30.5", "arcsin(wavelength / (n * d))", r"\arcsin\frac{\lambda}{n d}",
        {"wavelength": (0.2, 0.8), "n": (1.3, 2.1), "d": (1.4, 2.2)},
        lambda wavelength, n, d: arcsin(wavelength / (n * d)),
    ),
    _row(
        "I.34.10", "omega_0 / (1 - v / c)", r"\frac{\omega_0}{1 - v/c}",
        {"omega_0": (1.0, 2.0), "v": (0.3, 1.5), "c": (2.8, 4.0)},
        lambda omega_0, v, c: omega_0 / (1 - v / c),
    ),
    _row(
        "I.37.4", "I1 + I2 + 2 * sqrt(I1 * I2) * cos(delta)", r"I_1 + I_2 + 2\sqrt{I_1 I_2} \cos\delta",
        {"I1": (0.8, 2.4), "I2": (0.8, 2.4), "delta": _ANGLE},
        lambda I1, I2, delta: I1 + I2 + 2 * sqrt(I1 * I2) * cos(delta),
    ),
    _row(
        "I.39.11", "pr * V / (gamma - 1)", r"\frac{p V}{\gamma - 1}",
        {"gamma": (1.5, 2.1), "pr": _FACTOR, "V": _FACTOR}, lambda gamma, pr, V: pr * V / (gamma - 1),
    ),
    _row(
        "I.47.23", "sqrt(gamma * pr / rho)", r"\sqrt{\gamma p / \rho}",
        {"gamma": (0.8, 1.8), "pr": (0.6, 2.0), "rho": (0.6, 2.0)},
        lambda gamma, pr, rho: sqrt(gamma * pr / rho),
    ),
    _row(
        "I.48.20", "m * c**2 / sqrt(1 - v**2 / c**2)", r"\frac{m c^2}{\sqrt{1 - v^2/c^2}}",
        {"m": (0.6, 1.4), "v": (0.7, 1.5), "c": (2.2, 2.7)}, lambda m, v, c: m * c**2 / sqrt(1 - v**2 / c**2),
    ),
    _row(
        "II.4.23", "q / (4 * pi * epsilon * r)", r"\frac{q}{4\pi\varepsilon r}",
        {"q": _SIGNED, "epsilon": _DIVISOR, "r": _DIVISOR}, lambda q, epsilon, r: q / (4 * pi * epsilon * r),
    ),
    _row(
        "II.8.7", "3 * q**2 / (20 * pi * epsilon * d)", r"\frac{3}{5} \frac{q^2}{4\pi\varepsilon d}",
        {"q": _SIGNED, "epsilon": _DIVISOR, "d": _DIVISOR},
        lambda q, epsilon, d: 3 * q**2 / (20 * pi * epsilon * d),
    ),
    _row(
        "II.27.16", "epsilon * c * Ef**2", r"\varepsilon c E^2",
        {"epsilon": _FACTOR, "c": _FACTOR, "Ef": _SIGNED}, lambda epsilon, c, Ef: epsilon * c * Ef**2,
    ),
    _row(
        "II.34.2a", "q * v / (2 * pi * r)", r"\frac{q v}{2\pi r}",
        {"q": _SIGNED, "v": _SIGNED, "r": _DIVISOR}, lambda q, v, r: q * v / (2 * pi * r),
    ),
    _row(
        "II.37.1", "mom * (1 + chi) * B", r"\mu (1 + \chi) B",
        {"mom": _SIGNED, "chi": (-0.5, 1.0), "B": _SIGNED}, lambda mom, chi, B: mom * (1 + chi) * B,
    ),
    _row(
        "III.15.12", "2 * U * (1 - cos(k * d))", r"2 U (1 - \cos k d)",
        {"U": _FACTOR, "k": (-2.5, 2.5), "d": (0.6, 1.6)}, lambda U, k, d: 2 * U * (1 - cos(k * d)),
    ),
    _row(
        "III.15.14", "(h / (2 * pi))**2 / (2 * E_n * d**2)", r"\frac{(h/2\pi)^2}{2 E d^2}",
        {"h": (2.0, 8.0), "E_n": _DIVISOR, "d": _DIVISOR},
        lambda h, E_n, d: (h / (2 * pi)) ** 2 / (2 * E_n * d**2),
    ),
    _row(
        "III.17.37", "beta * (1 + alpha * cos(theta))", r"\beta (1 + \alpha \cos\theta)",
        {"beta": _FACTOR, "alpha": (0.3, 1.5), "theta": _ANGLE},
        lambda beta, alpha, theta: beta * (1 + alpha * cos(theta)),
    ),
)

_FOUR_VARIABLES = (
    _row(
        "I.8.14", "sqrt((x2 - x1)**2 + (y2 - y1)**2)", r"\sqrt{(x_2 - x_1)^2 + (y_2 - y_1)^2}",
        {"x1": (-0.5, 1.0), "x2": (2.4, 4.0), "y1": _SIGNED, "y2": _SIGNED},
        lambda x1, x2, y1, y2: sqrt((x2 - x1) ** 2 + (y2 - y1) ** 2),
    ),
    _row(
        "I.12.2", "q1 * q2 / (4 * pi * epsilon * r**2)", r"\frac{q_1 q_2}{4\pi\varepsilon r^2}",
        {"q1": _SIGNED, "q2": _SIGNED, "epsilon": _DIVISOR, "r": _DIVISOR},
        lambda q1, q2, epsilon, r: q1 * q2 / (4 * pi * epsilon * r**2),
    ),
    _row(
        "I.12.11", "Ef + B * v * sin(theta)", r"E + B v \sin\theta",
        {"Ef": _SIGNED, "B": _SIGNED, "v": _FACTOR, "theta": _ANGLE},
        lambda Ef, B, v, theta: Ef + B * v * sin(theta), "q",
    ),
    _row(
        "I.13.4", "m * (v**2 + u**2 + w**2) / 2", r"\frac{1}{2} m (v^2 + u^2 + w^2)",
        {"m": _FACTOR, "v": _SIGNED, "u": _SIGNED, "w": _SIGNED},
        lambda m, v, u, w: m * (v**2 + u**2 + w**2) / 2,
    ),
    _row(
        "I.13.12", "m1 * m2 * (1 / r2 - 1 / r1)", r"m_1 m_2 \left(\frac{1}{r_2} - \frac{1}{r_1}\right)",
        {"m1": _FACTOR, "m2": _FACTOR, "r1": _DIVISOR, "r2": _DIVISOR},
        lambda m1, m2, r1, r2: m1 * m2 * (1 / r2 - 1 / r1), "G",
    ),
    _row(
        "I.15.3t", "(t - u * x / c**2) / sqrt(1 - u**2 / c**2)", r"\frac{t - u x/c^2}{\sqrt{1 - u^2/c^2}}",
        {"t": (-1.0, 1.0), "u": (-0.7, 0.7), "x": (-10.0, 10.0), "c": (2.0, 3.8)},
        lambda t, u, x, c: (t - u * x / c**2) / sqrt(1 - u**2 / c**2),
    ),
    _row(
        "I.18.4", "(m1 * r1 + m2 * r2) / (m1 + m2)", r"\frac{m_1 r_1 + m_2 r_2}{m_1 + m_2}",
        {"m1": (0.6, 2.0), "r1": (-3.0, 0.5), "m2": (0.6, 2.0), "r2": (-0.5, 3.0)},
        lambda m1, r1, m2, r2: (m1 * r1 + m2 * r2) / (m1 + m2),
    ),
    _row(
        "I.18.14", "m * r * v * sin(theta)", r"m r v \sin\theta",
        {"m": _FACTOR, "r": _FACTOR, "v": _FACTOR, "theta": _ANGLE},
        lambda m, r, v, theta: m * r * v * sin(theta),
    ),
    _row(
        "I.24.6", "m * (omega**2 + omega_0**2) * x**2 / 4", r"\frac{1}{4} m (\omega^2 + \omega_0^2) x^2",
        {"m": _FACTOR, "omega": _FACTOR, "omega_0": _FACTOR, "x": _SIGNED},
        lambda m, omega, omega_0, x: m * (omega**2 + omega_0**2) * x**2 / 4,
    ),
    _row(
        "I.29.16", "sqrt(x1**2 + x2**2 - 2 * x1 * x2 * cos(theta1 - theta2))",
        r"\sqrt{x_1^2 + x_2^2 - 2 x_1 x_2 \cos(\theta_1 - \theta_2)}",
        {"x1": (0.4, 1.0), "x2": (2.0, 3.0), "theta1": (-2.0, 2.0), "theta2": (-1.0, 1.0)},
        lambda x1, x2, theta1, theta2: sqrt(x1**2 + x2**2 - 2 * x1 * x2 * cos(theta1 - theta2)),
    ),
    _row(
        "I.32.5", "q**2 * a**2 / (6 * pi * epsilon * c**3)", r"\frac{q^2 a^2}{6\pi\varepsilon c^3}",
        {"q": _FACTOR, "a": _SIGNED, "epsilon": _DIVISOR, "c": (1.2, 1.8)},
        lambda q, a, epsilon, c: q**2 * a**2 / (6 * pi * epsilon * c**3),
    ),
    _row(
        "I.32.17", "4 * pi * Ef**2 * r**2 * omega**4 / (3 * (omega**2 - omega_0**2)**2)",
        r"\frac{4\pi}{3} E^2 r^2 \frac{\omega^4}{(\omega^2 - \omega_0^2)^2}",
        {"Ef": _SIGNED, "r": (1.0, 2.0), "omega": (0.8, 1.2), "omega_0": (2.4, 3.2)},
        lambda Ef, r, omega, omega_0: 4 * pi / 3 * (Ef * r * omega**2 / (omega**2 - omega_0**2)) ** 2,
        "epsilon", "c",
    ),
    _row(
        "I.34.8", "q * v * B / p", r"\frac{q v B}{p}",
        {"q": _SIGNED, "v": (-1.0, 3.0), "B": _FACTOR, "p": _DIVISOR}, lambda q, v, B, p: q * v * B / p,
    ),
    _row(
        "I.38.12", "4 * pi * epsilon * (h / (2 * pi))**2 / (m * q**2)",
        r"\frac{4\pi\varepsilon (h/2\pi)^2}{m q^2}",
        {"epsilon": _FACTOR, "h": (2.0, 8.0), "m": _DIVISOR, "q": _DIVISOR},
        lambda epsilon, h, m, q: 4 * pi * epsilon * (h / (2 * pi)) ** 2 / (m * q**2),
    ),
    _row(
        "I.40.1", "n_0 * exp(-m * x / T)", r"n_0 e^{-m x/T}",
        {"n_0": _FACTOR, "m": (0.5, 1.5), "x": (0.0, 2.0), "T": (1.0, 2.4)},
        lambda n_0, m, x, T: n_0 * exp(-m * x / T), "g", "kb",
    ),
    _row(
        "I.43.43", "kb * v / ((gamma - 1) * A)", r"\frac{k_B v}{(\gamma - 1) A}",
        {"gamma": (1.5, 2.1), "kb": _FACTOR, "v": _FACTOR, "A": _DIVISOR},
        lambda gamma, kb, v, A: kb * v / ((gamma - 1) * A),
    ),
    _row(
        "I.44.4", "n * T * log(V2 / V1)", r"n T \ln\frac{V_2}{V_1}",
        {"n": _FACTOR, "T": _FACTOR, "V2": (1.5, 4.0), "V1": (0.6, 2.0)},
        lambda n, T, V2, V1: n * T * log(V2 / V1), "kb",
    ),
    _row(
        "I.50.26", "x1 * (cos(omega * t) + alpha * cos(omega * t)**2)",
        r"x_1 (\cos\omega t + \alpha \cos^2\omega t)",
        {"x1": _FACTOR, "omega": (0.7, 1.5), "t": (0.5, 3.5), "alpha": (-0.5, 1.5)},
        lambda x1, omega, t, alpha: x1 * (cos(omega * t) + alpha * cos(omega * t) ** 2),
    ),
    _row(
        "II.6.11", "p_d * cos(theta) / (4 * pi * epsilon * r**2)",
        r"\frac{p \cos\theta}{4\pi\varepsilon r^2}",
        {"epsilon": _DIVISOR, "p_d": _FACTOR, "theta": _ANGLE, "r": _DIVISOR},
        lambda epsilon, p_d, theta, r: p_d * cos(theta) / (4 * pi * epsilon * r**2),
    ),
    _row(
        "II.6.15b", "3 * p_d * cos(theta) * sin(theta) / (4 * pi * epsilon * r**3)",
        r"\frac{3 p \cos\theta \sin\theta}{4\pi\varepsilon r^3}",
        {"epsilon": _DIVISOR, "p_d": _FACTOR, "theta": (-1.5, 1.5), "r": (1.0, 1.8)},
        lambda epsilon, p_d, theta, r: 3 * p_d * cos(theta) * sin(theta) / (4 * pi * epsilon * r**3),
    ),
    _row(
        "II.11.17", "1 + p_d * Ef * cos(theta) / T", r"1 + \frac{p E \cos\theta}{T}",
        {"p_d": _FACTOR, "Ef": _SIGNED, "theta": _ANGLE, "T": _DIVISOR},
        lambda p_d, Ef, theta, T: 1 + p_d * Ef * cos(theta) / T, "n_0", "kb",
    ),
    _row(
        "II.11.20", "n_rho * p_d**2 * Ef / (3 * T)", r"\frac{n p^2 E}{3 T}",
        {"n_rho": _FACTOR, "p_d": _SIGNED, "Ef": _SIGNED, "T": _DIVISOR},
        lambda n_rho, p_d, Ef, T: n_rho * p_d**2 * Ef / (3 * T), "kb",
    ),
    _row(
        "II.11.27", "n * alpha * epsilon * Ef / (1 - n * alpha / 3)",
        r"\frac{n\alpha}{1 - n\alpha/3} \varepsilon E",
        {"n": (0.3, 1.2), "alpha": (0.3, 1.2), "epsilon": _FACTOR, "Ef": _SIGNED},
        lambda n, alpha, epsilon, Ef: n * alpha * epsilon * Ef / (1 - n * alpha / 3),
    ),
    _row(
        "II.13.17", "2 * current / (4 * pi * epsilon * c**2 * r)",
        r"\frac{1}{4\pi\varepsilon c^2} \frac{2 I}{r}",
        {"epsilon": _DIVISOR, "c": (1.0, 1.8), "current": _SIGNED, "r": _DIVISOR},
        lambda epsilon, c, current, r: 2 * current / (4 * pi * epsilon * c**2 * r),
    ),
    _row(
        "II.35.21", "n_rho * mom * tanh(mom * B / T)", r"n \mu \tanh\frac{\mu B}{T}",
        {"n_rho": _FACTOR, "mom": _FACTOR, "B": (-1.5, 1.5), "T": (0.7, 2.2)},
        lambda n_rho, mom, B, T: n_rho * mom * tanh(mom * B / T), "kb",
    ),
    _row(
        "III.4.32", "1 / (exp(h * omega / (2 * pi * kb * T)) - 1)",
        r"\frac{1}{e^{(h/2\pi) \omega / (k_B T)} - 1}",
        {"h": (5.0, 9.0), "omega": (1.2, 2.2), "kb": (0.8, 1.4), "T": (0.8, 1.4)},
        lambda h, omega, kb, T: 1 / np.expm1(h * omega / (2 * pi * kb * T)),
    ),
    _row(
        "III.10.19", "mom * sqrt(Bx**2 + By**2 + Bz**2)", r"\mu \sqrt{B_x^2 + B_y^2 + B_z^2}",
        {"mom": _FACTOR, "Bx": _SIGNED, "By": _SIGNED, "Bz": (0.8, 2.4)},
        lambda mom, Bx, By, Bz: mom * sqrt(Bx**2 + By**2 + Bz**2),
    ),
    _row(
        "III.13.18", "2 * E_n * d**2 * k / (h / (2 * pi))", r"\frac{2 E d^2 k}{h/2\pi}",
        {"E_n": _FACTOR, "d": _FACTOR, "k": _SIGNED, "h": (3.0, 6.5)},
        lambda E_n, d, k, h: 2 * E_n * d**2 * k / (h / (2 * pi)),
    ),
)
# fmt: on


def _pooled() -> tuple[Equation, ...]:
    """The whole table. Within each number of variables the rows alternate, held-out first. [ours]"""
    table = []
    for rows in (_ONE_VARIABLE, _TWO_VARIABLES, _THREE_VARIABLES, _FOUR_VARIABLES):
        for i, (name, formula, latex, boxes, function, fixed) in enumerate(rows):
            low, high = zip(*boxes.values(), strict=True)
            table.append(Equation(name, formula, latex, tuple(boxes), low, high, function, i % 2 == 0, fixed))
    return tuple(table)


EQUATIONS: tuple[Equation, ...] = _pooled()
