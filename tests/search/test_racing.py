import numpy as np
import pytest
from scipy import stats as distributions

from actlab.search import racing
from actlab.search.racing import AHEAD, BEHIND, OPEN, Plan, Race

FAMILIES = ("a",) * 12 + ("b",) * 12 + ("c",) * 12 + ("d",) * 12
RACE = Race((12, 24, 48))


def rng(seed=0):
    return np.random.default_rng(seed)


def test_every_part_of_the_order_has_equal_families_and_another_generator_draws_another():
    order = racing.task_order(FAMILIES, rng())
    assert sorted(order) == list(range(48))
    for seen in (4, 12, 24):
        assert sorted(np.asarray(FAMILIES)[order[:seen]]) == sorted("abcd" * (seen // 4))
    assert not np.array_equal(order, racing.task_order(FAMILIES, rng(1)))
    assert np.array_equal(order, racing.task_order(FAMILIES, rng()))


def test_families_of_unequal_size_come_in_turn_while_they_last():
    order = racing.task_order(("a", "b", "b", "b"), rng())
    assert order[0] == 0 and sorted(order[1:]) == [1, 2, 3]


def test_the_bounds_are_students_with_the_finite_suites_correction():
    gains = rng().normal(size=12)
    low, high = RACE.bounds(gains)
    # Two looks share the 5 %; half of a pair of one-sided bounds at 2.5 % is scipy's interval of 95 %.
    plain = distributions.t.interval(0.95, 11, loc=gains.mean(), scale=distributions.sem(gains))
    expected = gains.mean() + (np.array(plain) - gains.mean()) * np.sqrt(1 - 12 / 48)
    np.testing.assert_allclose((low, high), expected, rtol=1e-12)


def test_on_the_whole_suite_nothing_is_left_to_chance():
    gains = rng().normal(size=48)
    assert RACE.bounds(gains) == (pytest.approx(gains.mean()),) * 2
    assert RACE.verdict(gains - gains.mean() - 1e-9) == BEHIND
    assert RACE.verdict(gains - gains.mean() + 1e-9) == AHEAD
    assert RACE.verdict(np.zeros(48)) == OPEN


@pytest.mark.parametrize(
    "gains, verdict",
    [
        ([-1.0, -1.1] * 6, BEHIND),
        ([1.0, 1.1] * 6, AHEAD),
        ([-1.0, 1.1] * 6, OPEN),
        ([0.0] * 12, OPEN),  # the same function
    ],
)
def test_a_worked_race_of_twelve_tasks(gains, verdict):
    assert RACE.verdict(np.array(gains)) == verdict


def test_at_a_tie_of_normal_gains_delta_is_the_chance_to_drop():
    # Each suite's gains are fixed and have a mean of zero; only the order is random, as the rule says.
    shares = racing.risk(rng(3).normal(size=(12, 48)), FAMILIES, RACE, rng(4))
    assert len(shares) == 12 * 11
    assert 0.03 < shares.mean() < RACE.delta + 0.005


def test_gains_that_hang_on_few_tasks_break_the_rules_assumption_and_the_risk_shows_it():
    gains = np.zeros((2, 48))
    gains[0, :2] = 10.0  # the mean of 48, seen rarely among the first 12
    gains[0] += 0.01 * rng().normal(size=48)
    assert racing.risk(gains, FAMILIES, RACE, rng(1))[0] > 0.3


def test_a_candidate_that_is_far_behind_is_dropped_at_the_first_look():
    generator = rng(4)
    dropped = [RACE.verdict(generator.normal(-2, 1, size=12)) == BEHIND for _ in range(200)]
    assert np.mean(dropped) > 0.99


def test_the_rise_of_a_pair_is_what_its_gain_gains():
    short, full = np.array([[0.0, 0.0], [1.0, 1.0]]), np.array([[0.0, 0.0], [1.0, 4.0]])
    assert sorted(racing.rise(short, full)) == [-1.5, 1.5]


@pytest.mark.parametrize(
    "make, words",
    [
        (lambda: Race(()), "rising numbers of tasks"),
        (lambda: Race((24, 12)), r"rising numbers of tasks.*\(24, 12\)"),
        (lambda: Race((1, 2)), "first at least 2"),
        (lambda: Race((12, 48), delta=0.5), "delta between 0 and 0.5; got 0.5"),
        (lambda: RACE.bounds(np.zeros(13)), "finite gains on 12 or 24 or 48 tasks"),
        (lambda: RACE.bounds(np.full(12, np.inf)), "finite gains"),
    ],
)
def test_what_is_no_race_is_refused(make, words):
    with pytest.raises(ValueError, match=words):
        make()


# --- the study, on scores that are written out ---


def scores(fitness, noise=0.0, seed=0):
    """Gains [functions, 48] whose means over tasks are exactly `fitness`."""
    scatter = noise * rng(seed).normal(size=(len(fitness), 48))
    return np.array(fitness)[:, None] + scatter - scatter.mean(axis=1, keepdims=True)


def test_training_all_in_full_saves_nothing_and_loses_nothing():
    full = scores([0.0, 1.0, 2.0, 3.0])
    table = racing.study(full, full, 0.1, FAMILIES, [Plan("all")], rng(), orders=20, round_size=2)
    row = table.iloc[0]
    assert (row["plan"], row["searches"], row["saved"], row["dropped"]) == ("all", 20, 0, 0)
    assert (row["same_winner"], row["lost"]) == (1, 0)


def test_one_round_of_each_plan_by_hand():
    # Six functions in one round, against the start at 0; without noise a race is decided at the first look.
    full = scores([0.0, 1.0, 2.0, 3.0, -1.0, -2.0, -3.0])
    short = scores([0.0, 3.0, 2.0, 1.0, -1.0, -2.0, -3.0])
    plans = [
        Plan("best third", keep=1 / 3),  # by the short training: those at 1 and 2; the one at 3 is dropped
        Plan("margin", margin=1.5),  # drops those that trail by 2 and 3
        Plan("race", race=RACE),  # three are dropped after a quarter of the tasks
        Plan("both", margin=1.5, race=RACE),
    ]
    table = racing.study(full, short, 0.1, FAMILIES, plans, rng(), orders=5, round_size=6).set_index("plan")
    cost = {"best third": 0.6 + 2, "margin": 0.6 + 4, "race": 3 + 3 / 4, "both": 0.6 + 3 + 1 / 4}
    for plan, spent in cost.items():
        assert table.loc[plan, "saved"] == pytest.approx(1 - spent / 6), plan
    assert table["better"].tolist() == [15] * 4
    assert table["dropped"].tolist() == [pytest.approx(1 / 3), 0, 0, 0]
    assert table["same_winner"].tolist() == [0, 1, 1, 1]
    assert table["lost"].tolist() == [pytest.approx(1.0), 0, 0, 0]


def test_candidates_race_against_the_last_of_the_ranking_while_it_is_short():
    full = scores([0.0, -1.0, -2.0, -3.0])
    saved = [
        racing.study(full, full, 0.1, FAMILIES, [Plan("", race=RACE)], rng(), 3, round_size=1, elites=k)["saved"].item()
        for k in (1, 2, 4)
    ]
    assert saved == [pytest.approx(3 / 4)] * 3  # all three are dropped after a quarter of the tasks, behind the start


def test_all_plans_meet_the_same_orders_and_the_same_generator_gives_the_same_table():
    full = scores(list(rng(1).normal(size=12)), noise=2.0)
    plans = [Plan("a", race=RACE), Plan("b", race=RACE)]
    table = racing.study(full, full, 0.1, FAMILIES, plans, rng(2), orders=10, round_size=4)
    assert table.loc[0].drop("plan").equals(table.loc[1].drop("plan"))
    assert table.equals(racing.study(full, full, 0.1, FAMILIES, plans, rng(2), orders=10, round_size=4))


def test_on_noisy_scores_racing_saves_and_seldom_drops_a_better_function():
    full = scores(list(rng(5).normal(size=24)), noise=2.0, seed=6)
    row = racing.study(full, full, 0.1, FAMILIES, [Plan("race", race=RACE)], rng(7), orders=200).iloc[0]
    assert row["saved_low"] > 0.1
    assert row["dropped_high"] < RACE.delta


def test_rungs_are_a_quarter_a_half_and_all_of_the_tasks_from_one_a_family_on():
    assert racing.quarters(48, 4) == (12, 24, 48)
    assert racing.quarters(8, 4) == (4, 8)
