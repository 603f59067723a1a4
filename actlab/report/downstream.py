"""What the notebooks on images, algorithms and molecules have in common: one result a section (Table 2; ours).

All numbers are from the laptop profile's records, whatever the notebook's profile. Intervals are over seeds.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import pandas as pd
from IPython.display import display
from matplotlib.figure import Figure

from actlab.activations import zoo
from actlab.core import config
from actlab.core.records import Records, Store
from actlab.report import page, views
from actlab.report.figures import style, tasks, transfer
from actlab.scoring import summaries
from actlab.scoring.laboratory import Laboratory
from actlab.transfer import baselines, statistics, sweep

PROFILE = "laptop"  # of the records
ESTIMATE = "{difference:.3f} [{low:.3f}, {high:.3f}]"


@dataclass(frozen=True)
class Result:
    """A table, the figure that it drew if there is one, and its caption."""

    table: pd.DataFrame
    what: str  # this, `read`, `n` and `method` as in `page.caption`
    read: str
    n: str
    method: str = page.T
    figure: Figure | None = None


@dataclass(frozen=True)
class Kind:
    """One kind of task with its records."""

    name: str  # of `sweep.BENCHMARKS`
    score: str  # what a score is called, such as "accuracy"
    where: Mapping[str, str]  # what each split tests, such as "clean digits"
    folder: Path  # of figures and tables

    # --- records ----------------------------------------------------------------------------------

    @cached_property
    def kept(self) -> Records:
        """The laptop's records of all kinds."""
        return sweep.kept(PROFILE)

    @cached_property
    def _loaded(self) -> tuple[sweep.Design, pd.DataFrame]:
        """As `views.load`.

        Raises:
            FileNotFoundError: where this kind has fewer than two whole seeds.
        """
        design, rows = views.load(self.kept)
        if self.name not in design.seeds:
            wanted = f"{self.kept.folder}: wanted two seeds of {self.name}"
            raise FileNotFoundError(f"{wanted}; came fewer. `make transfer` makes them")
        return design, rows

    @property
    def design(self) -> sweep.Design:
        """The functions, and the number of seeds of each kind."""
        return self._loaded[0]

    @property
    def n(self) -> int:
        """Number of seeds of this kind."""
        return self.design.seeds[self.name]

    @cached_property
    def rows(self) -> pd.DataFrame:
        """The records of this kind."""
        return self._loaded[1].query("benchmark == @self.name")

    @cached_property
    def _every(self) -> pd.DataFrame:
        return statistics.scores(self._loaded[1], self.design.functions)

    @cached_property
    def scores(self) -> pd.DataFrame:
        """`statistics.scores` of this kind."""
        return self._every.query("benchmark == @self.name")

    @cached_property
    def against(self) -> pd.DataFrame:
        """`statistics.against` of all kinds, which share one correction."""
        return statistics.against(self._every)

    @property
    def planned(self) -> pd.DataFrame:
        """The planned comparisons of this kind."""
        return self.against.query("planned and benchmark == @self.name")

    def records(self) -> None:
        """Says how many records there are and how they were made."""
        wanted = sweep.jobs(PROFILE, self.design, [self.name])
        planned, count = sweep.DESIGNS[PROFILE].seeds[self.name], len(self.design.functions)
        n = f"{self.n} of {planned} seeds of {count} functions, {len(wanted)} trainings"
        page.caption("The records", origin(self.kept, wanted), profile=PROFILE, n=n)

    def lacking(self, most: int = 3) -> None:
        """Says which full data sets are there, the first few by name, and what the paper profile's records hold."""
        table = views.lacking(self.name)
        lines = [f"- {row.message or f'{row.data}: there'}" for row in table.itertuples()]
        lines[most:] = [f"- and {len(lines) - most} more"] * (len(lines) > most)
        page.say(f"{table['there'].sum()} of {len(table)} full data sets are there:\n\n" + "\n".join(lines))
        page.say(views.full_words(sweep.kept("paper"), self.name))

    # --- results ----------------------------------------------------------------------------------

    def save(self, result: Result, name: str) -> None:
        """Writes a figure with its table, and shows it above its caption."""
        style.save(result.figure, name, result.table, self.folder)
        display(result.figure)
        plt.close(result.figure)
        self._caption(result)

    def save_table(self, result: Result, name: str, show: bool = True) -> None:
        """Writes a table, and shows it above its caption, or the caption alone."""
        style.save_table(result.table, name, self.folder)
        if show:
            page.table(result.table.drop(columns="data") if result.table["data"].nunique() == 1 else result.table)
        self._caption(result)

    def _caption(self, result: Result) -> None:
        page.caption(result.what, result.read, profile=PROFILE, n=result.n, method=result.method)

    @property
    def _seeds(self) -> str:
        return f"{self.n} seeds"

    def plain(self, configs: Iterable[Any], **options: int) -> pd.DataFrame:
        """`baselines.score` of several configurations, kept in the store."""
        return pd.concat([baselines.score(config, self.name, Store(), **options) for config in configs])

    def floor(self, plain: pd.DataFrame) -> Result:
        """ReLU's network beside plain answers.

        Args:
            plain: rows of `baselines.score`.
        """
        beside = baselines.beside(self.scores, plain)
        least = beside.replace({"split": transfer.NAMES}).nsmallest(1, "difference")
        form = "*{answer}* on {data} ({split}): {score:.3f} against {floor:.3f}, a difference of " + ESTIMATE
        read = f"ReLU's network: {page.tally(beside['verdict'])}. The smallest margin is over {page.each(least, form)}."
        return Result(beside, "ReLU beside plain answers", read, f"{beside['n'].min()} seeds")

    def means(self, plain: pd.DataFrame, **axes: Any) -> Result:
        """The mean score of each function in and out of distribution, with the plain answers as lines.

        Args:
            plain: rows of `baselines.score`.
            axes: of `plt.subplots`.
        """
        means = views.over_seeds(statistics.tasks(self.scores).query("planned"), ["split", "function"])
        means = means.assign(panel=means["split"].map(self.where), level="")
        answers = plain.groupby(["split", "answer"])["value"].mean()
        lines = {self.where[split]: answers[split].to_dict() for split in plain["split"].unique()}
        figure, panels = plt.subplots(1, 2, figsize=(style.TWO_COLUMNS, 3.0), **axes)
        tasks.forest(panels, means, lines, self.score)
        what = f"Mean {self.score} of {len(self.design.functions)} functions"
        read = f"From the lowest to the highest mean: {_extremes(means, 'panel')}. Dashed lines are the plain answers."
        return Result(means, what, read, self._seeds, figure=figure)

    def differences(self, reach: Mapping[str, float] | None = None) -> Result:
        """The planned comparisons with ReLU and GELU.

        Args:
            reach: by task, half the width of the axis.
        """
        figure, panels = plt.subplots(1, 2, figsize=(style.TWO_COLUMNS, 3.4))
        transfer.downstream(panels, self.planned, reach, f"difference of {self.score}")
        cut = (
            " Triangles lie beyond the axis, with their values beside them. Arrows mark intervals that the axis cuts; "
            "the table has them in full."
        ) * bool(reach)
        read = f"Filled markers are decided.{cut} {views.verdicts(self.planned)}"
        return Result(self.planned, f"Differences of {self.score}", read, self._seeds, self._holm, figure)

    @property
    def _holm(self) -> str:
        planned, kinds = self.against["planned"].sum(), ", ".join(self.design.seeds)
        return f"{page.PAIRED_T}, decided by Holm over {planned} planned comparisons on {kinds}"

    def whole(self, data: Iterable[str] | None = None) -> Result:
        """The whole test set as one batch against batches, for functions that see their batch.

        Args:
            data: which data sets; all by default.
        """
        scores = self.scores if data is None else self.scores[self.scores["data"].isin(list(data))]
        effect = views.whole_against_batches(scores)
        most = effect.loc[[effect["difference"].abs().idxmax()]].replace({"split": transfer.NAMES})
        clear = ((effect["low"] > 0) | (effect["high"] < 0)).sum()
        form = "{function}'s on {data} ({split}), {difference:.4f} [{low:.4f}, {high:.4f}]"
        read = f"The largest change is {page.each(most, form)}. {clear} of {len(effect)} intervals exclude 0."
        method = f"{page.PAIRED_T}, not corrected"
        return Result(effect, "One batch against batches of the training size", read, self._seeds, method)

    def endings(self) -> Result:
        """How the trainings of each function ended."""
        ended = views.endings(self.rows)
        bad = ended[ended["scored"] < ended["runs"]]
        failed = page.each(bad, "{function} ({OOM} out of memory, {diverged} diverged)", ", ")
        read = f"{ended['scored'].sum()} of {ended['runs'].sum()} were scored. Failed: {failed}."
        return Result(ended, "Trainings", read, f"{ended['runs'].iloc[0]} trainings a function", "counts")

    def curves(self, curves: pd.DataFrame, height: float = 3.0, **axes: Any) -> Result:
        """The validation score after each epoch.

        Args:
            curves: as from `views.curves`, with a column panel.
            height: inches.
            axes: of `plt.subplots`.
        """
        count = curves["panel"].nunique()
        figure, panels = plt.subplots(1, count, figsize=(style.TWO_COLUMNS, height), sharey=True, **axes)
        tasks.curves(panels, curves, f"validation {self.score}")
        last = curves[curves["epoch"] == curves.groupby("data")["epoch"].transform("max")]
        last = last.drop_duplicates(["data", "function"])
        what = f"Validation {self.score} by epoch of {last['function'].nunique()} functions"
        read = f"After the last epoch, from the lowest to the highest: {_extremes(last, 'data')}."
        return Result(curves, what, read, self._seeds, figure=figure)

    def comparisons(self) -> None:
        """Shows the planned comparisons as readers know them."""
        page.table(views.differences(self.planned))


