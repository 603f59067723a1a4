"""Hostile programs, by name: in the language of candidates, and in raw Python as if that language had been escaped.

`REFUSED` must end before anything runs; `MISBEHAVED` before any training, whether a rule or its behaviour gives it
away; `EXHAUSTING` in any way but with a score, and within its time. `HARMLESS` looks hostile and does nothing. Every
program of `RAW` runs in the confined child itself: its Outcome is (ended, words of the error).
"""

from __future__ import annotations

from dataclasses import dataclass

HEAD = "def activation(x):\n    "


def _returns(expression: str) -> str:
    return f"{HEAD}return {expression}\n"


def _before(line: str) -> str:
    """A line that runs when the program is imported, before an honest function."""
    return f"{line}\n{HEAD}return torch.tanh(x)\n"


def _within(*lines: str) -> str:
    return "\n    ".join([HEAD.rstrip(), *lines]) + "\n"


_IMPORTS = """
    import os
    import sys
    import subprocess
    import ctypes
    import numpy
    import actlab.lab.tasks
    import actlab.scoring.evaluator as F
    import torch.multiprocessing as F
    import torch.utils.cpp_extension as F
    import math as torch
    import torch as math
    from os import path as F
    from torch import *
    from torch import multiprocessing
    from torch.nn import functional
    from . import tasks
    import torch, os
    from __future__ import annotations
"""

