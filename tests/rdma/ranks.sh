# What the machines' scripts share. Prints WRONG where something is; finish() ends with it.
build=$1
rank=$build/tests/rdma/rdma_rank
faults=0
UCX_RDMA=rc_verbs,ud_verbs,self  # UCX_TLS with nothing beside RDMA
export UCX_UD_TIMEOUT=1000000s   # it counts cycles, of which an emulated processor has any number

wrong() { echo "WRONG: $*"; faults=$((faults + 1)); }
title() { echo; echo "== $* ($(cut -d' ' -f1 /proc/uptime) s)"; }
weather() { tc qdisc replace dev "$IF" root netem "$@"; }
fair_weather() { tc qdisc delete dev "$IF" root; }
finish() { exit $((faults > 0)); }

# Runs COMMAND, a rank's, and kills it at some moment after it is linked.
linked_then_killed() {
  output=$(mktemp)
  "$@" >"$output" &
  process=$!
  until grep -q linked "$output"; do
    kill -0 $process 2>/dev/null || { wrong "the victim ended: $(cat "$output")"; return; }
    sleep 0.1
  done
  sleep 0.$((RANDOM % 9))
  kill -9 $process || wrong "the victim was dead before"
  wait $process 2>/dev/null
}
