"""The training loop of the benchmarks: the schedule, the best epoch, checkpoints, and how a training ends."""

import math
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from torch import nn

from actlab import activations
from actlab.transfer import interface, training
from actlab.transfer.training import Settings

SMALL = Settings(epochs=6, learning_rate=1e-2)


class Problem:
    """A line to be learned, by a network with dropout; its batches and validations can be watched and failed."""

    def __init__(self, validations=None, fail_at=None, error=KeyboardInterrupt):
        data = np.random.default_rng(0)
        self.x = torch.from_numpy(data.normal(size=(32, 3))).float()
        self.y = self.x.sum(dim=1, keepdim=True)
        self.validations, self.fail_at, self.error = validations, fail_at, error
        self.epochs, self.seen = [], []

    def batches(self, epoch, generator):
        self.epochs.append(epoch)
        yield from torch.from_numpy(generator.permutation(32).reshape(4, 8))

    def loss(self, model, places):
        assert model.training
        self.seen.append(places.tolist())
        if self.fail_at == self.epochs[-1] and len(self.seen) % 4 == 2:
            raise self.error
        return ((model(self.x[places]) - self.y[places]) ** 2).mean()

    def validate(self, model):
        assert not model.training
        assert not torch.is_grad_enabled()
        if self.validations is not None:
            return self.validations[self.epochs[-1]]
        return -float(((model(self.x) - self.y) ** 2).mean())

    def fit(self, settings=SMALL, checkpoint=None, seed=0, name=""):
        generator = np.random.default_rng(seed)
        with training.seeded(training.draw(generator)):
            self.model = nn.Sequential(nn.Linear(3, 8), nn.ReLU(), nn.Dropout(0.2), nn.Linear(8, 1))
        return training.fit(
            self.model, self.batches, self.loss, self.validate, settings, generator, checkpoint, name, progress=False
        )

    @property
    def weights(self):
        return torch.cat([p.detach().flatten() for p in self.model.parameters()])


def test_the_learning_rate_falls_as_torchs_cosine_does():
    optimiser = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, T_max=10)
    expected = []
    for _ in range(10):
        expected.append(schedule.get_last_lr()[0])
        optimiser.step()
        schedule.step()
    settings = Settings(epochs=10, learning_rate=0.3)
    assert [settings.rate(epoch) for epoch in range(10)] == pytest.approx(expected)


def test_the_learning_rate_rises_before_it_falls():
    settings = Settings(epochs=6, learning_rate=1.0, warmup=2)
    assert [round(settings.rate(epoch), 4) for epoch in range(6)] == [0.5, 1.0, 1.0, 0.8536, 0.5, 0.1464]


def test_training_learns():
    fitted = Problem().fit(Settings(epochs=60, learning_rate=1e-2))
    assert fitted.outcome == "scored"
    assert fitted.history[fitted.epoch] > -0.5 > fitted.history[0]


@pytest.mark.parametrize(
    ("name", "oracle", "options"),
    [("adamw", torch.optim.AdamW, {}), ("sgd", torch.optim.SGD, {"momentum": 0.8, "nesterov": True})],
)
def test_an_epoch_is_steps_of_torchs_own_optimiser(name, oracle, options):
    settings = Settings(epochs=1, optimiser=name, learning_rate=0.01, weight_decay=0.1, momentum=0.8)
    ours, plain = Problem(), Problem()
    ours.fit(settings)
    plain.fit(Settings(epochs=0))
    optimiser = oracle(plain.model.parameters(), lr=0.01, weight_decay=0.1, **options)
    start = np.random.default_rng(0)
    training.draw(start)  # the initial weights'
    generator = np.random.default_rng([training.draw(start), 0])
    with training.seeded(training.draw(generator)):
        plain.model.train()
        for places in plain.batches(0, generator):
            optimiser.zero_grad()
            plain.loss(plain.model, places).backward()
            optimiser.step()
    assert torch.equal(ours.weights, plain.weights)


def test_an_unknown_optimiser_is_named():
    with pytest.raises(ValueError, match="wanted the optimiser adamw or sgd; got 'adam'"):
        Problem().fit(Settings(optimiser="adam"))


def test_the_model_keeps_the_weights_of_its_best_epoch_the_first_of_equals():
    short = Problem(validations=[0.1, 0.9])
    short.fit(Settings(epochs=2, learning_rate=1e-2, warmup=10))
    long = Problem(validations=[0.1, 0.9, 0.2, 0.9, 0.3])
    fitted = long.fit(Settings(epochs=5, learning_rate=1e-2, warmup=10))
    assert fitted == training.Fit((0.1, 0.9, 0.2, 0.9, 0.3), 1, "scored")
    assert torch.equal(short.weights, long.weights)
    assert not long.model.training