_VALUES = {  # of one expression each
    "leaves by exit": "exit()",
    "leaves by quit": "quit(0)",
    "opens a file": "open('/etc/passwd').read()",
    "reads the keyboard": "input()",
    "prints": "print(x)",
    "stops in the debugger": "breakpoint()",
    "evaluates": "eval('1')",
    "executes": "exec('import os')",
    "compiles": "compile('1', '', 'eval')",
    "imports by name": "__import__('os').fork()",
    "reads builtins": "__builtins__",
    "reads its loader": "__loader__",
    "reads its spec": "__spec__.loader",
    "asks whether it is debugged": "x if __debug__ else 2 * x",
    "reads globals": "globals()",
    "reads locals": "locals()",
    "reads vars": "vars(torch)",
    "lists a module": "dir(torch)",
    "gets an attribute by name": "getattr(x, 'grad')",
    "sets an attribute by name": "setattr(torch, 'sin', torch.cos)",
    "takes a type": "type(x)",
    "makes an object": "object()",
    "tells by identity": "x * id(x)",
    "tells by hash": "x * hash('a')",
    "walks the classes of a tensor": "x.__class__.__mro__[-1].__subclasses__()",
    "walks the classes of a tuple": "().__class__.__base__.__subclasses__()",
    "walks the classes of a string": "''.__class__.__mro__",
    "walks the classes of a number": "(1).__class__.__base__",
    "reads the globals of a lambda": "(lambda: 0).__globals__",
    "reads its own globals": "activation.__globals__['torch']",
    "reads its own code": "activation.__code__.co_consts",
    "reads its own closure": "activation.__closure__",
    "reads the module of a built-in": "math.sqrt.__self__",
    "reads the module of a builtin": "sum.__self__.open('/etc/passwd')",
    "reads a list's method": "[].append.__self__",
    "walks the frame of a generator": "(i for i in range(1)).gi_frame.f_back.f_globals",
    "formats a string": "'{0.__class__}'.format(x)",
    "formats a string from a map": "'{x.__class__}'.format_map(x)",
    "writes an f-string": "f'{x.__class__}'",
    "nests an f-string": "f'{f\"{x!r:{x}}\"}'",
    "joins strings": "''.join(['a', 'b'])",
    "spells an attribute by NFKC": "x.__ｃlass__",
    "spells eval by NFKC": "ｅｖａｌ('1')",
    "spells torch.load by NFKC": "torch.ｌｏａｄ('f')",
    "spells an in-place method by NFKC": "x.ｓｉｎ_()",
    "walrus": "(torch := x)",
    "awaits": "await x",
    "yields": "(yield x)",
    "loads a pickle": "torch.load('f')",
    "saves": "torch.save(x, 'f')",
    "maps a file": "torch.from_file('/etc/passwd', size=8)",
    "fetches from a hub": "torch.hub.load('a/b', 'c')",
    "loads a library": "torch.ops.load_library('/lib/x86_64-linux-gnu/libc.so.6')",
    "loads a library of classes": "torch.classes.load_library('/lib/x86_64-linux-gnu/libc.so.6')",
    "calls an operator by its entry": "torch.ops.aten.sin_(x)",
    "builds an extension": "torch.utils.cpp_extension.load_inline('a', 'b')",
    "goes into torch's C part": "torch._C._cuda_init()",
    "loads a compiled module": "torch.jit.load('f')",
    "scripts": "torch.jit.script(activation)(x)",
    "compiles with torch": "torch.compile(activation)(x)",
    "starts processes with torch": "torch.multiprocessing.spawn(activation)",
    "traces": "torch.fx.symbolic_trace(activation)",
    "exports": "torch.onnx.export(activation, x, 'f')",
    "opens a package": "torch.package.PackageImporter('f')",
    "profiles": "torch.profiler.profile()",
    "speaks to others": "torch.distributed.init_process_group('gloo')",
    "registers an operator": "torch.library.Library('a', 'DEF')",
    "reaches os through torch": "torch.os.system('true')",
    "reaches sys through torch": "torch.sys.modules",
    "reaches torch through torch": "torch.torch.load('f')",
    "reaches the builtins through torch": "torch.builtins.open('f')",
    "reaches warnings through F": "F.warnings.sys.modules",
    "reaches torch through F": "F.torch.load('f')",
    "reaches importlib through F": "F.importlib.import_module('os')",
    "reaches a loader through math": "math.__loader__",
    "shares a storage": "x.storage().share_memory_()",
    "shares a tensor": "x.share_memory_()",
    "reads a storage": "x.untyped_storage()",
    "reads an address": "x * x.data_ptr()",
    "writes a file from a tensor": "x.numpy().tofile('f')",
    "turns a tensor into numbers": "x.tolist()",
    "takes a number out": "x * x.sum().item()",
    "sets threads": "torch.set_num_threads(8)",
    "sets the default type": "torch.set_default_dtype(torch.float64)",
    "sets the default device": "torch.set_default_device('meta')",
    "seeds": "torch.manual_seed(0)",
    "asks for the seed": "x * torch.initial_seed()",
    "sets the generator's state": "torch.set_rng_state(torch.get_rng_state())",
    "sets determinism": "torch.use_deterministic_algorithms(True)",
    "sets the printing": "torch.set_printoptions(threshold=10000)",
    "sets gradients off": "torch.set_grad_enabled(False)",
    "asks for gradients": "x if torch.is_grad_enabled() else 2 * x",
    "asks whether it trains": "x if x.requires_grad else 2 * x",
    "asks whether it is a leaf": "x if x.is_leaf else 2 * x",
    "asks for its graph": "x.grad_fn.next_functions",
    "sets anomaly detection": "torch.autograd.set_detect_anomaly(True)",
    "sets a backend": "torch.backends.mkldnn.set_flags(False)",
    "sets flushing": "torch.set_flush_denormal(True)",
    "draws like x": "x + torch.rand_like(x)",
    "draws normals": "x + torch.randn(1)",
    "draws a permutation": "x[torch.randperm(4)]",
    "drops out": "F.dropout(x, 0.5)",
    "draws slopes": "F.rrelu(x, training=True)",
    "draws Bernoulli": "torch.bernoulli(x.sigmoid())",
    "draws in place": "x.normal_()",
    "reads memory that is not set": "x + torch.empty_like(x)",
    "reads memory that is not set, by shape": "x + x.new_empty(4)",
    "steps in place": "x.sin_()",
    "steps in place by torch": "torch.relu_(x)",
    "steps in place by keyword": "F.relu(x, inplace=True)",
    "steps in place by position": "F.relu(x, True)",
    "steps in place by the third position": "F.leaky_relu(x, 0.1, True)",
    "steps in place by the fourth position": "F.threshold(x, 1.0, 2.0, True)",
    "steps in place by a dictionary": "F.relu(x, **{'inplace': True})",
    "writes out by keyword": "torch.sin(x, out=x)",
    "writes out by position": "F.normalize(x, 2.0, 1, 1e-12, x)",
    "copies into x": "x.copy_(0 * x)",
    "reads the data behind": "x.data",
    "reads the gradient": "x.grad",
    "asks for a gradient": "x.requires_grad_()",
    "steps backward": "x.sum().backward()",
    "hooks the gradient": "x.register_hook(lambda g: 0 * g)",
    "sets another storage": "x.set_()",
    "resizes": "x.resize_(1)",
    "makes an object by new": "x.new(4)",
    "is a module": "torch.nn.Linear(4, 4)(x)",
    "is an optimiser": "torch.optim.Adam([x])",
    "is a class of torch's": "torch.Tensor(x)",
    "detaches by context": "torch.no_grad()(activation)(x)",
    "checkpoints": "torch.utils.checkpoint.checkpoint(activation, x)",
    "maps itself": "torch.func.vmap(activation)(x)",
    "differentiates itself": "torch.func.grad(activation)(x)",
    "takes bytes": "b'a'",
    "takes a huge string": "x.sum('" + "a" * 5000 + "')",
    "takes an escaped control character": "x.sum('\\x1b[2J')",
    "takes an escaped surrogate": "x.sum('\\ud800')",
    "takes an invalid escape": "x.sum('\\d')",
    "takes a huge integer": "x * " + "9" * 4000,
    "takes an integer too long to read": "x * " + "9" * 6000,
    "takes an integer too long to print": "x * 0x" + "f" * 6000,
    "takes a huge power": "x * 9 ** 9 ** 9",
    "takes a huge shift": "x * (1 << 10000)",
    "loops without end in one expression": "sum(1 for i in range(10000) for j in range(10000)) * x",
    "calls itself": "activation(x)",
    "nests parentheses": "(" * 5000 + "x" + ")" * 5000,
    "nests brackets": "[" * 5000 + "x" + "]" * 5000,
    "opens and never closes": "(" * 19000,
    "nests braces": "{" * 9000 + "}" * 9000,
    "nests subscripts": "x[" * 4000 + "0" + "]" * 4000,
    "nests calls": "x.sin(" * 150 + ")" * 150,
    "nests keywords": "F.pad(x=" * 150 + "x" + ")" * 150,
    "nests lambdas": "lambda: " * 2000 + "x",
    "nests conditions": "x if 1 else " * 1500 + "x",
    "chains minus signs": "-" * 15000 + "x",
    "chains nots": "not " * 4500 + "x",
    "chains stars": "*" * 15000 + "x",
    "chains sums": "x+" * 9000 + "x",
    "chains powers": "x**" * 6000 + "x",
    "chains comparisons": "x<" * 9000 + "x",
    "chains methods": "x" + ".sin()" * 3000,
    "chains strings": "'' " * 6000,
    "passes four thousand arguments": "torch.cat(" + "x," * 4000 + ")",
}

