# Sourced by the other scripts: makes `python` the one with the packages of the given requirements file.
# An active virtual environment is used; otherwise .venv is made at the top of the repository.

requirements=$1

python3 - <<'PY' || exit 1
import sys
if sys.version_info < (3, 10):
    sys.exit(f"Python {sys.version.split()[0]} is too old: FEXNet needs 3.10 or newer as python3")
PY

if [ -z "${VIRTUAL_ENV:-}" ]; then
  if [ ! -x .venv/bin/python ]; then
    echo "making the virtual environment .venv" >&2
    python3 -m venv .venv || { rm -rf .venv; echo "python3 -m venv failed (on Debian: apt install python3-venv)" >&2; exit 1; }
  fi
  . .venv/bin/activate
fi

# Installed once for each text of the requirements.
stamp="$VIRTUAL_ENV/.fexnet-$(cat requirements*.txt | cksum | cut -d ' ' -f 1)-$requirements"
if [ ! -e "$stamp" ]; then
  echo "installing $requirements (PyTorch is some gigabytes; only once)" >&2
  python -m pip install --quiet --disable-pip-version-check -r "$requirements"
  touch "$stamp"
fi
