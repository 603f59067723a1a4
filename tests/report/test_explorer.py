"""The explorer: what it shows is what the laboratory finds, nothing stale stays in sight, and a file is a candidate."""

import html
import re
import shlex
import subprocess
import sys
from contextlib import nullcontext
from dataclasses import replace

import matplotlib.pyplot as plt
import numpy as np
import pytest
from IPython.core.interactiveshell import InteractiveShell

from actlab import __main__, activations
from actlab.candidates.program import Refused, check
from actlab.core.config import profile
from actlab.core.records import Store
from actlab.report import explorer
from actlab.report.figures import style
from actlab.scoring import laboratory
from actlab.scoring.laboratory import Laboratory

pytestmark = pytest.mark.usefixtures("warm_sandboxes")

SMOKE = profile("smoke")
QUICK = replace(SMOKE, lab=replace(SMOKE.lab, steps=20, width=31))
WAVY = "def activation(x):\n    return torch.sin(2 * x) + 0.25 * x\n"
LATE = "def activation(x):\n    return x * x if x.shape[-1] != 31 else x.sum()\n"  # the width of this lab


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    with Laboratory(QUICK, workers=1, store=Store(tmp_path_factory.mktemp("records"))) as one:
        yield one


@pytest.fixture
def said(monkeypatch):
    """What the page was told."""
    lines = []
    monkeypatch.setattr(explorer.page, "say", lines.append)
    return lines


def test_a_program_is_drawn_and_described_as_it_is(lab):
    look = explorer.describe(WAVY, lab)
    traits = look.description.traits
    assert (look.ended, traits["parity"], traits["pointwise"]) == ("open", "odd", True)
    x = look.curve["x"].to_numpy()
    np.testing.assert_allclose(look.curve["y"], np.sin(2 * x) + 0.25 * x, atol=1e-12)
    np.testing.assert_allclose(look.curve["slope"], 2 * np.cos(2 * x) + 0.25, atol=1e-12)
    assert look.words.startswith(f"{look.description.flops_gelu:.3g} times GELU's FLOPs; pointwise True, parity odd")


@pytest.mark.parametrize(
    ("text", "ended"),
    [
        ("open('x')", "refused"),
        ("snake(x, power=2)", "refused"),
        ("sum([sin(k*x) for k in range(1, 99)])", "refused"),  # by its cost
        ("exp(x**3)", "failed"),
        ("def activation(x", "refused"),
    ],
)
def test_what_is_no_activation_is_told_so_and_has_no_curve(lab, text, ended):
    look = explorer.describe(text, lab)
    assert (look.ended, look.description, look.curve) == (ended, None, None)
    assert look.words.startswith(f"{ended}: ")


def test_a_score_is_the_one_of_the_command_line_with_the_zoo_around_it(lab):
    standing = explorer.score(WAVY, lab, beside=["sine", "gelu"])
    assert sorted(standing.table["function"]) == ["gelu", "relu", "sine", "snake", "yours"]
    assert standing.table["log_ratio"].is_monotonic_increasing
    mine = standing.table.set_index("function").loc["yours"]
    scored = lab.evaluator.score(WAVY, "search", QUICK.lab)
    assert mine["log_ratio"] == pytest.approx(-scored.fitness)
    assert mine["ood_mse"] == pytest.approx(np.mean(scored.ood_mse))
    place = standing.table["function"].tolist().index("yours") + 1
    assert f"Profile smoke, search suite, n = 8 tasks, one seed: OOD MSE {mine['ood_mse']:.3f}" in standing.words
    assert f"place {place} of 5." in standing.words


def test_a_function_that_is_a_rival_is_its_equal(lab):
    standing = explorer.score(activations.program_source("relu"), lab, beside=[])
    assert standing.duels.set_index("function").loc["relu", ["log_ratio", "verdict"]].tolist() == [0.0, "undecided"]
    assert "1.00 [1.00, 1.00] times ReLU's" in standing.words


def test_what_cannot_be_scored_says_why(lab):
    with pytest.raises(ValueError, match=r"wanted a program that can be scored; it failed: .*finite"):
        explorer.score("def activation(x):\n    return torch.exp(x ** 3)", lab)
    with pytest.raises(Refused, match="the name open"):
        explorer.score("def activation(x):\n    return open(x)", lab)


