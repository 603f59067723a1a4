"""Searches over labs against others: the choice of the fitness, tuned constants, what is kept, and how runs compare."""

import json
import re
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import scipy.stats

from actlab.__main__ import main
from actlab.activations import zoo
from actlab.candidates.program import check
from actlab.core import config, stats
from actlab.core.config import LabConfig, LabsConfig, VariantConfig
from actlab.core.jobs import Runner
from actlab.core.records import BUILD, ROOT
from actlab.lab import labs
from actlab.search import ablation
from actlab.studies import committed, generality
from actlab.studies.generality import ARMS, DESIGNS, FORMS, JUDGED, TUNED, Chosen, Design, Run, explore, jobs, kept

pytestmark = pytest.mark.usefixtures("quick_canaries")

SMOKE = config.profile("smoke")
OVER = config.over_labs(SMOKE)
STRATA = [stratum for stratum, _ in labs.settings("calibration", OVER.tasks)]


class Laboratory:
    """A laboratory over labs that trains nothing: `log_loss(source, places)` is each task's logarithm of the loss."""

    def __init__(self, log_loss, profile=OVER):
        self.log_loss, self.profile, self.asked = log_loss, profile, []
        self.evaluator = SimpleNamespace(describe=self._described)
        lab = VariantConfig(steps=10)
        suite = SimpleNamespace(labs=LabsConfig((lab,) * 6), tasks=range(24))
        strata = [one for one in STRATA for _ in range(profile.tasks.each)]
        self.suites = {"search": suite, "calibration": SimpleNamespace(families=strata)}

    def _described(self, source):
        ended = "refused" if "torch.exp" in source else "open"
        return SimpleNamespace(result=lambda: SimpleNamespace(ended=ended))

    def scores(self, programs, suite):
        programs = programs if isinstance(programs, dict) else {name: zoo.program_source(name) for name in programs}
        self.asked.append(list(programs))
        places = np.arange(self.profile.tasks.size(suite) * self.profile.tasks.each)
        parts = []
        for name, source in programs.items():
            losses = np.exp(self.log_loss(source, places))
            parts.append(pd.DataFrame({"function": name, "ood_mse": losses, "train_mse": losses / 2}))
        return pd.concat(parts, ignore_index=True)


# --- the fitness ---


def quality(source):
    """Some number of a program, between -0.2 and 0.2."""
    return (sum(map(ord, source)) % 41 - 20) / 100


def test_an_order_that_all_labs_share_is_wholly_reliable_whatever_the_labs_levels():
    laboratory = Laboratory(lambda source, places: -1 + quality(source) + np.sin(places))
    table = generality.reliability(laboratory, 4, halves=20)
    assert table[["reference", "clip"]].apply(tuple, axis=1).tolist() == [
        (reference, clip) for reference in ("relu", "gelu", "the best of four") for clip in (0.5, 1, 2, np.inf)
    ]
    for column in ("spearman", "low", "high", "best_half"):
        np.testing.assert_allclose(table[column], 1)
    (programs,) = laboratory.asked
    assert programs[: len(generality.POINTWISE_ZOO)] == list(generality.POINTWISE_ZOO)
    drawn = programs[len(generality.POINTWISE_ZOO) :]
    assert drawn and all(name.startswith("drawn ") for name in drawn)


def noise(source, places):
    return np.random.default_rng([len(source), sum(map(ord, source))]).normal(size=places.size)


def test_an_order_without_any_sense_is_not_reliable():
    table = generality.reliability(Laboratory(noise), 4, halves=50)
    assert table["spearman"].abs().max() < 0.5
    assert (table["low"] <= table["spearman"]).all() and (table["spearman"] <= table["high"]).all()
    assert (table["low"] < table["high"]).all()


