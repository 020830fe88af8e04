"""Markdown tables from the rows of a results folder; nothing in them is typed by hand.

The paper's published figures are the exception: they stand in PAPER, and are labelled as theirs.
"""

from itertools import groupby

from results import scale
from results.rows import best_torch, pick

LETTERS = ("N", "C", "K", "S", "d", "W")
ATACWORKS = {"C": 15, "K": 15, "S": 51, "d": 8, "W": 60_000}
PASSES = {
    "forward": "forward",
    "backward_data": "gradient of x",
    "backward_weight": "gradient of w",
    "forward_backward": "forward + backward",
}
# Chaudhary et al., arXiv 2104.08002, abstract.
PAPER = {
    "efficiency": "up to 80% of peak (Cascade Lake, Cooper Lake)",
    "training": "up to 6.86 x oneDNN (Cascade Lake)",
    "scaling": "near-linear from 1 to 16 sockets (Cascade Lake, Cooper Lake)",
}
NOTHING = "-"


def table(head, body):
    lines = [head, ["---"] * len(head), *body]
    return "\n".join("| " + " | ".join(map(str, line)) + " |" for line in lines)


def words_of(row):
    """The machine that a row was measured on."""
    held = f" with its oneDNN held to {row['onednn_isa']}" if row.get("onednn_isa") else ""
    return f"{row['cpu']}, kernels for {row['isa']}, torch {row['torch']}{held}"


def is_atacworks(row):
    return all(row[letter] == value for letter, value in ATACWORKS.items())


