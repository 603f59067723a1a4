"""Structure of the figures: intervals on every estimate, one colour a name, the same bytes twice, clear refusals."""

import itertools
import os
import subprocess
import sys

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from matplotlib.collections import LineCollection, PathCollection
from matplotlib.colors import to_hex, to_rgb
from matplotlib.patches import FancyBboxPatch

from actlab import activations
from actlab.report.figures import style as plotting

NAMES = ["turbulent", "gmtu", "gelu-sine", "relu"]
TABLE_1 = ["turbulent", "gmtu", "gelu-sine", "gelu-sinc", "gelu", "relu"]


@pytest.fixture(autouse=True)
def style():
    plotting.use_style()
    yield
    plt.close("all")


def axes(rows=1, columns=1, width=plotting.ONE_COLUMN):
    return plt.subplots(rows, columns, figsize=(width, 2.4))[1]


def interval_table(names, **more):
    estimate = 0.05 + 0.01 * np.arange(len(names))
    return pd.DataFrame(
        {"function": names, "estimate": estimate, "low": estimate - 0.004, "high": estimate + 0.006} | more
    )


def score_table():
    return interval_table(NAMES, paper=[0.03, 0.052, np.nan, 0.093])


def trace_table():
    search = [-0.09, -0.06, -0.06, -0.05, -0.05]
    return pd.DataFrame(
        {
            "evaluation": range(5),
            "fitness": [-0.09, -0.06, -np.inf, -0.05, -40.0],
            "search": search,
            "held_out": np.subtract(search, 0.01),
            "low": np.subtract(search, 0.02),
            "high": np.subtract(search, 0.005),
            "pointwise": [True, True, True, False, False],
            "parts": False,
        }
    )


def transfer_table():
    fitness = np.array([0.0, 0.4, 0.5, 0.7, 0.6])
    table = pd.DataFrame({"fitness": fitness, "held_out": fitness - 0.1, "low": fitness - 0.2, "high": fitness + 0.05})
    return table.assign(led=[True, True, False, True, False], final=[False] * 4 + [True], parts=False)


def tree_table():
    rows = [
        (0, None, 0, 1.0, 0.0, True), (1, 0, 1, 0.5, 0.4, True), (2, 0, 1, 2.0, -30.0, False),
        (4, 1, 2, 0.0, 0.6, True), (7, 1, 2, 1.0, 0.3, False),
    ]  # fmt: skip
    table = pd.DataFrame(rows, columns=["id", "parent", "generation", "place", "fitness", "line"])
    return table.astype({"parent": "Int64"})


def island_table():
    rows = [
        (0, 0, 0.0, 1, ""), (0, 1, 0.0, 1, ""), (1, 0, 0.4, 2, ""), (1, 1, 0.2, 3, ""),
        (2, 0, 0.6, 3, ""), (2, 1, 0.6, 4, "migrated"), (3, 0, 0.6, 1, "reset"), (3, 1, 0.7, 4, ""),
    ]  # fmt: skip
    return pd.DataFrame(rows, columns=["round", "island", "best", "cells", "event"])


def draw_table():
    rows = [("gmtu", draw, 0.05 + 0.01 * draw, False, np.nan, np.nan) for draw in range(5)]
    return pd.DataFrame(
        [*rows, ("gmtu", 5, 0.06, True, 0.05, 0.07)],
        columns=["form", "draw", "ood_mse", "discovered", "low", "high"],
    )


def curve_table():
    u = np.linspace(-1.25, 1.25, 41)
    split = np.where(np.abs(u) <= 1, "id", "ood")
    return pd.DataFrame({"family": "polynomial", "panel": 1, "u": u, "y": u**2, "split": split})


def reliability_table():
    ends = {"reliability": [0.4, 0.6, 0.5, 0.7], "low": [0.3, 0.5, 0.4, 0.6], "high": [0.5, 0.7, 0.6, 0.8]}
    return pd.DataFrame({"aggregate": ["mean", "mean", "rank", "rank"], "tasks": [12, 48, 12, 48]} | ends)


def rate_table():
    ends = {
        f"{rate}{end}": [value * change] * 4
        for rate, value in (("fixed", 0.06), ("tuned", 0.005))  # as far apart as the laptop's are
        for end, change in (("", 1.0), ("_low", 0.9), ("_high", 1.1))
    }
    return pd.DataFrame({"function": NAMES} | ends)


