"""Which sequences of an assembly are organelles, told from their names: mitochondria and plastids.

Their DNA is bare and has many copies, so their reads are many and say nothing about chromatin.
Names that a nuclear chromosome may have are left out; `prepare.contigs` looks at the data instead.
"""

import re
from collections.abc import Collection, Iterable

# GenBank's and RefSeq's accessions, without versions, of organelles in reference assemblies.
_ACCESSIONS = {
    "human": "NC_012920 J01415 NC_001807 AF347015 CP068254",
    "mouse": "NC_005089 AY172335",
    "rat": "NC_001665 AY172581",
    "chimpanzee": "NC_001643 D38113",
    "macaque": "NC_005943 AY612638",
    "cow": "NC_006853 AY526085",
    "pig": "NC_000845",
    "dog": "NC_002008 U96639",
    "horse": "NC_001640 X79547",
    "chicken": "NC_053523 NC_040902 NC_040970 NC_001323 X52392",
    "frogs": "NC_006839 AY789013 NC_001573",
    "zebrafish": "NC_002333 AC024175",
    "fly": "NC_024511 KJ947872 NC_001709 U37541",
    "mosquito": "NC_035159",
    "worm": "NC_001328 X54252",
    "budding yeast": "NC_001224 KP263414 AJ011856",
    "fission yeast": "NC_001326 X54421 MK618072",
    "Plasmodium": "NC_037526 NC_036769 M76611",
    "Arabidopsis": "NC_037304 BK010421 NC_001284 Y08501 NC_000932 AP000423",
    "rice": "NC_011033 BA000029 NC_001320 X15901",
    "maize": "NC_007982 AY506529 NC_001666 X86563",
    "wheat": "NC_036024 EU534409 NC_007579 AP008982 NC_002762 AB042240",
    "soybean": "NC_020455 NC_007942",
    "tomato": "NC_035963 NC_007898",
    "Chlamydomonas": "NC_001638 NC_005353",
}
_KNOWN = frozenset(" ".join(_ACCESSIONS.values()).split())
_ACCESSION = re.compile(r"(?<![A-Z0-9])(?:NC_[0-9]{6}|[A-Z]{1,2}[0-9]{5,6})(?![A-Z0-9])")

_CHROM = r"(?:chr(?:om(?:osome)?)?[ _:.-]?)"
_GENOME = r"(?:(?:grc[a-z]|hg|mm|rn)[0-9]+|human|mouse|rat)"
_BEFORE, _AFTER = r"(?:.*[^a-z])?", r"(?:[^a-z0-9].*)?"  # what sets a word apart
_NAMES = re.compile(
    rf"""
    .*(?:mitoch|mitogenome|chloroplast|apicoplast|kinetoplast|plastid|plastome|maxicircle).*
    | {_BEFORE}{_CHROM}?(?:mito|pltd|kdna|(?:mt|cp|pt)[_-]?(?:dna|genome)){_AFTER}
    | {_BEFORE}{_CHROM}(?:mt?{_AFTER}|c|cp|pt)
    | (?:(?:{_GENOME}|[a-z][a-z])_+)?(?:mt|pt)(?:_+{_GENOME})?   # GRCh38_MT of mixed genomes, Zm_Pt
    | {_CHROM}?(?:mit|api|rcrs) | m | cp | (?:lg|super|scaffold)[_-]?mt
    | p[a-z0-9]+_(?:mit|api)_(?:v[0-9]+|irab)                    # Pf3D7_MIT_v3
    """,
    re.VERBOSE,
)
# ChrC and ChrM may be chromosomes of genomes that have a ChrA, as yeasts': the letter and the rest
_LETTER = re.compile(rf"((?:{_BEFORE}{_CHROM})?)([mc])({_AFTER})", re.IGNORECASE)


def is_organelle(name: str, contigs: Collection[str] = ()) -> bool:
    """Whether a sequence is a mitochondrion or a plastid, by its name in any usual spelling.

    contigs : all names of the genome. Where one of them is chrA, chrC and chrM are chromosomes.
    """
    if not _NAMES.fullmatch(name.lower()) and not _has_accession(name):
        return False
    letter = _LETTER.fullmatch(name)
    if letter is None:
        return True
    return not any(f"{letter[1]}{a}{letter[3]}" in contigs for a in "Aa")


def _has_accession(name: str) -> bool:
    """Whether a name is or contains an accession, as in gi|251831106|ref|NC_012920.1|."""
    return not _KNOWN.isdisjoint(_ACCESSION.findall(name.upper()))


def left_out(
    contigs: Iterable[str], include: Collection[str] | None, exclude: Collection[str] | None
) -> list[str]:
    """The contigs of a genome that `prepare.exclude` leaves out.

    exclude : names, and organelles besides, but for those that `include` names; None: only
        organelles; empty: nothing.
    """
    names = dict.fromkeys(contigs)
    if exclude is not None and not exclude:
        return []
    chosen, unwanted = set(include or ()), set(exclude or ())
    return [c for c in names if c in unwanted or (c not in chosen and is_organelle(c, names))]
