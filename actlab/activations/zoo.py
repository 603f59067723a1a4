"""The zoo of activations, hand-made and the paper's, as plain tensor functions in one registry (Figure 4).

`register` takes a label, the formula in LaTeX and as text, its source and its kind; `registry` describes the fields.
"""

import math

import torch
import torch.nn.functional as F

from actlab.activations import registry
from actlab.activations.registry import ABOVE_0, AT_LEAST_0, DIVISOR, SHARE, in_float32
from actlab.activations.registry import REGISTRY as REGISTRY
from actlab.activations.registry import Activation as Activation
from actlab.activations.registry import ActivationModule as ActivationModule
from actlab.activations.registry import Limit as Limit
from actlab.activations.registry import entry as entry
from actlab.activations.registry import get as get
from actlab.activations.registry import known as known
from actlab.activations.registry import names as names
from actlab.activations.registry import program_source as program_source
from actlab.activations.registry import register as register

__getattr__ = registry.__getattr__  # the module classes by name, for pickle


def __dir__() -> list[str]:
    """What is defined here, and the module classes."""
    return [*globals(), *(found.module.__name__ for found in REGISTRY.values())]


PAPER = "arXiv 2602.05688"


def found(x: torch.Tensor) -> torch.Tensor:
    """sin x - x²: the final choice of the laptop search from seed 0, read and written down here by hand (ours)."""
    return torch.sin(x) - x * x


# --- hand-made functions --------------------------------------------------------------------------


@register("ReLU", r"\max(0, x)", "maximum(0, x)", "Nair and Hinton, ICML 2010")
def relu(x: torch.Tensor) -> torch.Tensor:
    """The positive part of x; its slope at 0 is 0, as torch has it."""
    return F.relu(x)


@register(
    "Leaky ReLU",
    r"\max(0, x) + 0.01 \min(0, x)",
    "maximum(0, x) + 0.01*minimum(0, x)",
    "Maas, Hannun and Ng, ICML 2013 workshops",
)
def leaky_relu(x: torch.Tensor, slope: float = 0.01) -> torch.Tensor:
    """ReLU with a small slope on the negative side; at 0 it has that side's slope, as in torch."""
    return F.leaky_relu(x, slope)


@register(
    "ELU",
    r"\max(0, x) + \min(0, e^{x} - 1)",
    "maximum(0, x) + expm1(minimum(0, x))",
    "Clevert, Unterthiner and Hochreiter, arXiv 1511.07289",
)
def elu(x: torch.Tensor, alpha: float = 1.0) -> torch.Tensor:
    """Identity on the positive side, an exponential that levels off at -alpha on the other."""
    return F.elu(x, alpha)


@register(
    "SELU",
    r"1.0507 \, [\max(0, x) + 1.6733 \, \min(0, e^{x} - 1)]",
    "1.0507009873554805*(maximum(0, x) + 1.6732632423543772*expm1(minimum(0, x)))",
    "Klambauer, Unterthiner, Mayr and Hochreiter, arXiv 1706.02515",
)
def selu(x: torch.Tensor) -> torch.Tensor:
    """ELU scaled so that zero mean and unit variance are a fixed point of a layer."""
    return F.selu(x)


@register(
    "Softplus",
    r"\log(1 + e^{x})",
    "logaddexp(0, x)",
    "Dugas, Bengio, Belisle, Nadeau and Garcia, NIPS 2000",
    limits={"beta": DIVISOR},
)
def softplus(x: torch.Tensor, beta: float = 1.0) -> torch.Tensor:
    """A smooth ReLU, sharper as beta grows; the identity where beta x > 20, as in torch."""
    return F.softplus(x, beta)


@register(
    "Softsign",
    r"\frac{x}{1 + |x|}",
    "x/(1 + abs(x))",
    "Bergstra, Desjardins, Lamblin and Bengio, technical report 1337, Montreal, 2009",
)
def softsign(x: torch.Tensor) -> torch.Tensor:
    """A sigmoid-like curve that reaches its bounds -1 and 1 as slowly as 1/x."""
    return F.softsign(x)


@register("Tanh", r"\tanh(x)", "tanh(x)", "LeCun, Bottou, Orr and Mueller, Efficient BackProp, 1998")
def tanh(x: torch.Tensor) -> torch.Tensor:
    """The hyperbolic tangent."""
    return torch.tanh(x)


