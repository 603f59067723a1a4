"""The zoo of activations, hand-made and the paper's, as plain tensor functions in one registry (Figure 4)."""

import ast
import difflib
import functools
import inspect
import math
import numbers
import sys
from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import nn

PAPER = "arXiv 2602.05688"
FIDELITIES = ("exact", "completed", "reconstructed")
KINDS = ("hand-made", "paper")


@dataclass(frozen=True)
class Activation:
    """One entry of the zoo.

    Attributes:
        name: key in `REGISTRY`, with hyphens.
        label: how figures and tables call it.
        function: x `[batch, ..., features]` of one model -> the same shape and dtype.
        latex: the formula in the part of LaTeX that matplotlib also reads, without dollar signs.
        formula: the formula as text that Python reads: the result; then definitions in order, by semicolons.
        source: where the formula comes from.
        fidelity: "exact", "completed" (a few constants are ours) or "reconstructed" (much is ours).
        kind: "hand-made" or "paper".
        pointwise: whether an element of the result depends on that element of x alone.
        note: what the paper leaves open and how it is settled here; "" where it leaves nothing open.
    """

    name: str
    label: str
    function: Callable[..., torch.Tensor]
    latex: str
    formula: str
    source: str
    fidelity: str
    kind: str
    pointwise: bool
    note: str

    @property
    def constants(self) -> dict[str, float]:
        """The keyword constants of the function with their defaults, in order."""
        parameters = list(inspect.signature(self.function).parameters.values())
        return {parameter.name: parameter.default for parameter in parameters[1:]}

    def settle(self, constants: dict[str, float]) -> dict[str, float]:
        """All constants as floats: those given, and defaults for the rest.

        Raises:
            ValueError: a constant that the function does not have, or one that is not a finite number.
        """
        settled = self.constants
        for key, value in constants.items():
            if key not in settled:
                raise ValueError(f"{self.name}: wanted constants among [{', '.join(settled)}], got {key!r}")
            if not isinstance(value, numbers.Real) or not math.isfinite(value):
                raise ValueError(f"{self.name}: wanted a finite number for {key}, got {value!r}")
            settled[key] = float(value)
        return settled


REGISTRY: dict[str, Activation] = {}


def register(label, latex, formula, source, kind, fidelity="exact", pointwise=True, note=""):
    """Decorator that enters a function into `REGISTRY` under its own name, with hyphens for underscores.

    The functions are written in the language of candidates (torch, math and F; no branch on tensor values,
    nothing in place), so that `program_source` can lift them. x is `[batch, ..., features]` of ONE model;
    `torch.func.vmap` adds the axis of models. Arguments are the fields of `Activation`.

    Raises:
        ValueError: a kind or a fidelity that is not one of those named above.
    """
    if kind not in KINDS or fidelity not in FIDELITIES:
        raise ValueError(f"wanted one of {KINDS} and one of {FIDELITIES}, got {kind!r} and {fidelity!r}")

    def enter(function):
        name = function.__name__.replace("_", "-")
        REGISTRY[name] = Activation(name, label, function, latex, formula, source, fidelity, kind, pointwise, note)
        return function

    return enter


# --- hand-made functions --------------------------------------------------------------------------


@register(
    label="ReLU",
    latex=r"\max(0, x)",
    formula="maximum(0, x)",
    source="Nair and Hinton, ICML 2010",
    kind="hand-made",
)
def relu(x: torch.Tensor) -> torch.Tensor:
    """The positive part of x; its slope at 0 is 0, as torch has it."""
    return F.relu(x)


@register(
    label="Leaky ReLU",
    latex=r"\max(0, x) + 0.01 \min(0, x)",
    formula="maximum(0, x) + 0.01*minimum(0, x)",
    source="Maas, Hannun and Ng, ICML 2013 workshops",
    kind="hand-made",
)
def leaky_relu(x: torch.Tensor, slope: float = 0.01) -> torch.Tensor:
    """ReLU with a small slope on the negative side; at 0 it has that side's slope, as in torch."""
    return F.leaky_relu(x, slope)