def peak_of(rows):
    """Median multiply-add peak of one core, GFLOP/s."""
    peaks = sorted(row["peak_gflops"] / row["threads"] for row in rows)
    return peaks[len(peaks) // 2]


def layer_table(rows):
    """The AtacWorks layer: a line for every N, threads and pass, a column for every contender."""
    rows = [row for row in rows if is_atacworks(row)]
    contenders = list(dict.fromkeys(row["contender"] for row in rows))
    passes = list(PASSES)
    rows.sort(key=lambda row: (row["N"], row["threads"], passes.index(row["pass"])))
    body = []
    for (N, threads, name), group in groupby(rows, lambda r: (r["N"], r["threads"], r["pass"])):
        cells = {
            row["contender"]: f"{row['speedup_over_torch']:.2f} ({row['fraction_of_peak']:.2f})"
            for row in group
        }
        body.append([N, threads, PASSES[name], *(cells.get(c, NOTHING) for c in contenders)])
    return table(["N", "threads", "pass", *contenders], body)


def points(rows):
    """[(a name and its letters, the rows of that layer)], as they come."""
    found = {}
    for row in rows:
        found.setdefault((row["layer"], *(row[letter] for letter in LETTERS)), []).append(row)
    return found.items()


def sweep_table(rows):
    """`auto` at every layer: how many times as fast as the fastest torch, by pass and threads."""
    columns = [
        (threads, name)
        for name in ("forward", "forward_backward")
        for threads in sorted({row["threads"] for row in rows})
    ]
    head = ["layer", *LETTERS, *(f"{PASSES[name]}, {t} thr." for t, name in columns)]
    body = []
    for point, group in points(rows):
        autos = {(r["threads"], r["pass"]): r for r in pick(group, contender="auto")}
        cells = [autos.get(column) for column in columns]
        body.append([*point, *(NOTHING if row is None else _sweep_cell(row) for row in cells)])
    return table(head, body)


def _sweep_cell(row):
    return f"{row['median_ms']:.3g} ({row['speedup_over_torch']:.2f})"


def torch_wins(rows):
    """Where the fastest form of torch is ahead of `auto`, worst first; a sentence if nowhere."""
    behind = [row for row in pick(rows, contender="auto") if row["speedup_over_torch"] < 0.95]
    behind.sort(key=lambda row: row["speedup_over_torch"])
    all_of = len(pick(rows, contender="auto"))
    said = (
        "`auto` is behind the fastest form of torch by more than 5% in "
        f"{len(behind)} of {all_of} measurements"
    )
    if not behind:
        return f"{said}."
    body = [
        [row["layer"], *(row[x] for x in LETTERS), PASSES[row["pass"]], row["threads"],
         f"{row['speedup_over_torch']:.2f}"]
        for row in behind
    ]  # fmt: skip
    return f"{said}:\n\n{table(['layer', *LETTERS, 'pass', 'threads', 'x torch'], body)}"


def precision_table(single, half):
    """float32 beside bfloat16: `auto` at the layers that both files have."""
    body = []
    halves = {(point, *_run(r)): r for point, rows in points(half) for r in rows}
    for point, rows in points(pick(single, contender="auto")):
        cells = [
            (row, halves.get((point, *_run(row))))
            for row in rows
            if row["pass"] in ("forward", "forward_backward")
        ]
        found = [(a, b) for a, b in cells if b is not None]
        if found:
            body += [
                [point[0], PASSES[a["pass"]], a["threads"], f"{a['median_ms']:.3g}",
                 f"{b['median_ms']:.3g}", f"{a['median_ms'] / b['median_ms']:.2f}"]
                for a, b in found
            ]  # fmt: skip
    return table(["layer", "pass", "threads", "float32, ms", "bfloat16, ms", "ratio"], body)


def _run(row):
    return row["pass"], row["contender"], row["threads"]


def steps_table(rows):
    """Whole training steps: a line a number of threads and contender."""
    body = []
    for row in rows:
        written = pick(rows, contender="torch", N=row["N"], threads=row["threads"])
        ratio = f"{written[0]['median_ms'] / row['median_ms']:.1f}" if written else NOTHING
        body.append([
            row["N"], row["threads"], _shown(row["contender"]), f"{row['median_ms']:.0f}",
            f"{row['speedup_over_torch']:.1f}", ratio, f"{row['loss']:.4f}",
        ])  # fmt: skip
    head = ["N", "threads", "on", "ms a step", "x the fastest torch"]
    return table([*head, "x torch as users write it", "loss"], body)


def _shown(contender):
    """What a reader calls it: the scripts' "native" is dilconv."""
    return contender.replace("native", "dilconv")


def epochs_table(rows):
    """Whole trainings: seconds an epoch and what was reached."""
    torch = {row["dtype"]: row["epoch_s"] for row in rows if row["on"].startswith("torch")}
    body = [
        [
            *(_shown(row[key]) for key in ("on", "form")),
            *(f"{row['epoch_s']:.1f}", f"{row['segments_per_second']:.2f}"),
            f"{torch[row['dtype']] / row['epoch_s']:.1f}",
            *(f"{row[name]:.4f}" for name in ("loss", "auroc", "auprc")),
        ]
        for row in rows
    ]
    head = ["training on", "form", "s an epoch", "segments/s", "x torch in this precision"]
    return table([*head, "loss", "AUROC", "AUPRC"], body)


def ranks_table(rows):
    """Shapes of processes and threads."""
    first = rows[0]["segments_per_second"]
    body = [
        [row["processes"], row["threads"], f"{row['step_s']:.3f}",
         f"{row['segments_per_second']:.2f}", f"{row['segments_per_second'] / first:.2f}",
         f"{1e3 * row['exchange_s']:.1f}"]
        for row in rows
    ]  # fmt: skip
    head = ["processes", "threads each", "s a step", "segments/s", "x the first line"]
    return table([*head, "exchange of gradients, ms"], body)


def predict_table(rows):
    """Whole-genome prediction."""
    body = [
        [row["what"], f"{row['parameters']:,}", row["mbp"], row["threads"], row["wall_s"],
         row["peak_rss_mb"], row["floor_share"], row["written_alone_pct"],
         row["whole_genome_minutes"]]
        for row in rows
    ]  # fmt: skip
    head = ["from", "parameters", "Mb", "threads", "s", "peak MB", "network alone / clock"]
    return table([*head, "% only writing", "min for 3.1 Gb"], body)


def models_table(rows):
    """Other people's models before and after: a line for every model, N, type and threads."""
    body = [
        [*_model(row), _before_after(row, "forward"), _before_after(row, "step"),
         f"{row['gradient_error_torch']:.0e} → {row['gradient_error_dilconv']:.0e}"]
        for row in rows
    ]  # fmt: skip
    text = (
        f"On {words_of(rows[0])}: milliseconds on torch → on dilconv, and in brackets how many "
        "times as fast (the median of the rounds; below 1 torch is faster). The last column is the "
        "largest error of a parameter's gradient, as a share of its norm, against float64."
    )
    head = ["model", "N", "type", "threads", "forward", "training step", "error of gradients"]
    return f"{text}\n\n{table(head, body)}"


def models_summary(rows):
    """Of every model the training step at its largest batch."""
    largest = [
        row for row in rows if row["N"] == max(r["N"] for r in pick(rows, model=row["model"]))
    ]
    body = [[*_model(row), _before_after(row, "step")] for row in largest]
    return table(["model", "N", "type", "threads", "training step, ms"], body)


def _model(row):
    return [row[key] for key in ("model", "N", "dtype", "threads")]


def _before_after(row, name):
    times = f"{row[f'{name}_torch_ms']:.0f} → {row[f'{name}_dilconv_ms']:.0f}"
    return f"{times} (**{row[f'{name}_ratio']:.2f}**)"


def scale_table(rows):
    """An epoch at the paper's scale on one socket, from the trainings measured here."""
    names = {"native": "FP32", "native-bf16": "BF16"}
    body = []
    for row in rows:
        if row["on"] in names:
            rate, threads = row["segments_per_second"], row["threads"]
            body += [
                [names[row["on"]], f"{rate / threads:.2f} segments/s", e.name, f"{e.minutes:.1f}",
                 f"{e.watt_hours:.0f} Wh", f"{e.sockets_for_v100s:.1f} sockets"]
                for e in scale.estimates(rate, threads)
            ]  # fmt: skip
    head = ["precision", "a core here", "", "minutes an epoch", "energy", "as fast as eight V100"]
    return table(head, body)


def machine_words(facts, found):
    """The machine, the versions and the commit."""
    everything = [row for rows in found.values() for row in rows]
    if not everything:
        raise ValueError("the folder holds no results: run scripts/reproduce_tables.sh")
    commits = ", ".join(sorted({row["commit"] for row in everything}))
    said = f"Measured on {words_of(everything[0])}, commit {commits}."
    if not facts:
        return said
    cpu, about, peak = facts["facts"]["cpu"], facts["facts"], facts["peak_gflops"]
    return (
        f"{said} {cpu['cores']} cores ({' '.join(cpu['features'])}), "
        f"{about['memory_gib']['total']} GiB, {about['platform']}, Python {about['python']}; "
        f"multiply-add peak {peak['one core']:g} GFLOP/s of one core, {peak['together']:g} "
        f"together; copy {facts['bandwidth_gb_s']:g} GB/s. {facts['date']}."
    )


def _best_rate(rows, contender):
    """A contender's highest rate over the peak, in words; "" if it took no part."""
    best = max(pick(rows, contender=contender), key=lambda r: r["fraction_of_peak"], default=None)
    if best is None:
        return ""
    where = f"{best['layer']}, {PASSES[best['pass']]}"
    return f"{contender} up to {best['fraction_of_peak']:.0%} ({where})"


def headline(found):
    """The paper's claims beside what was measured here."""
    body = []
    if found.get("layers"):
        best = [_best_rate(found["layers"], name) for name in ("direct", "auto")]
        claim = "a layer's rate over the multiply-add peak"
        body.append([claim, PAPER["efficiency"], "; ".join(filter(None, best))])
    if found.get("epochs"):
        rows = {row["on"]: row for row in found["epochs"]}
        pairs = [("FP32", "native", "torch"), ("BF16", "native-bf16", "torch-bf16")]
        ratios = [
            f"{words} {rows[b]['epoch_s'] / rows[a]['epoch_s']:.1f} x"
            for words, a, b in pairs
            if a in rows and b in rows
        ]
        body.append([
            "end-to-end training", PAPER["training"],
            f"{', '.join(ratios)} the fastest form of torch in the same precision",
        ])  # fmt: skip
    if found.get("ranks"):
        rows = found["ranks"]
        first, best = rows[0], max(rows, key=lambda row: row["segments_per_second"])
        body.append([
            "scaling", PAPER["scaling"],
            f"{best['segments_per_second'] / first['segments_per_second']:.2f} x with "
            f"{best['processes']} process(es) of {best['threads']} thread(s) over "
            f"{first['processes']} of {first['threads']}, on one machine",
        ])  # fmt: skip
    return table(["what", "theirs, as published", "here"], body)


def summary(found):
    """The README's short tables: the layer, training, other models, prediction."""
    parts = []
    if found.get("layers"):
        parts.append(_layer_summary(found["layers"]))
    if found.get("steps"):
        parts.append(
            "A training step of AtacWorks' network (219,706 parameters, W=60,000, Adam), in four "
            f"forms on torch:\n\n{steps_table(found['steps'])}"
        )
    if found.get("epochs"):
        segments, batch = found["epochs"][0]["segments"], found["epochs"][0]["batch"]
        parts.append(
            "Training it, "
            f"{segments} segments of 60,000 bp, {batch} a step, {found['epochs'][0]['threads']} "
            f"threads, the same weights and windows everywhere:\n\n{epochs_table(found['epochs'])}"
        )
    if found.get("models"):
        parts.append(
            "Other people's models, as they are and after `dilconv.convert(model)`:\n\n"
            + models_summary(found["models"])
        )
    if found.get("predict"):
        parts.append(
            f"Whole-genome prediction, from start to report:\n\n{predict_table(found['predict'])}"
        )
    return "\n\n".join(parts)


def _layer_summary(rows):
    rows = [row for row in rows if is_atacworks(row)]
    body = []
    for (N, threads), group in groupby(rows, lambda row: (row["N"], row["threads"])):
        group = list(group)
        for name in ("forward", "forward_backward"):
            here = pick(group, **{"pass": name})
            auto, torch = pick(here, contender="auto"), best_torch(here)
            if auto and torch:
                body.append([
                    N, threads, PASSES[name], f"{auto[0]['median_ms']:.2f}",
                    f"{auto[0]['fraction_of_peak']:.1f}",
                    f"{torch['median_ms']:.1f} ({torch['contender']})",
                    f"**{auto[0]['speedup_over_torch']:.1f}**",
                ])  # fmt: skip
    head = ["N", "threads", "pass", "dilconv, ms", "rate / peak", "fastest torch, ms", "x"]
    return (
        f"The AtacWorks layer (C=K=15, S=51, d=8, W=60,000), float32, on {words_of(rows[0])}; "
        f"multiply-add peak {peak_of(rows):.0f} GFLOP/s a core:\n\n{table(head, body)}"
    )
