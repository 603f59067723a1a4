import itertools
import subprocess
import sys
import time
from concurrent.futures import Future
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
import torch

from actlab import __main__, activations
from actlab.core.config import LabConfig, TaskConfig, profile
from actlab.core.records import ROOT
from actlab.lab import compiled, tasks, training
from actlab.report.bench import lab as bench
from actlab.scoring.evaluator import Pending

DATA = tasks.suite("calibration", replace(TaskConfig(), calibration=8)).blind


def test_the_quick_lab_table_has_a_row_a_path_and_ratios_that_follow_from_its_times():
    table = bench.lab_speed(profile("smoke"), quick=True).set_index("path")
    wanted = ["function", "batch", "width", "ms_per_step", "ratio_to_naive", "roofline_fraction", "ms_least", "ms_most"]
    assert list(table.columns) == wanted
    assert list(table.index) == ["naive-adam", "naive-fused-adam", "lab", "compiled", "roofline"]
    pd.testing.assert_series_equal(
        table["ratio_to_naive"], table.loc["naive-adam", "ms_per_step"] / table["ms_per_step"], check_names=False
    )
    pd.testing.assert_series_equal(
        table["roofline_fraction"], table.loc["roofline", "ms_per_step"] / table["ms_per_step"], check_names=False
    )


def test_a_rate_leaves_out_what_is_done_once_and_paths_take_turns(monkeypatch):
    clock, calls = [0.0], []

    def path(name, setup, step):
        def train(function, data, config, seed):
            calls.append(name)
            clock[0] += setup + step * config.steps

        return train

    monkeypatch.setattr(bench.time, "perf_counter", lambda: clock[0])
    paths = {"a": path("a", 5.0, 0.001), "b": path("b", 0.0, 0.002)}
    found = bench.rates(paths, torch.tanh, DATA, LabConfig(), repeats=3, seconds=0.1)
    assert found == {"a": pytest.approx((1.0, 1.0, 1.0)), "b": pytest.approx((2.0, 2.0, 2.0))}
    assert calls[-12:] == ["a", "a", "b", "b"] * 3


def test_the_median_of_an_uneven_path_stands_between_its_least_and_its_most(monkeypatch):
    clock, costs = [0.0], itertools.cycle([1.0, 3.0, 2.0])
    cost = [0.0]

    def train(function, data, config, seed):
        if config.steps == 1:  # each measurement begins with it
            cost[0] = next(costs)
        clock[0] += cost[0] * config.steps

    monkeypatch.setattr(bench.time, "perf_counter", lambda: clock[0])
    ms = bench.rates({"a": train}, torch.tanh, DATA, LabConfig(), repeats=3, seconds=1.0)["a"]
    assert ms == pytest.approx((2e3, 1e3, 3e3))


def test_the_roofline_does_the_labs_matrix_products_and_no_other(monkeypatch):
    """Counts multiplications, of both, by the shapes that torch is given."""
    config = LabConfig(width=16, depth=3, steps=2, chunk=3)

    def multiplications(train):
        count = [0]
        for name in ("bmm", "baddbmm"):
            plain = getattr(torch, name)

            def spy(*args, plain=plain, first=name == "baddbmm", **kwargs):
                a, b = args[first : first + 2]
                count[0] += a.numel() * b.shape[-1]
                return plain(*args, **kwargs)

            monkeypatch.setattr(torch, name, spy)
        train(activations.relu, DATA, config, 0)
        monkeypatch.undo()
        return count[0]

    sizes = [4, 16, 16, 16]
    layers = [2 * a * b for a, b in itertools.pairwise(sizes)]  # forward, and the weights' gradient
    layers += [16 * 16] * 2 + [16]  # backward to the inputs; and the last layer's gradient, its one matrix product
    assert multiplications(bench.products) == multiplications(training.train) == 2 * 8 * 64 * sum(layers)


def test_a_fresh_process_reports_its_rate_and_its_memory():
    sizes = {"tasks": 8, "width": 16, "batch": 64, "functions": 1}
    _, peak = bench._grown(profile("smoke"), sizes, repeats=1, seconds=0.01)
    assert 100 < peak < 20_000  # MB: torch alone is above, and a wrong unit is far off


