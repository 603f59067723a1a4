"""The archive: one SQLite file a run, whole or refused."""

import contextlib
import hashlib
import json
import resource
import sqlite3
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from actlab.core import records, sources
from actlab.search.archive import COLUMNS, MOVE_COLUMNS, Archive, ArchiveError, Entry, Move, source_hash


def entry(id, round=0, parents=(), ended="scored", **more):
    source = f"def activation(x):\n    return {id}.0 * x"
    made = source, source_hash(source), f"print{id}", "insert", "grammar", f"Name {id}", "because", parents, ended
    return Entry(id, round, id % 2, f"cell {id}", *made, fitness=id / 10 if ended == "scored" else None, **more)


ENTRIES = [
    entry(0, score={"fitness": 0.0, "ood_mse": [0.1, 0.2]}, description={"flops": 1.0}),
    entry(1, 1, (0,), "dropped", seen=12, early=-0.25),
    entry(2, 1, (0,), seen=48),
    entry(3, 2, (2, 1), "duplicate", duplicate_of=1),
    entry(4, 2, (2, 0), "failed", error="raised ValueError"),
    entry(5, 3, (2,)),
]
MOVES = [
    Move(0, 0, "cell 0", 0, "start"),
    Move(0, 1, "cell 0", 0, "start"),
    Move(1, 0, "cell 2", 2, "born"),
    Move(3, 1, "cell 5", 5, "born"),
    Move(3, 0, "cell 5", 5, "migrated"),
    Move(3, 1, None, None, "reset"),
    Move(3, 1, "cell 5", 5, "seeded"),
]


@pytest.fixture
def path(tmp_path):
    return tmp_path / "run.sqlite"


@pytest.fixture
def written(path):
    with Archive(path) as archive:
        archive.begin(seed=1, search={"evaluations": 24, "round_size": 8})
        archive.add_round(ENTRIES[:1], MOVES[:2])
        archive.add_round(ENTRIES[1:3], MOVES[2:3])
        archive.add_round(ENTRIES[3:], MOVES[3:])
        archive.add_evaluation("abc", "full", {"fitness": -np.inf, "losses": [0.1, 1e-300]}, 10.0, 12.5)
    return path


# --- oracle: sqlite3, json and hashlib read the same file ---


def test_the_file_is_plain_sqlite_with_a_row_a_program(written):
    with contextlib.closing(sqlite3.connect(written)) as connection:
        rows = connection.execute("SELECT id, parents, ended, duplicate_of FROM programs").fetchall()
        moves = connection.execute("SELECT * FROM moves").fetchall()
    assert rows == [
        (0, "[]", "scored", None),
        (1, "[0]", "dropped", None),
        (2, "[0]", "scored", None),
        (3, "[2, 1]", "duplicate", 1),
        (4, "[2, 0]", "failed", None),
        (5, "[2]", "scored", None),
    ]
    assert moves == [
        (1, 0, 0, "cell 0", 0, "start"),
        (2, 0, 1, "cell 0", 0, "start"),
        (3, 1, 0, "cell 2", 2, "born"),
        (4, 3, 1, "cell 5", 5, "born"),
        (5, 3, 0, "cell 5", 5, "migrated"),
        (6, 3, 1, None, None, "reset"),
        (7, 3, 1, "cell 5", 5, "seeded"),
    ]


def test_the_digest_is_the_sha256_of_programs_without_errors_and_descriptions_and_of_moves(written):
    lines = []
    for e in ENTRIES:
        row = [e.id, e.round, e.island, e.cell, e.source, e.source_hash, e.fingerprint, e.operator, e.author, e.title]
        row += [e.rationale, list(e.parents), e.ended, e.duplicate_of, e.fitness, e.seen, e.early, e.score]
        lines.append(json.dumps(row, sort_keys=True) + "\n")
    lines += [json.dumps([m.round, m.island, m.cell, m.program, m.how]) + "\n" for m in MOVES]
    with Archive(written, read_only=True) as archive:
        assert archive.digest() == hashlib.sha256("".join(lines).encode()).hexdigest()


# --- worked examples ---


def test_what_was_written_is_read_back(written):
    with Archive(written, read_only=True) as archive:
        assert archive.entries() == ENTRIES
        assert archive.entry(3) == ENTRIES[3]
        assert archive.entries(whole=False) == [replace(e, score=None, description=None) for e in ENTRIES]
        assert archive.moves() == MOVES
        assert archive.meta() == {"seed": 1, "search": {"evaluations": 24, "round_size": 8}, "protocol": 1}
        assert archive.evaluation("abc", "full") == {"fitness": -np.inf, "losses": [0.1, 1e-300]}
        assert archive.evaluation("abc", "describe") is None


