"""Which function stands in which table: the one list to edit beside the zoo itself (ours where the paper has none).

The whole zoo stands in what notebooks 04, 15, 18 and 19 show, in Figure 1, and in the races and the thousand data sets
of notebooks 03 and 06. The other tables and figures hold the functions below; each list says what trains them.
"""

from actlab.core import paper

FOUND = "found"  # by the laptop search, beside the zoo

# Tables 1, 2 (the lab's columns) and 4, notebooks 02, 03 and 06: `make lab-records`, then `make reproduce`.
TABLE_1 = ("relu", "gelu", "gelu-sine", "gelu-sinc", "gmtu", "turbulent")  # the paper's rows
HAND_MADE = ("snake", "sine", "silu", "tanh")  # scored on every suite beside them [ours]

# Table 3, notebook 14: `make multiverse`. tanh is left out [ours].
MULTIVERSE = (*paper.TABLE_1, *(name for name in HAND_MADE if name != "tanh"), FOUND)

# Table 2 and Figure 6, notebooks 10 to 13: `make transfer`. The hand-made ones to beat, the paper's that are exact or
# completed, and the search's own.
DOWNSTREAM = (
    "relu", "gelu", "silu", "snake", "gelu-sine", "gelu-sinc", "gmtu", "turbulent", "leaky-sqrt-decay", "qfw",
    "symmetric-phase-flipped", "fisg", FOUND,
)  # fmt: skip

# Figures 8 and 9, notebook 08: `make reproduce`. Three of the paper's, and the best hand-made one with a wave.
CONSTANTS = ("gelu-sine", "gelu-sinc", "gmtu", "snake")
