"""README.md and docs/: their numbers are those of the committed tables, and README is short."""

import re
import shutil

import pandas as pd
import pytest

from actlab import activations
from actlab.core import files, paper
from actlab.core.records import ROOT
from actlab.report import claims, readme
from actlab.studies import trust

FIGURES = ROOT / "figures"
README, CLAIMS, SPEED, DATA, GUIDE = (
    (ROOT / name).read_text()
    for name in ("README.md", "docs/claims.md", "docs/speed.md", "docs/data.md", "docs/guide.md")
)


def rows(text: str) -> list[list[str]]:
    """The cells of a page's table of claims, without its head."""
    start, end = readme.MARKS
    table = text[text.index(start) + len(start) : text.index(end)].strip().splitlines()
    lines = [line for line in table if line.startswith("|")]
    return [line.strip("| ").split(" | ") for line in lines[2:]]


def test_both_tables_of_claims_and_the_sentences_are_those_of_the_committed_tables():
    table = claims.table()
    assert readme.renewed(README, table) == README, "make readme writes them anew"
    assert readme.in_full(CLAIMS, table) == CLAIMS, "make readme writes them anew"


def test_the_readme_is_one_screen_with_one_table_of_at_most_ten_rows():
    words = [word for line in README.splitlines() if not line.startswith("|") for word in line.split()]
    assert len(words) <= 450
    head, _, *body = [line for line in README.splitlines() if line.startswith("|")]
    assert head == "| claim | paper | ours [95 % interval] | verdict | notebook |"
    assert len(body) == len(readme.LINES) <= 10
    assert {line.strip("| ")[0] for line in body} == {str(claim.number) for claim in paper.CLAIMS}


def test_every_row_of_the_readme_says_what_the_parts_of_its_claim_say():
    parts = claims.table().set_index("part")
    for line, (claim, theirs, ours, verdict, where) in zip(readme.LINES, rows(README), strict=True):
        shown = parts.loc[[part for part in (line.part, *line.beside) if part]]
        assert claim == line.claim and claim.split(".")[0] in {line.part, line.part[:1], shown.index[0][:1]}
        assert theirs == shown["paper"].iloc[0]
        numbers = re.findall(r"[-+]?[\d.]+ \[[^]]*\]", ours)
        assert all(any(number in said for said in shown["ours"]) for number in numbers)
        assert len(numbers) >= len(line.beside)
        if line.part:
            assert verdict == parts.loc[line.part, "verdict"]
        else:
            said = {name: word for word, names in (by.split(": ") for by in verdict.split("; "))
                    for name in names.split(", ")}  # fmt: skip
            assert said == {name: parts.loc[part, "verdict"] for part, name in line.beside.items()}
        links = re.findall(r"\]\(([^)]*)\)", where)
        assert links and all((ROOT / link).is_file() for link in links)


def test_the_readme_counts_the_verdicts_of_all_parts():
    counts = claims.table()["verdict"].value_counts()
    said = re.search(r"All (\d+) parts of the claims: (.*?)\. ", README)
    assert int(said[1]) == counts.sum()
    assert {word: int(count) for count, word in (part.split(" ", 1) for part in said[2].split(", "))} == dict(counts)


def test_the_readme_defines_its_terms_where_they_first_stand():
    for term, meaning in {
        "(OOD)": "out-of-distribution (OOD)",
        "lab": "lab* (small networks trained on synthetic regression, tested outside the training range)",
        "typical ratio": "typical ratio*: the geometric mean, over held-out data sets, of the ratio of two OOD losses",
        "unequal fit": "unequal fit*: the training losses differ more than twofold",
        "Snake": "Snake, the hand-made `x+sin²(x)`",
    }.items():
        assert README[re.search(rf"(?<![\w-]){re.escape(term)}(?![\w-])", README).start() :].startswith(
            meaning[meaning.index(term) :]
        ), term
    assert activations.get("snake").activation.formula == "x + sin(x)**2"