@pytest.mark.parametrize("moved", [False, True])
def test_a_run_goes_on_under_other_code_as_long_as_the_canary_of_the_search_is_equal(tmp_path, monkeypatch, moved):
    monkeypatch.setattr(records.Family, "values", lambda self: {"fitness": 0.5})
    with Archive(tmp_path / "run") as archive:
        archive.begin(seed=1)
    monkeypatch.setitem(sources.SOURCES, records.PROTOCOLS["search"].canary, b"other = 1\n")
    if moved:
        monkeypatch.setattr(records.Family, "values", lambda self: {"fitness": 0.5 + 1e-6})
    with Archive(tmp_path / "run") as archive:
        if moved:
            with pytest.raises(records.ChangedCode, match=r"run: search: the canary moved by 2e-06, .* \(1\)"):
                archive.begin(seed=1)
        else:
            archive.begin(seed=1)


def test_lineage_goes_from_a_program_along_first_parents_to_the_start_or_to_one_without_parents(written):
    with Archive(written, read_only=True) as archive:
        assert [e.id for e in archive.lineage(5)] == [5, 2, 0]
        with pytest.raises(ArchiveError, match="wanted one of 6 programs, counted from 0; got 6"):
            archive.lineage(6)
    with Archive(written) as archive:
        archive.add_round([entry(6, 4), entry(7, 4, (6, 0))])
        assert [e.id for e in archive.lineage(7)] == [7, 6]


def test_programs_moves_and_timings_are_tables(written):
    with Archive(written, read_only=True) as archive:
        table, moves, timings = archive.programs(), archive.moves_table(), archive.timings()
    assert list(table.columns) == list(COLUMNS)
    assert table["ended"].tolist() == [e.ended for e in ENTRIES]
    assert table.loc[3, "parents"] == (2, 1)
    assert list(moves.columns) == list(MOVE_COLUMNS)
    assert moves["program"].tolist() == [0, 0, 2, 5, 5, pd.NA, 5]
    assert timings.to_dict("records") == [{"source_hash": "abc", "stage": "full", "asked": 10.0, "finished": 12.5}]


@pytest.mark.parametrize(
    "change",
    [
        {"source": "def activation(x):\n    return x", "source_hash": source_hash("def activation(x):\n    return x")},
        {"operator": "swap"},
        {"island": 0},
        {"cell": "another"},
        {"author": "a model"},
        {"title": "Sine"},
        {"rationale": "why not"},
        {"seen": 24},
        {"early": 0.5},
        {"parents": (0,)},
        {"ended": "refused"},
        {"fitness": float(np.nextafter(0.5, 1))},
        {"score": {"fitness": 0.5}},
        {"duplicate_of": 2},
    ],
)
def test_the_digest_changes_with_the_trajectory(written, tmp_path, change):
    digests = []
    for name, last in (("a", ENTRIES[5]), ("b", replace(ENTRIES[5], **change))):
        with Archive(tmp_path / name) as archive:
            archive.add_round([*ENTRIES[:5], last])
            digests.append(archive.digest())
    assert digests[0] != digests[1]


@pytest.mark.parametrize("change", [{"round": 2}, {"island": 0}, {"cell": "cell 2"}, {"program": 2}, {"how": "born"}])
def test_the_digest_changes_with_a_move(written, tmp_path, change):
    digests = []
    for name, last in (("a", MOVES[-1]), ("b", replace(MOVES[-1], **change))):
        with Archive(tmp_path / name) as archive:
            archive.add_round(ENTRIES, [*MOVES[:-1], last])
            digests.append(archive.digest())
    assert digests[0] != digests[1]


def test_the_digest_does_not_change_with_the_interval_which_follows_from_the_losses(tmp_path):
    digests = set()
    for name, ends in (("a", [0.1, 0.2]), ("b", [0.0, 0.3])):
        with Archive(tmp_path / name) as archive:
            archive.add_round([replace(ENTRIES[0], score={"ood_mse": [0.5], "interval": ends})])
            digests.add(archive.digest())
            assert archive.entries()[0].score["interval"] == ends
    assert len(digests) == 1


def test_the_digest_does_not_change_with_times_words_or_the_cut_into_transactions(written, tmp_path):
    with Archive(tmp_path / "other") as other, Archive(written, read_only=True) as archive:
        other.add_round([replace(e, error="at 0x7f", description={"flops": 2.0}) for e in ENTRIES], MOVES)
        other.add_evaluation("x", "full", {}, 0.0, 9.0)
        assert other.digest() == archive.digest()


