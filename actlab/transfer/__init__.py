"""Do functions help elsewhere? Images, molecules and algorithms, the sweep over them, and its statistics."""

from actlab import face

__all__, __getattr__, __dir__ = face(
    __name__,
    (
        "algorithm_data",
        "algorithm_model",
        "algorithm_scores",
        "algorithms",
        "baselines",
        "canary",
        "canary_files",
        "clrs_sampler",
        "image_data",
        "images",
        "interface",
        "molecule_data",
        "molecules",
        "probe",
        "probe_worker",
        "statistics",
        "sweep",
        "training",
        "views",
    ),
)
