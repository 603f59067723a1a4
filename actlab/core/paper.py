"""The paper's published numbers as data, to stand beside ours: nothing here was measured by us.

Functions are named by the keys of the zoo, so that these tables join our records. What is marked [paper] was
read in the paper, [retold] in an account of it; [derived] is arithmetic on its numbers. None: not known here.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas

TITLE = "Mining Generalizable Activation Functions"
ARXIV = "2602.05688"
VERSION = "v1"
DATE = "2026-02-05"
AUTHORS = ("Alex Vitvitskyi", "Michael Boratko", "Matej Grcic", "Razvan Pascanu", "Deep Shah", "Petar Veličković")

OOM = "OOM"  # the paper's mark for a function that ran out of memory


@dataclass(frozen=True)
class Table1Row:
    """Mean squared error in the lab, in units of 1 (the paper prints thousandths)."""

    ood: float
    train: float


@dataclass(frozen=True)
class Table2Row:
    """Four downstream scores (up is better) and four lab losses (down is better), as fractions and MSE.

    The downstream columns' names follow the order of the paper's section 5 and the metric words [derived]; those of the
    lab columns are not known.
    """

    cifar10_accuracy: float | str
    clrs30_score: float | str
    molhiv_auc: float | str
    imagenet_top1: float | str
    lab: tuple[float, float, float, float] | None


@dataclass(frozen=True)
class Step:
    """A point of the search in Figure 3; `step` counts the search's steps, a higher fitness is better."""

    function: str | None
    formula: str | None
    step: int | None
    fitness: float | None


@dataclass(frozen=True)
class Claim:
    """One claim to test, in our words; `origin` is paper or retold."""

    number: int
    text: str
    origin: str


TABLE_1 = {
    "turbulent": Table1Row(ood=0.0298, train=0.0035),
    "gmtu": Table1Row(ood=0.0519, train=0.0041),
    "gelu-sine": Table1Row(ood=0.0547, train=0.0014),
    "gelu-sinc": Table1Row(ood=0.0687, train=0.0022),
    "gelu": Table1Row(ood=0.0788, train=0.0020),
    "relu": Table1Row(ood=0.0931, train=0.0035),
}
"""Table 1 [paper]."""

TABLE_2 = {
    "gmtu": Table2Row(0.915, 0.861, 0.784, 0.676, (0.053, 0.104, 0.015, 0.035)),
    "gelu": Table2Row(0.948, 0.874, 0.758, 0.745, (0.056, 0.195, 0.056, 0.008)),
    "gelu-sine": Table2Row(0.946, 0.867, 0.765, 0.745, (0.043, 0.138, 0.033, 0.005)),
    "gelu-sinc": Table2Row(0.948, 0.887, 0.776, 0.739, (0.043, 0.160, 0.052, 0.020)),
    "turbulent": Table2Row(0.886, 0.833, 0.755, 0.610, (0.024, 0.071, 0.018, 0.006)),
    "quaternion": Table2Row(0.514, 0.888, 0.699, OOM, (0.006, 0.006, 0.004, 0.004)),
    "fisg": Table2Row(0.345, 0.894, 0.655, 0.167, (0.002, 0.002, 0.008, 0.001)),
    "pler": Table2Row(OOM, 0.891, OOM, OOM, (0.009, 0.001, 0.019, 0.000)),
    "symmetric-phase-flipped": Table2Row(0.229, 0.878, 0.657, 0.001, (0.002, 0.001, 0.004, 0.001)),
    "relu": Table2Row(0.947, 0.862, 0.756, 0.735, None),
}
"""Table 2 [paper]; ReLU's lab columns are not known to us."""

RELU_LAB_SUM = 0.3724
"""The sum of ReLU's four lab columns: four times its mean in Table 1 [derived]."""

