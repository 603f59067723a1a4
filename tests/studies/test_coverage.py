"""How often intervals cover: the committed table, a part of it made again, and what it says of the rule."""

import pandas as pd
import pytest

from actlab.core import stats
from actlab.core.records import ROOT
from actlab.studies import coverage


@pytest.fixture(scope="module")
def committed():
    return pd.read_csv(ROOT / "figures" / "bench_coverage.csv").drop(columns="machine")


def test_the_committed_table_is_what_this_code_measures(committed):
    again = coverage.table([(1, 5)], runs=False)
    assert set(again["method"]) == set(committed["method"]) and (again["size"] == "1 x 5").all()
    wanted = committed[committed["size"] == "1 x 5"].reset_index(drop=True)
    pd.testing.assert_frame_equal(again, wanted, check_dtype=False, atol=0.0011)  # a sample at the edge may be rounding


def test_the_rule_alone_covers_92_percent_of_every_law_and_size_but_of_pairs_where_it_says_so(committed):
    least = committed.assign(least=committed[list(coverage.LAWS)].min(axis=1)).pivot(
        index="size", columns="method", values="least"
    )
    low = {method: set(column.index[column < 0.92]) for method, column in least.items()}
    assert low.pop(coverage.RULE) == {"1 x 2"} and stats.few_words([2])
    assert len(least) == len(coverage.SIZES) + 1
    assert all(sizes - {"1 x 2"} for sizes in low.values())


def test_the_guide_says_what_the_table_has(committed):
    rule = committed[committed["method"] == coverage.RULE].set_index("size")
    said = (ROOT / "docs" / "guide.md").read_text()
    of_pairs = "in {lognormal:.1%} (lognormal) and {exponential:.1%} (exponential)".format(**rule.loc["1 x 2"])
    assert of_pairs.replace("%", " %") in said
    wide = f"{rule.loc['1 x 5', 'width normal']:.1f} times\nStudent's over five normal values"
    assert wide in said and f"{rule.loc['4 x 12', 'width normal']:.2f} times over four families of twelve" in said
    assert committed["method"].nunique() == 7 and "None of six other methods does" in said
