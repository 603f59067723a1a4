"""Whole searches with models that are asked through the SDK, at a server that does what services do."""

import re
from collections import Counter
from dataclasses import replace

import messages_server as service
import pytest
from messages_server import KEY, Reply, asked, serving

from actlab.core.config import FitnessConfig, LabConfig, SearchConfig, TaskConfig
from actlab.lab import tasks
from actlab.scoring.evaluator import Evaluator
from actlab.search.archive import Archive
from actlab.search.evolution import search
from actlab.search.proposers.answers import CapReached, Live, MissingAnswer, Replayed, ServiceError, client
from actlab.search.proposers.claude import Claude
from actlab.search.proposers.grammar import Grammar
from actlab.search.proposers.mixture import Mixture
from actlab.search.proposers.models import read_models
from actlab.search.proposers.recording import Recording

pytestmark = pytest.mark.usefixtures("warm_sandboxes")

SUITES = {"search": tasks.suite("search", TaskConfig(search=8))}
FITNESS = FitnessConfig(resamples=50)
LAB = LabConfig(steps=2, width=8, depth=2)
CONFIG = SearchConfig(evaluations=12, round_size=8, islands=2, migrate_every=2, reset_every=3)
MODELS = tuple(replace(model, weight=1.0) for name, model in read_models().items() if "haiku" in name)
TIMEOUT = 1.5  # seconds of the client; the slow answer takes longer
ATTEMPTS = 4

MALICIOUS = "import os\ndef activation(x):\n    os.system('touch /tmp/owned')\n    return x"
FAILING = "def activation(x):\n    return x.sum(5)"
TWICE = "def activation(x):\n    return 0.5 * x + torch.sin(x)"
TRAINED = ("scored", "dropped")
# What the service does with the ask of a number, in turn: what it brings, and how the program then ends.
CASES = (
    ("valid", TRAINED, None),
    ("edit", TRAINED, None),
    ("slow", TRAINED, None),
    ("429", TRAINED, None),
    ("529", TRAINED, None),
    ("dropped connection", TRAINED, None),
    ("malformed, then valid", TRAINED, None),
    ("truncated", ("unanswered",), "truncated: the answer was cut off"),
    ("refused", ("unanswered",), "refused: the model refused to answer"),
    ("malformed", ("unanswered",), "malformed: wanted a call of the tool"),
    ("an edit of nothing", ("unanswered",), "malformed: replacement 1: wanted a text that occurs exactly once"),
    ("blocked", ("unanswered",), "refused: the model refused to answer: Output blocked by content filtering policy"),
    ("blocked, then valid", TRAINED, None),
    ("too large", ("unanswered",), "failed: 413 request_too_large: words of the service"),
    ("malicious", ("refused",), "line 1: import of os|import os"),
    ("failing", ("failed",), "IndexError"),
    ("twice", (*TRAINED, "duplicate"), None),
)


def case(id):
    return CASES[(id - 1) % len(CASES)]


def written(id):
    return f"def activation(x):\n    return torch.relu(x) + {id / 1000} * torch.sin(x)"


def responder():
    """A service whose answers follow from the request and from how often it came."""
    seen = Counter()

    def respond(body, _):
        words = asked(body)
        id = int(words.split()[1])
        seen[words] += 1
        first, what = seen[words] == 1, case(id)[0]
        valid = service.rewrite(written(id), f"no. {id}")
        trouble = {
            "slow": Reply(delay=2 * TIMEOUT, drop=True),
            "429": service.error(429, "rate_limit_error", retry_after="3"),
            "529": service.error(529, "overloaded_error"),
            "dropped connection": Reply(drop=True),
        }
        if what in trouble and first:
            return trouble[what]
        if what == "malformed, then valid" and "Once more" not in words:
            return service.message(service.text("I think"), stop="end_turn")
        if what == "blocked, then valid" and "Once more" not in words:
            return service.blocked()
        for_good = {
            "edit": service.message(service.edit(("def activation(x):", f"def activation(x):\n    x = 1.0{id} * x"))),
            "truncated": service.message(service.text("def activ"), stop="max_tokens"),
            "refused": service.message(stop="refusal"),
            "malformed": service.message(service.text("return x"), stop="end_turn"),
            "an edit of nothing": service.message(service.edit(("no such text", "x"))),
            "blocked": service.blocked(),
            "too large": service.error(413, "request_too_large"),
            "malicious": service.message(service.rewrite(MALICIOUS)),
            "failing": service.message(service.rewrite(FAILING)),
            "twice": service.message(service.rewrite(TWICE)),
        }
        return for_good.get(what, service.message(valid))

    return respond