def test_the_picture_of_a_score_marks_yours(lab):
    standing = explorer.score(WAVY, lab, beside=[])
    fig, ax = plt.subplots()
    explorer.draw_standing(ax, standing)
    fig.canvas.draw()
    labels = [label.get_text() for label in ax.get_yticklabels()]
    assert labels == [style.label(name) for name in standing.table["function"]]
    bold = [label.get_text() for label in ax.get_yticklabels() if label.get_weight() == "bold"]
    assert bold == ["Yours"]
    plt.close(fig)


def test_a_saved_program_passes_the_command_line(lab, tmp_path, capsys, monkeypatch):
    path = explorer.save(WAVY, "new/mine.py", tmp_path)
    monkeypatch.setattr(laboratory, "Laboratory", lambda *_, **__: nullcontext(lab))  # whose sandbox is warm
    assert __main__.main(["score", str(path)]) == 0
    assert capsys.readouterr().out.startswith("fitness ")


def test_what_is_saved_is_the_canonical_text_that_was_checked(tmp_path):
    noted = (
        'import torch  # |<b>`\n\n\ndef activation(x):\n    """A wave."""\n    return (torch.sin(2*x)+0.25*x)  # a\n'
    )
    path = explorer.save(noted, "new/mine.py", tmp_path)
    assert path == tmp_path / "new" / "mine.py"
    assert path.read_text() == check(noted).source + "\n" == WAVY


def test_saving_never_overwrites_another_function(tmp_path):
    path = explorer.save(WAVY, "mine.py", tmp_path)
    assert explorer.save(WAVY, path, tmp_path) == path
    with pytest.raises(FileExistsError, match=r"wanted a new name; got 'mine.py'"):
        explorer.save("def activation(x):\n    return x * x", "mine.py", tmp_path)
    assert path.read_text() == WAVY


@pytest.mark.parametrize(
    "path", ["mine.txt", "../mine.py", "/tmp/mine.py", "out/mine.py", "a/../../mine.py", ".py", ""]
)
def test_saving_keeps_below_the_folder_and_writes_python_files_alone(tmp_path, path):
    inside = tmp_path / "project"
    inside.mkdir()
    (inside / "out").symlink_to(tmp_path)
    with pytest.raises(ValueError, match=r"wanted a file below .*project whose name ends in \.py; got"):
        explorer.save(WAVY, path, inside)
    assert [path.name for path in tmp_path.rglob("*")] == ["project", "out"]


def test_saving_takes_candidates_alone(tmp_path):
    with pytest.raises(Refused):
        explorer.save("import os", "mine.py", tmp_path)
    assert not list(tmp_path.iterdir())


def test_without_ipywidgets_a_plain_message_says_what_to_install(lab, said, monkeypatch):
    monkeypatch.setitem(sys.modules, "ipywidgets", None)
    assert explorer.panel(lab, live=True) is None
    (line,) = said
    assert "pip install ipywidgets" in line
    assert "\n" not in line


def test_where_nobody_could_move_a_slider_there_are_none(lab, said, monkeypatch):
    monkeypatch.delenv("JPY_SESSION_NAME", raising=False)
    assert explorer.panel(lab) is None
    assert said == [explorer.STATIC]
    monkeypatch.setenv("JPY_SESSION_NAME", "19_explorer.ipynb")
    assert explorer.panel(lab) is not None


@pytest.fixture
def panel(lab, monkeypatch, tmp_path):
    monkeypatch.setattr(explorer, "ROOT", tmp_path)
    monkeypatch.setattr(explorer.zoo, "names", lambda: ["relu", "gelu", "snake"])  # to train little
    return explorer.Panel(lab, pytest.importorskip("ipywidgets"))


def test_moving_a_slider_writes_the_text_and_draws_it(panel):
    before = panel.curve.value
    assert (panel.text.value, before[:4]) == ("gelu(x)", b"\x89PNG")
    panel.sliders["amplitude"].value = 0.5
    assert panel.text.value == "gelu(x) + 0.5*sin(2*x)"
    assert panel.curve.value != before
    assert panel.about.value.startswith("1.")


