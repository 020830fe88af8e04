"""Record what the commands of an installed checkout do, and compare two such records.

    python record_behaviour.py record CHECKOUT FOLDER
    python record_behaviour.py compare FOLDER_A FOLDER_B [--ignore PATTERN ...]

`record` runs `CHECKOUT/.venv/bin/denoiseq` on the bundled and on generated data, with all outputs
in a temporary folder, and writes a JSON file a topic to FOLDER. Nothing of the packages is
imported, so that it outlives their modules: run it with the python of any installed checkout.
`compare` prints every difference by its path, TOPIC/CASE/FILE/KEY, and exits with 1 where there is
one. A pattern is that of a shell, for whole paths: 'help*', 'errors*', 'console*', '*/config.yaml'.

Arrays are compared bit by bit, so both records must be of one machine, with equal threads and
versions of numpy and torch. Times, rates, versions and paths are left out.
"""

import argparse
import csv
import difflib
import fnmatch
import gzip
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
import zlib
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pyBigWig
import pysam
import torch

VOLATILE = {"seconds", "seconds_of", "segments_per_second", "mtime", "versions"}
TEXTS = {".bed", ".fai", ".html", ".narrowPeak", ".tsv", ".yaml"}
PACKAGES = "denoiseq|python|torch|numpy|pysam|h5py|hydra-core|pyBigWig|matplotlib"
PATTERNS = (
    (r"\d{4}-\d\d-\d\d[ T_]\d\d[:-]\d\d[:-]\d\d(?:[.,]\d+)?", "<time>"),
    (r"[\d.,]+ segments/s", "<rate> segments/s"),
    (r"(mtime(?:</?t[dhr][^>]*>|&#39;|[\s:])+)[\d,]*\d", r"\1<time>"),
    (rf"\b({PACKAGES})((?:</?t[dhr][^>]*>|\s)+)\d+(?:\.\d+)+[\w.+]*", r"\1\2<version>"),
)
COMMANDS = ("prepare", "train", "evaluate", "predict", "doctor", "bench")
EXPERIMENTS = ("yeast", "atacworks", "human_atac", "smoke")
YEAST = "data/yeast"
BAM, FASTA = f"{YEAST}/yeast_atac_SRR1822137.bam", f"{YEAST}/sacCer3.fa.gz"
GENOME = (f"fasta={FASTA}", f"blacklist={YEAST}/sacCer3.blacklist.bed")
PART = ("chrI", "chrVI")  # of the yeast reads

# small trainings on the synthetic genome that reach what the smoke experiment leaves out
TRAININGS = {
    "sequence": (
        "+experiment=smoke data.sequence=true data.reverse_complement=true "
        "data.thin_range=[0.05,0.5] model.input_transform=sqrt model.stem_kernel_size=21 "
        "model.bias=true model.peak_input=features model.add_input=true model.both_strands=true "
        "loss.log1p_mse=0.3 loss.poisson=0.1 optim.schedule=cosine optim.warmup_epochs=0.5 "
        "optim.gradient_clip=1 optim.ema_decay=0.9 optim.micro_batch=4 optim.epochs=2"
    ),
    "options": (
        "+experiment=smoke data.target=complement data.labels={peaks} model.activation=prelu "
        "model.batch_norm=true model.input_transform=log1p optim=adamw optim.schedule=plateau "
        "optim.plateau_epochs=1 optim.patience=2 optim.monitor=pearson "
        "loss.bce_positive_weight=balanced optim.epochs=3 trainer.workers=1"
    ),
    "regression": "+experiment=smoke model.task=regression optim.epochs=1",
    "classification": "+experiment=smoke model.task=classification optim.epochs=1",
    "bf16": "+experiment=smoke precision=bf16 optim.epochs=1",
    "torch": "+experiment=smoke conv=torch optim.epochs=1",
    "unet": "data=synthetic model=unet data.interval_bp=4096 data.pad_bp=1024 optim.epochs=1",
    "linear": "data=synthetic model=linear optim.epochs=1",
    "logistic": "data=synthetic model=logistic optim.epochs=1",
    "pretrained": "+experiment=smoke model.pretrained={smoke}/checkpoints/best.pt optim.epochs=0",
    "half": "+experiment=smoke optim.epochs=2",
    "resumed": "+experiment=smoke resume={out}/train/half/checkpoints/last.pt",
}