def test_a_named_part_is_saved_and_printed(tmp_path, capsys, monkeypatch):
    table = pd.DataFrame({"workers": [1], "functions_an_hour": [1234.5]})
    monkeypatch.setitem(bench.PARTS, "population", lambda which, quick: table)
    monkeypatch.setattr(bench, "machine", lambda: "2 cores of this")
    assert __main__.main(["bench", "population", "--folder", str(tmp_path)]) == 0
    kept = pd.read_csv(tmp_path / "bench_population.csv")
    pd.testing.assert_frame_equal(kept, table.assign(machine="2 cores of this"))
    assert "functions_an_hour" in capsys.readouterr().out


def test_growth_is_drawn_beside_its_table(tmp_path, monkeypatch):
    rows = [
        {"setting": s, "value": v, "repeats": 5, "ms_per_step": v / 10, "ms_least": v / 11, "ms_most": v / 9}
        for s in "ab"
        for v in (1, 2)
    ]
    drawn, save = [], bench.style.save

    def spy(figure, *rest):
        drawn.append(figure.get_supxlabel())
        return save(figure, *rest)

    monkeypatch.setattr(bench.style, "save", spy)
    monkeypatch.setitem(bench.PARTS, "growth", lambda which, quick: pd.DataFrame(rows))
    __main__.main(["bench", "growth", "--folder", str(tmp_path)])
    drawn_to = {path.name for path in tmp_path.iterdir() if "manifest" not in path.name}
    assert drawn_to == {f"bench_growth.{end}" for end in ("csv", "md", "pdf", "png")}
    assert "median of 5 measurements" in drawn[0] and "Functions are trained in turn" in drawn[0]


def test_an_unknown_part_is_answered_with_those_there_are(capsys):
    assert __main__.main(["bench", "lap"]) == 2
    assert (
        "wanted one of lab, population, isolation, searches, backends, rounding, overhead, growth, functions"
        in capsys.readouterr().err
    )


def test_an_unknown_profile_is_answered_in_one_line_before_anything_is_measured(capsys, monkeypatch):
    monkeypatch.setitem(bench.PARTS, "lab", None)
    assert __main__.main(["bench", "lab", "--profile", "nope"]) == 2
    said = "actlab bench: unknown profile: wanted one of smoke, laptop, paper; got 'nope'\n"
    assert capsys.readouterr() == ("", said)


def test_the_quick_population_is_scored_in_turns_and_its_memory_is_that_of_confined_processes():
    (row,) = bench.population(profile("smoke"), quick=True).to_dict("records")
    assert (row["workers"], row["functions"], row["repeats"]) == (1, 2, 2)
    assert row["functions_an_hour"] == pytest.approx(2 / row["seconds"] * 3600)
    assert 0 < row["seconds_least"] < row["seconds"] < row["seconds_most"]
    assert all(100 < row[f"peak_mb_{backend}"] < 2000 for backend in bench.BACKENDS)  # torch alone is above 100


@pytest.mark.skipif(compiled.missing() is not None, reason=f"no compiler: {compiled.missing()}")
def test_after_all_steps_in_float32_losses_differ_by_what_rounding_does_to_the_reference_itself():
    table = bench.rounding(profile("laptop"), quick=True).set_index("trained")
    assert set(table["function"]) == {"gelu"} and set(table["tasks"]) == {8}
    assert table.loc["compiled", "median"] < 3 * table.loc["reference, moved", "median"]
    assert 0 < table.loc["compiled", "median"] < 1e-4
    assert (table["median"] <= table["p90"]).all() and (table["p90"] <= table["most"]).all()


