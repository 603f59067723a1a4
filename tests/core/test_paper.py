"""The paper's numbers: transcription, and the relations between its tables that were derived from them."""

import subprocess
import sys

import numpy as np
import pytest
from scipy.stats import spearmanr

from actlab.core import paper

DOWNSTREAM = ["cifar10_accuracy", "clrs30_score", "molhiv_auc", "imagenet_top1"]
LAB = ["lab 1", "lab 2", "lab 3", "lab 4"]


@pytest.fixture(scope="module")
def profile():
    """Figure 6's formula as derived: log-ratio to ReLU of scores standardised over the eight functions."""
    scores = paper.table_2(numeric=True).set_index("function").loc[list(paper.FIGURE_6), DOWNSTREAM]
    z = (scores - scores.mean()) / scores.std(ddof=1)
    shifted = z - z.min() + 1
    return np.log(shifted / shifted.loc["relu"])


def test_table_1_is_in_units_of_one_and_matches_the_printed_thousandths():
    printed = {
        "turbulent": (29.8, 3.5),
        "gmtu": (51.9, 4.1),
        "gelu-sine": (54.7, 1.4),
        "gelu-sinc": (68.7, 2.2),
        "gelu": (78.8, 2.0),
        "relu": (93.1, 3.5),
    }
    table = paper.table_1()
    assert list(table.columns) == ["function", "ood_mse", "train_mse"]
    assert list(table["function"]) == list(printed)
    np.testing.assert_allclose(table[["ood_mse", "train_mse"]] * 1000, list(printed.values()), rtol=1e-12)


def test_the_four_lab_columns_average_to_table_1_for_the_five_functions_in_both():
    both = [name for name in paper.TABLE_1 if paper.TABLE_2[name].lab is not None]
    assert both == ["turbulent", "gmtu", "gelu-sine", "gelu-sinc", "gelu"]
    for name in both:
        # a column's rounding to 0.001 moves the mean by at most 0.0005, Table 1's own by 0.00005
        assert paper.lab_mean(name) == pytest.approx(paper.TABLE_1[name].ood, abs=0.00055)


def test_gelus_lab_mean_written_out():
    assert paper.lab_mean("gelu") == pytest.approx((0.056 + 0.195 + 0.056 + 0.008) / 4)
    assert paper.lab_mean("gelu") == pytest.approx(0.07875)


def test_relus_lab_sum_is_four_times_its_table_1_loss():
    assert paper.TABLE_2["relu"].lab is None
    assert pytest.approx(4 * paper.TABLE_1["relu"].ood) == paper.RELU_LAB_SUM
    assert paper.lab_mean("relu") == pytest.approx(0.0931)


def test_lab_order_runs_from_the_overfitted_functions_to_relu():
    assert paper.lab_order() == (
        "symmetric-phase-flipped",  # 0.0020
        "fisg",  # 0.00325
        "quaternion",  # 0.0050
        "pler",  # 0.00725
        "turbulent",  # 0.02975
        "gmtu",  # 0.05175
        "gelu-sine",  # 0.05475
        "gelu-sinc",  # 0.06875
        "gelu",  # 0.07875
        "relu",  # 0.0931
    )


def test_lab_mean_of_a_function_outside_table_2_names_what_was_wanted_and_what_came():
    with pytest.raises(ValueError, match=r"wanted one of gmtu, gelu, .*; got 'gelu-cosine'"):
        paper.lab_mean("gelu-cosine")


def test_table_2_keeps_oom_as_a_string_and_only_relus_lab_is_unknown():
    table = paper.table_2().set_index("function")
    cells = [(name, column) for name in table.index for column in DOWNSTREAM]
    oom = [(name, column) for name, column in cells if table.loc[name, column] == "OOM"]
    assert oom == [
        ("quaternion", "imagenet_top1"),
        ("pler", "cifar10_accuracy"),
        ("pler", "molhiv_auc"),
        ("pler", "imagenet_top1"),
    ]
    assert list(table.index[table[LAB].isna().any(axis=1)]) == ["relu"]


