#!/usr/bin/env bash
# The pictures in docs/screenshots: two quickstarts (FEXNet and TSM, half an hour together, unless they are there), their
# reports, and pictures of all pages in Chromium, which the system brings (apt install chromium).
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/environment.sh requirements-dev.txt

root=${FEXNET_DATASETS:-dataset}
[ -e checkpoint/quickstart/ckptbest.pth ] || bash scripts/quickstart.sh
[ -e checkpoint/quickstart_fex_off/ckptbest.pth ] || bash scripts/quickstart.sh --fex off

for name in quickstart quickstart_fex_off; do
  python test_models.py demo --root_dataset "$root" --weights="checkpoint/$name/ckpt.pth" --motion --report "report/$name"
done
python tools/compare_reports.py report/quickstart_fex_off report/quickstart --margin 2 \
  --html report/comparison --dataset demo --root_dataset "$root"
python tools/compare_runs.py log/quickstart_fex_off log/quickstart --out report/runs.html

python tools/screenshots.py --output docs/screenshots test=report/quickstart/index.html \
  training=log/quickstart/index.html comparison=report/comparison/index.html runs=report/runs.html
python tools/demo_app.py --port 7979 &  # of the model in the box
trap 'kill $!' EXIT
python tools/screenshots.py --output docs/screenshots app=http://127.0.0.1:7979/ --wait 20 \
  --click "something approaching" "What happens here?" "Where does the network look?"