@register(
    label="ELU",
    latex=r"\max(0, x) + \min(0, e^{x} - 1)",
    formula="maximum(0, x) + expm1(minimum(0, x))",
    source="Clevert, Unterthiner and Hochreiter, arXiv 1511.07289",
    kind="hand-made",
)
def elu(x: torch.Tensor, alpha: float = 1.0) -> torch.Tensor:
    """Identity on the positive side, an exponential that levels off at -alpha on the other."""
    return F.elu(x, alpha)


@register(
    label="SELU",
    latex=r"1.0507 \, [\max(0, x) + 1.6733 \, \min(0, e^{x} - 1)]",
    formula="1.0507009873554805*(maximum(0, x) + 1.6732632423543772*expm1(minimum(0, x)))",
    source="Klambauer, Unterthiner, Mayr and Hochreiter, arXiv 1706.02515",
    kind="hand-made",
)
def selu(x: torch.Tensor) -> torch.Tensor:
    """ELU scaled so that zero mean and unit variance are a fixed point of a layer."""
    return F.selu(x)


@register(
    label="Softplus",
    latex=r"\log(1 + e^{x})",
    formula="logaddexp(0, x)",
    source="Dugas, Bengio, Belisle, Nadeau and Garcia, NIPS 2000",
    kind="hand-made",
)
def softplus(x: torch.Tensor, beta: float = 1.0) -> torch.Tensor:
    """A smooth ReLU, sharper as beta grows; the identity where beta x > 20, as in torch."""
    return F.softplus(x, beta)


@register(
    label="Softsign",
    latex=r"\frac{x}{1 + |x|}",
    formula="x/(1 + abs(x))",
    source="Bergstra, Desjardins, Lamblin and Bengio, technical report 1337, Montreal, 2009",
    kind="hand-made",
)
def softsign(x: torch.Tensor) -> torch.Tensor:
    """A sigmoid-like curve that reaches its bounds -1 and 1 as slowly as 1/x."""
    return F.softsign(x)


@register(
    label="Tanh",
    latex=r"\tanh(x)",
    formula="tanh(x)",
    source="LeCun, Bottou, Orr and Mueller, Efficient BackProp, 1998",
    kind="hand-made",
)
def tanh(x: torch.Tensor) -> torch.Tensor:
    """The hyperbolic tangent."""
    return torch.tanh(x)


@register(
    label="Sine",
    latex=r"\sin(x)",
    formula="sin(x)",
    source="Sitzmann, Martel, Bergman, Lindell and Wetzstein, arXiv 2006.09661",
    kind="hand-made",
    note="[ours] frequency 1 rather than SIREN's 30, which belongs to its initialisation.",
)
def sine(x: torch.Tensor, frequency: float = 1.0) -> torch.Tensor:
    """The sine of frequency times x."""
    return torch.sin(frequency * x)


@register(
    label="SiLU",
    latex=r"\frac{x}{1 + e^{-x}}",
    formula="x*sigmoid(x)",
    source="Elfwing, Uchibe and Doya, arXiv 1702.03118; Swish in arXiv 1710.05941",
    kind="hand-made",
)
def silu(x: torch.Tensor) -> torch.Tensor:
    """x gated by its sigmoid; also called Swish."""
    return F.silu(x)


@register(
    label="Mish",
    latex=r"x \, \tanh(\log(1 + e^{x}))",
    formula="x*tanh(logaddexp(0, x))",
    source="Misra, arXiv 1908.08681",
    kind="hand-made",
)
def mish(x: torch.Tensor) -> torch.Tensor:
    """x gated by the tanh of its softplus."""
    return F.mish(x)


@register(
    label="GELU",
    latex=r"\frac{x}{2} [1 + \tanh(\sqrt{2 / \pi} \, (x + 0.044715 \, x^{3}))]",
    formula="x/2*(1 + tanh(sqrt(2/pi)*(x + 0.044715*x**3)))",
    source="Hendrycks and Gimpel, arXiv 1606.08415",
    kind="hand-made",
)
def gelu(x: torch.Tensor) -> torch.Tensor:
    """GELU in the tanh form, which is the paper's."""
    return F.gelu(x, approximate="tanh")


@register(
    label="GELU (erf)",
    latex=r"\frac{x}{2} [1 + \mathrm{erf}(x / \sqrt{2})]",
    formula="x/2*(1 + erf(x/sqrt(2)))",
    source="Hendrycks and Gimpel, arXiv 1606.08415",
    kind="hand-made",
)
def gelu_erf(x: torch.Tensor) -> torch.Tensor:
    """GELU in the erf form: x times the normal distribution function."""
    return F.gelu(x)


