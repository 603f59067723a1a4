import re

import pandas as pd
import pytest

from actlab import claims, readme, studies
from actlab.records import ROOT


def rows() -> list[list[str]]:
    """The cells of README's table of claims, without its head."""
    text = (ROOT / "README.md").read_text()
    start, end = readme.MARKS
    table = text[text.index(start) + len(start) : text.index(end)].strip().splitlines()
    return [row.strip("| ").split(" | ") for row in table[2:]]


def test_the_readmes_claims_are_those_of_the_committed_tables():
    text = (ROOT / "README.md").read_text()
    assert readme.renewed(text, claims.table()) == text, "make readme writes the table and the sentences anew"


def test_the_readme_says_of_every_part_what_the_table_says():
    table = claims.table()
    assert len(rows()) == len(table)
    for (claim, theirs, ours, verdict, where), row in zip(rows(), table.itertuples(), strict=True):
        assert (claim, theirs, verdict) == (f"{row.part}. {row.text}", row.paper, row.verdict)
        assert ours.startswith(row.ours) and f"`{row.command}`" in where


def test_every_claim_leads_to_a_picture_and_a_notebook_that_are_there():
    for _, _, _, verdict, where in rows():
        links = re.findall(r"\]\(([^)]*)\)", where)
        assert all((ROOT / link).is_file() for link in links)
        kinds = [link.split("/")[0] for link in links]
        multiverse = ["figures/multiverse_shares.png", "notebooks/14_multiverse.ipynb"]
        if links[2:]:
            assert links[2:] == multiverse and "`make multiverse && " in where
            kinds = kinds[:2]
        assert kinds == ["figures", "notebooks"] or (verdict == "not tested here" and kinds == ["notebooks"])


def test_every_numbered_figure_and_table_is_there_with_its_csv_and_linked():
    text = (ROOT / "README.md").read_text()
    wanted = {f"figure_{i}": "png" for i in range(1, 10)} | {f"table_{i}": "md" for i in range(1, 5)}
    for name, suffix in wanted.items():
        assert f"[{name[-1]}](figures/{name}.{suffix})" in text, name
        assert (ROOT / "figures" / f"{name}.{suffix}").is_file() and (ROOT / "figures" / f"{name}.csv").is_file(), name


def test_the_readme_says_when_the_rules_were_written():
    text = " ".join((ROOT / "README.md").read_text().split())
    assert "stated before its number" not in text
    assert "The rules on transfer were written before its records were complete" in text
    assert "those on the lab and the search when their numbers were known" in text
    assert "what the multiverse of labs has to say in them last of all" in text


def test_in_short_says_what_the_records_say_of_the_multiverse_and_of_waves(tmp_path):
    for name in ("table_3", "periodicity"):
        (tmp_path / f"{name}.csv").write_text((ROOT / "figures" / f"{name}.csv").read_text())
    labs, waves = pd.read_csv(tmp_path / "table_3.csv"), pd.read_csv(tmp_path / "periodicity.csv")
    said = readme.short(tmp_path).replace("\n", " ")
    assert "ahead of Snake in few labs (17% [11%, 26%] by the mean loss, 22% [15%, 31%] by the typical loss)" in said
    assert "is -0.04 [-0.10, 0.03] by the mean loss" in said and "[15](notebooks/15_why_periodicity.ipynb)" in said
    first = waves["claim"][0]
    assert f"this holds: {first}" in said
    waves.iloc[0, 1] = "fails (0 for, 4 against, of 4)"
    waves.to_csv(tmp_path / "periodicity.csv", index=False)
    labs.loc[labs["what"] == "Found by search < Snake", ["low", "high"]] = (0.6, 0.8)
    labs.to_csv(tmp_path / "table_3.csv", index=False)
    said = readme.short(tmp_path).replace("\n", " ")
    assert "ahead of Snake in most labs" in said and f"This fails: {first}" in said


def test_a_ratio_is_read_off_the_paper_by_hand():
    said = {claim: theirs for claim, theirs, *_ in rows()}
    assert said["4d. Loss of GELU over ReLU"] == "0.85"  # 78.8 / 93.1
    assert said["4i. Loss of Turbulent over ReLU"] == "0.32"  # 29.8 / 93.1


