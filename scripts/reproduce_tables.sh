#!/usr/bin/env bash
# Measure everything that the results page says, on this machine, and write the page. Restartable:
# what is measured is kept. The options are those of scripts/reproduce_tables.py.
#   bash scripts/reproduce_tables.sh [--quick] [--out FOLDER]
set -euo pipefail
cd "$(dirname "$0")/.."
source scripts/install.sh
install_denoiseq .
exec .venv/bin/python scripts/reproduce_tables.py "$@"