@register(
    label="Snake",
    latex=r"x + \sin^{2}(x)",
    formula="x + sin(x)**2",
    source="Ziyin, Hartwig and Ueda, arXiv 2006.08195",
    kind="hand-made",
)
def snake(x: torch.Tensor, frequency: float = 1.0) -> torch.Tensor:
    """The identity plus sin(frequency x)^2 / frequency; the frequency is not 0."""
    return x + torch.sin(frequency * x) ** 2 / frequency


# --- the paper's functions, pointwise -------------------------------------------------------------


@register(
    label="GELUSine",
    latex=r"\mathrm{GELU}(x) + 0.1 \sin(x)",
    formula="gelu(x) + 0.1*sin(x)",
    source=f"{PAPER}, Figure 4",
    kind="paper",
)
def gelu_sine(x: torch.Tensor, amplitude: float = 0.1) -> torch.Tensor:
    """GELU plus a small sine."""
    return F.gelu(x, approximate="tanh") + amplitude * torch.sin(x)


@register(
    label="GELU-Sinc",
    latex=r"\mathrm{GELU}(x) \, [1 + 0.5 \, \mathrm{sinc}(x)]",
    formula="gelu(x)*(1 + 0.5*sinc(x))",
    source=f"{PAPER}, Figure 4",
    kind="paper",
    note="sinc is the normalised one, sin(pi x)/(pi x).",
)
def gelu_sinc(x: torch.Tensor, amplitude: float = 0.5) -> torch.Tensor:
    """GELU-Sinc-Perturbation: GELU amplified around 0 by a normalised sinc."""
    return F.gelu(x, approximate="tanh") * (1 + amplitude * _sinc(x))


def _sinc(x: torch.Tensor) -> torch.Tensor:
    """sin(pi x)/(pi x) with its true derivatives at 0, where torch's own has a NaN as the second one.

    Near 0 the Taylor series takes over; at |x| = 0.05 it is off by 1e-15 in the value and by 1e-11 in the
    second derivative, where the quotient loses digits like 1/x^2. The quotient never sees a 0, so that no NaN
    comes back through the branch that is not taken.
    """
    near = torch.abs(x) < 0.05
    t = math.pi * torch.where(near, 1.0, x)
    square = (math.pi * torch.where(near, x, 0.0)) ** 2
    series = 1 - square / 6 * (1 - square / 20 * (1 - square / 42 * (1 - square / 72)))
    return torch.where(near, series, torch.sin(t) / t)


@register(
    label="GMTU",
    latex=r"\tanh(1.5 x) \, e^{-0.2 x^{2}} + 0.1 x",
    formula="tanh(1.5*x)*exp(-0.2*x**2) + 0.1*x",
    source=f"{PAPER}, Figure 4",
    kind="paper",
)
def gmtu(x: torch.Tensor, steepness: float = 1.5, decay: float = 0.2, leak: float = 0.1) -> torch.Tensor:
    """A tanh under a Gaussian, plus a linear leak."""
    return torch.tanh(steepness * x) * torch.exp(-decay * x * x) + leak * x


@register(
    label="Leaky sqrt decay",
    latex=r"x \, (0.02 + \frac{1}{\sqrt{1 + a x^{2}}}), \; a = 0.16 \; (x \geq 0), \; 0.04 \; (x < 0)",
    formula="x*(0.02 + 1/sqrt(1 + a*x**2)); a = where(x >= 0, 0.16, 0.04)",
    source=f"{PAPER}, Figure 3, step 10",
    kind="paper",
)
def leaky_sqrt_decay(x: torch.Tensor, leak: float = 0.02, right: float = 0.16, left: float = 0.04) -> torch.Tensor:
    """Leaky square-root power decay: x, levelling off sooner on the right than on the left, plus a leak."""
    square = x * x
    return x * (leak + torch.rsqrt(1 + torch.where(x >= 0, right * square, left * square)))


