"""The explorer: draws, describes, scores and saves a function that the reader types or sets with sliders (ours).

What is typed is checked by `program.check` and runs only in the laboratory's sandboxes. Only `Panel` needs ipywidgets.
"""

from __future__ import annotations

import html
import io
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pandas as pd
from IPython import get_ipython
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from actlab.activations import zoo
from actlab.candidates.expression import Form, expression_of, source_of
from actlab.candidates.language import short
from actlab.candidates.profiling import Description
from actlab.candidates.program import Refused, check
from actlab.core import stats
from actlab.core.files import write
from actlab.core.records import ROOT
from actlab.report import page
from actlab.report.figures import lab as figures
from actlab.report.figures import style
from actlab.scoring import summaries
from actlab.scoring.commands import command
from actlab.scoring.laboratory import Laboratory
from actlab.studies import trust

RIVALS = ("relu", "gelu", "snake")  # of the planned comparisons: where a search starts, the usual one, a hard one
MISSING = "The sliders want ipywidgets: `pip install ipywidgets`, then restart the kernel. All cells below do without."
STATIC = "The sliders and buttons appear here when the notebook runs in JupyterLab, or with `live = True` above."


# --- what it is ---


@dataclass(frozen=True)
class Look:
    """A program after its checks: ready for training (`open`), or refused, failed or killed, with the `error`."""

    source: str
    ended: str
    error: str | None = None
    description: Description | None = None  # cost and traits
    curve: pd.DataFrame | None = None  # function ("yours"), x, y, slope

    @property
    def words(self) -> str:
        """Cost and traits in a line, as `python -m actlab check` prints them; or how it ended."""
        if self.description is None:
            return f"{self.ended}: {self.error}"
        traits = ", ".join(f"{name} {value}" for name, value in self.description.traits.items())
        return f"{self.description.flops_gelu:.3g} times GELU's FLOPs; {traits}"


def describe(text: str, laboratory: Laboratory, reach: float = 5.0, seed: int = 0) -> Look:
    """Checks an expression of x, or a program, and runs it on probes in the laboratory's sandboxes, without training.

    Args:
        reach: the curve runs from -reach to reach, at 401 points.
        seed: of the batch [batch, features] of standard normal draws around the curve's point; it matters only to
            functions that see their batch.
    """
    try:
        source = source_of(text)
        check(source)
    except Refused as refusal:
        return Look(text, "refused", str(refusal))
    finding = laboratory.evaluator.describe(source).result()
    if finding.ended != "open":
        return Look(source, finding.ended, finding.error)
    lab, x = laboratory.profile.lab, np.linspace(-reach, reach, 401)
    batch = np.random.default_rng(seed).standard_normal((lab.batch, lab.width))
    try:
        curve = trust.curves(laboratory, {"yours": source}, x, batch)
    except ValueError as error:  # it passed the probes, and not this batch
        return Look(source, "failed", str(error))
    return Look(source, "open", None, finding.description, curve)


# --- its score ---


@dataclass(frozen=True)
class Standing:
    """A program's score beside the zoo's, on a profile's whole search suite, from one seed.

    `table` is `summaries.summary` of "yours" and the others, the best first; `duels` are the planned comparisons of
    "yours" with `RIVALS`, paired by task and corrected by Holm (`summaries.comparisons`).
    """

    profile: str
    table: pd.DataFrame
    duels: pd.DataFrame

    @property
    def words(self) -> str:
        """The score in sentences, with profile, n, intervals and their method."""
        row = self.table.set_index("function").loc["yours"]
        ratio = stats.bracketed(*np.exp(row[["log_ratio", "log_low", "log_high"]].astype(float)))
        loss = stats.bracketed(*row[["ood_mse", "ood_low", "ood_high"]], ".3f")
        place = 1 + int((self.table["log_ratio"] < row["log_ratio"]).sum())
        duels = page.each(self.duels, "{verdict} against {function}", ", ")
        early = " After 100 steps on few tasks this says nothing yet." if self.profile == "smoke" else ""
        few = f", {stats.FEW}" if early else ""
        return (
            f"Profile {self.profile}, search suite, n = {row['n']} tasks, one seed: OOD MSE {loss}, {ratio} times "
            f"ReLU's (geometric mean; {page.WITHIN}{few}), place {place} of {len(self.table)}. "
            f"Paired by task, with Holm's correction: {duels}.{early}"
        )