def step_table():
    components = ["Proposer", "Checker", "Evaluator", "Fitness", "Archive"]
    roles = ["mutates and crosses syntax trees", "allow-list, duplicates", "trains small MLPs", "OOD loss", "islands"]
    modules = [
        "actlab.search.proposers.grammar",
        "actlab.candidates.program",
        "actlab.lab.tasks, actlab.lab.training",
        "actlab.scoring.evaluator",
        "actlab.search.archive",
    ]
    return pd.DataFrame({"component": components, "role": roles, "module": modules, "counts": "200 of 412"})


def ring_table():
    return pd.DataFrame(
        {"ring": [0.1, 0.2, 0.3], "ood_mse": [0.05, 0.09, 0.2], "low": [0.04, 0.07, 0.1], "high": [0.06, 0.1, 0.3]}
    )


def sweep_table():
    return pd.DataFrame({"constant": [0.0, 0.1], "estimate": [0.07, 0.05], "low": [0.06, 0.04], "high": [0.08, 0.06]})


def share_table():
    return pd.DataFrame({"component": ["function", "task"], "share": [0.2, 0.8], "low": [0.1, 0.7], "high": [0.3, 0.9]})


def histogram_table():
    one = {"function": "gmtu", "bin_left": [0.0, 1.0], "bin_right": [1.0, 2.0], "density": [0.4, 0.6]}
    return pd.concat([pd.DataFrame(one).assign(layer=layer) for layer in (1, 2)])


def function_table():
    return pd.DataFrame({"function": "gmtu", "x": [-1.0, 0, 1], "y": [-1.0, 0, 1], "slope": 1.0})


def grid_table():
    u1, u2 = np.meshgrid([-2.0, 0, 2], [-2.0, 0, 2])
    return pd.DataFrame({"u1": u1.ravel(), "u2": u2.ravel(), "y": (u1 * u2).ravel()})


def run_traces():
    rows = [("search", 0, [0.0, 0.3, 0.5]), ("search", 1, [0.0, 0.1, 0.1]), ("one island", 0, [0.0, 0.0, 0.2])]
    parts = [pd.DataFrame({"arm": arm, "seed": seed, "evaluation": range(3), "fitness": f}) for arm, seed, f in rows]
    table = pd.concat(parts, ignore_index=True)
    return table.assign(mean=table.groupby(["arm", "evaluation"])["fitness"].transform("mean"))


FIGURES = {
    "loop_diagram": (step_table, plotting.loop_diagram, {}),
    "targets": (curve_table, plotting.targets, {}),
    "targets_2d": (grid_table, plotting.targets_2d, {"box": (-1, 1)}),
    "calibration": (ring_table, plotting.calibration, {"paper": 0.0931, "chosen": 0.2}),
    "search_trace": (trace_table, plotting.search_trace, {}),
    "transfer": (transfer_table, plotting.transfer, {}),
    "tree": (tree_table, plotting.tree, {}),
    "traces": (run_traces, plotting.traces, {}),
    "functions": (function_table, plotting.functions, {}),
    "preactivations": (histogram_table, plotting.preactivations, {}),
    "random_constants": (draw_table, plotting.random_constants, {"relu": 0.09, "beaten": {"gmtu": "beats 4 of 5"}}),
    "sweep": (sweep_table, plotting.sweep, {"discovered": 0.1}),
    "scores": (score_table, plotting.scores, {}),
    "reliability": (reliability_table, plotting.reliability, {}),
    "variance": (share_table, plotting.variance, {}),
    "rate_control": (rate_table, plotting.rate_control, {}),
}  # fmt: skip
WIDE = {"loop_diagram", "random_constants", "tree"}  # want two columns
every_figure = pytest.mark.parametrize("name", FIGURES)


def drawn(name, ax=None, data=None, **changes):
    """Draw the figure's sample at its print width, on one axes, and return the axes and the data."""
    table, draw, options = FIGURES[name]
    data = table() if data is None else data
    ax = axes(width=plotting.TWO_COLUMNS if name in WIDE else plotting.ONE_COLUMN) if ax is None else ax
    draw(ax, data, **options | changes)
    return ax, data


def interval_lines(ax, vertical=False):
    """Return the set of (position, low, high) that is drawn as interval lines, guides left out."""
    along = 1 if vertical else 0
    segments = [
        segment
        for lines in ax.collections
        if isinstance(lines, LineCollection) and lines.get_transform() == ax.transData
        for segment in lines.get_segments()
    ]
    return {(round(s[0, 1 - along], 6), round(s[0, along], 6), round(s[1, along], 6)) for s in segments}


