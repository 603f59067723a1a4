"""Colours that every eye tells apart, labels from the zoo, and the files of figures and tables."""

import itertools

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_rgb
from samples import SCORES, drawn

from actlab.activations import zoo
from actlab.report.figures import style

pytestmark = pytest.mark.usefixtures("figure_style")
TABLE_1 = ["turbulent", "gmtu", "gelu-sine", "gelu-sinc", "gelu", "relu"]


# Colours and labels


def test_every_activation_of_the_zoo_has_a_colour_of_its_own():
    lines = [f'    "{name}": "#rrggbb",' for name in zoo.names() if name not in style.COLOURS]
    assert lines == [], "add to COLOURS in actlab/report/figures/style.py"
    assert set(style.COLOURS) == {*zoo.names(), *style.BESIDE_THE_ZOO}
    assert len({*style.COLOURS.values(), *style.SERIES}) == len(style.COLOURS) + len(style.SERIES)


def test_labels_are_the_registrys():
    known = [name for name in zoo.names() if name in style.COLOURS]  # another test says who lacks a colour
    labels = [zoo.REGISTRY[name].label for name in known]
    assert [style.label(name) for name in [*known, "found", "yours"]] == [
        *labels, "Found by search", "Yours"
    ]  # fmt: skip


@pytest.mark.parametrize("call", [style.colour, style.label])
def test_another_spelling_is_read(call):
    assert call("GELU_Sine") == call("GELUSine") == call("gelu-sine")


@pytest.mark.parametrize("call", [style.colour, style.label])
def test_a_mistyped_name_is_told_the_closest_first(call):
    with pytest.raises(ValueError, match=r"wanted an activation among gelu-sine, .*; got 'gelu-sien'"):
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
    colours = [cielab(style.colour(name), sight) for name in [*TABLE_1, *style.BESIDE_THE_ZOO]]
    assert min(np.linalg.norm(a - b) for a, b in itertools.combinations(colours, 2)) > 26


# Files


def test_figures_keep_their_print_width_and_their_text(tmp_path):
    png, pdf, csv = style.save(drawn("scores").figure, "scores", SCORES, tmp_path)
    assert plt.imread(png).shape[1] == round(style.ONE_COLUMN * 200)
    assert b"/Type3" not in pdf.read_bytes()
    assert csv.read_text().splitlines()[1] == "turbulent,0.1,0.03,0.06,0.15"


def test_tables_are_saved_as_csv_and_markdown(tmp_path):
    table = pd.DataFrame({"function": ["a|b"], "loss": [0.0123456789012], "n": [200], "paper": [np.nan]})
    csv, markdown = style.save_table(table, "table", tmp_path / "new")
    assert csv.read_text() == "function,loss,n,paper\na|b,0.0123456789,200,\n"
    shown = "| function | loss | n | paper |\n| --- | --- | --- | --- |\n| a\\|b | 0.01235 | 200 |  |\n"
    assert markdown.read_text() == shown
