import io
import json

import pytest

from actlab.__main__ import main
from actlab.archive import Archive

PROGRAM = "def activation(x):\n    return x + torch.sin(x) ** 2\n"


@pytest.fixture
def candidate(tmp_path):
    path = tmp_path / "candidate.py"
    path.write_text(PROGRAM)
    return str(path)


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
    assert capsys.readouterr().out.startswith(f"fitness {score['fitness']:.4f} [")


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


def test_an_interrupted_command_says_that_it_goes_on_and_ends_with_130(candidate, capsys, monkeypatch):
    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("actlab.__main__._source", interrupt)
    assert main(["score", candidate]) == 130
    assert "goes on" in one_line(capsys)


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
    assert reports[0].keys() >= {"best", "held_out", "digest"}
    assert reports[0]["held_out"]["tasks"] == 16
    assert "def activation(x)" in reports[0]["best"]["source"]


def test_a_search_by_racing_trains_candidates_on_parts_of_the_tasks(tmp_path, capsys):
    run = tmp_path / "run.sqlite"
    assert main(["search", "--evaluations", "4", "--race", "--workers", "1", "--out", str(run)]) == 0
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["evaluations"] >= 4
    with Archive(run, read_only=True) as archive:
        assert {"tasks 0 to 4", "tasks 4 to 8"} <= set(archive.timings()["stage"])


def one_line(capsys):
    err = capsys.readouterr().err
    assert err.count("\n") == 1
    return err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["score", "FILE", "--profile", "latop"], "wanted one of smoke, laptop, paper; got 'latop'"),
        (["score", "FILE", "--suite", "serach"], "wanted one of calibration, search, held-out, far; got 'serach'"),
        (["score", "nowhere.py"], "nowhere.py"),
        (["score", "gelu-sin"], "gelu-sine"),
        (["check", "swich"], "swich"),
        (["search", "--evaluations", "0", "--out", "x"], "--evaluations: wanted 1 or more; got 0"),
        (["search", "--workers", "-2", "--out", "OUT"], "wanted one worker or more; got -2"),
    ],
)
def test_a_wrong_call_is_one_line_and_status_2(arguments, said, candidate, tmp_path, capsys):
    named = {"FILE": candidate, "OUT": str(tmp_path / "run.sqlite")}
    assert main([named.get(a, a) for a in arguments]) == 2
    assert said in one_line(capsys)


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


def test_an_unknown_command_is_status_2(capsys):
    with pytest.raises(SystemExit) as ended:
        main(["serach"])
    assert ended.value.code == 2
    assert "invalid choice: 'serach'" in capsys.readouterr().err
