"""Statistics of spectra on records that are written by hand, so that every number is known."""

import numpy as np
import pandas as pd
import pytest

from actlab.core.config import FitnessConfig
from actlab.studies import bands
from actlab.studies.spectra import Found

FITNESS = FitnessConfig()
TASKS = [(family, f"{family} {i}") for family in ("harmonic", "polynomial") for i in range(8)]


def records(**factor):
    """Records of functions whose powers, gradients and losses are a known one's times a factor; targets are 2 in all.

    A stretch has a prediction of 1 in the band and 0.25 above it beyond the range, and an error of 3 and 1.
    """
    power, steps, losses = [], [], []
    for name, f in factor.items():
        for i, (family, task) in enumerate(TASKS):
            luck = 1 + i / 10  # of a task: the same for every function
            about = {"function": name.replace("_", "-"), "family": family, "task": task}
            for stretch in ("left", "inside", "right"):
                band = {"prediction": 1.0 * f, "error": 3.0 * f, "target": 2.0}
                above = {"prediction": 0.25 * f, "error": 1.0 * f, "target": 0.0}
                power.append(about | {"stretch": stretch, "periods": bands.BAND} | band)
                power.append(about | {"stretch": stretch, "periods": bands.BAND + 1} | above)
            for step, loss in ((1, 1.0), (2, 0.25), (5, 0.25)):
                steps.append(about | {"step": step, "gradient": step * f * luck, "loss": loss})
            losses.append(about | {"train_mse": 0.01 * f * luck, "ring_mse": 0.1 * f * luck})
    return Found(*map(pd.DataFrame, (power, steps, losses, [])))


def test_powers_are_parted_at_the_bands_end():
    table = bands.banded(records(gelu=2.0))
    assert len(table) == 3 * len(TASKS)
    row = table.iloc[0]
    assert (row["prediction"], row["error"], row["target"]) == (2.0, 6.0, 2.0)
    assert (row["prediction_share"], row["error_share"], row["target_share"]) == pytest.approx((0.2, 0.25, 0.0))


def test_measures_are_the_logarithms_of_what_was_noted():
    row = bands.measures(records(gelu=1.0), FITNESS).iloc[0]
    wanted = {
        "start": 0.0,  # log 1
        "gradient": np.log([2 / 0.5, 5 / 0.5]).mean(),
        "train": np.log(0.01),
        "fine": np.log(0.25),
        "ring": np.log(0.1),
        "waves": 0.0,
        "miss": np.log(3.0),
    }
    assert list(wanted) == list(bands.MEASURES)
    assert row[list(wanted)].astype(float).to_dict() == pytest.approx(wanted)


def test_a_power_below_the_floor_counts_as_the_floor():
    table = bands.measures(records(gelu=1.0, relu=1e-9), FITNESS).groupby("function")["waves"].first()
    assert table["relu"] == pytest.approx(np.log(bands.FLOOR))
    assert table["gelu"] == 0


def test_a_function_that_is_everywhere_twice_another_is_found_higher_and_an_equal_one_undecided():
    table = bands.measures(records(gelu=1.0, sine=2.0, relu=1.0), FITNESS)
    rows = bands.compared(table, [("sine", "gelu"), ("relu", "gelu")]).set_index(["subject", "measure"])
    assert len(rows) == 2 * len(bands.MEASURES)
    for measure in ("start", "gradient", "train", "ring", "waves", "miss"):
        row = rows.loc[("sine", measure)]
        assert row["n"] == len(TASKS)
        assert row[["log_ratio", "low", "high"]].astype(float).tolist() == pytest.approx([np.log(2)] * 3)
        assert row["verdict"] == "higher"
    assert set(rows.loc["relu", "verdict"]) == {"undecided"}
    assert (rows["p_holm"] >= rows["p"]).all()
    assert rows.loc[("sine", "fine"), "verdict"] == "undecided"  # shares do not hang on the scale


def test_the_error_is_set_against_the_targets_own_power():
    rows = bands.against_straight(records(gelu=1.0, sine=1 / 3), ["gelu", "sine"]).set_index(["function", "family"])
    assert rows.loc[("gelu", "harmonic"), "log_ratio"] == pytest.approx(np.log(3 / 2))
    assert rows.loc[("sine", "polynomial"), "log_ratio"] == pytest.approx(np.log(1 / 2))
    assert rows["verdict"].tolist() == ["higher", "higher", "lower", "lower"]
    assert rows["n"].tolist() == [8] * 4