def test_clipping_keeps_one_lab_from_deciding_the_order():
    def log_loss(source, places):
        strange = 8 * noise(source, places[:1]) * (places // 4 == 5)  # in one lab, far off and at random
        return -3 + quality(source) + strange

    table = generality.reliability(Laboratory(log_loss), 0, halves=50).set_index(["reference", "clip"])["spearman"]
    assert table["relu", 0.5] > table["relu", np.inf] + 0.2


def test_a_program_that_the_probes_refuse_is_not_among_those_that_are_ordered(monkeypatch):
    drawn = {"drawn 0": "def activation(x):\n    return torch.exp(x)", "drawn 1": "def activation(x):\n    return x"}
    monkeypatch.setattr(generality, "_drawn", lambda number, generator: drawn)
    laboratory = Laboratory(lambda source, places: -1 + quality(source) + np.sin(places))
    generality.reliability(laboratory, 2, halves=2)
    assert [name for name in laboratory.asked[0] if name.startswith("drawn")] == ["drawn 1"]


def test_reliability_is_the_same_for_the_same_seed():
    first, again, other = (generality.reliability(Laboratory(noise), 3, 5, seed) for seed in (0, 0, 1))
    pd.testing.assert_frame_equal(first, again, check_exact=True)
    assert not first.equals(other)


def test_halves_have_equally_many_labs_of_each_stratum():
    generator = np.random.default_rng(0)
    strata = np.array(["a", "b"] * 4 + ["a", "b"])
    halves = [generality.half(strata, generator) for _ in range(20)]
    for half in halves:
        assert (half[strata == "a"].sum(), half[strata == "b"].sum()) == (2, 2)
    assert len({tuple(half) for half in halves}) > 10


def test_a_labs_log_loss_is_the_mean_of_its_tasks_clamped_and_floored():
    laboratory = Laboratory(lambda source, places: np.where(places % 4, -20.0, 20.0))
    table = generality._logs(laboratory, {"a": "x", "b": "y"}, "search")
    assert table.index.tolist() == [(name, lab) for name in "ab" for lab in range(6)]
    fitness = OVER.fitness
    np.testing.assert_allclose(table["log_ood"], (np.log(fitness.clamp) + 3 * np.log(fitness.floor)) / 4)
    np.testing.assert_allclose(table["log_train"], table["log_ood"])


# --- tuned constants ---


def test_a_tuned_program_has_the_constants_of_its_form_to_three_digits():
    snake, wave = (form for form, _ in FORMS.values())
    assert (
        generality.tuned_source(snake, 0.51234, 2)
        == check("def activation(x):\n    return x + 0.512 * torch.sin(2 * x) ** 2").source
    )
    assert (
        generality.tuned_source(wave, -0.25, 1.23456)
        == check("def activation(x):\n    return F.gelu(x, approximate='tanh') + -0.25 * torch.sin(1.23 * x)").source
    )


def constants(source):
    """The two constants of a program of either form, and whether it is Snake's."""
    a, b = map(float, re.search(r"x.*? \+ (-?[\d.e-]+) \* torch.sin\((-?[\d.e-]+) \* x\)", source).groups())
    return a, b, "F.gelu" not in source


def bowl(source, places):
    """Lowest for Snake with 1 and 2; ReLU's is 0."""
    if "sin" not in source:
        return np.zeros(places.size)
    a, b, snake = constants(source)
    return np.full(places.size, min(-0.9 + (a - 1) ** 2 + (b - 2) ** 2, 2.0) + (0 if snake else 0.5))


@pytest.mark.parametrize(("evaluations", "spent"), [(200, 200), (40, 40), (12, 12)])
def test_tuning_spends_the_evaluations_that_it_is_given_and_as_many_on_either_form(evaluations, spent):
    laboratory = Laboratory(bowl)
    found = generality._tuned(laboratory, 0, evaluations)
    assert found.evaluations == spent
    assert found.network_steps == spent * 24 * 10
    relu, *generations = laboratory.asked
    assert relu == ["relu"]
    size = min(10, evaluations // 2)
    assert len(generations) == evaluations / size
    assert {len(asked) for asked in generations} <= {size, size - 1}  # where two come to the same digits
    forms = [constants(asked[0])[2] for asked in generations]
    assert forms == sorted(forms, reverse=True) and 2 * sum(forms) == len(forms)
    assert all(low <= value <= high for asked in generations for source in asked
               for value, (low, high) in zip(constants(source), dict(zip((True, False), FORMS.values(), strict=True))[
                   constants(source)[2]][1], strict=False))  # fmt: skip


def test_tuning_finds_the_better_form_and_constants_near_the_best_and_keeps_the_best_that_it_saw():
    laboratory = Laboratory(bowl)
    found = generality._tuned(laboratory, 0, 200)
    a, b, snake = constants(found.source)
    assert snake and (a, b) == (pytest.approx(1, abs=0.15), pytest.approx(2, abs=0.15))
    seen = [source for asked in laboratory.asked[1:] for source in asked]
    assert found.fitness == pytest.approx(max(-bowl(source, np.zeros(1))[0] for source in seen))
    assert -bowl(found.source, np.zeros(1))[0] == pytest.approx(found.fitness)


def test_tuning_is_the_same_for_the_same_seed_and_another_for_another():
    runs = []
    for seed in (0, 0, 1):
        laboratory = Laboratory(bowl)
        runs.append((generality._tuned(laboratory, seed, 40), laboratory.asked))
    assert runs[0] == runs[1]
    assert runs[0][1][1] != runs[2][1][1]


# --- runs ---


def test_the_steps_of_a_suites_networks_are_those_of_its_labs_or_of_the_default_lab():
    suite = SimpleNamespace(labs=LabsConfig((VariantConfig(steps=10), VariantConfig(steps=300))), tasks=range(6))
    assert generality.network_steps(suite, SMOKE) == 3 * 10 + 3 * 300
    default = replace(SMOKE, lab=LabConfig(steps=7))
    assert generality.network_steps(SimpleNamespace(labs=None, tasks=range(6)), default) == 42


def test_a_search_costs_the_steps_of_what_it_has_seen(monkeypatch, tmp_path):
    over = ARMS[1]
    monkeypatch.setattr(ablation, "BUILD", tmp_path)
    final = SimpleNamespace(source="found", fitness=0.25)
    result = SimpleNamespace(evaluations=3, digest="d")
    monkeypatch.setattr(ablation, "run", lambda *_: SimpleNamespace(result=result, final=final))
    seen = [6, 3, None, 6]  # labs of six: the start, one that was dropped, a duplicate and one that came through
    monkeypatch.setattr(generality.runs, "entries", lambda path: [SimpleNamespace(seen=labs) for labs in seen])
    found = generality.chosen(Run(SMOKE, over.name, 0, 3), Laboratory(bowl))
    assert found == Chosen("found", 0.25, 3, 24 * 10 * 15 / 6, "d")


def test_a_function_of_the_zoo_is_its_own_choice():
    found = generality.chosen(Run(SMOKE, "snake", 0, 0), None)
    assert (found.source, found.evaluations, found.network_steps) == (zoo.program_source("snake"), 0, 0.0)


def test_the_arms_are_two_searches_random_sampling_and_tuning_and_the_first_alone_selects_in_the_default_lab():
    design = DESIGNS["laptop"]
    assert (design.seeds, design.evaluations) == (8, 200)
    every = jobs(SMOKE, Design(2, 5, ("relu", "snake")))
    assert [str(run) for run in every] == [
        "relu, seed 0", "snake, seed 0",
        *(f"{arm}, seed {seed}" for seed in (0, 1)
          for arm in ("default lab", "over labs", "random sampling", "tuned constants")),
    ]  # fmt: skip
    settings = {arm.name: ablation.settings(SMOKE, arm, 5) for arm in ARMS}
    assert {name for name, one in settings.items() if one.tasks == OVER.tasks} == {"over labs", "random sampling"}
    assert all(one.search.pointwise and one.search.evaluations == 5 for one in settings.values())


def test_a_key_tells_what_is_asked_apart():
    over = Run(SMOKE, "over labs", 0, 5)
    tuned, function = replace(over, arm=TUNED), replace(over, arm="snake", evaluations=0)
    keys = [
        *(run.key for run in (over, tuned, function)),
        *(replace(run, seed=1).key for run in (over, tuned)),
        *(replace(run, evaluations=6).key for run in (over, tuned)),
        *(replace(over, arm=name).key for name in ("default lab", "random sampling")),
        replace(function, arm="gelu").key,
        *(replace(run, profile=replace(SMOKE, search=replace(SMOKE.search, islands=2))).key for run in (over,)),
        *(replace(run, profile=config.profile("laptop")).key for run in (over, tuned, function)),  # other judges
    ]
    assert len(set(keys)) == len(keys)
    assert replace(tuned, profile=replace(SMOKE, search=replace(SMOKE.search, islands=2))).key == tuned.key
    assert len(committed.asked("generality")) == len(generality.POINTWISE_ZOO) + 8 * 4


@pytest.fixture
def fake(monkeypatch, tmp_path):
    """Runs that search and train nothing, in a folder of their own; `ran` lists them."""

    def chosen(run, laboratory):
        if str(run) in chosen.stops:
            raise KeyboardInterrupt
        chosen.ran.append((str(run), laboratory.profile.tasks == OVER.tasks))
        is_arm = run.evaluations > 0
        fitness = {"over labs": -0.02 - 0.1 * (run.seed == 0)}.get(run.arm, 0.5) if is_arm else np.nan
        return Chosen(f"{run}", fitness, run.evaluations, 100.0, "3e4971315396" if is_arm else "")

    def logs(laboratory, programs, suite):
        assert laboratory.profile.tasks == OVER.tasks
        size = OVER.tasks.size(suite)
        index = pd.MultiIndex.from_product([programs, range(size)], names=["function", "lab"])
        values = -1 + 0.1 * np.arange(size)
        return pd.DataFrame({"log_ood": np.tile(values, len(programs)), "log_train": -2.0}, index=index)

    def reliability(laboratory, drawn, functions):
        chosen.ran.append(("reliability", drawn))
        return pd.DataFrame({"reference": ["relu"], "clip": [np.inf], "spearman": [0.9]})

    chosen.ran, chosen.stops = [], set()
    monkeypatch.setattr(generality, "chosen", chosen)
    monkeypatch.setattr(generality, "_logs", logs)
    monkeypatch.setattr(generality, "reliability", reliability)
    monkeypatch.setattr(generality, "records_folder", lambda *_: tmp_path / "records" / "generality")
    return chosen


def test_runs_are_entered_one_by_one_and_those_that_are_there_are_not_run_again(fake):
    told, design = [], DESIGNS["smoke"]
    explore(SMOKE, design, kept("smoke"), Runner(1, tell=told.append))
    names = [str(run) for run in jobs(SMOKE, design)]
    assert len(names) == len(generality.REFERENCES) + 4
    assert fake.ran == [("reliability", 4), *((name, not name.startswith("default lab")) for name in names)]
    assert [line.partition(": ")[0] for line in told] == names
    records = kept("smoke")
    assert sorted(
        f"{arm}, seed {seed}" for arm, seed in records.jobs[["arm", "seed"]].itertuples(index=False)
    ) == sorted(names)
    counts = records.table("losses").groupby(["arm", "seed", "suite"]).size().unstack()
    assert (counts["held-out"] == OVER.tasks.held_out).all() and (counts["far"] == OVER.tasks.far).all()
    before = {path.name: path.read_bytes() for path in records.folder.glob("*.csv")}
    fake.ran.clear()
    explore(SMOKE, design, kept("smoke"), Runner(1))
    assert fake.ran == []
    assert {path.name: path.read_bytes() for path in records.folder.glob("*.csv")} == before


def test_a_study_that_was_cut_off_goes_on_where_it_stopped(fake):
    fake.stops.add("over labs, seed 0")
    with pytest.raises(KeyboardInterrupt):
        explore(SMOKE, DESIGNS["smoke"], kept("smoke"), Runner(1))
    done = [name for name, _ in fake.ran]
    assert done == ["reliability", *(f"{name}, seed 0" for name in (*generality.REFERENCES, "default lab"))]
    fake.stops.clear()
    fake.ran.clear()
    explore(SMOKE, DESIGNS["smoke"], kept("smoke"), Runner(1))
    assert [name for name, _ in fake.ran] == ["over labs, seed 0", "random sampling, seed 0", "tuned constants, seed 0"]


def test_the_winner_is_the_fittest_run_of_the_arm_over_labs_also_where_fitness_is_below_zero(fake):
    explore(SMOKE, replace(DESIGNS["smoke"], seeds=3), kept("smoke"), Runner(1))
    records = kept("smoke")
    found = generality.winner(records)
    assert (found["arm"], found["seed"], found["source"]) == ("over labs", 1, "over labs, seed 1")
    table = records.table("runs")
    assert table["fitness"].dtype == float and table["fitness"].isna().sum() == len(generality.REFERENCES)
    assert set(table["digest"]) == {"", "3e4971315396"}


def test_the_command_says_how_many_runs_are_there_and_what_made_them(fake, capsys):
    assert main(["generality", "--profile", "smoke", "--status"]) == 0
    folder = kept("smoke").folder
    assert capsys.readouterr().out == f"0 of 8 runs are in {folder}\n" and not folder.exists()
    assert main(["generality", "--profile", "smoke", "--seeds", "2", "--workers", "1"]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == f"12 of 12 runs are in {folder}"
    assert main(["generality", "--profile", "smoke", "--status"]) == 0
    assert capsys.readouterr().out == f"8 of 8 runs are in {folder}\n"
    about = kept("smoke").about
    assert about["command"] == "python -m actlab generality --profile smoke --seeds 2 --evaluations 12"
    assert about["design"] == json.loads(json.dumps(vars(replace(DESIGNS["smoke"], seeds=2))))


def test_the_laptop_records_alone_are_committed():
    assert kept().folder == ROOT / "records" / "generality"
    assert kept("smoke").folder.is_relative_to(BUILD)


# --- what came out ---


def losses_of(gaps, strata):
    """Losses of runs and of GELU, by arm and seed: `gaps` to GELU, [labs] for each suite, whose strata are given."""
    parts = []
    for (arm, seed), of in ({("gelu", 0): {}} | gaps).items():
        for suite, groups in strata.items():
            base = np.linspace(-3, 1, len(groups))
            values = base + of.get(suite, np.zeros(len(groups)))
            parts.append(pd.DataFrame({"arm": arm, "seed": seed, "suite": suite, "lab": range(len(groups)),
                                       "log_ood": values, "log_train": values, "stratum": groups}))  # fmt: skip
    return pd.concat(parts).sort_values(["arm", "seed"], kind="stable", ignore_index=True)  # as records are


def test_what_is_ahead_is_counted_in_labs_by_stratum_and_in_deep_ones_together():
    groups = {
        "held-out": ["one layer, low gain"] * 4
        + ["two layers, low gain"] * 4
        + ["three or four layers, high gain"] * 2,
        "far": ["noise"] * 5,
    }
    held_out = np.array([-0.5, 0.5, 0.5, 0.5, -1.0, -1.0, -1.0, 0.2, -0.4, 0.0])
    losses = losses_of({("over labs", 3): {"held-out": held_out, "far": np.full(5, -0.1) * np.arange(5)}}, groups)
    table = generality.ahead(losses, "over labs", 3, "gelu").set_index(["suite", "stratum"])
    assert table["n"].to_dict() == {
        ("held-out", "all"): 10, ("held-out", "two layers or more"): 6, ("held-out", "one layer, low gain"): 4,
        ("held-out", "two layers, low gain"): 4, ("held-out", "three or four layers, high gain"): 2,
        ("far", "all"): 5, ("far", "noise"): 5,
    }  # fmt: skip
    np.testing.assert_allclose(table["share"], [5 / 10, 4 / 6, 1 / 4, 3 / 4, 1 / 2, 4 / 5, 4 / 5])  # a tie is not ahead
    np.testing.assert_allclose(
        table["log_ratio"], [held_out.mean(), held_out[4:].mean(), 0.25, -0.7, -0.2, -0.2, -0.2], atol=1e-12
    )
    np.testing.assert_allclose(table["worst"], [0.5, 0.2, 0.5, 0.2, 0.0, 0.0, 0.0], atol=1e-12)
    low, high = scipy.stats.binomtest(5, 10).proportion_ci(method="wilson")
    assert table.loc[("held-out", "all"), ["low", "high"]].tolist() == pytest.approx([low, high])
    inner = stats.mean_interval(held_out, np.array(groups["held-out"]))
    assert table.loc[("held-out", "all"), ["ratio_low", "ratio_high"]].tolist() == pytest.approx(
        [inner.low, inner.high]
    )


def test_the_worst_labs_are_a_tenth_of_them():
    gaps = np.random.default_rng(0).permutation(np.arange(30.0))
    losses = losses_of({("snake", 0): {"far": gaps}}, {"far": ["noise"] * 30})
    assert generality.ahead(losses, "snake", 0, "gelu")["worst"].iloc[0] == np.mean([29, 28, 27])


def test_every_lab_of_the_judges_has_its_stratum(fake):
    explore(SMOKE, DESIGNS["smoke"], kept("smoke"), Runner(1))
    table = generality.judged(kept("smoke"), SMOKE)
    assert table["stratum"].notna().all() and len(table) == 8 * (OVER.tasks.held_out + OVER.tasks.far)
    mine = table[(table["arm"] == "over labs") & (table["suite"] == "far")].sort_values("lab")
    assert mine["stratum"].tolist() == [kind for kind, _ in labs.settings("far", OVER.tasks)]
    found = generality.by_run(table, ["relu"])
    assert set(found["arm"]) == {*(arm.name for arm in ARMS), TUNED, *generality.REFERENCES}
    np.testing.assert_allclose(found["log_ratio"], 0, atol=1e-12)


def test_arms_are_compared_by_seed_with_welchs_t_and_holms_correction_over_all_six():
    generator = np.random.default_rng(0)
    levels = {"over labs": -0.6, "default lab": 0.3, "random sampling": -0.5, TUNED: -0.6}
    strata = {"held-out": ["one layer, low gain"] * 3 + ["two layers, low gain"] * 3, "far": ["noise"] * 4}
    means, gaps = {}, {}
    for arm, seed in ((arm, seed) for arm in levels for seed in range(4)):
        mean = {suite: levels[arm] + 0.05 * generator.standard_normal() for suite in JUDGED}
        gaps[arm, seed] = {suite: mean[suite] + np.linspace(-1, 1, len(of)) for suite, of in strata.items()}
        for suite in JUDGED:
            means.setdefault((suite, arm), []).append(mean[suite])
    table = generality.compared(generality.by_run(losses_of(gaps, strata), ["gelu"]))
    assert table[["suite", "against"]].apply(tuple, axis=1).tolist() == [
        (suite, arm) for suite in JUDGED for arm in ("default lab", "random sampling", TUNED)
    ]
    assert (table["n"] == 4).all()
    for row in table.itertuples():
        ours, theirs = np.array(means[row.suite, "over labs"]), np.array(means[row.suite, row.against])
        assert row.difference == pytest.approx(ours.mean() - theirs.mean())
        variances = ours.var(ddof=1) / 4, theirs.var(ddof=1) / 4
        freedom = sum(variances) ** 2 / sum(one**2 / 3 for one in variances)
        reach = scipy.stats.t.ppf(0.975, freedom) * np.sqrt(sum(variances))
        assert (row.low, row.high) == pytest.approx((row.difference - reach, row.difference + reach))
        t = row.difference / np.sqrt(sum(variances))
        assert row.p == pytest.approx(2 * scipy.stats.t.sf(abs(t), freedom))
    np.testing.assert_allclose(table["p_holm"], stats.holm(table["p"]))
    verdicts = table.set_index(["suite", "against"])["verdict"]
    assert verdicts["held-out", "default lab"] == verdicts["far", "default lab"] == "better"
    assert verdicts["held-out", TUNED] == "undecided"
