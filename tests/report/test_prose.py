"""Numbers and answers in the prose of notebooks are those of the configuration, the code and the committed tables."""

import json
import re
from functools import cache

import pandas as pd
import pytest

from actlab import activations
from actlab.core import config, paper
from actlab.core.records import ROOT
from actlab.lab import feynman, tasks
from actlab.search import ablation
from actlab.studies import lab_records, trust

SMOKE, LAPTOP, PAPER = (config.PROFILES[name] for name in ("smoke", "laptop", "paper"))
WORDS = {4: "four", 5: "five", 6: "six", 10: "ten", 11: "eleven"}
TIMES = {2.0: "twice", 0.1: "a tenth of", 8: "eighth", 100: "a hundred times"}
ARMS = ablation.DESIGNS["laptop"]
FLOOR = LAPTOP.fitness.floor / next(arm.floor for arm in ablation.ARMS if arm.floor)
CONSTANTS = {name: list(activations.REGISTRY[name].constants.values()) for name in ("gelu-sine", "gmtu")}
SMALL = f"{SMOKE.lab.steps} steps on {SMOKE.tasks.search} "


@cache
def prose(number: str) -> str:
    """All Markdown cells of a notebook, with single spaces."""
    (path,) = (ROOT / "notebooks").glob(f"{number}_*.ipynb")
    cells = [c for c in json.loads(path.read_text())["cells"] if c["cell_type"] == "markdown"]
    return re.sub(r"\s+", " ", "\n".join("".join(cell["source"]) for cell in cells))


def committed(name: str) -> pd.DataFrame:
    """A committed table of the laptop profile."""
    return pd.read_csv(ROOT / "figures" / f"{name}.csv")


@pytest.mark.parametrize(
    ("number", "text"),
    [
        ("01", f"since {PAPER.tasks.search} tasks are trained instead of {LAPTOP.tasks.search}"),
        ("01", f"networks are trained for {SMOKE.lab.steps} steps on few tasks"),
        ("02", f"the same steps on {PAPER.tasks.search} tasks a suite"),
        ("02", f"with a ring {TIMES[LAPTOP.tasks.far_factor]} as wide"),
        ("03", f"trains for {SMALL}tasks"),
        ("03", f"{WORDS[len(lab_records.TEN)].capitalize()} functions are trained"),
        ("03", f"the {WORDS[len(trust.TABLE_1)]} of the paper's Table 1 and {WORDS[len(trust.HAND_MADE)]} hand-made"),
        ("03", f"trains a round for {TIMES[trust.SCREEN]} the steps"),
        ("03", f"or the {TIMES[trust.RANKS[1]]} best"),
        ("03", f"Delta is {LAPTOP.search.delta}"),
        ("03", f"a suite of {SMOKE.tasks.search} tasks, as in the smoke profile"),
        ("04", f"{WORDS[len(activations.names(pointwise=False))].capitalize()} are not."),
        ("04", f"{LAPTOP.lab.width} units, each of which"),
        ("04", f"after {SMOKE.lab.steps} steps"),
        ("05", f"for {SMALL}data sets"),
        ("06", f"{WORDS[len(trust.TABLE_1) + len(trust.HAND_MADE) + 1].capitalize()} functions are trained"),
        ("06", f"the {WORDS[len(trust.TABLE_1)]} rows of Table 1, {WORDS[len(trust.HAND_MADE)]} hand-made functions"),
        ("06", f"comes close to the paper's {paper.TABLE_1['relu'].ood}."),
        ("06", {1000: "a thousand held-out and a thousand far data sets"}[PAPER.tasks.held_out]),
        ("07", f"since {PAPER.tasks.search} tasks are trained instead of {LAPTOP.tasks.search}"),
        ("08", f"the losses of {LAPTOP.draws} draws a form"),
        ("08", f"their number, {LAPTOP.draws} a form"),
        ("08", f"trains for {SMALL}tasks"),
        ("08", f"sum to about {LAPTOP.lab.learning_rate * LAPTOP.lab.steps / 2:g} at laptop scale"),
        ("08", f"large for GELUSine's {CONSTANTS['gelu-sine'][0]:g} and small for GMTU's {CONSTANTS['gmtu'][0]:g}"),
        ("09", f"The search and {WORDS[len(ablation.ARMS) - 1]} controls"),
        ("09", f"With {WORDS[ARMS.seeds]} seeds"),
        ("09", f"a p below 2 in {2**ARMS.seeds}"),
        ("09", f"floor is {TIMES[round(FLOOR)]} lower"),
    ],
)
def test_a_number_in_prose_is_that_of_the_configuration(number, text):
    assert text in prose(number)