@pytest.fixture(scope="module")
def evaluators():
    """By their number of workers."""
    with Evaluator(SUITES, FITNESS, 1) as one, Evaluator(SUITES, FITNESS, 2) as two:
        yield {1: one, 2: two}


def run(path, evaluator, proposer, config=CONFIG):
    with Archive(path) as archive:
        return search(evaluator, proposer, archive, config, LAB, seed=0, progress=False).digest


def run_live(folder, evaluator, server, cap, waits):
    """A search at a server: the archive `run` and the recording `run.answers` of a folder."""
    with client(KEY, server.url, TIMEOUT) as asking, Recording(folder / "run.answers") as recording:
        live = Live(asking, recording, MODELS, cap, ATTEMPTS, sleep=waits.append)
        return run(folder / "run", evaluator, Claude(live, MODELS, max_tokens=1000))


def run_replayed(recording, path, evaluator):
    with Recording(recording, read_only=True) as kept:
        return run(path, evaluator, Claude(Replayed(kept), MODELS, max_tokens=1000))


@pytest.fixture(scope="module")
def lived(tmp_path_factory, evaluators):
    """A finished search: its folder, digest, the server's requests, and the waits between attempts."""
    folder, waits = tmp_path_factory.mktemp("live"), []
    with serving(responder()) as server:
        digest = run_live(folder, evaluators[2], server, 10.0, waits)
    return folder, digest, server, waits


def test_the_archive_is_right_whatever_the_service_does(lived):
    folder, _, _, waits = lived
    with Archive(folder / "run", read_only=True) as archive:
        entries = archive.entries()[1:]
    assert len(entries) >= len(CASES)
    for entry in entries:
        what, ended, error = case(entry.id)
        assert entry.ended in ended, (what, entry)
        assert entry.author in {model.name for model in MODELS}
        assert (entry.error is None) == (error is None), (what, entry.error)
        if error is not None:
            assert re.search(error, entry.error), (what, entry.error)
        if what in ("valid", "slow", "429", "529", "dropped connection", "malformed, then valid",
                    "blocked, then valid"):  # fmt: skip
            assert entry.source == written(entry.id)
            assert (entry.title, entry.rationale) == (f"no. {entry.id}", "a reason")
        if what == "edit":
            assert entry.operator == "edit"
            assert f"x = 1.0{entry.id} * x" in entry.source
        assert entry.parents
    twice = [entry.ended for entry in entries if case(entry.id)[0] == "twice"]
    assert twice[1:] == ["duplicate"] * (len(twice) - 1)
    assert max(waits) == 3.0  # as the service asked for


def test_the_recording_counts_what_each_model_brought(lived):
    folder, _, server, _ = lived
    with Recording(folder / "run.answers", read_only=True) as recording:
        rows = recording.summary()
        asked = set(recording.calls()["candidate"])
        spent = recording.spent()
    assert {row["model"] for row in rows} == {model.name for model in MODELS}
    assert sum(row["calls"] for row in rows) == len(server.requests)
    for ending in ("answered", "refused", "truncated", "malformed", "failed"):
        assert sum(row[ending] for row in rows) > 0
    assert sum(row["usd"] for row in rows) == pytest.approx(spent)
    with Archive(folder / "run", read_only=True) as archive:
        assert asked == {entry.id for entry in archive.entries()[1:]}


def test_the_key_is_in_no_file_of_the_run(lived):
    folder, _, server, _ = lived
    assert server.keys == {KEY}
    for path in folder.iterdir():
        assert KEY.encode() not in path.read_bytes(), path.name


