"""Where results live and what they were made from: paths anchored on the checkout, tables with provenance."""

from __future__ import annotations

import hashlib
import importlib
import io
import json
import logging
import math
import os
import platform
import re
import subprocess
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, is_dataclass
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from actlab.core import files
from actlab.core.files import Damaged
from actlab.core.sources import PACKAGE, code_hash

if TYPE_CHECKING:
    import pandas as pd

J = TypeVar("J", bound="Job")

ROOT = Path(os.environ.get("ACTLAB_ROOT", PACKAGE.parent)).resolve()
BUILD = ROOT / "build"


def records_folder(name: str, profile: str = "laptop") -> Path:
    """Where a long run's records go: a committed folder for laptop, the build folder for all other profiles."""
    return ROOT / "records" / name if profile == "laptop" else BUILD / profile / "records" / name


def figures_folder(profile: str) -> Path:
    """Where a profile's figures go: the committed folder for laptop alone, the build folder for all others."""
    return ROOT / "figures" if profile == "laptop" else BUILD / profile / "figures"


def versions() -> dict[str, str]:
    """The versions on which a number may hang."""
    packages = {name: version(name).split("+")[0] for name in ("torch", "numpy", "scipy")}
    return {"python": platform.python_version(), **packages}


def table(folder: Path, name: str, **options: Any) -> pd.DataFrame:
    """A table of a folder of figures, as it was written there; `options` are those of pandas.read_csv.

    Raises:
        FileNotFoundError: where it is not there.
        Damaged: where it is not as it was written.
    """
    import pandas as pd

    path = folder / f"{name}.csv"
    if not path.is_file():
        raise FileNotFoundError(f"{path}: wanted a table of the laptop profile, made by make reproduce; came none")
    return pd.read_csv(io.BytesIO(read_figure(path)), **options)


def read_figure(path: Path) -> bytes:
    """What a file of a folder of figures holds; raises Damaged where it is not as it was written."""
    anew = "`make bench`" if path.name.startswith("bench_") else "`make clean`, then `make reproduce`"
    return files.read(path, f"{_restored(path)}; {anew} makes it anew")


def _restored(path: Path) -> str:
    return f"If it is committed, `git checkout -- {path}` restores it"


def digest(description: Mapping[str, Any]) -> str:
    """Hash of a description, the same on every machine."""
    text = json.dumps(description, sort_keys=True, default=_plain)
    return hashlib.sha256(text.encode()).hexdigest()


def _plain(value: Any) -> Any:
    if is_dataclass(value) and not isinstance(value, type):
        return asdict(value)
    raise TypeError(f"wanted numbers, strings, lists, dicts or dataclasses in a record's description; got {value!r}")


