import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import papermill
import pytest
import torch
from messages_server import KEY, asked, message, rewrite, serving

from actlab import activations
from actlab.core import records, sources
from actlab.core.config import profile
from actlab.core.records import Store
from actlab.scoring.laboratory import Laboratory
from actlab.search import runs, selection
from actlab.search.archive import Archive, ArchiveError, Entry, Move, source_hash
from actlab.search.proposers.answers import Live, Replayed, client
from actlab.search.proposers.claude import Claude
from actlab.search.proposers.grammar import Grammar
from actlab.search.proposers.models import read_models
from actlab.search.proposers.recording import Recording
from actlab.studies import trust

pytestmark = pytest.mark.usefixtures("warm_sandboxes")

SMOKE = profile("smoke")
QUICK = replace(SMOKE, lab=replace(SMOKE.lab, steps=20))
SILU = "def activation(x):\n    return x / (1 + torch.exp(-x))"
CUBE = "def activation(x):\n    return x + 0.1 * x ** 3"


def entry(id, round, source, operator, parents, ended, fitness=None, pointwise=True, island=0, **more):
    known = ended not in ("refused", "failed", "unanswered")
    traits = {"pointwise": pointwise, "oscillations": 0}
    description = {"traits": traits, "flops": 10.0, "flops_gelu": 1.0, "fingerprint": str(id)} if known else None
    about = {"id": id, "round": round, "island": island, "cell": "a" if known else None, "source": source}
    about |= {"source_hash": source_hash(source), "fingerprint": str(id) if known else None, "operator": operator}
    about |= {"author": "grammar" if round else "", "title": "", "rationale": "", "parents": parents, "ended": ended}
    losses = None if fitness is None else {"ood_mse": [0.1 * float(np.exp(-fitness))] * 4, "interval": [0.0, 1.0]}
    return Entry(**about | {"score": losses, "description": description, "fitness": fitness} | more)


