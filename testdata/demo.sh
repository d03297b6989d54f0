#!/usr/bin/env bash
# The main job from end to end on 60,000 real flights: `make demo` runs it. Every step is checked; the first that is not
# what it should be ends the story with exit code 1.
set -euo pipefail

millrace=${1:?usage: demo.sh MILLRACE FIRST SECOND}
first=${2:?usage: demo.sh MILLRACE FIRST SECOND}
second=${3:?usage: demo.sh MILLRACE FIRST SECOND}
millrace=$(realpath "$millrace")
work=$(mktemp -d "${TMPDIR:-/tmp}/millrace-demo.XXXXXX")
project=$work/flights
up=

say()  { printf '\n\033[1m== %s\033[0m\n' "$*"; }
run()  { printf '$ millrace %s\n' "$*"; "$millrace" -C "$project" "$@"; }
fail() { printf '\nThis is not what it should be: %s\n(the log of up: %s)\n' "$*" "$work/up.log" >&2; exit 1; }
stop() { [ -z "$up" ] || kill -9 "$up" 2>/dev/null || true; }
trap stop EXIT

start() {
  "$millrace" -C "$project" up >>"$work/up.log" 2>&1 &
  up=$!
  for _ in $(seq 300); do
    kill -0 "$up" 2>/dev/null || { cat "$work/up.log" >&2; fail "up ended"; }
    grep -qs "\"pid\":$up," "$project/.millrace/up.json" && return
    sleep 0.1
  done
  fail "up was not ready within 30 seconds"
}
# sliced waits until the speed layer has published up to the log's end.
sliced() {
  for _ in $(seq 300); do
    "$millrace" -C "$project" status --json -q | grep -Eq '"speed":\{"frontier":\{[^}]+\},"lag":0\}' && return
    sleep 0.1
  done
  fail "the speed layer was not done within 30 seconds"
}
number() { "$millrace" -C "$project" query -q -f csv "$1" | tail -n 1; }

say "A project is a folder: one topic, ten views, a reference table, a job"
"$millrace" init "$project" --example flights
sed -i.default "s/^listen:.*/listen: 127.0.0.1:0        # any free port/" "$project/millrace.yaml"
run validate

say "One process runs it all: the broker, the speed layer, batch cycles, jobs, HTTP"
start
sed 's/^/  /' "$work/up.log"

say "Half of the flights, then a batch cycle: Parquet, partials, one manifest"
run ingest flights "$first"
sliced
run batch

say "The other half comes in while the speed layer works: no cycle has read it, and nothing is missing"
run ingest flights "$second" --rate 15000
sliced
run status
run query "SELECT * FROM states LIMIT 5" --certificate "$work/certificate.json"
echo "and what the answer covers (half by the batch layer, the rest by slices and the log):"
cat "$work/certificate.json"
grep -q '"batch":{"records":30000,' "$work/certificate.json" || fail "the batch layer should answer for 30,000 records"
[ "$(number 'SELECT count(*) FROM flights')" = 60000 ] || fail "there should be 60,000 flights"
run verify

say "kill -9 in the middle of an ingest"
"$millrace" -C "$project" ingest flights "$first" --id again --rate 10000 -q --timeout 1s >"$work/ingest.log" 2>&1 &
ingest=$!
sleep 1.5
kill -9 "$up"
wait "$up" 2>/dev/null || echo "up was killed"
wait "$ingest" || echo "ingest ended: $(tail -n 1 "$work/ingest.log")"

say "Start again; the same ingest goes on where it stopped, nothing lost, nothing doubled"
start
run ingest flights "$first" --id again
[ "$(number 'SELECT count(*) FROM flights')" = 90000 ] || fail "there should be 90,000 flights, once each"
run verify

run fsck

kill "$up"; wait "$up" || fail "up did not end well"
up=
cat <<STORY

All is as it should be. The project is yours to play with:

  cd $project
  $millrace up &                                              # then, in the same folder:
  $millrace query "SELECT * FROM delays LIMIT 10"
  $millrace query "SELECT origin, count(*) FROM flights GROUP BY ALL ORDER BY 2 DESC LIMIT 5"
  $millrace --help
STORY
