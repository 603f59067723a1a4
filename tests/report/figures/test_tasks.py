"""Structure of the figures of one kind of task: what is drawn is what the table holds, and refusals are clear."""

import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib.colors import to_hex
from samples import dots, drawn, names

from actlab.report.figures import style, tasks

pytestmark = pytest.mark.usefixtures("figure_style")


def test_a_forest_has_a_panel_a_task_a_row_a_function_and_a_marker_a_level():
    clean, noisy = drawn("forest")
    assert [clean.get_title(), noisy.get_title()] == ["clean", "noisy"]
    assert names(clean) == ["ReLU", "GELU"] and set(names(noisy)) == {""}
    assert dots(noisy) == [[(0.5, -0.11), (0.6, 0.89)], [(0.7, 0.11), (0.8, 1.11)]]
    assert [line.get_xdata()[0] for line in clean.lines] == [0.85] and not noisy.lines
    words = {text.get_text() for legend in clean.figure.legends for text in legend.get_texts()}
    assert words == {"mild", "strong", "SVC"}


def test_curves_count_epochs_from_one_and_have_each_functions_colour():
    ax, _ = drawn("curves")
    assert [line.get_xdata().tolist() for line in ax.lines] == [[1, 2]] * 2
    assert [to_hex(line.get_color()) for line in ax.lines] == [style.colour(n) for n in ("relu", "snake")]
    assert ax.get_ylabel() == "validation"


def test_arrays_are_drawn_with_the_first_row_at_the_top():
    (ax,) = drawn("arrays")
    assert ax.collections[0].get_array().ravel().tolist() == [0.0, 0.5, 1.0, 1.5]
    assert ax.get_ylim() == (2, 0) and (ax.get_ylabel(), ax.get_xlabel()) == ("from", "to")


def test_pictures_are_in_rows_under_their_names():
    shown = [np.full((4, 4), value) for value in (0.0, 0.25, 0.5, 1.0)]
    axes = tasks.pictures(plt.subplots(2, 2)[1], shown, ["a", "b"], ["clean", "noisy"])
    assert [ax.images[0].get_array()[0, 0] for ax in axes.ravel()] == [0.0, 0.25, 0.5, 1.0]
    assert axes[1, 0].get_ylabel() == "b" and axes[0, 1].get_title() == "noisy"


def test_too_few_pictures_are_refused():
    with pytest.raises(ValueError, match=r"wanted 4 pictures and axes \[2, 2\]; got 1 and \[2, 2\]"):
        tasks.pictures(plt.subplots(2, 2)[1], [np.zeros((4, 4))], ["a", "b"], ["c", "d"])
