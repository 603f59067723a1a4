"""What the notebooks show of one kind of task, on records that are written by hand."""

import dataclasses

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from actlab.report import views
from actlab.transfer import statistics, sweep
from actlab.transfer.interface import Row, table

pytestmark = pytest.mark.usefixtures("quick_canaries")


def run(function, seed, validation, inside, outside, whole=None, outcome="scored"):
    rows = [Row("validation", "accuracy", value, epoch) for epoch, value in enumerate(validation)]
    rows.append(Row("in-distribution", "accuracy", inside, 1, outcome=outcome))
    rows.append(Row("ood", "accuracy", outside, 1, shift="noise", severity=1))
    if whole is not None:
        rows.append(Row("in-distribution", "accuracy", whole, 1, "whole"))
    return table("images", "MNIST-5k", seed, rows).assign(function=function)


@pytest.fixture
def rows():
    return pd.concat([
        run("relu", 0, [0.5, 0.9], 0.90, 0.7), run("relu", 1, [0.7, 0.8], 0.94, 0.6),
        run("turbulent", 0, [0.4, 0.6], 0.80, 0.5, 0.7), run("turbulent", 1, [0.4], np.nan, 0.4, None, "diverged"),
    ], ignore_index=True)  # fmt: skip


def test_a_mean_over_seeds_has_students_interval_and_one_seed_has_none(rows):
    found = views.tests(rows).set_index(["function", "split"])
    own = found.loc[("relu", "in-distribution")]
    low, high = stats.t.interval(0.95, 1, loc=0.92, scale=np.std([0.90, 0.94], ddof=1) / np.sqrt(2))
    assert own[["n", "value", "low", "high"]].tolist() == pytest.approx([2, 0.92, low, high])
    alone = found.loc[("turbulent", "in-distribution")]
    assert alone["n"] == 1 and alone["value"] == 0.8 and np.isnan(alone["low"])


def test_a_curve_counts_the_runs_that_came_so_far(rows):
    found = views.curves(rows).set_index(["function", "epoch"])
    assert found.loc[("turbulent", 0), "n"] == 2 and found.loc[("turbulent", 1), "n"] == 1
    assert found.loc[("relu", 1), "value"] == pytest.approx(0.85)


def test_a_run_ends_as_the_first_of_its_tests_that_was_not_scored(rows):
    found = views.endings(rows).set_index("function")
    assert found.loc["relu"].to_dict() == {"runs": 2, "scored": 2, "OOM": 0, "diverged": 0}
    assert found.loc["turbulent"].to_dict() == {"runs": 2, "scored": 1, "OOM": 0, "diverged": 1}


def test_the_whole_set_is_held_against_batches_where_a_function_sees_its_batch():
    scores = pd.DataFrame({"data": "MNIST-5k", "split": "ood", "function": ["turbulent"] * 3 + ["relu"] * 3,
                           "seed": [0, 1, 2] * 2, "value": [0.5, 0.6, 0.7] * 2, "whole": [0.6, 0.7, 0.9] * 2,
                           "failed": False})  # fmt: skip
    found = views.whole_against_batches(scores)
    assert found["function"].tolist() == ["turbulent"]
    assert found.iloc[0][["n", "batches", "difference"]].tolist() == pytest.approx([3, 0.6, 0.4 / 3])


def test_the_drop_is_paired_by_run():
    scores = pd.DataFrame({"data": "B3DB", "function": "relu", "seed": [0, 0, 1, 1],
                           "split": ["in-distribution", "ood"] * 2, "value": [0.9, 0.8, 0.7, 0.4]})  # fmt: skip
    assert views.drop(scores).iloc[0][["n", "value"]].tolist() == pytest.approx([2, 0.2])


def compared(verdict="worse", failed=0):
    row = {"task": "MNIST-5k", "split": "ood", "function": "fisg", "other": "relu", "difference": -0.1234,
           "low": -0.2, "high": -0.05, "verdict": verdict, "failed": failed}  # fmt: skip
    return pd.DataFrame([row, {**row, "function": "snake", "verdict": "undecided", "failed": 0}])