def test_a_round_is_written_whole_or_not_at_all(written):
    with Archive(written) as archive:
        with pytest.raises(sqlite3.IntegrityError):
            archive.add_round([entry(6, 4), entry(5, 4)], [Move(4, 0, "cell 6", 6, "born")])
        for wrong in (Move(4, 0, "cell 6", 6, "lost"), Move(4, 0, None, 6, "born"), Move(4, 0, "cell 6", 6, "reset")):
            with pytest.raises(sqlite3.IntegrityError):
                archive.add_round([entry(6, 4)], [wrong])
        assert (archive.entries(), archive.moves()) == (ENTRIES, MOVES)
        archive.add_round([entry(6, 4)], [Move(4, 0, "cell 6", 6, "born")])
        assert (len(archive.entries()), len(archive.moves())) == (7, 8)


@pytest.mark.parametrize(
    "ended, fingerprint, trained",
    [("scored", "f", True), ("dropped", "f", True), ("failed", "f", True), ("killed", "f", True),
     ("failed", None, False), ("duplicate", "f", False), ("refused", "f", False), ("unanswered", None, False)],
)  # fmt: skip
def test_an_evaluation_is_spent_on_whoever_was_trained(ended, fingerprint, trained):
    candidate = replace(entry(1, 1), ended=ended, fingerprint=fingerprint)
    assert candidate.was_trained is trained
    assert not replace(candidate, round=0).was_trained


def test_what_is_read_together_is_of_one_moment(written):
    with Archive(written) as writing, Archive(written, read_only=True) as reading:
        with reading.reading():
            before = reading.entries()
            writing.add_round([entry(6, 4)], [Move(4, 0, "cell 6", 6, "born")])
            assert (reading.entries(), reading.moves()) == (before, MOVES)
        assert len(reading.entries()) == len(before) + 1


# --- what is refused ---


def refusal(path, read_only=False):
    with pytest.raises(ArchiveError) as raised:
        Archive(path, read_only)
    message = str(raised.value)
    assert message.startswith(f"{path}: wanted")
    assert "\n" not in message
    return message


def test_a_file_that_is_no_database_is_refused_and_left_alone(path):
    path.write_text("step,loss\n1,0.5\n" * 200)
    assert "got a damaged or foreign one (file is not a database)" in refusal(path)
    assert path.read_text() == "step,loss\n1,0.5\n" * 200


def test_another_database_is_refused(path):
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE programs (id)")
    connection.close()
    assert "got another SQLite database" in refusal(path)


@pytest.mark.parametrize("schema, word", [(4, "newer"), (2, "older")])
def test_another_schema_is_refused_by_name(written, schema, word):
    with sqlite3.connect(written) as connection:
        connection.execute(f"PRAGMA user_version = {schema}")
    connection.close()
    assert f"wanted a run of schema 3; got the {word} schema {schema}" in refusal(written)


def test_a_truncated_file_is_refused(written):
    data = written.read_bytes()
    written.write_bytes(data[: len(data) // 2])
    assert "damaged" in refusal(written, read_only=True)


def unsealed(path, query):
    """Changes a file of before there were seals."""
    with contextlib.closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("DROP TABLE seals")
        connection.execute(query)


def test_a_changed_source_is_noticed(written):
    unsealed(written, "UPDATE programs SET source = 'def activation(x): return x' WHERE id = 5")
    with Archive(written, read_only=True) as archive, pytest.raises(ArchiveError, match="program 5 and its hash"):
        archive.entries()


def test_changed_json_is_noticed(written):
    unsealed(written, """UPDATE programs SET score = '{"fitness"; 0.0' WHERE id = 0""")
    with Archive(written, read_only=True) as archive, pytest.raises(ArchiveError, match="damaged"):
        archive.entries()


def everything(path):
    with Archive(path, read_only=True) as archive:
        evaluation = archive.evaluation("abc", "full")
        return archive.meta(), archive.entries(), archive.moves(), evaluation, archive.timings().to_csv()


def test_a_flipped_bit_is_found_when_the_file_is_opened_or_touches_nothing_that_is_read(written):
    data, whole, found = written.read_bytes(), everything(written), 0
    for place in range(0, len(data), 101):
        written.write_bytes(data[:place] + bytes([data[place] ^ (1 << place % 8)]) + data[place + 1 :])
        try:
            assert everything(written) == whole, place
        except ArchiveError as error:
            assert str(error).startswith(f"{written}: wanted ") and "\n" not in str(error)
            found += 1
    assert found > 20


@pytest.mark.parametrize("text", [b"because", b"Name 4", b"raised ValueError", b"print2", b"round_size",
                                  b"1e-300", b"insert"])  # fmt: skip
def test_a_flipped_bit_in_anything_that_is_kept_is_found_by_readers_and_writers(written, text):
    data = written.read_bytes()
    place = data.index(text)
    written.write_bytes(data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :])
    for read_only in (True, False):
        assert "hash do not agree" in refusal(written, read_only)


def test_a_file_of_before_there_were_seals_gets_them_with_its_next_transaction(written):
    unsealed(written, "UPDATE programs SET title = 'another' WHERE id = 4")
    with Archive(written) as archive:
        archive.add_round([entry(6, 4)])
    test_a_flipped_bit_in_anything_that_is_kept_is_found_by_readers_and_writers(written, b"another")


def test_a_full_disk_is_said_to_be_full_and_what_was_written_stays(written):
    before = everything(written)
    with Archive(written) as archive:
        ((pages,),) = archive._rows("PRAGMA page_count")
        archive._rows(f"PRAGMA max_page_count = {pages}")
        with pytest.raises(ArchiveError, match=r"to read and write a run's file; .*disk is full") as full:
            archive.add_round([entry(id, 4) for id in range(6, 99)])
        assert "damaged" not in str(full.value)
        archive._rows("PRAGMA max_page_count = 1000")
        archive.add_round([entry(6, 4)])
    meta, entries, *rest = everything(written)
    assert [meta, entries[:-1], *rest] == list(before) and entries[-1] == entry(6, 4)


@pytest.mark.parametrize("size", [0, 2000, 9000])
def test_a_disk_that_is_full_when_a_run_begins_is_not_called_damage(path, size):
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))  # no file grows beyond it
    try:
        with pytest.raises(ArchiveError) as full, Archive(path) as archive:
            archive.add_round([entry(id, 4) for id in range(99)])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert "the system says: " in str(full.value) and "damaged" not in str(full.value)
    with Archive(path) as archive:
        archive.add_round(ENTRIES)
        assert archive.entries() == ENTRIES