def test_shares_come_by_place_and_signal():
    rows = bands.shares(records(gelu=1.0)).set_index(["where", "signal"])
    assert set(rows.index) == {(w, s) for w in ("inside", "beyond") for s in ("prediction", "error", "target")}
    assert rows.loc[("beyond", "prediction"), ["estimate", "low", "high"]].tolist() == pytest.approx([0.2] * 3)


def test_a_spectrum_is_of_one_family_and_of_so_many_periods():
    rows = bands.spectrum(records(gelu=1.0), "harmonic", most=bands.BAND)
    assert rows["periods"].unique().tolist() == [bands.BAND]
    assert rows.set_index(["where", "signal"])["estimate"].to_dict() == pytest.approx(
        {(w, s): v for w in ("inside", "beyond") for s, v in (("prediction", 1.0), ("target", 2.0))}
    )
    assert rows["n"].eq(8).all()


def test_training_is_summed_up_with_intervals_around_its_means():
    rows = bands.training(records(gelu=1.0)).set_index(["quantity", "step"])
    assert len(rows) == 9
    assert rows.loc[("loss", 2), "estimate"] == pytest.approx(0.25)
    assert rows.loc[("relative", 5), "estimate"] == pytest.approx(2 * rows.loc[("gradient", 5), "estimate"])
    assert (rows["low"] <= rows["estimate"]).all()
    assert rows.loc[("gradient", 1), "low"] < rows.loc[("gradient", 1), "high"]


def test_a_sweep_starts_at_one_where_the_amplitude_is_zero():
    table = bands.measures(records(gelu=1.0, sine=2.0), FITNESS)
    rows = bands.sweep(table, [("gelu-sine", 0.0, "gelu"), ("gelu-sine", 0.5, "sine")])
    assert rows[rows["amplitude"] == 0][["estimate", "low", "high"]].eq(1).all(axis=None)
    waves = rows[(rows["amplitude"] == 0.5) & (rows["measure"] == "waves")]
    assert waves["estimate"].item() == pytest.approx(2)


def decided(**verdicts):
    """Comparisons by one measure, a verdict a subject."""
    rows = [(name, "ring", np.log(2), 0.0, 1.0, verdict) for name, verdict in verdicts.items()]
    return pd.DataFrame(rows, columns=["subject", "measure", "log_ratio", "low", "high", "verdict"])


def test_ratios_are_bold_where_they_are_decided():
    table = bands.measures(records(gelu=1.0, sine=2.0, relu=1.0), FITNESS)
    shown = bands.ratios(bands.compared(table, [("sine", "gelu"), ("relu", "gelu")]))
    assert list(shown) == ["sine", "relu"]
    assert shown.index.tolist() == list(bands.MEASURES.values())
    assert shown.loc["loss in the lab's ring"].tolist() == ["**2.00 [2.00, 2.00]**", "1.00 [1.00, 1.00]"]


def test_a_reading_names_subjects_by_their_verdict_and_leaves_out_what_is_not():
    rows = decided(snake="lower", sine="undecided", relu="lower")
    assert bands.readings(rows, str.upper) == ["loss in the lab's ring: lower for SNAKE, RELU; undecided for SINE"]
    assert bands.readings(decided(a="higher", b="higher"), str) == ["loss in the lab's ring: higher for all"]


@pytest.mark.parametrize(
    ("verdicts", "wanted"),
    [
        ({"a": "lower", "b": "lower"}, "holds (2 for, 0 against, of 2)"),
        ({"a": "lower", "b": "undecided"}, "undecided (1 for, 0 against, of 2)"),
        ({"a": "lower", "b": "higher"}, "fails (1 for, 1 against, of 2)"),
        ({"a": "undecided"}, "undecided (0 for, 0 against, of 1)"),
    ],
)
def test_a_claim_holds_fails_or_stays_undecided(verdicts, wanted):
    assert bands.claim(decided(**verdicts), "ring", "lower") == wanted


def test_a_claim_by_an_unknown_measure_is_refused():
    with pytest.raises(ValueError, match="wanted a measure among ring; got 'rings'"):
        bands.claim(decided(a="lower"), "rings", "lower")
