"""The probe on pictures: the same numbers inside a sandbox and outside, no test class inside, worked examples."""

import subprocess
import sys
from dataclasses import replace

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
import torch
import torch.nn.functional as F
from search.test_selection import entry, held

from actlab import activations
from actlab.core import records, stats
from actlab.core.config import profile
from actlab.core.records import Store
from actlab.report.figures import search as figures
from actlab.scoring import messages
from actlab.scoring.laboratory import Laboratory
from actlab.scoring.sandbox import Outcome
from actlab.search import runs, selection
from actlab.transfer import image_data, probe, probe_worker

TINY = probe_worker.ProbeConfig(train=200, test=100, epochs=2, seeds=2)
PROGRAMS = {
    "relu": activations.program_source("relu"),
    "gelu": activations.program_source("gelu"),
    "mine": "def activation(x):\n    return torch.sin(x) - x.mean(0, keepdim=True)",
    "grows": "def activation(x):\n    return torch.exp(torch.exp(8 * x * x))",
    "raises": "def activation(x):\n    return x[..., 1000]",
}


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return Store(tmp_path_factory.mktemp("records"))


@pytest.fixture(scope="module")
def answers(store):
    return probe.accuracies(PROGRAMS, TINY, 1, store)


@pytest.fixture
def as_in_a_sandbox():
    """One thread and no oneDNN, which is how a confined process computes."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    torch.backends.mkldnn.set_flags(False)
    yield
    torch.backends.mkldnn.set_flags(True)
    torch.set_num_threads(threads)


@pytest.fixture
def scripted(monkeypatch):
    """Has each job end as a function of its request says; returns the requests and arrays that were sent."""

    def script(outcome):
        sent = []

        def confined(calls, arrays, seconds, limit, workers):
            for ask, request in calls.items():
                sent.append(messages.pack(request, arrays))
                yield ask, outcome(request)

        monkeypatch.setattr(probe, "_confined", confined)
        return sent

    return script


def data(truth):
    """Two training pictures, and as many test pictures as there are classes."""
    return [np.zeros((2, 1, 2, 2)), np.array([3.0, 4.0]), np.ones((len(truth), 1, 2, 2))], np.array(truth)


def program(answers, name):
    return answers[answers["function"] == name]


# What is trained


@pytest.mark.parametrize("name", ["relu", "gelu"])
def test_a_program_is_right_where_the_same_function_is_outside_of_the_sandbox(answers, as_in_a_sandbox, name):
    arrays, truth = probe.digits(TINY)
    function = {"relu": F.relu, "gelu": lambda x: F.gelu(x, approximate="tanh")}[name]
    outside = [probe_worker.predict(function, TINY, seed, *arrays) == truth for seed in range(TINY.seeds)]
    inside = program(answers, name)
    assert inside["right"].tolist() == np.concatenate(outside).tolist()
    assert inside["right"].mean() > 0.3  # of ten classes


def test_every_program_has_a_row_for_each_seed_and_picture_in_the_order_of_asking(answers):
    assert answers.columns.tolist() == probe.COLUMNS
    expected = [(name, seed, picture) for name in PROGRAMS for seed in range(2) for picture in range(100)]
    assert list(answers[["function", "seed", "picture"]].itertuples(index=False, name=None)) == expected


def test_a_program_that_looks_across_its_batch_is_trained_like_any_other(answers):
    assert set(program(answers, "mine")["ended"]) == {"scored"}
    assert program(answers, "mine")["right"].mean() > 0.3


def test_a_program_that_diverges_is_right_nowhere_and_says_so(answers):
    rows = program(answers, "grows")
    assert set(rows["ended"]) == {"diverged"} and set(rows["error"]) == {"a loss was not finite"}
    assert not rows["right"].any()


def test_a_program_that_raises_is_right_nowhere_and_says_why(answers):
    rows = program(answers, "raises")
    assert set(rows["ended"]) == {"failed"} and rows["error"].str.startswith("raised IndexError").all()
    assert not rows["right"].any()


def test_all_functions_meet_the_same_weights_and_batches_and_each_seed_others():
    arrays, _ = probe.digits(TINY)
    first = {}

    def spy(function, key):
        def apply(x):
            first.setdefault(key, x.detach().clone())
            return function(x)

        return apply

    state = torch.get_rng_state()
    for function, seed in ((F.relu, 0), (torch.sin, 0), (F.relu, 1)):
        probe_worker.predict(spy(function, (function, seed)), replace(TINY, epochs=1, train=25), seed, *arrays)
    assert torch.equal(first[F.relu, 0], first[torch.sin, 0])
    assert not torch.equal(first[F.relu, 0], first[F.relu, 1])
    assert torch.equal(torch.get_rng_state(), state)


def test_a_picture_whose_logits_are_not_finite_has_no_class():
    arrays = data([0] * 4)[0]
    arrays[2][1] = np.inf
    config = probe_worker.ProbeConfig(batch=2, epochs=1, width=2, blocks=(1,))
    classes = probe_worker.predict(F.relu, config, 0, *arrays)
    assert classes[1] == probe_worker.NO_CLASS and (np.delete(classes, 1) >= 0).all()


# What travels, and what is believed


def test_no_class_of_a_test_picture_travels(scripted, monkeypatch, tmp_path):
    sent = scripted(lambda request: Outcome("answered", None, {"ended": "diverged"}))
    for i, truth in enumerate([[7, 8, 9], [9, 7, 8]]):
        monkeypatch.setattr(probe, "digits", lambda config, truth=truth: data(truth))
        probe.accuracies({"relu": PROGRAMS["relu"]}, replace(TINY, seeds=1), 1, Store(tmp_path / str(i)))
    assert sent[0] == sent[1]  # to the byte, whatever the classes are
    request, arrays = messages.unpack(sent[0])
    assert request.keys() == {"source", "config", "seed"} and request["config"].keys() == vars(TINY).keys()
    assert [array.shape for array in arrays] == [(2, 1, 2, 2), (2,), (3, 1, 2, 2)]
    assert arrays[1].tolist() == [3, 4]  # of the training pictures


def test_the_pictures_that_travel_are_scaled_disjoint_and_in_an_order_that_tells_nothing():
    (train, classes, test), truth = probe.digits(TINY)
    assert (train.shape, classes.shape, test.shape) == ((200, 1, 14, 14), (200,), (100, 1, 14, 14))
    assert (train.mean(), train.std()) == pytest.approx((0, 1))
    assert not {picture.tobytes() for picture in train} & {picture.tobytes() for picture in test}
    assert np.bincount(truth).tolist() == [10] * 10
    assert (np.diff(truth) < 0).sum() > 30  # in the order of the data set there is none


def test_the_pictures_and_classes_belong_together():
    (_, _, test), truth = probe.digits(TINY)
    splits = image_data.load("MNIST-5k", "", TINY.train, TINY.validation, TINY.test, TINY.split_seed)
    zeros = [splits.test.image(place) for place in range(10)]
    assert splits.test.targets[:10].tolist() == [0] * 10
    means = [zero.mean() / 255 for zero in zeros]
    train = np.mean([splits.train.image(place) for place in range(200)]) / 255
    scale = np.std(probe._pixels(splits.train, 2))
    assert sorted(test[truth == 0].mean(axis=(1, 2, 3))) == pytest.approx(sorted((np.array(means) - train) / scale))


def test_what_runs_in_a_sandbox_loads_neither_a_data_set_nor_tables():
    code = "import sys, actlab.transfer.probe_worker; print({'mlxtend', 'pandas', 'scipy'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=records.ROOT, check=True)
    assert done.stdout == "set()\n"


TRUTH = np.array([1, 2, 3])
JUDGED = {
    "a class for each": (Outcome("answered", None, {"ended": "scored"}, [np.array([1.0, 0, 3])]), "scored", 2),
    "no number": (Outcome("answered", None, {"ended": "scored"}, [np.array([np.nan, 2, np.inf])]), "scored", 1),
    "too few": (Outcome("answered", None, {"ended": "scored"}, [np.array([1.0])]), "killed", 0),
    "two answers": (Outcome("answered", None, {"ended": "scored"}, [TRUTH, TRUTH]), "killed", 0),
    "another head": (Outcome("answered", None, {"ended": "best"}, [TRUTH]), "killed", 0),
    "a loss": (Outcome("answered", None, {"ended": "diverged"}), "diverged", 0),
    "an error": (Outcome("failed", "raised KeyError"), "failed", 0),
    "its end": (Outcome("killed", "ran longer"), "killed", 0),
}


@pytest.mark.parametrize("case", JUDGED)
def test_only_a_class_for_each_picture_is_believed(case):
    outcome, ended, right = JUDGED[case]
    table = probe.judged(outcome, TRUTH)
    assert set(table["ended"]) == {ended} and table["right"].sum() == right and len(table) == 3
    assert table["error"].isna().all() == (ended == "scored")


# What is kept


def test_answers_are_kept_and_more_seeds_train_only_the_new_ones(answers, store, scripted):
    sent = scripted(lambda request: Outcome("answered", None, {"ended": "diverged"}))
    pd.testing.assert_frame_equal(probe.accuracies(PROGRAMS, TINY, 1, store), answers)
    more = probe.accuracies({"same": PROGRAMS["relu"]}, replace(TINY, seeds=3), 1, store)
    assert [messages.unpack(message)[0]["seed"] for message in sent] == [2]
    assert more[more["seed"] < 2]["right"].tolist() == program(answers, "relu")["right"].tolist()


def test_a_killed_training_is_tried_again(scripted, tmp_path):
    sent = scripted(lambda request: Outcome("killed", "ran longer"))
    for _ in range(2):
        table = probe.accuracies({"relu": PROGRAMS["relu"]}, replace(TINY, seeds=1), 1, Store(tmp_path))
    assert len(sent) == 2 and set(table["ended"]) == {"killed"}


# A run's elites

RELU, SINE, CUBE = (f"def activation(x):\n    return {value}" for value in ("F.relu(x)", "torch.sin(x)", "x ** 3"))
RUN = runs.Run(
    [entry(0, [0] * 4, source=RELU), entry(1, [0.4] * 4, source=SINE), entry(2, [0.9] * 4, source=CUBE)],
    held(1, 2),
)
RIGHT = {"0": [[1, 1, 0, 0], [1, 0, 0, 0]], "1": [[1, 1, 1, 1], [1, 1, 1, 1]], "2": [[0, 0, 0, 0], [1, 0, 0, 0]]}


@pytest.fixture
def lab(monkeypatch, tmp_path):
    """A laboratory whose run and answers are written by hand."""

    def accuracies(programs, config, workers, store):
        ended = {("2", 0): "diverged"}
        rows = [
            (name, seed, picture, bool(RIGHT[name][seed][picture]), ended.get((name, seed), "scored"))
            for name in programs
            for seed in range(2)
            for picture in range(4)
        ]
        return pd.DataFrame(rows, columns=probe.COLUMNS[:-1])

    monkeypatch.setattr(probe, "accuracies", accuracies)
    monkeypatch.setattr(runs, "read", lambda path: RUN)
    monkeypatch.setattr(runs, "transfer", lambda laboratory, path: pd.DataFrame({"id": [0, 1, 2]}))
    return Laboratory(profile("smoke"), workers=1, store=Store(tmp_path))


def test_every_elite_has_its_accuracy_with_an_interval_over_seeds_and_pictures(lab):
    table = probe.elites(lab, "run", replace(TINY, test=4)).set_index("id")
    assert table["accuracy"].tolist() == [3 / 8, 1, 1 / 8]
    expected = stats.crossed_difference(RIGHT["0"], np.zeros(4))
    assert expected.low < 0 and expected.high > 1  # of 2 seeds and 4 pictures, and cut to what an accuracy can be
    assert table.loc[0, ["accuracy_low", "accuracy_high"]].tolist() == [0, 1]
    expected = stats.crossed_difference(RIGHT["2"], np.zeros(4))
    assert table.loc[2, ["accuracy_low", "accuracy_high"]].tolist() == [0, expected.high]
    assert table["ended"].tolist() == ["scored", "scored", "diverged"]


def test_a_new_best_that_is_surely_worse_on_pictures_is_flagged(lab):
    table = probe.overfit_steps(lab, "run", TINY)
    assert table[["id", "before"]].to_numpy().tolist() == [[1, 0], [2, 1]]
    np.testing.assert_allclose(table["search"], [0.4, 0.5])
    np.testing.assert_allclose(table["accuracy"], [5 / 8, -7 / 8])
    expected = stats.crossed_difference(RIGHT["2"], RIGHT["1"])
    assert (table.loc[1, "low"], table.loc[1, "high"]) == (expected.low, expected.high)
    assert table["parts"].tolist() == [False, True]


def test_agreement_is_the_rank_correlation_of_a_score_with_accuracy():
    scores = pd.DataFrame({"fitness": [0, 0.2, 0.3, 0.4], "held_out": [4, 3, 2, 1.0], "accuracy": [0.5, 0.6, 0.7, 0.8]})
    assert probe.agreement(scores, "fitness").spearman.estimate == pytest.approx(1)
    assert probe.agreement(scores, "held_out").spearman.estimate == pytest.approx(-1)
    assert probe.agreement(scores.head(3), "fitness") is None  # too few to tell
    assert probe.agreement(scores.assign(accuracy=0.5), "fitness") is None  # all are equal


def test_the_choice_knows_nothing_of_the_probe():
    assert "actlab.transfer" not in (records.PACKAGE / "search" / "selection.py").read_text()
    assert selection.final(RUN.entries, RUN.moves, profile("smoke").fitness).id == 2  # the worst one on pictures


def test_the_figure_draws_accuracy_with_its_own_interval_and_no_line_of_equality():
    table = pd.DataFrame({"fitness": [0.0, 0.4], "accuracy": [0.9, 0.8], "led": [True, True], "final": [False, True]})
    table = table.assign(accuracy_low=table["accuracy"] - 0.02, accuracy_high=table["accuracy"] + 0.01)
    table = table.assign(parts=[True, False], accuracy_parts=[False, True])
    fig, ax = plt.subplots()
    figures.transfer(ax, table, "accuracy")
    drawn = {tuple(np.round(segment.ravel(), 3)) for lines in ax.collections for segment in lines.get_segments()}
    assert drawn == {(0.0, 0.88, 0.0, 0.91), (0.4, 0.78, 0.4, 0.81)}
    assert not [line for line in ax.lines if line.get_linestyle() == ":"]
    assert ax.get_ylabel() == "accuracy on test pictures"
    (ring,) = [line for line in ax.lines if line.get_markersize() == 9]  # the held-out suite has flags of its own
    assert ring.get_xydata().tolist() == [[0.4, 0.8]]
    plt.close(fig)
