#!/usr/bin/env bash
# scipy 1.17.1: one constant resample makes the percentile bootstrap interval of a correlation NaN.
#
# `scipy.stats.bootstrap(..., method="percentile")` of a rank or product correlation over few, tied pairs gives the interval
# [nan, nan] as soon as a single resample is constant, though all others have a value; the warning speaks of the BCa
# interval, which was not asked for. The other resamples alone have an ordinary percentile interval.
#
# Why it matters here: agreement between two orders of few functions is bootstrapped over functions, ties included. With
# scipy's interval a figure loses its bar in silence, so that `core.stats.rank_correlation` keeps a bootstrap of its own,
# which leaves constant resamples out.
#
# Fails where the behaviour changes.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/python" -m pip install --quiet scipy==1.17.1 numpy==2.4.6
"$folder/env/bin/python" - <<'PYTHON'
import warnings

import numpy as np
from scipy import stats

a, b = np.array([1.0, 1, 1, 2]), np.array([1.0, 2, 1, 1])


def correlation(x, y, axis=-1):
    return stats.pearsonr(x, y, axis=axis).statistic


with warnings.catch_warnings(record=True) as said:
    warnings.simplefilter("always")
    found = stats.bootstrap((a, b), correlation, paired=True, method="percentile", n_resamples=999, rng=0)
interval = found.confidence_interval
values = found.bootstrap_distribution[np.isfinite(found.bootstrap_distribution)]
print("interval:", interval)
print("resamples with a value:", len(values), "of", len(found.bootstrap_distribution))
print("their percentile interval:", np.percentile(values, [2.5, 97.5]).round(3))
print("warning:", *{str(one.message)[:70] for one in said if "BCa" in str(one.message)})
assert np.isnan(interval.low) and np.isnan(interval.high)
assert 0 < len(values) < len(found.bootstrap_distribution)
assert any("BCa" in str(one.message) for one in said)
PYTHON
# Output seen:
#   interval: ConfidenceInterval(low=np.float64(nan), high=np.float64(nan))
#   resamples with a value: 421 of 999
#   their percentile interval: [-1.    -0.333]
#   warning: The BCa confidence interval cannot be calculated. This problem is know
