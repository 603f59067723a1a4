"""Structure of the figures of the lab: what each shows beside its estimates, and what it refuses."""

import pandas as pd
import pytest
from samples import GRID, RACES, SCORES, TARGETS, dots, drawn, names, segments, texts

pytestmark = pytest.mark.usefixtures("figure_style")


def test_targets_shade_the_training_range_and_draw_one_whole_curve():
    (ax,) = drawn("targets")
    assert ax.patches[0].get_x() == -1 and ax.patches[0].get_width() == 2
    left, middle, right = ax.lines
    assert left.get_linestyle() == right.get_linestyle() != middle.get_linestyle()
    assert left.get_xdata()[-1] == middle.get_xdata()[0] and middle.get_xdata()[-1] == right.get_xdata()[0]
    assert sum(len(line.get_xdata()) for line in ax.lines) == len(TARGETS) + 2
    assert {"train (ID)", "test (OOD)", "polynomial 1"} <= texts(ax)


def test_a_two_dimensional_target_outlines_the_train_box():
    ax = drawn("targets_2d")
    box = ax.patches[0]
    assert (box.get_xy(), box.get_width(), box.get_height()) == ((-1, -1), 2, 2)
    assert ax.collections[0].get_array().tolist() == [[4, 0, -4], [0, 0, 0], [-4, 0, 4]]


def test_calibration_shows_the_papers_number_and_rings_the_chosen_width():
    ax = drawn("calibration")
    assert {"paper: 0.0931", "chosen: 0.2"} <= texts(ax)
    assert [list(line.get_xdata()) for line in ax.lines if line.get_markersize() == 9] == [[0.2]]


def test_layers_are_drawn_from_pale_to_full_on_their_bins():
    (ax,) = drawn("preactivations")
    pale, full = ax.patches
    assert pale.get_data().edges.tolist() == [0, 1, 2] and pale.get_data().values.tolist() == [0.4, 0.6]
    assert sum(pale.get_edgecolor()) > sum(full.get_edgecolor())
    assert {"layer 1", "layer 2"} <= texts(ax)


def test_scores_draw_one_interval_a_row_and_the_papers_number_where_there_is_one():
    ax = drawn("scores", notes={"relu": "calibrated"})
    assert segments(ax)[0] == [(0.06, 0), (0.15, 0)] and len(segments(ax)) == 4
    assert dots(ax) == [[(0.1, 0), (0.2, 1), (0.3, 2), (0.4, 3)], [(0.03, 0), (0.052, 1), (0.093, 3)]]
    assert names(ax) == ["Turbulent", "GMTU", "GELUSine", "ReLU (calibrated)"]
    assert {"ours, with interval", "paper"} <= texts(ax)


def test_scores_of_several_suites_are_side_by_side():
    suites = ("search", "held-out", "far")
    ax = drawn("scores", pd.concat([SCORES.assign(suite=suite) for suite in suites]))
    *estimates, paper = dots(ax)
    assert [part[0] for part in estimates] == [(0.1, -0.22), (0.1, 0), (0.1, 0.22)] and len(paper) == 3
    assert {*suites, "paper"} <= texts(ax)


def test_bars_of_variance_have_intervals():
    ax = drawn("variance")
    assert [bar.get_width() for bar in ax.patches] == [0.2, 0.8]
    assert segments(ax) == [[(0.16, 0), (0.25, 0)], [(0.76, 1), (0.85, 1)]]


def test_rate_control_joins_the_two_dots_of_a_function():
    ax = drawn("rate_control")
    assert [line.get_xydata().round(6).tolist() for line in ax.lines] == [
        [[0.06, -0.14], [0.005, 0.14]], [[0.07, 0.86], [0.006, 1.14]]
    ]  # fmt: skip


def test_a_race_has_a_row_a_plan_and_a_marker_an_incumbent_where_a_better_candidate_came():
    saved, dropped = drawn("racing")
    assert dots(saved) == [[(0.4, -0.12), (0.6, 0.88)], [(0.4, 0.12), (0.3, 1.12)]]
    assert dots(dropped) == [[(0.2, -0.12), (0.0, 0.88)], [(0.5, 0.12)]]
    assert names(saved) == ["screen", "race"] and saved.get_xlabel() == "share of steps saved"
    assert {"against the best", "against number 8", "share of better candidates dropped"} <= texts(dropped)
    costly = drawn("racing", RACES.assign(saved=-0.1, saved_low=-0.12, saved_high=-0.08))
    assert [ax.get_xlim()[0] for ax in costly] == pytest.approx([-0.15, -0.07])  # all intervals are in view


def test_growth_has_a_line_from_least_to_most_and_a_dotted_one_where_costs_grow_in_proportion():
    tasks, width = drawn("growth")
    assert segments(tasks, width) == [[(x, y - 0.04), (x, y + 0.05)] for x, y in ((12, 1), (24, 2), (16, 4))]
    proportional, medians = (line.get_xydata().tolist() for line in tasks.lines)
    assert proportional == medians == [[12, 1.0], [24, 2.0]]


@pytest.mark.parametrize(
    ("name", "changes", "wanted"),
    [
        ("targets", {"data": TARGETS.assign(split="test")}, r"'id' and 'ood', got \['test'\]"),
        ("targets_2d", {"data": GRID.head(7)}, "grid with holes"),
        ("calibration", {"chosen": 0.25}, r"among \[0.1, 0.2, 0.3\], got 0.25"),
        ("scores", {"data": SCORES.assign(function="rellu")}, "wanted an activation among relu, "),
    ],
)
def test_what_cannot_be_drawn_is_refused_with_what_was_wanted(name, changes, wanted):
    with pytest.raises(ValueError, match=wanted):
        drawn(name, **changes)
