"""What is asked beyond the paper.

- `trust`: seeds, rates, rings: what the lab's ranks are worth;
- `lab_records`: trainings that take long: the verb lab-records;
- `gpu_lab`: a thousand data sets on a GPU;
- `constants`: learned against fixed constants;
- `spectra`: what networks learn by frequency;
- `bands`: statistics of that;
- `multiverse`: many such labs: the verb multiverse;
- `robustness`: claims over them;
- `generality`: searches over labs, and what they find: the verb generality;
- `correlates`: what goes with generality, of labs and of functions;
- `coverage`: how often intervals hold the mean;
- `claim_rules`: the rule of each claim's verdict;
- `committed`: the verb records;
- `lab_canary`: notices code that trains or scores otherwise;
- `multiverse_canary`: notices a multiverse of other code;
- `generality_canary`: notices other labs, or another score over them.
"""

from actlab import face

__all__, __getattr__, __dir__ = face(__name__, __path__)
