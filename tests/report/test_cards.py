"""The functions away from home: with torch alone, compiled, in short types; and the page that describes them."""

import importlib.metadata
import json
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from samples import rows

from actlab.activations import REGISTRY, names
from actlab.core import files
from actlab.core.records import ROOT
from actlab.report import cards

# --- installed alone -----------------------------------------------------------------------------

ALONE = """
import importlib.util, pickle, sys

sys.path.append(sys.argv[1])
assert importlib.util.find_spec("numpy") is None and importlib.util.find_spec("tqdm") is None

import torch
from actlab import activations
from actlab.learnable import learnable

x = torch.linspace(-3, 3, 12).reshape(4, 3).requires_grad_()
for name, entry in activations.REGISTRY.items():
    modules = [entry.function, activations.get(name)()]
    modules += [learnable(name)] if entry.constants else []
    for module in modules:
        assert torch.isfinite(torch.autograd.grad(module(x).sum(), x)[0]).all(), name
model = torch.nn.Sequential(torch.nn.Linear(3, 4), learnable("gelu-sine", "amplitude"), torch.nn.Linear(4, 1))
optimiser = torch.optim.SGD(model.parameters(), lr=0.1)
model(x).sum().backward()
optimiser.step()
assert model[1].constants["amplitude"] != 0.1
pickle.loads(pickle.dumps(model))
activations.program_source("fisg")
print(activations.__file__, len(activations.REGISTRY))
"""


def what_pip_installs(requirements: list[str]) -> set[str]:
    """The distributions that these requirements bring here, extras left out."""
    found, waiting = set(), [Requirement(text) for text in requirements]
    while waiting:
        requirement = waiting.pop()
        name = canonicalize_name(requirement.name)
        if name not in found and (requirement.marker is None or requirement.marker.evaluate({"extra": ""})):
            found.add(name)
            waiting += map(Requirement, importlib.metadata.requires(name) or [])
    return found


