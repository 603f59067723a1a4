"""Structure of the multiverse's figures: every estimate with its interval, in the order given, and clear refusals."""

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from matplotlib.collections import LineCollection

from actlab.report.figures import multiverse as figures
from actlab.report.figures import style as plotting
from actlab.studies import robustness


@pytest.fixture(autouse=True)
def style():
    plotting.use_style()
    yield
    plt.close("all")


def axes(columns=1, width=plotting.ONE_COLUMN):
    return plt.subplots(1, columns, figsize=(width, 2.4), sharey=True)[1]


def share_table():
    rows = [
        (statement, origin, aggregate, share, share - 0.1, share + 0.1, share - 0.15, share + 0.12, 0.5)
        for aggregate in ("mean", "typical")
        for statement, origin, share in (("A < B", "paper", 0.3), ("A < C", "paper", 0.7), ("D < A", "ours", 0.5))
    ]
    names = ["statement", "origin", "aggregate", "share", "low", "high", "both_low", "both_high", "chance"]
    return pd.DataFrame(rows, columns=names)


def effect_table():
    rows = [
        (outcome, setting, 0.1 * i, 0.1 * i - 0.05, 0.1 * i + 0.05, "raises" if i == 2 else "undecided")
        for outcome in ("tau", "A / B")
        for i, setting in enumerate(("width > 32", "depth > 2", "ring > 0.0707"))
    ]
    return pd.DataFrame(rows, columns=["outcome", "setting", "difference", "low", "high", "verdict"])


def bars(ax, width):
    """The ends of all horizontal bars of that line width, by their height."""
    found = [c for c in ax.collections if isinstance(c, LineCollection) and np.allclose(c.get_linewidth(), width)]
    return {(round(s[0, 1], 3), round(s[0, 0], 3), round(s[1, 0], 3)) for c in found for s in c.get_segments()}


def test_shares_have_a_row_a_statement_and_both_intervals():
    ax = figures.shares(axes(width=plotting.TWO_COLUMNS), share_table())
    assert [text.get_text() for text in ax.get_yticklabels()] == ["A < B", "A < C", "D < A"]
    assert {(-0.13, 0.2, 0.4), (1.13, 0.6, 0.8)} <= bars(ax, 2.2)
    assert {(-0.13, 0.15, 0.42), (2.13, 0.35, 0.62)} <= bars(ax, 0.7)
    texts = [text.get_text() for text in ax.get_legend().get_texts()]
    assert texts == ["by the mean loss", "by the typical loss", "a random order"]


def test_shares_part_the_papers_statements_from_ours():
    ax = figures.shares(axes(), share_table())
    assert bars(ax, 0.6) >= {(1.5, 0.0, 1.0)}


def test_taus_count_every_lab_and_show_what_random_orders_give():
    random = robustness.random_taus()
    table = pd.DataFrame({"lab": range(20), "tau": np.repeat(random.index.to_numpy()[[0, 8, 15, 10]], 5)})
    ax = figures.taus(axes(), table, random, (0.2, 0.1, 0.3))
    assert sum(patch.get_height() for patch in ax.patches) == 20
    heights = [patch.get_height() for patch in ax.patches]
    assert (heights[0], heights[8], heights[10], heights[15]) == (5, 5, 5, 5)
    lines = {line.get_label(): line for line in ax.lines}
    np.testing.assert_allclose(lines["random orders"].get_ydata(), random * 20)
    assert [0.1, 0.3] in [list(line.get_xdata()) for line in ax.lines]


def test_effects_have_a_panel_an_outcome_and_fill_what_is_decided():
    panels = figures.effects(axes(2), effect_table())
    assert [ax.get_title() for ax in panels] == ["tau", "A / B"]
    assert [text.get_text() for text in panels[0].get_yticklabels()] == ["width > 32", "depth > 2", "ring > 0.0707"]
    assert {(0.0, -0.05, 0.05), (2.0, 0.15, 0.25)} <= bars(panels[0], 1.4)
    faces = panels[0].collections[-1].get_facecolors()
    np.testing.assert_allclose(faces[:2, :3], 1)
    assert not np.allclose(faces[2, :3], 1)


def test_effects_may_stand_in_two_rows_with_one_label_and_one_legend():
    parts = [effect_table().replace({"outcome": {"tau": f"tau {i}", "A / B": f"A / B {i}"}}) for i in range(2)]
    grid = plt.subplots(2, 3, figsize=(plotting.TWO_COLUMNS, 5), sharey=True)[1]
    panels = figures.effects(grid, pd.concat(parts))
    assert [ax.get_title() for ax in panels] == ["tau 0", "A / B 0", "tau 1", "A / B 1"]
    assert [ax.get_xlabel() != "" for ax in grid.ravel()] == [False, False, False, False, True, False]
    assert [ax.get_legend() is not None for ax in grid.ravel()] == [False, False, True, False, False, False]


@pytest.mark.parametrize(
    ("draw", "column"),
    [
        (lambda: figures.shares(axes(), share_table().drop(columns="low")), "'low'"),
        (lambda: figures.taus(axes(), pd.DataFrame({"lab": [1]}), robustness.random_taus(), (0, 0, 0)), "'tau'"),
        (lambda: figures.effects(axes(2), effect_table().drop(columns="verdict")), "'verdict'"),
    ],
)
def test_a_missing_column_is_named(draw, column):
    with pytest.raises(ValueError, match=f"wanted column {column}"):
        draw()


def test_a_panel_too_few_is_refused():
    with pytest.raises(ValueError, match="wanted 2 axes, one a panel; got 1"):
        figures.effects(axes(), effect_table())