def test_a_base_brings_the_sliders_of_its_constants(panel):
    panel.base.value = "snake"
    (slider,) = panel.constants.children
    assert (slider.description, slider.value, slider.max, panel.text.value) == ("frequency", 1.0, 4.0, "snake(x)")
    slider.value = 3.0
    assert panel.text.value == "snake(x, frequency=3)"
    panel.base.value = "relu"
    assert panel.constants.children == ()
    assert panel.text.value == "relu(x)"


@pytest.mark.parametrize("name", activations.names())
def test_no_two_sliders_have_the_same_name(panel, name):
    panel.base.options = [name]
    panel.base.value = name
    names = [slider.description for slider in (*panel.constants.children, *panel.sliders.values())]
    assert len(set(names)) == len(names)


def signs(panel):
    """What the sign says from now on, without its markup."""
    said = []
    panel.sign.observe(lambda change: said.append(html.unescape(change["new"])[3:-4]), "value")
    return said


def test_the_panel_says_what_it_is_doing_while_it_does_it(panel):
    said = signs(panel)
    panel.text.value = "sin(2*x) + 0.25*x"
    assert said == ["Checking and drawing.", ""]
    panel.train.click()
    assert said[2].startswith("Training; ") and said[3:] == [""]


def test_a_fault_of_the_machinery_leaves_no_sign_that_the_panel_is_busy(panel, monkeypatch):
    monkeypatch.setattr(explorer, "describe", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        panel._look()
    assert panel.sign.value == "<b></b>"


def test_the_panel_says_which_cell_it_waits_for(lab, monkeypatch):
    monkeypatch.delenv("VIRTUAL_ENV", raising=False)  # of another environment, of which IPython would warn
    shell = InteractiveShell()
    panel = explorer.Panel(lab, pytest.importorskip("ipywidgets"), shell)
    said = signs(panel)
    shell.run_cell("\n'<b>'.join(['a',\n 'b'])", silent=False)
    assert said == ["Waiting until no cell runs; now runs: '<b>'.join(['a',", ""]


def test_what_is_refused_hides_the_picture_and_cannot_be_scored_or_saved(panel):
    panel.text.value = "open('<b>')"
    assert panel.about.value.startswith("refused: ")
    assert "<b>" not in panel.about.value
    assert (panel.curve.layout.display, panel.train.disabled, panel.keep.disabled) == ("none", True, True)
    panel.text.value = "x*tanh(x)"
    assert (panel.curve.layout.display, panel.train.disabled, panel.keep.disabled) == ("block", False, False)


def test_a_score_is_shown_until_the_function_changes(panel):
    panel.text.value = "sin(2*x) + 0.25*x"
    panel.train.click()
    assert "place " in panel.verdict.value
    assert (panel.forest.value[:4], panel.forest.layout.display) == (b"\x89PNG", "block")
    panel.text.value = "sin(2*x)"
    assert (panel.verdict.value, panel.forest.layout.display) == ("", "none")


def test_a_function_that_fails_in_training_says_so_and_leaves_the_button(panel):
    panel.text.value = LATE
    panel.train.click()
    assert panel.verdict.value.startswith("yours: wanted a program that can be scored; it failed: ")
    assert (panel.train.disabled, panel.forest.layout.display) == (False, "none")


def test_the_save_button_writes_what_the_text_says_and_how_to_score_it(panel, tmp_path):
    panel.text.value = "sin(2*x) + 0.25*x"
    panel.keep.click()
    path = tmp_path / "candidates" / "mine.py"
    assert path.read_text() == WAVY
    told = html.unescape(re.fullmatch("<code>(.*)</code>", panel.said.value)[1])
    command = shlex.split(told)
    assert command[1:] == ["-m", "actlab", "score", str(path), "--profile", "smoke"]
    pasted = [*command[:3], "score", str(path), "--help"]  # from a folder that is not the project's
    assert subprocess.run(pasted, cwd=tmp_path, capture_output=True).returncode == 0
    panel.text.value = "sin(x)"
    panel.keep.click()
    assert "wanted a new name" in panel.said.value
    assert path.read_text() == WAVY
