#!/usr/bin/env bash
# Trains a prior for one piece, on a machine that need not have a network or an installed diffsr:
#
#   bash benchmarks/train_gpu.sh PACK START OUT [--minutes N] [--last] [--experiment FILE] [overrides ...]
#
#   PACK    a part of `diffsr prepare pack`, or any folder or manifest of clean speech
#   START   OUT/piece of the piece before, a prior folder, or `none` for random weights
#   OUT     gets piece/ (the next START), prior/ (for diffsr restore), metrics.csv and training.log
#   --minutes N         for reading the speech and training (9); start and final scores come on top
#   --last              the learning rate falls to zero in this piece
#   --experiment FILE   (experiments/prior/speech-16k-fast.yaml)
#   overrides           as for `diffsr fit`, such as --data.init_args.batch_size=64
#
# Python packages that the machine lacks are taken from wheels: *.whl in PACK/wheels, in the folder $WHEELS and
# in .whl of the repository. $PYTHON names the interpreter (python3). See docs/training.md.
set -euo pipefail

if [ $# -lt 3 ]; then
  sed -n '2,/^set/s/^# \{0,1\}//p' "$0" >&2
  exit 2
fi
repository=$(cd "$(dirname "$0")/.." && pwd)
python=${PYTHON:-python3}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir -p "$work/site" "$3"

for wheel in "$1"/wheels/*.whl "${WHEELS:-$1/wheels}"/*.whl "$repository"/.whl/*.whl; do
  if [ -e "$wheel" ]; then
    "$python" -m zipfile -e "$wheel" "$work/site"  # a wheel is a zip archive; pip may be missing as well
  fi
done

export PYTHONPATH="$repository:$work/site${PYTHONPATH:+:$PYTHONPATH}" PYTHONUNBUFFERED=1
"$python" "$repository/benchmarks/train_gpu.py" "$@" --work "$work/runs" 2>&1 | tee -i "$3/training.log"