def score(source: str, laboratory: Laboratory, beside: Iterable[str] | None = None, seed: int = 0) -> Standing:
    """Trains a program and the zoo on the profile's search suite, as `python -m actlab score` does.

    Losses that are in the store are read from it.

    Args:
        beside: names in the zoo; all of it by default. `RIVALS` are always added.
        seed: of initial weights and batches, common to all.

    Raises:
        ValueError: the program is refused, fails or is killed, with the reason.
    """
    finding = laboratory.evaluator.describe(check(source).source).result()
    if finding.ended != "open":
        raise ValueError(f"wanted a program that can be scored; it {finding.ended}: {finding.error}")
    beside = zoo.names() if beside is None else [zoo.entry(name).name for name in beside]
    programs = {"yours": source} | {name: zoo.program_source(name) for name in dict.fromkeys([*RIVALS, *beside])}
    losses, config = laboratory.scores(programs, "search", (seed,)), laboratory.profile.fitness
    table = summaries.summary(losses, config).sort_values("log_ratio", ignore_index=True)
    return Standing(laboratory.profile.name, table, summaries.comparisons(losses, "yours", RIVALS, config))


def save(source: str, path: Path | str, folder: Path = ROOT) -> Path:
    """Writes a program, in canonical form, as a candidate file for `python -m actlab score`; returns the file's path.

    Args:
        path: of the file, relative to the folder or in it; a missing folder is created.
        folder: below which it is written, the project's by default.

    Raises:
        Refused: the program breaks a rule.
        ValueError: the file is not below the folder, or its name does not end in .py.
        FileExistsError: a file of that name holds another text.
    """
    text, below = check(source).source + "\n", folder.resolve()
    file = (below / path).resolve()
    if file.suffix != ".py" or not file.is_relative_to(below):
        raise ValueError(f"wanted a file below {below} whose name ends in .py; got {str(path)!r}")
    if file.exists() and file.read_bytes() != text.encode():
        raise FileExistsError(f"wanted a new name; got {file.name!r}, which holds another function")
    write(file, text)
    return file


# --- pictures ---


def draw_standing(ax: Axes, standing: Standing) -> Axes:
    """Draw a score beside the zoo's: mean log ratio to ReLU with its interval, a row of 0.17 inches each."""
    columns = {"log_ratio": "estimate", "log_low": "low", "log_high": "high"}
    ax.axvline(0, color=style.colour("relu"), lw=0.8, ls="--", zorder=0)
    drawn = standing.table.rename(columns=columns).assign(paper=np.nan)
    figures.scores(ax, drawn, xlabel="mean log of OOD MSE over ReLU's (lower is better)")
    ax.get_legend().remove()
    mine = ax.get_yticklabels()[standing.table["function"].tolist().index("yours")]
    mine.set(weight="bold", color=style.colour("yours"))
    return ax


def _png(width: float, height: float, draw: Any, data: Any) -> bytes:
    style.use_style()
    figure, picture = Figure(figsize=(width, height)), io.BytesIO()
    draw(figure.subplots(), data)
    figure.savefig(picture, format="png", dpi=120)
    return picture.getvalue()


# --- the widgets ---

SLIDERS = {"amplitude": (-2.0, 2.0, 0.05), "frequency": (0.0, 10.0, 0.1), "decay": (0.0, 1.0, 0.02),
           "slope": (-1.0, 1.0, 0.02)}  # fmt: skip # of a Form: lowest, highest, step
ADDED = {"amplitude": "wave amplitude", "frequency": "wave frequency", "decay": "wave decay", "slope": "line slope"}
WIDTH, WORDS = "320px", "110px"  # of a control with its name; of the name alone


def panel(laboratory: Laboratory, live: bool | None = None) -> Any:
    """The explorer's widgets; None, with a plain message, without ipywidgets or if nobody can move them.

    `live` says whether a reader is present: by default, whether a Jupyter server runs this kernel for an open notebook.
    """
    try:
        import ipywidgets
    except ImportError:
        page.say(MISSING)
        return None
    if not ("JPY_SESSION_NAME" in os.environ if live is None else live):
        page.say(STATIC)
        return None
    return Panel(laboratory, ipywidgets, get_ipython()).root


