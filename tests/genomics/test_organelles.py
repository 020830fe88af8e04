import string

import pytest
from denoiseq.genomics.organelles import is_organelle, left_out

ORGANELLES = """
    chrMtDNA mt_genome chrMT_genome Mt-DNA ptDNA scaffold_mito chrPlastid rCRS TAIR10_ChrC ath_chrPt
    chrM chrMT MT M Mito chrMito m mt mito chrm chrmt Mt chr_M CHR_MT chromosome_MT SUPER_MT
    MtDNA CHROMOSOME_MtDNA Ca19-mtDNA mitochondrion Mitochondria mitochondrial chrMitochondrion
    mitochondrion_genome dmel_mitochondrion_genome mito_C_glabrata_CBS138
    Ca22chrM_C_albicans_SC5314 hg38_chrM mm10___chrM chrM_mm10 GRCh38_MT mm10___MT Pt PT chrPt
    ChrC chrC chloroplast Chloroplast plastid Pltd chrPltd chrCp NC_000932.1_chloroplast
    apicoplast Pf3D7_MIT_v3 Pf3D7_API_v3 PvP01_API_v1 PFC10_API_IRAB M76611 Pf_M76611
    NC_012920.1 NC_012920 NC_012920_1 nc_005089.1 J01415.2 AY172335.1 NC_001224.1 KP263414.1
    MT_human human_MT mouse_MT MT_mm10 Zm_Mt Os_Pt
    ref|NC_001224| gi|251831106|ref|NC_012920.1| NC_024511.2 NC_001328.1 AP000423.1 CP068254.1
"""
CHROMOSOMES = """
    chrCx chrMx chrCP1 SMITO mtgene MTX CPU apix scaffold_c1 contig_C HiC_scaffold_1 chr1_C
    1 chr1 X chrX II chrXII C C1 C01 chrC1 chrC01 A01 MTR mating_type_region MT1 Mt1 Pt1 chrM1
    chrMU chr1_M chr1_MATERNAL chrY_M scaffold_M scaffold_C scaffold_pt12 contig_mt12 LGM LG_C
    Muller_C MT123456.1 CP123456.1 CP068277.2 AB325691 NC_000001.11 NC_012921.1 NC_0129201.1
    PTG000001L MTplus MT_minus mt+ MITE_12 2-micron plasmid_1 chrUn_KN707000v1_decoy GL000220.1
    MT_random Mt_chr1 Pt_chr01 MT_1 my_pt1
    chrEBV HLA-C*01:02:01:01 Pf3D7_01_v3 MtrunA17Chr1 chr17_ctg5_hap1
"""


@pytest.mark.parametrize("name", ORGANELLES.split())
def test_is_organelle_in_any_usual_spelling(name):
    assert is_organelle(name)


@pytest.mark.parametrize("name", CHROMOSOMES.split())
def test_is_organelle_takes_no_chromosome_for_one(name):
    assert not is_organelle(name)


@pytest.mark.parametrize("form", ["{}", "chr{}", "Yl_chr{}", "Chr{}_C_glabrata_CBS138"])
def test_is_organelle_of_a_genome_with_lettered_chromosomes(form):
    contigs = [form.format(letter) for letter in string.ascii_uppercase[:13]]  # A to M
    assert not any(is_organelle(name, contigs) for name in contigs)


def test_is_organelle_beside_numbered_chromosomes():
    contigs = ["Chr1", "ChrC", "ChrM"]
    assert [is_organelle(name, contigs) for name in contigs] == [False, True, True]


@pytest.mark.parametrize(
    ("include", "exclude", "out"),
    [
        (None, None, ["Mt", "Pt"]),
        (None, [], []),
        (None, ["2"], ["2", "Mt", "Pt"]),
        (None, ["chrM", "chrMT", "MT", "M", "Mito", "chrMito"], ["Mt", "Pt"]),  # the old default
        (["1", "Mt"], None, ["Pt"]),
        (["1", "Mt"], ["Mt"], ["Mt", "Pt"]),
        (["1", "Mt"], [], []),
    ],
)
def test_left_out(include, exclude, out):
    assert left_out(["1", "2", "Mt", "Pt"], include, exclude) == out
