"""A call of every function and method of the candidate language, for the tests that hold of each of them."""

from actlab.candidates.language import ALLOWED, ATTRIBUTES

ARGUMENTS = {  # of those that do not take x alone; x is [4, 6] in [-0.9, 0.9], and s its sigmoid
    "x, s": "add arctan2 atan2 complex copysign div divide eq expand_as floor_divide fmax fmin fmod ge gt heaviside"
    " hypot le logaddexp logaddexp2 logical_and logical_or logical_xor lt maximum minimum mul multiply ne pow remainder"
    " sub subtract true_divide type_as xlogy",
    "x, -1": "argsort cumprod cumsum log_softmax logsumexp softmax softmin sort unbind view",
    "x, 0.5": "celu elu leaky_relu",
    "x, 0.0, 1.0": "clamp clip threshold",
    "x, 0, 1": "movedim transpose",
    "x, 0, 0, 2": "narrow",
    "x, 2, -1": "chunk split",
    "x, 2, 1": "repeat",
    "x, 1, 0": "roll",
    "x, -1, 2, 1": "unfold",
    "x, s, 0.5": "lerp",
    "x, x.mT": "matmul",
    "x, x.shape": "broadcast_to expand",
    "x, x.shape[-1:]": "layer_norm",
    "x, (0,)": "flip",
    "x, (1, 0)": "permute",
    "x, (1, 1)": "pad",
    "x, (2, 1)": "tile",
    "x, (-1,)": "reshape",
    "x, (3,), 1.0": "new_full",
    "x, 2.0": "full_like",
    "x, 3": "new_ones new_zeros",
    "x, 0": "unsqueeze",
    "x, [1.0]": "new_tensor",
    "x, torch.float32": "to",
    "x + 2": "acosh arccosh",
    "s, x": "polar",
    "[x, s]": "cat stack",
    "[1.0, 2.0]": "tensor",
    "6": "arange fftfreq rfftfreq",
    "0.0, 1.0, 5": "linspace",
    "s > 0.5, x, s": "where",
    "torch.complex(x, s)": "ifft imag irfft view_as_real",
    "x.dtype, torch.float32": "promote_types",
}
_OF = {name: arguments for arguments, names in ARGUMENTS.items() for name in names.split()}
CONSTANTS = {"bfloat16", "bool", "e", "fft", "float16", "float32", "float64", "inf", "pi", "special"}


def calls():
    """Expressions of x and s, one for every listed function, method and attribute."""
    for where in ("torch", "torch.fft", "torch.special", "F"):
        for name in sorted(ALLOWED[where] - (CONSTANTS if where == "torch" else set())):
            yield f"{where}.{name}({_OF.get(name, 'x')})"
    for name in sorted(ALLOWED["tensor"] - ATTRIBUTES - {"where"}):
        first, _, rest = _OF.get(name, "x").partition(", ")
        yield f"({first}).{name}({rest})"
    yield from (f"x.{name}" for name in sorted(ATTRIBUTES - {"values", "indices", "imag"}))
    yield from ("x.where(s > 0.5, s)", "torch.fft.rfft(x).imag", "x.max(dim=0).values", "x.min(dim=0).indices")
    yield from (
        "x @ x.mT",
        "-x",
        "x % 2.0",
        "x // 2.0",
        "2.0 ** x",
        "x ** 3",
        "(x > 0) & ~(x < 1) | (x == 0) ^ (x != 0)",
    )