class Panel:
    """The widgets, all in `root`. Sliders write the text, and the text defines the function.

    The kernel does one thing at a time, so that the widgets wait while a cell runs; `sign` says for which one, or what
    the panel itself is doing. `shell` is IPython's, where there is one, which tells of cells.
    """

    def __init__(self, laboratory: Laboratory, widgets: ModuleType, shell: Any = None) -> None:
        self.laboratory, self._widgets, self.source = laboratory, widgets, ""
        form, layout = Form(), widgets.Layout
        bases = [(style.label(name), name) for name in zoo.names()]
        named = {"style": {"description_width": WORDS}, "layout": layout(width=WIDTH)}
        self.base = widgets.Dropdown(options=bases, value=form.base, description="base", **named)
        self.sliders = {n: self._slider(ADDED[n], getattr(form, n), *ends) for n, ends in SLIDERS.items()}
        self.constants = widgets.VBox()  # sliders of the base's own
        self.text = widgets.Textarea(rows=4, continuous_update=False, layout=layout(width="98%"))
        fit = {"max_width": "98%", "height": "auto", "align_self": "flex-start"}
        self.curve, self.forest = (widgets.Image(format="png", layout=layout(**fit)) for _ in range(2))
        self.sign, self.about, self.verdict, self.said = (widgets.HTML() for _ in range(4))
        self.train, self.keep = (widgets.Button(description=name) for name in ("Score", "Save"))
        self.file = widgets.Text("candidates/mine.py", layout=layout(width="220px"))
        wrap, apart = layout(flex_flow="row wrap", width="100%"), layout(flex="0 0 auto")
        left = widgets.VBox([self.base, self.constants, *self.sliders.values()], layout=apart)
        buttons = widgets.HBox([self.train, self.keep, self.file], layout=layout(flex_flow="row wrap"))
        right = [self.text, buttons, self.sign, self.about, self.verdict, self.said]
        beside = widgets.VBox(right, layout=layout(flex="1 1 320px", min_width="0"))
        rows = widgets.HBox([left, beside], layout=wrap), widgets.HBox([self.curve, self.forest], layout=wrap)
        self.root = widgets.VBox(rows)
        self.base.observe(self._choose, "value")
        self.text.observe(self._look, "value")
        self.train.on_click(self._score)
        self.keep.on_click(self._save)
        self._choose()
        if shell is not None:
            shell.events.register("pre_run_cell", self._wait)
            shell.events.register("post_run_cell", lambda _: self._show_sign(""))

    def _slider(self, name: str, value: float, low: float, high: float, step: float) -> Any:
        about = {"description": name, "continuous_update": False, "readout_format": ".3g"}
        about |= {"style": {"description_width": WORDS}, "layout": self._widgets.Layout(width=WIDTH)}
        slider = self._widgets.FloatSlider(value=value, min=low, max=high, step=step, **about)
        slider.observe(self._slide, "value")
        return slider

    def _choose(self, _: Any = None) -> None:
        """Shows a slider for each constant of the base, from 0 to four times its own value."""
        own = zoo.REGISTRY[self.base.value].constants
        self.constants.children = [self._slider(name, c, 0.0, 4 * c, c / 20) for name, c in own.items()]
        self._slide()

    def _slide(self, _: Any = None) -> None:
        own = zoo.REGISTRY[self.base.value].constants
        moved = {s.description: s.value for s in self.constants.children if s.value != own[s.description]}
        waves = {name: slider.value for name, slider in self.sliders.items()}
        self.text.value = expression_of(Form(self.base.value, moved, **waves))

    def _show_sign(self, doing: str) -> None:
        self.sign.value = f"<b>{html.escape(doing)}</b>"

    @contextmanager
    def _busy(self, doing: str) -> Iterator[None]:
        self._show_sign(doing)
        try:
            yield
        finally:
            self._show_sign("")

    def _wait(self, about: Any) -> None:
        """Says which cell runs, by its first line; what the reader does meanwhile is done when no cell runs."""
        first = about.raw_cell.strip().partition("\n")[0]
        self._show_sign(f"Waiting until no cell runs; now runs: {short(first, 60)}")

    def _look(self, _: Any = None) -> None:
        """Describes and draws the function in the text, and removes what was said of the one before."""
        self.verdict.value = self.said.value = ""
        with self._busy("Checking and drawing."):
            look = describe(self.text.value, self.laboratory)
            is_open = look.curve is not None
            self.source, self.about.value = look.source, html.escape(look.words)
            self.train.disabled = self.keep.disabled = not is_open
            self._show(self.curve, _png(4.2, 2.4, figures.functions, look.curve) if is_open else b"")
            self._show(self.forest, b"")

    def _show(self, image: Any, picture: bytes) -> None:
        image.value, image.layout.display = picture, "block" if picture else "none"

    def _score(self, _: Any) -> None:
        self.train.disabled = True
        with self._busy("Training; the zoo, too, where this is the first time, which takes a minute."):
            try:
                standing = score(self.source, self.laboratory)
            except ValueError as error:  # it passed the probes, and not the training
                self.verdict.value = html.escape(str(error))
            else:
                self.verdict.value = html.escape(standing.words)
                self._show(self.forest, _png(4.6, 0.5 + 0.17 * len(standing.table), draw_standing, standing))
            finally:
                self.train.disabled = False

    def _save(self, _: Any) -> None:
        try:
            path = save(self.source, self.file.value, ROOT)
        except (ValueError, OSError) as error:
            self.said.value = html.escape(str(error))
        else:
            told = command("score", path, "--profile", self.laboratory.profile.name)
            self.said.value = f"<code>{html.escape(told)}</code>"