def texts(ax):
    legend = ax.get_legend()
    inside = [text.get_text() for text in [*ax.texts, *(legend.get_texts() if legend else [])]]
    ticks = [text.get_text() for text in [*ax.get_xticklabels(), *ax.get_yticklabels()]]
    return {*inside, *ticks, ax.get_title(), ax.get_xlabel(), ax.get_ylabel()}


# Colours and labels


def test_every_activation_of_the_zoo_has_a_colour_of_its_own():
    assert set(plotting.COLOURS) == {*activations.names(), *plotting.BESIDE_THE_ZOO}
    assert len({*plotting.COLOURS.values(), *plotting.SERIES}) == len(plotting.COLOURS) + len(plotting.SERIES)


def test_labels_are_the_registrys():
    assert [plotting.label(name) for name in activations.names()] == [
        entry.label for entry in activations.REGISTRY.values()
    ]
    assert plotting.label("found") == "Found by search"
    assert plotting.label("yours") == "Yours"


@pytest.mark.parametrize("call", [plotting.colour, plotting.label])
def test_a_mistyped_name_is_told_the_closest_first(call):
    with pytest.raises(ValueError, match=r"wanted one of gelu-sine, .*; got 'gelu-sien'"):
        call("gelu-sien")


# Machado, Oliveira, Fernandes (2009), severity 1, on linear RGB
SIGHT = {
    "normal": np.eye(3),
    "protanopic": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "deuteranopic": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.01182, 0.04294, 0.968881]],
}  # fmt: skip
XYZ = [[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.072175], [0.0193339, 0.119192, 0.9503041]]


def cielab(colour, sight):
    """Return the CIELAB coordinates of a colour as this sight has it."""
    srgb = np.array(to_rgb(colour))
    linear = np.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4)
    xyz = XYZ @ np.clip(SIGHT[sight] @ linear, 0, 1) / [0.95047, 1, 1.08883]
    x, y, z = np.where(xyz > (6 / 29) ** 3, np.cbrt(xyz), xyz * (29 / 6) ** 2 / 3 + 4 / 29)
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


@pytest.mark.parametrize("sight", SIGHT)
def test_the_functions_of_table_1_are_told_apart_by_any_eye(sight):
    colours = [cielab(plotting.colour(name), sight) for name in [*TABLE_1, *plotting.BESIDE_THE_ZOO]]
    assert min(np.linalg.norm(a - b) for a, b in itertools.combinations(colours, 2)) > 26


def test_a_function_has_the_same_colour_in_every_figure():
    wanted = plotting.colour("gmtu")
    curve = drawn("functions")[0].lines[-1].get_color()
    dots = drawn("scores", data=score_table().query("function == 'gmtu'"))[0].collections[2].get_facecolor()
    rates = drawn("rate_control", data=rate_table().query("function == 'gmtu'"))[0].collections[1].get_color()
    layers = drawn("preactivations")[0].patches[-1].get_edgecolor()
    draws = drawn("random_constants")[0].lines[1].get_color()
    assert {to_hex(found) for found in (curve, dots[0], rates[0], layers, draws)} == {wanted}


# Every estimate has its interval


def test_scores_draw_one_interval_a_row_and_the_papers_number_where_there_is_one():
    ax, data = drawn("scores", notes={"relu": "calibrated"})
    assert interval_lines(ax) == {(place, row.low, row.high) for place, row in enumerate(data.round(6).itertuples())}
    dots, diamonds = (c.get_offsets() for c in ax.collections if isinstance(c, PathCollection))
    assert dots.tolist() == [[estimate, place] for place, estimate in enumerate(data["estimate"])]
    assert diamonds.tolist() == [[0.03, 0], [0.052, 1], [0.093, 3]]
    assert {"Turbulent", "GMTU", "GELUSine", "ReLU (calibrated)", "paper"} <= texts(ax)
    assert ax.yaxis_inverted()


def test_scores_of_several_suites_stand_side_by_side():
    data = pd.concat([score_table().assign(suite=suite) for suite in ("search", "held-out", "far")])
    ax, _ = drawn("scores", data=data)
    assert len(interval_lines(ax)) == 12
    assert {"search", "held-out", "far", "paper"} <= texts(ax)
    diamonds = [c for c in ax.collections if isinstance(c, PathCollection)][-1]
    assert len(diamonds.get_offsets()) == 3


def test_rate_control_draws_two_intervals_a_function_and_joins_its_dots():
    ax, _ = drawn("rate_control")
    assert len(interval_lines(ax)) == 8
    assert [tuple(line.get_xdata()) for line in ax.lines] == [(0.06, 0.005)] * 4


