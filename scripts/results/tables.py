"""Markdown tables from the rows of a results folder.

Only the figures of the paper (Chaudhary et al., arXiv 2104.08002, abstract) are typed by hand.
"""

from functools import partial
from itertools import groupby

from results import scale
from results.rows import fastest, pick, table, table_of

LETTERS = ("N", "C", "K", "S", "d", "W")
LAYER = {name: f"{{{name}}}" for name in ("layer", *LETTERS)}
PASSES = {
    "forward": "forward",
    "backward_data": "gradient of x",
    "backward_weight": "gradient of w",
    "forward_backward": "forward + backward",
}
WHOLE = ("forward", "forward_backward")
NOTHING = "-"
PRECISIONS = {"FP32": ("native", "torch"), "BF16": ("native-bf16", "torch-bf16")}

atacworks = partial(pick, C=15, K=15, S=51, d=8, W=60_000)


def words_of(row):
    """The machine that a row was measured on."""
    held = f" with its oneDNN held to {row['onednn_isa']}" if row.get("onednn_isa") else ""
    return f"{row['cpu']}, kernels for {row['isa']}, torch {row['torch']}{held}"


def words_of_pass(row):
    return PASSES[row["pass"]]


def peak_of(rows):
    """Median multiply-add peak of one core, GFLOP/s."""
    peaks = sorted(row["peak_gflops"] / row["threads"] for row in rows)
    return peaks[len(peaks) // 2]


def layer_table(rows):
    """The AtacWorks layer: a line for every N, threads and pass, a column for every contender."""
    rows, order = atacworks(rows), list(PASSES)
    contenders = dict.fromkeys((row["contender"] for row in rows), NOTHING)
    lines = {}
    for row in sorted(rows, key=lambda r: (r["N"], r["threads"], order.index(r["pass"]))):
        line = lines.setdefault((row["N"], row["threads"], words_of_pass(row)), {**contenders})
        line[row["contender"]] = "{speedup_over_torch:.2f} ({fraction_of_peak:.2f})".format(**row)
    body = [[*key, *line.values()] for key, line in lines.items()]
    return table(["N", "threads", "pass", *contenders], body)


def layer_summary(rows):
    """The AtacWorks layer in short: `auto` beside the fastest form of torch."""
    lines = []
    for _, group in groupby(atacworks(rows), lambda row: (row["N"], row["threads"])):
        group = list(group)
        for name in WHOLE:
            contenders = pick(group, **{"pass": name})
            auto, torch = (fastest(contenders, contender) for contender in ("auto", "torch"))
            if auto and torch:
                lines.append({**auto, "torch": torch})
    return table_of(lines, {
        "N": "{N}", "threads": "{threads}", "pass": words_of_pass,
        "dilconv, ms": "{median_ms:.2f}", "rate / peak": "{fraction_of_peak:.1f}",
        "fastest torch, ms": "{torch[median_ms]:.1f} ({torch[contender]})",
        "x": "**{speedup_over_torch:.1f}**",
    })  # fmt: skip


def _autos(rows):
    """Layer -> {(threads, pass): row of auto}; layers in their order."""
    layers = {}
    for row in rows:
        layer = layers.setdefault(tuple(row[name] for name in LAYER), {})
        if row["contender"] == "auto":
            layer[row["threads"], row["pass"]] = row
    return layers


def sweep_table(rows):
    """`auto` at every layer: how many times as fast as the fastest torch, by pass and threads."""
    threads = sorted({row["threads"] for row in rows})
    columns = [(t, name) for name in WHOLE for t in threads]

    def cell(row):
        return "{median_ms:.3g} ({speedup_over_torch:.2f})".format(**row) if row else NOTHING

    body = [
        [*layer, *(cell(autos.get(c)) for c in columns)] for layer, autos in _autos(rows).items()
    ]
    return table([*LAYER, *(f"{PASSES[name]}, {t} thr." for t, name in columns)], body)


def torch_wins(rows):
    """Where the fastest form of torch is ahead of `auto`, worst first; a sentence if nowhere."""
    autos = pick(rows, contender="auto")
    behind = [row for row in autos if row["speedup_over_torch"] < 0.95]
    share = f"{len(behind)} of {len(autos)} measurements"
    text = f"`auto` is behind the fastest form of torch by more than 5% in {share}"
    if not behind:
        return f"{text}."
    behind.sort(key=lambda row: row["speedup_over_torch"])
    columns = {**LAYER, "pass": words_of_pass, "threads": "{threads}"}
    return f"{text}:\n\n{table_of(behind, {**columns, 'x torch': '{speedup_over_torch:.2f}'})}"


def precision_table(single, half):
    """float32 beside bfloat16: `auto` at the layers that both files have."""
    halves = _autos(half)
    pairs = [
        {**row, "half_ms": halves[layer][key]["median_ms"]}
        for layer, autos in _autos(single).items()
        for key, row in autos.items()
        if row["pass"] in WHOLE and key in halves.get(layer, {})
    ]
    return table_of(pairs, {
        "layer": "{layer}", "pass": words_of_pass, "threads": "{threads}",
        "float32, ms": "{median_ms:.3g}", "bfloat16, ms": "{half_ms:.3g}",
        "ratio": lambda row: f"{row['median_ms'] / row['half_ms']:.2f}",
    })  # fmt: skip


def _shown(key):
    """A format of a contender's name: "native" is dilconv."""
    return lambda row: row[key].replace("native", "dilconv")


def steps_table(rows):
    def ratio(row):
        written = pick(rows, contender="torch", N=row["N"], threads=row["threads"])
        return f"{written[0]['median_ms'] / row['median_ms']:.1f}" if written else NOTHING

    return table_of(rows, {
        "N": "{N}", "threads": "{threads}", "on": _shown("contender"),
        "ms a step": "{median_ms:.0f}", "x the fastest torch": "{speedup_over_torch:.1f}",
        "x torch as users write it": ratio, "loss": "{loss:.4f}",
    })  # fmt: skip


def epochs_table(rows):
    torch = {row["dtype"]: row["epoch_s"] for row in rows if row["on"].startswith("torch")}
    return table_of(rows, {
        "training on": _shown("on"), "form": _shown("form"), "s an epoch": "{epoch_s:.1f}",
        "segments/s": "{segments_per_second:.2f}",
        "x torch in this precision": lambda row: f"{torch[row['dtype']] / row['epoch_s']:.1f}",
        "loss": "{loss:.4f}", "AUROC": "{auroc:.4f}", "AUPRC": "{auprc:.4f}",
    })  # fmt: skip


def ranks_table(rows):
    first = rows[0]["segments_per_second"]
    return table_of(rows, {
        "processes": "{processes}", "threads each": "{threads}", "s a step": "{step_s:.3f}",
        "segments/s": "{segments_per_second:.2f}",
        "x the first line": lambda row: f"{row['segments_per_second'] / first:.2f}",
        "exchange of gradients, ms": lambda row: f"{1e3 * row['exchange_s']:.1f}",
    })  # fmt: skip


PREDICT = {
    "from": "{what}", "parameters": "{parameters:,}", "Mb": "{mbp}", "threads": "{threads}",
    "s": "{wall_s}", "peak MB": "{peak_rss_mb}", "network alone / clock": "{floor_share}",
    "% only writing": "{written_alone_pct}", "min for 3.1 Gb": "{whole_genome_minutes}",
}  # fmt: skip
predict_table = partial(table_of, columns=PREDICT)

MODEL = {"model": "{model}", "N": "{N}", "type": "{dtype}", "threads": "{threads}"}
STEP = "{step_torch_ms:.0f} → {step_dilconv_ms:.0f} (**{step_ratio:.2f}**)"


def models_table(rows):
    text = (
        f"On {words_of(rows[0])}: milliseconds on torch → on dilconv, and in brackets how many "
        "times as fast (the median of the rounds; below 1 torch is faster). The last column is the "
        "largest error of a parameter's gradient, as a share of its norm, against float64."
    )
    columns = {
        **MODEL,
        "forward": STEP.replace("step", "forward"),
        "training step": STEP,
        "error of gradients": "{gradient_error_torch:.0e} → {gradient_error_dilconv:.0e}",
    }
    return f"{text}\n\n{table_of(rows, columns)}"


def models_summary(rows):
    """Of every model the training step at its largest batch."""
    largest = [r for r in rows if r["N"] == max(o["N"] for o in pick(rows, model=r["model"]))]
    return table_of(largest, {**MODEL, "training step, ms": STEP})


def scale_table(rows):
    """An epoch at the paper's scale on one socket, from the trainings measured here."""
    lines = [
        {**row, "precision": precision, **estimate._asdict()}
        for precision, (on, _) in PRECISIONS.items()
        for row in pick(rows, on=on)
        for estimate in scale.estimates(row["segments_per_second"], row["threads"])
    ]
    return table_of(lines, {
        "precision": "{precision}",
        "a core here": lambda r: f"{r['segments_per_second'] / r['threads']:.2f} segments/s",
        "": "{name}", "minutes an epoch": "{minutes:.1f}", "energy": "{watt_hours:.0f} Wh",
        "as fast as eight V100": "{sockets_for_v100s:.1f} sockets",
    })  # fmt: skip


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


def machine_words(facts, measured):
    everything = [row for rows in measured.values() for row in rows]
    if not everything:
        raise ValueError("the folder holds no results: run scripts/reproduce_tables.sh")
    commits = ", ".join(sorted({row["commit"] for row in everything}))
    text = f"Measured on {words_of(everything[0])}, commit {commits}."
    if not facts:
        return text
    cpu, about, peak = facts["facts"]["cpu"], facts["facts"], facts["peak_gflops"]
    return (
        f"{text} {cpu['cores']} cores ({' '.join(cpu['features'])}), "
        f"{about['memory_gib']['total']} GiB, {about['platform']}, Python {about['python']}; "
        f"multiply-add peak {peak['one core']:g} GFLOP/s of one core, {peak['together']:g} "
        f"together; copy {facts['bandwidth_gb_s']:g} GB/s. {facts['date']}."
    )
