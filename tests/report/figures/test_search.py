"""Structure of the figures of the search: what each shows beside its estimates, and what it refuses."""

import itertools

import pytest
from matplotlib.patches import FancyBboxPatch
from samples import ELITES, FIGURES, ISLANDS, STEPS, TRACE, TREE, dots, drawn, names, segments, texts

pytestmark = pytest.mark.usefixtures("figure_style")


def spans(ax):
    return [(span.get_x(), span.get_x() + span.get_width()) for span in ax.patches]


def rings(ax):
    return [line.get_xydata().tolist() for line in ax.lines if line.get_markersize() == 9]


def test_the_loops_boxes_hold_their_texts_and_do_not_touch():
    ax = drawn("loop_diagram")
    ax.figure.canvas.draw()
    boxes = [patch.get_window_extent() for patch in ax.patches if isinstance(patch, FancyBboxPatch)]
    written = [text.get_window_extent() for text in ax.texts if text.get_text()]
    arrows = [text for text in ax.texts if not text.get_text()]
    assert (len(boxes), len(written), len(arrows)) == (5, 20, 5)
    assert not any(a.overlaps(b) for a, b in itertools.combinations(boxes, 2))
    assert all(any(b.x0 < t.x0 and t.x1 < b.x1 and b.y0 < t.y0 and t.y1 < b.y1 for b in boxes) for t in written)


def test_the_loops_arrows_lead_from_each_box_to_the_next():
    ax = drawn("loop_diagram")
    ends = [(*text.xyann, *text.xy) for text in ax.texts if not text.get_text()]
    moves = [(x1 - x0 > 1e-9, x0 - x1 > 1e-9, y0 - y1 > 1e-9, y1 - y0 > 1e-9) for x0, y0, x1, y1 in ends]
    assert [("right", "left", "down", "up")[move.index(True)] for move in moves] == ["right"] * 2 + [
        "down",
        "left",
        "up",
    ]


def test_authors_in_the_loop_are_words_and_no_formulas():
    ax = drawn("loop_diagram", STEPS.assign(role=r"$\nosuch{x}$, $a$"))
    ax.figure.canvas.draw()  # which raises where this is read as a formula
    assert {text.get_parse_math() for text in ax.texts if text.get_text()} == {False}


def test_three_components_are_no_loop():
    with pytest.raises(ValueError, match="at least 4 components for a loop, got 3"):
        drawn("loop_diagram", STEPS.head(3))


def test_the_trace_shades_where_the_best_is_not_pointwise():
    ax = drawn("search_trace")
    assert spans(ax) == [(3, 4)] and "not pointwise" in texts(ax)
    inside, beneath = ax.lines[:2]
    assert list(inside.get_xdata()) == [0, 1, 3]  # -inf was not scored
    assert list(beneath.get_xdata()) == [4]  # -40 would squash the rest
    assert ax.get_ylim()[0] < TRACE["low"].min() and ax.get_ylim()[0] > -1


@pytest.mark.parametrize(
    ("pointwise", "shaded"), [([True] * 5, []), ([True, False, True, False, False], [(1, 2), (3, 4)])]
)
def test_the_trace_has_a_shade_for_each_time_away_from_pointwise_functions(pointwise, shaded):
    ax = drawn("search_trace", TRACE.assign(pointwise=pointwise))
    assert spans(ax) == shaded and ("not pointwise" in texts(ax)) == bool(shaded)


@pytest.mark.parametrize(("name", "x"), [("search_trace", "evaluation"), ("transfer", "fitness")])
def test_a_new_best_that_is_worse_elsewhere_has_a_ring_and_a_word_for_it(name, x):
    ax = drawn(name)
    assert not rings(ax) and "parts" not in texts(ax)
    flags = [False, True, False, True, False]
    data = FIGURES[name].table.assign(parts=flags)
    ax = drawn(name, data)
    assert rings(ax) == [data.loc[flags, [x, "held_out"]].to_numpy().tolist()] and "parts" in texts(ax)


@pytest.mark.parametrize(
    ("final", "choice", "others"), [([False] * 4 + [True], 0.6, 0.5), ([False, False, True, False, False], 0.5, 0.6)]
)
def test_elites_that_led_are_joined_and_the_final_choice_is_told_apart(final, choice, others):
    ax = drawn("transfer", ELITES.assign(final=final))
    places = {line.get_label(): list(line.get_xdata()) for line in ax.lines}
    assert (places["final choice"], places["holds a cell"]) == ([choice], [others])
    assert places["was the best"] == [0.0, 0.4, 0.7]
    (joined,) = [line for line in ax.lines if line.get_linewidth() == 0.7]
    assert list(joined.get_xdata()) == [0.0, 0.4, 0.7]


