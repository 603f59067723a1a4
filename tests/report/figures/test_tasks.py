"""Structure of the figures of one kind of task: what is drawn is what the table holds, and refusals are clear."""

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from matplotlib.collections import PathCollection
from matplotlib.colors import to_hex

from actlab.report.figures import style as plotting
from actlab.report.figures import tasks


@pytest.fixture(autouse=True)
def style():
    plotting.use_style()
    yield
    plt.close("all")


def estimates():
    rows = [(panel, level, name, value + shift) for panel, shift in (("clean", 0.0), ("noisy", -0.2))
            for level in ("mild", "strong") for name, value in (("relu", 0.9), ("gelu", 0.8))]  # fmt: skip
    table = pd.DataFrame(rows, columns=["panel", "level", "function", "value"])
    return table.assign(low=table["value"] - 0.05, high=table["value"] + 0.02)


def test_a_forest_has_a_panel_a_task_a_row_a_function_and_an_interval_an_estimate():
    axes = plt.subplots(1, 2)[1]
    tasks.forest(axes, estimates(), {"clean": {"SVC": 0.85}}, "accuracy")
    assert [ax.get_title() for ax in axes] == ["clean", "noisy"]
    assert [tick.get_text() for tick in axes[0].get_yticklabels()] == ["ReLU", "GELU"]
    assert not any(tick.get_text() for tick in axes[1].get_yticklabels())
    drawn = [dots.get_offsets()[:, 0].tolist() for dots in axes[1].collections if isinstance(dots, PathCollection)]
    assert np.allclose(drawn, [[0.7, 0.6]] * 2)
    dashed = [line.get_xdata()[0] for line in axes[0].lines if line.get_linestyle() == "--"]
    assert dashed == [0.85] and not axes[1].lines
    words = {text.get_text() for legend in axes[0].figure.legends for text in legend.get_texts()}
    assert words == {"mild", "strong", "SVC"}


def test_curves_count_epochs_from_one_and_have_each_functions_colour():
    table = pd.DataFrame({"panel": "all", "function": ["relu"] * 2 + ["snake"] * 2, "epoch": [0, 1] * 2,
                          "value": [0.1, 0.2, 0.3, 0.4]})  # fmt: skip
    ax = tasks.curves(plt.subplots()[1], table.assign(low=table["value"], high=table["value"]))[0]
    assert [line.get_xdata().tolist() for line in ax.lines] == [[1, 2]] * 2
    assert [to_hex(line.get_color()) for line in ax.lines] == [to_hex(plotting.colour(n)) for n in ("relu", "snake")]
    assert ax.get_ylabel() == "validation"


def test_arrays_are_drawn_with_the_first_row_at_the_top():
    table = pd.DataFrame({"panel": "edges", "row": [0, 0, 1, 1], "column": [0, 1] * 2, "value": [0.0, 1.0, 0.5, 0.25]})
    ax = tasks.arrays(plt.subplots()[1], table, {"edges": ("from", "to")})[0]
    assert ax.collections[0].get_array().ravel().tolist() == [0.0, 1.0, 0.5, 0.25]
    assert ax.get_ylim() == (2, 0) and (ax.get_ylabel(), ax.get_xlabel()) == ("from", "to")


def test_pictures_stand_row_by_row_under_their_names():
    shown = [np.full((4, 4), value) for value in (0.0, 0.25, 0.5, 1.0)]
    axes = tasks.pictures(plt.subplots(2, 2)[1], shown, ["a", "b"], ["clean", "noisy"])
    assert [ax.images[0].get_array()[0, 0] for ax in axes.ravel()] == [0.0, 0.25, 0.5, 1.0]
    assert axes[1, 0].get_ylabel() == "b" and axes[0, 1].get_title() == "noisy"


def test_too_few_pictures_are_refused():
    with pytest.raises(ValueError, match=r"wanted 4 pictures and axes \[2, 2\]; got 1 and \[2, 2\]"):
        tasks.pictures(plt.subplots(2, 2)[1], [np.zeros((4, 4))], ["a", "b"], ["c", "d"])


@pytest.mark.parametrize("figure", [tasks.forest, tasks.curves])
def test_a_table_without_its_columns_is_refused(figure):
    with pytest.raises(ValueError, match="wanted"):
        figure(plt.subplots()[1], estimates()[["panel", "function"]])