def test_the_readmes_use_of_a_function_works():
    (code,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    assert len(code.splitlines()) == 3
    names = {}
    exec(code, names)
    assert names["y"].shape == (4, 8)


def test_the_times_of_the_readme_are_those_of_the_guide_which_add_up():
    reproduce, test = (re.search(rf"`make {verb}` \|.*\| about (\d+) minutes \|", GUIDE)[1]
                       for verb in ("reproduce", "test"))  # fmt: skip
    assert re.search(rf"make reproduce .*: about {reproduce} minutes on 2 cores", README)
    assert re.search(rf"make test .*: about {test} minutes", README)
    listed = [line.split("|")[3:5] for line in GUIDE.splitlines() if re.match(r"\| \d\d \[", line)]
    assert len(listed) == len(list((ROOT / "notebooks").glob("[0-9][0-9]_*.ipynb")))
    laptop, smoke = ([minutes(cell) for cell in column] for column in zip(*listed, strict=True))
    whole, of_the_lab = map(float, re.search(r"which took (\d+) minutes(?:.|\n)*?take ([\d.]+) of", GUIDE).groups())
    assert 0 < whole - sum(laptop) < 2 and abs(sum(laptop[:8]) - of_the_lab) < 0.5  # make takes some too
    assert abs(whole - int(reproduce)) < 5
    alone = float(re.search(r"takes\n?\s*([\d.]+) of the \d+ minutes", GUIDE)[1])
    assert abs(alone + sum(smoke) - int(test)) < 1


def minutes(cell: str) -> float:
    """The minutes of `2.5 min after 05` or `37 s, from records`."""
    number, unit = re.match(r" ([\d.]+) (min|s)\b", cell).groups()
    return float(number) / (60 if unit == "s" else 1)


def test_the_account_of_the_claims_says_of_every_part_what_the_table_says():
    table = claims.table()
    assert len(rows(CLAIMS)) == len(table)
    for (claim, theirs, ours, verdict, where), row in zip(rows(CLAIMS), table.itertuples(), strict=True):
        assert (claim, theirs, verdict) == (f"{row.part}. {row.text}", row.paper, row.verdict)
        assert ours.startswith(row.ours) and f"`{row.command}`" in where


def test_every_claim_leads_to_a_picture_and_a_notebook_that_are_there():
    for _, _, _, verdict, where in rows(CLAIMS):
        links = re.findall(r"\]\(\.\./([^)]*)\)", where)
        assert all((ROOT / link).is_file() for link in links)
        kinds = [link.split("/")[0] for link in links]
        multiverse = ["figures/multiverse_shares.png", "notebooks/14_multiverse.ipynb"]
        if links[2:]:
            assert links[2:] == multiverse and "`make multiverse && " in where
            kinds = kinds[:2]
        assert kinds == ["figures", "notebooks"] or (verdict == "not tested here" and kinds == ["notebooks"])


def test_every_numbered_figure_and_table_is_there_with_its_csv_and_linked():
    wanted = {f"figure_{i}": "png" for i in range(1, 10)} | {f"table_{i}": "md" for i in range(1, 5)}
    for name, suffix in wanted.items():
        assert f"[{name[-1]}](../figures/{name}.{suffix})" in CLAIMS, name
        assert (FIGURES / f"{name}.{suffix}").is_file() and (FIGURES / f"{name}.csv").is_file(), name


def test_the_account_of_the_claims_says_when_the_rules_were_written():
    text = " ".join(CLAIMS.split())
    assert "the rules on generality (2c, 3d, 3e) were written before its searches were run" in text
    assert "the rules on transfer were written before its records were complete" in text
    assert "The rules on the lab and the search were written when their numbers were known" in text
    assert "The rule that the random labs have to agree came last" in text


@pytest.fixture
def folder(tmp_path):
    """A copy of the committed tables."""
    for path in FIGURES.glob("*.csv"):
        shutil.copy(path, tmp_path)
    files.note(tmp_path)
    return tmp_path


def change(folder, name, where, **values):
    """Writes values into the rows of a table that match."""
    table = pd.read_csv(folder / f"{name}.csv")
    chosen = table.query(where).index
    for column, value in values.items():
        table.loc[chosen, column] = value
    table.to_csv(folder / f"{name}.csv", index=False)
    files.note(folder)


def test_the_findings_say_what_the_tables_say_of_the_multiverse_and_of_waves(folder):
    said = readme.findings(folder)
    assert "lower than that of Snake in few labs (17% [11%, 26%] by the mean loss, 22% [15%, 31%] by" in said
    assert "is -0.04 [-0.10, 0.03] by the mean loss" in said and "[16](../notebooks/16_why_periodicity.ipynb)" in said
    first = pd.read_csv(folder / "periodicity.csv")["claim"][0]
    assert f"Hypotheses that hold: {first}" in said
    change(folder, "periodicity", "index == 0", **{"Four functions against GELU": "fails (0 for, 4 against, of 4)"})
    change(folder, "table_3", "what == 'Found by search < Snake'", low=0.6, high=0.8)
    said = readme.findings(folder)
    assert "lower than that of Snake in most labs" in said and f"Fail: {first}" in said


def test_the_answer_takes_its_numbers_from_the_tables(folder):
    change(folder, "found", "function == 'snake'", log_ratio=0.0, low=-0.5, high=0.5)
    change(folder, "table_3", "measure == 'tau' and aggregate == 'mean'", value=0.12, low=0.01, high=0.23)
    change(folder, "table_3", "what == 'Found by search < GELU' and aggregate == 'typical'", value=0.5, low=0.4)
    change(folder, "authors", "index == 0", trained=123)
    change(folder, "downstream", "function == 'found' and other == 'relu' and benchmark == 'images'", difference=0.5)
    said = readme.answer(folder)
    for text in ("1.00 [0.61, 1.65]", "0.12 [0.01, 0.23] by mean loss", "and 50% [40%, 44%] of them", "of 123 programs",
                 "0.500 ["):  # fmt: skip
        assert text in said and text not in README


def test_a_ratio_is_read_off_the_paper_by_hand():
    said = {claim: theirs for claim, theirs, *_ in rows(CLAIMS)}
    assert said["4d. Loss of GELU over ReLU"] == "0.85"  # 78.8 / 93.1
    assert said["4i. Loss of Turbulent over ReLU"] == "0.32"  # 29.8 / 93.1


def test_a_page_without_its_marks_is_refused():
    start, end = readme.MARKS
    with pytest.raises(ValueError, match="wanted the marks"):
        readme.updated(f"{end}\n{start}", "")
    assert readme.updated(f"a\n{start}\nold\n{end}\nb", "new") == f"a\n{start}\nnew\n{end}\nb"


def test_what_is_said_in_words_of_the_laptop_run_holds_in_the_committed_tables():
    folder = FIGURES
    compared = pd.read_csv(folder / "comparisons.csv").set_index(["subject", "function"])
    the_papers = [name for name in trust.TABLE_1 if name not in ("relu", "gelu")]
    assert (compared.loc[[(name, "gelu") for name in the_papers], "log_ratio"] > 0).all()  # none is ahead of GELU
    six = pd.read_csv(folder / "table_1.csv").query("suite == 'held-out'").set_index("function")
    ratios = six["log_ratio"]
    assert ratios[list(trust.TABLE_1)].idxmax() == "turbulent"
    assert min(paper.TABLE_1, key=lambda name: paper.TABLE_1[name].ood) == "turbulent"
    assert max(ratios["found"], ratios["snake"]) < ratios.drop(["found", "snake"]).min()
    assert pd.read_csv(folder / "found.csv").set_index("function").loc["relu", "unequal_fit"]
    found = pd.read_csv(folder / "found.csv").set_index("function")["verdict"]
    assert found.pop("snake") == "undecided" and (found == "better").all()
    assert pd.read_csv(folder / "lineage.csv")["program"].iloc[-1] == "torch.sin(x) - x * x"
    verdicts = claims.table().set_index("part")["verdict"]
    assert set(verdicts[["4e", "4f", "4g"]]) == {"undecided"}  # GELUSine, GELU-Sinc and GMTU against GELU
    own = [compared.loc[(name, "gelu"), "verdict"] for name in ("gelu-sine", "gelu-sinc", "gmtu")]
    assert own == ["worse", "undecided", "worse"]  # two of the three are decided in the default lab
    assert set(verdicts[["2a", "8"]]) == {"undecided"}
    arms = pd.read_csv(folder / "arms_compared.csv").query("suite == 'held-out'").set_index("arm")
    assert arms.loc["in-distribution", "verdict"] == "undecided"
    ranks = pd.read_csv(folder / "rate_ranks.csv").set_index("function")
    assert ranks["fixed_rank"].idxmin() != ranks["own_rank"].idxmin()
    beaten = pd.read_csv(folder / "constants_beaten.csv").set_index("form")
    clearly = [
        form for form, text in beaten["ood_mse"].items() if float(text[text.index("[") + 1 :].split(",")[0]) > 0.5
    ]
    assert clearly == ["gmtu"]
    learned = pd.read_csv(folder / "learned_constants.csv").set_index("function")
    assert (learned["train_high"] < 0).all()
    assert list(learned.index[learned["train_ratio"] > learned["log_ratio"]]) == ["snake"]


def test_what_is_said_of_the_labs_speed_is_what_the_committed_table_measured():
    measured = pd.read_csv(FIGURES / "bench_lab.csv").set_index(["function", "batch", "width", "path"])
    row = measured.loc[("gelu", 64, 64, "lab")]
    assert row["ratio_to_naive"] >= 7 and row["roofline_fraction"] >= 0.3  # what the lab is to be, whatever it is
    text = SPEED.replace("\n", " ")
    said = re.findall(r"networks of width 64 with GELU ([\d.]+) times faster .{0,120}? (\d+) % of its time", text)
    assert said == [(f"{row['ratio_to_naive']:.1f}", f"{100 * row['roofline_fraction']:.0f}")]


def test_no_process_of_the_committed_measurements_of_growth_reaches_two_gigabytes_and_the_largest_is_told():
    peak = pd.read_csv(FIGURES / "bench_growth.csv")["peak_mb"].max()
    assert peak < 2000
    said = re.findall(r"A process needs at most ([\d.]+) GB of memory", SPEED)
    assert said == [f"{peak / 1e3:.1f}"]


def test_what_is_said_of_ending_trainings_early_is_what_the_committed_replays_came_to():
    table = pd.read_csv(FIGURES / "racing.csv").set_index(["plan", "incumbent"])
    lines = SPEED.splitlines()
    for start, plan in (("| race over tasks:", "race over tasks"), ("| screen:", "screen")):
        (line,) = [line for line in lines if line.startswith(start)]
        shares = re.findall(r"([\d.]+) %", line)
        rows = [table.loc[(plan, rank)] for rank in trust.RANKS]
        saved, dropped = (
            [f"{100 * row[name]:.{digits}f}" for row in rows]
            for name, digits in (("saved", 0), ("dropped", 1 if plan == "race over tasks" else 0))
        )
        assert shares == saved + dropped


def test_what_is_said_of_a_thousand_data_sets_is_what_the_committed_comparisons_came_to():
    few, many = (pd.read_csv(FIGURES / f"{name}.csv").set_index(["subject", "function"])["verdict"]
                 for name in ("comparisons", "comparisons_thousand"))  # fmt: skip
    told, open_ = few[few != "undecided"], few[few == "undecided"]
    assert (many[told.index] == told).all()
    decided = (many[open_.index] != "undecided").sum()
    said = f"{len(told)} of the {len(told)} verdicts replicate, and {decided} of the {len(open_)} undecided comparisons"
    assert f"{said} becomes decided" in CLAIMS


def test_the_hours_of_the_full_data_sets_are_those_of_a_committed_measurement_on_a_gpu():
    table = pd.read_csv(FIGURES / "bench_hours.csv").set_index("data")
    assert (table["gpu"].str.contains("H200") & table["measured_gpu_hours"].notna()).all()
    assert "on an NVIDIA H200" in DATA
    for data, row in table.iterrows():
        (line,) = [line for line in DATA.splitlines() if line.startswith(f"| {data} |")]
        hours = row["measured_gpu_hours"] / row["trainings"], row["measured_gpu_hours"]
        assert line.split("|")[-4:-2] == [f" {float(f'{value:.2g}'):g} h " for value in hours]


def test_what_is_said_of_a_gpu_is_what_the_committed_table_measured():
    table = pd.read_csv(FIGURES / "bench_gpu.csv")
    few, many = map(int, re.findall(r"about (\d+) times faster with 48 tasks, (\d+) with 1000", SPEED)[0])
    assert table.query("tasks == 48")["ratio"].between(few - 1, few + 1).all()
    assert table.query("tasks == 1000")["ratio"].between(0.75 * many, 1.25 * many).all()
    assert (table["cpu_ood_mse"] / table["cuda_ood_mse"]).between(0.999, 1.001).all()


def test_what_is_said_of_confinement_and_overhead_is_what_the_committed_tables_measured():
    added = pd.read_csv(FIGURES / "bench_isolation.csv")["added_ms"]
    said = f"adds {added.min():.0f} to {added.max():.0f} ms"
    assert said in SPEED and said in (ROOT / "docs" / "safety.md").read_text()
    overhead = pd.read_csv(FIGURES / "bench_overhead.csv").iloc[-1]
    assert f"spends {overhead['total_ms']:.0f} ms per candidate" in SPEED
    assert f"{overhead['programs'] // 1000 * 1000:,.0f} programs in the archive" in SPEED


def test_what_is_said_in_words_of_transfer_holds_in_the_committed_tables():
    folder = FIGURES
    planned = pd.read_csv(folder / "downstream.csv").query("planned")
    others = planned[planned["function"] != planned["other"]]
    assert (others["verdict"] != "better").all() and set(others["other"]) == {"relu", "gelu"}
    over_relu = planned[planned["other"] == "relu"].set_index(["function", "benchmark", "split"])
    inside = over_relu.xs("in-distribution", level="split")
    coupled = ("turbulent", "qfw", "fisg", "symmetric-phase-flipped")
    assert all(inside.loc[(name, "images"), "verdict"] == "worse" for name in (*coupled, "found"))
    assert inside.loc[("found", "molecules"), "high"] < 0
    agreed = pd.read_csv(folder / "lab_transfer_agreement.csv").query("functions == 'all' and suite == 'held-out'")
    row = agreed.query("task == 'mean' and split == 'both'").iloc[0]
    assert row.spearman_low < 0 < row.spearman_high  # undecided
    parting = pd.read_csv(folder / "parting_pictures.csv")
    assert parting["id"].iloc[-1] == pd.read_csv(folder / "lineage.csv")["id"].iloc[-1]


def test_a_search_that_races_ends_as_the_committed_table_and_the_account_of_speed_say():
    table = pd.read_csv(FIGURES / "bench_searches.csv").set_index(["seed", "plan"])
    whole, racing = (table.loc[(0, plan)] for plan in ("whole suite", "racing"))
    assert racing["same_winner"] or racing["includes_zero"]
    assert (racing["same_winner"], racing["parted"], racing["evaluations"]) == (True, 0, whole["evaluations"])
    assert f"took {racing['seconds']:.0f} s with races and {whole['seconds']:.0f} s without" in SPEED
    assert f"trained {racing['trained']:.0%}".replace("%", " %") in SPEED