@register(
    "Sine",
    r"\sin(x)",
    "sin(x)",
    "Sitzmann, Martel, Bergman, Lindell and Wetzstein, arXiv 2006.09661",
    note="[ours] frequency 1 rather than SIREN's 30, which belongs to its initialisation.",
)
def sine(x: torch.Tensor, frequency: float = 1.0) -> torch.Tensor:
    """The sine of frequency times x."""
    return torch.sin(frequency * x)


@register(
    "SiLU",
    r"\frac{x}{1 + e^{-x}}",
    "x*sigmoid(x)",
    "Elfwing, Uchibe and Doya, arXiv 1702.03118; Swish in arXiv 1710.05941",
)
def silu(x: torch.Tensor) -> torch.Tensor:
    """x gated by its sigmoid; also called Swish."""
    return F.silu(x)


@register("Mish", r"x \, \tanh(\log(1 + e^{x}))", "x*tanh(logaddexp(0, x))", "Misra, arXiv 1908.08681")
def mish(x: torch.Tensor) -> torch.Tensor:
    """x gated by the tanh of its softplus."""
    return F.mish(x)


@register(
    "GELU",
    r"\frac{x}{2} [1 + \tanh(\sqrt{2 / \pi} \, (x + 0.044715 \, x^{3}))]",
    "x/2*(1 + tanh(sqrt(2/pi)*(x + 0.044715*x**3)))",
    "Hendrycks and Gimpel, arXiv 1606.08415",
)
def gelu(x: torch.Tensor) -> torch.Tensor:
    """GELU in the tanh form, which is the paper's."""
    return F.gelu(x, approximate="tanh")


@register(
    "GELU (erf)",
    r"\frac{x}{2} [1 + \mathrm{erf}(x / \sqrt{2})]",
    "x/2*(1 + erf(x/sqrt(2)))",
    "Hendrycks and Gimpel, arXiv 1606.08415",
)
def gelu_erf(x: torch.Tensor) -> torch.Tensor:
    """GELU in the erf form: x times the normal distribution function."""
    return F.gelu(x)


@register(
    "Snake",
    r"x + \sin^{2}(x)",
    "x + sin(x)**2",
    "Ziyin, Hartwig and Ueda, arXiv 2006.08195",
    limits={"frequency": DIVISOR},
)
def snake(x: torch.Tensor, frequency: float = 1.0) -> torch.Tensor:
    """The identity plus sin(frequency x)^2 / frequency."""
    return x + torch.sin(frequency * x) ** 2 / frequency


# --- the paper's functions, pointwise -------------------------------------------------------------


@register("GELUSine", r"\mathrm{GELU}(x) + 0.1 \sin(x)", "gelu(x) + 0.1*sin(x)", f"{PAPER}, Figure 4", kind="paper")
def gelu_sine(x: torch.Tensor, amplitude: float = 0.1) -> torch.Tensor:
    """GELU plus a small sine."""
    return F.gelu(x, approximate="tanh") + amplitude * torch.sin(x)


@register(
    "GELU-Sinc",
    r"\mathrm{GELU}(x) \, [1 + 0.5 \, \mathrm{sinc}(x)]",
    "gelu(x)*(1 + 0.5*sinc(x))",
    f"{PAPER}, Figure 4",
    kind="paper",
    note="sinc is the normalised one, sin(pi x)/(pi x).",
)
@in_float32
def gelu_sinc(x: torch.Tensor, amplitude: float = 0.5) -> torch.Tensor:
    """GELU-Sinc-Perturbation: GELU amplified around 0 by a normalised sinc."""
    return F.gelu(x, approximate="tanh") * (1 + amplitude * _sinc(x))


def _sinc(x: torch.Tensor) -> torch.Tensor:
    """sin(pi x)/(pi x) with its true derivatives at 0, where torch's own has a NaN as the second one.

    Near 0 the Taylor series takes over; at |x| = 0.05 it is off by 1e-15 in the value and by 1e-11 in the second
    derivative, where the quotient loses digits like 1/x^2. The quotient never sees a 0: no NaN comes back through the
    branch that is not taken.
    """
    near = torch.abs(x) < 0.05
    t = math.pi * torch.where(near, 1.0, x)
    square = (math.pi * torch.where(near, x, 0.0)) ** 2
    series = 1 - square / 6 * (1 - square / 20 * (1 - square / 42 * (1 - square / 72)))
    return torch.where(near, series, torch.sin(t) / t)


