import itertools
import math
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch

from actlab import activations, bench, lab, tasks
from actlab.config import FitnessConfig, LabConfig, TaskConfig, profile
from actlab.fitness import Score

DATA = tasks.suite("calibration", replace(TaskConfig(), calibration=8)).blind


def test_the_quick_lab_table_has_a_row_a_path_and_ratios_that_follow_from_its_times():
    table = bench.lab_speed(profile("smoke"), quick=True).set_index("path")
    assert list(table.columns) == ["function", "batch", "width", "ms_per_step", "ratio_to_naive", "roofline_fraction"]
    assert list(table.index) == ["naive-adam", "naive-fused-adam", "lab", "roofline"]
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
    assert found == {"a": pytest.approx(1.0), "b": pytest.approx(2.0)}
    assert calls[-12:] == ["a", "a", "b", "b"] * 3


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
    assert multiplications(bench.products) == multiplications(lab.train) == 2 * 8 * 64 * sum(layers)


def test_a_path_leaves_the_number_of_threads_as_it_was():
    before = torch.get_num_threads()
    with bench._one_thread():
        assert torch.get_num_threads() == 1
    assert torch.get_num_threads() == before


def test_a_fresh_process_reports_its_rate_and_its_memory():
    sizes = {"tasks": 8, "width": 16, "batch": 64, "functions": 1}
    _, peak = bench._grown(profile("smoke"), sizes, repeats=1, seconds=0.01)
    assert 100 < peak < 20_000  # MB: torch alone is above, and a wrong unit is far off


def test_a_named_part_is_saved_and_printed(tmp_path, capsys, monkeypatch):
    table = pd.DataFrame({"workers": [1], "functions_an_hour": [1234.5]})
    monkeypatch.setitem(bench.PARTS, "population", lambda which, quick: table)
    bench.main(["population", "--folder", str(tmp_path)])
    pd.testing.assert_frame_equal(pd.read_csv(tmp_path / "bench_population.csv"), table)
    assert "functions_an_hour" in capsys.readouterr().out


def test_growth_is_drawn_beside_its_table(tmp_path, monkeypatch):
    rows = [
        {"setting": s, "value": v, "ms_per_step": v / 10, "seconds": 1.0, "peak_mb": 500.0}
        for s in "ab"
        for v in (1, 2)
    ]
    monkeypatch.setitem(bench.PARTS, "growth", lambda which, quick: pd.DataFrame(rows))
    bench.main(["growth", "--folder", str(tmp_path)])
    assert {path.name for path in tmp_path.iterdir()} == {f"bench_growth.{end}" for end in ("csv", "md", "pdf", "png")}


def test_an_unknown_part_is_answered_with_those_there_are(capsys):
    with pytest.raises(SystemExit):
        bench.main(["lap"])
    assert "wanted one of lab, population, isolation, searches, overhead, growth, functions" in capsys.readouterr().err


def test_the_quick_isolation_table_compares_the_same_evaluation():
    (row,) = bench.isolation(profile("smoke"), quick=True).to_dict("records")
    assert (row["function"], row["repeats"]) == ("gelu", 2)
    assert min(row["bare_ms"], row["confined_ms"]) > 0


def test_isolation_is_not_measured_where_it_changes_a_result(monkeypatch):
    plain = bench.worker.predict

    def other(request, arrays, data):
        head, made = plain(request, arrays, data)
        return head, [made[0] + 1e-12, *made[1:]]

    monkeypatch.setattr(bench.worker, "predict", other)
    with pytest.raises(RuntimeError, match="wanted the same description and predictions of gelu to the bit"):
        bench.isolation(profile("smoke"), quick=True)


def test_the_quick_search_that_races_is_compared_with_the_one_that_trains_on_the_whole_suite():
    table = bench.searches(profile("smoke"), quick=True).set_index("plan")
    assert list(table.index) == ["whole suite", "racing"]
    whole, racing = table.loc["whole suite"], table.loc["racing"]
    assert (whole["trained"], whole["parted"]) == (1, 0)
    assert racing["trained"] <= 1
    assert whole[["search_gain", "search_low", "search_high", "held_out_gain"]].tolist() == [0, 0, 0, 0]
    assert (table["evaluations"] == 3).all()


def test_a_gain_is_positive_where_the_second_score_has_the_lower_losses():
    families = ("polynomial", "harmonic") * 8
    losses = 0.2 + 0.01 * np.arange(16)
    worse, better = (Score("scored", None, 0.0, (0, 0), tuple(k * losses), (), (), families) for k in (2, 1))
    gain = bench._gain("held_out", worse, better, FitnessConfig())
    assert gain == {f"held_out_{part}": pytest.approx(math.log(2)) for part in ("gain", "low", "high")}


@pytest.fixture(scope="module")
def overhead():
    return bench.overhead(profile("smoke"), quick=True)


def test_the_overhead_is_the_sum_of_its_parts_at_each_size_of_the_archive(overhead):
    parts = ["propose_ms", "check_ms", "archive_ms", "judge_ms", "rest_ms"]
    assert list(overhead.columns) == ["programs", "candidates", "total_ms", *parts]
    assert (overhead["programs"] >= [40, 80]).all()
    assert (overhead["candidates"] >= 30).all()
    np.testing.assert_allclose(overhead["total_ms"], overhead[parts].sum(axis=1))
    assert (overhead[parts] > 0).all(axis=None)


def test_what_answers_in_place_of_the_sandboxes_is_not_counted_and_each_part_has_its_own_time(monkeypatch):
    clock = [0.0]

    def takes(seconds, owner, name):
        plain = getattr(owner, name)

        def slow(*args, **kwargs):
            clock[0] += seconds
            return plain(*args, **kwargs)

        monkeypatch.setattr(owner, name, slow)

    monkeypatch.setattr(bench.time, "perf_counter", lambda: clock[0])
    takes(1000.0, bench._MadeUp, "_answer")
    takes(8.0, bench.Grammar, "propose")  # once a round, of 8 candidates
    takes(16.0, bench.Archive, "add_round")
    takes(3.0, bench.Evaluator, "describe")
    for row in bench.overhead(profile("smoke"), quick=True).to_dict("records"):
        assert row["candidates"] % 8 == 0
        assert (row["propose_ms"], row["archive_ms"], row["check_ms"], row["judge_ms"]) == (1000, 2000, 0, 0)
        assert 0 < row["rest_ms"] <= 3000  # duplicates and refused programs are not described
        assert row["total_ms"] == pytest.approx(3000 + row["rest_ms"])


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
