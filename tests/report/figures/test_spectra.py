"""Structure of the figures on spectra: a line and an interval for each function, the band marked, clear refusals."""

import itertools

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_hex

from actlab.report.figures import spectra
from actlab.report.figures import style as plotting

NAMES = ["relu", "gelu-sine"]


@pytest.fixture(autouse=True)
def style():
    plotting.use_style()
    yield
    plt.close("all")


def estimates(**columns):
    """A row for each combination of the columns' values, with an estimate and its interval."""
    table = pd.DataFrame(itertools.product(*columns.values()), columns=list(columns))
    estimate = 0.1 * (1 + np.arange(len(table)))
    return table.assign(estimate=estimate, low=0.9 * estimate, high=1.2 * estimate)


def curve_table():
    u = np.linspace(-3, 3, 13)
    one = pd.DataFrame({"u": u, "prediction": u, "target": u**2})
    pairs = itertools.product(NAMES, ("harmonic", "polynomial"))
    return pd.concat([one.assign(function=name, family=family, task=f"0 {family}") for name, family in pairs])


def spectrum_table():
    return estimates(
        function=NAMES, where=["inside", "beyond"], signal=["prediction", "target"], periods=list(range(1, 9))
    )


def training_table():
    return estimates(function=NAMES, quantity=["gradient", "loss"], step=[1, 2, 10])


def sweep_table():
    return estimates(form=["gelu-sine", "gelu-tanh"], amplitude=[0.0, 0.1, 1.0], measure=["ring", "waves"])


FIGURES = {
    "beyond": (curve_table, spectra.beyond, {}),
    "spectra": (spectrum_table, spectra.spectra, {"band": 4}),
    "gradients": (training_table, spectra.gradients, {"titles": {"gradient": "norm", "loss": "loss"}}),
    "amplitude": (
        sweep_table, spectra.amplitude, {"titles": {"ring": "ring", "waves": "waves"}, "discovered": 0.1}
    ),
}  # fmt: skip
every_figure = pytest.mark.parametrize("name", FIGURES)


def drawn(name, count=2, data=None):
    table, draw, options = FIGURES[name]
    _, axes = plt.subplots(1, count, figsize=(plotting.TWO_COLUMNS, 2.4))
    return draw(axes, table() if data is None else data, **options)


@every_figure
def test_a_missing_column_is_named(name):
    table = FIGURES[name][0]()
    for column in table:
        with pytest.raises(ValueError, match=f"{name}: wanted column '{column}'"):
            drawn(name, data=table.drop(columns=column))


@every_figure
def test_too_few_axes_are_refused_and_spare_ones_hidden(name):
    with pytest.raises(ValueError, match=f"{name}: wanted 2 axes"):
        drawn(name, count=1)
    _, axes = plt.subplots(1, 3)
    FIGURES[name][1](axes, FIGURES[name][0](), **FIGURES[name][2])
    assert [ax.axison for ax in axes] == [True, True, False]


@every_figure
def test_no_letters_leave_the_figure(name):
    fig = drawn(name)[0].figure
    fig.canvas.draw()
    for text in [*fig.legends[0].get_texts(), *(t for ax in fig.axes for t in (ax.title, ax.xaxis.label))]:
        box = text.get_window_extent()
        assert box.x0 >= 0 and box.x1 <= fig.bbox.x1 + 1 and box.y1 <= fig.bbox.y1 + 1, text.get_text()


def test_a_panel_of_spectra_has_four_lines_with_intervals_and_the_bands_end():
    for name, ax in zip(NAMES, drawn("spectra"), strict=True):
        *lines, mark = ax.lines
        assert len(lines) == len(ax.collections) == 4
        assert mark.get_xdata()[0] == 4
        assert [to_hex(line.get_color()) for line in lines].count(plotting.colour(name)) == 2
        assert ax.get_title() == plotting.label(name)


def test_gradients_have_a_line_with_an_interval_for_each_function():
    for ax in drawn("gradients"):
        assert [to_hex(line.get_color()) for line in ax.lines] == [plotting.colour(name) for name in NAMES]
        assert len(ax.collections) == len(NAMES)
        assert ax.get_xscale() == ax.get_yscale() == "log"


def test_the_sweep_has_a_line_a_form_and_refuses_others():
    ring, _ = drawn("amplitude")
    labels = [line.get_label() for line in ring.lines if not line.get_label().startswith("_")]
    assert labels == [form["label"] for form in spectra.FORMS.values()]
    np.testing.assert_allclose(ring.lines[-1].get_ydata(), [0.7, 0.9, 1.1])
    with pytest.raises(ValueError, match="wanted forms among gelu-sine, gelu-tanh; got relu"):
        drawn("amplitude", data=sweep_table().replace("gelu-tanh", "relu"))


def test_the_sweeps_axis_is_logarithmic_where_the_ratios_spread():
    table = sweep_table()
    spread = table["measure"] == "waves"
    table.loc[~spread, ["estimate", "low", "high"]] = 1.0, 0.9, 1.2
    ring, waves = drawn("amplitude", data=table)
    assert (ring.get_yscale(), waves.get_yscale()) == ("linear", "log")


def test_curves_show_the_target_and_shade_the_training_range():
    for ax in drawn("beyond"):
        assert [line.get_label() for line in ax.lines] == [*map(plotting.label, NAMES), "target"]
        left, right = ax.patches[0].get_x(), ax.patches[0].get_x() + ax.patches[0].get_width()
        assert (left, right) == (-1, 1)
