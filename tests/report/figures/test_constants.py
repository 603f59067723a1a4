"""Structure of Figures 7 to 9: what each shows beside its estimates, and what it refuses."""

import numpy as np
import pytest
from matplotlib.colors import to_hex
from samples import dots, drawn, names, segments, texts

from actlab.report.figures import style

pytestmark = pytest.mark.usefixtures("figure_style")


def test_discovered_constants_have_an_interval_and_random_ones_are_points():
    ax = drawn("random_constants")
    assert segments(ax) == [[(0.05, 0), (0.07, 0)]] and dots(ax) == [[(0.06, 0)]]
    assert ax.lines[1].get_xdata().tolist() == pytest.approx([0.05, 0.06, 0.07, 0.08, 0.09])
    assert np.abs(ax.lines[1].get_ydata()).max() <= 0.25
    assert {"beats 4 of 5", "GMTU", "random constants", "the paper's", "ReLU"} <= texts(ax)
    with pytest.raises(ValueError, match=r"the share beaten for each form, got none for \['gmtu'\]"):
        drawn("random_constants", beaten={})


def test_the_sweep_marks_the_papers_constant():
    ax = drawn("sweep")
    assert ax.lines[-1].get_xdata()[0] == 0.1 and {"the paper's 0.1", "constant in GELUSine"} <= texts(ax)


def test_each_function_has_its_ratio_and_its_training_loss():
    ax = drawn("learned_ratio")
    assert names(ax) == ["GMTU", "Snake"]
    assert dots(ax) == [[(0.9, 0), (1.1, 1)], [(0.7, 0), (1.0, 1)]]
    assert [to_hex(face) for face in ax.collections[1].get_facecolors()] == [*map(style.colour, ("gmtu", "snake"))]
    assert [line.get_xdata()[0] for line in ax.lines] == [1]  # of equal losses


def test_each_constant_has_its_published_value_and_a_mark_for_each_layer():
    ax = drawn("learned_values")
    assert names(ax) == ["GMTU: leak", "Snake: frequency"]
    starts = {(a[0], a[1]) for a, b in segments(ax) if a[0] == b[0]}
    assert starts == {(0.1, -0.4), (1.0, 0.6)}
    assert dots(ax) == [[(0.1, -0.125), (0.3, 0.875)], [(0.2, 0.125), (0.4, 1.125)]]
