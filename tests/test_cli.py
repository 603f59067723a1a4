import contextlib
import gc
import importlib
import io
import json
import math
import re
import shlex
import sqlite3
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from types import SimpleNamespace

import messages_server as service
import pytest

from actlab.__main__ import VERBS, main
from actlab.core import config, jobs, records
from actlab.scoring.evaluator import Evaluator, Score
from actlab.scoring.laboratory import Laboratory
from actlab.search import archive, selection
from actlab.search.archive import Archive
from actlab.studies import gpu_lab

pytestmark = pytest.mark.usefixtures("warm_sandboxes")

PROGRAM = "def activation(x):\n    return x + torch.sin(x) ** 2\n"


@pytest.fixture
def candidate(tmp_path):
    path = tmp_path / "candidate.py"
    path.write_text(PROGRAM)
    return str(path)


@pytest.fixture(autouse=True)
def no_key(monkeypatch):
    for name in ("ANTHROPIC_API_KEY", "ANTHROPIC_AUTH_TOKEN", "ANTHROPIC_BASE_URL"):
        monkeypatch.delenv(name, raising=False)


def test_check_accepts_a_valid_program_and_says_what_it_is(candidate, capsys):
    assert main(["check", candidate]) == 0
    out = capsys.readouterr().out
    assert out.startswith("ok: ")
    assert "parity neither" in out


@pytest.mark.parametrize(
    ("source", "said"),
    [("import os\ndef activation(x):\n    return x", "refused: line 1: import of os"),
     ("def activation(x):\n    return torch.log(x)", "failed: wanted finite values")],
)  # fmt: skip
def test_check_reads_standard_input_and_says_why_it_refuses(source, said, capsys, monkeypatch):
    monkeypatch.setattr("sys.stdin", io.StringIO(source))
    assert main(["check", "-"]) == 1
    assert capsys.readouterr().out.startswith(said)


def test_score_prints_the_whole_score_as_json(candidate, capsys):
    assert main(["score", candidate, "--json"]) == 0
    score = json.loads(capsys.readouterr().out)
    assert {"ood_mse", "train_mse", "interval", "families", "flops", "traits", "ended"} <= score.keys()
    assert len(score["ood_mse"]) == len(score["families"]) == 8
    assert main(["score", candidate]) == 0
    said = capsys.readouterr().out
    assert said.startswith(f"fitness {score['fitness']:.4f} [")
    assert "(95 % skewness-corrected t, less over groups of two) over 8 tasks" in said  # two a family


def test_a_program_that_fails_is_reported_in_json_that_any_reader_takes(capsys, monkeypatch):
    monkeypatch.setattr("sys.stdin", io.StringIO("def activation(x):\n    return x.sign()"))
    assert main(["score", "-", "--json"]) == 1

    def refuse(name):
        raise AssertionError(name)

    score = json.loads(capsys.readouterr().out, parse_constant=refuse)
    assert (score["ended"], score["flops"]) == ("failed", None)


def test_the_budget_is_set_on_the_command_line(capsys):
    assert main(["check", "gelu", "--flops", "11"]) == 1
    assert capsys.readouterr().out.startswith("refused: 12 FLOPs an element; write at most 11")
    assert main(["check", "gelu", "--flops", "12"]) == 0


