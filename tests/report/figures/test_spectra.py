"""Structure of the figures on spectra: a line and an interval for each function, what is marked, clear refusals."""

import numpy as np
import pytest
from matplotlib.colors import to_hex
from samples import AMPLITUDES, drawn

from actlab.report.figures import spectra, style

pytestmark = pytest.mark.usefixtures("figure_style")
NAMES = ["relu", "gelu-sine"]


def test_a_panel_of_spectra_has_four_lines_with_intervals_and_the_bands_end():
    for name, ax in zip(NAMES, drawn("spectra"), strict=True):
        *lines, mark = ax.lines
        assert len(lines) == len(ax.collections) == 4
        assert mark.get_xdata()[0] == 4
        assert [to_hex(line.get_color()) for line in lines].count(style.colour(name)) == 2
        assert ax.get_title() == style.label(name)


def test_gradients_have_a_line_with_an_interval_for_each_function():
    for ax in drawn("gradients"):
        assert [to_hex(line.get_color()) for line in ax.lines] == [style.colour(name) for name in NAMES]
        assert len(ax.collections) == len(NAMES)
        assert ax.get_xscale() == ax.get_yscale() == "log"


def test_the_sweep_has_a_line_a_form_and_refuses_others():
    ring, _ = drawn("amplitude")
    labels = [line.get_label() for line in ring.lines if not line.get_label().startswith("_")]
    assert labels == [form["label"] for form in spectra.FORMS.values()]
    np.testing.assert_allclose(ring.lines[-1].get_ydata(), [0.7, 0.9, 1.1])
    with pytest.raises(ValueError, match="wanted forms among gelu-sine, gelu-tanh; got relu"):
        drawn("amplitude", AMPLITUDES.replace("gelu-tanh", "relu"))


def test_the_sweeps_axis_is_logarithmic_where_the_ratios_spread():
    table = AMPLITUDES.copy()
    table.loc[table["measure"] == "ring", ["estimate", "low", "high"]] = 1.0, 0.9, 1.2
    assert [ax.get_yscale() for ax in drawn("amplitude", table)] == ["linear", "log"]


def test_curves_show_the_target_and_shade_the_training_range():
    for ax in drawn("beyond"):
        assert [line.get_label() for line in ax.lines] == [*map(style.label, NAMES), "target"]
        assert (ax.patches[0].get_x(), ax.patches[0].get_width()) == (-1, 2)