def test_a_race_has_an_interval_for_each_plan_and_incumbent_in_both_panels():
    table = pd.DataFrame({"plan": ["screen", "race"] * 2, "incumbent": [1, 1, 8, 8],
                          "saved": [0.4, 0.6, 0.4, 0.3], "dropped": [0.2, 0.0, 0.5, np.nan]})  # fmt: skip
    ends = {
        f"{name}{end}": table[name] + by
        for name in ("saved", "dropped")
        for end, by in (("_low", -0.01), ("_high", 0.02))
    }
    table = table.assign(**ends)
    panels = plotting.racing(axes(1, 2, plotting.TWO_COLUMNS), table)
    saved = {(-0.12, 0.39, 0.42), (0.88, 0.59, 0.62), (0.12, 0.39, 0.42), (1.12, 0.29, 0.32)}
    dropped = {(-0.12, 0.19, 0.22), (0.88, -0.01, 0.02), (0.12, 0.49, 0.52)}
    assert interval_lines(panels[0]) == saved
    assert interval_lines(panels[1]) == dropped  # none where no better candidate came
    assert {"screen", "race", "share of steps saved"} <= texts(panels[0])
    assert {"against the best", "against number 8", "share of better candidates dropped"} <= texts(panels[1])
    assert panels[0].get_xlim() == pytest.approx((-0.03, 1.03))
    costly = plotting.racing(axes(1, 2), table.assign(saved=-0.1, saved_low=-0.12, saved_high=-0.08))
    assert [panel.get_xlim()[0] for panel in costly] == pytest.approx([-0.15, -0.04])  # all intervals are in view
    with pytest.raises(ValueError, match="racing: wanted column 'dropped_low'"):
        plotting.racing(axes(1, 2), table.drop(columns="dropped_low"))


def test_growth_has_a_panel_a_setting_with_medians_and_a_line_from_the_least_to_the_most():
    table = pd.DataFrame({"setting": ["tasks", "tasks", "width"], "value": [12, 24, 16], "ms_per_step": [1.0, 2.0, 4.0],
                          "ms_least": [0.9, 1.8, 3.5], "ms_most": [1.5, 2.1, 4.2]})  # fmt: skip
    panels = plotting.growth(axes(1, 2, plotting.TWO_COLUMNS), table)
    assert interval_lines(panels[0], vertical=True) == {(12, 0.9, 1.5), (24, 1.8, 2.1)}
    assert interval_lines(panels[1], vertical=True) == {(16, 3.5, 4.2)}
    proportional, medians = (line.get_xydata().tolist() for line in panels[0].lines)
    assert (proportional, medians) == ([[12, 1.0], [24, 2.0]], [[12, 1.0], [24, 2.0]])
    with pytest.raises(ValueError, match="growth: wanted column 'ms_least'"):
        plotting.growth(axes(1, 2), table.drop(columns="ms_least"))


@pytest.mark.parametrize("name", ["calibration", "reliability"])
def test_points_over_an_axis_have_vertical_intervals(name):
    ax, data = drawn(name)
    ends = {(low, high) for _, low, high in interval_lines(ax, vertical=True)}
    assert ends == set(data[["low", "high"]].itertuples(index=False, name=None))


def test_bars_of_variance_have_intervals():
    ax, data = drawn("variance")
    assert [bar.get_width() for bar in ax.patches] == data["share"].tolist()
    assert interval_lines(ax) == {(0, 0.1, 0.3), (1, 0.7, 0.9)}


@pytest.mark.parametrize("name", ["sweep", "search_trace"])
def test_curves_have_a_band_from_low_to_high(name):
    ax, data = drawn(name)
    band = ax.collections[0].get_paths()[0].get_extents()
    assert (band.ymin, band.ymax) == (data["low"].min(), data["high"].max())


def test_discovered_constants_have_an_interval_and_random_ones_are_points():
    ax, _ = drawn("random_constants")
    assert interval_lines(ax) == {(0, 0.05, 0.07)}
    assert ax.lines[1].get_xdata().tolist() == pytest.approx([0.05, 0.06, 0.07, 0.08, 0.09])
    assert np.abs(ax.lines[1].get_ydata()).max() <= 0.25
    assert {"beats 4 of 5", "GMTU", "random constants", "the paper's", "ReLU"} <= texts(ax)


# What each figure shows