@cache
def commit() -> str | None:
    """The checkout's commit, with a + where files differ from it; None where there is no checkout."""
    git = ["git", "-C", str(ROOT), "describe", "--always", "--abbrev=40", "--dirty=+"]
    try:
        done = subprocess.run(git, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return None
    return done.stdout.strip() or None


# --- what still stands --------------------------------------------------------------------------

LOG = logging.getLogger("actlab.core.records")
TOLERANCE = 1e-10  # relative; in float64 vector widths and chunks move a canary by 2e-16, a beta of Adam's by 4e-9


@dataclass(frozen=True)
class Family:
    """Records of one kind, which a change of the code changes together.

    A record is kept under what was asked, never under the code that answered. Whether other code would still give the
    same answer is told by the family's canary: a tiny run of that code, whose numbers are kept beside the records.
    """

    name: str
    protocol: int  # part of every key; raised by hand where the meaning of the records changes, which makes all anew
    canary: str  # module of this package whose `values()` is that run; the family's code is what it imports

    def key(self, description: Mapping[str, Any]) -> str:
        """Hash of what was asked, as plain data or dataclasses."""
        return digest({**description, "family": self.name, "protocol": self.protocol})

    def made(self) -> dict[str, Any]:
        """The code and the versions of this process, which stand beside records as their origin."""
        return {"protocol": self.protocol, "code": code_hash(self.canary), "versions": versions()}

    def mark(self) -> str:
        """Twelve digits for `made`."""
        return digest({"family": self.name, **self.made()})[:12]

    def run(self) -> dict[str, Any]:
        """The canary's numbers and words, made now."""
        _RUNNING.add(self.canary)
        try:
            return importlib.import_module(f"{PACKAGE.name}.{self.canary.replace('/', '.')}").values()
        finally:
            _RUNNING.discard(self.canary)

    def values(self) -> dict[str, Any]:
        """The canary's numbers and words, made once by each code and versions; none within the canary itself."""
        return {} if self.canary in _RUNNING else _values(self.name, self.mark())


PROTOCOLS = {
    family.name: family
    for family in (
        Family("lab", 1, "studies/lab_canary"),
        Family("multiverse", 1, "studies/multiverse_canary"),
        Family("search", 1, "search/canary"),
        Family("generality", 1, "studies/generality_canary"),
        Family("transfer", 1, "transfer/canary"),
    )
}


@cache
def _values(family: str, mark: str) -> dict[str, Any]:
    path = BUILD / "canaries" / f"{family}-{mark}.json"
    try:
        return files.json_object(path, files.read(path, ""))
    except Damaged:  # or not there yet
        files.drop_damaged_manifest(path.parent)
        files.write(path, json.dumps(PROTOCOLS[family].run(), indent=0) + "\n", noted=True)
    return files.json_object(path, path.read_bytes())


_RUNNING: set[str] = set()  # canaries under way, whose own checkpoints need none


# No record holds an interval of a mean, which follows from its losses; canaries of earlier code told of some.
INTERVALS = re.compile(r"(^| )(saved_)?(low|high)( True| False)?( size| sum)?$")


def drift(then: Mapping[str, Any], now: Mapping[str, Any]) -> float:
    """The largest relative difference between two runs of a canary; infinity where words differ or names have gone.

    Names of `INTERVALS` do not count, nor those that came later, so that a canary may grow.
    """
    then = {name: values for name, values in then.items() if not INTERVALS.search(name)}
    if then.keys() - now.keys():
        return math.inf
    largest = 0.0
    for name, old in then.items():
        new = now[name]
        if isinstance(old, str) or isinstance(new, str) or not (math.isfinite(old) and math.isfinite(new)):
            largest = max(largest, 0.0 if str(old) == str(new) else math.inf)
        elif old != new:
            largest = max(largest, abs(new - old) / max(abs(old), abs(new)))
    return largest


class ChangedCode(RuntimeError):
    """The code computes something else than what made the records."""


class Canaries:
    """The canaries of those who made the records of a folder, one file a family and maker, `FAMILY-MARK.json`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def keep(self, family: str) -> str:
        """Writes what this process is, where it is not there yet, and returns its mark."""
        path = self._path(family, PROTOCOLS[family].mark())
        if not path.exists() and PROTOCOLS[family].canary not in _RUNNING:
            about = PROTOCOLS[family].made() | {"values": PROTOCOLS[family].values()}
            files.write(path, json.dumps(about, indent=0, sort_keys=True) + "\n", noted=True)
        return PROTOCOLS[family].mark()

    def read(self, family: str, mark: str) -> dict[str, Any]:
        """Protocol, code and versions of a maker, and the values of its canary."""
        path = self._path(family, mark)
        return files.json_object(path, files.read(path, f"{_restored(path)}, else its records have to be made anew"))

    def drift(self, family: str, mark: str) -> float:
        """How far this process's canary is from a maker's; 0 without a run where it is the same code and versions."""
        if mark == PROTOCOLS[family].mark():
            return 0.0
        if not self._path(family, mark).exists():
            return math.inf
        return drift(self.read(family, mark)["values"], PROTOCOLS[family].values())

    def stand(self, family: str, marks: Iterable[str]) -> bool:
        """Whether what these makers wrote is what this process would write; says so in a line where it is not."""
        found = max((self.drift(family, mark) for mark in marks), default=0.0)
        if found > TOLERANCE:
            LOG.warning("%s", changed(family, found))
        return found <= TOLERANCE

    def demand(self, family: str, marks: Iterable[str]) -> None:
        """The same, for records that nobody makes anew unasked.

        Raises:
            ChangedCode: where they do not stand.
        """
        found = max((self.drift(family, mark) for mark in marks), default=0.0)
        if found > TOLERANCE:
            raise ChangedCode(changed(family, found))

    def _path(self, family: str, mark: str) -> Path:
        return self.folder / f"{family}-{mark}.json"


def changed(family: str, by: float) -> str:
    """What to do where a family's canary has moved."""
    how = "is another one" if math.isinf(by) else f"moved by {by:.1g}"
    return (
        f"{family}: the canary {how}, so this code computes something else than what made the records: mend it, or "
        f"raise the family's protocol ({PROTOCOLS[family].protocol}) to have them made anew"
    )


# --- stores ---------------------------------------------------------------------------------------


class Store:
    """Tables on disk, each under what was asked, the `family` of `PROTOCOLS` among it, which stands beside it as JSON.

    What was made by code that computed something else, as its canary tells, is not there.
    """

    def __init__(self, folder: Path = BUILD / "records") -> None:
        self.folder, self.canaries = folder, Canaries(folder / "canaries")

    def get(self, description: Mapping[str, Any], compute: Callable[[], pd.DataFrame]) -> pd.DataFrame:
        """The table of that description: as it was kept, else computed and kept."""
        table = self.load(description)
        if table is None:
            table = compute()
            self.save(description, table)
        return table

    def load(self, description: Mapping[str, Any]) -> pd.DataFrame | None:
        """The table of that description, or None where there is none, or none that is as it was written."""
        import pandas as pd

        path, beside = self._path(description), self._path(description).with_suffix(".json")
        if not (path.exists() and beside.exists()):
            return None
        try:
            about, data = files.json_object(beside, beside.read_bytes()), path.read_bytes()
            if about.pop("hash", None) != digest(about):
                raise Damaged(f"{beside}: wanted what its hash says; came something else")
            if about["file"] != files.mark(data):
                raise Damaged(f"{path}: wanted {about['file']}; came {files.mark(data)}")
            stands = self.canaries.stand(description["family"], [about["mark"]])
        except Damaged as error:
            LOG.warning("%s; it is made anew", error)
            files.drop_damaged_manifest(self.canaries.folder)
            return None
        return pd.read_parquet(io.BytesIO(data)) if stands else None

    def save(self, description: Mapping[str, Any], table: pd.DataFrame) -> None:
        """Writes a table, with description, mark and commit beside it; one that is cut off is never loaded."""
        path, family = self._path(description), description["family"]
        provenance = {**description, "mark": self.canaries.keep(family), "commit": commit()}
        with files.writing(path.with_suffix(".json"), path) as (beside, partial):
            table.to_parquet(partial)
            provenance["file"] = files.mark(partial.read_bytes())
            provenance["hash"] = digest(provenance)
            beside.write_text(json.dumps(provenance, sort_keys=True, indent=1, default=_plain) + "\n")

    def _path(self, description: Mapping[str, Any]) -> Path:
        name = PROTOCOLS[description["family"]].key(description)
        return self.folder / name[:2] / f"{name}.parquet"


class Job(Protocol):
    """What a long run does once: `identity` tells it from the others of its run, `key` is all that was asked."""

    @property
    def identity(self) -> Mapping[str, Any]:
        """Values of the columns that tell it from the others."""

    @property
    def key(self) -> str:
        """Hash of what was asked, such as `Family.key` gives."""


class Records:
    """The records of a long run in one folder, which are committed together.

    `jobs.csv` has a row a job: its identity, its key, the mark of who made it. `about.json` has command, versions and
    marks. The other files are tables, whose rows carry the identity of their job and stand in that order, whatever the
    order in which jobs ended. Several processes may write.

    Args:
        folder: of the files; the canaries lie beside it.
        family: of the records.
        identity: columns that tell a job from the others.
        tables: by file name, `.csv` or `.parquet` (numbers then in float32), the columns.
        digits: of a number in a CSV.
    """

    def __init__(
        self, folder: Path, family: str, identity: Sequence[str], tables: Mapping[str, Sequence[str]], digits: int = 9
    ) -> None:
        self.folder, self.family, self.identity, self.digits = folder, family, list(identity), digits
        self.canaries = Canaries(folder.parent / "canaries")
        named = {"jobs.csv": dict.fromkeys([*identity, "key", "mark"]), **tables}
        self._columns = {name.partition(".")[0]: list(columns) for name, columns in named.items()}
        self._paths = {name.partition(".")[0]: folder / name for name in named}
        self._tables: dict[str, pd.DataFrame] = {}

    @property
    def about(self) -> dict[str, Any]:
        """Command, versions and marks of what made the records, and what else the run noted.

        Raises:
            FileNotFoundError: where the run has not ended.
        """
        path = self.folder / "about.json"
        if not path.exists():
            raise FileNotFoundError(f"{self.folder}: wanted about.json, which a run writes at its end; found none")
        return files.json_object(path, self._whole(path))

    @property
    def jobs(self) -> pd.DataFrame:
        """The jobs that are there: identity, key, mark."""
        return self.table("jobs")

    def table(self, name: str) -> pd.DataFrame:
        """A table, as it was when it was first asked for; empty where no job wrote one."""
        if name not in self._tables:
            self._tables[name] = self._read(name)
        return self._tables[name]

    def demand(self) -> None:
        """Makes sure that this code computes what the records hold.

        Raises:
            ChangedCode: where the family's canary has moved since they were made.
        """
        self.canaries.demand(self.family, self.jobs["mark"].unique())

    def missing(self, wanted: Sequence[J]) -> list[J]:
        """The jobs that are not there as they are asked for now.

        Raises:
            ChangedCode: as `demand`.
        """
        self.demand()
        kept = set(self.jobs["key"])
        return [job for job in wanted if job.key not in kept]

    def add(
        self, made: Iterable[tuple[Job, Mapping[str, pd.DataFrame]]], whole: Mapping[str, pd.DataFrame] | None = None
    ) -> None:
        """Enters jobs and their rows in the place of older ones; a write that is cut off leaves the old files.

        What other processes have entered meanwhile is read again, under a lock, and stays. A job counts when it is in
        `jobs.csv`, which is written last.

        Args:
            made: jobs and, by table, their rows; what these lack of the identity is added.
            whole: tables that are written as they are, in place of the old ones.
        """
        import pandas as pd

        made, mark = list(made), self.canaries.keep(self.family)
        rows = [{**job.identity, "key": job.key, "mark": mark} for job, _ in made]
        fresh: dict[str, list[pd.DataFrame]] = {"jobs": [pd.DataFrame(rows, columns=self._columns["jobs"])]}
        for job, tables in made:
            for name, table in tables.items():
                fresh.setdefault(name, []).append(table.assign(**job.identity)[self._columns[name]])
        with files.locked(self.folder / ".lock"):
            for name, parts in sorted(fresh.items(), key=lambda item: item[0] == "jobs"):
                old, new = self._read(name), pd.concat(parts, ignore_index=True)
                stays = ~old.set_index(self.identity).index.isin(fresh["jobs"][0].set_index(self.identity).index)
                both = [part for part in (old[stays], new) if len(part)] or [new]
                joined = pd.concat(both, ignore_index=True)
                self._write(name, joined.sort_values(self.identity, kind="stable", ignore_index=True))
            for name, table in (whole or {}).items():
                self._write(name, table)

    def note(self, about: Mapping[str, Any]) -> None:
        """Writes what the records were made from, with versions and marks."""
        noted = {**about, "versions": versions(), "marks": sorted(self.jobs["mark"].unique())}
        text = json.dumps(noted, sort_keys=True, indent=1, default=_plain)
        files.write(self.folder / "about.json", text + "\n", noted=True)

    def _read(self, name: str) -> pd.DataFrame:
        import pandas as pd

        path = self._paths[name]
        if not path.exists() and path.name not in files.manifest(self.folder):
            return pd.DataFrame(columns=self._columns[name])
        data = io.BytesIO(self._whole(path))
        if path.suffix == ".parquet":
            table = pd.read_parquet(data)
            return table.astype(dict.fromkeys(table.select_dtypes("float32").columns, "float64"))
        words = {"key": str, "mark": str}  # some digests read as a number, such as 3e4971315396
        return pd.read_csv(data, keep_default_na=False, na_values={"value": [""], "fitness": [""]}, dtype=words)

    def _whole(self, path: Path) -> bytes:
        return files.read(path, f"{_restored(path)}; without {self.folder} the same run makes all of it anew")

    def _write(self, name: str, table: pd.DataFrame) -> None:
        with files.writing(self._paths[name], noted=True) as (partial,):
            if self._paths[name].suffix == ".parquet":
                small = table.astype(dict.fromkeys(table.select_dtypes("float64").columns, "float32"))
                small.to_parquet(partial, index=False, compression="zstd")
            else:
                table.to_csv(partial, index=False, float_format=f"%.{self.digits}g", lineterminator="\n")
        self._tables.pop(name, None)