def bill(model, usd):
    """A model's row in the books of live calls."""
    return {"model": model, "input": 100, "output": 20, "cache_write": 3, "cache_read": 0, "usd": usd, "origin": "live"}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run written by hand: ReLU, then seven candidates in two rounds on two islands, two of them new bests."""
    path = tmp_path_factory.mktemp("run") / "run.sqlite"
    relu = activations.program_source("relu")
    with Archive(path) as archive:
        archive.begin(seed=0)
        start = [Move(0, 0, "a", 0, "start"), Move(0, 1, "a", 0, "start")]
        archive.add_round([entry(0, 0, relu, "start", (), "scored", 0.0)], start)
        archive.add_round(
            [
                entry(1, 1, SILU, "grow", (0,), "scored", 0.4),
                entry(2, 1, SILU + " ", "swap", (0,), "duplicate", duplicate_of=1, island=1),
                entry(3, 1, "nonsense", "swap", (0,), "refused", error="line 1: not Python"),
            ],
            [Move(1, 0, "a", 1, "born"), Move(1, 1, "a", 1, "migrated")],
        )
        archive.add_round(
            [
                entry(4, 2, CUBE, "grow+perturb", (1, 0), "scored", 0.9, pointwise=False, cell="b", author="other"),
                entry(5, 2, CUBE + " ", "perturb", (0,), "dropped", island=1),
                entry(6, 2, "def activation(x):\n    return x", "perturb", (1,), "scored", 0.2),
                entry(7, 2, "", "rewrite", (1,), "unanswered", error="refusal", author="other", island=1),
            ],
            [Move(2, 0, "b", 4, "born"), Move(2, 1, None, None, "reset"), Move(2, 1, "b", 4, "seeded")],
        )
    return path


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    with Laboratory(QUICK, workers=1, store=Store(tmp_path_factory.mktemp("records"))) as one:
        yield one


def test_only_candidates_that_were_trained_count_as_evaluations(run):
    assert [e.id for e in runs.trained(runs.entries(run))] == [1, 4, 5, 6]


def test_endings_are_counted_by_operator_and_in_all(run):
    table = runs.endings(run).set_index("operator")
    assert table.loc["all"].to_dict() == {
        "scored": 3, "dropped": 1, "duplicate": 1, "refused": 1, "failed": 0, "killed": 0, "unanswered": 1, "total": 7,
    }  # fmt: skip
    assert table.loc["swap", ["duplicate", "refused", "total"]].tolist() == [1, 1, 2]
    assert table.loc["two at once", "total"] == 1


def test_the_loop_has_this_runs_counts(run):
    table = runs.loop(run, QUICK).set_index("component")
    assert table["counts"].to_dict() == {
        "Database": "8 programs with ReLU",
        "Proposer": "7 proposals in 2 rounds",
        "Check": "1 stopped, 1 duplicates",
        "Race": "4 started, 1 dropped",
        "Training": "3 trained in full",
        "Fitness": "2 times a new best",
    }
    assert table.loc["Proposer", "role"] == "grammar, other"
    whole = replace(QUICK, search=replace(QUICK.search, race=False))
    assert runs.loop(run, whole).set_index("component").loc["Race", "role"] == "none: all are trained in full"


def test_a_lineage_runs_from_relu_to_the_program_that_is_asked_for(run):
    table = runs.lineage(run, 4)
    assert table["id"].tolist() == [0, 1, 4]
    assert table["pointwise"].tolist() == [True, True, False]
    assert table["program"].iloc[-1] == "x + 0.1 * x ** 3"
    assert runs.lineage(run, 6)["id"].tolist() == [0, 1, 6]


def test_the_tree_places_a_parent_over_the_middle_of_its_children(run):
    table = runs.tree(run, 4).set_index("id")
    assert table.index.tolist() == [0, 1, 4, 6]  # the scored ones alone
    assert table["parent"].tolist() == [pd.NA, 0, 1, 1]
    assert table["generation"].tolist() == [0, 1, 2, 2]
    assert table["place"].tolist() == [0.5, 0.5, 0.0, 1.0]
    assert table["line"].tolist() == [True, True, True, False]


def test_a_tree_may_have_several_roots(tmp_path):
    path = tmp_path / "run.sqlite"
    with Archive(path) as archive:
        archive.add_round([entry(0, 0, SILU, "start", (), "scored", 0.0)], [Move(0, 0, "a", 0, "start")])
        archive.add_round([entry(1, 1, CUBE, "scratch", (), "scored", 0.1)], [Move(1, 0, "a", 1, "born")])
    table = runs.tree(path, 1)
    assert table["generation"].tolist() == [0, 0]
    assert table["place"].tolist() == [0, 1]
    assert table["line"].tolist() == [False, True]


def test_the_islands_are_told_round_by_round(run):
    table = runs.over_time(run)
    assert table.to_numpy().tolist() == [
        [0, 0, 0.0, 1, ""],
        [0, 1, 0.0, 1, ""],
        [1, 0, 0.4, 1, ""],
        [1, 1, 0.4, 1, "migrated"],
        [2, 0, 0.9, 2, ""],
        [2, 1, 0.9, 1, "reset"],
    ]


def test_a_round_in_which_nothing_moved_is_told_too(tmp_path):
    path = tmp_path / "run.sqlite"
    with Archive(path) as archive:
        archive.add_round([entry(0, 0, SILU, "start", (), "scored", 0.0)], [Move(0, 0, "a", 0, "start")])
        archive.add_round([entry(1, 1, CUBE, "grow", (0,), "dropped")])
    assert runs.over_time(path)["round"].tolist() == [0, 1]


def test_authors_are_told_with_what_they_brought_and_cost(run):
    table = runs.authors(run, [bill("other", 0.25)]).set_index("author")
    assert table.index.tolist() == ["other", "grammar"]  # by what they gained
    assert table.loc["grammar"].tolist() == [5, 3, 1, pytest.approx(0.4), 0, 0.0, "asks nobody"]
    assert table.loc["other"].tolist() == [2, 1, 1, pytest.approx(0.5), 123, 0.25, "live"]


def test_an_author_that_was_paid_for_a_round_that_is_not_done_is_told_too(run):
    table = runs.authors(run, [bill("late", 0.5)]).set_index("author")
    assert table.loc["late"].tolist() == [0, 0, 0, 0.0, 123, 0.5, "live"]
    assert set(table.index) == {"late", "other", "grammar"}


def test_a_cost_that_is_not_known_is_missing_and_never_0(run):
    table = runs.authors(run).set_index("author")
    assert table.loc["other", ["tokens", "usd"]].isna().all()
    assert table.loc["other", "answers"] == "unknown"
    assert table.loc["grammar", ["tokens", "usd"]].tolist() == [0, 0.0]
    free = runs.authors(run, free=("grammar", "other")).set_index("author")
    assert free.loc["other", ["tokens", "usd", "answers"]].tolist() == [0, 0.0, "asks nobody"]


def test_a_replay_costs_nothing_and_says_whose_answers_it_took(run):
    found, by_hand = runs.read(run), [{"recording": "a", "origin": "hand-written"}]
    table = runs.authors_of(found, replayed=by_hand).set_index("author")
    assert table.loc["other", ["tokens", "usd", "answers"]].tolist() == [0, 0.0, "replayed, hand-written"]
    assert table.loc["grammar", "answers"] == "asks nobody"
    both = runs.authors_of(found, [bill("other", 0.25)], by_hand).set_index("author")
    assert both.loc["other", ["tokens", "usd", "answers"]].tolist() == [123, 0.25, "replayed, hand-written; live"]


@pytest.fixture
def odd(tmp_path):
    """A run whose programs were made from some that were never scored, as a proposer of one's own may make them."""
    with Archive(tmp_path / "run") as archive:
        archive.add_round([entry(0, 0, SILU, "start", (), "scored", 0.0)], [Move(0, 0, "a", 0, "start")])
        archive.add_round([entry(1, 1, "def f(:", "x", (0,), "refused", error="?"), entry(2, 1, "", "x", (), "failed")])
        archive.add_round([entry(3, 2, CUBE, "x", (1,), "scored", 0.1), entry(4, 2, CUBE, "x", (2,), "scored", 0.2)])
    return tmp_path / "run"


