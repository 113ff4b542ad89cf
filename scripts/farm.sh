# For the demos, which source it: a farm in a temporary directory, $work, that goes with the shell. The commands of $batchyard find it.
set -euo pipefail
batchyard=$PWD/.bin/batchyard
results=$PWD/results
work=$(mktemp -d)
export BATCHYARD_CONFIG=$work/contexts.yaml
farm=

cleanup() {
  status=$?
  trap - EXIT
  if [ -n "$farm" ]; then
    kill -TERM "$farm" 2>/dev/null || true
    wait "$farm" 2>/dev/null || true
  fi
  [ $status -eq 0 ] || { echo "the farm's log:" >&2; tail -n 20 "$work/dev.log" >&2 || true; }
  rm -rf "$work"
  exit $status
}
trap cleanup EXIT
trap 'exit 130' INT TERM

step() { printf '\n\033[1m==> %s\033[0m\n' "$*"; }

# start_farm starts a coordinator, an object store, and a pool "demo" of two nodes with four slots each.
start_farm() {
  step "Starting a farm: a coordinator, an object store, two nodes"
  "$batchyard" dev --data-dir "$work/farm" --any-ports --nodes 0 >"$work/dev.log" 2>&1 &
  farm=$!
  for _ in $(seq 1 300); do
    grep -q "is ready" "$work/dev.log" && break
    kill -0 "$farm" 2>/dev/null || { echo "the farm did not start" >&2; exit 1; }
    sleep 0.1
  done
  grep "is ready" "$work/dev.log"
  "$batchyard" pool create demo --nodes 2 --slots 4 --wait
}