@register(
    label="Quaternion",
    latex=r"x \, [1 - (Q_{w} - 0.2 Q_{i} - 0.15 Q_{j} - 0.15 Q_{k})]",
    formula=(
        "x*(1 - (Qw - 0.2*Qi - 0.15*Qj - 0.15*Qk)); A = 0.5; B = 0.5; Bf = 2; Cf = 3; "
        "y = sin(8*x)**2; T2 = 2*tanh(1.5*x)**2 - 1; T3 = 4*tanh(2*x)**3 - 3*tanh(2*x); "
        "T4 = 8*tanh(x)**4 - 8*tanh(x)**2 + 1; Cr = 0.1*T4; Ci = (0.2 + 0.4*(1 - y))*T3; "
        "D = (0.1 + 0.2*y)*T2; G = A*x**2*exp(-B*(x - Cr)**2); "
        "Qw = G*cos(2*B*Ci*(x - Cr)); Qi = G*sin(2*B*Ci*(x - Cr)); "
        "Qj = 0.5*A*x**2*exp(-B*(x - D)**2)*sin(Cf*x + Ci); Qk = 0.5*B*x**2*exp(-A*(x + D)**2)*cos(Bf*x - Cr)"
    ),
    source=f"{PAPER}, formula known in part",
    kind="paper",
    fidelity="reconstructed",
    note=(
        "[ours] A = B = 0.5, Bf = 2, Cf = 3, Cr = 0.1 T4(tanh x), and y as three steps of the logistic map "
        "of rate 4 from sin(x)^2, which is sin(8 x)^2, of mean 0.5 over x; so that it is pointwise."
    ),
)
def quaternion(
    x: torch.Tensor, a: float = 0.5, b: float = 0.5, b_f: float = 2.0, c_f: float = 3.0, wobble: float = 0.1
) -> torch.Tensor:
    """Quaternion-Inspired: x times one minus a mix of four bell-shaped waves."""
    y = torch.sin(x) ** 2
    for _ in range(3):
        y = 4 * y * (1 - y)
    narrow = torch.tanh(2 * x)
    c_r = wobble * _chebyshev_2(_chebyshev_2(torch.tanh(x)))  # T4 = T2(T2)
    c_i = (0.2 + 0.4 * (1 - y)) * (4 * narrow * narrow - 3) * narrow  # T3
    d = (0.1 + 0.2 * y) * _chebyshev_2(torch.tanh(1.5 * x))
    square = x * x
    bell = a * square * torch.exp(-b * (x - c_r) ** 2)
    angle = 2 * b * c_i * (x - c_r)
    q_j = 0.5 * a * square * torch.exp(-b * (x - d) ** 2) * torch.sin(c_f * x + c_i)
    q_k = 0.5 * b * square * torch.exp(-a * (x + d) ** 2) * torch.cos(b_f * x - c_r)
    return x * (1 - (bell * (torch.cos(angle) - 0.2 * torch.sin(angle)) - 0.15 * (q_j + q_k)))


def _chebyshev_2(x: torch.Tensor) -> torch.Tensor:
    """The second Chebyshev polynomial."""
    return 2 * x * x - 1


@register(
    label="PLER",
    latex=r"x \, p_{3}, \; p_{t+1} = \mathrm{clip}[L(p_{t}) + c(x) (L(r_{t}) - L(p_{t}))], \; "
    r"r_{t+1} = L(r_{t})",
    formula=(
        "x*p3; L = lambda v: 3.8*v*(1 - v); c = 2/(1 + (x/2)**2) - 1; "
        "p0 = sigmoid(x); r0 = 0.3; r1 = L(r0); r2 = L(r1); r3 = L(r2); "
        "p1 = clip(L(p0) + c*(r1 - L(p0)), 0, 1); p2 = clip(L(p1) + c*(r2 - L(p1)), 0, 1); "
        "p3 = clip(L(p2) + c*(r3 - L(p2)), 0, 1)"
    ),
    source=f"{PAPER}, known in outline",
    kind="paper",
    fidelity="reconstructed",
    note=(
        "[ours] everything but the outline (two coupled logistic maps, attraction at small |x|, repulsion "
        "and collapse at large |x|, a gate on x): the rate 3.8, three steps, the start sigmoid(x), the "
        "reference's start 0.3, the coupling, which falls from 1 at 0 through 0 at |x| = 2 towards -1, the "
        "clip to [0, 1], and that it is pointwise."
    ),
)
def pler(
    x: torch.Tensor, rate: float = 3.8, strength: float = 1.0, radius: float = 2.0, reference: float = 0.3
) -> torch.Tensor:
    """Phase-Locked Entropic Repulsion: x gated by a logistic map that is coupled to a reference map."""
    coupling = strength * (2 / (1 + (x / radius) ** 2) - 1)
    state = torch.sigmoid(x)
    for _ in range(3):
        reference = rate * reference * (1 - reference)
        state = rate * state * (1 - state)
        state = torch.clamp(state + coupling * (reference - state), 0.0, 1.0)
    return x * state


