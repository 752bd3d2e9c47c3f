# What one machine runs: both ranks on it, over its software RDMA device.
#   one.sh BUILD_FOLDER
. tests/rdma/ranks.sh

# both COMMAND TRANSPORT [WORD...]: both ranks and their status
both() {
  command=$1 transport=$2
  shift 2
  $rank $command --rank 1 --listen 7001 --peer $SELF:7000 --transport $transport "$@" &
  $rank $command --rank 0 --listen 7000 --peer $SELF:7001 --transport $transport "$@"
  first=$?
  wait $!
  second=$?
}

expect_right() { [ $first = 0 ] && [ $second = 0 ] || wrong "$* ended with $first and $second"; }


kill_one() {
  victim=$(($2 % 2)) survivor=$((1 - $2 % 2))
  linked_then_killed $rank endure --rank $victim --listen 700$victim --peer $SELF:700$survivor --transport $1 &
  $rank endure --rank $survivor --listen 700$survivor --peer $SELF:700$victim --transport $1 || wrong "death over $1"
  wait
}

title "every collective, busy polling; verbs-mac is UC by the rules of Apple's verbs"
for transport in verbs verbs-uc verbs-mac; do both check $transport --spin 2000; expect_right "check $transport"; done

title "the links' and groups' own tests"
GTEST_COLOR=no $build/src/transport/transport_test --gtest_brief=1 \
  --gtest_filter='*LinkOf*Verbs*:*GroupErrors*Verbs*:*GroupOf*/2Verbs*:*GroupOf.SumsAdd*/3Verbs*' || wrong "transport_test"

title "a model cut over both ranks answers as over TCP, to the last bit"
answer() {
  $build/cohort verify tests/data/models/qwen3-bf16 --math f32 --ranks 2 --sharding tensor --transport $1 --json |
    sed 's/"transport":"[^"]*",//'
}
expected=$(answer tcp)
echo "$expected"
case $expected in *'"greedy_agree":true,"pass":true'*) ;; *) wrong "over tcp" ;; esac
for transport in verbs verbs-uc verbs-mac; do
  [ "$(answer $transport)" = "$expected" ] || wrong "another answer over $transport"
done

title "death at any moment"
for round in 1 2 3 4 5 6; do kill_one verbs $round; kill_one verbs-uc $round; done

title "two rails"
sent() { cat /sys/class/infiniband/$1/ports/1/hw_counters/sent_pkts; }
ip link add dummy1 type dummy
ip address add 10.77.1.1/24 dev dummy1
ip link set dummy1 mtu 4200 up
until rdma link add rxe1 type rxe netdev dummy1 2>/dev/null; do sleep 0.2; done
until rdma link show rxe1/1 | grep -q ACTIVE; do sleep 0.1; done
add_device_files
for transport in verbs verbs-uc; do
  before=$(sent rxe1)
  both check $transport
  expect_right "check $transport over two rails"
  [ $(($(sent rxe1) - before)) -gt 1000 ] || wrong "the second rail of $transport is not used"
done
ip link delete dummy1
while rdma link show rxe1/1 >/dev/null 2>&1; do sleep 0.1; done

title "too little memory may be locked"
both open verbs --locked 65536 | tee /run/locked
grep -q 'may be locked (ulimit -l)' /run/locked || wrong "no word of the limit"

title "times"
for transport in tcp verbs verbs-uc verbs-mac; do both time $transport; expect_right "time $transport"; done
echo "UCX as it likes, which in one machine is its shared memory:"
both time ucx
expect_right "time ucx"
echo "UCX over RDMA:"
export UCX_TLS=$UCX_RDMA
for command in time check; do both $command ucx; expect_right "$command ucx over RDMA"; done
unset UCX_TLS

title "the device vanishes"
for transport in verbs verbs-uc; do
  both endure $transport >/run/vanished &
  until [ "$(grep -c linked /run/vanished)" = 2 ]; do sleep 0.1; done
  sleep 0.5
  ip link delete dummy0
  wait $!
  cat /run/vanished
  [ "$(grep -c 'RDMA device rxe0\|gave up: .*RDMA device rxe0' /run/vanished)" = 2 ] && ! grep -q WRONG /run/vanished || wrong "vanished under $transport"
  ip link add dummy0 type dummy
  ip address add $SELF/24 dev dummy0
  ip link set dummy0 mtu 4200 up
  until rdma link add $DEV type rxe netdev dummy0 2>/dev/null; do sleep 0.2; done
done

title "a device says what RDMA it has"
HOME=/run $build/cohort serve --alone --data-dir /run/data >/run/serve 2>&1 &
daemon=$!
lists_port() { $build/cohort devices >/run/devices 2>&1 && grep -q "$DEV .*active.*$SELF" /run/devices; }
for attempt in $(seq 200); do
  lists_port && break
  sleep 0.1
done
cat /run/devices
lists_port || wrong "devices without $DEV: $(cat /run/serve)"
kill $daemon
finish