def test_the_gpu_is_measured_where_there_is_one_and_named_it_is_wanted(tmp_path, capsys, monkeypatch):
    measured = []
    for part in bench.PARTS:
        table = pd.DataFrame({"part": [part]})
        monkeypatch.setitem(bench.PARTS, part, lambda *_, t=table: measured.append(t["part"][0]) or t)
    monkeypatch.setattr(bench.figures, "growth", lambda *_: None)
    growth = pd.DataFrame({"setting": ["a"], "repeats": [1]})
    monkeypatch.setitem(bench.PARTS, "growth", lambda *_: growth)
    for found in (False, True):
        monkeypatch.setattr(bench.torch.cuda, "is_available", lambda found=found: found)
        measured.clear()
        assert __main__.main(["bench", "--folder", str(tmp_path)]) == 0
        assert measured == [part for part in bench.PARTS if part != "growth" and (found or part != "gpu")]
    monkeypatch.setattr(bench.torch.cuda, "is_available", lambda: False)
    assert __main__.main(["bench", "lab", "gpu"]) == 2
    assert f"gpu: wanted a GPU that torch {torch.__version__} can use; came none" in capsys.readouterr().err


def test_a_gpu_trains_whole_and_several_times_what_the_processor_trains_once(monkeypatch):
    turns = []

    def trained(device, name, suite, which):
        turns.append((device, name, len(suite.tasks), which.lab.steps))
        return {"cpu": 6.0, "cuda": float(len(turns))}[device], 0.5

    monkeypatch.setattr(bench, "_trained", trained)
    monkeypatch.setattr(bench.torch.cuda, "get_device_name", lambda: "a GPU")
    (row,) = bench.gpu(profile("laptop"), quick=True).to_dict("records")
    assert turns == [(device, "gelu", 8, 10) for device in ("cuda", "cpu", *["cuda"] * 3)]
    assert (row["cpu_seconds"], row["cuda_least"], row["cuda_seconds"], row["cuda_most"]) == (6, 3, 4, 5)
    assert (row["ratio"], row["gpu"], row["torch"], row["cpu_ood_mse"]) == (1.5, "a GPU", torch.__version__, 0.5)
    turns.clear()
    whole = bench.gpu(profile("laptop"))
    assert set(whole["tasks"]) == {48, 200, 1000} and {turn[3] for turn in turns} == {1000}


def test_a_timed_training_has_the_median_loss_of_the_lab():
    which = profile("smoke")
    suite = tasks.suite("search", which.tasks)
    seconds, loss = bench._trained("cpu", "gelu", suite, which)
    gelu = activations.REGISTRY["gelu"].function
    networks = training.train(gelu, suite.blind, which.lab, 0)
    predicted = networks.predict(gelu, torch.from_numpy(suite.blind.ood_x).float(), which.lab.batch)
    assert loss == pytest.approx(((predicted.double() - torch.from_numpy(suite.ood_y)) ** 2).mean(1).quantile(0.5))
    assert seconds > 0


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="needs a system that lists processes")
def test_the_memory_of_a_process_below_another_is_seen_and_this_processs_own_is_not():
    grown = "import sys; kept = bytearray(b'x') * 300_000_000; print('grown', flush=True); sys.stdin.read()"
    started = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {grown!r}])"
    with subprocess.Popen([sys.executable, "-c", started], stdin=-1, stdout=-1, text=True) as process:
        assert process.stdout.readline() == "grown\n"
        assert 300 < bench._peak_below(lambda: time.sleep(0.2)) < 400
        process.stdin.close()


@pytest.mark.parametrize("quick", [False, True])
def test_all_numbers_of_workers_take_turns_and_memory_is_measured_with_the_costliest(monkeypatch, quick):
    asked, turns = [], []

    class Evaluator:
        def __init__(self, suites, config, workers):
            self.workers = workers

        def __enter__(self):
            return self

        def __exit__(self, *_):
            self.workers = None  # of no use from here on

    def scored(evaluator, names, config):
        turns.append(evaluator.workers)
        return float(len(turns))

    monkeypatch.setattr(bench, "cores", lambda: 3)
    monkeypatch.setattr(bench, "Evaluator", Evaluator)
    monkeypatch.setattr(bench, "warm", lambda evaluator, lab, suite: None)
    monkeypatch.setattr(bench, "_scored", scored)
    monkeypatch.setattr(bench, "_worker_peak", lambda which, names: asked.append(names) or float(len(asked)))
    table = bench.population(profile("smoke"), quick)
    assert turns == ([1, 1] if quick else [1, 2, 3] * 5)
    assert set(bench.COSTLIEST) < set(asked[0]) and set(table["peak_mb_torch"]) == {1.0}
    assert set(bench.COSTLIEST) < set(asked[1]) and set(table["peak_mb_compiled"]) == {2.0}
    if not quick:
        seconds = table[["seconds_least", "seconds", "seconds_most"]].to_numpy().tolist()
        assert seconds == [[1, 7, 13], [2, 8, 14], [3, 9, 15]]