# --- the paper's functions that see other elements of the tensor ----------------------------------


@register(
    label="Turbulent",
    latex=r"\mathrm{sign}(x) \log(1 + 0.5 |x|) + 0.2 \, e^{-z^{2} / 2} \sin(2 x), \; "
    r"z = \frac{x - m}{s + 10^{-6}}",
    formula="sign(x)*log1p(0.5*abs(x)) + 0.2*exp(-z**2/2)*sin(2*x); z = (x - mean(x))/(std(x) + 1e-6)",
    source=f"{PAPER}, Figure 4",
    kind="paper",
    pointwise=False,
    note=(
        "m and s are over the whole tensor, in training and in evaluation; the absolute value in the "
        "logarithm is from an account of the paper. [ours] the slope of s is taken as 0 where s = 0."
    ),
)
def turbulent(x: torch.Tensor, growth: float = 0.5, amplitude: float = 0.2, frequency: float = 2.0) -> torch.Tensor:
    """A signed logarithm plus a sine that fades away from the tensor's own mean."""
    z = (x - torch.mean(x)) / (_root(torch.var(x, correction=0)) + 1e-6)
    # Not abs(x) and sign(x): autograd takes their slope at 0 as 0, and the formula's there is `growth`.
    logarithm = torch.log1p(growth * torch.where(x < 0, -x, x))
    wave = torch.exp(-0.5 * z * z) * torch.sin(frequency * x)
    return torch.where(x < 0, -logarithm, logarithm) + amplitude * wave


def _root(variance: torch.Tensor) -> torch.Tensor:
    """The square root with slope 0 at 0 [ours]; torch's is infinite there: NaN for a constant batch."""
    positive = variance > 0
    return torch.where(positive, torch.sqrt(torch.where(positive, variance, 1.0)), 0.0)


@register(
    label="QFW",
    latex=r"x \, (0.02 + \frac{1}{1 + a |x - b|^{v}}), \; v = 1 + e^{-s}, \; "
    r"a = 0.08 \; (x \geq b), \; 0.02 \; (x < b)",
    formula=(
        "x*(0.02 + 1/(1 + a*abs(x - b)**v)); b = mean(x, axis=0); v = 1 + exp(-std(x, axis=0)); "
        "a = where(x >= b, 0.08, 0.02)"
    ),
    source=f"{PAPER}, Figure 3, step 13",
    kind="paper",
    pointwise=False,
    note="[ours] s is the population's standard deviation, and its slope is taken as 0 where s = 0.",
)
def qfw(x: torch.Tensor, leak: float = 0.02, right: float = 0.08, left: float = 0.02) -> torch.Tensor:
    """Quantum Fluctuation Witch: x damped by a power of its distance from the batch mean."""
    center = torch.mean(x, dim=0, keepdim=True)
    spread = _root(torch.var(x, dim=0, keepdim=True, correction=0))
    power = torch.abs(x - center) ** (1 + torch.exp(-spread))
    return x * (leak + 1 / (1 + torch.where(x >= center, right * power, left * power)))