def test_a_readme_without_its_marks_is_refused():
    start, end = readme.MARKS
    with pytest.raises(ValueError, match="wanted the marks"):
        readme.updated(f"{end}\n{start}", "")
    assert readme.updated(f"a\n{start}\nold\n{end}\nb", "new") == f"a\n{start}\nnew\n{end}\nb"


def test_what_is_said_in_words_of_the_laptop_run_holds_in_the_committed_tables():
    folder = ROOT / "figures"
    compared = pd.read_csv(folder / "comparisons.csv").set_index(["subject", "function"])
    the_papers = [name for name in studies.TABLE_1 if name not in ("relu", "gelu")]
    assert (compared.loc[[(name, "gelu") for name in the_papers], "log_ratio"] > 0).all()  # none is ahead of GELU
    six = pd.read_csv(folder / "table_1.csv").query("suite == 'held-out'").set_index("function")
    ratios = six["log_ratio"]
    assert ratios[list(studies.TABLE_1)].idxmax() == "turbulent"
    assert max(ratios["found"], ratios["snake"]) < ratios.drop(["found", "snake"]).min()
    found = pd.read_csv(folder / "found.csv").set_index("function")["verdict"]
    assert found.pop("snake") == "undecided" and (found == "better").all()
    assert pd.read_csv(folder / "lineage.csv")["program"].iloc[-1] == "torch.sin(x) - x * x"
    verdicts = claims.table().set_index("part")["verdict"]
    assert set(verdicts[["4e", "4f", "4g"]]) == {"undecided"}  # GELUSine, GELU-Sinc and GMTU against GELU stay open
    arms = pd.read_csv(folder / "arms_compared.csv").query("suite == 'held-out'").set_index("arm")
    assert arms.loc["in-distribution", "verdict"] == "undecided"
    ranks = pd.read_csv(folder / "rate_ranks.csv").set_index("function")
    assert ranks["fixed_rank"].idxmin() != ranks["own_rank"].idxmin()
    beaten = pd.read_csv(folder / "constants_beaten.csv").set_index("form")
    clearly = [
        form for form, text in beaten["ood_mse"].items() if float(text[text.index("[") + 1 :].split(",")[0]) > 0.5
    ]
    assert clearly == ["gmtu"]


def test_what_is_said_of_the_labs_speed_is_what_the_committed_table_measured():
    measured = pd.read_csv(ROOT / "figures" / "bench_lab.csv").set_index(["function", "batch", "width", "path"])
    row = measured.loc[("gelu", 64, 64, "lab")]
    assert row["ratio_to_naive"] >= 7 and row["roofline_fraction"] >= 0.3  # what the lab is to be, whatever it is
    text = (ROOT / "README.md").read_text().replace("\n", " ")
    said = re.findall(r"networks of width 64 with GELU ([\d.]+) times faster .{0,120}? (\d+) % of its time", text)
    assert said == [(f"{row['ratio_to_naive']:.1f}", f"{100 * row['roofline_fraction']:.0f}")]


def test_no_process_of_the_committed_measurements_of_growth_reaches_two_gigabytes_and_the_readme_has_the_largest():
    peak = pd.read_csv(ROOT / "figures" / "bench_growth.csv")["peak_mb"].max()
    assert peak < 2000
    said = re.findall(r"at most ([\d.]+) GB a process", (ROOT / "README.md").read_text().replace("\n", " "))
    assert said == [f"{peak / 1e3:.1f}"]


def test_what_is_said_of_ending_trainings_early_is_what_the_committed_replays_came_to():
    table = pd.read_csv(ROOT / "figures" / "racing.csv").set_index(["plan", "incumbent"])
    lines = (ROOT / "docs" / "speed.md").read_text().splitlines()
    for start, plan in (("| race over tasks:", "race over tasks"), ("| screen:", "screen")):
        (line,) = [line for line in lines if line.startswith(start)]
        shares = re.findall(r"([\d.]+) %", line)
        rows = [table.loc[(plan, rank)] for rank in studies.RANKS]
        saved, dropped = (
            [f"{100 * row[name]:.{digits}f}" for row in rows]
            for name, digits in (("saved", 0), ("dropped", 1 if plan == "race over tasks" else 0))
        )
        assert shares == saved + dropped


