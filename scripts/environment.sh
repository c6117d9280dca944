# Sourced by the other scripts, at the top of the repository: makes `python` the right one.
#   . scripts/environment.sh                    an active virtual environment, else .venv if there is one, else python3
#   . scripts/environment.sh requirements.txt   makes .venv if none is active, and installs the file's packages

if [ $# -gt 0 ]; then
  python3 - <<'PY' || exit 1
import sys
if sys.version_info < (3, 10):
    sys.exit(f"Python {sys.version.split()[0]} is too old: FEXNet needs 3.10 or newer as python3")
PY
  if [ -z "${VIRTUAL_ENV:-}" ] && [ ! -x .venv/bin/python ]; then
    echo "making the virtual environment .venv" >&2
    python3 -m venv .venv ||
      { rm -rf .venv; echo "python3 -m venv failed (on Debian: apt install python3-venv)" >&2; exit 1; }
  fi
fi

if [ -z "${VIRTUAL_ENV:-}" ] && [ -e .venv/bin/activate ]; then
  . .venv/bin/activate
fi
command -v python >/dev/null || python() { python3 "$@"; }

if [ $# -gt 0 ]; then
  # Installed once for each text of the requirements.
  stamp="$VIRTUAL_ENV/.fexnet-$(cat requirements*.txt | cksum | cut -d ' ' -f 1)-$1"
  if [ ! -e "$stamp" ]; then
    echo "installing $1 (PyTorch is some gigabytes; only once)" >&2
    python -m pip install --quiet --disable-pip-version-check -r "$1"
    touch "$stamp"
  fi
fi