# a user's mistakes: {in} are the generated inputs, {out} the outputs so far
MISTAKES = {
    "no command": "",
    "unknown command": "trian",
    "unknown key": "train data.stroe=x.h5",
    "unknown key of prepare": "prepare bamm=x.bam",
    "no config of that name": "train model=absent",
    "experiment without plus": "train experiment=yeast",
    "unreadable argument": "train data.test=[chr3",
    "nothing given": "prepare",
    "no output": "prepare bam={bam} fasta={fasta}",
    "missing BAM": "prepare bam=absent.bam fasta={fasta} out={tmp}/x.h5",
    "missing blacklist": "prepare bam={bam} fasta={fasta} blacklist=absent.bed out={tmp}/x.h5",
    "two kinds of input": "prepare bam={bam} fragments=x.gz fasta={fasta} out={tmp}/x.h5",
    "wrong choice": "prepare bam={bam} fasta={fasta} layout=mates out={tmp}/x.h5",
    "no number": "prepare bam={bam} fasta={fasta} min_mapq=many out={tmp}/x.h5",
    "out of range": "prepare bam={bam} fasta={fasta} min_mapq=256 out={tmp}/x.h5",
    "truncated BAM": "prepare bam={in}/short.bam fasta={fasta} out={tmp}/x.h5",
    "BAM without index": "prepare bam={in}/bare.bam fasta={fasta} out={tmp}/x.h5",
    "no BAM at all": "prepare bam={in}/text.bam fasta={fasta} out={tmp}/x.h5",
    "wrong genome": "prepare bam={out}/genome/reads.bam fasta={fasta} out={tmp}/x.h5",
    "gzipped genome": "prepare bam={bam} fasta={in}/gzip.fa.gz out={tmp}/x.h5",
    "absent chromosome": "prepare bam={bam} fasta={fasta} include=[chr9] out={tmp}/x.h5",
    "shifted already": (
        "prepare fragments={in}/part.tsv.gz shift=+4/-4 fasta={fasta} out={tmp}/x.h5"
    ),
    "rate of nothing": "train +experiment=smoke optim.lr=0 {at}",
    "no folds": "train data.store={out}/smoke.h5 out={tmp}/run",
    "one chromosome twice": "train +experiment=smoke data.test=[chr2] {at}",
    "other filters": "train +experiment=smoke data.prepare.min_mapq=7 {at}",
    "other seed": "train +experiment=smoke seed=7 resume={smoke}/checkpoints/last.pt {at}",
    "no such metric": "train +experiment=smoke optim.monitor=auprx {at}",
    "no checkpoint": "evaluate checkpoint=absent.pt",
    "no denoiseq checkpoint": "evaluate checkpoint={smoke}/metrics.json",
    "region off the split": "evaluate checkpoint={best} regions=[chr1:0-500] out={tmp}/e",
    "checkpoint required": "predict bam={bam} out={tmp}/p",
    "genome of another": "predict checkpoint={best} bam={bam} out={tmp}/p",
    "sequence without genome": "predict checkpoint={denoiser} bam={bam} out={tmp}/p",
    "not a probability": "predict checkpoint={best} {store} peak_threshold=7 out={tmp}/p",
    "two thresholds": (
        "predict checkpoint={best} {store} peak_threshold=0.5 peak_precision=0.8 out={tmp}/p"
    ),
    "track for cut sites": "predict checkpoint={best} store={out}/prepare/track/s.h5 out={tmp}/p",
    "bench of many": "bench threads=many",
    "doctor of a key": "doctor data.stroe=x.h5",
}


