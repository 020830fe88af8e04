#!/usr/bin/env bash
# Install what the tests need into .venv and run all checks and tests.
#   bash scripts/test.sh [pytest arguments]
set -euo pipefail
cd "$(dirname "$0")/.."
source scripts/install.sh
install_denoiseq '.[test]'

.venv/bin/ruff check .
.venv/bin/ruff format --check app kernels scripts tests
.venv/bin/mypy app/denoiseq kernels/dilconv
find kernels/csrc kernels/include tests -name '*.cpp' -o -name '*.h' -o -name '*.c' | xargs .venv/bin/clang-format --dry-run --Werror
# A file a process: some tests train on all cores, many on one.
.venv/bin/python -m pytest --numprocesses=auto --maxprocesses=4 --dist=loadfile --durations=20 "$@"
