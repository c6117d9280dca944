# Sourced by a recipe, which has set `dataset`, `train` (main.py's flags), `start` (where weights come from) and
# `tests` (test_models.py's flags, a string for each test). Trains, then tests the best weights.
#   bash scripts/RECIPE.sh [flags of main.py]     further flags win
#   DATASET=demo bash scripts/RECIPE.sh           tries it on demo, with nothing pretrained
#   CHECKPOINTS=DIR, TEST_FLAGS="…"               where the weights go; further flags for the tests
set -euo pipefail
name=$(basename "$0" .sh)
cd "$(dirname "$0")/.."
activate() { . scripts/environment.sh; }  # in a function, so that it does not see this script's arguments
activate

if [ "${DATASET:-$dataset}" != "$dataset" ]; then
  dataset=$DATASET
  name=${name}_on_$dataset
  start=(--pretrain none)
fi
checkpoints=${CHECKPOINTS:-checkpoint}
python main.py "$dataset" RGB "${train[@]}" "${start[@]}" --store_name "$name" --root_model "$checkpoints" "$@"
for views in "${tests[@]}"; do
  # shellcheck disable=SC2086  # several flags in one string
  python test_models.py "$dataset" --weights="$checkpoints/$name/ckptbest.pth" $views ${TEST_FLAGS:-}
done
