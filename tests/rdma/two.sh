# What each of two machines runs at the same time: rank 0 on the first, rank 1 on the other, a cable between them.
#   two.sh BUILD_FOLDER
. tests/rdma/ranks.sh

# mine COMMAND TRANSPORT [WORD...]: the own rank
words() { echo "--rank $HOST --listen 7000 --peer $PEER:7000 --transport $1"; }
mine() {
  command=$1 transport=$2
  shift 2
  $rank $command $(words $transport) "$@" || wrong "$command over $transport"
}

meet() { until $rank open $(words tcp) >/run/meeting; do sleep 0.2; done; }

meet  # the other machine may start later

title "every collective"
for transport in verbs verbs-uc verbs-mac; do mine check $transport; done
UCX_TLS=$UCX_RDMA mine check ucx

for kind in "loss 3%" "delay 3ms reorder 98%" "delay 1ms loss 1% duplicate 2%"; do
  title "every collective, netem $kind"
  weather $kind
  for transport in verbs verbs-uc verbs-mac; do mine check $transport; done
done
fair_weather

title "death at any moment"
for round in 1 2 3 4 5 6; do
  for transport in verbs verbs-uc; do
    if [ $((round % 2)) = $HOST ]; then linked_then_killed $rank endure $(words $transport); else mine endure $transport; fi
  done
done

title "a host vanishes: nothing of it comes through any more"
for transport in verbs verbs-uc; do
  meet
  $rank endure $(words $transport) >/run/vanishing &
  process=$!
  until grep -q linked /run/vanishing; do sleep 0.1; done
  sleep 0.5
  [ $HOST = 0 ] || weather loss 100%
  wait $process || wrong "a vanished host over $transport"
  cat /run/vanishing
  [ $HOST = 0 ] || fair_weather
done
meet

title "times between two machines, UCX over RDMA and over TCP"
for transport in tcp verbs verbs-uc verbs-mac; do mine time $transport; done
UCX_TLS=$UCX_RDMA mine time ucx
UCX_TLS=tcp mine time ucx

. tests/rdma/cluster.sh

title "a host is killed outright"
if [ $HOST = 0 ]; then
  mine endure verbs
  finish
fi
$rank endure $(words verbs) >/run/dying &
until grep -q linked /run/dying; do sleep 0.1; done
sleep 0.5
[ $faults -gt 0 ] || echo "guest: killed as wanted"
echo b >/proc/sysrq-trigger