def test_the_families_are_drawn_as_the_notebook_on_the_lab_says():
    suite = tasks.suite("held-out", LAPTOP.tasks).tasks
    numbers = {
        f: [float(x) for t in suite if t.family == f for x in re.findall(r"\d+(?:\.\d+)?", t.label)]
        for f in config.FAMILIES
    }
    assert set(numbers["polynomial"]) == {2, 3, 4} and "Chebyshev series of degree 2 to 4" in prose("02")
    for family, most in (("harmonic", 2), ("harmonic2d", 1.25)):
        assert 0.5 <= min(numbers[family]) < 0.6 and 0.9 * most < max(numbers[family]) <= most
        assert f"0.5 to {most} periods" in prose("02")
    assert {len(e.variables) for held in (True, False) for e in feynman.equations(held)} == {1, 2, 3, 4}
    assert "with one to four variables" in prose("02")


def test_what_the_notebook_on_trust_says_of_laptop_scale_is_in_its_table():
    ranks = committed("rate_ranks").set_index("function")
    said = "the best function at the common rate is not the best when each function has its own rate"
    assert (ranks["fixed_rank"].idxmin() != ranks["own_rank"].idxmin()) == (said in prose("03"))


def test_what_the_notebook_on_lab_scores_says_of_laptop_scale_is_in_its_tables():
    compared, table = committed("comparisons"), committed("table_1").query("suite == 'held-out'").set_index("function")
    papers = ["gelu-sine", "gelu-sinc", "gmtu", "turbulent"]
    over_gelu = compared[(compared["function"] == "gelu") & compared["subject"].isin(papers)]
    assert "none of the paper's functions beats GELU" in prose("06")
    assert len(over_gelu) == len(papers) and (over_gelu["verdict"] != "better").all()
    assert "Turbulent has the highest mean loss of the six" in prose("06")
    assert table.loc[list(trust.TABLE_1), "ood_mse"].idxmax() == "turbulent"
    assert (
        "Snake, the hand-made function $x + \\sin^2 x$, and the function found by our search have the lowest"
        in prose("06")
    )
    assert set(table["log_ratio"].nsmallest(2).index) == set(table["ood_mse"].nsmallest(2).index) == {"snake", "found"}


def test_what_the_notebook_on_constants_says_of_laptop_scale_is_in_its_tables():
    beaten = committed("constants_beaten").set_index("form")["ood_mse"].str.extract(r"\[(.*),").astype(float)[0]
    assert "only GMTU's constants clearly beat more than half of the draws" in prose("08")
    assert list(beaten[beaten > 0.5].index) == ["gmtu"] and len(beaten) == 4
    gains = committed("learned_constants").set_index("function")
    assert "lower than with the fixed ones, most for GMTU; for GELU-Sinc the change is within error" in prose("08")
    assert (gains["log_ratio"] < 0).all() and gains["log_ratio"].idxmin() == "gmtu"
    assert list(gains.index[gains["high"] > 0]) == ["gelu-sinc"]


def test_the_controls_spend_fewer_evaluations_than_the_search():
    design = ablation.load(ablation.kept()).about["design"]
    assert "fewer than the search of notebook 05" in prose("09")
    assert design["evaluations"] < LAPTOP.search.evaluations and design["seeds"] == ARMS.seeds
