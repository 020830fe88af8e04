"""The paper's claims beside what was measured here.

Chaudhary et al., arXiv 2104.08002, abstract: the only figures of the page that are typed by hand.
"""

from results.rows import pick, table
from results.tables import PASSES

PRECISIONS = {"FP32": ("native", "torch"), "BF16": ("native-bf16", "torch-bf16")}


def headline(measured):
    """A line for each claim that there are measurements of."""
    body = []
    if layers := measured.get("layers"):
        best = [_best_rate(layers, name) for name in ("direct", "auto")]
        theirs = "up to 80% of peak (Cascade Lake, Cooper Lake)"
        claim = "a layer's rate over the multiply-add peak"
        body.append([claim, theirs, "; ".join(filter(None, best))])
    if epochs := measured.get("epochs"):
        seconds = {row["on"]: row["epoch_s"] for row in epochs}
        ratios = ", ".join(
            f"{words} {seconds[torch] / seconds[native]:.1f} x"
            for words, (native, torch) in PRECISIONS.items()
            if native in seconds and torch in seconds
        )
        words = f"{ratios} the fastest form of torch in the same precision"
        body.append(["end-to-end training", "up to 6.86 x oneDNN (Cascade Lake)", words])
    if ranks := measured.get("ranks"):
        first, best = ranks[0], max(ranks, key=lambda row: row["segments_per_second"])
        words = (
            f"{best['segments_per_second'] / first['segments_per_second']:.2f} x with "
            f"{best['processes']} process(es) of {best['threads']} thread(s) over "
            f"{first['processes']} of {first['threads']}, on one machine"
        )
        theirs = "near-linear from 1 to 16 sockets (Cascade Lake, Cooper Lake)"
        body.append(["scaling", theirs, words])
    return table(["what", "theirs, as published", "here"], body)


def _best_rate(rows, contender):
    """A contender's highest rate over the peak, in words; "" if it took no part."""
    best = max(pick(rows, contender=contender), key=lambda r: r["fraction_of_peak"], default=None)
    if best is None:
        return ""
    words = f"{best['layer']}, {PASSES[best['pass']]}"
    return f"{contender} up to {best['fraction_of_peak']:.0%} ({words})"
