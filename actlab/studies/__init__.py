"""What is asked beyond the paper: trust in the lab, constants, spectra, and a hundred labs drawn at random."""

from actlab import face

__all__, __getattr__, __dir__ = face(
    __name__,
    (
        "bands",
        "canary",
        "claim_rules",
        "constants",
        "distribution",
        "gpu_lab",
        "lab_records",
        "multiverse",
        "robustness",
        "spectra",
        "trust",
    ),
)
