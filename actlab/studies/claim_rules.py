"""The parts that the paper's claims are cut into, each with its rule and what would change our mind (all ours).

A comparison is *better*, *worse* or *undecided* as the table says that it is read off: paired, and corrected by Holm.
`WRITTEN` says when the rules were written.
"""

from __future__ import annotations

from dataclasses import dataclass

from actlab.core import paper

SUPPORTED, NOT, UNDECIDED, UNTESTED = VERDICTS = "supported", "not supported", "undecided", "not tested here"
NAMES = {  # as readers know them, without loading torch
    "relu": "ReLU", "gelu": "GELU", "gelu-sine": "GELUSine", "gelu-sinc": "GELU-Sinc", "gmtu": "GMTU",
    "turbulent": "Turbulent", "qfw": "QFW", "fisg": "FISG", "symmetric-phase-flipped": "Phase-Flipped",
    "snake": "Snake",
}  # fmt: skip
DISCOVERED = ("gelu-sine", "gelu-sinc", "gmtu", "turbulent")  # those of Table 1
COUPLED = ("turbulent", "qfw", "fisg", "symmetric-phase-flipped")  # see other elements of their tensor
POINTWISE = ("gelu-sine", "gelu-sinc", "gmtu", "gelu", "relu")  # those of the paper's Table 2
VARIANTS = ("gelu", "gelu-sine", "gelu-sinc")
WRITTEN = (
    "**When the rules were written.** Every comparison which Holm's method corrects was planned before it was made, in "
    "the notebook that made it. Of the rules that turn comparisons into verdicts, those on generality (2c, 3d and 3e) "
    "were written before any of its searches was run, and those on transfer before their records were complete. Those "
    "on the lab and on the search (2a, 2b) were written after their numbers were known. The rule on the multiverse of "
    "labs was written last of these, after its shares of labs were known too; it can only take verdicts away."
)
RUNS = 8  # of each arm of the study of generality; no verdict is given before they are there
ALIKE = 3  # training losses are alike within this factor, as those of the paper's Table 1 are
PAIRS = (("gelu", "relu"), *((name, "gelu") for name in DISCOVERED), ("turbulent", "relu"))


@dataclass(frozen=True)
class Part:
    """A part of a claim, and how it is decided."""

    name: str  # the claim's number, and a letter where it has several parts
    text: str
    rule: str
    change: str  # what would change our mind
    figure: str  # a file of figures/
    notebook: str
    sources: tuple[str, ...]  # the names of the tables of figures/ that it is read off
    statement: str = ""  # of the multiverse's, in `LABS`; "" where it has none


