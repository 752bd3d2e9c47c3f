# What two.sh goes on with: a device on each of the two machines. They measure each other over RDMA, plan with it, and
# place a model over it. Host 0 asks all the questions.

# A device that knows its speed need not measure it, which takes minutes on an emulated processor. So slow that RDMA pays.
know_speed() {
  mkdir -p /run/.cache/cohort
  processor=$(sed -n 's/^model name\t*: //p' /proc/cpuinfo | head -1)
  version=$($cohort version | sed 's/^cohort //')
  cat >/run/.cache/cohort/speed-auto-0.json <<EOF
{"cpu":"$processor","version":"$version","threads":0,"read_gb_per_s":0.1,"matmul_gops":1,"instruction_set":"avx2","backends":["cpu"],
 "step":{"formats":[{"format":"q4","gb_per_s":0.1,"prefill_gops":1},{"format":"q8","gb_per_s":0.1,"prefill_gops":1}],
 "core_read_gb_per_s":0.1,"machine_read_gb_per_s":0.1,"message_us":100,"shm_round_trip_us":5,"shm_gb_per_s":1}}
EOF
}

serve() { HOME=/run "$@" $cohort serve --name host$HOST --peer $PEER --data-dir /run/data >/run/serve 2>&1 & device=$!; }
end_device() { kill $device; wait $device; }

# within SECONDS COMMAND...: until the command succeeds
within() {
  for attempt in $(seq $1); do
    "${@:2}" && return
    sleep 1
  done
  return 1
}
devices() { $cohort devices >/run/devices 2>&1; }
are_reached_by() { [ "$(grep -c " $1 .* us " /run/devices)" = 2 ]; }
are_reached() { devices && are_reached_by verbs && are_reached_by ucx; }
are_not_reached() { devices && grep -q 'no verbs from host0 to host1: .*may be locked (ulimit -l)' /run/devices; }

# answer_over TRANSPORT FOUND: the answer of a model that both devices share, linked by FOUND
answer_over() {
  $cohort place demo --devices 2 --sharding tensor --transport $1 --wait >/run/placed 2>&1 || wrong "place over $1: $(cat /run/placed)"
  $cohort run demo "What is a lantern?" --temperature 0 --max-tokens 24 2>/run/asked || wrong "run over $1: $(cat /run/asked)"
  $cohort ps >/run/ps
  grep -q "ready .* $2 " /run/ps || wrong "ps over $1: $(cat /run/ps)"
  $cohort stop demo >/dev/null || wrong "stop over $1"
}

ask_all() {
  within 120 are_reached || wrong "not reached: $(cat /run/devices /run/serve)"
  cat /run/devices
  $cohort plan demo --devices 2 --sharding tensor --transport verbs >/run/plan || wrong "no plan"
  cat /run/plan
  grep -q 'host. - host. by verbs' /run/plan && grep -q '^RDMA: .* with it, .* without' /run/plan || wrong "plan without RDMA"
  $cohort plan demo --devices 2 --sharding tensor >/run/plan || wrong "no plan"
  fastest=$(sed -n 's/.*host. - host. by \([a-z]*\) .*/\1/p' /run/plan)
  echo "by itself: $fastest"
  title "a model placed over RDMA answers as over TCP"
  over_tcp=$(answer_over tcp tcp)
  over_verbs=$(answer_over verbs verbs)
  echo "$over_verbs"
  [ -n "$over_tcp" ] && [ "$over_verbs" = "$over_tcp" ] || wrong "over TCP: $over_tcp"
  answer_over auto "$fastest"
}

ask_refused() {
  within 120 are_not_reached || wrong "no reason: $(cat /run/devices /run/serve)"
  grep 'no verbs' /run/devices
  $cohort doctor >/run/doctor
  grep 'rdma to host1 .*may be locked.* -> ' /run/doctor || wrong "doctor: $(cat /run/doctor)"
  $cohort plan demo --devices 2 --transport verbs >/run/plan 2>&1 && wrong "planned over verbs: $(cat /run/plan)"
  grep -o 'transport verbs was wished.*' /run/plan | grep 'host. and host. cannot be linked by it.*may be locked' ||
    wrong "refused without the pair: $(cat /run/plan)"
}

cohort=$build/cohort
know_speed
title "two devices measure each other over RDMA, and plan with it"
serve env
[ $HOST = 1 ] || ask_all
meet

title "a device that may not lock memory says so, and so does its peer"
# As a user without privileges, whom the limit binds.
if [ $HOST = 1 ]; then
  end_device
  chown -R 65534 /run/data /run/.cache
  ulimit -l 64
  serve setpriv --reuid 65534 --clear-groups
fi
[ $HOST = 1 ] || ask_refused
meet
end_device
