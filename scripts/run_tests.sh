#!/usr/bin/env bash
# All tests: ruff, mypy, pytest. Arguments go to pytest, e.g. `-m slow` or `-k sampling`.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/environment.sh requirements-dev.txt

ruff check .
ruff format --check .
mypy
# Files in their order: xdist's own would leave those of few, long tests to the end, where they hold up all others.
python -m pytest --numprocesses auto --maxprocesses 8 --dist loadfile --no-loadscope-reorder "$@"
