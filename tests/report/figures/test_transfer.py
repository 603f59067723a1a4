"""Structure of the figures of transfer: every estimate with its interval, what is decided filled, clear refusals."""

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from matplotlib.collections import LineCollection, PathCollection
from matplotlib.colors import to_hex

from actlab.report.figures import style as plotting
from actlab.report.figures import transfer


@pytest.fixture(autouse=True)
def style():
    plotting.use_style()
    yield
    plt.close("all")


def axes(columns=1, width=plotting.TWO_COLUMNS):
    return plt.subplots(1, columns, figsize=(width, 2.8))[1]


def differences():
    rows = [
        ("MNIST-5k", "ood", "gelu", "relu", 0.02, "better"), ("MNIST-5k", "ood", "qfw", "relu", -0.5, "worse"),
        ("MNIST-5k", "ood", "qfw", "gelu", -0.01, "undecided"), ("B3DB", "ood", "gelu", "relu", 0.0, "undecided"),
    ]  # fmt: skip
    table = pd.DataFrame(rows, columns=["task", "split", "function", "other", "difference", "verdict"])
    return table.assign(low=table["difference"] - 0.01, high=table["difference"] + 0.01)


def profile(tasks=("a", "b"), intervals=True):
    rows = [
        (task, split, name, place + shift)
        for shift, (task, split) in enumerate([*((t, s) for t in tasks for s in ("in-distribution", "ood"))])
        for place, name in enumerate(("relu", "gelu"))
    ]
    rows += [("mean", "both", "relu", 0.5), ("mean", "both", "gelu", 1.5)]
    table = pd.DataFrame(rows, columns=["task", "split", "function", "value"])
    return table.assign(low=table["value"] - 0.1, high=table["value"] + 0.1) if intervals else table


def points():
    table = pd.DataFrame({"function": ["relu", "gelu", "found"] * 2, "suite": ["search"] * 3 + ["far"] * 3})
    table = table.assign(task="mean", split="both", lab=[0.0, -0.1, -0.2] * 2, transfer=[0.0, 1.0, 0.5] * 2)
    return table.assign(low=table["transfer"] - 0.1, high=table["transfer"] + 0.1)


def segments(ax):
    """What is drawn as interval lines, each as its two ends; guides left out."""
    lines = [c for c in ax.collections if isinstance(c, LineCollection) and c.get_transform() == ax.transData]
    return [np.round(segment, 6).tolist() for part in lines for segment in part.get_segments()]


def legend(figure_or_axes):
    found = [figure_or_axes.get_legend()] if hasattr(figure_or_axes, "get_legend") else figure_or_axes.legends
    return [text.get_text() for text in found[0].get_texts()]


def test_differences_have_a_panel_a_task_and_an_interval_each():
    mnist, b3db = transfer.downstream(axes(2), differences())
    assert [mnist.get_title(), b3db.get_title()] == ["MNIST-5k\nOOD", "B3DB\nOOD"]
    assert [[end[0] for end in segment] for segment in segments(mnist)] == [[0.01, 0.03], [-0.51, -0.49], [-0.02, 0.0]]
    assert [text.get_text() for text in mnist.get_yticklabels()] == ["GELU", "QFW"]
    assert {text.get_text() for text in b3db.get_yticklabels()} == {""}
    assert legend(mnist.figure) == ["over ReLU", "over GELU", "undecided"]


def test_a_decided_difference_is_filled_and_an_undecided_one_is_hollow():
    mnist, _ = transfer.downstream(axes(2), differences())
    dots = [part for part in mnist.collections if isinstance(part, PathCollection)]
    faces = [to_hex(colour) for part in dots for colour in part.get_facecolors()]
    assert faces == [plotting.colour("gelu"), plotting.colour("qfw"), "#ffffff"]


def test_a_difference_beyond_the_reach_is_a_triangle_on_the_edge():
    mnist, b3db = transfer.downstream(axes(2), differences(), reach={"MNIST-5k": 0.05})
    triangles = [(line.get_marker(), line.get_xdata()[0]) for line in mnist.lines if line.get_marker() in "<>"]
    assert triangles == [("<", -0.05)]
    (text,) = mnist.texts
    assert text.get_text() == "-0.5" and text.get_position() == pytest.approx((-0.0465, 0.79))
    assert mnist.get_xlim() == pytest.approx((-0.054, 0.054))
    assert len(segments(mnist)) == 2 and len(segments(b3db)) == 1


def test_a_triangle_is_hollow_where_the_difference_is_undecided():
    table = differences().assign(verdict="undecided")
    mnist, _ = transfer.downstream(axes(2), table, reach={"MNIST-5k": 0.05})
    (triangle,) = (line for line in mnist.lines if line.get_marker() == "<")
    assert triangle.get_markerfacecolor() == "white"


def test_an_interval_that_the_axis_cuts_has_an_arrow_at_its_end():
    table = differences().assign(low=-0.02, high=0.2)
    mnist, b3db = transfer.downstream(axes(2), table, reach={"MNIST-5k": 0.05})
    arrows = [(line.get_marker(), line.get_xdata()[0]) for line in mnist.lines if line.get_marker() in (4, 5)]
    assert arrows == [(5, pytest.approx(0.054))] * 2  # GELU over ReLU, QFW over GELU; QFW over ReLU is a triangle
    assert not [line for line in b3db.lines if line.get_marker() in (4, 5)]