@register(
    label="Phase-Flipped",
    latex=r"M \tanh(\frac{g x \pm \mu d}{M}), \; "
    r"\pm = \mathrm{sign} \, \cos[50 (x / C)^{3} + 0.5 \sin(25 x / C)]",
    formula=(
        "where(cos(flip) > 0, M*tanh((g*x + meta*detail)/M), M*tanh((g*x - meta*detail)/M)); M = 10; C = 10; "
        "p = roll(x, 1, axis=-1); n = roll(x, -1, axis=-1); u = (x/C)**2; meta = 1 + 2*u*exp(-u/1.5); "
        "amp = 2*u*exp(-u/2); energy = x**2 + (p**2 + n**2)/4; lap = x - (p + n)/2; "
        "a = sigmoid(2*(energy - C**2)/C**2 + 5*(lap/C)**2); "
        "disrupt = (1 - a)*0.2*sin(15*x) + a*0.8*sin(40*x + 5*lap); "
        "phase = x + 0.5*x**2*sign(x)/C + disrupt + 2*(0.5*p - n)/C; detail = amp*sin(phase); "
        "g = exp(-(abs(x)/20)**4); flip = 50*(x/C)**3 + 0.5*sin(25*x/C)"
    ),
    source=f"{PAPER}, listing",
    kind="paper",
    pointwise=False,
    note="Neighbours stand along the last axis, the features; the result jumps where cos(flip) changes sign.",
)
def symmetric_phase_flipped(x: torch.Tensor, bound: float = 10.0, scale: float = 10.0) -> torch.Tensor:
    """Symmetric Phase-Flipped: a bounded identity with a detail whose sign flips with the phase of x."""
    before, after = torch.roll(x, 1, -1), torch.roll(x, -1, -1)  # the paper's p and n
    u = (x / scale) ** 2
    meta = 1 + 2 * u * torch.exp(-u / 1.5)
    amplitude = 2 * u * torch.exp(-u / 2)
    energy = x * x + (before * before + after * after) / 4
    laplacian = x - (before + after) / 2
    mix = torch.sigmoid(2 * (energy - scale**2) / scale**2 + 5 * (laplacian / scale) ** 2)
    disrupt = (1 - mix) * 0.2 * torch.sin(15 * x) + mix * 0.8 * torch.sin(40 * x + 5 * laplacian)
    phase = x + 0.5 * x * torch.abs(x) / scale + disrupt + 2 * (0.5 * before - after) / scale
    detail = meta * amplitude * torch.sin(phase)
    fading = torch.exp(-((x / 20) ** 4)) * x
    flip = 50 * (x / scale) ** 3 + 0.5 * torch.sin(25 * x / scale)
    return bound * torch.tanh((fading + torch.where(torch.cos(flip) > 0, detail, -detail)) / bound)


@register(
    label="FISG",
    latex=r"g x + (1 - g) y, \; g = e^{-r}, \; r = \frac{\sum |X_{\mathrm{high}}|}{\sum |X| + 10^{-6}}, \; "
    r"X = \mathrm{rfft}(x)",
    formula=(
        "gate*x + (1 - gate)*y; n = x.shape[-1]; X = rfft(x); k = arange(n//2 + 1); "
        "high = k >= floor(0.5*(n//2 + 1)); r = sum(high*abs(X), axis=-1, keepdims=True)"
        "/(sum(abs(X), axis=-1, keepdims=True) + 1e-6); gate = exp(-r); y = irfft(where(high, conj(X), X), n)"
    ),
    source=f"{PAPER}, listing",
    kind="paper",
    fidelity="completed",
    pointwise=False,
    note=(
        "[ours] the split at 0.5 of the frequencies, k = 1 and eps = 1e-6; r is taken for each sample over "
        "its features; the spectrum is in float32 where x is in a shorter type."
    ),
)
def fisg(x: torch.Tensor, split: float = 0.5, k: float = 1.0, eps: float = 1e-6) -> torch.Tensor:
    """Fourier-Informed Spectral Gating: x mixed with itself under reversed high-frequency phases."""
    wide = x.to(torch.promote_types(x.dtype, torch.float32))
    spectrum = torch.fft.rfft(wide, dim=-1)
    index = math.floor(split * spectrum.shape[-1])
    low, high = spectrum[..., :index], spectrum[..., index:]
    total = torch.sum(torch.abs(spectrum.detach()), dim=-1, keepdim=True)
    ratio = torch.sum(torch.abs(high.detach()), dim=-1, keepdim=True) / (total + eps)
    mirrored = torch.fft.irfft(torch.cat([low, torch.conj(high)], dim=-1), n=x.shape[-1], dim=-1)
    gate = torch.exp(-k * ratio)
    return (gate * wide + (1 - gate) * mirrored).to(x.dtype)


# --- the registry's readers -----------------------------------------------------------------------