_LINES = {  # that run before activation is called
    "patches backward": "torch.Tensor.backward = None",
    "patches Adam": "torch.optim.Adam.step = lambda self: None",
    "patches a function of torch": "torch.sin = torch.cos",
    "patches math": "math.sqrt = None",
    "patches F": "F.relu = torch.tanh",
    "deletes torch": "del torch",
    "shadows torch": "torch = 1",
    "shadows a builtin": "sum = max",
    "keeps torch under another name": "t = torch",
    "keeps a loader under another name": "read = torch.load",
    "declares a class": "class A:\n    __class_getitem__ = open",
    "declares a metaclass": "class A(metaclass=print): pass",
    "declares with a decorator": "@print\ndef helper(x):\n    return x",
    "declares with a default that calls": "def helper(x=open('f')):\n    return x",
    "opens in a with": "with open('f', 'w') as f: f.write('x')",
    "tries": "try:\n    open('f')\nexcept OSError as error: pass",
    "tries with a star": "try:\n    1\nexcept* OSError: pass",
    "asserts": "assert open('f')",
    "raises": "raise SystemExit",
    "loops without end": "while True: 1",
    "loops without end over a list that grows": "a = [0]\nfor i in a: a.append(i)",
    "matches a class": "match torch:\n    case object(__dict__=d): d['sin'] = None",
    "declares a type": "y: open('f', 'w')",
    "awaits in a function": "async def f():\n    await f()",
    "adds in place": "n = 0\nn += 1",
    "assigns to an item": "a = [0]\na[0] = 1",
    "assigns to a slice": "a = [0]\na[:] = [1]",
    "assigns to an attribute in a loop": "for torch.sin in (1,): a = 1",
    "binds torch in a comprehension": "a = [torch for torch in (1,)]",
    "binds a name with two underscores": "__tick__ = 0",
    "reads a guard": "a = __plus__",
    "takes an integer that grows": "a = 10000 ** 10000",
    "takes a list that grows": "a = [b for b in range(99999999999)]",
    "keeps a generator": "g = (i for i in range(10000))",
    "keeps a zip": "g = zip(range(10000), range(10000))",
    "keeps an iterator in a list": "g = [reversed([1, 2, 3])]",
    "keeps an iterator in a tuple's default": "def helper(x, g=enumerate([1, 2])):\n    return x",
    "declares torch anew": "def torch(x):\n    return x",
    "declares a builtin anew": "def len(x):\n    return 1",
    "declares a builtin by NFKC": "def ｌｅｎ(x):\n    return x",
}

_WITHIN = {  # that run when activation is called
    "counts its calls in an attribute": ("activation.calls = 1", "return x"),
    "counts its calls in a global": ("global calls", "calls = 1", "return x * calls"),
    "counts its calls in a default": ("def f(a, seen=[]):", "    seen.append(1)", "    return a", "return f(x)"),
    "counts its calls in a closure": ("calls = 0", "def f():", "    nonlocal calls", "    calls += 1", "return x"),
    "adds to x": ("x += 1", "return x"),
    "assigns into x": ("x[0] = 0", "return x"),
    "assigns into a view of x": ("y = x.view(-1)", "y[0] = 0", "return x"),
    "deletes x": ("del x", "return x"),
    "imports inside": ("import os", "return x"),
    "switches gradients off": ("with torch.no_grad():", "    return x"),
    "is no plain function": ("yield x",),
}

