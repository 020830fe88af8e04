"""What came out, in sentences that need no knowledge of the method."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from denoiseq.report.metric_tables import HEADINGS, verdict
from denoiseq.report.metric_text import named
from denoiseq.report.style import shown_name

# What follows "it ranks bases", by the verdict of the gain's interval.
JUDGED = {
    "better": " better than the Gaussian",
    "worse": " worse than the Gaussian",
    "no clear difference": " neither clearly better nor clearly worse than the Gaussian",
}
# Depths within this factor of the training's are as good as equal.
EQUAL_DEPTH = 1.1


def of_evaluation(metrics: Mapping[str, Any], chroms: Sequence[str]) -> list[str]:
    """What the held-out chromosomes say of the denoised track."""
    names = f" ({', '.join(chroms)})" if chroms else ""
    if metrics.get("split") == "test":
        where = f"On chromosomes that the network never saw{names}"
    else:
        where = f"On the validation chromosomes{names}, which chose the best epoch and thresholds"
    sentences = [f"{where}, {_found(metrics)}."]
    others = [_as_found(metrics, name) for name in ("gaussian", "macs3")]
    known = [text for text in others if text]
    if known:
        sentences.append(f"For comparison: {'; '.join(known)}.")
    return [*sentences, *_against(metrics)]


def _found(metrics: Mapping[str, Any]) -> str:
    recall = named(metrics, "denoised.peaks.recall")
    precision = named(metrics, "denoised.peaks.precision")
    if recall is None:
        return "there was no true peak to find"
    if precision is None:
        return "the denoised track calls no peak at all"
    return (
        f"the denoised track finds {recall:.0%} of the true peaks, "
        f"and {precision:.0%} of the peaks that it calls are true"
    )


def _as_found(metrics: Mapping[str, Any], name: str) -> str:
    recall = named(metrics, f"{name}.peaks.recall")
    precision = named(metrics, f"{name}.peaks.precision")
    if recall is None or precision is None:
        return ""
    who = "the best Gaussian smoothing" if name == "gaussian" else shown_name(name)
    return f"{who} {recall:.0%} and {precision:.0%}"


def _against(metrics: Mapping[str, Any]) -> list[str]:
    """One sentence on the two measures that matter most; judged only where there are intervals."""
    parts = []
    for key, what in (("log1p_pearson", "follows the clean coverage"), ("auprc", "ranks bases")):
        ours, theirs = (named(metrics, f"{name}.{key}") for name in ("denoised", "gaussian"))
        if ours is None or theirs is None:
            continue
        gain = (metrics.get("gain") or {}).get("gaussian", {}).get(key) or {}
        judged = JUDGED.get(verdict(key, gain), "")
        parts.append(f"{what}{judged} ({HEADINGS[key]} {ours:.3f}, the Gaussian {theirs:.3f})")
    return [f"The denoised track {' and '.join(parts)}."] if parts else []


def of_training(metrics: Mapping[str, Any], epochs: int, best_epoch: int | None) -> list[str]:
    """How long it was trained and how well it does on validation."""
    first = "The weights were taken as given and measured; nothing was trained."
    if epochs:
        chosen = f"; epoch {best_epoch} was best and is kept" if best_epoch and epochs > 1 else ""
        first = f"Trained for {epochs:,} epoch{'s' * (epochs != 1)}{chosen}."
    return [first, *of_evaluation(metrics, list(metrics.get("chromosomes") or {}))]


def of_prediction(summary: Mapping[str, Any], genome_bp: int, lengths_bp: Sequence[int]) -> str:
    """How many peaks, how much of the genome, how long."""
    peaks = summary["peaks"]
    if not peaks:
        return f"No peak reached the threshold in {genome_bp / 1e6:,.1f} Mb."
    share = summary["peak_bp"] / max(genome_bp, 1)
    ordered = sorted(lengths_bp)
    low, high = ordered[len(ordered) // 4], ordered[(3 * len(ordered)) // 4]
    middle = f"; the middle half of them is {low:,} to {high:,} bp long" if len(ordered) > 3 else ""
    plural = "peaks cover" if peaks > 1 else "peak covers"
    return f"{peaks:,} {plural} {share:.1%} of the genome ({genome_bp / 1e6:,.1f} Mb){middle}."


def of_depth(
    depth: Mapping[str, Any], trained_range: tuple[float, float] | None
) -> tuple[str, str]:
    """A sentence on the input's depth beside the training's, and the prediction's warning or ""."""
    used, trained = depth["used_cuts_per_mb"], depth["trained_cuts_per_mb"]
    given, kept = depth.get("given_cuts_per_mb"), depth.get("thinning_fraction") or 1.0
    low, high = trained_range or (trained, trained)
    if not used or not low:
        return "The input holds no cut sites.", ""
    thinned = f", thinned from {given:,.0f} (a share of {kept:.0%})" if kept < 1 else ""
    read = f"The network read {used:,.0f} cut sites per Mb{thinned}"
    if low / EQUAL_DEPTH <= used <= high * EQUAL_DEPTH:
        return f"{read}: a depth that it was trained for.", ""
    bound = low if used < low else high
    text = f"{read}: {used / bound:.0%} of the depth that it was trained for ({bound:,.0f})."
    return text, _sentence(depth.get("warning") or "")


def _sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:]}." if text else ""
