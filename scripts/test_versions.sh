#!/usr/bin/env bash
# The tests with the oldest and with the newest versions that requirements.txt allows, each in its own environment.
# Arguments go to pytest, e.g. `-k sampling`. FEXNET_VENVS says where the environments are (.venvs), some 5 GB each;
# they are made once for each text of the requirements. PYTHON is what they are made with: python3, 3.10 or 3.11 for the
# oldest, which have no wheels for later ones. With these, what is optional is left out: its tests are skipped.
set -euo pipefail
cd "$(dirname "$0")/.."
venvs=${FEXNET_VENVS:-.venvs}

# Every bound of a file, as the version itself.
oldest() {
  sed -nE 's/^([A-Za-z][A-Za-z0-9_.-]*)(>=|==)([0-9.]+)( *;.*)?( *#.*)?$/\1==\3\4/p' "$1"
}

install() { # which of the two
  local here=$venvs/$1 stamp
  stamp=$here/.fexnet-$(cat requirements*.txt | cksum | cut -d ' ' -f 1)
  [ -e "$stamp" ] && return
  echo "installing the $1 versions into $here (PyTorch is some gigabytes; only once)" >&2
  [ -x "$here/bin/python" ] || "${PYTHON:-python3}" -m venv "$here"
  if [ "$1" = oldest ]; then
    oldest requirements.txt >"$here/requirements.txt"
    printf '%s\n' 'pytest==8.0.0' 'pytest-xdist==3.5.0' 'hypothesis' >>"$here/requirements.txt"
  else
    echo "-r $PWD/requirements-dev.txt" >"$here/requirements.txt"
  fi
  "$here/bin/python" -m pip install --quiet --disable-pip-version-check --upgrade --upgrade-strategy eager \
    -r "$here/requirements.txt"
  touch "$stamp"
}

failed=0
table=""
for which in oldest newest; do
  install "$which"
  log=$venvs/$which.log
  said=$("$venvs/$which/bin/python" -c '
from importlib.metadata import version
print(*(f"{name} {version(name)}" for name in ("torch", "torchvision", "numpy", "pillow", "av")), sep=", ")')
  echo "== $which: $said"
  status=0
  "$venvs/$which/bin/python" -m pytest --numprocesses auto --maxprocesses 8 --dist loadfile "$@" 2>&1 | tee "$log" ||
    status=$?
  [ "$status" = 0 ] || failed=1
  table+=$(printf '%-7s %-75s %s' "$which" "$said" "$(tail -n 1 "$log" | tr -d '=')")$'\n'
done
printf '\n%s' "$table"
exit "$failed"
