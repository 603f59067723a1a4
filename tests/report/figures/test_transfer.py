"""Structure of the figures of transfer: what is decided is filled, what is cut is marked, clear refusals."""

import numpy as np
import pandas as pd
import pytest
from matplotlib.collections import PathCollection
from matplotlib.colors import to_hex
from samples import DIFFERENCES, POINTS, drawn, names, profile, segments

from actlab.report.figures import style, transfer

pytestmark = pytest.mark.usefixtures("figure_style")
REACH = {"reach": {"MNIST-5k": 0.2}}


def legend(figure_or_axes):
    found = [figure_or_axes.get_legend()] if hasattr(figure_or_axes, "get_legend") else figure_or_axes.legends
    return [text.get_text() for text in found[0].get_texts()]


def marks(ax, markers):
    return [line for line in ax.lines if line.get_marker() in markers]


def labelled(ax):
    return {line.get_label(): line for line in ax.lines if not line.get_label().startswith("_")}


def test_differences_have_a_panel_a_task_and_a_row_a_function():
    mnist, b3db = drawn("downstream")
    assert [mnist.get_title(), b3db.get_title()] == ["MNIST-5k\nOOD", "B3DB\nOOD"]
    assert names(mnist) == ["GELU", "QFW"] and set(names(b3db)) == {""}
    assert legend(mnist.figure) == ["over ReLU", "over GELU", "undecided"]


def test_a_decided_difference_is_filled_and_an_undecided_one_is_hollow():
    mnist, _ = drawn("downstream")
    dots = [part for part in mnist.collections if isinstance(part, PathCollection)]
    faces = [to_hex(colour) for part in dots for colour in part.get_facecolors()]
    assert faces == [style.colour("gelu"), style.colour("qfw"), "#ffffff"]


@pytest.mark.parametrize("decided", [True, False])
def test_a_difference_beyond_the_reach_is_a_triangle_on_the_edge_and_hollow_if_undecided(decided):
    table = DIFFERENCES if decided else DIFFERENCES.assign(verdict="undecided")
    mnist, b3db = drawn("downstream", table, **REACH)
    (triangle,) = marks(mnist, "<>")
    assert (triangle.get_marker(), triangle.get_xdata()[0]) == ("<", -0.2)
    assert to_hex(triangle.get_markerfacecolor()) == (style.colour("qfw") if decided else "#ffffff")
    (text,) = mnist.texts
    assert text.get_text() == "-0.5" and text.get_position() == pytest.approx((-0.186, 0.79))
    assert mnist.get_xlim() == pytest.approx((-0.216, 0.216))
    assert len(segments(mnist)) == 2 and len(segments(b3db)) == 1


def test_an_interval_that_the_axis_cuts_has_an_arrow_at_its_end():
    mnist, b3db = drawn("downstream", DIFFERENCES.assign(low=-0.3, high=0.1), **REACH)
    arrows = [(line.get_marker(), line.get_xdata()[0]) for line in marks(mnist, (4, 5))]
    assert arrows == [(4, pytest.approx(-0.216))] * 2  # GELU over ReLU, QFW over GELU; QFW over ReLU is a triangle
    assert not marks(b3db, (4, 5))
    mnist, _ = drawn("downstream", DIFFERENCES.assign(low=-0.1, high=0.3), **REACH)
    assert [line.get_xdata()[0] for line in marks(mnist, (4, 5))] == pytest.approx([0.216] * 2)


def test_references_are_above_the_others_and_each_axis_says_of_what_it_is():
    table = DIFFERENCES
    table = pd.concat([table, table.iloc[[0]].assign(function="relu", other="gelu")])
    words = {"MNIST-5k": "difference of accuracy", "B3DB": "difference of AUC"}
    panels = drawn("downstream", table, xlabel=words)
    assert names(panels[0]) == ["ReLU", "GELU", "QFW"]
    assert [ax.get_xlabel() for ax in panels] == list(words.values())


def test_figure_6_keeps_the_tasks_of_a_function_apart_and_from_the_next_functions():
    ax = drawn("figure_6", profile("abc"))
    places = np.sort(np.concatenate([line.get_xdata() for line in labelled(ax).values()]))
    assert len(places) == 14 and np.diff(places).min() == pytest.approx(transfer.DODGE)


def test_figure_6_has_every_task_beside_the_mean_out_of_distribution_hollow():
    ax = drawn("figure_6")
    found = labelled(ax)
    assert list(found) == legend(ax) == ["a, in distribution", "a, OOD", "b, in distribution", "b, OOD", "mean"]
    assert found["b, OOD"].get_ydata().tolist() == [3, 4]
    assert found["b, OOD"].get_markerfacecolor() == "white" != found["b, in distribution"].get_markerfacecolor()
    assert found["a, OOD"].get_color() == found["a, in distribution"].get_color() != found["b, OOD"].get_color()
    assert found["mean"].get_xdata().tolist() == [0, 1] and found["mean"].get_linewidth() > 0
    assert len({round(line.get_xdata()[0], 6) for line in found.values()}) == 5  # none hides another, or the mean
    assert [text.get_text() for text in ax.get_xticklabels()] == ["ReLU", "GELU"]


def test_figure_6_may_lack_intervals_and_takes_at_most_five_tasks():
    assert segments(drawn("figure_6", profile().drop(columns=["low", "high"]))) == []
    with pytest.raises(ValueError, match="figure_6: wanted at most 5 series in a panel, got 6"):
        drawn("figure_6", profile("abcdef"))


def test_lab_against_transfer_has_a_point_a_function_and_better_losses_at_the_right():
    panels = drawn("lab_against_transfer")
    assert [ax.get_title() for ax in panels] == ["search", "far"]
    for ax in panels:
        spots = {line.get_color(): (line.get_xdata()[0], line.get_ydata()[0]) for line in ax.lines}
        assert [*spots] == [style.colour(name) for name in ("relu", "gelu", "found")]
        assert all(x == -y for x, y in spots.values())
        assert ax.get_xlim()[0] > ax.get_xlim()[1]
    assert legend(panels[0].figure) == ["ReLU", "GELU", "Found by search"]
    with pytest.raises(ValueError, match="wanted 2 titles, one a panel; got 1"):
        drawn("lab_against_transfer", titles=["a"])


def test_lab_against_transfer_shows_a_crowd_again_and_larger():
    closer = {"far": (0.05, -0.15, -0.5, 1.5)}
    (ax,) = drawn("lab_against_transfer", POINTS.query("suite == 'far'"), titles=["far"], closer=closer)
    (inset,) = ax.child_axes
    assert (inset.get_xlim(), inset.get_ylim()) == ((0.05, -0.15), (-0.5, 1.5))
    shown = [(line.get_xdata()[0], line.get_ydata()[0]) for line in inset.lines]
    assert shown == [(line.get_xdata()[0], line.get_ydata()[0]) for line in ax.lines]
