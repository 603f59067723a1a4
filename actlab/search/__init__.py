"""The evolutionary search (paper, Figure 1).

- `evolution`: a round after another: propose, race, train, place;
- `islands`: who stands in the cells of each island;
- `racing`: training that ends once it decides;
- `archive`: the database of a run;
- `database`: what archives and recordings share: a checked file in SQLite;
- `proposers`: who writes programs: a grammar, Claude, a mixture;
- `selection`: elites and the final choice;
- `runs`: a profile's search, run or read;
- `inspect`: a run in words;
- `ablation`: the search beside simpler ones;
- `contrasts`: statistics of that;
- `canary`: notices code that searches otherwise;
- `canary_programs`: its programs;
- `commands`: the verbs search and show.
"""

from actlab import face

__all__, __getattr__, __dir__ = face(__name__, __path__)