class Recorder:
    """The record of one checkout: `topics[TOPIC][CASE]`, and texts that are files of their own."""

    def __init__(self, checkout: Path, scratch: Path):
        self.checkout, self.scratch, self.out = checkout, scratch, scratch / "out"
        self.topics: dict[str, dict[str, Any]] = defaultdict(dict)
        self.texts: dict[str, str] = {}
        left_out = ("PYTHONPATH", "DENOISEQ_DEBUG")
        self.environment = {k: v for k, v in os.environ.items() if k not in left_out}

    def words(self, text: str) -> str:
        """`text` without what differs between two runs: paths, times, rates, versions."""
        for path, name in ((self.scratch, "<scratch>"), (self.checkout, "<checkout>")):
            text = text.replace(str(path), name)
        for pattern, instead in PATTERNS:
            text = re.sub(pattern, instead, text)
        return text

    def run(self, topic: str, case: str, *arguments: object, program: str = "denoiseq") -> None:
        """One command line: exit code and what it prints; `collect` reads what it wrote."""
        command = [str(self.checkout / ".venv/bin" / program), *map(str, arguments)]
        start = time.monotonic()
        done = subprocess.run(
            command, cwd=self.checkout, env=self.environment, stdin=subprocess.DEVNULL,
            capture_output=True, text=True, timeout=900, check=False,
        )  # fmt: skip
        seconds = time.monotonic() - start
        print(f"{topic}: {case}, {seconds:.1f} s", file=sys.stderr, flush=True)
        self.topics["exits"][f"{topic}/{case}"] = done.returncode
        self.topics[topic].setdefault(case, {})["(printed)"] = self.words(done.stdout)
        log = self.words(done.stderr)
        if topic == "errors":
            self.topics[topic][case]["(stderr)"] = log
        else:
            self.topics["console"][f"{topic}/{case}"] = log

    def collect(self, topic: str, case: str, folder: Path) -> None:
        """Everything below `folder`."""
        paths = sorted(path for path in folder.rglob("*") if path.is_file())
        names = [str(path.relative_to(folder)) for path in paths]
        stable = [re.sub(r"(events\.out\.tfevents).*", r"\1", name) for name in names]
        self.topics["files"][f"{topic}/{case}"] = "\n".join(stable)
        for path, name in zip(paths, names, strict=True):
            if path.suffix == ".narrowPeak":
                self.texts[f"{topic}.{case}.{name.replace('/', '.')}"] = path.read_text()
            elif path.suffix != ".log" and "tfevents" not in name:
                kinds = {".pt": "checkpoints", ".html": "reports", ".png": "figures"}
                where = self.topics[kinds.get(path.suffix, topic)].setdefault(case, {})
                where[f"{topic}/{name}" if path.suffix in kinds else name] = self.read(path)

    def read(self, path: Path) -> Any:
        if path.suffix == ".json":
            return self.plain(json.loads(path.read_text()))
        if path.suffix == ".csv":
            return self.plain(list(csv.DictReader(path.open())))
        if path.suffix == ".pt":
            return self.plain(torch.load(path, map_location="cpu", weights_only=True))
        if path.suffix == ".h5":
            return self.read_store(path)
        if path.suffix == ".bw":
            return read_bigwig(path)
        if path.suffix in TEXTS:
            images = r"data:[\w/+]+;base64,([\w+/=]+)"
            hashed = re.sub(images, lambda found: sha256(found[1].encode()), path.read_text())
            return self.words(hashed)
        return sha256(path.read_bytes())

    def read_store(self, path: Path) -> dict[str, Any]:
        found: dict[str, Any] = {}

        def visit(name: str, item: h5py.Group | h5py.Dataset) -> None:
            entry = {"attributes": {k: self.plain(item.attrs[k]) for k in sorted(item.attrs)}}
            if isinstance(item, h5py.Dataset):
                entry["type"] = str(item.dtype)
                entry["layout"] = [list(item.shape), item.chunks, item.compression, item.shuffle]
                texts = item.dtype == object
                entry["values"] = self.plain(item.asstr()[()] if texts else np.asarray(item[()]))
            found[f"/{name}"] = entry

        with h5py.File(path) as file:
            visit("", file)
            file.visititems(visit)
        return found

    def plain(self, value: Any) -> Any:
        """`value` as JSON: arrays by their hash, tuples told from lists, volatile values masked."""
        if isinstance(value, dict):
            return {str(k): masked(v) if k in VOLATILE else self.plain(v) for k, v in value.items()}
        if isinstance(value, tuple):
            return {"tuple": [self.plain(one) for one in value]}
        if isinstance(value, list):
            return [self.plain(one) for one in value]
        if isinstance(value, torch.Tensor):
            kind = {"dtype": str(value.dtype), "requires_grad": value.requires_grad}
            value = value.detach().contiguous()
            numbers = value.view(torch.uint8) if value.dtype == torch.bfloat16 else value
            return fingerprint(numbers.numpy()) | kind
        if isinstance(value, np.ndarray) and value.dtype != object:
            return fingerprint(value)
        if isinstance(value, np.ndarray):
            return self.plain(value.tolist())
        if isinstance(value, np.generic):
            return self.plain(value.item())
        if isinstance(value, str):
            if value.startswith(("{", "[{")):  # JSON in a store
                return {"json": self.plain(json.loads(value))}
            return self.words(value)
        return value if value is None or isinstance(value, bool | int | float) else repr(value)

    def write(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        for topic, cases in self.topics.items():
            text = json.dumps(cases, indent=1, ensure_ascii=False)
            (folder / f"{topic}.json").write_text(text + "\n")
        for name, text in self.texts.items():
            (folder / name).write_text(text)


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def masked(value: Any) -> Any:
    return {k: masked(v) for k, v in value.items()} if isinstance(value, dict) else "<volatile>"


def fingerprint(values: np.ndarray) -> dict[str, Any]:
    """Hash, type and shape of an array; its sum tells how far two of them are apart."""
    number = float(values.sum(dtype=np.float64)) if values.dtype.kind in "biuf" else None
    data = np.ascontiguousarray(values).tobytes()
    shape = list(values.shape)
    return {"sha256": sha256(data), "dtype": str(values.dtype), "shape": shape, "sum": number}


def read_bigwig(path: Path) -> dict[str, Any]:
    """Every base of every chromosome, -1 where there is no value."""
    with pyBigWig.open(str(path)) as file:
        found = {"header": file.header()}
        for chrom, size in file.chroms().items():
            values = np.asarray(file.values(chrom, 0, size, numpy=True), dtype=np.float32)
            values = np.where(np.isnan(values), np.float32(-1), values)
            found[chrom] = fingerprint(values) | {"mean": float(values.mean(dtype=np.float64))}
    return found


def make_inputs(checkout: Path, folder: Path) -> None:
    """Parts of the yeast reads in every form that is read, a track, and broken files."""
    folder.mkdir(parents=True)
    barcode = [f"CELL{number}-1" for number in range(5)]
    forms = {"part.bam": "wb", "a.bam": "wb", "b.bam": "wb", "part.cram": "wc"}
    with (
        pysam.AlignmentFile(str(checkout / BAM)) as reads,
        pysam.BGZFile(str(folder / "part.tsv.gz"), "wb") as fragments,
    ):
        options = {"wb": [], "wc": [b"no_ref=1"]}
        files = {
            name: pysam.AlignmentFile(
                str(folder / name), mode, template=reads, format_options=options[mode]
            )
            for name, mode in forms.items()
        }
        for chrom in PART:
            for read in reads.fetch(chrom):
                number = zlib.crc32(read.query_name.encode())
                for name in ("part.bam", "part.cram", "ab"[number % 2] + ".bam"):
                    files[name].write(read)
                forward = read.is_proper_pair and not read.is_reverse and read.template_length > 20
                if forward and read.mapping_quality >= 30:
                    start, end = read.reference_start, read.reference_start + read.template_length
                    line = f"{chrom}\t{start + 4}\t{end - 5}\t{barcode[number % 5]}\t1\n"
                    fragments.write(line.encode())
        for name, file in files.items():
            file.close()
            pysam.index(str(folder / name))
    (folder / "barcodes.txt").write_text("".join(f"{name}\n" for name in barcode[:3]))
    groups = zip(barcode, ("one", "two", "one", "two"), strict=False)
    (folder / "groups.tsv").write_text("".join(f"{cell}\t{group}\n" for cell, group in groups))
    lines = (checkout / f"{FASTA}.fai").read_text().splitlines()
    sizes = {line.split("\t")[0]: int(line.split("\t")[1]) for line in lines}
    with pyBigWig.open(str(folder / "track.bw"), "w") as track:
        track.addHeader(list(sizes.items()))
        for chrom, size in sizes.items():
            at = np.arange(0, size - 50, 50)
            height = (at // 50 * 7919 % 101 * (at % 3_000 < 900)).astype(float)
            track.addEntries(chrom, 0, values=height.tolist(), span=50, step=50)
    data = (folder / "part.bam").read_bytes()
    (folder / "short.bam").write_bytes(data[: len(data) // 2])
    shutil.copy(folder / "part.bam.bai", folder / "short.bam.bai")
    (folder / "bare.bam").write_bytes(data)
    (folder / "text.bam").write_text("reads\n")
    with gzip.GzipFile(folder / "gzip.fa.gz", "wb", mtime=0) as file:
        file.write(b">chrI\nACGT\n")


def record_prepare(recorder: Recorder, made: Path) -> None:
    part = f"bam={made}/part.bam"
    fragments = f"fragments={made}/part.tsv.gz"
    genome = recorder.out / "genome"
    synthetic = (f"bam={genome}/reads.bam", f"fasta={genome}/genome.fa")
    odd = ("min_mapq=0", "keep_duplicates=true", "shift=atacworks", "max_fragment_bp=150")
    cases: dict[str, tuple[str, ...]] = {
        "yeast": (f"bam={BAM}", *GENOME, "min_mapq=0"),
        "part": (part, *GENOME),
        "single": (part, *GENOME, "layout=single", "shift=+4/-5"),
        "cram": (f"bam={made}/part.cram", *GENOME, "workers=1"),
        "merged": (f"bam=[{made}/a.bam,{made}/b.bam]", *GENOME),
        "apart": (f"bam=[{made}/a.bam,{made}/b.bam]", *GENOME, "replicates=apart"),
        "fragments": (fragments, *GENOME),
        "barcodes": (fragments, *GENOME, f"barcodes={made}/barcodes.txt"),
        "groups": (fragments, *GENOME, f"groups={made}/groups.tsv"),
        "track": (f"bigwig={made}/track.bw", *GENOME),
        "synthetic": (*synthetic, f"blacklist={genome}/blacklist.bed"),
        "synthetic filters": (*synthetic, *odd, "include=[chr1,chr3]", "shift_check=false"),
    }
    for case, given in cases.items():
        folder = recorder.out / "prepare" / case
        recorder.run("prepare", case, "prepare", *given, f"out={folder}/s.h5")
        recorder.collect("prepare", case, folder)


def record_words(recorder: Recorder) -> None:
    """Help, the settings in it, and the composed configurations."""
    for command in ("", *COMMANDS):
        recorder.run("help", command or "denoiseq", *filter(None, [command]), "--help")
        text = recorder.topics["help"][command or "denoiseq"]["(printed)"]
        text = re.sub(r"\n {8,}", " ", text)  # one line a setting
        found = recorder.topics["settings"][command or "denoiseq"] = {}
        for line in text.splitlines():
            if setting := re.match(r"  ([\w.]+)=(\S*) +([^\s:]+(?: \| [^\s:]+)+)?", line):
                found[setting[1]] = setting[2]
                found[f"{setting[1]} may be"] = setting[3]
            elif group := re.match(r"\w[\w ]*: .*?\+?(\w+)=(\w+(?: \| \w+)*)$", line):
                found[f"{group[1]}=NAME"] = group[2]
    recorder.run("help", "version", "--version")
    for command in COMMANDS[:4]:
        recorder.run("config", command, command, "--cfg", "job")
    for experiment in EXPERIMENTS:
        given = ("out=outputs/run", f"+experiment={experiment}", "--cfg", "job")
        recorder.run("config", f"train {experiment}", "train", *given)


def record(checkout: Path, folder: Path) -> None:
    if folder.exists() and any(folder.iterdir()):
        sys.exit(f"{folder} is not empty")
    with tempfile.TemporaryDirectory(prefix="behaviour-") as temporary:
        scratch = Path(temporary).resolve()
        recorder = Recorder(checkout.resolve(), scratch)
        out, made, smoke = recorder.out, scratch / "in", scratch / "out/smoke"
        make_inputs(recorder.checkout, made)
        script, generated = "data/make_synthetic.py", scratch / "made"
        recorder.run("synthetic", "made", script, generated, program="python")
        recorder.collect("synthetic", "made", generated)
        record_words(recorder)

        genome = out / "genome"
        at = (
            f"data.store={out}/smoke.h5", f"data.prepare.bam={genome}/reads.bam",
            f"data.prepare.fasta={genome}/genome.fa", f"data.truth={genome}/peaks.bed",
            f"data.prepare.blacklist={genome}/blacklist.bed",
        )  # fmt: skip
        recorder.run("train", "smoke", "train", "+experiment=smoke", f"out={smoke}", *at)
        recorder.collect("train", "smoke", smoke)
        recorder.collect("synthetic", "generated by train", genome)
        names = {"out": out, "smoke": smoke, "peaks": genome / "peaks.bed", "in": made,
                 "tmp": scratch / "x", "best": smoke / "checkpoints/best.pt", "bam": BAM,
                 "fasta": FASTA, "denoiser": f"{YEAST}/denoiser.pt",
                 "store": f"store={out}/smoke.h5",
                 "at": " ".join((*at, f"out={scratch}/x/run"))}  # fmt: skip
        for case, given in TRAININGS.items():
            run = out / "train" / case
            arguments = (*given.format(**names).split(), *at, "stages=[train]", f"out={run}")
            recorder.run("train", case, "train", *arguments)
            recorder.collect("train", case, run)

        best, store = f"checkpoint={names['best']}", names["store"]
        anew = ("conv=torch", "retune=true", "data.thin_fraction=0.02", "bootstrap=20", "loci=1")
        for case, given in {"test": ("split=test",), "retuned": anew}.items():
            run = out / "evaluate" / case
            recorder.run("evaluate", case, "evaluate", best, *given, f"out={run}")
            recorder.collect("evaluate", case, run)

        denoiser = f"checkpoint={names['denoiser']}"
        sequence = f"checkpoint={out}/train/sequence/checkpoints/best.pt"
        more = ("name=x", "depth=6000", "seed=3", "tile_bp=7000", "peak_min_length_bp=150")
        predictions = {
            "yeast": (denoiser, f"bam={BAM}", f"fasta={FASTA}", "depth=trained"),
            "fragments": (denoiser, f"fragments={made}/part.tsv.gz", f"fasta={FASTA}",
                          f"barcodes={made}/barcodes.txt", "blacklist=none", "random_loci=0"),
            "replicates": (denoiser, f"bam=[{made}/a.bam,{made}/b.bam]", f"fasta={FASTA}",
                           "loci=0"),
            "store": (best, store, *more, "peak_precision=0.8", "regions=[chr2:5000-9000]"),
            "sequence": (sequence, store, f"fasta={genome}/genome.fa", "depth=trained"),
        }  # fmt: skip
        for case, given in predictions.items():
            run = out / "predict" / case
            recorder.run("predict", case, "predict", *given, f"out={run}")
            recorder.collect("predict", case, run)

        record_prepare(recorder, made)
        for case, given in MISTAKES.items():
            recorder.run("errors", case, *given.format(**names).split())
        recorder.collect("errors", "what they leave", scratch / "x")
        recorder.write(folder)


def flat(value: Any, path: str) -> Iterator[tuple[str, Any]]:
    """Every leaf by its path, and the order of the keys of every dictionary."""
    if isinstance(value, dict) and value:
        yield f"{path}/(order)", list(value)
        for key, one in value.items():
            yield from flat(one, f"{path}/{key}")
    elif isinstance(value, list) and value:
        for number, one in enumerate(value):
            yield from flat(one, f"{path}/{number}")
    else:
        yield path, value


def loaded(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for path in sorted(folder.iterdir()):
        if path.suffix == ".json":
            found.update(flat(json.loads(path.read_text()), path.stem))
        else:
            found[path.name] = path.read_text()
    return found


def difference(old: Any, new: Any) -> str:
    if isinstance(old, str) and isinstance(new, str) and "\n" in old + new:
        lines = difflib.unified_diff(old.splitlines(), new.splitlines(), lineterm="", n=1)
        return "".join(f"\n    {line}" for line in list(lines)[2:])
    numbers = isinstance(old, int | float) and isinstance(new, int | float) and old
    return f"{old!r} -> {new!r}" + (f" ({new / old - 1:+.1e})" if numbers else "")


def compare(first: Path, second: Path, ignored: list[str]) -> int:
    old, new = loaded(first), loaded(second)
    count, found = 0, Counter()
    for path in dict.fromkeys([*old, *new]):
        if any(fnmatch.fnmatchcase(path, pattern) for pattern in ignored):
            continue
        count += 1
        pair = old.get(path), new.get(path)
        if path.endswith("/(order)") and (None in pair or set(pair[0]) != set(pair[1])):
            continue  # keys that came or went are said by themselves
        if path not in new or path not in old:
            side, value = ("first", pair[0]) if path in old else ("second", pair[1])
            print(f"{path}: only in the {side}: {str(value)[:200]!r}")
        elif json.dumps(pair[0]) != json.dumps(pair[1]):
            print(f"{path}: {difference(*pair)}")
        else:
            continue
        found[re.split(r"[/.]", path)[0]] += 1
    if not count:
        sys.exit("nothing to compare")
    if found:
        each = ", ".join(f"{topic} {number}" for topic, number in found.items())
        print(f"{found.total()} of {count} things differ: {each}")
    else:
        print(f"equal: {count} things compared")
    return 1 if found else 0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    actions = parser.add_subparsers(dest="action", required=True)
    recording = actions.add_parser("record")
    recording.add_argument("checkout", type=Path)
    recording.add_argument("folder", type=Path)
    comparing = actions.add_parser("compare")
    comparing.add_argument("first", type=Path)
    comparing.add_argument("second", type=Path)
    comparing.add_argument("--ignore", nargs="+", default=[], metavar="PATTERN")
    arguments = parser.parse_args()
    if arguments.action == "compare":
        return compare(arguments.first, arguments.second, arguments.ignore)
    record(arguments.checkout, arguments.folder)
    return 0


if __name__ == "__main__":
    sys.exit(main())