def test_the_loops_boxes_hold_their_texts_and_do_not_touch():
    ax, _ = drawn("loop_diagram")
    ax.figure.canvas.draw()
    boxes = [patch.get_window_extent() for patch in ax.patches if isinstance(patch, FancyBboxPatch)]
    written = [text.get_window_extent() for text in ax.texts if text.get_text()]
    assert len(boxes) == 5 and len(written) == 20
    assert not any(a.overlaps(b) for a, b in itertools.combinations(boxes, 2))
    assert not any(a.overlaps(b) for a, b in itertools.combinations(written, 2))
    assert all(
        any(box.x0 < t.x0 and t.x1 < box.x1 and box.y0 < t.y0 and t.y1 < box.y1 for box in boxes) for t in written
    )
    arrows = [text for text in ax.texts if not text.get_text()]
    assert len(arrows) == 5


def test_targets_shade_the_training_range_and_draw_one_whole_curve():
    ax, data = drawn("targets")
    assert ax.patches[0].get_x() == -1 and ax.patches[0].get_width() == 2
    left, middle, right = ax.lines
    assert left.get_linestyle() == right.get_linestyle() != middle.get_linestyle()
    assert left.get_xdata()[-1] == middle.get_xdata()[0] and middle.get_xdata()[-1] == right.get_xdata()[0]
    assert sum(len(line.get_xdata()) for line in ax.lines) == len(data) + 2
    assert {"train (ID)", "test (OOD)", "polynomial 1"} <= texts(ax)


def test_a_two_dimensional_target_outlines_the_train_box():
    ax, _ = drawn("targets_2d")
    box = ax.patches[0]
    assert (box.get_xy(), box.get_width(), box.get_height()) == ((-1, -1), 2, 2)
    assert ax.collections[0].get_array().tolist() == [[4, 0, -4], [0, 0, 0], [-4, 0, 4]]


def test_calibration_shows_the_papers_number_and_rings_the_chosen_width():
    ax, _ = drawn("calibration")
    assert {"paper: 0.0931", "chosen: 0.2"} <= texts(ax)
    assert [list(line.get_xdata()) for line in ax.lines if line.get_markersize() == 9] == [[0.2]]


def test_the_trace_shades_where_the_best_is_not_pointwise_each_time():
    ax, data = drawn("search_trace")
    (span,) = ax.patches
    assert (span.get_x(), span.get_x() + span.get_width()) == (3, data["evaluation"].max())
    assert "not pointwise" in texts(ax)
    inside, beneath = ax.lines[:2]
    assert list(inside.get_xdata()) == [0, 1, 3]  # -inf was not scored
    assert list(beneath.get_xdata()) == [4]  # -40 would squash the rest
    assert ax.get_ylim()[0] < data["low"].min() and ax.get_ylim()[0] > -1


def test_a_trace_that_never_leaves_pointwise_functions_has_no_mark():
    ax, _ = drawn("search_trace", data=trace_table().assign(pointwise=True))
    assert not ax.patches and "not pointwise" not in texts(ax)


def test_a_trace_that_returns_to_pointwise_functions_has_a_shade_for_each_time_away():
    ax, _ = drawn("search_trace", data=trace_table().assign(pointwise=[True, False, True, False, False]))
    assert [(span.get_x(), span.get_x() + span.get_width()) for span in ax.patches] == [(1, 2), (3, 4)]


@pytest.mark.parametrize(
    "name, x, width",
    [("search_trace", "evaluation", plotting.TWO_COLUMNS), ("transfer", "fitness", plotting.ONE_COLUMN + 0.8)],
)
def test_where_search_and_held_out_part_there_is_a_ring_and_a_word_for_it(name, x, width):
    flags = [False, True, False, True, False]
    ax, data = drawn(name, axes(width=width), FIGURES[name][0]().assign(parts=flags))
    (rings,) = [line for line in ax.lines if line.get_markersize() == 9]
    assert rings.get_xydata().tolist() == data.loc[flags, [x, "held_out"]].to_numpy().tolist()
    assert "parts" in texts(ax)
    ax.figure.canvas.draw()
    legend = ax.get_legend().get_window_extent()
    assert legend.x0 >= 0 and legend.x1 <= ax.figure.bbox.x1


@pytest.mark.parametrize("name", ["search_trace", "transfer"])
def test_where_they_never_part_there_is_neither(name):
    ax, _ = drawn(name)
    assert not [line for line in ax.lines if line.get_markersize() == 9] and "parts" not in texts(ax)


