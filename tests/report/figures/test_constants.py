"""Structure of Figure 9: what is drawn is what the tables hold, in each function's colour, and refusals are clear."""

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_hex

from actlab.report.figures import constants
from actlab.report.figures import style as plotting


@pytest.fixture(autouse=True)
def style():
    plotting.use_style()
    yield
    plt.close("all")


def ratio_table():
    return pd.DataFrame(
        {
            "function": ["gmtu", "snake"],
            "ratio": [0.9, 1.1],
            "low": [0.8, 0.95],
            "high": [0.99, 1.2],
            "train": [0.7, 1.0],
        }
    )


def value_table():
    rows = [
        ("gmtu", "leak", 1, 0.1),
        ("gmtu", "leak", 2, 0.1),
        ("snake", "frequency", 1, 1.0),
        ("snake", "frequency", 2, 1.0),
    ]
    table = pd.DataFrame(rows, columns=["function", "constant", "layer", "start"])
    median = table["start"] + 0.1 * table["layer"]
    return table.assign(low=median - 0.05, median=median, high=median + 0.02)


PANELS = {"learned_ratio": ratio_table, "learned_values": value_table}


def drawn(name, data=None):
    ax = plt.subplots(figsize=(plotting.ONE_COLUMN, 2.4))[1]
    return getattr(constants, name)(ax, PANELS[name]() if data is None else data)


def names(ax):
    return [tick.get_text() for tick in ax.get_yticklabels()]


def test_each_function_has_its_ratio_its_interval_and_its_training_loss():
    ax = drawn("learned_ratio")
    assert names(ax) == [plotting.label("gmtu"), plotting.label("snake")]
    even, *marks = ax.lines
    assert even.get_xdata()[0] == 1
    assert [mark.get_xdata()[0] for mark in marks] == [0.9, 0.7, 1.1, 1.0]
    assert [to_hex(mark.get_color()) for mark in marks] == [
        plotting.colour(n) for n in ("gmtu", "gmtu", "snake", "snake")
    ]
    np.testing.assert_allclose([bar.get_segments()[0][:, 0] for bar in ax.collections], [[0.8, 0.99], [0.95, 1.2]])


def test_each_constant_has_its_published_value_and_a_mark_with_quartiles_for_each_layer():
    ax = drawn("learned_values")
    assert names(ax) == ["GMTU: leak", "Snake: frequency"]
    np.testing.assert_allclose([mark.get_xdata()[0] for mark in ax.lines], [0.2, 0.3, 1.1, 1.2])
    segments = [bar.get_segments()[0] for bar in ax.collections]
    starts = [segment[0, 0] for segment in segments if segment[0, 0] == segment[1, 0]]
    spans = [segment[:, 0] for segment in segments if segment[0, 1] == segment[1, 1]]
    assert starts == [0.1, 1.0]
    np.testing.assert_allclose(spans, [[0.15, 0.22], [0.25, 0.32], [1.05, 1.12], [1.15, 1.22]])
    heights = [mark.get_ydata()[0] for mark in ax.lines]
    assert heights == sorted(heights) and len(set(heights)) == 4


@pytest.mark.parametrize("name", PANELS)
def test_a_missing_column_is_named(name):
    table = PANELS[name]()
    for column in table:
        with pytest.raises(ValueError, match=f"{name}: wanted column '{column}'"):
            drawn(name, table.drop(columns=column))


@pytest.mark.parametrize("name", PANELS)
def test_the_legend_stays_in_the_figure(name):
    fig = drawn(name).figure
    fig.canvas.draw()
    box = fig.axes[0].get_legend().get_window_extent()
    assert box.x0 >= 0 and box.x1 <= fig.bbox.x1 + 1 and box.y1 <= fig.bbox.y1 + 1