_WHOLE = {  # sources that are written out
    "no source": "",
    "no function": "a = 1",
    "two functions": _returns("x") + _returns("2 * x"),
    "a lambda": "activation = lambda x: x",
    "a class": "class activation:\n    def __new__(cls, x):\n        return x",
    "an async function": "async def activation(x):\n    return x",
    "two arguments": "def activation(x, y):\n    return x",
    "any arguments": "def activation(*x):\n    return x[0]",
    "any keywords": "def activation(**x):\n    return x",
    "an argument named torch": "def activation(torch):\n    return torch.sin()",
    "a decorated function": "@torch.compile\ndef activation(x):\n    return x",
    "a function that another replaces": _returns("x") + "activation = torch.load\n",
    "a null byte": _returns("x\0"),
    "a null byte at the end": _returns("x") + "\0",
    "a surrogate": _returns("x + '\ud800'"),
    "a surrogate in a name": _returns("x\udc80"),
    "a byte order mark": "\ufeff" + _returns("x"),
    "a file separator": "\x1c".join(["a = 1", _returns("x")]),
    "an escape sequence": "\x1b[2J" + _returns("x"),
    "a space that is none": "def activation(x):\n\u2003return x",
    "a character of no width": _returns("x\u200b"),
    "an indent of tabs and spaces": "def activation(x):\n\tif 1:\n        return x\n",
    "a text without an end": HEAD + "'''" + "a" * 5000,
    "a line that goes on for ever": "\\\n" * 9000,
    "ten megabytes": _returns("x") + "#" * 10_000_000,
    "ten megabytes of lines": _returns("x") + "\n" * 10_000_000,
    "ten megabytes of brackets": HEAD + "return " + "(" * 10_000_000,
    "a hundred levels": "".join(" " * i + "if 1:\n" for i in range(101)),
    "fifty levels, said often": HEAD + "".join(" " * i + "if 1:\n     " for i in range(50)) + " " * 50 + "a=x;" * 900,
    "thousands of statements": HEAD + "a=x;" * 4500 + "return a\n",
    "a name of ten thousand letters": _within("ф" * 9000 + " = x", "return " + "ф" * 9000),
    "a name of astral letters": _within("𐐀" * 9000 + " = x", "return " + "𐐀" * 9000),
    "utf-7 by a cookie": "# -*- coding: utf-7 -*-\n+AGkAbQBwAG8AcgB0- os\n",
    "not Python": "Here is my function: def activation(x): return x",
    "a fenced block": "```python\n" + _returns("x.data") + "```",
    "prose around what is broken": "Here is my function:\ndef activation(x)\n    return x",
    "a prompt": ">>> " + _returns("x"),
}

REFUSED = (
    {line.strip(): _before(line.strip()) for line in _IMPORTS.strip().splitlines()}
    | {name: _returns(value) for name, value in _VALUES.items()}
    | {name: _before(line) for name, line in _LINES.items()}
    | {name: _within(*lines) for name, lines in _WITHIN.items()}
    | _WHOLE
)

_COUNTER = "g = zip(range(10000))\n"  # each pass takes one: it counts calls, were it allowed

MISBEHAVED = {
    "nothing comes back": _within("y = x"),
    "None": _returns("None"),
    "a number": _returns("1.0"),
    "a text": _returns("'none'"),
    "a tuple": _returns("(x, x)"),
    "a list": _returns("[x]"),
    "a function": _returns("lambda y: y"),
    "a shape": _returns("x.shape"),
    "a boolean": _returns("x > 0"),
    "whole numbers": _returns("x.to(torch.int64)"),
    "doubles": _returns("x.double()"),
    "floats": _returns("x.float()"),
    "halves": _returns("x.half()"),
    "complex numbers": _returns("torch.complex(x, x)"),
    "a complex spectrum": _returns("x * torch.fft.fft(x)"),
    "an in-place step by a starred call": _returns("F.relu(*(x, True))"),
    "words that run together": _returns("x * 1if x else 0x1for x in x"),
    "one sum": _returns("x.sum()"),
    "one row": _returns("x[:1]"),
    "one row more": _returns("torch.cat([x, x[:1]])"),
    "a transposed result": _returns("x.T"),
    "another axis": _returns("x[None]"),
    "not a number everywhere": _returns("x * (math.inf - math.inf)"),
    "not a number below zero": _returns("x.log()"),
    "not a number in the slope": _returns("x.abs().sqrt()"),
    "not a number at zero": _returns("x / x"),
    "infinity": _returns("x * torch.inf"),
    "infinity far out": _returns("torch.exp(torch.exp(x))"),
    "a slope without end": _returns("x.abs() ** 0.1 * x.sign()"),
    "a constant": _returns("torch.ones_like(x)"),
    "a constant that pretends": _returns("0 * x + 1"),
    "a detached result": _returns("x.detach()"),
    "a result without slope": _returns("x.sign()"),
    "a result half detached and flat": _returns("x.detach() + 0 * x"),
    "a condition over values": _within("if x.sum() > 0:", "    return x", "return 2 * x"),
    "a loop over values": _within("y = x", "for v in x:", "    y = y + v", "return y"),
    "a condition over one value": _returns("x if x[0, 0] > 0 else -x"),
    "a conversion of a value": _returns("x * float(x[0, 0])"),
    "a division by zero at import": _before("a = 1 / 0"),
    "a division by zero": _returns("x * (1 / 0)"),
    "an index beyond the end": _returns("x.sum(5)"),
    "an attribute that the type has not": _returns("(1).sin()"),
    "a size below zero": _returns("x.new_zeros(-1, 3)"),
    "an error of ten thousand shapes": _returns("x.view([1] * 9000)"),
    "a call of a number": _returns("x * 3(x)"),
    "wrong arguments": _returns("torch.where()"),
    "state in a module's generator": "g = (k for k in range(3))\n" + _returns("x * (1 + sum(g))"),
    "state in a module's zip, for later": _COUNTER + _returns("x * (1 + (sum(1 for _ in zip(g, (0, 0))) < 1))"),
    "state in a default's iterator": "def f(y, g=reversed(range(500))):\n    return y * sum(a for a, _ in zip(g, y))\n"
    + _returns("f(x)"),
    "functions that call one another": "def f(x):\n    return g(x)\ndef g(x):\n    return f(x)\n" + _returns("f(x)"),
    "a function that is given itself": "def f(g, x):\n    return g(g, x)\n" + _returns("f(f, x)"),
    "a lambda that is given itself": _returns("(lambda f: f(f))(lambda f: f(f))"),
    "another result alone than in a stack": _returns("x * x.stride(0)"),
    "another device": _returns("x.to('meta')"),
    "another function by the type of x": _returns("torch.sin(x) if x.dtype == torch.float32 else torch.tanh(x)"),
}