def test_a_function_of_the_zoo_is_scored_by_its_name(capsys):
    assert main(["score", "relu", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["fitness"] == 0


@pytest.mark.parametrize("seed", ["-1", "1.5", "x"])
def test_a_seed_that_is_no_whole_number_is_refused_before_anything_is_written(seed, tmp_path, capsys):
    with pytest.raises(SystemExit) as ended:
        main(["search", "--seed", seed, "--out", str(tmp_path / "run.sqlite")])
    assert ended.value.code == 2
    assert f"wanted a whole number from 0; got '{seed}'" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_the_score_of_a_refused_program_is_json_too(capsys, monkeypatch):
    monkeypatch.setattr("sys.stdin", io.StringIO("def activation(x):\n    return open"))
    assert main(["score", "-", "--json"]) == 1
    score = json.loads(capsys.readouterr().out)
    assert (score["ended"], score["fitness"]) == ("refused", None)


def test_a_search_ends_with_one_line_of_json_and_has_the_same_digest_at_one_and_two_workers(tmp_path, capsys):
    reports = []
    for workers in ("1", "2"):
        run = str(tmp_path / f"run{workers}.sqlite")
        assert main(["search", "--evaluations", "8", "--seed", "3", "--workers", workers, "--out", run]) == 0
        reports.append(json.loads(capsys.readouterr().out.splitlines()[-1]))
    assert reports[0] == reports[1]
    assert reports[0].keys() == {"best", "final", "held_out", "evaluations", "digest"}
    assert reports[0]["held_out"]["tasks"] == 16
    assert "def activation(x)" in reports[0]["best"]["source"]
    assert reports[0]["final"]["fitness"] <= reports[0]["best"]["fitness"]


def test_a_search_over_labs_ends_with_one_line_of_json_and_is_shown_and_goes_on_in_no_other_lab(tmp_path, capsys):
    out = str(tmp_path / "run.sqlite")
    options = ["search", "--profile", "smoke", "--evaluations", "6", "--pointwise", "--out", out]
    assert main([*options, "--fitness", "labs"]) == 0
    report = json.loads(capsys.readouterr().out.splitlines()[-1])
    tasks = config.over_labs(config.profile("smoke")).tasks
    assert report["held_out"]["tasks"] == tasks.held_out * tasks.each
    assert report["evaluations"] == 6
    assert main(["show", out, "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert shown["settings"]["about"]["fitness"]["each"] == tasks.each
    assert shown["final"]["id"] == report["final"]["id"]
    assert shown["digest"] == report["digest"]
    assert main(["show", out]) == 0 and main(["show", out, "--program", str(report["final"]["id"])]) == 0
    capsys.readouterr()
    assert main(options) == 2
    assert "wanted a run with about." in capsys.readouterr().err.splitlines()[-1]


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_a_search_on_a_terminal_ends_in_words_with_commands_that_can_be_pasted(run, capsys, monkeypatch):
    options = ["search", "--evaluations", "6", "--out", str(run)]
    assert main(options) == 0
    report = json.loads(capsys.readouterr().out.splitlines()[-1])
    shown = Terminal()
    monkeypatch.setattr("sys.stdout", shown)
    assert main([*options, "--json"]) == 0
    assert json.loads(shown.getvalue()) == report
    shown.truncate(shown.seek(0))
    assert main(options) == 0
    words = shown.getvalue()
    final, low = report["final"], report["held_out"]["interval"][0]
    assert words.startswith(f"6 candidates were trained from ReLU on. The final choice is program {final['id']}:\n")
    held_out = f"fitness {report['held_out']['fitness']:.4f} [{low:.4f}, "
    assert f"held-out suite, which selection never sees: {held_out}" in words and "log(ReLU's OOD loss" in words
    assert words.endswith(f"digest: {report['digest']}\n")
    calls = re.findall(r": (\S+ -m actlab show .*)", words)
    assert [shlex.split(call)[1:] for call in calls] == [
        ["-m", "actlab", "show", str(run)], ["-m", "actlab", "show", str(run), "--program", str(final["id"])],
    ]  # fmt: skip


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    path = tmp_path_factory.mktemp("run") / "run.sqlite"
    assert main(["search", "--evaluations", "6", "--workers", "2", "--out", str(path)]) == 0
    return path


def trained_on(run):
    with Archive(run, read_only=True) as opened:
        return set(opened.timings()["stage"]) - {"describe"}


def test_a_pointwise_search_without_races_on_one_island_is_what_its_file_says(run, tmp_path, capsys):
    other = tmp_path / "run.sqlite"
    options = ["--evaluations", "4", "--pointwise", "--islands", "1", "--no-race", "--workers", "2"]
    assert main(["search", *options, "--out", str(other)]) == 0
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["evaluations"] == 4
    assert {"tasks 0 to 4 of round 1", "tasks 4 to 8 of round 1"} <= trained_on(run)
    assert trained_on(other) == {"full"}
    assert main(["show", str(other), "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert {"pointwise": True, "islands": 1, "race": False}.items() <= report["settings"]["search"].items()
    (island,) = report["islands"]
    assert all("across the tensor" not in cell for cell in island["cells"])


def worth(run, capsys, monkeypatch, **changes):
    """What the search of a finished run tells of its choice, where that scores so on the held-out suite."""
    found = Score("scored", None, 0.1, (0.0, 0.2), (1.0, 2.0), (1.0, 2.0), (1.0, 2.0), ("a", "b"))
    scored = SimpleNamespace(result=lambda: replace(found, **changes))
    monkeypatch.setattr(Evaluator, "submit", lambda *_: scored)
    assert main(["search", "--evaluations", "6", "--out", str(run)]) == 0
    report = json.loads(capsys.readouterr().out.splitlines()[-1], parse_constant=pytest.fail)
    assert report["final"]["source"].startswith("def activation(x)")
    return report["held_out"]


def test_a_choice_that_does_not_come_through_elsewhere_is_reported_with_its_reason(run, capsys, monkeypatch):
    lost = {"ended": "killed", "error": "out of time", "fitness": -math.inf, "ood_mse": ()}
    assert worth(run, capsys, monkeypatch, **lost) == {"ended": "killed", "error": "out of time"}


def test_a_bound_that_is_infinite_is_null(run, capsys, monkeypatch):
    found = worth(run, capsys, monkeypatch, interval=(-math.inf, 0.5))
    assert found == {"fitness": 0.1, "interval": [None, 0.5], "ood_mse": 1.5, "tasks": 2}


def test_a_run_without_a_budget_is_searched_and_shown(tmp_path, capsys):
    out = str(tmp_path / "run")
    assert main(["search", "--evaluations", "1", "--flops", "inf", "--out", out]) == 0
    capsys.readouterr()
    assert main(["show", out, "--json"]) == 0
    report = json.loads(capsys.readouterr().out, parse_constant=pytest.fail)
    assert report["settings"]["about"]["limits"]["flops"] is None


@pytest.mark.parametrize("flops", ["nan", "0", "-1", "many"])
def test_a_budget_that_is_no_number_above_0_is_refused(flops, tmp_path, capsys):
    with pytest.raises(SystemExit) as ended:
        main(["search", "--flops", flops, "--out", str(tmp_path / "run")])
    assert ended.value.code == 2
    assert f"wanted a number above 0; got '{flops}'" in capsys.readouterr().err


def test_a_budget_below_relus_is_one_line(tmp_path, capsys):
    assert main(["search", "--flops", "0.5", "--out", str(tmp_path / "run")]) == 2
    assert "wanted ReLU to start from" in capsys.readouterr().err.splitlines()[-1]


@contextlib.contextmanager
def threads(scheduler):
    assert scheduler == "tcp://127.0.0.1:1"
    with ThreadPoolExecutor(2) as executor:
        yield executor


def test_a_search_on_a_scheduler_has_the_digest_of_one_on_this_machine(run, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(jobs, "connect", threads)
    options = ["--evaluations", "6", "--scheduler", "tcp://127.0.0.1:1", "--out", str(tmp_path / "run")]
    assert main(["search", *options]) == 0
    with Archive(run, read_only=True) as opened:
        assert json.loads(capsys.readouterr().out.splitlines()[-1])["digest"] == opened.digest()


# --- a search that asks models ---


def program(number):
    """A program a request, none the same as another."""
    return service.message(service.rewrite(f"def activation(x):\n    return x * torch.sigmoid({number + 1}.5 * x)"))


def searched(capsys, out, *options):
    """The last line of a small search by Claude, read."""
    few = ["--evaluations", "3", "--workers", "2", "--out", str(out)]
    assert main(["search", *few, *options]) == 0
    return json.loads(capsys.readouterr().out.splitlines()[-1])


@pytest.fixture
def models(tmp_path):
    path = tmp_path / "models.toml"
    prices = "input = 1.0\noutput = 5.0\ncache_write = 1.25\ncache_read = 0.1"
    path.write_text(f"[claude-haiku-5-5]\nforced = true\n{prices}\n")
    return str(path)


def test_a_recorded_search_replays_to_its_digest_without_a_key(tmp_path, capsys, monkeypatch, models):
    with service.serving(lambda body, number: program(number)) as server:
        monkeypatch.setenv("ANTHROPIC_API_KEY", service.KEY)
        paid = ["--proposer", "grammar=0.5,claude=0.5", "--models", models]
        live = [*paid, "--cap", "1", "--service", server.url]
        first = searched(capsys, tmp_path / "live", *live)
        asked = len(server.requests)
        assert server.keys == {service.KEY} and asked
    monkeypatch.delenv("ANTHROPIC_API_KEY")
    again = searched(capsys, tmp_path / "again", *paid, "--replay", str(tmp_path / "live.answers"))
    assert again["digest"] == first["digest"]
    assert (first["spent"], again["spent"]) == (pytest.approx(asked * 350e-6), 0)
    assert (first["answers"], again["answers"]) == ("live", "replayed, live")
    assert main(["show", str(tmp_path / "again"), "--json"]) == 0
    replayed = json.loads(capsys.readouterr().out)
    (note,) = replayed["replays"]
    assert (note["recording"], note["origin"]) == ("live.answers", "live")
    costs = {row["author"]: (row["usd"], row["answers"]) for row in replayed["authors"]}
    assert costs == {"grammar": (0, "asks nobody"), "claude-haiku-5-5": (0, "replayed, live")}
    assert main(["show", str(tmp_path / "live"), "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["answers"]["origin"] == "live"
    assert report["answers"]["spent"] == first["spent"]
    (claude,) = [row for row in report["authors"] if row["author"] == "claude-haiku-5-5"]
    assert (claude["proposals"], claude["tokens"], claude["usd"]) == (asked, asked * 150, first["spent"])
    assert main(["show", str(tmp_path / "live")]) == 0
    out = capsys.readouterr().out
    assert f"answers: live; {first['spent']:.4f} USD" in out
    assert f"\n  claude-haiku-5-5: {asked} requests: {asked} answered, 0 refused, " in out
    with Archive(tmp_path / "live", read_only=True) as opened:
        ids = {entry.author: entry.id for entry in opened.entries()}
    assert main(["show", str(tmp_path / "live"), "--program", str(ids["claude-haiku-5-5"])]) == 0
    cost = "cost: 1 calls, 0 retried; 100 tokens in, 0% of it from the cache, 50 out; 0.0003 USD; answers: live\n"
    assert cost in capsys.readouterr().out
    assert main(["show", str(tmp_path / "live"), "--program", str(ids["grammar"]), "--json"]) == 0
    assert "bill" not in json.loads(capsys.readouterr().out)
    files = [path for path in tmp_path.iterdir() if path.is_file()]
    assert len(files) >= 4 and not any(service.KEY.encode() in path.read_bytes() for path in files)


def test_a_search_stops_at_its_cap_in_one_line_that_says_how_to_go_on(tmp_path, capsys, monkeypatch, models):
    with service.serving(lambda body, number: program(number)) as server:
        monkeypatch.setenv("ANTHROPIC_API_KEY", service.KEY)
        out = str(tmp_path / "run")
        live = ["--proposer", "claude", "--models", models, "--service", server.url, "--out", out]
        assert main(["search", *live, "--evaluations", "3", "--cap", "0.05"]) == 2
        assert server.requests == []
    assert "cap of 0.05 USD is reached" in capsys.readouterr().err.splitlines()[-1]


def test_a_replay_that_lacks_an_answer_names_it_in_one_line(tmp_path, capsys, models):
    from actlab.search.proposers.recording import Recording

    Recording(tmp_path / "empty.answers", origin="hand-written").close()
    options = ["--proposer", "claude", "--models", models, "--replay", str(tmp_path / "empty.answers")]
    assert main(["search", *options, "--out", str(tmp_path / "run")]) == 2
    said = capsys.readouterr().err.splitlines()
    assert "the answers are hand-written: no model's output" in said
    # requests go side by side, and whichever is missed first is named
    assert re.search(r"wanted the answer to request [0-9a-f]{64} \(program \d+, model claude-", said[-1])


def test_the_models_that_are_named_are_asked_and_no_others(tmp_path, capsys):
    from actlab.search.proposers.recording import Recording

    Recording(tmp_path / "empty.answers", origin="hand-written").close()
    options = ["--proposer", "claude", "--replay", str(tmp_path / "empty.answers"), "--out", str(tmp_path / "run")]
    assert main(["search", *options, "--ask", "claude-opus-5=2.5,claude-sonnet-5"]) == 2
    assert re.search(r"wanted the answer to .*, model claude-(opus|sonnet)-5\)", capsys.readouterr().err)
    with Archive(tmp_path / "run", read_only=True) as opened:
        proposer = opened.meta()["proposer"]
    assert re.findall(r"(claude-[a-z0-9-]+): weight ([0-9.]+)", proposer) == [
        ("claude-opus-5", "2.5"), ("claude-sonnet-5", "1.0"),
    ]  # fmt: skip


def test_a_run_goes_on_only_with_the_recording_that_the_cap_counts(tmp_path, capsys, monkeypatch, models):
    fails = [True]

    def respond(body, number):
        return service.error(401, "authentication_error") if fails and number >= 8 else program(number)

    with service.serving(respond) as server:
        monkeypatch.setenv("ANTHROPIC_API_KEY", service.KEY)
        live = ["--proposer", "claude", "--models", models, "--cap", "1", "--service", server.url]
        live += ["--evaluations", "9", "--out", str(tmp_path / "new" / "folder" / "run")]
        assert main(["search", *live]) == 2  # a round is done
        assert "check the key" in capsys.readouterr().err.splitlines()[-1]
        fails.clear()
        asked, kept = len(server.requests), tmp_path / "new" / "folder" / "run.answers"
        for place, options in ((kept, ["--record", str(tmp_path / "other")]), (tmp_path / "moved", [])):
            kept.rename(place)
            assert main(["search", *live, *options]) == 2
            said = capsys.readouterr().err.splitlines()[-1]
            assert "lacks the answers for 8 of its programs, first 1" in said
            place.rename(kept)
        other = ["--seed", "1", "--record", str(kept), "--out", str(tmp_path / "run")]
        assert main(["search", *live, *other]) == 2
        assert "got that of another one" in capsys.readouterr().err.splitlines()[-1]
        assert main(["search", *live, "--seed", "1"]) == 2
        assert "seed" in capsys.readouterr().err.splitlines()[-1]
        assert len(server.requests) == asked
        assert main(["search", *live]) == 0
        assert json.loads(capsys.readouterr().out.splitlines()[-1])["evaluations"] == 9


def test_without_a_key_one_line_says_how_to_give_one_and_nothing_is_written(tmp_path, capsys):
    assert main(["search", "--proposer", "claude", "--cap", "1", "--out", str(tmp_path / "run")]) == 2
    said = one_line(capsys)
    assert all(words in said for words in ("ANTHROPIC_API_KEY", "grammar", "replay"))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [("ALL_PROXY", "socks5://127.0.0.1:1", "wanted the package socksio, for the environment's SOCKS proxy; got none"),
     ("ALL_PROXY", "socks://me:secret@127.0.0.1:1", "wanted a proxy in ALL_PROXY, as http://HOST:PORT or socks5://HOST"),
     ("HTTPS_PROXY", "http://127.0.0.1:99999", "wanted a proxy in HTTPS_PROXY, as http://HOST:PORT or socks5://HOST:P"),
     ("http_proxy", "http://", "wanted a proxy in HTTP_PROXY, as http://HOST:PORT or socks5://HOST:PORT; got 'http:/"),
     ("NO_PROXY", ":::", "wanted hosts, with commas between, in NO_PROXY; got others ("),
     ("SSL_CERT_FILE", "nowhere.pem", "wanted certificates in the file of SSL_CERT_FILE; got 'nowhere.pem' ("),
     ("SSL_CERT_FILE", __file__, f"wanted certificates in the file of SSL_CERT_FILE; got '{__file__}' (")],
)  # fmt: skip
def test_a_proxy_or_a_certificate_of_the_environment_that_cannot_be_used_is_one_line(
    name, value, said, tmp_path, capsys, monkeypatch
):
    monkeypatch.setenv("ANTHROPIC_API_KEY", service.KEY)
    for other in ("ALL_PROXY", "HTTPS_PROXY", "HTTP_PROXY", "NO_PROXY", "SSL_CERT_FILE"):
        monkeypatch.delenv(other, raising=False)
        monkeypatch.delenv(other.lower(), raising=False)
    monkeypatch.setenv(name, value)
    assert main(["search", "--proposer", "claude", "--cap", "1", "--out", str(tmp_path / "new" / "run")]) == 2
    gc.collect()  # a client that is half made would complain now
    line = one_line(capsys)
    assert said in line and "secret" not in line
    assert not list(tmp_path.iterdir())


# --- a run that is shown ---


def test_a_run_is_shown_as_one_object_of_json(run, capsys):
    assert main(["show", str(run), "--json"]) == 0
    report = json.loads(capsys.readouterr().out, parse_constant=pytest.fail)
    assert report.keys() == {
        "run", "settings", "candidates", "rounds", "evaluations", "ended", "best", "final", "islands", "authors",
        "digest",
    }  # fmt: skip
    assert report["evaluations"] == 6
    assert sum(report["ended"].values()) == report["candidates"]
    assert tuple(report["ended"]) == archive.ENDED
    assert report["final"]["fitness"] <= report["best"]["fitness"]
    assert [island["island"] for island in report["islands"]] == [0, 1, 2]
    assert report["authors"][0]["proposals"] == report["candidates"]


def test_a_run_is_shown_in_words(run, capsys):
    assert main(["show", str(run)]) == 0
    out = capsys.readouterr().out
    assert f"{run}: 6 of 6 evaluations" in out
    for words in ("best: ", "final choice: ", "island 2: ", "author grammar: ", "digest: ", "islands 3"):
        assert f"\n{words}" in out or f", {words}" in out
    with Archive(run, read_only=True) as opened:
        held = [len(cells) for cells in selection.standing(opened.moves())]
    assert re.findall(r"island \d: (.*)", out) == ["1 cell" if count == 1 else f"{count} cells" for count in held]


def test_every_program_of_a_run_can_be_shown(run, capsys):
    with Archive(run, read_only=True) as opened:
        entries, moves = opened.entries(), opened.moves()
    for entry in entries:
        assert main(["show", str(run), "--program", str(entry.id), "--json"]) == 0
        report = json.loads(capsys.readouterr().out, parse_constant=pytest.fail)
        assert (report["id"], report["source"], report["ended"]) == (entry.id, entry.source, entry.ended)
        assert report["moves"] == [vars(move) for move in moves if move.program == entry.id]
        assert main(["show", str(run), "--program", str(entry.id)]) == 0
        assert capsys.readouterr().out.endswith(f"\n\n{entry.source}\n")
    child = next(entry for entry in entries[1:] if entry.ended == "scored")
    assert main(["show", str(run), "--program", str(child.id)]) == 0
    out = capsys.readouterr().out
    assert f"scored; fitness {child.fitness:.4f}" in out and "oscillations" in out
    assert "\nmade from: 0, fitness 0.0000" in out


def test_a_run_is_shown_while_it_is_being_written(run, capsys):
    with Archive(run) as writing:
        writing._db.execute("BEGIN IMMEDIATE")  # a transaction that is open in the middle of a round
        command = [sys.executable, "-m", "actlab", "show", str(run), "--json"]
        shown = subprocess.run(command, capture_output=True, text=True, check=True)
        writing._db.execute("ROLLBACK")
    assert json.loads(shown.stdout)["evaluations"] == 6


def test_a_run_that_proposed_nothing_yet_is_shown_as_such(tmp_path, capsys):
    path = tmp_path / "run"
    with Archive(path) as opened:
        opened.begin(seed=0)
    assert main(["show", str(path)]) == 0
    assert capsys.readouterr().out == f"{path}: nothing was proposed yet\n"


def test_showing_changes_nothing(run, capsys):
    before = run.read_bytes()
    for options in ([], ["--json"], ["--program", "1"]):
        assert main(["show", str(run), *options]) == 0
    assert run.read_bytes() == before


def one_line(capsys):
    """The one line of the errors, beside that on what confines, which the first sandbox of a process logs."""
    (line,) = [line for line in capsys.readouterr().err.splitlines(True) if not line.startswith("sandbox: ")]
    return line


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["score", "FILE", "--suite", "serach"], "search, held-out, far, in-distribution; got 'serach'"),
        (["score", "nowhere.py"], "wanted a file with the source of activation(x); got 'nowhere.py': no such file"),
        (["check", "candidates/nowhere"], "got 'candidates/nowhere': no such file or directory"),
        (["check", "FOLDER"], ": is a directory"),
        (["check", "BYTES"], "bytes.py': it is no text"),
        (["score", "gelu-sin"], "gelu-sine"),
        (["check", "swich"], "swich"),
        (["search", "--evaluations", "0", "--out", "x"], "--evaluations: wanted 1 or more; got 0"),
        (["search", "--workers", "-2", "--out", "OUT"], "wanted 0 workers or more; got -2"),
        (["search", "--islands", "0", "--out", "OUT"], "--islands: wanted 1 to 8, an ask a round for each; got 0"),
        (["search", "--islands", "9", "--out", "OUT"], "--islands: wanted 1 to 8, an ask a round for each; got 9"),
        (["search", "--out", "FOLDER"], "--out: wanted a file; got the folder"),
        (["search", "--proposer", "gpt", "--out", "OUT"], "wanted grammar, claude, or both with weights; got 'gpt'"),
        (["search", "--proposer", "grammar=x", "--out", "OUT"], "wanted a number as the weight of grammar; got 'x'"),
        (["search", "--proposer", "grammar=1,claude=1", "--replay", "nowhere", "--out", "OUT"], "found none"),
        (["search", "--proposer", "claude=0", "--replay", "x", "--out", "OUT"], "wanted a weight above 0 for claude"),
        (["search", "--proposer", "grammar=nan", "--out", "OUT"], "wanted a weight above 0 for grammar; got nan"),
        (["search", "--proposer", "grammar,grammar", "--out", "OUT"], "wanted names, each once, with weights or wit"),
        (["search", "--ask", "claude-opus-5", "--out", "OUT"], "--ask: wanted with --proposer claude alone"),
        (["search", "--proposer", "claude", "--replay", "x", "--ask", "gpt", "--out", "OUT"], "model of the table (cl"),
        (["search", "--proposer", "claude", "--ask", "claude-opus-5=0", "--out", "OUT"], "--ask: wanted a weight a"),
        (["search", "--cap", "3", "--out", "OUT"], "--cap: wanted with --proposer claude alone"),
        (["search", "--proposer", "claude", "--replay", "x", "--cap", "3", "--out", "OUT"], "wanted without --replay"),
        (["show", "nowhere"], "wanted a run's file; found none"),
        (["show", "FILE"], "wanted a run's file; got a damaged or foreign one"),
        (["show", "EMPTY"], "wanted a run's file; got an empty file"),
    ],
)
def test_a_wrong_call_is_one_line_and_status_2(arguments, said, candidate, tmp_path, capsys):
    (tmp_path / "empty").touch()
    named = {"FILE": candidate, "OUT": str(tmp_path / "run.sqlite"), "FOLDER": str(tmp_path)}
    (tmp_path / "bytes.py").write_bytes(b"\x85\xff\x00")
    named |= {"EMPTY": str(tmp_path / "empty"), "BYTES": str(tmp_path / "bytes.py")}
    there = sorted(tmp_path.iterdir())
    assert main([named.get(a, a) for a in arguments]) == 2
    assert said in one_line(capsys)
    assert sorted(tmp_path.iterdir()) == there  # nothing is left behind


@pytest.mark.parametrize("wrong", [["--workers", "-2"], ["--cap", "nan"], ["--service", "HOST"]])
def test_a_wrong_call_of_a_paid_search_leaves_nothing_behind(wrong, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("ANTHROPIC_API_KEY", service.KEY)
    cap = [] if "--cap" in wrong else ["--cap", "1"]
    assert main(["search", "--proposer", "claude", *cap, *wrong, "--out", str(tmp_path / "new" / "run")]) == 2
    assert "wanted" in one_line(capsys)
    assert not list(tmp_path.iterdir())


def test_a_program_of_an_id_beyond_all_bounds_is_one_line(run, capsys):
    for id in ("999", "999999999999999999999"):
        assert main(["show", str(run), "--program", id]) == 2
        assert f"got {id}" in one_line(capsys)


def test_a_damaged_run_file_is_one_line_and_status_2(tmp_path, capsys):
    path = tmp_path / "run.sqlite"
    path.write_text("no database")
    assert main(["search", "--out", str(path)]) == 2
    assert "wanted a run's file; got a damaged or foreign one" in one_line(capsys)


def test_a_run_of_another_seed_is_not_gone_on_with(tmp_path, capsys):
    run = str(tmp_path / "run.sqlite")
    assert main(["search", "--evaluations", "2", "--out", run]) == 0
    capsys.readouterr()
    assert main(["search", "--evaluations", "2", "--seed", "1", "--out", run]) == 2
    assert "seed" in one_line(capsys)


# --- what all verbs share ---


def module(name):
    """The module of a verb, and the name of its function."""
    place, _, function = VERBS[name].place.partition(":")
    return importlib.import_module(f"actlab.{place}"), function or "main"


ENOUGH = {
    "check": ["relu"], "score": ["relu"], "search": ["--out", "run"], "show": ["run"], "notebooks": ["refresh", "x"],
    "unpack": ["folder"],
}  # fmt: skip


@pytest.mark.parametrize(
    ("raised", "status", "said"),
    [(ValueError("wanted this; got that"), 2, "wanted this; got that"), (FileNotFoundError("none"), 2, "none"),
     (jobs.WorkerError("it died"), 2, "it died"), (records.ChangedCode("lab: moved"), 2, "lab: moved"),
     (sqlite3.OperationalError("disk"), 2, "disk"),
     (KeyboardInterrupt(), 130, "interrupted; the same command goes on from here")],
)  # fmt: skip
@pytest.mark.parametrize("verb", VERBS)
def test_whatever_goes_wrong_in_a_verb_is_one_line_with_its_name(verb, raised, status, said, monkeypatch, capsys):
    def fails(given, runner):
        raise raised

    monkeypatch.setattr(*module(verb), fails)
    assert main([verb, *ENOUGH.get(verb, [])]) == status
    assert capsys.readouterr() == ("", f"actlab {verb}: {said}\n")


@pytest.mark.parametrize("verb", [name for name, verb in VERBS.items() if verb.profile])
def test_an_unknown_profile_is_one_line_for_every_verb_that_has_one(verb, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main([verb, *ENOUGH.get(verb, []), "--profile", "latop"]) == 2
    assert one_line(capsys) == f"actlab {verb}: unknown profile: wanted one of smoke, laptop, paper; got 'latop'\n"
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("verb", [name for name, verb in VERBS.items() if verb.resumes])
def test_the_status_is_said_and_nothing_is_trained(verb, tmp_path, capsys, monkeypatch):
    for place in (jobs.Runner, "run"), (Laboratory, "evaluator"), (gpu_lab, "losses"):
        monkeypatch.setattr(*place, None)
    monkeypatch.setattr(records, "BUILD", tmp_path)
    out = ["--out", str(tmp_path / "run")] if verb == "search" else []
    assert main([verb, *out, "--profile", "smoke", "--status"]) == 0
    said = capsys.readouterr().out
    assert said.startswith("0 ") and said.count("\n") == 1 and f" in {tmp_path}" in said
    assert not list(tmp_path.iterdir())


def test_a_verb_is_given_the_runner_that_the_options_ask_for(monkeypatch, capsys):
    given = []
    monkeypatch.setattr(*module("transfer"), lambda options, runner: given.append(runner) or "done")
    monkeypatch.setattr(jobs, "connect", threads)
    for options in ([], ["--workers", "3"], ["--scheduler", "tcp://127.0.0.1:1"]):
        assert main(["transfer", *options]) == 0
    assert [runner.workers for runner in given] == [0, 3, 0]
    assert [type(runner.executor) for runner in given] == [type(None), type(None), ThreadPoolExecutor]
    given[0].tell("a line")
    assert capsys.readouterr().out == "done\n" * 3 + "a line\n"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [(["serach"], "invalid choice: 'serach'"), ([], "the following arguments are required: VERB"),
     (["show", "run", "--workers", "2"], "unrecognized arguments: --workers 2"),
     (["gpu-lab", "--scheduler", "x"], "unrecognized arguments: --scheduler x"),
     (["score", "relu", "--status"], "unrecognized arguments: --status"),
     *((([verb, option, count]), f"wanted a whole number from 1; got '{count}'")
       for verb, option in (("transfer", "--seeds"), ("multiverse", "--labs"), ("ablation", "--evaluations"),
                            ("generality", "--seeds"))
       for count in ("0", "two"))],
)  # fmt: skip
def test_what_no_verb_takes_is_status_2(arguments, said, capsys):
    with pytest.raises(SystemExit, match="2"):
        main(arguments)
    assert said in capsys.readouterr().err


def test_the_list_of_verbs_needs_no_torch():
    script = "import sys; from actlab.__main__ import main\ntry: main(['--help'])\nexcept SystemExit: pass\n"
    command = [sys.executable, "-c", f"{script}print('torch' in sys.modules)"]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert said.endswith("False\n") and all(f"\n    {verb}" in said for verb in VERBS)
