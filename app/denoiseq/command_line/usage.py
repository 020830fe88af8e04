"""What `denoiseq --help` prints, and the parts of a command's help that no setting explains."""

USAGE = """\
denoiseq: denoise low-depth ATAC-seq and call its peaks, on CPUs.

usage: denoiseq COMMAND [--key value ...]        for example
       denoiseq prepare --bam reads.bam --fasta genome.fa --out cuts.h5

  prepare   BAM + FASTA -> a store of Tn5 cut sites
  train     store -> checkpoint
  evaluate  checkpoint -> metrics and figures on held-out chromosomes
  predict   checkpoint + BAM -> bigWig, narrowPeak, report
  doctor    what this machine and this installation can do, and what to mend
  bench     measure the convolution layer on this machine

`denoiseq COMMAND --help` lists the command's settings and `--version` prints the version.
`eval "$(denoiseq -sc install=bash)"` switches on completion by the tab key in this shell."""

HELP_FOOTER = """\
Values are those of this command line; ??? must be given, and a word in capitals is not set (null).
Lists repeat their flag (--exclude= is the empty list), --no-progress is --progress false, and
--key=value takes a value that begins with a dash. Every setting can be written key=value as well,
with underscores, lists as 'key=[a,b]' and null as key=null.
{experiments}Hydra's own flags, as --cfg job (settings as YAML) or -m (sweeps): --hydra-help"""

DOCTOR = """\
What this machine and this installation can do, how fast they are, and what to mend.

  denoiseq doctor
  denoiseq doctor --experiment yeast

  --no-measure                only look, in a second or two
  --KEY VALUE                 settings of a training: how long it would take here"""
