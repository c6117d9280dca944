#!/usr/bin/env bash
# All tests: ruff, mypy, pytest. Arguments go to pytest, e.g. `-m slow` or `-k sampling`.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/environment.sh requirements-dev.txt

ruff check .
ruff format --check .
mypy
python -m pytest --numprocesses auto --maxprocesses 8 --dist loadfile "$@"
