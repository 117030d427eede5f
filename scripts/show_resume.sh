#!/bin/sh
# A run that was killed goes on as if it had not been: two processes on the CPU, the smoke configuration, about two
# minutes. One run is left alone, another is killed with SIGKILL at step 15, when its last checkpoint is of step 10, and
# started again by the same command. Prints the losses of both side by side; exit code 1 where one differs.
#
#   scripts/show_resume.sh [FOLDER]     keeps both runs in FOLDER, which must not have any yet
set -eu
cd "$(dirname "$0")/.."
folder=${1:-$(mktemp -d)}
if [ -e "$folder/whole" ] || [ -e "$folder/killed" ]; then echo "$folder: has runs already" >&2; exit 1; fi

launch() {  # RUN [exec]
    ${2:-} .venv/bin/python -m torch.distributed.run --standalone --nproc-per-node 2 \
        -m trainer.pretrain configs/train/smoke.yaml "$folder/$1"
}

echo "uninterrupted"
launch whole
echo "to be killed"
launch killed exec >"$folder/killed.log" 2>&1 &
torchrun=$!
until grep -q '"step": 15,' "$folder/killed/metrics.jsonl" 2>/dev/null; do
    if ! kill -0 $torchrun 2>/dev/null; then cat "$folder/killed.log"; exit 1; fi
    sleep 0.1
done
pkill -KILL -P $torchrun    # both processes
wait $torchrun || true
echo "killed; started again"
launch killed

exec .venv/bin/python - "$folder" <<'PYTHON'
import json, sys
from pathlib import Path

losses = []
for name in ("whole", "killed"):
    lines = map(json.loads, (Path(sys.argv[1]) / name / "metrics.jsonl").read_text().splitlines())
    losses.append({line["step"]: line["loss"] for line in lines if "loss" in line})
print(f"{'step':>4}  {'uninterrupted':>15}  {'killed at 15':>15}")
for step, loss in losses[0].items():
    print(f"{step:>4}  {loss:>15}  {losses[1].get(step, '-'):>15}")
same = losses[0] == losses[1]
print("every digit is the same" if same else "they differ")
sys.exit(not same)
PYTHON