def test_every_elite_has_an_interval_where_its_two_scores_meet_and_the_final_choice_is_told_apart():
    ax, data = drawn("transfer")
    ends = set(data.round(6)[["fitness", "low", "high"]].itertuples(index=False, name=None))
    assert interval_lines(ax, vertical=True) == ends
    places = {line.get_label(): list(line.get_xdata()) for line in ax.lines}
    assert places["final choice"] == [0.6]
    assert places["was the best"] == [0.0, 0.4, 0.7]
    assert places["holds a cell"] == [0.5]
    (joined,) = [line for line in ax.lines if line.get_linewidth() == 0.7]
    assert list(joined.get_xdata()) == [0.0, 0.4, 0.7]


def test_a_final_choice_that_never_led_is_not_joined_with_those_that_did():
    ax, _ = drawn("transfer", data=transfer_table().assign(final=[False, False, True, False, False]))
    assert {line.get_label(): list(line.get_xdata()) for line in ax.lines}["holds a cell"] == [0.6]


def test_the_tree_joins_each_program_to_its_parent_and_writes_the_numbers_of_the_final_line():
    ax, data = drawn("tree")
    joined = [(tuple(line.get_xdata()), tuple(line.get_ydata()), line.get_color()) for line in ax.lines]
    assert joined == [
        ((1.0, 0.5), (0, 1), "black"),
        ((1.0, 2.0), (0, 1), "0.8"),
        ((0.5, 0.0), (1, 2), "black"),
        ((0.5, 1.0), (1, 2), "0.8"),
    ]
    dots = ax.collections[0]
    assert sorted(dots.get_array().tolist()) == sorted(data["fitness"])
    assert (dots.norm.vmin, dots.norm.vmax) == (0, 0.6)  # one colour below ReLU, so that the rest are told apart
    assert {"0", "1", "4"} <= {text.get_text() for text in ax.texts}
    assert ax.yaxis_inverted()


def test_the_final_lines_numbers_are_not_struck_through_by_it():
    mirrored = tree_table().assign(place=2 - tree_table()["place"])
    for table in (tree_table(), mirrored):
        ax, _ = drawn("tree", data=table)
        ax.figure.canvas.draw()
        labels = [text.get_window_extent() for text in ax.texts]
        paths = [ax.transData.transform_path(line.get_path()) for line in ax.lines if line.get_color() == "black"]
        assert len(labels) == 3 and len(paths) == 2
        assert not any(path.intersects_bbox(label, filled=False) for path in paths for label in labels)


def test_a_tree_with_a_parent_that_is_not_there_is_refused():
    with pytest.raises(ValueError, match=r"parents that are among the programs; got \[1\]"):
        drawn("tree", data=tree_table().drop(index=1))


def test_islands_are_a_line_each_and_their_events_are_marked_in_both_panels():
    panels = plotting.islands(axes(1, 2, plotting.TWO_COLUMNS), island_table())
    for ax, column in zip(panels, ("best", "cells"), strict=True):
        lines = [line for line in ax.lines if line.get_drawstyle() == "steps-post"]
        table = island_table()
        assert [list(line.get_ydata()) for line in lines] == [
            table[table["island"] == island][column].tolist() for island in (0, 1)
        ]
        marks = {(line.get_marker(), *line.get_xdata()) for line in ax.lines if line.get_marker() != "None"}
        assert {("^", 2), ("X", 3)} <= marks
    assert {"island 0", "island 1", "best fitness"} <= texts(panels[0])
    assert {"a newcomer took a cell", "started anew", "cells held"} <= texts(panels[1])


def test_islands_without_events_have_no_legend_of_them():
    panels = plotting.islands(axes(1, 2, plotting.TWO_COLUMNS), island_table().assign(event=""))
    assert panels[1].get_legend() is None


def test_each_panel_is_one_function_and_spare_ones_are_hidden():
    data = pd.concat([function_table(), function_table().assign(function="found")])
    grid = axes(2, 2)
    used = plotting.functions(grid, data)
    assert [ax.get_title() for ax in used] == ["GMTU", "Found by search"]
    assert [ax.axison for ax in grid.ravel()] == [True, True, False, False]


def test_layers_are_drawn_from_pale_to_full_on_their_bins():
    ax, _ = drawn("preactivations")
    pale, full = ax.patches
    assert pale.get_data().edges.tolist() == [0, 1, 2] and pale.get_data().values.tolist() == [0.4, 0.6]
    assert sum(pale.get_edgecolor()) > sum(full.get_edgecolor())
    assert {"layer 1", "layer 2"} <= texts(ax)