def origin(kept: Records, wanted: Sequence[sweep.Job]) -> str:
    """How the records of some jobs were made.

    Raises:
        ChangedCode: where the code here computes something else.
    """
    about, old = kept.about, len(kept.missing(wanted))
    versions = ", ".join(f"{name} {number}" for name, number in about["versions"].items())
    stale = f" {old} of them have other settings than today's." * bool(old)
    return f"Made by `{about['command']}` with {versions}; this code still computes them.{stale}"


def lab(functions: Sequence[str], suites: Sequence[str], profile: str, workers: int = 0) -> pd.DataFrame:
    """The functions' losses in the lab, as `summaries.notes`.

    Args:
        functions: of the zoo, or the found one.
        suites: of the lab.
        profile: of the lab.
        workers: processes; 0 means one a core.
    """
    programs = {name: zoo.program_source(name) for name in functions if name != sweep.FOUND}
    programs[sweep.FOUND] = inspect.getsource(sweep.found).replace("def found", "def activation")
    settings = config.profile(profile)
    with Laboratory(settings, workers) as laboratory:
        losses = pd.concat([laboratory.scores(programs, suite) for suite in suites], ignore_index=True)
    return summaries.notes(summaries.summary(losses, settings.fitness))


def _extremes(table: pd.DataFrame, by: str) -> str:
    """The lowest and the highest value of each group, with the functions that have them."""
    rows = []
    for name, part in table.groupby(by, sort=False):
        low, high = part.loc[part["value"].idxmin()], part.loc[part["value"].idxmax()]
        ends = {"low": low["value"], "worst": low["function"], "high": high["value"], "best": high["function"]}
        rows.append({"name": name} | ends)
    return page.each(pd.DataFrame(rows), "{name}, {low:.3f} ({worst}) to {high:.3f} ({best})")