def test_a_missing_file_is_refused_to_a_reader_and_a_missing_folder_to_a_writer(path):
    assert "found none" in refusal(path, read_only=True)
    assert "wanted a folder to put it in" in refusal(path.parent / "no" / "run.sqlite")
    assert not path.exists()


def test_a_run_goes_on_only_with_what_it_was_begun_with(written):
    with Archive(written) as archive:
        archive.begin(seed=1, search={"evaluations": 24, "round_size": 8})
        with pytest.raises(ArchiveError, match=r"wanted a run with seed = 2; got one with 1"):
            archive.begin(seed=2, search={"evaluations": 24, "round_size": 8})
        with pytest.raises(ArchiveError, match=r"wanted a run with search.evaluations = 200; got one with 24"):
            archive.begin(seed=1, search={"evaluations": 200, "round_size": 8})
        with pytest.raises(ArchiveError, match=r"wanted a run with search.elites = 8; got one with None"):
            archive.begin(seed=1, search={"evaluations": 24, "round_size": 8, "elites": 8})


def test_a_second_writer_is_refused_while_the_first_lives_and_readers_are_not(written):
    script = "import sys; from actlab.search.archive import Archive; Archive(sys.argv[1]); print('open')"
    command = [sys.executable, "-c", script, str(written)]
    with Archive(written):
        second = subprocess.run(command, capture_output=True, text=True)
        assert second.returncode == 1
        assert "wanted to write it alone; another process is writing it" in second.stderr
        with Archive(written, read_only=True) as reader:
            assert reader.entries() == ENTRIES
    assert subprocess.run(command, capture_output=True, text=True).stdout == "open\n"


def test_a_reader_cannot_write(written):
    before = written.read_bytes()
    with Archive(written, read_only=True) as archive, pytest.raises(ArchiveError, match="readonly"):
        archive.add_round([entry(6, 4)])
    assert written.read_bytes() == before


def test_an_empty_file_becomes_a_run(path):
    path.touch()
    with Archive(path) as archive:
        archive.add_round(ENTRIES)
        assert archive.entries() == ENTRIES


# --- property ---

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)
numbers = st.floats(allow_nan=False)


@settings(max_examples=25, deadline=None, database=None)
@given(source=texts, operator=texts, error=texts, fitness=numbers, losses=st.lists(numbers), text=texts)
def test_any_text_and_number_comes_back_to_the_bit(tmp_path_factory, source, operator, error, fitness, losses, text):
    row = Entry(
        0, 0, 0, text, source, source_hash(source), None, operator, text, operator, error, (), "failed", None, error,
        fitness, None, fitness, {"losses": losses}, {"word": text},
    )  # fmt: skip
    with Archive(tmp_path_factory.mktemp("run") / "run.sqlite") as archive:
        archive.add_round([row])
        assert archive.entries() == [row]