def test_pip_install_alone_gives_every_function_and_module(tmp_path):
    """In a fresh interpreter that finds the package, and of other packages what `pip install .` brings."""
    distributions = what_pip_installs(importlib.metadata.requires("actlab"))
    assert "torch" in distributions and not {"numpy", "pandas", "tqdm"} & distributions
    (tmp_path / "actlab").symlink_to(ROOT / "actlab")
    for distribution in map(importlib.metadata.distribution, distributions):
        for top in {file.parts[0] for file in distribution.files} - {"..", "__pycache__"}:
            (tmp_path / top).symlink_to(distribution.locate_file(top))
    command = [sys.executable, "-I", "-S", "-c", ALONE, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == [str(tmp_path / "actlab" / "activations" / "__init__.py"), str(len(REGISTRY))]


# --- compiled ------------------------------------------------------------------------------------

COMPILED = """
import json, torch
from actlab import activations
from actlab.learnable import learnable
from torch._inductor import config

config.compile_threads = 1  # no pool of compilers that outlives this
generator = torch.Generator().manual_seed(0)
found = {}
for name, function in {"turbulent": activations.turbulent, "learnable gmtu": learnable("gmtu")}.items():
    compiled = torch.compile(function, fullgraph=True)
    x, weight = torch.randn(2, 64, 33, generator=generator)
    x = (3 * x).requires_grad_()
    wanted = [x, *(function.parameters() if isinstance(function, torch.nn.Module) else [])]
    parts = [[y := way(x), *torch.autograd.grad((y * weight).mean(), wanted)] for way in (compiled, function)]
    found[name] = [((a - b).abs().max() / b.abs().max()).item() for a, b in zip(*parts)]
print(json.dumps(found))
"""


def test_compiled_functions_give_the_eager_values_and_gradients_in_one_graph():
    """In a process of its own: compiling leaves threads behind, and torch warns of its own old code."""
    done = subprocess.run([sys.executable, "-c", COMPILED], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert {name: len(parts) for name, parts in found.items()} == {"turbulent": 2, "learnable gmtu": 5}
    assert max(max(parts) for parts in found.values()) < 1e-5, found


# --- exported ------------------------------------------------------------------------------------


def test_every_function_is_exported_by_torch_for_batches_of_any_size():
    table = cards.exports(names()).set_index("function")
    assert list(table.index) == names() and table["off"].max() < 1e-6
    assert set(table.index[table["onnx"] != "yes"]) == set(cards.NO_ONNX)


def test_every_function_is_exported_as_onnx_or_has_its_reason():
    """Tried with onnx 1.23.2, onnxscript 0.7.2 and onnxruntime 1.32.0, which are no dependencies."""
    for package in ("onnxscript", "onnxruntime"):
        pytest.importorskip(package, reason=f"{package} is not installed: pip install onnxscript onnxruntime")
    command = [sys.executable, "-c", ONNX, json.dumps(cards.NO_ONNX)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr[-2000:]


ONNX = """
import json, sys, onnxruntime, torch
from actlab import activations

reasons, x = json.loads(sys.argv[1]), torch.linspace(-9, 9, 8 * 33).reshape(8, 33)
for name in activations.names():
    module, sizes = activations.get(name)(), ({0: torch.export.Dim("batch", min=2)},)
    try:
        model = torch.onnx.export(module, (x,), dynamo=True, dynamic_shapes=sizes, verbose=False).model_proto
    except Exception as refusal:
        assert name in reasons and "complex" in str(refusal.__cause__.__cause__), (name, refusal)
        continue
    assert name not in reasons
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    for batch in (x, x[:5]):
        (found,) = session.run(None, {session.get_inputs()[0].name: batch.numpy()})
        assert (torch.from_numpy(found) - module(batch)).abs().max() < 2e-5, name
"""


# --- in short types ------------------------------------------------------------------------------


@pytest.mark.parametrize(("dtype", "near"), [(torch.bfloat16, 0.01), (torch.float16, 0.0013)])
def test_short_types_are_finite_and_near_float32(dtype, near):
    table = cards.rounding(names(), dtype).set_index("function")
    assert list(table.index) == names()
    assert table["kept"].all() and table["finite"].all() and table["finite_far"].all()
    assert table["value_off"].max() < near and table["slope_off"].max() < 2.5 * near


def test_a_cards_source_and_note_are_words_from_outside(tables, monkeypatch):
    entry = replace(REGISTRY["gelu-sine"], label="<b>G", source="[a](javascript:b)", note="$x$ <script>")
    monkeypatch.setitem(REGISTRY, "gelu-sine", entry)
    card = cards.card("gelu-sine", cards.evidence(tables), None, LABS, ROUNDING).splitlines()
    assert card[0] == "### `<b>G`"
    assert card[4] == "- `gelu-sine`, exact: `[a](javascript:b)`. `$x$ <script>`"


def test_rounding_sees_a_function_that_widens_one_that_overflows_and_one_that_is_off(monkeypatch):
    def found(function):
        entry = replace(REGISTRY["relu"], function=function)
        monkeypatch.setitem(REGISTRY, "relu", entry)
        return cards.rounding(["relu"], torch.bfloat16).iloc[0]

    assert not found(lambda x: x.float())["kept"]
    assert not found(lambda x: x * torch.exp(0.01 * x.abs()))["finite_far"]
    assert found(lambda x: x * (1.25 if x.dtype == torch.bfloat16 else 1.0))["value_off"] == 0.25


# --- the page ------------------------------------------------------------------------------------

LOG2 = np.log(2)
PLANNED = rows(
    "subject function n log_ratio low high verdict unequal_fit",
    ("gelu-sine", "relu", 200, -LOG2, -2 * LOG2, -0.5 * LOG2, "better", True),
    ("gelu-sine", "gelu", 200, 0.0, -0.01, 0.01, "undecided", False),
    ("found", "relu", 200, -LOG2, -2 * LOG2, -LOG2, "better", False),
)
SCORES = rows(
    "function n log_ratio log_low log_high train_ratio",
    ("relu", 48, 0.0, 0.0, 0.0, 1.0), ("gelu-sine", 48, LOG2, 0.5 * LOG2, 2 * LOG2, 1.0),
    ("fisg", 48, LOG2, -0.1, 2.0, 9.0), ("found", 48, 0.0, 0.0, 0.0, 1.0),
)  # fmt: skip
ELSEWHERE = rows(
    "task split planned n difference low high verdict failed",
    ("MNIST-5k", "ood", True, 10, 0.02, 0.01, 0.03, "better", 0),
    ("mean of 5 algorithms", "in-distribution", True, 5, -0.3, -0.5, -0.1, "worse", 2),
    ("bfs", "ood", False, 5, 0.0, -0.1, 0.1, None, 0),
).assign(function="gelu-sine", other="gelu")
LABS = rows("aggregate value low high", ("mean", 0.43, 0.337, 0.528), ("typical", 0.25, 0.175, 0.343))
LABS = LABS.assign(what="GELUSine < GELU", n=100)
ROUNDING = rows("function value_off slope_off finite finite_far kept", ("gelu-sine", 0.005, 0.01, True, True, True))


@pytest.fixture
def tables(tmp_path):
    PLANNED.to_csv(tmp_path / "comparisons.csv", index=False)
    SCORES.assign(suite="far").to_csv(tmp_path / "table_1.csv", index=False)
    SCORES.assign(suite="search").to_csv(tmp_path / "zoo_scores.csv", index=False)
    files.note(tmp_path)
    return tmp_path


def test_evidence_has_planned_verdicts_and_those_of_an_interval_alone_where_none_was_planned(tables):
    found = cards.evidence(tables).drop(columns="n").to_records(index=False).tolist()
    assert found == [
        ("gelu-sine", "lab, held-out suite", "relu", "0.50 [0.25, 0.71] of ReLU's loss", "better", "unequal fit"),
        ("gelu-sine", "lab, held-out suite", "gelu", "1.00 [0.99, 1.01] of GELU's loss", "undecided", ""),
        ("gelu-sine", "lab, far suite", "relu", "2.00 [1.41, 4.00] of ReLU's loss", "worse", "not corrected"),
        *[
            ("fisg", f"lab, {suite} suite", "relu", "2.00 [0.90, 7.39] of ReLU's loss", "undecided", note)
            for suite, note in [("far", "not corrected, unequal fit"), ("search", "not corrected, unequal fit")]
        ],
    ]


def test_evidence_from_elsewhere_is_there_once_its_table_is_and_only_what_was_planned(tables):
    assert not cards.has_transfer(tables)
    before = len(cards.evidence(tables))
    ELSEWHERE.to_csv(tables / "downstream.csv", index=False)
    files.note(tables)
    assert cards.has_transfer(tables)
    images, algorithms = cards.evidence(tables).iloc[before:].to_dict("records")
    assert images["where"] == "MNIST-5k, out of distribution"
    assert (images["effect"], images["verdict"], images["note"]) == ("+0.020 [+0.010, +0.030] over GELU", "better", "")
    assert algorithms["where"] == "mean of 5 algorithms, in distribution"
    assert (algorithms["verdict"], algorithms["note"]) == ("worse", "2 failed, counted as chance")


def test_a_card_tells_formula_source_constants_cost_and_each_verdict(tables):
    ELSEWHERE.to_csv(tables / "downstream.csv", index=False)
    files.note(tables)
    cost = {"function": "gelu-sine", "shape": "64 x 64", "rounds": 7, "forward_gelu": 1.5, "backward_gelu": 2.5}
    cost |= {"forward_least": 1.25, "forward_most": 2.0, "backward_least": 2.0, "backward_most": 3.0}
    gelu = dict.fromkeys(cost, 1.0) | {"function": "gelu", "shape": "64 x 64", "forward_us": 1.0, "backward_us": 3.0}
    pd.DataFrame([cost, gelu]).to_csv(tables / "bench_functions.csv", index=False)
    files.note(tables)
    card = cards.card("gelu-sine", cards.evidence(tables), cards.costs(tables), LABS, ROUNDING)
    assert card.splitlines() == [
        "### GELUSine",
        "",
        r"$$\mathrm{GELU}(x) + 0.1 \sin(x)$$",
        "",
        "- `gelu-sine`, exact: arXiv 2602.05688, Figure 4.",
        "- **Can be learned**: amplitude = 0.1.",
        "- **Cost**: 2.2 [1.8, 2.8] times GELU's on 64 x 64 (forward 1.5 [1.2, 2], backward 2.5 [2, 3]).",
        "- **In bfloat16**: finite, off float32 by up to 0.5% of the largest value and 1.0% of the largest slope.",
        "- **Helped**: lab, held-out suite: 0.50 [0.25, 0.71] of ReLU's loss (unequal fit) (n = 200); "
        "MNIST-5k, out of distribution: +0.020 [+0.010, +0.030] over GELU (n = 10).",
        "- **Did not help**: lab, far suite: 2.00 [1.41, 4.00] of ReLU's loss (not corrected) (n = 48); mean of 5 "
        "algorithms, in distribution: -0.300 [-0.500, -0.100] over GELU (2 failed, counted as chance) (n = 5).",
        "- **Undecided**: lab, held-out suite: 1.00 [0.99, 1.01] of GELU's loss (n = 200).",
        "- **In labs drawn at random**: below GELU's loss in 43% [34%, 53%] (mean) and 25% [18%, 34%] (typical) of "
        "100.",
    ]


def test_a_card_says_where_bfloat16_is_finite_but_inaccurate_and_how_far_off(tables):
    made = [cards.card("gelu-sine", cards.evidence(tables), None, LABS, ROUNDING.assign(**other))
            for other in ({"value_off": 0.2335}, {"slope_off": 1.21}, {"finite_far": False})]  # fmt: skip
    (value, slope, infinite) = (next(line for line in card.splitlines() if "bfloat16" in line) for card in made)
    assert "finite but **inaccurate**, off float32 by up to 23.4% of the largest value" in value
    assert "**inaccurate**" in slope and "121.0% of the largest slope; compute in float32 and cast back" in slope
    assert "not finite everywhere" in infinite


def test_both_passes_together_are_weighed_by_gelus_own_times():
    costs = cards.costs(ROOT / "figures").set_index(["function", "shape"])
    for (name, shape), row in costs.iterrows():
        gelu = costs.loc[("gelu", shape)]
        whole = (row.forward_us + row.backward_us) / (gelu.forward_us + gelu.backward_us)
        assert row.both_gelu == pytest.approx(whole, rel=0.1) and row.both_least <= row.both_gelu <= row.both_most, name
    assert (costs.loc["gelu", ["both_gelu"]] == 1).all(axis=None)


def test_labs_are_shares_of_pairs_alone():
    labs = cards.labs(ROOT / "figures")
    assert set(labs["measure"]) == {"share of labs"} and "Turbulent < ReLU" in set(labs["what"])
    assert not labs["what"].str.contains("all|five").any()


def test_a_card_says_what_is_missing_and_warns_of_functions_that_see_their_batch(tables):
    assert cards.costs(tables) is None
    rounding = ROUNDING.assign(function="fisg")
    card = cards.card("fisg", cards.evidence(tables), None, LABS, rounding)
    assert "labs drawn at random" not in card
    assert "**Cost**: not measured; `make bench BENCH=functions` writes" in card
    assert "**Helped**: in no comparison that was made of it." in card and "Did not help" not in card
    assert "**Can be learned**: k = 1, eps = 1e-06." in card
    assert card.splitlines()[-1].startswith("- **Watch**")
    assert "nothing, it has no constants" in cards.card(
        "relu", cards.evidence(tables), None, LABS, ROUNDING.assign(function="relu")
    )
    with pytest.raises(ValueError, match="wanted an activation among"):
        cards.card("relo", cards.evidence(tables), None, LABS, ROUNDING)


def test_verdicts_of_a_place_are_told_by_group(tables):
    told = cards.against(cards.evidence(tables), "lab, far suite", "relu")
    assert told == "better: none; worse: GELUSine; undecided: FISG"


@pytest.mark.parametrize("name", names())
def test_the_committed_tables_give_every_function_a_card(name):
    folder = ROOT / "figures"
    rounding = pd.read_csv(folder / "rounding.csv")
    again = f"run `make bench BENCH=functions` and `make reproduce`; commit {cards.COSTS} and rounding.csv of figures/"
    assert name in set(rounding["function"]) & set(cards.costs(folder)["function"]), again
    card = cards.card(name, cards.evidence(folder), cards.costs(folder), cards.labs(folder), rounding)
    assert REGISTRY[name].source in card
    assert "**inaccurate**" not in card
    assert "nan" not in card