def test_training_stops_when_it_no_longer_gets_better():
    problem = Problem(validations=[0.1, 0.5, 0.5, 0.4, 0.9, 0.9])
    fitted = problem.fit(Settings(epochs=6, patience=2))
    assert fitted == training.Fit((0.1, 0.5, 0.5, 0.4), 1, "scored")
    assert problem.epochs == [0, 1, 2, 3]


def test_an_epoch_of_its_own_seed_draws_the_same_batches_and_dropout():
    first, second, third = Problem(), Problem(), Problem()
    for problem, seed in ((first, 0), (second, 0), (third, 1)):
        problem.fit(seed=seed)
    assert first.seen == second.seen
    assert torch.equal(first.weights, second.weights)
    assert first.seen != third.seen
    assert first.seen[:4] != first.seen[4:8]


def test_training_leaves_torchs_own_generator_alone():
    before = torch.random.get_rng_state()
    Problem().fit()
    assert torch.equal(torch.random.get_rng_state(), before)


def test_dropout_does_not_hang_on_torchs_own_generator():
    torch.manual_seed(1)
    first = Problem()
    first.fit()
    torch.manual_seed(2)
    second = Problem()
    second.fit()
    assert torch.equal(first.weights, second.weights)


@pytest.mark.parametrize("epoch", [1, 3, 5])
def test_a_killed_training_goes_on_to_the_same_weights(tmp_path, epoch):
    whole, path = Problem(), tmp_path / "folder" / "a.pt"
    expected = whole.fit()
    with pytest.raises(KeyboardInterrupt):
        Problem(fail_at=epoch).fit(checkpoint=path)
    again = Problem()
    assert again.fit(checkpoint=path) == expected
    assert again.epochs == list(range(epoch, 6))
    assert torch.equal(again.weights, whole.weights)


def test_a_finished_training_is_not_made_again(tmp_path):
    first = Problem()
    expected = first.fit(checkpoint=tmp_path / "a.pt")
    again = Problem()
    assert again.fit(checkpoint=tmp_path / "a.pt") == expected
    assert again.epochs == []
    assert torch.equal(again.weights, first.weights)


def test_a_checkpoint_that_was_cut_off_never_takes_the_place_of_a_whole_one(tmp_path, monkeypatch):
    path, save, calls = tmp_path / "a.pt", torch.save, []

    def cut_off(kept, target):
        calls.append(target)
        if len(calls) == 3:
            target.write_bytes(b"half")
            raise KeyboardInterrupt
        save(kept, target)

    monkeypatch.setattr(torch, "save", cut_off)
    with pytest.raises(KeyboardInterrupt):
        Problem().fit(checkpoint=path)
    monkeypatch.undo()
    again, whole = Problem(), Problem()
    assert again.fit(checkpoint=path) == whole.fit()
    assert again.epochs == [2, 3, 4, 5]


@pytest.mark.parametrize("change", [{"seed": 1}, {"name": "other"}])
def test_the_checkpoint_of_another_run_is_refused(tmp_path, change):
    path = tmp_path / "a.pt"
    Problem().fit(checkpoint=path)
    with pytest.raises(ValueError, match=r"a\.pt: wanted a checkpoint of this function.*came another's"):
        Problem().fit(checkpoint=path, **change)


@pytest.mark.parametrize(
    ("error", "outcome"),
    [
        (torch.OutOfMemoryError("CUDA out of memory"), "OOM"),
        (RuntimeError("DefaultCPUAllocator: not enough memory: you tried to allocate"), "OOM"),
        (MemoryError(), "OOM"),
    ],
)
def test_running_out_of_memory_is_an_outcome_and_can_be_tried_again(tmp_path, error, outcome):
    fitted = Problem(fail_at=2, error=error).fit(checkpoint=tmp_path / "a.pt")
    assert (fitted.outcome, len(fitted.history)) == (outcome, 2)
    assert Problem().fit(checkpoint=tmp_path / "a.pt") == Problem().fit()


def test_another_error_is_not_taken_for_lack_of_memory():
    with pytest.raises(RuntimeError, match="shapes"):
        Problem(fail_at=2, error=RuntimeError("shapes do not fit")).fit()


def test_what_torch_says_when_no_machine_could_hold_a_tensor_is_lack_of_memory():
    with pytest.raises(RuntimeError) as caught:
        torch.empty(2**50)
    assert training.out_of_memory(caught.value)


@pytest.mark.parametrize("validation", [math.nan, math.inf])
def test_a_validation_that_is_not_finite_is_divergence(validation):
    fitted = Problem(validations=[0.5, validation]).fit()
    assert fitted == training.Fit((0.5,), 0, "diverged")


def test_a_loss_that_is_not_finite_is_divergence():
    fitted = Problem().fit(Settings(epochs=3, optimiser="sgd", learning_rate=1e30))
    assert fitted.outcome == "diverged"
    assert len(fitted.history) < 3


