"""Programs of the search's canary: what the language takes, what it refuses, and what is no activation (ours)."""

from __future__ import annotations

import textwrap


def _body(text: str, before: str = "") -> str:
    return f"{before}def activation(x):\n{textwrap.indent(text, '    ')}"


# What the scripted proposer brings, in turn: programs of each fate. The empty one is an answer that did not come.
SCRIPT = (
    _body("return x * torch.sigmoid(0.8125 * x)"),  # killed in training, by its constant
    _body("return torch.sigmoid(x * 0.8125) * x"),  # the same function, killed likewise
    _body("return x * torch.sigmoid(13 * x / 16)"),  # again, and trained
    _body("return torch.sigmoid(13 * x / 16) * x"),  # its duplicate by fingerprint
    _body("return torch.sigmoid(13 * x / 16) * x  # again"),  # a duplicate by source of that duplicate
    _body("return x * torch.cos(0.4375 * x)"),  # fails in training
    _body("return torch.log(x)"),  # fails on the probes
    _body("return x + 0.5 * x.mean(dim=0, keepdim=True)"),  # looks across the tensor
    "",
    _body("return x.data"),  # refused
    _body("return sum([torch.sin(k * x) for k in range(1, 40)])"),  # too dear
    _body("return torch.maximum(-x, 0.25 * x)"),
    _body("return 4.0 * torch.sin(4 * x) + 40.0"),  # far behind
)
# fmt: off
ACCEPTED = {
    "names": _body("y: float = C\nreturn y * x", "import math\nC = math.sqrt(2 / math.pi)\n"),
    "helpers": _body("'''A word.'''\nhalf = lambda y, n=2: y / n\nreturn half(x) + double(x)",
                     "import torch.nn.functional as F\ndef double(x, n=2):\n    return n * x\n"),
    "loops": _body("y = 0.0\nfor k, c in enumerate(C):\n    y = y + c * x ** k\nreturn y", "C = [1.0, 0.5, 0.25]\n"),
    "lists": _body("ts = []\nfor k in range(3):\n    ts = [*ts, k * x]\nreturn sum(ts)"),
    "pairs": _body("return sum(a * torch.sin(w * x) for a, w in zip(A, W))", "A = (1.0, 0.5)\nW = (1, 2)\n"),
    "conditions": _body("if 'none' == 'tanh':\n    return x\nelse:\n    return x if A > 1 else -x", "A = 2\n"),
    "growth": _body("p = F.pad(x, (1, 1), mode='constant', value=0.0)\n"
                    "return p[..., 2:] * 2 ** 10 / math.factorial(4) + (1, 2)[0] * len((1,) * 3 + (2,))"),
    "spectra": _body("X = torch.fft.rfft(x, dim=-1)\nreturn torch.fft.irfft(X, n=x.shape[-1], dim=-1)"),
    "matrices": _body("v, _ = torch.sort(x, dim=-1)\nreturn x @ (x.mT @ v) / x.shape[0] + torch.special.i0(x)"),
}
REFUSED = (
    "", "x = 1\n" * 4000, _body("return " + "-" * 60 + "x"), _body("return (" + ",".join(["x"] * 3000) + ")"),
    "def activation(x:\n    return x",
    _body("return x") + "\nreturn 1", _body("return x") + "\0",
    # syntax
    _body("while True:\n    y = x"), _body("yield x"), "async " + _body("return x"), _body("x += 1\nreturn x"),
    _body("x.sin()\nreturn x"), "@F.relu\n" + _body("return x"), "def activation(*x):\n    return x", _body("y = x"),
    _body("'''Nothing.'''"), _body("y: float\nreturn x"),
    _body("for k in range(3):\n    y = x\nelse:\n    y = x\nreturn y"),
    _body("import math\nreturn x"),
    # imports
    "import os\n" + _body("return x"), "import torch as t\n" + _body("return x"),
    "from torch import sin\n" + _body("return x"), "from .torch.nn import functional as F\n" + _body("return x"),
    "import torch, math\nfrom torch.nn import functional as F\n" + _body("return x"),
    # names
    _body("return np.sin(x)"), _body("return sin(x)"), _body("scale = 2.0\nreturn scal * x"), _body("return quux * x"),
    _body("return open('f')"), _body("__tick__ = 1\nreturn x"), _body("torch = 1\nreturn x"),
    _body("t = torch\nreturn x"),
    _body("t = torch.fft\nreturn x"), _body("f = zip\nreturn x"), _body("return x", "def range(n):\n    return n\n"),
    # attributes
    _body("return x._base"), _body("return torch.sin.__globals__"), _body("return x.add_(1)"),
    _body("return torch.relu_(x)"), _body("return x.item()"), _body("return x.sin"),
    _body("y = [].append(x)\nreturn x"),
    _body("return x.cat(x)"), _body("return torch.rand_like(x)"), _body("return x.normal_()"),
    _body("return torch.gelu(x)"), _body("return torch.sigmiod(x)"), _body("return torch.load('f')"),
    _body("return x.register_hook(abs)"), _body("return x.resize(3)"), _body("x.data = 1\nreturn x"),
    # arguments
    _body("return torch.sin(x, out=x)"), _body("return F.relu(x, True)"), _body("return torch.sin(x, **x)"),
    _body("return x.mean(keepdimm=True)"), _body("return torch.sin(x, generator=x)"),
    _body("return f(x, slope=2)", "def f(x, slope):\n    return slope * x\n"),
    # assignment
    _body("x[0] = 1\nreturn x"), _body("for x[0] in (1, 2):\n    y = x\nreturn x"), _body("a, *b = x\nreturn a"),
    _body("for a, *b in ((1, 2),):\n    y = x\nreturn x"),
    # constants
    _body("y = 'cuda'\nreturn x"), _body("y = b'x'\nreturn x"), _body("return (1j * x).real"),
    _body("return x * 10_000"), _body("return x * 10_001"), _body("return x * 0x" + "f" * 600),
    _body("return x * 2 ** 62"), _body("return x * 2 ** 63"), _body("return x * N ** (N - 1)", "N = 100\n"),
    # loops
    _body("for row in x:\n    y = row\nreturn x"), _body("return sum(x for _ in range(10_000))"),
    _body("return sum(x for i in range(100) for j in range(101))"),
    _body("y = x\nfor i in range(101):\n    for j in range(100):\n        y = y + 1\nreturn y"),
    _body("return f(x)", "def f(x):\n    return g(x)\ndef g(x):\n    return f(x)\n"),
    _body("f = lambda y: f(y)\nreturn f(x)"), _body("return x", "E = enumerate((1, 2))\n"),
    _body("return x", "G = (k for k in range(3))\n"), _body("return sum([x async for _ in range(3)])"),
    # the program
    "def f(x):\n    return x", _body("return x") + "\n" + _body("return -x"), _body("return x") + "\nactivation = 3",
    "def activation(x, y):\n    return x", "def activation(x, y=2):\n    return y * x",
)
# Ends at run time, or just does not.
LIMITS = (
    _body("n = 1\nfor k in range(100):\n    n = n * 2\nreturn n * x"),
    _body("return x * 3 ** f(30)", "def f(n):\n    return n\n"),
    _body("return x * 3 ** f(40)", "def f(n):\n    return n + 0 * int(2.5)\n"),
    _body("return x * (f(9e18) + f(9e18))", "def f(n):\n    return int(n)\n"),
    _body("return x * len((1,) * f(10000))", "def f(n):\n    return int(n)\n"),
    _body("return x * len((1,) * f(10000))", "def f(n):\n    return int(n) + 1\n"),
    _body("return x * len([1] * 9000 + [1] * 9000)"), _body("return x * math.factorial(20)"),
    _body("return x * math.factorial(21)"), _body("return x + len(sum([(1,), (2,)], ()))"),
    _body("return x * f(20)", "def f(n):\n    return sum(g(k) for k in range(100))\ndef g(n):\n"
          "    return sum(h(k) for k in range(90))\ndef h(n):\n    return n\n"),
    _body("return x * f(20)", "def f(n):\n    return sum(g(k) for k in range(100))\ndef g(n):\n"
          "    return sum(h(k) for k in range(99))\ndef h(n):\n    return sum(range(3))\n"),
    _body("f = (F.leaky_relu,)[0]\nreturn f(x, 0.1)"), _body("f = (F.leaky_relu,)[0]\nreturn f(x, 0.1, True)"),
    _body("return x * len(range(int(20000.0)))"), _body("return x.tanh()"), _body("return x + len('tanh' * 3)"),
)
# fmt: on
CURVES = (
    _body("return torch.tanh(x)"),  # odd, bounded
    _body("return x ** 2"),  # even, superlinear
    _body("return torch.sin(x)"),  # oscillating
    _body("return x * torch.sin(x)"),  # swinging
    _body("return x / torch.sqrt(1 + torch.abs(x))"),  # sublinear
    _body("return x + torch.exp(0.8 * x ** 2)"),  # undefined far out
    _body("return x + 0.1 * x.mean(dim=0, keepdim=True)"),  # across the batch
    _body("y = torch.fft.rfft(x, dim=-1)\nreturn x + 0.1 * torch.fft.irfft(y, n=x.shape[-1], dim=-1)"),
    _body("v, _ = torch.sort(x, dim=-1)\nreturn x + 0.1 * v + x @ (x.mT @ x) * 1e-3 + torch.special.bessel_j1(x)"),
    _body("return torch.xlogy(x, x * x + 1.0) + torch.hypot(x, x + 1.0)"),
)
MISBEHAVED = (
    _body("return 2.0"), _body("return x.sum()"), _body("return torch.complex(x, x)"), _body("return x.float()"),
    _body("return x.detach()"), _body("return x - x + x.detach()"), _body("return torch.log(x)"), _body("return 0 * x"),
    _body("return torch.floor(x)"), _body("return x if x.sum() > 0 else -x"),
    _body("return x[:, :1] + x[:1] * 0 + x.T"),
    _body("return torch.sin(1e12 * x)"), _body("return x if x.dtype == torch.float64 else 2 * x"),
    _body("return x + math.sin(x)"), _body("return x + x.mean(dim=1, keepdim=True).reshape(x.shape[0], 1)"),
)  # fmt: skip
BOUNDED = (
    "n = -3", "n = 2 + 3 * 4 - 5 // 2", "n = 2 ** 62", "n = 2 ** 63", "n = (-2) ** 3", "n = 5 // (2 - 2)", "n = 2.5",
    "n = 7 % 2", "n = (1, 2, *(3, 4))", "n = (1, *x)", "n = [i for i in range(3) for j in range(2)]",
    "n = [i for i in x]",
    "A = [0.5, 1.5]\nn = A + A + [1]", "n = x + [1]", "A = [0.5, 1.5]\nn = A[1:]", "A = [1, 2]\nn = enumerate(A)",
    "A = [0.5, 1.5]\nn = zip(A, range(9))", "A = (1, 5)\nA = [1]\nn = reversed(A)", "n = list(x)", "n = zip(*x)",
    "N = 3\nn = range(N - 1, 9, 2)", "n = range(9, 1, -2)", "n = range(1, 5, 0)", "n = range(1, 5, k)",
    "n = len((1, 2))",
    "n = len(x)", "for i in range(5):\n    y = i\nn = range(i + 1)",
    "for i, a in enumerate((7, 8)):\n    y = 1\nn = i + a",
    "for a, b in zip((1, 2), (3, 4)):\n    y = 1\nn = a * b", "a, (b, c) = 1, (2, 3)\nn = b - c", "a, b = x\nn = a",
    "a, b = (1, *x)\nn = b", "m = 1\nm = m + 1\nn = range(m)", "f = lambda m: m\nn = range(m)",
    "for k in x:\n    y = 1\nn = k",
    "def f(x, m=3):\n    return m\ny = f(1)\nn = range(m)",
    "def f(x, m):\n    return m\ny = f(1, 4) + f(2, m=6)\nn = m",
    "def f(x, m):\n    return m\ng = f\ny = f(1, 4)\nn = m", "def f(x, m):\n    return m\ny = f(*z)\nn = m",
    "def f(x, *, m=2):\n    return m\ny = f(1, m=5)\nn = m", "for i in ((1, 2), 3):\n    y = 1\nn = i",
    "\n".join(["a0 = 1", *(f"a{i + 1} = a{i}" for i in range(35)), "n = a35"]), "n = f(2)",
    "n = range()", "for i in list((2, 7)):\n    y = 1\nn = i",
)  # fmt: skip
# Programs that the grammar changes: what each was made from, and itself.
PARENTS = (
    (_body("return torch.maximum(0.5 * x, 2.0 * x)"), _body("return torch.maximum(0.7 * x, 2.0 * x)")),
    (_body("return x * torch.sigmoid(1.5 * x)"), _body("return x * torch.sigmoid(-1.2 * x)")),
    (
        _body("return x"),
        _body(
            "a = torch.clamp(x, min=-1.0)\nb, c = (a * 0.5, x.mean(dim=0, keepdim=True))\nd = a > 0.25\n"
            "for k in range(2):\n    a = a + 0.1 * torch.sin(x)\n"
            "return torch.where(d, a.abs() ** 1.5, (x - c) / torch.sqrt(x.var(correction=0) + 1e-06))"
        ),
    ),
    (
        _body("return x"),
        _body(
            "y = half(x)\nreturn torch.exp(-torch.abs(x) ** 2.5) * y[0] + F.softplus(x) - x ** 2 / 3.0",
            "def half(z):\n    return z * 0.5\n",
        ),
    ),
    ("", _body("return x")),
)