@pytest.mark.parametrize("workers", [1, 2])
def test_a_replay_has_the_digest_of_the_run_at_any_number_of_workers(lived, evaluators, tmp_path, workers):
    folder, digest, _, _ = lived
    assert run_replayed(folder / "run.answers", tmp_path / "run", evaluators[workers]) == digest


def test_a_replay_of_a_part_names_what_it_lacks_and_goes_on_with_the_whole(lived, evaluators, tmp_path):
    folder, digest, _, _ = lived
    with Recording(folder / "run.answers", read_only=True) as recording:
        recording.export(tmp_path / "answers.jsonl")
    lines = (tmp_path / "answers.jsonl").read_text().splitlines(keepends=True)
    (tmp_path / "part.jsonl").write_text("".join(lines[:15]))
    with pytest.raises(MissingAnswer, match=r"wanted the answer to request [0-9a-f]{64} \(program \d+, model claude-"):
        run_replayed(tmp_path / "part.jsonl", tmp_path / "run", evaluators[2])
    with Archive(tmp_path / "run", read_only=True) as archive:
        assert len(archive.entries()) == 1 + CONFIG.round_size  # it ends with a whole round
    assert run_replayed(tmp_path / "answers.jsonl", tmp_path / "run", evaluators[2]) == digest


def test_a_search_that_a_cap_stopped_goes_on_to_the_same_digest_and_asks_nothing_twice(lived, evaluators, tmp_path):
    _, digest, before, _ = lived
    cap, stops = 0.02, 0
    with serving(responder()) as server:
        while True:
            try:
                again = run_live(tmp_path, evaluators[2], server, cap, [])
                break
            except CapReached:
                stops += 1
            with Recording(tmp_path / "run.answers", read_only=True) as recording:
                assert recording.spent() <= cap
            cap *= 1.5
    assert stops > 1
    assert again == digest
    assert {asked(body) for body in server.requests} == {asked(body) for body in before.requests}
    for words, count in Counter(map(asked, server.requests)).items():
        if case(int(words.split()[1]))[0] in ("valid", "edit", "truncated", "refused", "blocked", "malformed"):
            assert count == 1, words


OUTAGES = {
    "the connection was lost": Reply(drop=True),
    "529 overloaded_error": service.error(529, "overloaded_error"),
}


@pytest.mark.parametrize("words", OUTAGES)
def test_a_search_that_an_outage_ended_goes_on_to_the_same_digest_and_replays(lived, evaluators, tmp_path, words):
    _, digest, _, _ = lived
    respond = responder()

    def lose(body, number):
        return OUTAGES[words] if int(asked(body).split()[1]) > CONFIG.round_size + 2 else respond(body, number)

    with serving(lose) as server, pytest.raises(ServiceError, match=words):
        run_live(tmp_path, evaluators[2], server, 10.0, [])
    with Archive(tmp_path / "run", read_only=True) as archive:
        assert len(archive.entries()) == 1 + CONFIG.round_size  # it ends with a whole round
    with serving(responder()) as server:
        assert run_live(tmp_path, evaluators[2], server, 10.0, []) == digest
    assert run_replayed(tmp_path / "run.answers", tmp_path / "again", evaluators[2]) == digest


def test_models_and_the_grammar_compose_and_replay(evaluators, tmp_path):
    config = replace(CONFIG, evaluations=8, race=False)

    def mixed(name, answers):
        mixture = Mixture([(Claude(answers, MODELS), 0.6), (Grammar(), 0.4)])
        return run(tmp_path / name, evaluators[2], mixture, config)

    with Recording(tmp_path / "answers") as recording:
        with serving(responder()) as server, client(KEY, server.url, TIMEOUT) as asking:
            digest = mixed("live", Live(asking, recording, MODELS, 10.0, ATTEMPTS, sleep=lambda _: None))
        assert mixed("replay", Replayed(recording)) == digest
    with Archive(tmp_path / "live", read_only=True) as archive:
        authors = {entry.author for entry in archive.entries()[1:]}
    assert "grammar" in authors
    assert authors & {model.name for model in MODELS}