def test_descent_through_programs_that_were_not_scored_is_told(odd):
    table = runs.tree(odd, 3).set_index("id")
    assert table["parent"].tolist() == [pd.NA, 0, pd.NA]
    assert table["generation"].tolist() == [0, 1, 0]
    assert table["line"].tolist() == [True, True, False]
    line = runs.lineage(odd, 3)
    assert line["id"].tolist() == [0, 1, 3]
    assert line["program"].tolist()[1] == "def f(:"
    assert line.loc[1, ["fitness", "pointwise", "oscillations", "flops_gelu"]].isna().all()


def test_a_run_before_its_first_round_is_one_line(tmp_path):
    Archive(tmp_path / "run").close()
    for ask in (runs.read, runs.over_time, runs.authors, runs.endings):
        with pytest.raises(ArchiveError, match="wanted a run with programs; got one that has not trained ReLU yet"):
            ask(tmp_path / "run")


def test_the_final_choice_is_made_by_the_rule(run):
    assert runs.final(run, QUICK.fitness).id == 4


def test_the_trace_follows_the_best_on_search_and_held_out_tasks(run, lab):
    trace = runs.trace(lab, run)
    assert trace["evaluation"].tolist() == [0, 1, 2, 3, 4]
    assert trace["best"].tolist() == [0, 1, 4, 4, 4]
    assert trace["search"].tolist() == [0.0, 0.4, 0.9, 0.9, 0.9]
    assert trace["pointwise"].tolist() == [True, True, False, False, False]
    np.testing.assert_array_equal(trace["fitness"], [0.0, 0.4, 0.9, np.nan, 0.2])
    expected = lab.evaluator.submit(SILU, "held-out", QUICK.lab).result()
    row = trace.iloc[1]
    assert row["held_out"] == pytest.approx(expected.fitness)
    assert (row["low"], row["high"]) == pytest.approx(expected.interval)
    assert trace["held_out"].iloc[0] == 0
    assert trace.loc[trace["parts"], "id"].tolist() == overfit(run, lab)


