"""The paper's claims beside what was measured here.

The published figures are the only ones of the results page that are typed by hand.
"""

from results.layout import table
from results.rows import pick
from results.tables import words_of_pass

# Chaudhary et al., arXiv 2104.08002, abstract.
PAPER = {
    "efficiency": "up to 80% of peak (Cascade Lake, Cooper Lake)",
    "training": "up to 6.86 x oneDNN (Cascade Lake)",
    "scaling": "near-linear from 1 to 16 sockets (Cascade Lake, Cooper Lake)",
}


def headline(found):
    """A line for each claim that there are measurements of."""
    body = []
    if found.get("layers"):
        best = [_best_rate(found["layers"], name) for name in ("direct", "auto")]
        claim = "a layer's rate over the multiply-add peak"
        body.append([claim, PAPER["efficiency"], "; ".join(filter(None, best))])
    if found.get("epochs"):
        seconds = {row["on"]: row["epoch_s"] for row in found["epochs"]}
        pairs = [("FP32", "native", "torch"), ("BF16", "native-bf16", "torch-bf16")]
        ratios = ", ".join(
            f"{words} {seconds[torch] / seconds[native]:.1f} x"
            for words, native, torch in pairs
            if native in seconds and torch in seconds
        )
        words = f"{ratios} the fastest form of torch in the same precision"
        body.append(["end-to-end training", PAPER["training"], words])
    if found.get("ranks"):
        first, best = found["ranks"][0], max(found["ranks"], key=_rate)
        words = (
            f"{_rate(best) / _rate(first):.2f} x with "
            f"{best['processes']} process(es) of {best['threads']} thread(s) over "
            f"{first['processes']} of {first['threads']}, on one machine"
        )
        body.append(["scaling", PAPER["scaling"], words])
    return table(["what", "theirs, as published", "here"], body)


def _rate(row):
    return row["segments_per_second"]


def _best_rate(rows, contender):
    """A contender's highest rate over the peak, in words; "" if it took no part."""
    best = max(pick(rows, contender=contender), key=lambda r: r["fraction_of_peak"], default=None)
    if best is None:
        return ""
    rate = best["fraction_of_peak"]
    return f"{contender} up to {rate:.0%} ({best['layer']}, {words_of_pass(best)})"
