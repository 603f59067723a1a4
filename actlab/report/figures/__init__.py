"""Figures: a function takes records and axes, computes nothing and reads no file.

- `style`: style, colours, saving;
- `draw`: dots and curves with intervals, legends, axes;
- `lab`: Figures 2, 4, 5, 7 and 8, Table 1, and the study of trust;
- `search`: Figures 1 and 3, lineages, ablations;
- `constants`: Figure 9;
- `multiverse`: labs drawn at random, Figure 10;
- `spectra`: frequencies;
- `tasks`: images, algorithms, molecules;
- `transfer`: Figure 6 and the lab against transfer.
"""

from actlab import face

__all__, __getattr__, __dir__ = face(__name__, __path__)
