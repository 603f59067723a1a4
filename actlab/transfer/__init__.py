"""Do functions help elsewhere? (paper, section 5)

- `interface`: the shape that benchmarks share;
- `training`: one model of a benchmark, trained;
- `images`: VGGs and ResNets;
- `image_files`: pictures from files;
- `image_data`: their splits and corruptions;
- `molecules`: a graph network;
- `molecule_data`: molecules as graphs;
- `algorithms`: CLRS-30;
- `algorithm_data`: its trajectories;
- `algorithm_model`: its network;
- `algorithm_scores`: its losses and scores;
- `sweep`: every function, data set and seed: the verb transfer;
- `statistics`: comparisons, Figure 6, Table 2;
- `baselines`: what plain answers score;
- `probe`: digits, for programs that a search found;
- `probe_worker`: its confined part;
- `canary`: notices code that trains otherwise;
- `canary_files`: its small files.
"""

from actlab import face

__all__, __getattr__, __dir__ = face(__name__, __path__)