FIGURE_3 = (
    Step("silu", "x / (1 + exp(-x))", None, -0.01975),
    Step("leaky-sqrt-decay", "x (0.02 + 1 / sqrt(1 + a x^2)), a = 0.16 where x >= 0, else 0.04", 10, -0.01171),
    Step(
        "qfw",
        "x (0.02 + 1 / (1 + a |x - b|^v)), a = 0.08 where x >= b, else 0.02; v = 1 + exp(-s); "
        "b, s = mean and standard deviation over the batch",
        13,
        -0.01131,
    ),
    Step(None, None, 44, None),
)
"""A typical run, as far as it is known [paper]; step 44 is a longer function of batch moments.

Its fitness is not minus Table 1's mean: SiLU at 0.0198 is far below GELU's 0.0788 [derived].
"""

FIGURE_6 = ("symmetric-phase-flipped", "fisg", "turbulent", "relu", "gmtu", "gelu-sine", "gelu", "gelu-sinc")
"""The eight functions without an OOM by their mean downstream profile, worst to best [paper]."""

FIGURE_7 = ("gmtu", "gelu-sine", "gelu-sinc", "turbulent")
"""The forms whose constants are held against random ones [paper]."""

FIGURE_6_AXIS = (-1.25, 0.50)
"""The range of Figure 6's axis, in log-ratios of standardised scores against ReLU [paper]."""

CLAIMS = (
    Claim(1, "With a language model's mutations, all Python within a FLOP budget can be searched.", "paper"),
    Claim(2, "OOD loss as the fitness selects inductive bias, not only speed of optimisation.", "paper"),
    Claim(3, "Small synthetic data sets are enough to find meaningful activation functions.", "paper"),
    Claim(4, "In the lab, train losses are alike and the OOD loss separates: GELU and ReLU lose to every "
             "discovered function, and Turbulent leads by far at ReLU's train loss.", "paper"),
    Claim(5, "Functions of statistics across the tensor win the lab, may help on CLRS, and fail on images or run "
             "out of memory; Turbulent transfers nowhere.", "paper"),
    Claim(6, "GELU and its periodic variants do well downstream, GELU-Sinc best overall.", "retold"),
    Claim(7, "The constants that the search wrote beat most random draws of the same form.", "paper"),
    Claim(8, "A search rediscovers known functions, recombines them, then leaves pointwise functions and overfits "
             "the lab: the best transfer lies in between.", "paper"),
)  # fmt: skip


def lab_mean(function: str) -> float:
    """Mean of a function's four lab losses in Table 2, its OOD loss in Table 1; of ReLU's, by their sum. [derived]"""
    if function not in TABLE_2:
        raise ValueError(f"the paper's Table 2: wanted one of {', '.join(TABLE_2)}; got {function!r}")
    lab = TABLE_2[function].lab
    return (RELU_LAB_SUM if lab is None else sum(lab)) / 4


def lab_order() -> tuple[str, ...]:
    """The functions of Table 2 by their mean lab loss, best to worst. [derived]"""
    return tuple(sorted(TABLE_2, key=lab_mean))


def table_1() -> pandas.DataFrame:
    """Table 1 as columns function, ood_mse, train_mse, in the paper's order (best OOD loss first)."""
    import pandas as pd

    rows = [(name, row.ood, row.train) for name, row in TABLE_1.items()]
    return pd.DataFrame(rows, columns=["function", "ood_mse", "train_mse"])


def table_2(numeric: bool = False) -> pandas.DataFrame:
    """Table 2 in the paper's order: function, four downstream scores, lab 1 to lab 4; lab losses not known are NaN.

    With `numeric`, OOM becomes NaN, so that every column is of floats; else it stays the string "OOM".
    """
    import pandas as pd

    nan, rows = float("nan"), []
    for name, row in TABLE_2.items():
        *scores, lab = vars(row).values()
        scores = [nan if numeric and score == OOM else score for score in scores]
        rows.append((name, *scores, *(lab or [nan] * 4)))
    names = [field.name for field in fields(Table2Row)[:-1]]
    return pd.DataFrame(rows, columns=["function", *names, *(f"lab {i}" for i in range(1, 5))])