LABS = "table_3"  # the multiverse: shares of labs by statement
AGREE = (
    "Supported or not supported only where the multiverse of labs says the same: there a statement holds (fails) if "
    "the 95 % Wilson interval of its share of labs lies above (below) one half, by the mean loss and by the typical "
    "one, not corrected for the number of statements; else undecided."
)
PAIR = (
    "In the default lab: supported if the first function's loss is lower on the held-out suite (mean log ratio paired "
    f"by data set, Holm over the notebook's planned comparisons), not supported if it is higher. {AGREE}"
)
LAB = "A lab like the paper's, whose settings it does not publish, or another plausible distribution of labs."
AHEAD = (
    "Supported if the 95 % Wilson interval of the share of held-out labs in which its mean log loss is lower lies "
    "above one half, and the interval of the mean log ratio over these labs lies below 0; not supported if both lie on "
    "the other side; else undecided."
)
BEAT = "An interval of the share on the other side of one half: more draws, or the paper's own ranges of constants."
WORSE = "New seeds or other data of that kind on which the comparison with ReLU comes out the other way after Holm."
PARTS = (
    Part(
        "1", "A language model's mutations let a search go through all of Python within a FLOP budget",
        "Not tested here: no key was at hand, so no model was asked. The proposer is there.",
        "A search with a model beside one with the grammar, at equal evaluations, judged on held-out data sets.",
        "figure_1.png", "05_search", ("authors",),
    ),
    Part(
        "2a", "Selecting by the loss outside selects inductive bias: loss of selecting inside over selecting outside",
        "Supported if selecting inside is worse on the held-out suite (p below 0.05 after Holm over four controls), "
        "not supported if it is better, else undecided.",
        "More seeds of both arms: five leave an interval in which a large difference could hide.",
        "arms.png", "09_search_arms", ("arms_compared",),
    ),
    Part(
        "2b", "It is the search and not luck [ours]: loss of random sampling over the search, at equal evaluations",
        "Supported if random sampling is worse on the held-out suite after the same correction, not supported if it is "
        "better, else undecided.",
        "More seeds, or longer runs of both.",
        "arms.png", "09_search_arms", ("arms_compared",),
    ),
    Part(
        "2c", "Selecting over labs selects generality [ours]: mean log ratio to GELU, less than that of two other arms",
        "Supported if the searches over labs have a lower mean log ratio to GELU on the held-out labs than those in "
        "the default lab, and than random sampling over labs (each p below 0.05 after Holm over six comparisons, "
        "Welch's t over runs), not supported if either is lower than they are, else undecided. Not tested before all "
        f"{RUNS} runs of each arm are there.",
        "More runs, or longer ones: the controls may catch up.",
        "figure_10.png", "15_generality", ("generality_compared",),
    ),
    Part(
        "3a", "Small synthetic data sets suffice to find a function that helps elsewhere",
        "Supported if the found function is better than ReLU and GELU on the held-out suite, ahead of GELU in most "
        "labs of the multiverse (as in 3b), and in distribution better than ReLU on at least one of the three kinds of "
        "task and worse on none. Not supported if it is not better than GELU on the held-out suite, or worse than ReLU "
        "on at least one kind and better on none. Else undecided.",
        "A search from other seeds or with other proposals, whose choice does well elsewhere: this is one function.",
        "figure_3_elites.png", "05_search", ("found", "downstream"), "Found by search < GELU",
    ),
    *(
        Part(part, f"In the lab: loss of the function found by search over {NAMES[name]}", PAIR, change,
               "figure_3_elites.png", "05_search", ("found",), f"Found by search < {NAMES[name]}")
        for part, name, change in (
            ("3b", "relu", "Held-out data sets of another kind on which the found function loses."),
            ("3c", "snake", "More held-out data sets, or a longer search that leaves the best hand-made one behind."),
        )
    ),
    *(
        Part(part, f"Over held-out labs [ours]: the winner of the searches over labs against {NAMES[name]}", AHEAD,
             "Labs of another plausible distribution, or other seeds of the searches.", "figure_10.png",
             "15_generality", ("generality_winner",))
        for part, name in (("3d", "gelu"), ("3e", "snake"))
    ),
    Part(
        "4a", "In the lab every discovered function of Table 1 beats GELU",
        "In the default lab: supported if all four are better than GELU on the held-out suite, not supported if any is "
        f"worse. {AGREE} The multiverse's statement asks for more: that all four are ahead of ReLU too.",
        LAB, "table_1.png", "06_lab_scores", ("comparisons",), "all discovered < GELU and ReLU",
    ),
    Part("4b", "Turbulent leads: loss of Turbulent over GMTU",
         f"{PAIR} The multiverse's statement asks for more: that it is ahead of all five others.", LAB,
         "table_1.png", "06_lab_scores", ("comparisons",), "Turbulent < the other five"),
    Part(
        "4c", "Training losses are alike: the highest over the lowest of Table 1's six",
        f"In the default lab: supported if it is at most {ALIKE} (mean training losses on the held-out suite; no "
        f"interval), else not supported. {AGREE} A lab has one training loss a function, so here one share counts.",
        "A learning rate of each function's own.",
        "table_1.png", "06_lab_scores", ("table_1",), "training losses alike",
    ),
    *(
        Part(f"4{letter}", f"Loss of {NAMES[subject]} over {NAMES[other]}", PAIR, LAB, "table_1.png", "06_lab_scores",
             ("comparisons",), f"{NAMES[subject]} < {NAMES[other]}")
        for letter, (subject, other) in zip("defghi", PAIRS, strict=True)
    ),
    Part(
        "5a", "Functions that see other elements of their tensor win the lab",
        "Of Turbulent, QFW, FISG and Phase-Flipped the best on the search suite, on which none of them was selected: "
        "supported if the interval of its log ratio to ReLU lies below the best estimate of Table 2's pointwise "
        "functions, not supported if above, else undecided.",
        "The paper's lab, or the constants and the axis that it does not state (FISG is completed by us). The "
        "multiverse has Turbulent alone of these, so that this verdict is of the default lab.",
        "log_ratios.png", "06_lab_scores", ("zoo_scores",),
    ),
    Part(
        "5b", "They fail on images",
        "Supported if all four are worse than ReLU on images in distribution (paired by seed, Holm over all planned "
        "comparisons), not supported if none is, else undecided.",
        WORSE, "downstream.png", "13_transfer", ("downstream",),
    ),
    Part(
        "5c", "They may help on algorithms",
        "Supported if at least one is better than ReLU on algorithms on either split, not supported if all four are "
        "worse in distribution, else undecided.",
        WORSE, "downstream.png", "13_transfer", ("downstream",),
    ),
    Part(
        "5d", "Turbulent transfers nowhere",
        "Supported if it is better than ReLU on none of the three kinds' two splits and worse on at least one, not "
        "supported if it is better anywhere, else undecided.",
        WORSE, "downstream.png", "13_transfer", ("downstream",),
    ),
    Part(
        "6a", "GELU, GELUSine and GELU-Sinc do well downstream",
        "Supported if none is worse than ReLU on any of the three kinds' two splits and at least one is better "
        "somewhere, not supported if any is worse, else undecided.",
        WORSE, "downstream.png", "13_transfer", ("downstream",),
    ),
    Part(
        "6b", "GELU-Sinc is the best overall",
        "By the raw log ratio of scores to ReLU's, mean over kinds and splits: supported if its interval lies above "
        "every other function's estimate, not supported if it lies below ReLU or another's interval above its "
        "estimate, else undecided.",
        "More seeds or kinds of task; which functions are compared matters, since hand-made ones are among ours.",
        "figure_6.png", "13_transfer", ("figure_6",),
    ),
    *(
        Part(f"7{letter}", f"{NAMES[form]}'s own constants beat most random draws of its form",
               "Supported if Wilson's interval of the share of draws with a higher mean loss on the search suite lies "
               "above one half, not supported if below, else undecided.",
               BEAT, "figure_7.png", "08_constants", ("constants_beaten",))
        for letter, form in zip("abcd", paper.FIGURE_7, strict=True)
    ),
    Part(
        "8", "A search overfits the lab: a better lab score goes with worse transfer",
        "Spearman's correlation over functions of the score on the search suite with the mean over kinds and splits of "
        "standardised scores: supported if its interval lies below 0, not supported if above, else undecided.",
        "More functions: so few give wide intervals. Elites of one search would be a nearer test than a zoo.",
        "lab_against_transfer.png", "13_transfer", ("lab_transfer_agreement", "parting", "parting_pictures"),
    ),
)  # fmt: skip