def test_numeric_table_2_holds_the_printed_numbers_and_nothing_but_floats():
    table = paper.table_2(numeric=True).set_index("function")
    assert set(table.dtypes) == {np.dtype(float)}
    assert int(table[DOWNSTREAM].isna().sum().sum()) == 4
    # column sums of the printed table, added by hand
    np.testing.assert_allclose(table[DOWNSTREAM].sum(), [6.678, 8.735, 6.605, 5.153 - 0.735], atol=1e-9)
    np.testing.assert_allclose(table[LAB].sum(), [0.238, 0.678, 0.209, 0.080], atol=1e-9)


def test_figure_6_order_is_the_order_of_the_derived_profile_of_table_2(profile):
    assert tuple(profile.mean(axis=1).sort_values().index) == paper.FIGURE_6


def test_figure_6_derived_profile_spans_the_printed_axis_to_within_0_02(profile):
    span = (profile.to_numpy().min(), profile.to_numpy().max())
    assert span == pytest.approx(paper.FIGURE_6_AXIS, abs=0.02)
    assert span == pytest.approx((-1.247, 0.513), abs=0.0005)  # FISG on CLRS ends past the axis


def test_figure_6_holds_every_function_of_table_2_without_an_oom():
    table = paper.table_2(numeric=True).set_index("function")
    assert set(paper.FIGURE_6) == set(table.index[table[DOWNSTREAM].notna().all(axis=1)])


def test_lab_rank_and_downstream_rank_correlate_at_minus_0_74():
    lab = [name for name in paper.lab_order() if name in paper.FIGURE_6]
    best_first = paper.FIGURE_6[::-1]
    ranks = [(lab.index(name), best_first.index(name)) for name in lab]
    assert spearmanr(*zip(*ranks, strict=True)).statistic == pytest.approx(-0.74, abs=0.005)


def test_figure_3_fitness_rises_along_the_known_steps_and_is_not_on_table_1s_scale():
    known = [step for step in paper.FIGURE_3 if step.fitness is not None]
    assert [(step.function, step.step, step.fitness) for step in known] == [
        ("silu", None, -0.01975),
        ("leaky-sqrt-decay", 10, -0.01171),
        ("qfw", 13, -0.01131),
    ]
    assert -known[0].fitness < paper.TABLE_1["gelu"].ood / 3
    assert [step.step for step in paper.FIGURE_3 if step.function is None] == [44]


def test_eight_claims_are_numbered_in_order_and_the_sixth_is_retold():
    assert [claim.number for claim in paper.CLAIMS] == list(range(1, 9))
    assert [claim.number for claim in paper.CLAIMS if claim.origin == "retold"] == [6]
    assert len({claim.text for claim in paper.CLAIMS}) == 8


def test_claim_four_agrees_with_table_1():
    ood = {name: row.ood for name, row in paper.TABLE_1.items()}
    discovered = ["turbulent", "gmtu", "gelu-sine", "gelu-sinc"]
    assert max(ood[name] for name in discovered) < min(ood["gelu"], ood["relu"])
    assert paper.TABLE_1["turbulent"].train == paper.TABLE_1["relu"].train


def test_functions_carry_the_names_of_the_zoo():
    from actlab import activations

    searched = {step.function for step in paper.FIGURE_3 if step.function is not None}
    named = {*paper.TABLE_1, *paper.TABLE_2, *paper.FIGURE_6, *searched}
    assert named <= set(activations.REGISTRY)


def test_importing_the_numbers_loads_neither_pandas_nor_torch():
    code = "import sys, actlab.core.paper; print(sorted({'pandas', 'torch', 'numpy'} & set(sys.modules)))"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"


def test_identity_is_the_papers():
    assert paper.TITLE == "Mining Generalizable Activation Functions"
    assert (paper.ARXIV, paper.VERSION, paper.DATE) == ("2602.05688", "v1", "2026-02-05")
    assert len(paper.AUTHORS) == 6
    assert (paper.AUTHORS[0], paper.AUTHORS[-1]) == ("Alex Vitvitskyi", "Petar Veličković")