def overfit(run, lab):
    """The new bests that are surely worse on the held-out suite than the one before; of this run, there are some."""
    table = selection.overfit_steps(lab, selection.leaders(runs.entries(run)))
    flagged = table.loc[table["high"] < 0, "id"].tolist()
    assert 0 < len(flagged) < len(table)
    return flagged


def test_every_elite_is_listed_with_its_fitness_on_both_suites(run, lab):
    table = runs.transfer(lab, run).set_index("id")
    assert table.index.tolist() == [0, 1, 4]
    assert table["led"].tolist() == [True, True, True]
    assert table["final"].tolist() == [False, False, True]
    assert table["fitness"].tolist() == [0.0, 0.4, 0.9]
    assert table.index[table["parts"]].tolist() == overfit(run, lab)
    two_a_family = (0, 1, 4, 5, 8, 9, 12, 13)  # as many as the search suite has
    expected = lab.evaluator.submit(SILU, "held-out", QUICK.lab, chosen=two_a_family).result()
    assert sorted(expected.families) == sorted(lab.suites["search"].families)
    assert table.loc[1, "held_out"] == pytest.approx(expected.fitness, rel=1e-4)
    assert table.loc[1, ["low", "high"]].tolist() == pytest.approx(expected.interval, rel=1e-4)


def test_rediscovered_functions_are_told_by_their_values(run, lab, tmp_path):
    names = lab.descriptions(["silu"])
    path = tmp_path / "run.sqlite"
    with Archive(path) as archive:
        archive.begin(seed=0)
        for e in runs.entries(run):
            found = names["fingerprint"][0] if e.id == 1 else e.fingerprint
            archive.add_round([replace(e, fingerprint=found)])
    table = runs.rediscovered(lab, path)
    assert table[["function", "id"]].to_numpy().tolist() == [["silu", 1]]


def test_one_line_shows_what_is_returned_or_the_whole_source():
    assert runs.one_line(SILU) == "x / (1 + torch.exp(-x))"
    assert runs.one_line("def activation(x):\n    y = x\n\n    return y") == "def activation(x):; y = x; return y"
    for refused in ("def f(:", "x\0", "-" * 9000 + "x", "(" * 900, "def activation(x):\n    return"):
        assert runs.one_line(refused) == "; ".join(line.strip() for line in refused.splitlines())


def test_curves_are_a_functions_values_and_slopes_in_the_batch_it_stands_in(lab):
    x, batch = np.linspace(-2, 2, 5), np.random.default_rng(0).standard_normal((8, 4))
    table = trust.curves(lab, ["sine", "turbulent"], x, batch)
    sine = table[table["function"] == "sine"]
    np.testing.assert_allclose(sine["y"], np.sin(x))
    np.testing.assert_allclose(sine["slope"], np.cos(x))
    moved = torch.from_numpy(batch.copy())
    moved[0, 1] = x[3]
    expected = activations.turbulent(moved)[0, 1].item()
    assert table[table["function"] == "turbulent"]["y"].iloc[3] == pytest.approx(expected)


def test_a_runs_settings_and_sources_are_part_of_it(lab, tmp_path):
    quick = replace(QUICK, search=replace(QUICK.search, evaluations=2, round_size=2, islands=2))
    with Laboratory(quick, workers=1, store=lab.store) as one:
        _, path = runs.run_search(one, 0, tmp_path / "run.sqlite")
    with Archive(path, read_only=True) as archive:
        about = archive.meta()["about"]
    assert about.keys() == {"tasks", "fitness", "limits"}
    assert json.dumps(about["tasks"])