def names(kind: str | None = None, pointwise: bool | None = None) -> list[str]:
    """Names in the registry's order, of one kind and of pointwise or coupled functions alone where asked for.

    Raises:
        ValueError: a kind that is neither "hand-made" nor "paper".
    """
    if kind is not None and kind not in KINDS:
        raise ValueError(f"wanted kind in {KINDS}, got {kind!r}")
    entries = (entry for entry in REGISTRY.values() if kind is None or entry.kind == kind)
    return [entry.name for entry in entries if pointwise is None or entry.pointwise == pointwise]


def _entry(name: str) -> Activation:
    """The registry's entry, or a ValueError that names what there is, the closest name first."""
    if name not in REGISTRY:
        closest = difflib.get_close_matches(str(name), REGISTRY, n=len(REGISTRY), cutoff=0.0)
        raise ValueError(f"wanted an activation among {', '.join(closest)}; got {name!r}")
    return REGISTRY[name]


class ActivationModule(nn.Module):
    """A zoo function as a module; its constants are set at construction and shown by its repr.

    Raises:
        ValueError: a constant that the function does not have, or one that is not a finite number.
    """

    activation: Activation

    def __init__(self, **constants: float) -> None:
        """Take the constants that differ from the function's defaults."""
        super().__init__()
        self.constants = self.activation.settle(constants)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The function of x `[batch, ..., features]`, of the same shape and dtype."""
        return self.activation.function(x, **self.constants)

    def extra_repr(self) -> str:
        """The constants, as in a call."""
        return ", ".join(f"{key}={value}" for key, value in self.constants.items())


@functools.cache
def get(name: str) -> type[ActivationModule]:
    """The module class of a zoo function: `get("gelu-sine")(amplitude=0.2)` is a module.

    Raises:
        ValueError: a name that is not in the registry.
    """
    entry = _entry(name)
    body = {"activation": entry, "__doc__": entry.function.__doc__}
    return type(_class_name(name), (ActivationModule,), body)


def _class_name(name: str) -> str:
    """The name in capitals and without hyphens: GeluSine for gelu-sine."""
    return name.title().replace("-", "")


def __getattr__(attribute: str) -> type[ActivationModule]:
    """The module classes by their class names, which is where pickle looks for them."""
    for name in REGISTRY:
        if _class_name(name) == attribute:
            return get(name)
    raise AttributeError(f"module {__name__!r} has no attribute {attribute!r}")


def program_source(name: str, **constants: float) -> str:
    """A zoo function as a candidate program: source that defines `activation(x)`, lifted from this module.

    Args:
        name: a name in the registry.
        **constants: constants that differ from the function's defaults.

    Returns:
        The private helpers, then `activation` with all its constants as leading assignments.

    Raises:
        ValueError: an unknown name or constant, or a constant that is not a finite number.
    """
    entry = _entry(name)
    settled = entry.settle(constants)
    definitions = _definitions()
    target = ast.parse(ast.unparse(definitions[entry.function.__name__])).body[0]
    target.name, target.decorator_list = "activation", []
    target.args.args, target.args.defaults = target.args.args[:1], []
    target.body[:0] = [ast.parse(f"{key} = {value!r}").body[0] for key, value in settled.items()]
    return "\n\n".join(ast.unparse(node) for node in [*_helpers(target, definitions), target]) + "\n"


@functools.cache
def _definitions() -> dict[str, ast.FunctionDef]:
    """This module's top-level functions as syntax trees, without docstrings and annotations."""
    tree = ast.parse(inspect.getsource(sys.modules[__name__]))
    functions = {node.name: node for node in tree.body if isinstance(node, ast.FunctionDef)}
    for node in functions.values():
        node.returns = None
        node.body = node.body[ast.get_docstring(node) is not None :]
        for argument in node.args.args:
            argument.annotation = None
    return functions


def _helpers(target: ast.FunctionDef, definitions: dict[str, ast.FunctionDef]) -> list[ast.FunctionDef]:
    """The private functions that a function calls, and those that they call, each before its callers."""
    found: dict[str, ast.FunctionDef] = {}
    for node in ast.walk(target):
        if isinstance(node, ast.Name) and node.id.startswith("_") and node.id in definitions:
            helper = definitions[node.id]
            found |= {inner.name: inner for inner in _helpers(helper, definitions)} | {helper.name: helper}
    return list(found.values())