def test_a_gradient_is_clipped_to_its_norm():
    moved = []
    for clip in (None, 1e-3):
        problem = Problem()
        problem.fit(Settings(epochs=0))
        before = problem.weights
        problem.fit(Settings(epochs=1, optimiser="sgd", learning_rate=1.0, momentum=0.5, weight_decay=0.0, clip=clip))
        moved.append(float((problem.weights - before).norm()))
    assert moved[1] <= 4 * 1e-3 * 2  # four steps, each at most 1 + 0.5 + ... times the clip
    assert moved[0] > 10 * moved[1]


def test_rows_are_a_validation_an_epoch():
    rows = training.Fit((0.5, 0.75), 1, "scored").rows("accuracy")
    assert [(row.split, row.value, row.epoch, row.outcome) for row in rows] == [
        ("validation", 0.5, 0, "scored"),
        ("validation", 0.75, 1, "scored"),
    ]


def test_a_failed_training_has_one_row_more_with_no_value():
    *_, last = training.Fit((0.5,), 0, "diverged").rows("accuracy")
    assert (last.split, last.epoch, last.outcome, math.isnan(last.value)) == ("in-distribution", 1, "diverged", True)


def test_an_attempt_tells_a_value_from_its_failures():
    def too_large():
        return torch.empty(2**50).sum()

    assert training.attempt(lambda: torch.tensor(0.5)) == (0.5, "scored")
    assert training.attempt(lambda: math.inf)[1] == "diverged"
    value, outcome = training.attempt(too_large)
    assert (math.isnan(value), outcome) == (True, "OOM")


# A benchmark's run


@dataclass(frozen=True)
class LineConfig:
    """Of the smallest benchmark."""

    folder: str = ""
    data: str = "line"
    settings: Settings = SMALL
    whole: bool = True
    seed: int = 3


class Line(training.Trial):
    """The smallest benchmark: a line, its score the share of points that a network is near to."""

    benchmark, metric, data = "lines", "near", "line"

    def __init__(self, config, generator):
        self.problem, self.order = Problem(), generator.permutation(32)
        self.validation = training.cut(self.order, 10)

    def build(self, activation):
        model = nn.Sequential(nn.Linear(3, 8), nn.Linear(8, 1))
        model[0].register_forward_hook(lambda module, given, output: activation(output))
        return model

    def batches(self, epoch, generator):
        return self.problem.batches(epoch, generator)

    def loss(self, model, batch):
        return self.problem.loss(model, batch)

    def score(self, model, parts):
        given = [model(self.problem.x[part]) - self.problem.y[part] for part in parts]
        return float((torch.cat(given).abs() < 1).float().mean())

    def tests(self):
        yield "", 0, training.cut(self.order, 10)
        yield "half", 2, training.cut(self.order[:16], 10)


def line(activation=torch.relu, seed=0, checkpoint=None, **config):
    return Line.evaluate(activation, LineConfig(**config), np.random.default_rng(seed), checkpoint, progress=False)


def test_a_run_has_a_row_an_epoch_and_each_test_in_batches_and_as_a_whole():
    table = line()
    assert table.columns.tolist() == interface.COLUMNS
    assert table[["split", "shift", "severity", "evaluation"]].values.tolist() == [
        *[["validation", "", 0, "batches"]] * 6,
        ["in-distribution", "", 0, "batches"],
        ["in-distribution", "", 0, "whole"],
        ["ood", "half", 2, "batches"],
        ["ood", "half", 2, "whole"],
    ]
    assert (table["benchmark"].unique(), table["metric"].unique(), table["seed"].unique()) == ("lines", "near", 3)
    assert set(line(whole=False)["evaluation"]) == {"batches"}


def test_each_part_is_one_batch_and_the_whole_set_is_one_too():
    sizes = []

    def seen(x):
        if x.ndim == 2:  # else it is what names the run
            sizes.append(len(x))
        return torch.relu(x)

    line(seen, settings=Settings(epochs=1))
    # four training batches, the validation, and both tests in batches and as a whole
    assert sizes == [8] * 4 + [10, 10, 10, 2] + [10, 10, 10, 2, 32] + [10, 6, 16]


def test_a_run_is_named_by_its_function_and_its_configuration_but_for_the_folder(tmp_path):
    gelu, relu = activations.gelu, activations.relu
    name = training.run_name(relu, LineConfig())
    assert name == training.run_name(lambda x: relu(x), LineConfig(folder="elsewhere"))
    others = [training.run_name(gelu, LineConfig()), training.run_name(relu, LineConfig(seed=1))]
    assert len({name, *others}) == 3
    line(relu, checkpoint=tmp_path / "relu.pt")
    assert torch.load(tmp_path / "relu.pt", weights_only=True)["run"].startswith(f"{name}:")


@pytest.mark.parametrize(("whole", "ends"), [(False, [10, 10, 2]), (True, [10, 10])])
def test_an_order_is_cut_into_batches(whole, ends):
    parts = training.cut(np.arange(22), 10, whole)
    assert [len(part) for part in parts] == ends
    assert np.concatenate(parts).tolist() == list(range(sum(ends)))