def test_a_run_of_another_proposer_needs_a_file_of_its_own(lab):
    with pytest.raises(ValueError, match="wanted a file for the run of Grammar"):
        runs.run_search(lab, 0, proposer=Grammar())


# --- a run that was made before ---

MODEL = read_models()["claude-haiku-5-5"]
FEW = replace(QUICK, search=replace(QUICK.search, evaluations=4, round_size=4, islands=2))


@pytest.fixture(scope="module")
def modelled(lab, tmp_path_factory):
    """A search whose programs came from a server's models, and a replay of it: the lab and both files."""
    folder = tmp_path_factory.mktemp("modelled")

    def respond(body, _):
        return message(rewrite(f"def activation(x):\n    return x + torch.sin({asked(body).split()[1]} * x)"))

    with (
        Laboratory(FEW, workers=1, store=lab.store) as few, serving(respond) as server,
        client(KEY, server.url) as asking, Recording(folder / "run.answers") as recording,
    ):  # fmt: skip
        for name, answers in (("run", Live(asking, recording, (MODEL,), 1.0)), ("replay", Replayed(recording))):
            runs.run_search(few, 3, folder / name, Claude(answers, (MODEL,)), bind=answers.bind)
        yield few, folder / "run", folder / "replay"


def test_a_runs_own_settings_and_seed_are_read_from_it(modelled):
    _, run, _ = modelled
    assert runs.settings(run, QUICK) == (FEW, 3)


def test_a_run_of_another_profile_or_other_code_is_not_told_as_one_of_this(modelled, run, monkeypatch):
    _, path, _ = modelled
    with pytest.raises(ValueError, match="wanted a run with the lab of profile smoke, as of now; got another"):
        runs.settings(path, SMOKE)
    with pytest.raises(ValueError, match="wanted a run with the tasks of profile smoke"):
        runs.settings(run, QUICK)  # which tells nothing of itself
    monkeypatch.setitem(sources.SOURCES, records.PROTOCOLS["search"].canary, b"other = 1")
    monkeypatch.setattr(records.Family, "values", lambda self: {"moved": 1.0})
    with pytest.raises(records.ChangedCode, match="search: the canary is another one"):
        runs.settings(path, QUICK)


def test_a_run_is_read_as_the_search_had_returned_it(modelled, tmp_path):
    few, _, _ = modelled
    result, path = runs.run_search(few, 0, tmp_path / "run")
    assert runs.result(path) == result
    Archive(tmp_path / "empty").close()
    with pytest.raises(ArchiveError, match="has not trained ReLU yet"):
        runs.result(tmp_path / "empty")


def test_a_replayed_run_is_told_as_the_recorded_one_with_what_its_recording_had_cost(modelled):
    few, run, replay = modelled
    assert runs.result(replay) == runs.result(run)
    for table in (runs.trace, runs.transfer):
        pd.testing.assert_frame_equal(table(few, replay), table(few, run))
    record = run.with_name("run.answers")
    assert runs.bills(run) == runs.bills(replay, record)  # which stands beside the run alone
    assert runs.bills(replay) == []
    (author,) = runs.authors(replay, runs.bills(replay, record)).to_dict("records")
    assert (author["answers"], author["author"], author["proposals"]) == ("live", MODEL.name, 4)
    assert (author["tokens"], author["usd"]) == (4 * 150, pytest.approx(4 * (100 * 0.1 + 50 * 0.5) / 1e6))


def test_the_search_notebook_takes_a_run_and_its_recording():
    notebook = Path(__file__).parents[2] / "notebooks" / "05_search.ipynb"
    known = papermill.inspect_notebook(str(notebook))
    assert {known[name]["default"] for name in ("run", "record")} == {'""'}