@every_figure
def test_nothing_is_written_over_something_else_nor_off_the_page(name):
    ax, _ = drawn(name)
    ax.figure.canvas.draw()
    visible = [text for text in [*ax.texts, ax.xaxis.label, ax.yaxis.label, ax.title] if text.get_text()]
    if ax.axison:
        ends = [(ax.get_xlim(), ax.xaxis), (ax.get_ylim(), ax.yaxis)]
        for limits, axis in ends:
            visible += [
                label
                for place, label in zip(axis.get_majorticklocs(), axis.get_ticklabels(), strict=True)
                if min(limits) <= place <= max(limits)
            ]
    extents = [text.get_window_extent() for text in visible]
    assert not any(a.overlaps(b) for a, b in itertools.combinations(extents, 2))
    page = ax.figure.bbox
    assert all(e.x0 >= -1 and e.y0 >= -1 and e.x1 <= page.x1 + 1 and e.y1 <= page.y1 + 1 for e in extents)


def test_a_legend_over_the_axes_fits_one_column():
    for name in ("search_trace", "scores", "rate_control"):
        ax, _ = drawn(name)
        ax.figure.canvas.draw()
        legend, page = ax.get_legend().get_window_extent(), ax.figure.bbox
        assert legend.x0 >= 0 and legend.x1 <= page.x1 and ax.get_position().width > 0.5


@every_figure
def test_the_layout_is_the_same_at_the_second_drawing(name):
    ax, _ = drawn(name)
    places = []
    for _ in range(3):  # the PNG and the PDF are two drawings
        ax.figure.canvas.draw()
        places.append([edge for panel in ax.figure.axes for edge in panel.get_position().bounds])
    assert places[0] == pytest.approx(places[1], abs=1e-3)
    assert places[1] == pytest.approx(places[2], abs=1e-3)


# Refusals


def needed(name):
    """Return the columns that the figure draws."""
    table = FIGURES[name][0]()
    return list(table.columns)


@pytest.mark.parametrize(("name", "column"), [(name, column) for name in FIGURES for column in needed(name)])
def test_a_missing_column_is_named(name, column):
    with pytest.raises(ValueError, match=f"{name}: wanted column '{column}'; got "):
        drawn(name, data=FIGURES[name][0]().drop(columns=column))


@every_figure
def test_an_empty_table_is_refused(name):
    with pytest.raises(ValueError, match=f"{name}: wanted at least one row"):
        drawn(name, data=FIGURES[name][0]().head(0))


@pytest.mark.parametrize(
    ("name", "changes", "wanted"),
    [
        ("loop_diagram", {"data": step_table().head(3)}, "at least 4 components"),
        ("targets", {"data": curve_table().assign(split="test")}, r"'id' and 'ood', got \['test'\]"),
        ("targets_2d", {"data": grid_table().head(7)}, "grid with holes"),
        ("calibration", {"chosen": 0.25}, r"among \[0.1, 0.2, 0.3\], got 0.25"),
        ("random_constants", {"beaten": {}}, r"none for \['gmtu'\]"),
        ("scores", {"data": score_table().assign(function="rellu")}, "wanted one of relu, "),
    ],
)
def test_what_cannot_be_drawn_is_refused_with_what_was_wanted(name, changes, wanted):
    with pytest.raises(ValueError, match=wanted):
        drawn(name, **changes)


def test_too_few_panels_are_refused():
    data = pd.concat([function_table(), function_table().assign(function="relu")])
    with pytest.raises(ValueError, match="functions: wanted 2 axes, one a panel; got 1"):
        plotting.functions(axes(), data)


# Files


@every_figure
def test_a_figure_drawn_twice_is_the_same_to_the_byte(name, tmp_path):
    for folder in ("first", "second"):
        ax, data = drawn(name)
        plotting.save(ax.figure, name, data, tmp_path / folder)
    for suffix in ("png", "pdf", "csv"):
        first, second = ((tmp_path / folder / f"{name}.{suffix}").read_bytes() for folder in ("first", "second"))
        assert first == second and len(first) > 20
    png, pdf = ((tmp_path / "first" / f"{name}.{suffix}").read_bytes() for suffix in ("png", "pdf"))
    assert b"Date" not in pdf and b"Matplotlib" not in pdf + png


SCRIPT = """
import sys, pathlib, matplotlib
matplotlib.use("Agg")
import matplotlib.pyplot as plt, pandas as pd
from actlab import plotting
assert "torch" not in sys.modules, "torch was imported"
plotting.use_style()
fig, ax = plt.subplots(figsize=(plotting.ONE_COLUMN, 2))
data = pd.DataFrame({"component": ["function", "task"], "share": [0.2, 0.8], "low": [0.1, 0.7], "high": [0.3, 0.9]})
plotting.variance(ax, data)
plotting.save(fig, "variance", data, pathlib.Path(sys.argv[1]))
assert "torch" not in sys.modules, "torch was imported"
"""


