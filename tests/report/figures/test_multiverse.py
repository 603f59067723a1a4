"""Structure of the multiverse's figures: what each shows beside its estimates."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from samples import AHEAD, EFFECTS, dots, drawn, names, segments, texts

from actlab.studies import robustness

pytestmark = pytest.mark.usefixtures("figure_style")


def test_shares_have_a_row_a_statement_with_both_intervals_and_part_the_papers_from_ours():
    ax = drawn("shares")
    assert names(ax) == ["A < B", "A < C", "D < A"]
    first = {end for end in map(tuple, segments(ax)) if end[0][1] == end[1][1] == -0.13}
    assert first == {((0.06, -0.13), (0.15, -0.13)), ((0.09, -0.13), (0.12, -0.13))}
    assert [(0.0, 1.5), (1.0, 1.5)] in segments(ax)  # between the origins
    assert {"by the mean loss", "by the typical loss", "a random order"} <= texts(ax)


def test_dots_of_one_row_lie_side_by_side_in_it_and_one_alone_in_its_middle():
    panels = drawn("ahead")
    assert names(panels[0]) == ["over labs", "Snake"] and [ax.get_title() for ax in panels] == ["held-out", "far"]
    first, other = (dict(part) for part in dots(panels[0]))
    assert (first[0.1], other[0.2]) == (-0.2, 0.2) and (first[0.3], other[0.4]) == (0.8, 1.2)
    assert {text.get_text() for text in panels[0].figure.legends[0].get_texts()} == {"a run", "another"}
    alone = drawn("ahead", AHEAD[AHEAD["kind"] == "a run"])
    assert [y for part in dots(*alone) for _, y in part] == [0.0, 1.0] * 2


def test_taus_count_every_lab_and_show_what_random_orders_give():
    ax = drawn("taus")
    heights = [patch.get_height() for patch in ax.patches]
    assert (sum(heights), heights[0], heights[8], heights[10], heights[15]) == (20, 5, 5, 5, 5)
    lines = {line.get_label(): line for line in ax.lines}
    np.testing.assert_allclose(lines["random orders"].get_ydata(), robustness.random_taus() * 20)
    assert [0.1, 0.3] in [list(line.get_xdata()) for line in ax.lines]


def test_effects_fill_what_is_decided():
    panels = drawn("effects")
    assert [ax.get_title() for ax in panels] == ["tau", "A / B"]
    assert names(panels[0]) == ["width > 32", "depth > 2", "ring > 0.0707"]
    faces = panels[0].collections[-1].get_facecolors()
    np.testing.assert_allclose(faces[:2, :3], 1)
    assert not np.allclose(faces[2, :3], 1)


def test_effects_may_be_in_two_rows_with_one_label_and_one_legend():
    parts = [EFFECTS.replace({"outcome": {"tau": f"tau {i}", "A / B": f"A / B {i}"}}) for i in range(2)]
    grid = plt.subplots(2, 3, sharey=True)[1]
    panels = drawn("effects", pd.concat(parts), grid)
    assert [ax.get_title() for ax in panels] == ["tau 0", "A / B 0", "tau 1", "A / B 1"]
    assert [ax.get_xlabel() != "" for ax in grid.ravel()] == [False, False, False, False, True, False]
    assert [ax.get_legend() is not None for ax in grid.ravel()] == [False, False, True, False, False, False]
