"""Losses and scores of CLRS-30 by type, as dm-clrs 2.0.3 defines them; tests compare both with dm-clrs's own answers.

`prediction` is logits in a loss, and hardened (`algorithm_model.harden`) in a score.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F

from actlab.transfer.algorithm_data import Probe, Trajectories

Values = Mapping[str, torch.Tensor]  # by the name of the probe


def loss(probes: Sequence[Probe], true: Trajectories, outputs: Values, hints: Values) -> torch.Tensor:
    """The sum of the losses of all outputs and hints.

    `true` has all its hints; logits are [batch, ...] of outputs and [steps, batch, ...] of hints, after each step.
    """
    terms = [output_loss(p, true.outputs[p.name], outputs[p.name]) for p in probes if p.stage == "output"]
    terms += [hint_loss(p, true.hints[p.name], hints[p.name], true.lengths) for p in probes if p.stage == "hint"]
    return torch.stack(terms).sum()


def output_loss(probe: Probe, truth: torch.Tensor, prediction: torch.Tensor) -> torch.Tensor:
    """The mean over what counts, a scalar."""
    each = _each(probe, truth, prediction)
    counts = _counting(probe, truth, each, ("mask_one", "categorical"))
    return (each * counts).sum() / counts.sum()


def hint_loss(probe: Probe, truth: torch.Tensor, prediction: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
    """The mean over what counts in the steps that samples have, a scalar.

    `truth` is [steps + 1, batch, ...], `prediction` [steps, batch, ...], and `lengths` [batch] are 1 + the steps.
    """
    each = _each(probe, truth[1:], prediction)
    steps = torch.arange(len(each), device=lengths.device)
    running = (lengths[None] > steps[:, None] + 1).view(*each.shape[:2], *[1] * (each.ndim - 2))
    counts = running & _counting(probe, truth[1:], each, ("categorical",))
    return (each * counts).sum() / counts.sum().clamp(min=1e-12)


def _each(probe: Probe, truth: torch.Tensor, prediction: torch.Tensor) -> torch.Tensor:
    """The loss of each scalar, mask or vector; what does not count is arbitrary, but finite."""
    if probe.type == "scalar":
        return (prediction - truth) ** 2
    if probe.type == "mask":
        return F.binary_cross_entropy_with_logits(prediction, truth.clamp(min=0), reduction="none")
    if probe.type == "permutation_pointer":  # the prediction is a logarithm already
        return -(truth * prediction).sum(dim=-1)
    hot = F.one_hot(truth, prediction.shape[-1]) if probe.type == "pointer" else truth.clamp(min=0)
    return -(hot * torch.log_softmax(prediction, dim=-1)).sum(dim=-1)


def _counting(probe: Probe, truth: torch.Tensor, each: torch.Tensor, vectors: tuple[str, ...]) -> torch.Tensor:
    """Which of the losses count; `vectors` are the types whose vectors may not."""
    if probe.type == "mask":
        return truth != -1
    return (truth == 1).any(dim=-1) if probe.type in vectors else torch.ones_like(each, dtype=torch.bool)


def score(probes: Sequence[Probe], truths: Values, predictions: Values) -> float:
    """The mean of the scores of all outputs [samples, ...], from 0 to 1; a permutation and its mask are one of them."""
    values = []
    outputs = {probe.name: probe for probe in probes if probe.stage == "output"}
    for name, probe in outputs.items():
        if probe.type == "permutation_pointer":
            true, came = (_fused(kept[name], kept[f"{name}_mask"]) for kept in (truths, predictions))
            values.append(float((true == came).float().mean()))
        elif outputs.get(name.removesuffix("_mask"), probe).type != "permutation_pointer":
            values.append(probe_score(probe, truths[name], predictions[name]))
    return sum(values) / len(values)


def _fused(permutation: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Pointers [..., nodes] of a permutation; the node in the mask, the first in order, points to itself."""
    itself = torch.arange(mask.shape[-1], device=mask.device)
    return torch.where(mask > 0.5, itself, permutation.argmax(dim=-1))


def probe_score(probe: Probe, truth: torch.Tensor, prediction: torch.Tensor) -> float:
    """Of one probe: the share that is right, for a mask the F1 score, for a scalar the mean squared error."""
    if probe.type == "scalar":
        return float(((prediction - truth) ** 2).mean())
    if probe.type == "pointer":
        return float((prediction == truth).float().mean())
    if probe.type == "mask":
        return _f1(truth, prediction)
    if probe.type == "permutation_pointer":
        raise ValueError(f"{probe.name}: wanted a permutation with its mask, as `score` takes them; came one alone")
    counts = (truth != -1).all(dim=-1)
    right = prediction.argmax(dim=-1) == truth.argmax(dim=-1)
    return float((right & counts).sum() / counts.sum())


def _f1(truth: torch.Tensor, prediction: torch.Tensor) -> float:
    """F1 of all elements together; a precision or a recall over nothing is 1."""
    counts = truth != -1
    said, is_so = (prediction > 0.5) & counts, (truth > 0.5) & counts
    hits, all_said, all_so = (int(which.sum()) for which in (said & is_so, said, is_so))
    precision = hits / all_said if all_said else 1.0
    recall = hits / all_so if all_so else 1.0
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0
