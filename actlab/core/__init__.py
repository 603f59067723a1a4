"""What everything else stands on.

- `config`: the settings of a run, in three named profiles;
- `paper`: the paper's published numbers;
- `stats`: intervals, paired comparisons, verdicts;
- `reliability`: how reliably a lab ranks functions;
- `files`: files written whole, and known to be whole when they are read;
- `records`: where results live, their keys, protocols and canaries;
- `sources`: what modules import, and a hash of what they compute;
- `jobs`: the runner of long jobs, on this machine or a cluster.
"""

from actlab import face

__all__, __getattr__, __dir__ = face(__name__, __path__)