@register(
    "GMTU",
    r"\tanh(1.5 x) \, e^{-0.2 x^{2}} + 0.1 x",
    "tanh(1.5*x)*exp(-0.2*x**2) + 0.1*x",
    f"{PAPER}, Figure 4",
    kind="paper",
)
def gmtu(x: torch.Tensor, steepness: float = 1.5, decay: float = 0.2, leak: float = 0.1) -> torch.Tensor:
    """A tanh under a Gaussian, plus a linear leak."""
    return torch.tanh(steepness * x) * torch.exp(-decay * x * x) + leak * x


@register(
    "Leaky sqrt decay",
    r"x \, (0.02 + \frac{1}{\sqrt{1 + a x^{2}}}), \; a = 0.16 \; (x \geq 0), \; 0.04 \; (x < 0)",
    "x*(0.02 + 1/sqrt(1 + a*x**2)); a = where(x >= 0, 0.16, 0.04)",
    f"{PAPER}, Figure 3, step 10",
    kind="paper",
    limits={"right": AT_LEAST_0, "left": AT_LEAST_0},
)
def leaky_sqrt_decay(x: torch.Tensor, leak: float = 0.02, right: float = 0.16, left: float = 0.04) -> torch.Tensor:
    """Leaky square-root power decay: x, levelling off sooner on the right than on the left, plus a leak."""
    square = x * x
    return x * (leak + torch.rsqrt(1 + torch.where(x >= 0, right * square, left * square)))


@register(
    "Quaternion",
    r"x \, [1 - (Q_{w} - 0.2 Q_{i} - 0.15 Q_{j} - 0.15 Q_{k})]",
    "x*(1 - (Qw - 0.2*Qi - 0.15*Qj - 0.15*Qk)); A = 0.5; B = 0.5; Bf = 2; Cf = 3; "
    "y = sin(8*x)**2; T2 = 2*tanh(1.5*x)**2 - 1; T3 = 4*tanh(2*x)**3 - 3*tanh(2*x); "
    "T4 = 8*tanh(x)**4 - 8*tanh(x)**2 + 1; Cr = 0.1*T4; Ci = (0.2 + 0.4*(1 - y))*T3; "
    "D = (0.1 + 0.2*y)*T2; G = A*x**2*exp(-B*(x - Cr)**2); "
    "Qw = G*cos(2*B*Ci*(x - Cr)); Qi = G*sin(2*B*Ci*(x - Cr)); "
    "Qj = 0.5*A*x**2*exp(-B*(x - D)**2)*sin(Cf*x + Ci); Qk = 0.5*B*x**2*exp(-A*(x + D)**2)*cos(Bf*x - Cr)",
    f"{PAPER}, formula known in part",
    kind="paper",
    fidelity="reconstructed",
    note="[ours] A = B = 0.5, Bf = 2, Cf = 3, Cr = 0.1 T4(tanh x), and y as three steps of the logistic map "
    "of rate 4 from sin(x)^2, which is sin(8 x)^2, of mean 0.5 over x; so that it is pointwise.",
)
@in_float32
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
    "PLER",
    r"x \, p_{3}, \; p_{t+1} = \mathrm{clip}[L(p_{t}) + c(x) (L(r_{t}) - L(p_{t}))], \; "
    r"r_{t+1} = L(r_{t})",
    "x*p3; L = lambda v: 3.8*v*(1 - v); c = 2/(1 + (x/2)**2) - 1; "
    "p0 = sigmoid(x); r0 = 0.3; r1 = L(r0); r2 = L(r1); r3 = L(r2); "
    "p1 = clip(L(p0) + c*(r1 - L(p0)), 0, 1); p2 = clip(L(p1) + c*(r2 - L(p1)), 0, 1); "
    "p3 = clip(L(p2) + c*(r3 - L(p2)), 0, 1)",
    f"{PAPER}, known in outline",
    kind="paper",
    fidelity="reconstructed",
    note="[ours] everything but the outline (two coupled logistic maps, attraction at small |x|, repulsion "
    "and collapse at large |x|, a gate on x): the rate 3.8, three steps, the start sigmoid(x), the "
    "reference's start 0.3, the coupling, which falls from 1 at 0 through 0 at |x| = 2 towards -1, the "
    "clip to [0, 1], and that it is pointwise.",
    limits={"radius": DIVISOR},
)
@in_float32
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
    "Turbulent",
    (
        r"\mathrm{sign}(x) \log(1 + 0.5 |x|) + 0.2 \, e^{-z^{2} / 2} \sin(2 x), \; "
        r"z = \frac{x - m}{s + 10^{-6}}"
    ),
    "sign(x)*log1p(0.5*abs(x)) + 0.2*exp(-z**2/2)*sin(2*x); z = (x - mean(x))/(std(x) + 1e-6)",
    f"{PAPER}, Figure 4",
    kind="paper",
    pointwise=False,
    note="m and s are over the whole tensor, in training and in evaluation; the absolute value in the "
    "logarithm is from an account of the paper. [ours] the slope of s is taken as 0 where s = 0.",
    limits={"growth": AT_LEAST_0},
)
@in_float32
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
    "QFW",
    (
        r"x \, (0.02 + \frac{1}{1 + a |x - b|^{v}}), \; v = 1 + e^{-s}, \; "
        r"a = 0.08 \; (x \geq b), \; 0.02 \; (x < b)"
    ),
    "x*(0.02 + 1/(1 + a*abs(x - b)**v)); b = mean(x, axis=0); v = 1 + exp(-std(x, axis=0)); "
    "a = where(x >= b, 0.08, 0.02)",
    f"{PAPER}, Figure 3, step 13",
    kind="paper",
    pointwise=False,
    note="[ours] s is the population's standard deviation, and its slope is taken as 0 where s = 0.",
    limits={"right": AT_LEAST_0, "left": AT_LEAST_0},
)
@in_float32
def qfw(x: torch.Tensor, leak: float = 0.02, right: float = 0.08, left: float = 0.02) -> torch.Tensor:
    """Quantum Fluctuation Witch: x damped by a power of its distance from the batch mean."""
    center = torch.mean(x, dim=0, keepdim=True)
    spread = _root(torch.var(x, dim=0, keepdim=True, correction=0))
    power = torch.abs(x - center) ** (1 + torch.exp(-spread))
    return x * (leak + 1 / (1 + torch.where(x >= center, right * power, left * power)))