def test_two_processes_save_the_same_bytes_and_import_no_torch(tmp_path):
    for seed in ("1", "2"):
        environment = os.environ | {"PYTHONHASHSEED": seed}
        command = [sys.executable, "-c", SCRIPT, str(tmp_path / seed)]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
    for suffix in ("png", "pdf", "csv"):
        first, second = ((tmp_path / seed / f"variance.{suffix}").read_bytes() for seed in ("1", "2"))
        assert first == second


def test_figures_keep_their_print_width_and_their_text(tmp_path):
    ax, data = drawn("scores")
    png, pdf, csv = plotting.save(ax.figure, "scores", data, tmp_path)
    assert plt.imread(png).shape[1] == round(plotting.ONE_COLUMN * 200)
    assert b"/Type3" not in pdf.read_bytes()
    assert csv.read_text().splitlines()[1] == "turbulent,0.05,0.046,0.056,0.03"


def test_tables_are_saved_as_csv_and_markdown(tmp_path):
    table = pd.DataFrame({"function": ["a|b"], "loss": [0.0123456789012], "n": [200], "paper": [np.nan]})
    csv, markdown = plotting.save_table(table, "table", tmp_path / "new")
    assert csv.read_text() == "function,loss,n,paper\na|b,0.0123456789,200,\n"
    assert (
        markdown.read_text()
        == "| function | loss | n | paper |\n| --- | --- | --- | --- |\n| a\\|b | 0.01235 | 200 |  |\n"
    )


def test_traces_have_a_thin_line_a_run_and_a_thick_one_for_each_arms_mean():
    ax, _ = drawn("traces")
    thick = {tuple(line.get_ydata()): line.get_color() for line in ax.lines if line.get_linewidth() > 1}
    thin = {tuple(line.get_ydata()): line.get_color() for line in ax.lines if line.get_linewidth() < 1}
    assert list(thick) == [(0.0, 0.2, 0.3), (0.0, 0.0, 0.2)]
    assert list(thin) == [(0.0, 0.3, 0.5), (0.0, 0.1, 0.1), (0.0, 0.0, 0.2)]
    assert thin[(0.0, 0.3, 0.5)] == thin[(0.0, 0.1, 0.1)] == thick[(0.0, 0.2, 0.3)] != thick[(0.0, 0.0, 0.2)]
    assert {"search", "one island"} <= texts(ax)


def arm_tables():
    means = interval_table(["search", "one island"] * 2).rename(columns={"function": "arm", "estimate": "log_ratio"})
    means["suite"] = ["held-out"] * 2 + ["far"] * 2
    runs = [("search", 0, "held-out", -0.3), ("search", 1, "held-out", -0.1), ("one island", 0, "held-out", 0.2),
            ("snake", None, "held-out", -0.7), ("search", 0, "far", 0.1)]  # fmt: skip
    return means, pd.DataFrame(runs, columns=["arm", "seed", "suite", "log_ratio"]).astype({"seed": "Int64"})


def test_arms_have_an_interval_a_point_a_run_and_a_line_for_each_function():
    means, runs = arm_tables()
    held_out, far = plotting.arms(axes(1, 2, plotting.TWO_COLUMNS), means, runs)
    assert [held_out.get_title(), far.get_title()] == ["held-out", "far"]
    ends = means[means["suite"] == "held-out"].round(6)
    assert interval_lines(held_out) == set(zip([0, 1], ends["low"], ends["high"], strict=True))
    points, estimates = (part.get_offsets() for part in held_out.collections if isinstance(part, PathCollection))
    np.testing.assert_allclose(points, [(-0.3, 0.22), (-0.1, 0.22), (0.2, 1.22)])
    np.testing.assert_allclose(estimates[:, 1], [0, 1])
    dashed = {line.get_label(): line.get_xdata()[0] for line in held_out.lines if line.get_linestyle() == "--"}
    assert dashed == {"ReLU": 0, "Snake": -0.7}
    assert [line.get_label() for line in far.lines] == ["ReLU"]


def test_arms_without_a_suite_are_refused():
    means, runs = arm_tables()
    with pytest.raises(ValueError, match="arms: wanted column 'suite'"):
        plotting.arms(axes(1, 2), means.drop(columns="suite"), runs)
