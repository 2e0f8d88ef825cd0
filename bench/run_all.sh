#!/usr/bin/env bash
# Measures everything in bench/RESULTS.md that needs no other task queue: `make bench-all`, or this script.
# Writes one JSON report for each scenario into bench/results/, and the tables from them. On a quiet machine it takes about
# twenty minutes; BENCH_SCALE=0.1 makes the large ones a tenth as large.
set -euo pipefail
here="$(cd "$(dirname "$0")" && pwd)"
python="${PYTHON:-$here/../.venv/bin/python}"
out="$here/results"
scale="${BENCH_SCALE:-1}"
mkdir -p "$out"
# BENCH_ONLY="throughput latency" measures these anew and leaves the other reports as they are.
only="${BENCH_ONLY:-}"

wanted() { [ -z "$only" ] || [[ " $only " == *" ${1%.round-*} "* ]]; }

scaled() { awk -v n="$1" -v s="$scale" 'BEGIN { printf "%d", n * s < 1000 ? 1000 : n * s }'; }

# NAME SECONDS-AT-MOST ARGUMENTS: a scenario that fails or takes too long is said so, and the others go on.
measure() {
  local name=$1 limit=$2
  wanted "$name" || return 0
  shift 2
  echo "$(date +%H:%M:%S) bench $*" >&2
  if timeout --kill-after=30 "$limit" "$python" -m treadle.cli bench "$@" --json >"$out/$name.json.new" 2>"$out/$name.log"; then
    mv "$out/$name.json.new" "$out/$name.json"
  else
    echo "  failed: see $out/$name.log" >&2
    rm -f "$out/$name.json.new" "$out/$name.json"
  fi
}

# NAME SECONDS-AT-MOST KEY ARGUMENTS: three rounds, of which the median by a figure is kept, with that figure of all.
measure_thrice() {
  local name=$1 limit=$2 key=$3 round
  wanted "$name" || return 0
  shift 3
  rm -f "$out/$name".round-*.json
  for round in 1 2 3; do measure "$name.round-$round" "$limit" "$@"; done
  "$python" "$here/median.py" "$key" "$out/$name".round-*.json >"$out/$name.json" || rm -f "$out/$name.json"
  rm -f "$out/$name".round-*
}

measure_thrice throughput 120 tasks_per_s throughput --tasks "$(scaled 100000)"
measure throughput-2-processes 120 throughput --tasks "$(scaled 100000)" --processes 2
measure throughput-1-kb 120 throughput --tasks "$(scaled 50000)" --payload-bytes 1024
measure throughput-10-tenants 120 throughput --tasks "$(scaled 50000)" --tenants 10
measure throughput-2-engines 120 throughput --tasks "$(scaled 50000)" --tenants 4 --engines 2
measure throughput-hatchet 120 throughput --tasks "$(scaled 3000)" --client hatchet
measure_thrice drain-20k 90 tasks_per_s drain --tasks 20000
measure drain-20k-2-processes 90 drain --tasks 20000 --processes 2
measure_thrice drain-200k 120 tasks_per_s drain --tasks "$(scaled 200000)"
measure_thrice latency 90 start_latency_ms.p50 latency --tasks 1000
measure latency-hatchet 90 latency --tasks 100 --client hatchet
measure_thrice await 90 result_latency_ms.p50 await --tasks 1000
measure sustained-1000 90 sustained --rate 1000 --seconds 20
measure_thrice sustained-2000 90 start_latency_ms.p99 sustained --rate 2000 --seconds 20
measure backlog 420 backlog --tasks "$(scaled 1000000)"
measure growth 420 growth --history "$(scaled 2000000)"
measure dag 180 dag --tasks 20000
measure fanout 120 fanout --children 10000
measure idle 120 idle --tenants 100 --workers 20
measure recovery 240 recovery --rounds 3
"$python" "$here/tables.py" "$out" >"$here/RESULTS.md"
echo "wrote $here/RESULTS.md" >&2