def test_what_is_said_of_a_thousand_data_sets_is_what_the_committed_comparisons_came_to():
    few, many = (pd.read_csv(ROOT / "figures" / f"{name}.csv").set_index(["subject", "function"])["verdict"]
                 for name in ("comparisons", "comparisons_thousand"))  # fmt: skip
    told, open_ = few[few != "undecided"], few[few == "undecided"]
    assert (many[told.index] == told).all()
    decided = (many[open_.index] != "undecided").sum()
    text = (ROOT / "README.md").read_text().replace("\n", " ")
    said = f"all {len(told)} comparisons that the default lab decides come out alike, and of its {len(open_)} open ones"
    assert f"{said} {decided} is decided" in text


def test_the_hours_of_the_full_data_sets_are_those_of_a_committed_measurement_on_a_gpu():
    table = pd.read_csv(ROOT / "figures" / "bench_hours.csv").set_index("data")
    assert (table["gpu"].str.contains("H200") & table["measured_gpu_hours"].notna()).all()
    text = (ROOT / "README.md").read_text()
    assert "on an NVIDIA H200" in text
    for data, row in table.iterrows():
        (line,) = [line for line in text.splitlines() if line.startswith(f"| {data} |")]
        hours = row["measured_gpu_hours"] / row["trainings"], row["measured_gpu_hours"]
        assert line.split("|")[-4:-2] == [f" {float(f'{value:.2g}'):g} h " for value in hours]


def test_what_is_said_of_a_gpu_is_what_the_committed_table_measured():
    table = pd.read_csv(ROOT / "figures" / "bench_gpu.csv")
    text = (ROOT / "docs" / "speed.md").read_text()
    few, many = map(int, re.findall(r"about (\d+) times faster with 48 tasks, (\d+) with 1000", text)[0])
    assert table.query("tasks == 48")["ratio"].between(few - 1, few + 1).all()
    assert table.query("tasks == 1000")["ratio"].between(0.75 * many, 1.25 * many).all()
    assert (table["cpu_ood_mse"] / table["cuda_ood_mse"]).between(0.999, 1.001).all()


def test_every_file_that_the_account_of_speed_names_is_there():
    named = re.findall(r"`((?:actlab|figures)/[^` ]*)`", (ROOT / "docs" / "speed.md").read_text())
    assert named and all(list(ROOT.glob(name)) for name in named)


def test_what_is_said_in_words_of_transfer_holds_in_the_committed_tables():
    folder = ROOT / "figures"
    planned = pd.read_csv(folder / "downstream.csv").query("planned")
    others = planned[~planned["function"].isin(["relu", "gelu"])]
    assert (others["verdict"] != "better").all()
    over_relu = planned[planned["other"] == "relu"].set_index(["function", "benchmark", "split"])
    inside = over_relu.xs("in-distribution", level="split")
    coupled = ("turbulent", "qfw", "fisg", "symmetric-phase-flipped")
    assert all(inside.loc[(name, "images"), "verdict"] == "worse" for name in (*coupled, "found"))
    assert inside.loc[("found", "molecules"), "high"] < 0
    agreed = pd.read_csv(folder / "lab_transfer_agreement.csv").query("functions == 'all' and suite == 'held-out'")
    row = agreed.query("task == 'mean' and split == 'both'").iloc[0]
    said = f"{row.spearman:.2f} [{row.spearman_low:.2f}, {row.spearman_high:.2f}]"
    assert f"Spearman {said}" in (ROOT / "README.md").read_text().replace("\n", " ")
    parting = pd.read_csv(folder / "parting_pictures.csv")
    assert parting["parts"].iloc[-1] and parting["id"].iloc[-1] == pd.read_csv(folder / "lineage.csv")["id"].iloc[-1]


def test_a_search_that_races_ends_as_the_committed_table_and_the_readme_say():
    table = pd.read_csv(ROOT / "figures" / "bench_searches.csv").set_index(["seed", "plan"])
    whole, racing = (table.loc[(0, plan)] for plan in ("whole suite", "racing"))
    assert racing["same_winner"] or racing["includes_zero"]
    assert (racing["same_winner"], racing["parted"], racing["evaluations"]) == (True, 0, whole["evaluations"])
    text = (ROOT / "README.md").read_text()
    assert f"took {racing['seconds']:.0f} s with races and {whole['seconds']:.0f} s without" in text
    assert f"trained {racing['trained']:.0%}".replace("%", " %") in (ROOT / "docs" / "speed.md").read_text()
