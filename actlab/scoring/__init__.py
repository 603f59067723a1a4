"""How a candidate gets its score.

- `confinement`: limits, seccomp and Landlock around a process;
- `messages`: what processes tell each other;
- `forkserver`: the warmed parent of confined processes;
- `sandbox`: runs a job in a confined process;
- `worker`: the jobs: describe, train, take values;
- `pool`: warm sandboxes here or on a cluster;
- `evaluator`: judges what workers predict;
- `in_process`: an evaluator without sandboxes, for canaries;
- `laboratory`: a profile's suites, and what was scored before;
- `summaries`: losses summed up, with intervals;
- `commands`: the verbs check and score.
"""

from actlab import face

__all__, __getattr__, __dir__ = face(__name__, __path__)