@register(
    "Phase-Flipped",
    (
        r"M \tanh(\frac{g x \pm \mu d}{M}), \; "
        r"\pm = \mathrm{sign} \, \cos[50 (x / C)^{3} + 0.5 \sin(25 x / C)]"
    ),
    "where(cos(flip) > 0, M*tanh((g*x + meta*detail)/M), M*tanh((g*x - meta*detail)/M)); M = 10; C = 10; "
    "p = roll(x, 1, axis=-1); n = roll(x, -1, axis=-1); u = (x/C)**2; meta = 1 + 2*u*exp(-u/1.5); "
    "amp = 2*u*exp(-u/2); energy = x**2 + (p**2 + n**2)/4; lap = x - (p + n)/2; "
    "a = sigmoid(2*(energy - C**2)/C**2 + 5*(lap/C)**2); "
    "disrupt = (1 - a)*0.2*sin(15*x) + a*0.8*sin(40*x + 5*lap); "
    "phase = x + 0.5*x**2*sign(x)/C + disrupt + 2*(0.5*p - n)/C; detail = amp*sin(phase); "
    "g = exp(-(abs(x)/20)**4); flip = 50*(x/C)**3 + 0.5*sin(25*x/C)",
    f"{PAPER}, listing",
    kind="paper",
    pointwise=False,
    note="Neighbours stand along the last axis, the features; the result jumps where cos(flip) changes sign.",
    limits={"bound": DIVISOR, "scale": DIVISOR},
)
@in_float32
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
    "FISG",
    (
        r"g x + (1 - g) y, \; g = e^{-r}, \; r = \frac{\sum |X_{\mathrm{high}}|}{\sum |X| + 10^{-6}}, \; "
        r"X = \mathrm{rfft}(x)"
    ),
    "gate*x + (1 - gate)*y; n = x.shape[-1]; X = rfft(x); k = arange(n//2 + 1); "
    "high = k >= floor(0.5*(n//2 + 1)); r = sum(high*abs(X), axis=-1, keepdims=True)"
    "/(sum(abs(X), axis=-1, keepdims=True) + 1e-6); gate = exp(-r); y = irfft(where(high, conj(X), X), n)",
    f"{PAPER}, listing",
    kind="paper",
    fidelity="completed",
    pointwise=False,
    note="[ours] the split at 0.5 of the frequencies, k = 1 and eps = 1e-6; r is taken for each sample over "
    "its features; the spectrum is in float32 where x is in a shorter type.",
    limits={"split": SHARE, "eps": ABOVE_0},
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
