"""What holds for every figure: intervals, refusals, layout, the same bytes each time."""

import itertools
import os
import subprocess
import sys

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_hex
from samples import CURVE, FIGURES, SCORES, axes_for, dots, drawn, intervals

from actlab.report.figures import style

pytestmark = pytest.mark.usefixtures("figure_style")
every_figure = pytest.mark.parametrize("name", FIGURES)


@pytest.mark.parametrize("name", [name for name, figure in FIGURES.items() if figure.estimates])
def test_every_estimate_has_its_interval(name):
    table, axes = FIGURES[name].table, np.atleast_1d(drawn(name))
    shown = {round(z, 6) for part in dots(*axes) for dot in part for z in dot}
    shown |= {round(float(z), 6) for ax in axes for line in ax.lines for z in line.get_xydata().ravel()}
    for value in FIGURES[name].estimates.split():
        low, high = (own if (own := f"{value}_{end}") in table else end for end in ("low", "high"))
        rows = table.dropna(subset=low)
        assert value == "both" or set(rows[value].round(6)) <= shown
        assert set(rows[[low, high]].round(6).itertuples(index=False, name=None)) <= intervals(*axes), value


@every_figure
def test_a_missing_column_is_named(name):
    table, axes = FIGURES[name].table, axes_for(name)
    for column in set(table) - ({"low", "high"} if name == "figure_6" else set()):  # which may lack intervals
        with pytest.raises(ValueError, match=f"{name}: wanted column '{column}'; got "):
            drawn(name, table.drop(columns=column), axes)


@every_figure
def test_an_empty_table_is_refused(name):
    with pytest.raises(ValueError, match=f"{name}: wanted at least one row"):
        drawn(name, FIGURES[name].table.head(0))


@pytest.mark.parametrize("name", [name for name, figure in FIGURES.items() if figure.panels > 1])
def test_too_few_axes_are_refused_and_spare_ones_hidden(name):
    with pytest.raises(ValueError, match=f"{name}: wanted 2 axes, one a panel; got 1"):
        drawn(name, axes=axes_for(name, 1))
    axes = axes_for(name, 3)
    assert len(drawn(name, axes=axes)) == 2
    assert [ax.axison for ax in axes] == [True, True, False]


def written(ax):
    """The texts in and around the axes that can be seen."""
    found = [*ax.texts, ax.xaxis.label, ax.yaxis.label, ax.title]
    for limits, axis in ((ax.get_xlim(), ax.xaxis), (ax.get_ylim(), ax.yaxis)):
        ticks = zip(axis.get_majorticklocs(), axis.get_ticklabels(), strict=True)
        found += [tick for place, tick in ticks if min(limits) <= place <= max(limits) and ax.axison]
    return [text for text in found if text.get_text()]


@every_figure
def test_nothing_is_written_over_something_else_nor_off_the_page_and_the_layout_stays(name):
    figure = np.atleast_1d(drawn(name))[0].figure
    places = []
    for _ in range(3):  # the PNG and the PDF are two drawings
        figure.canvas.draw()
        places.append([edge for panel in figure.axes for edge in panel.get_position().bounds])
    assert places[0] == pytest.approx(places[1], abs=2e-3) and places[1] == pytest.approx(places[2], abs=2e-3)
    extents = [text.get_window_extent() for ax in figure.axes for text in written(ax)]
    assert not any(a.overlaps(b) for a, b in itertools.combinations(extents, 2))
    extents += [one.get_window_extent() for one in (*figure.legends, *(ax.get_legend() for ax in figure.axes)) if one]
    page = figure.bbox
    assert all(e.x0 >= -1 and e.y0 >= -1 and e.x1 <= page.x1 + 1 and e.y1 <= page.y1 + 1 for e in extents)


def test_each_panel_is_one_function():
    data = pd.concat([CURVE, CURVE.assign(function="found")])
    used = drawn("functions", data, plt.subplots(2, 2)[1])
    assert [ax.get_title() for ax in used] == ["GMTU", "Found by search"]


def test_at_most_five_series_are_told_apart():
    data = pd.concat([SCORES.assign(suite=suite) for suite in "abcdef"])
    with pytest.raises(ValueError, match="scores: wanted at most 5 series in a panel, got 6"):
        drawn("scores", data)


def test_a_function_has_the_same_colour_in_every_figure():
    (curve,) = drawn("functions")
    (layers,) = drawn("preactivations")
    dotted = drawn("scores", SCORES.query("function == 'gmtu'"))
    random = drawn("random_constants")
    colours = [curve.lines[-1].get_color(), layers.patches[-1].get_edgecolor(), random.lines[1].get_color()]
    colours += [part.get_facecolor()[0] for part in (dotted.collections[2], random.collections[-1])]
    assert {to_hex(colour) for colour in colours} == {style.colour("gmtu")}


SCRIPT = """
import sys, pathlib
from samples import FIGURES, drawn, np, plt, style
folder = pathlib.Path(sys.argv[1])
style.use_style()
for name, (table, *_) in FIGURES.items():
    figure = np.atleast_1d(drawn(name))[0].figure
    style.save(figure, name, table, folder) if name in sys.argv else figure.savefig(folder / name, dpi=50)
    plt.close("all")
"""


def test_two_processes_draw_the_same_bytes(tmp_path):
    running, whole = [], ["scores", "targets_2d", "tree"]  # these are saved as notebooks do, the others in a hurry
    for seed in ("1", "2"):
        (tmp_path / seed).mkdir()
        environment = os.environ | {"PYTHONHASHSEED": seed, "PYTHONPATH": os.pathsep.join(sys.path)}
        command = [sys.executable, "-c", SCRIPT, str(tmp_path / seed), *whole]
        running.append(subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True))
    assert [one.communicate()[1] for one in running] == ["", ""]
    first, second = ({path.name: path.read_bytes() for path in (tmp_path / seed).glob("[!.]*")} for seed in "12")
    assert len(first) == len(FIGURES) + 2 * len(whole) + 1  # the manifest
    assert [name for name in first if first[name] != second[name]] == []
    saved = [first[f"{name}.{suffix}"] for name in whole for suffix in ("png", "pdf", "csv")]
    assert not any(word in content for content in saved for word in (b"Date", b"Matplotlib"))


NO_TORCH = """
import sys, pathlib, matplotlib
matplotlib.use("Agg")
import matplotlib.pyplot as plt, pandas as pd
from actlab.report.figures import lab
data = pd.DataFrame({"component": ["function", "task"], "share": [0.2, 0.8], "low": [0.1, 0.7], "high": [0.3, 0.9]})
lab.variance(plt.subplots()[1], data)
assert "torch" not in sys.modules, "torch was imported"
"""


def test_a_figure_without_functions_imports_no_torch():
    done = subprocess.run([sys.executable, "-c", NO_TORCH], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