def test_the_costliest_functions_are_those_of_the_committed_table():
    table = pd.read_csv(ROOT / "figures" / "bench_functions.csv")
    whole = table.assign(us=table["forward_us"] + table["backward_us"]).groupby("function")["us"].sum()
    assert set(whole.nlargest(2).index) == set(bench.COSTLIEST)


def test_the_quick_growth_table_has_a_median_within_its_least_and_most_and_a_fresh_processs_memory():
    (row,) = bench.growth(profile("smoke"), quick=True).to_dict("records")
    assert (row["setting"], row["value"]) == ("tasks", 12)
    assert row["ms_least"] < row["ms_per_step"] < row["ms_most"]
    assert row["seconds"] == row["ms_per_step"] * profile("smoke").lab.steps / 1e3
    assert 100 < row["peak_mb"] < 2000


def test_the_quick_isolation_table_compares_the_same_evaluation():
    (row,) = bench.isolation(profile("smoke"), quick=True).to_dict("records")
    assert (row["function"], row["repeats"]) == ("gelu", 2)
    assert min(row["bare_ms"], row["confined_ms"]) > 0


def test_isolation_is_not_measured_where_it_changes_a_result(monkeypatch):
    plain = bench.InProcess.submit

    def other(self, *given):
        made = plain(self, *given).future.result()
        done = Future()
        done.set_result(replace(made, train=made.train + 1e-12))
        return Pending(done, None)

    monkeypatch.setattr(bench.InProcess, "submit", other)
    with pytest.raises(RuntimeError, match="wanted the same description and predictions of gelu to the bit"):
        bench.isolation(profile("smoke"), quick=True)


def test_the_quick_table_of_functions_has_gelu_at_one_and_ratios_between_their_least_and_most():
    table = bench.functions(profile("smoke"), quick=True).set_index("function")
    assert list(table.index) == list(bench.FUNCTIONS)
    assert set(table["shape"]) == {"64 x 64"} and set(table["rounds"]) == {2}
    for part in ("forward", "backward"):
        assert (table.loc["gelu", [f"{part}_gelu", f"{part}_least", f"{part}_most"]] == 1).all()
        assert (table[f"{part}_us"] > 0).all()
        assert table[f"{part}_gelu"].between(table[f"{part}_least"], table[f"{part}_most"]).all()


def test_forward_and_backward_times_are_kept_apart_and_set_beside_gelus_of_the_same_round(monkeypatch):
    clock, speed = [0.0], {"relu": (1.0, 2.0), "gelu": (2.0, 8.0), "gelu-sine": (3.0, 4.0), "turbulent": (6.0, 4.0)}

    class Timed(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x, forward, backward):
            clock[0] += forward
            ctx.backward_seconds = backward
            return x.clone()

        @staticmethod
        def backward(ctx, gradient):
            clock[0] += ctx.backward_seconds
            return gradient, None, None

    for name, seconds in speed.items():
        entry = replace(activations.REGISTRY[name], function=lambda x, s=seconds: Timed.apply(x, *s))
        monkeypatch.setitem(activations.REGISTRY, name, entry)
    monkeypatch.setattr(bench.time, "thread_time", lambda: clock[0])
    table = bench.functions(profile("smoke"), quick=True).set_index("function")
    assert table[["forward_us", "backward_us"]].loc["turbulent"].tolist() == [6e6, 4e6]
    assert table["forward_gelu"].to_dict() == {"relu": 0.5, "gelu": 1, "gelu-sine": 1.5, "turbulent": 3}
    assert table["backward_gelu"].to_dict() == {"relu": 0.25, "gelu": 1, "gelu-sine": 0.5, "turbulent": 0.5}