def test_a_difference_is_said_with_its_interval_verdict_and_failures():
    found = views.differences(compared(failed=2)).set_index("function")["OOD, over ReLU"]
    assert found["FISG"] == "-0.123 [-0.200, -0.050], worse, 2 failed"
    assert found["Snake"] == "-0.123 [-0.200, -0.050]"


def test_verdicts_name_who_is_better_and_worse_and_where():
    said = views.verdicts(compared())
    assert said == "Against ReLU OOD, better: none; worse: FISG. All others are undecided."
    assert views.decided(compared()).iloc[0].tolist() == ["MNIST-5k", "OOD", "ReLU", "none", "FISG"]


def test_every_function_of_the_design_stands_in_a_group():
    assert set(sweep.FUNCTIONS) == {name for names in views.GROUPS.values() for name in names}


def test_functions_come_in_the_order_of_the_design_in_all_that_is_drawn():
    design, rows = views.load(sweep.kept())
    assert tuple(dict.fromkeys(rows["function"])) == design.functions == sweep.FUNCTIONS
    for found in (views.tests(rows), views.curves(rows), statistics.scores(rows)):
        assert tuple(dict.fromkeys(found["function"])) == design.functions


def test_a_kind_with_one_seed_has_no_interval_and_is_left_out(tmp_path, monkeypatch):
    monkeypatch.setattr(sweep, "done", lambda *_: sweep.Design(("relu",), {"images": 1}))
    with pytest.raises(FileNotFoundError):
        views.load(sweep.records(tmp_path))


def test_a_data_set_that_is_not_there_is_one_line_that_says_how_to_get_it():
    lines = views.lacking("images").set_index("data")["message"]
    assert lines["CIFAR-10"].startswith("CIFAR-10: wanted") and "came none" in lines["CIFAR-10"]


def test_each_full_data_set_of_pictures_that_is_not_there_says_where_its_files_go_and_how_to_get_them(monkeypatch):
    monkeypatch.setattr(sweep, "ROOT", sweep.ROOT / "nowhere")
    lines = views.lacking("images").set_index("data")["message"]
    how = {
        "Fashion-MNIST": ("data/fashion-mnist", "github.com/zalandoresearch/fashion-mnist"),
        "CIFAR-10": ("data/cifar-10", "Unpack cifar-10-python.tar.gz from www.cs.toronto.edu/~kriz/cifar.html there"),
        "ImageNet": ("data/imagenet", "Fetch ILSVRC 2012 from image-net.org (an account is needed) and unpack it"),
    }
    assert set(lines.index) == set(how)
    for data, words in how.items():
        assert "\n" not in lines[data] and all(part in lines[data] for part in words)


def kept(tmp_path, rows):
    records = sweep.records(tmp_path)
    for (benchmark, function, data, seed), part in rows.groupby(["benchmark", "function", "data", "seed"], sort=False):
        config = {"algorithm": data} if benchmark == "algorithms" else {"data": data}
        config = dataclasses.replace(sweep._module(benchmark).PROFILES["paper"][-1], seed=seed, **config)
        records.add([(sweep.Job(benchmark, function, config), {benchmark: part.drop(columns="function")})])
    return records


def one(benchmark, data, function, seed, value):
    metric = sweep.METRICS[benchmark]
    rows = [Row("in-distribution", metric, value, 1), Row("ood", metric, value / 2, 1, shift="noise", severity=1)]
    return table(benchmark, data, seed, rows).assign(function=function)