def test_references_stand_above_the_others_and_each_axis_says_of_what_it_is():
    table = differences()
    table = pd.concat([table, table.iloc[[0]].assign(function="relu", other="gelu")])
    words = {"MNIST-5k": "difference of accuracy", "B3DB": "difference of AUC"}
    mnist, b3db = transfer.downstream(axes(2), table, xlabel=words)
    assert [text.get_text() for text in mnist.get_yticklabels()] == ["ReLU", "GELU", "QFW"]
    assert [ax.get_xlabel() for ax in (mnist, b3db)] == list(words.values())


def test_figure_6_keeps_the_tasks_of_a_function_apart_and_from_the_next_functions():
    ax = transfer.figure_6(axes(), profile(tasks="abc"))
    places = np.sort(np.concatenate([line.get_xdata() for line in ax.lines if not line.get_label().startswith("_")]))
    assert len(places) == 14 and np.diff(places).min() == pytest.approx(transfer.DODGE)


def test_figure_6_has_every_task_beside_the_mean_out_of_distribution_hollow():
    ax = transfer.figure_6(axes(), profile())
    drawn = {line.get_label(): line for line in ax.lines if not line.get_label().startswith("_")}
    assert list(drawn) == ["a, in distribution", "a, OOD", "b, in distribution", "b, OOD", "mean"]
    assert drawn["b, OOD"].get_ydata().tolist() == [3, 4]
    assert drawn["b, OOD"].get_markerfacecolor() == "white" != drawn["b, in distribution"].get_markerfacecolor()
    assert drawn["a, OOD"].get_color() == drawn["a, in distribution"].get_color() != drawn["b, OOD"].get_color()
    assert drawn["mean"].get_xdata().tolist() == [0, 1] and drawn["mean"].get_linewidth() > 0
    places = [round(line.get_xdata()[0], 6) for line in drawn.values()]
    assert len(set(places)) == 5  # no task hides another, or the mean
    assert [text.get_text() for text in ax.get_xticklabels()] == ["ReLU", "GELU"]
    assert legend(ax) == list(drawn)


def test_figure_6_has_intervals_where_there_are_some():
    with_intervals = transfer.figure_6(axes(), profile())
    assert len(segments(with_intervals)) == 10
    assert [[end[1] for end in s] for s in segments(with_intervals)][-2:] == [[0.4, 0.6], [1.4, 1.6]]
    assert segments(transfer.figure_6(axes(), profile(intervals=False))) == []


def test_figure_6_takes_at_most_five_tasks():
    with pytest.raises(ValueError, match="figure_6: wanted at most 5 series in a panel, got 6"):
        transfer.figure_6(axes(), profile(tasks="abcdef"))


def test_lab_against_transfer_has_a_point_a_function_and_better_losses_at_the_right():
    panels = transfer.lab_against_transfer(axes(2), points())
    assert [ax.get_title() for ax in panels] == ["search: mean, both splits", "far: mean, both splits"]
    for ax in panels:
        spots = {line.get_color(): (line.get_xdata()[0], line.get_ydata()[0]) for line in ax.lines}
        assert spots == {
            plotting.colour("relu"): (0.0, 0.0), plotting.colour("gelu"): (-0.1, 1.0), "#000000": (-0.2, 0.5)
        }  # fmt: skip
        assert ax.get_xlim()[0] > ax.get_xlim()[1]
        assert [[end[1] for end in segment] for segment in segments(ax)] == [[-0.1, 0.1], [0.9, 1.1], [0.4, 0.6]]
    assert legend(panels[0].figure) == ["ReLU", "GELU", "Found by search"]


def test_lab_against_transfer_has_intervals_of_the_lab_and_titles_where_given():
    table = points().query("suite == 'far'").assign(lab_low=-0.3, lab_high=0.1)
    (ax,) = transfer.lab_against_transfer(axes(), table, ["far\nSpearman 0.5"])
    assert ax.get_title() == "far\nSpearman 0.5"
    assert [[-0.3, 0.0], [0.1, 0.0]] in segments(ax)
    with pytest.raises(ValueError, match="wanted 1 titles, one a panel; got 2"):
        transfer.lab_against_transfer(axes(), table, ["a", "b"])


def test_lab_against_transfer_shows_a_crowd_again_and_larger():
    table = points().query("suite == 'far'")
    (ax,) = transfer.lab_against_transfer(axes(), table, closer={"far": (0.05, -0.15, -0.5, 1.5)})
    (inset,) = ax.child_axes
    assert (inset.get_xlim(), inset.get_ylim()) == ((0.05, -0.15), (-0.5, 1.5))
    shown = [(line.get_xdata()[0], line.get_ydata()[0]) for line in inset.lines]
    assert shown == [(line.get_xdata()[0], line.get_ydata()[0]) for line in ax.lines]


@pytest.mark.parametrize(
    ("draw", "table"),
    [
        (transfer.downstream, differences),
        (transfer.figure_6, profile),
        (transfer.lab_against_transfer, points),
    ],
)
def test_a_missing_column_is_named(draw, table):
    with pytest.raises(ValueError, match=f"{draw.__name__}: wanted column 'function'"):
        draw(axes(2), table().drop(columns="function"))


def test_too_few_axes_are_refused():
    with pytest.raises(ValueError, match="downstream: wanted 2 axes, one a panel; got 1"):
        transfer.downstream(axes(), differences())
