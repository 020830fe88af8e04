#!/usr/bin/env bash
# Install into .venv, then the whole road on the bundled yeast data: prepare, train, evaluate on
# held-out chromosomes, predict. Restartable: what is finished is not done again.
#   bash scripts/quickstart.sh [OUTPUT_FOLDER]
set -euo pipefail
cd "$(dirname "$0")/.."
source scripts/install.sh
install_denoiseq .

denoiseq=.venv/bin/denoiseq
data=data/yeast
out=${1:-outputs/yeast}
run=$out/run
best=$run/checkpoints/best.pt

step() { printf '\n== %s\n' "$*"; }

step "prepare: BAM + FASTA -> cut sites"
if [ ! -f "$out/cuts.h5" ]; then
  "$denoiseq" prepare bam=$data/yeast_atac_SRR1822137.bam fasta=$data/sacCer3.fa.gz \
    blacklist=$data/sacCer3.blacklist.bed min_mapq=0 out="$out/cuts.h5"
fi

step "train: 1% to all of the fragments in, all of them as target; a short training of 5 epochs"
if [ ! -f "$run/metrics.json" ]; then
  resume=null
  if [ -f "$run/checkpoints/last.pt" ]; then resume=$run/checkpoints/last.pt; fi
  "$denoiseq" train +experiment=yeast optim.epochs=5 data.store="$out/cuts.h5" out="$run" resume="$resume"
fi

step "evaluate: the held-out chromosomes chrIV and chrXV, 2% of the fragments in"
"$denoiseq" evaluate checkpoint="$best" split=test data.thin_fraction=0.02 >"$out/table.txt"

step "predict: the whole genome, from the BAM thinned to 1,000 cut sites per Mb"
"$denoiseq" predict checkpoint="$best" bam=$data/yeast_atac_SRR1822137.bam \
  fasta=$data/sacCer3.fa.gz out="$out/prediction" depth=1000

step "held-out chromosomes, 2% of the fragments in"
cat "$out/table.txt"
cat <<EOF

training             $run/report.html
metrics and figures  $run/evaluate/test/report.html
checkpoint           $best
tracks and peaks     $out/prediction/
prediction           $out/prediction/report.html
EOF