def test_the_full_data_sets_are_shown_as_far_as_their_records_are_there(tmp_path):
    rows = pd.concat([
        *(one("images", "CIFAR-10", name, seed, 0.9) for name in ("relu", "gelu") for seed in range(3)),
        one("images", "CIFAR-10", "snake", 0, 0.8),  # a single seed: no interval
        *(one("images", "ImageNet", "relu", seed, 0.7) for seed in range(2)),  # nothing beside ReLU
        *(one("algorithms", data, name, seed, 0.5) for data in ("bfs", "dfs") for name in ("relu", "qfw")
          for seed in range(3) if (data, name, seed) != ("dfs", "qfw", 2)),
    ], ignore_index=True)  # fmt: skip
    records = kept(tmp_path, rows)
    shown = views.full_table(records).set_index("function")
    assert shown.columns.tolist() == [
        "CIFAR-10, in-distribution", "CIFAR-10, OOD", "CLRS, mean of 2 algorithms, n=16",
        "CLRS, mean of 2 algorithms, n=64",
    ]  # fmt: skip
    assert shown.loc["gelu"].tolist()[:2] == ["0.900 [0.900, 0.900]", "0.450 [0.450, 0.450]"]
    assert views.full_words(records) == (
        "Profile paper: CIFAR-10 (2 functions, 3 seeds), 2 algorithms (2 functions, 2 seeds); "
        "mean with 95 % skewness-corrected t over seeds, less over groups of two."
    )
    over_relu = statistics.against(views.full(records), ["relu"]).query("planned")
    assert over_relu[["task", "function", "n"]].drop_duplicates().to_numpy().tolist() == [
        ["CIFAR-10", "gelu", 3], ["mean of 2 algorithms", "qfw", 2]
    ]  # fmt: skip
    assert views.full_words(records, "images").startswith("Profile paper: CIFAR-10 (2 functions, 3 seeds); mean")


def test_without_records_of_the_full_data_sets_a_line_says_so(tmp_path):
    records = sweep.records(tmp_path)
    assert views.full_table(records).empty
    for kind in (None, "molecules"):
        said = views.full_words(records, kind)
        assert said == "Profile paper: no records of it are here; `make transfer PROFILE=paper` makes them, on a GPU."


def images_of_the_laptop(tmp_path):
    records = sweep.records(tmp_path)
    for job in sweep.jobs("laptop", sweep.Design(("relu", "gelu"), {"images": 2})):
        rows = one("images", job.data, job.function, job.seed, 0.9).drop(columns="function")
        records.add([(job, {"images": rows})])
    return records


@pytest.mark.parametrize(
    ("off", "words"),
    [
        (1e-6, "differ from their records by 1e-06 at most, which is within 0.001."),
        (0.02, "at most, which is **more than 0.001**: another machine, or other versions, give other numbers here."),
        (float("inf"), "by inf at most, which is **more than 0.001**"),
    ],
)
def test_a_slice_that_is_trained_anew_is_held_against_its_record_in_words(tmp_path, monkeypatch, off, words):
    trained = []

    def run(job):
        trained.append(str(job))
        outcome = "diverged" if np.isinf(off) else "scored"
        rows = one("images", job.data, job.function, job.seed, 0.9 + off if np.isfinite(off) else 0.9)
        return rows.assign(outcome=outcome).drop(columns="function"), 1.0

    monkeypatch.setattr(sweep, "run", run)
    said = views.verify("images", "laptop", images_of_the_laptop(tmp_path))
    assert trained == ["images, MNIST-5k, gelu, seed 0"]
    assert said.startswith("GELU from seed 0 was trained again on MNIST-5k: the tests ") and words in said


def test_at_smoke_relu_and_gelu_are_trained_at_its_own_settings_into_the_build_folder(tmp_path, monkeypatch):
    ran = []
    monkeypatch.setattr(sweep, "records_folder", lambda name, profile: tmp_path / profile)
    monkeypatch.setattr(sweep, "checkpoints", lambda profile: tmp_path / "checkpoints")

    def run(job, checkpoint):
        ran.append(job)
        return one("images", job.data, job.function, job.seed, 0.9).drop(columns="function"), 1.0

    monkeypatch.setattr(sweep, "run", run)
    said = views.verify("images", "smoke", sweep.records(tmp_path))
    assert [(job.function, job.config.train) for job in ran] == [("relu", 300), ("gelu", 300)]
    assert said == (
        "Profile smoke: 2 small trainings ran, or were there already: "
        "relu in-distribution 0.900, ood 0.450, gelu in-distribution 0.900, ood 0.450."
    )
    assert (tmp_path / "smoke/images.csv").is_file()


def test_settings_are_shown_with_the_words_of_the_configuration():
    from actlab.transfer import images

    shown = views.settings(images.LAPTOP).set_index("setting")
    assert shown.loc["width", "value"] in ("8", 8) and "channels" in shown.loc["width", "what"]
