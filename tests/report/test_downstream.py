"""What the notebooks on images, algorithms and molecules show of the committed records."""

from contextlib import contextmanager
from types import SimpleNamespace

import matplotlib.pyplot as plt
import pandas as pd
import pytest
from IPython.display import Markdown
from matplotlib.figure import Figure

from actlab.core.records import ROOT
from actlab.report import downstream, page, views
from actlab.transfer import sweep

WHERE = {"in-distribution": "clean digits", "ood": "OOD: mean of 15 corruptions"}
PLAIN = pd.DataFrame({"data": "MNIST-5k", "answer": ["SVC", "guess"], "split": "in-distribution", "value": [0.958, 0.1],
                      "seed": pd.NA})  # fmt: skip


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    return downstream.Kind("images", "accuracy", WHERE, tmp_path_factory.mktemp("figures"))


@pytest.fixture
def shown(monkeypatch) -> list:
    """What was shown, in order: texts and figures."""
    found: list = []

    def show(what):
        found.append(what.data if isinstance(what, Markdown) else what)

    monkeypatch.setattr(page, "display", show)
    monkeypatch.setattr(downstream, "display", show)
    return found


@pytest.fixture(autouse=True)
def no_open_figures():
    yield
    plt.close("all")


def committed(name: str) -> pd.DataFrame:
    return pd.read_csv(ROOT / "figures" / f"{name}.csv", keep_default_na=False)


@pytest.mark.parametrize("name", ["scores", "differences", "curves"])
def test_a_figure_is_saved_with_its_table_and_shown_above_its_caption(images, shown, name):
    curves = views.grouped(views.curves(images.rows))
    made = {"scores": lambda: images.means(PLAIN), "differences": images.differences}
    images.save(made.get(name, lambda: images.curves(curves))(), f"images_{name}")
    assert (images.folder / f"images_{name}.csv").read_bytes() == (ROOT / f"figures/images_{name}.csv").read_bytes()
    figure, caption = shown
    assert isinstance(figure, Figure) and not plt.get_fignums()
    assert "(laptop profile; n = 10 seeds; 95 % " in caption


@pytest.mark.parametrize("name", ["whole", "endings"])
def test_a_table_is_saved_as_it_is_and_shown_without_the_only_data_sets_name(images, shown, name):
    images.save_table(getattr(images, name)(), f"images_{name}", show=name == "whole")
    assert (images.folder / f"images_{name}.csv").read_bytes() == (ROOT / f"figures/images_{name}.csv").read_bytes()
    *table, caption = shown
    assert len(table) == (name == "whole") and not any("MNIST" in text for text in table)
    assert "laptop profile" in caption


def test_captions_name_the_extremes(images):
    means = committed("images_scores").query("split == 'ood'")
    low, high = means.loc[means["value"].idxmin()], means.loc[means["value"].idxmax()]
    read = images.means(PLAIN).read
    assert f"{low['value']:.3f} ({page.name(low['function'])}) to {high['value']:.3f}" in read
    assert images.differences().read.endswith(views.verdicts(images.planned))
    assert "Triangles" in images.differences({"MNIST-5k": 0.1}).read


def test_relu_is_judged_against_every_plain_answer_and_the_smallest_margin_is_said(images):
    found = images.floor(PLAIN)
    assert found.read.startswith("ReLU's network: 2 above. The smallest margin is over *SVC* on MNIST-5k")
    assert "(in distribution): 0.975 against 0.958, a difference of 0.0" in found.read and found.n == "10 seeds"


def test_failed_trainings_are_named():
    kind = downstream.Kind("algorithms", "score", WHERE, ROOT)
    ended = committed("algorithms_endings")
    assert f"{ended['scored'].sum()} of {ended['runs'].sum()} were scored. Failed: " in kind.endings().read
    assert all(page.name(name) in kind.endings().read for name in ended.query("scored < runs")["function"])


def test_what_the_records_are_and_how_they_were_made_is_said(images, shown, monkeypatch):
    images.records()
    assert shown[0].startswith("**The records** (laptop profile; n = 10 of 10 seeds of 13 functions, 130 trainings).")
    assert shown[0].endswith("; this code still computes them.")
    monkeypatch.setattr(images.kept, "missing", list)
    images.records()
    assert shown[1].endswith("; this code still computes them. 130 of them have other settings than today's.")


def test_only_the_first_missing_data_sets_are_named(images, shown, monkeypatch):
    table = pd.DataFrame(
        {"data": list("abcd"), "there": [True, False, False, False], "message": ["", "b?", "c?", "d?"]}
    )
    monkeypatch.setattr(views, "lacking", lambda _: table)
    images.lacking(most=2)
    assert shown[0] == "1 of 4 full data sets are there:\n\n- a: there\n- b?\n- and 2 more"


def test_a_kind_without_two_seeds_is_refused(monkeypatch):
    monkeypatch.setattr(sweep, "done", lambda *_: sweep.Design(("relu",), {"molecules": 2}))
    with pytest.raises(FileNotFoundError, match="wanted two seeds of images; came fewer"):
        _ = downstream.Kind("images", "accuracy", WHERE, ROOT).n


def test_the_lab_scores_the_programs_of_the_zoo_and_the_found_one_on_every_suite(monkeypatch):
    @contextmanager
    def laboratory(profile, workers):
        assert (profile.name, workers) == ("smoke", 1)
        yield SimpleNamespace(scores=scores)

    def scores(programs, suite):
        assert all("def activation(x" in source for source in programs.values())
        return pd.DataFrame({"function": list(programs), "suite": suite})

    monkeypatch.setattr(downstream, "Laboratory", laboratory)
    monkeypatch.setattr(downstream.summaries, "summary", lambda losses, fitness: losses)
    monkeypatch.setattr(downstream.summaries, "notes", lambda table: table)
    found = downstream.lab(["relu", "found"], ["search", "far"], "smoke", workers=1)
    assert found.to_numpy().tolist() == [["relu", "search"], ["found", "search"], ["relu", "far"], ["found", "far"]]