def test_the_tree_joins_each_program_to_its_parent_and_writes_the_numbers_of_the_final_line():
    ax = drawn("tree")
    joined = [(tuple(line.get_xdata()), tuple(line.get_ydata()), line.get_color()) for line in ax.lines]
    assert joined == [
        ((1.0, 0.5), (0, 1), "black"),
        ((1.0, 2.0), (0, 1), "0.8"),
        ((0.5, 0.0), (1, 2), "black"),
        ((0.5, 1.0), (1, 2), "0.8"),
    ]
    shown = ax.collections[0]
    assert sorted(shown.get_array().tolist()) == sorted(TREE["fitness"])
    assert (shown.norm.vmin, shown.norm.vmax) == (0, 0.6)  # one colour below ReLU, so that the rest are told apart
    assert {"0", "1", "4"} <= {text.get_text() for text in ax.texts}
    assert ax.yaxis_inverted()


@pytest.mark.parametrize("table", [TREE, TREE.assign(place=2 - TREE["place"])])
def test_the_final_lines_numbers_are_not_struck_through_by_it(table):
    ax = drawn("tree", table)
    ax.figure.canvas.draw()
    labels = [text.get_window_extent() for text in ax.texts]
    paths = [ax.transData.transform_path(line.get_path()) for line in ax.lines if line.get_color() == "black"]
    assert len(labels) == 3 and len(paths) == 2
    assert not any(path.intersects_bbox(label, filled=False) for path in paths for label in labels)


def test_a_tree_with_a_parent_that_is_not_there_is_refused():
    with pytest.raises(ValueError, match=r"parents that are among the programs; got \[1\]"):
        drawn("tree", TREE.drop(index=1))


def test_islands_are_a_line_each_and_their_events_are_marked_in_both_panels():
    panels = drawn("islands")
    for ax, column in zip(panels, ("best", "cells"), strict=True):
        lines = [list(line.get_ydata()) for line in ax.lines if line.get_drawstyle() == "steps-post"]
        assert lines == [rows[column].tolist() for _, rows in ISLANDS.groupby("island")]
        marks = {(line.get_marker(), *line.get_xdata()) for line in ax.lines if line.get_marker() != "None"}
        assert {("^", 2), ("X", 3)} <= marks
    assert {"island 0", "island 1", "best fitness"} <= texts(panels[0])
    assert {"a newcomer took a cell", "started anew", "cells held"} <= texts(panels[1])


def test_islands_without_events_have_no_legend_of_them():
    _, cells = drawn("islands", ISLANDS.assign(event=""))
    assert cells.get_legend() is None


def test_arms_have_an_interval_a_point_a_run_and_a_line_for_each_function():
    held_out, far = drawn("arms")
    assert [held_out.get_title(), far.get_title()] == ["held-out", "far"]
    assert names(held_out) == ["search", "grammar"]
    assert segments(held_out) == [[(0.09, 0), (0.12, 0)], [(0.18, 1), (0.24, 1)]]
    assert dots(held_out) == [[(-0.3, 0.22), (-0.1, 0.22), (0.2, 1.22)], [(0.1, 0), (0.2, 1)]]
    dashed = {line.get_label(): line.get_xdata()[0] for line in held_out.lines if line.get_linestyle() == "--"}
    assert dashed == {"ReLU": 0, "Snake": -0.7}
    assert [line.get_label() for line in far.lines] == ["ReLU"]


def test_traces_have_a_thin_line_a_run_and_a_thick_one_for_each_arms_mean():
    ax = drawn("traces")
    thick = {tuple(line.get_ydata()): line.get_color() for line in ax.lines if line.get_linewidth() > 1}
    thin = {tuple(line.get_ydata()): line.get_color() for line in ax.lines if line.get_linewidth() < 1}
    assert list(thick) == [(0.0, 0.2, 0.3), (0.0, 0.0, 0.2)]
    assert list(thin) == [(0.0, 0.3, 0.5), (0.0, 0.1, 0.1), (0.0, 0.0, 0.2)]
    assert thin[(0.0, 0.3, 0.5)] == thin[(0.0, 0.1, 0.1)] == thick[(0.0, 0.2, 0.3)] != thick[(0.0, 0.0, 0.2)]
    assert {"search", "one island"} <= texts(ax)