def _doubling(depth: int) -> str:
    """Functions that call one another twice each, without a loop: 2 ** depth calls."""
    helpers = "".join(f"def f{i + 1}(x):\n    return f{i}(f{i}(x))\n" for i in range(depth))
    return "def f0(x):\n    return torch.sin(x)\n" + helpers + _returns(f"f{depth}(x)")


EXHAUSTING = {
    "calls that double": _doubling(30),
    "calls that double at import": _doubling(30) + "a = f30(torch.tensor(1.0))\n",
    "loops within calls within loops": "def f(x):\n    return sum([x.sin() for i in range(9999)])\ndef g(x):\n"
    "    return sum([f(x) for i in range(9999)])\n" + _returns("sum([g(x) for i in range(9999)])"),
    "an integer that squares itself": _within("n = 9999", "for k in range(60):", "    n = n * n", "return x * n"),
    "an integer that is raised": _within("n = 9999", "for k in range(9):", "    n = n ** 9999", "return x * n"),
    "a list that doubles": _within("a = [x]", "for k in range(60):", "    a = a + a", "return a[0]"),
    "a list that doubles by stars": _within("a = [x]", "for k in range(60):", "    a = [*a, *a]", "return a[0]"),
    "a tuple that is multiplied": _within("a = (x,)", "for k in range(20):", "    a = a * 9999", "return a[0]"),
    "a tensor that doubles": _within("y = x", "for k in range(60):", "    y = torch.cat([y, y])", "return y[:1] + x"),
    "a tensor too large": _returns("x + x.new_zeros(9999, 9999, 9999).sum()"),
    "a tensor too large by a product": _returns("x + torch.arange(9999.0)[:, None, None].mul("
    "torch.arange(9999.0)[:, None] * torch.arange(9999.0)).sum()"),
    "a tensor too large by repeating": _returns("x + x.repeat(9999, 9999, 9999).sum()"),
    "a tensor too large by padding": _returns("x + F.pad(x, (9999, 9999, 9999, 9999)).repeat(99, 99).sum()"),
    "matrices in C": _within("y = x.new_ones(3000, 3000)", "for k in range(999):", "    y = y @ y", "return y"),
    "sorting in C": _within("y = x.new_ones(3000, 3000)", "for k in range(999):", "    y = y.sort()[0]", "return y"),
    "sums without memory": _returns("x + sum([x.new_zeros(1).expand(9999, 9999, 9999).sum() for k in range(9999)])"),
    "a comprehension without end": _returns("x * len([0 for i in range(9999) for j in range(9999) for k in range(9)])"),
    "a range without end": _returns("x * sum(range(10 ** 18))"),
    "a list of a range without end": _returns("x * len(list(range(10 ** 12)))"),
    "a sum of a tensor's elements": _returns("x * 0 + sum(x.new_zeros(1).expand(9999, 9999, 9999).flatten())"),
    "a program that grows when it is written anew": HEAD + "".join(" " * i + "if 1:\n     " for i in range(50))
    + " " * 50 + "return;" * 2400 + "return\n    return x\n",
    "cost beyond the budget": _within("y = x", "for k in range(999):", "    y = torch.sin(y)", "return y"),
    "cost at one shape alone": _within("y = x", "for k in range(999 if x.shape[0] == 64 else 1):", "    y = y.sin()",
    "return y"),
}  # fmt: skip

HARMLESS = {
    "an annotation that would open a file": "def activation(x: open('annotated', 'w')) -> open('returned', 'w'):\n"
    "    return torch.tanh(x)\n",
    "a text that would open a file": "'''open('a', 'w')'''\n" + _within("'''open('b', 'w')'''", "return torch.tanh(x)"),
    "a comment that turns the line around": "# \u202e def activation\n" + _returns("torch.tanh(x)"),
    "form feeds and carriage returns": "\f\r\n" + _returns("torch.tanh(x)").replace("\n", "\r\n"),
}

SELFISH = {  # legal, each with the function that it is where it is trained, in batches of 64 and in float32
    "another function by the size of the batch": (
        _returns("torch.sin(x) if x.shape[0] == 64 else torch.tanh(x)"),
        _returns("torch.sin(x)"),
    ),
    "x itself, which the lab might change in place": (_returns("x"), _returns("1.0 * x")),
}


@dataclass(frozen=True)
class Raw:
    """Python for the job `python`: how it must end, with which words, and which confinements these need."""

    source: str
    ended: str
    words: str = ""
    needs: tuple[str, ...] = ()


def _denied(source: str, words: str = "raised PermissionError: [Errno 1]") -> Raw:
    """What seccomp refuses."""
    return Raw(source, "failed", words, ("seccomp",))


