"""What is read off the records of searches over labs, and that some of them are made again."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from actlab.core import config
from actlab.core.records import Store
from actlab.scoring.laboratory import Laboratory
from actlab.studies import generality
from actlab.studies.generality import ARM_NAMES, Design

pytestmark = pytest.mark.usefixtures("quick_canaries")

SMOKE = config.profile("smoke")
STRATA = {"held-out": ("one layer, low gain", "two layers, low gain"), "far": ("noise", "wide")}
LEVELS = {"over labs": -0.3, "default lab": 0.2, "random sampling": 0.1, "tuned constants": -0.3}  # log ratios to GELU


@pytest.fixture(scope="module")
def losses():
    """Four runs an arm and three functions in 40 labs a suite; an arm's level, with noise by run and lab."""
    generator, rows = np.random.default_rng(0), []
    runs = [*((arm, seed) for arm in ARM_NAMES for seed in range(4)), ("gelu", 0), ("snake", 0), ("relu", 0)]
    for suite, strata in STRATA.items():
        lab = generator.standard_normal(40)
        for arm, seed in runs:
            noise = 0.05 * generator.standard_normal() + 0.2 * generator.standard_normal(40) if arm in LEVELS else 0.0
            logs = lab + LEVELS.get(arm, 0.0) + noise + 0.5 * (arm == "snake")
            about = {"arm": arm, "seed": seed, "suite": suite, "lab": range(40), "stratum": np.repeat(strata, 20)}
            rows.append(pd.DataFrame(about | {"log_ood": logs, "log_train": logs - 1}))
    return pd.concat(rows, ignore_index=True)


def test_gaps_are_log_ratios_in_each_lab_with_its_stratum(losses):
    found = generality.gaps(losses, "snake", 0, "gelu")
    assert len(found) == 80 and found["stratum"].value_counts().eq(20).all()
    np.testing.assert_allclose(found[["gap", "fit"]], 0.5)


def test_a_function_that_is_worse_in_every_lab_is_ahead_in_none_in_any_stratum(losses):
    found = generality.ahead(losses, "snake", 0, "gelu").set_index(["suite", "stratum"])
    assert found.loc["held-out"].index.tolist() == ["all", "two layers or more", *STRATA["held-out"]]
    assert found["share"].eq(0).all() and found["low"].eq(0).all() and found["high"].between(0.05, 0.2).all()
    np.testing.assert_allclose(found[["log_ratio", "ratio_low", "ratio_high", "worst"]], 0.5)
    assert found.loc[("held-out", "two layers or more"), "n"] == 20


def test_every_run_and_function_is_read_with_its_seed(losses):
    found = generality.by_run(losses, ["gelu"]).query("stratum == 'all' and suite == 'far'").set_index(["arm", "seed"])
    assert len(found) == 4 * 4 + 3 and found.loc[("gelu", 0), "share"] == 0
    alone = generality.ahead(losses, "over labs", 2, "gelu").query("stratum == 'all' and suite == 'far'").iloc[0]
    assert found.loc[("over labs", 2), alone.index].equals(alone.rename(("over labs", 2)))


def test_an_arms_mean_has_an_interval_over_runs_and_labs(losses):
    runs = generality.by_run(losses, ["gelu"])
    found = generality.by_arm(losses, runs).set_index(["suite", "arm"])
    assert len(found) == 8 and found["n"].eq(4).all() and found["log_ratio"].between(found["low"], found["high"]).all()
    runs = runs.query("stratum == 'all' and suite == 'far' and arm == 'over labs'")
    assert found.loc[("far", "over labs"), "share"] == pytest.approx(runs["share"].mean())
    assert found.loc[("far", "over labs"), "log_ratio"] == pytest.approx(runs["log_ratio"].mean())
    width = found.loc[("far", "over labs"), "high"] - found.loc[("far", "over labs"), "low"]
    assert width > 2 * 1.96 * 0.05 / 2  # of four runs that differ by 0.05


def test_the_first_judged_lab_of_each_stratum_is_trained_again_whole():
    places = generality.first_labs(config.profile("laptop"))
    assert {suite: len(part) for suite, part in places.items()} == {"held-out": 6 * 4, "far": 7 * 4}
    assert places["held-out"][:8] == [0, 1, 2, 3, 160, 161, 162, 163]  # forty labs a stratum, four tasks a lab


def test_records_made_again_differ_by_nothing_and_a_record_that_was_changed_is_seen(tmp_path, warm_sandboxes):
    design = Design(0, 12, ("relu", "gelu"), 0)
    wanted = generality.jobs(SMOKE, design)
    store, records = Store(tmp_path / "store"), generality.Records(
        tmp_path / "it", "generality", ["arm", "seed"],
        {"runs.csv": ["arm", "seed", "source"], "losses.csv": ["arm", "seed", "suite", "lab", "log_ood", "log_train"]},
    )  # fmt: skip
    over, only = config.over_labs(SMOKE), {"far": generality.first_labs(SMOKE)["far"][4:12]}
    with Laboratory(over, 1, store) as laboratory:
        for run in wanted:
            part = generality._logs(laboratory, {run.arm: generality.chosen(run, laboratory).source}, "far")
            table = part.loc[run.arm].reset_index().assign(suite="far")
            source = pd.DataFrame([{"source": generality.chosen(run, laboratory).source}])
            records.add([(run, {"runs": source, "losses": table})])
    with Laboratory(over, 1, Store(tmp_path / "other"), only=only) as laboratory:
        assert generality.verify(records, laboratory, wanted) < 1e-6
        moved = records.table("losses").assign(log_ood=lambda rows: rows["log_ood"] + 0.25 * (rows["lab"] == 2))
        records.add([], {"losses": moved})
        assert generality.verify(records, laboratory, wanted) == pytest.approx(0.25, abs=1e-6)
        with pytest.raises(ValueError, match="wanted records of snake, seed 0 as settings are now; `make generality`"):
            generality.verify(records, laboratory, generality.jobs(SMOKE, replace(design, functions=("snake",))))