def _sends(answer: str, words: str) -> Raw:
    """An answer that is forged, and is none."""
    return Raw(f"os.write(3, {answer}); os._exit(0)", "killed", f"sent no answer that can be read: {words}")


def _stalls(source: str) -> Raw:
    return Raw(source, "killed", "ran longer than its 0.3 s, and was ended with its process group")


def _dies(source: str, words: str) -> Raw:
    return Raw(source, "killed", f"its process {words} before it answered")


_NUMBER = "wanted a shape of whole numbers"
_SIZES = "wanted shapes that arrays can have"

RAW = {
    # processes and threads
    "forks": _denied("os.fork()"),
    "forks by libc": _denied("libc.fork.errcheck = lambda came, *_: call(57) if came < 0 else came; libc.fork()"),
    "clones": _denied("call(56, 0x11, 0, 0, 0, 0)"),
    "clones by another call": _denied("call(435, 0, 0)"),
    "starts a program": _denied("os.execv('/bin/true', ['true'])"),
    "spawns a program": _denied("os.posix_spawn('/bin/true', ['true'], {})"),
    "runs a shell": _denied("subprocess.run(['true'])"),
    "starts a thread": _denied("threading.Thread(target=print).start()", "raised RuntimeError: can't start new thread"),
    "starts torch's threads": Raw("torch.set_num_threads(8); torch.ones(2000, 2000).exp().sum()", "killed",
                                  "left with exit status 1", ("seccomp",)),
    "leaves its session": _denied("os.setsid()"),
    "leaves its group": _denied("os.setpgid(0, os.getppid())"),
    # signals: 0 asks for the right to send one, and harms nobody where a wall is missing
    "kills its parent": _denied("os.kill(os.getppid(), signal.SIGKILL)"),
    "kills everything": _denied("os.kill(-1, 0)"),
    "kills its parent's group": _denied("os.killpg(os.getpgid(os.getppid()), 0)"),
    "kills its parent's thread": _denied("call(234, os.getppid(), os.getppid(), 9)"),
    "kills by a descriptor of a process": _denied("call(434, os.getppid(), 0)"),
    "asks to outlive its parent": _denied("call(157, 1, 0)"),
    "asks for an alarm": _denied("signal.setitimer(signal.ITIMER_REAL, 1)", "Operation not permitted"),
    # other processes' memory
    "traces its parent": _denied("call(101, 16, os.getppid(), 0, 0)"),
    "asks to be traced": _denied("call(101, 0, 0, 0, 0)"),
    "reads its parent's memory": _denied("call(310, os.getppid(), 0, 0, 0, 0, 0)"),
    "writes its parent's memory": _denied("call(311, os.getppid(), 0, 0, 0, 0, 0)"),
    "reads its parent's environment": _denied("open(f'/proc/{os.getppid()}/environ', 'rb').read()"),
    "reads its parent's memory as a file": _denied("open(f'/proc/{os.getppid()}/mem', 'rb').read(1)"),
    "reads its own environment": _denied("open('/proc/self/environ', 'rb').read()"),
    "lists its own descriptors": _denied("os.listdir('/proc/self/fd')"),
    "shares memory by System V": _denied("call(29, 1, 4096, 0o1600)"),
    "shares memory by a file": _denied("call(319, 0, 0)"),
    # files and sockets
    "reads a file": _denied("open('/etc/passwd').read()"),
    "reads the program that judges": _denied("open(torch.__file__.replace('torch', 'actlab')).read()"),
    "writes a file": _denied("open('here', 'w')"),
    "writes a file elsewhere": _denied("open('/tmp/actlab-was-here', 'w')"),
    "removes a file": _denied("os.unlink('/tmp/actlab-was-here')"),
    "renames a file": _denied("os.rename('/tmp', '/pmt')"),
    "makes a folder": _denied("os.mkdir('here')"),
    "makes a link": _denied("os.symlink('/etc', 'here')"),
    "lists a folder": _denied("os.listdir('/')"),
    "leaves its folder": _denied("os.chdir('/')"),
    "changes a mode": _denied("os.chmod('/tmp', 0o777)"),
    "tells whether a file is there": _denied("os.stat('/etc/passwd')"),
    "loads a library by C": _denied("ctypes.CDLL('libutil.so.1')", "raised OSError"),
    "loads a module": Raw("import xml.sax", "failed", "raised ModuleNotFoundError", ("seccomp",)),
    "loads the tasks": Raw("import actlab.lab.tasks", "failed", "raised ModuleNotFoundError", ("seccomp",)),
    "loads a pickle by torch": _denied("torch.load('/tmp/f')", "raised"),
    "maps a file by torch": _denied("torch.from_file('/etc/passwd', size=1)", "raised RuntimeError"),
    "shares a tensor by a file": _denied("torch.ones(1).share_memory_()", "raised RuntimeError"),
    "opens a socket": _denied("socket.socket(socket.AF_INET)"),
    "opens a socket of Unix": _denied("socket.socket(socket.AF_UNIX)"),
    "opens a pair of sockets": _denied("socket.socketpair()"),
    "opens a socket to the kernel": _denied("socket.socket(socket.AF_NETLINK, socket.SOCK_RAW)"),
    "opens a pipe": _denied("os.pipe()"),
    "copies its pipe": _denied("os.dup(3)"),
    # rights and limits
    "raises a limit": _denied("resource.setrlimit(resource.RLIMIT_NPROC, (99, 99))", "raised"),
    "raises its parent's limit": _denied("call(302, os.getppid(), 6, 1, 0)"),
    "becomes another user": _denied("os.setuid(1)"),
    "leaves its namespaces": _denied("call(272, 0x10000000)"),
    "mounts": _denied("call(165, 0, 0, 0, 0, 0)"),
    "filters its calls anew": _denied("call(317, 1, 0, 0)"),
    "asks for a ring": _denied("call(425, 1, 0)"),
    "asks for a program in the kernel": _denied("call(321, 0, 0, 0)"),
    "asks for events": _denied("call(298, 0, 0, 0, 0, 0)"),
    "maps memory to be run": _denied("mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)"),
    "changes memory to be run": _denied("call(10, 0, 4096, 7)"),
    "makes data readable as code": _denied("call(135, 0x400000)"),
    "breaks a page for all": _denied("call(28, 1, 4096, 100)"),
    "takes a page from all": _denied("call(28, 1, 4096, 101)"),
    "takes another processor": _denied("os.sched_setaffinity(0, [0])"),
    "goes first": _denied("os.nice(-5)"),
    "sleeps": _denied("time.sleep(0)"),
    "calls by another door": Raw("call(0x40000000 | 57)", "killed", "SIGSYS", ("seccomp",)),
    # memory
    "allocates at once": Raw("bytearray(10 ** 12)", "failed", "wanted more memory than it may have", ("limits",)),
    "allocates at once by torch": Raw("torch.empty(10 ** 12)", "failed", "wanted more memory than it may have",
                                      ("limits",)),
    "allocates at once by numpy": Raw("np.empty(10 ** 12)", "failed", "wanted more memory than it may have",
                                      ("limits",)),
    "allocates at once by C": Raw("libc.memset(libc.malloc(ctypes.c_size_t(10 ** 12)), 1, 1)", "killed", "SIGSEGV",
                                  ("limits",)),
    "allocates more and more": Raw("a = []\nwhile True: a.append(mmap.mmap(-1, 10 ** 7))", "failed",
                                   "wanted more memory than it may have", ("limits",)),
    # time
    "loops": _stalls("while True: pass"),
    "loops and hears nothing": _stalls("for n in (2, 15, 24):\n signal.signal(n, signal.SIG_IGN)\nwhile True: pass"),
    "loops over refused forks": _stalls("while True:\n try: os.fork()\n except OSError: pass"),
    "loops in C": _stalls("pow(10 ** 6, 10 ** 8)"),
    "stops itself": _stalls("signal.raise_signal(signal.SIGSTOP)"),
    "closes its pipe and goes on": _stalls("os.close(3)\nwhile True: pass"),
    "fills its pipe and waits": _stalls("os.write(3, b'{}')\nwhile True: pass"),
    "raises what takes for ever to say": _stalls(
        "class Long(Exception):\n def __str__(self):\n  while True: pass\nraise Long"),
    # ends
    "leaves with 0": Raw("os._exit(0)", "killed", "sent no answer that can be read: wanted a line"),
    "leaves with 3": _dies("os._exit(3)", "left with exit status 3"),
    "leaves politely": Raw("sys.exit(5)", "failed", "raised SystemExit: 5"),
    "is interrupted": Raw("raise KeyboardInterrupt", "failed", "raised KeyboardInterrupt"),
    "raises what is no Exception": Raw("class E(BaseException): pass\nraise E", "failed", "raised E"),
    "aborts": _dies("os.abort()", "was ended by signal SIGABRT"),
    "reads where nothing is": _dies("ctypes.string_at(0)", "was ended by signal SIGSEGV"),
    "runs its data": _dies("code = ctypes.create_string_buffer(b'\\xc3' * 4096)\n"
                           "ctypes.CFUNCTYPE(None)(ctypes.addressof(code))()", "was ended by signal SIGSEGV"),
    "kills itself": _dies("signal.raise_signal(signal.SIGKILL)", "was ended by signal SIGKILL"),
    "claims that its time is over": _dies("signal.raise_signal(signal.SIGXCPU)", "was ended by signal SIGXCPU"),
    "ends by a signal without a name": _dies("signal.raise_signal(40)", "was ended by signal 40"),
    "recurses": Raw("f = lambda: f()\nf()", "failed", "raised RecursionError"),
    "recurses in C": _dies("sys.setrecursionlimit(10 ** 9)\nclass A:\n def __getattr__(self, n):\n"
                           "  return getattr(self, n)\nA().x", "was ended by signal SIGSEGV"),
    # floods, and errors that are not to be shown
    "floods its output": Raw("for n in (0, 1, 2):\n for _ in range(100): os.write(n, b'flood' * 10 ** 5)", "answered"),
    "floods its printing": Raw("print('flood' * 10 ** 7); sys.stderr.write('flood' * 10 ** 7)", "answered"),
    "floods its pipe": Raw("while True: os.write(3, b'x' * 10 ** 6)", "killed", "sent more than"),
    "drips into its pipe": Raw("while True: os.write(3, b'x')", "killed", ""),
    "floods its answer": Raw("out = [np.zeros(10 ** 6)]", "killed", "sent more than"),
    "floods its answer's head": Raw(
        "head = {'a': 'x' * 10 ** 6}", "failed", "raised TooLong: wanted a head of at most"),
    "raises a flood": Raw("raise Exception('flood ' * 10 ** 7)", "failed", "raised Exception: flood flood"),
    "raises control characters": Raw("raise Exception('\\x1b[2J\\x00\\u202e\\ud800')", "failed",
                                     "raised Exception: ?[2J???"),
    "raises what cannot be said": Raw("class E(Exception):\n def __str__(self): return 1 / 0\nraise E", "killed",
                                      "exit status 70"),
    "raises under a long name": Raw("raise type('A' * 10 ** 6, (Exception,), {})", "killed", "exit status 70"),
    "raises under a name of control characters": Raw("raise type('\\x1b[2J', (Exception,), {})", "failed",
                                                     "raised ?[2J"),
    # answers that are forged
    "answers nothing": Raw("head = None", "killed", "wanted an object with a head and shapes"),
    "answers what JSON has not": Raw("head = {'a': torch.ones(1)}", "failed", "raised TypeError"),
    "sends half of its answer": _sends("messages.pack({}, [np.ones(9)])[:-1]", "wanted 72 bytes of values"),
    "sends two answers": Raw("os.write(3, messages.pack({}))", "killed", "wanted 0 bytes of values"),
    "sends a pickle": _sends("b'cos\\nsystem\\n(S\\'touch pickled\\'\\ntR.'",
                             "wanted JSON"),
    "sends a null": _sends("b'\\0'", "wanted a line"),
    "sends no object": _sends("b'[1, 2]\\n'", "wanted an object"),
    "sends a deep object": _sends("b'[' * 10 ** 5 + b'\\n'", "wanted JSON"),
    "sends a deep object that ends": _sends("b'[' * 10 ** 5 + b']' * 10 ** 5 + b'\\n'", "wanted JSON"),
    "sends a huge number": _sends("b'{\"head\": {}, \"shapes\": [[' + b'9' * 10 ** 5 + b']]}\\n'", "wanted JSON"),
    "sends a huge shape": _sends("b'{\"head\": {}, \"shapes\": [[9999999999999]]}\\n'", _NUMBER),
    "sends a large shape": _sends("b'{\"head\": {}, \"shapes\": [[999999999, 999999999, 9999999]]}\\n'",
                                  "wanted 79999991840000016079999992 bytes of values"),
    "sends a shape too long to print": _sends(
        "b'{\"head\": {}, \"shapes\": [[' + b', '.join([b'9' * 4000] * 4) + b']]}\\n'", _NUMBER),
    "sends a huge shape of nothing": _sends("b'{\"head\": {}, \"shapes\": [[0, 9223372036854775808]]}\\n'", _NUMBER),
    "sends a large shape of nothing": _sends(
        "b'{\"head\": {}, \"shapes\": [[0, 999999999999, 999999999999]]}\\n'", _SIZES),
    "sends a shape below zero": _sends("b'{\"head\": {}, \"shapes\": [[-1]]}\\n'", _NUMBER),
    "sends a shape of truths": _sends("b'{\"head\": {}, \"shapes\": [[true]]}\\n12345678'", _NUMBER),
    "sends a shape of fractions": _sends("b'{\"head\": {}, \"shapes\": [[1.0]]}\\n12345678'", _NUMBER),
    "sends a shape of many axes": _sends("b'{\"head\": {}, \"shapes\": [[1, 1, 1, 1, 1]]}\\n12345678'", _NUMBER),
    "sends a shape that is none": _sends("b'{\"head\": {}, \"shapes\": [{}]}\\n'", _NUMBER),
    "sends many arrays": _sends("messages.pack({}, [np.ones(())] * 65)", "wanted an object with a head and shapes"),
    "claims to have raised": Raw("os.write(3, messages.pack({'raised': '\\x1b' * 999})); os._exit(0)", "failed",
                                 "raised " + "?" * 400),
    "claims to have raised a number": Raw("head = {'raised': 7}", "answered"),
    # the way back, through frames and modules
    "writes to the fork server's stream": Raw(
        "frame = sys._getframe()\nwhile 'answers' not in frame.f_locals: frame = frame.f_back\n"
        "stream = frame.f_locals['answers']\nstream.write(b'x' * 10 ** 5); stream.flush()", "failed", "raised OSError"),
    "returns into the fork server's loop": Raw("os._exit = lambda status: None\nraise SystemExit", "killed",
                                           "left with exit status 1"),
    "patches what packs its answer": Raw("messages.pack.__code__ = (lambda *_: b'junk').__code__", "killed",
                                         "sent no answer"),
    "patches torch, numpy and the lab": Raw(
        "torch.Tensor.backward = torch.optim.Adam.step = torch.sin = np.mean = None\n"
        "sys.modules['actlab.lab.training'].train = sys.modules['actlab.candidates.profiling'].describe = None\n"
        "torch.set_default_dtype(torch.float64); torch.manual_seed(1); torch.set_grad_enabled(False)\n"
        "__builtins__['open'] = None; data['left'] = 1; gc.unfreeze(); gc.disable()", "answered"),
}  # fmt: skip
