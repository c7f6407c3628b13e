#!/usr/bin/env bash
# A cluster on one Linux machine: a coordinator and two workers, each in a network of its own, and a job that counts primes.
#
#     ppwasm-demo-c   10.77.7.1   the coordinator, with a bridge that the others are plugged into; the client is here too
#     ppwasm-demo-1   10.77.7.11  a worker with one slot
#     ppwasm-demo-2   10.77.7.12  a worker with one slot
#
# Networks are network namespaces, so it needs root, or sudo, which it calls itself. All that it makes is gone when it
# ends, also after Ctrl-C. The command is $PPWASM, or `ppwasm` on the path.
set -euo pipefail

root=$(cd "$(dirname "$0")/.." && pwd)
ppwasm=${PPWASM:-ppwasm}
networks=(ppwasm-demo-c ppwasm-demo-1 ppwasm-demo-2)
address=10.77.7.1:7777

say() {
    printf '\n%s\n' "$*"
}

fail() {
    printf 'cluster-demo: %s\n' "$*" >&2
    exit 1
}

[ "$(uname -s)" = Linux ] || fail "network namespaces are Linux's"
if [ "$(id -u)" -ne 0 ]; then
    command -v sudo >/dev/null || fail "needs root, or sudo, to make networks"
    printf 'cluster-demo: making networks needs root: sudo %s\n' "$0" >&2
    # The cache of whoever calls: what is compiled there already is not compiled again.
    exec sudo env PPWASM="$(command -v "$ppwasm")" \
        PPWASM_CACHE_DIR="${PPWASM_CACHE_DIR:-${XDG_CACHE_HOME:-$HOME/.cache}/ppwasm}" "$0" "$@"
fi
command -v "$ppwasm" >/dev/null || fail "there is no command $ppwasm; build it, or say where it is in PPWASM"
ppwasm=$(realpath "$(command -v "$ppwasm")")
if ! command -v ip >/dev/null; then
    command -v apt-get >/dev/null || fail "needs the ip command of iproute2"
    printf 'cluster-demo: installing the Debian package iproute2\n' >&2
    apt-get update -q >&2 || fail "apt-get update failed; is there a network?"
    DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends iproute2 >&2 ||
        fail "apt-get could not install iproute2"
fi

folder=$(mktemp -d)
running=()

clean_up() {
    trap - EXIT
    for process in "${running[@]}"; do
        kill -TERM "$process" 2>/dev/null || true
    done
    # They have ten seconds to leave in good order.
    (sleep 10 && kill -KILL "${running[@]}" 2>/dev/null) &
    local impatient=$!
    wait "${running[@]}" 2>/dev/null || true
    kill "$impatient" 2>/dev/null || true
    for network in "${networks[@]}"; do
        ip netns delete "$network" 2>/dev/null || true
    done
    rm -rf "$folder"
}
trap clean_up EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

# in NETWORK COMMAND…
in_network() {
    ip netns exec "$@"
}

# Waits up to 20 minutes, in which a guest is compiled on a slow and busy machine, until a file holds a text.
wait_for() {
    for _ in $(seq 12000); do
        grep -qs -- "$2" "$1" && return
        kill -0 "${running[-1]}" 2>/dev/null || break
        sleep 0.1
    done
    cat "$1" >&2 || true
    fail "waited for \"$2\" in vain"
}

say "Three networks: ${networks[*]}"
for network in "${networks[@]}"; do
    # One that an earlier run could not take away.
    ip netns delete "$network" 2>/dev/null || true
    ip netns add "$network"
    ip -n "$network" link set lo up
done
ip -n ppwasm-demo-c link add demo type bridge
ip -n ppwasm-demo-c address add 10.77.7.1/24 dev demo
ip -n ppwasm-demo-c link set demo up
for number in 1 2; do
    ip -n ppwasm-demo-c link add "to-$number" type veth peer name eth0 netns "ppwasm-demo-$number"
    ip -n ppwasm-demo-c link set "to-$number" master demo up
    ip -n "ppwasm-demo-$number" address add "10.77.7.1$number/24" dev eth0
    ip -n "ppwasm-demo-$number" link set eth0 up
done

say 'The coordinator. The first start makes keys and compiles the guest for workers.'
# Not by way of the function: `$!` would be a shell that the program outlives.
ip netns exec ppwasm-demo-c "$ppwasm" coordinator start --dir "$folder/coordinator" --listen "$address" \
    >"$folder/coordinator.log" 2>&1 &
running+=($!)
wait_for "$folder/coordinator.log" 'listening on'
grep 'listening on' "$folder/coordinator.log"

# token ROLE prints a join token.
token() {
    in_network ppwasm-demo-c "$ppwasm" certs token --role "$1" --dir "$folder/coordinator" | head -n 1
}

say 'Two workers, each with a token that works once.'
for number in 1 2; do
    ip netns exec "ppwasm-demo-$number" "$ppwasm" worker start --join "$(token worker)" "$address" \
        --name "worker-$number" --slots 1 --state "$folder/worker-$number" >"$folder/worker-$number.log" 2>&1 &
    running+=($!)
    wait_for "$folder/worker-$number.log" 'serves'
    cat "$folder/worker-$number.log"
done

say 'A client logs in, and its job goes to the cluster.'
export PPWASM_CONFIG_DIR=$folder/client
client() {
    in_network ppwasm-demo-c "$ppwasm" "$@"
}
client login --join "$(token client)" "$address"
counted=$(client submit "$root/examples/primes/job.py:count" --range 0-99 --quiet | awk '{ sum += $1 } END { print sum }')
expected=$(cat "$root/examples/primes/expected.txt")
printf 'Primes up to ten million: %s\n' "$counted"
[ "$counted" = "$expected" ] || fail "there are $expected"

say '$ ppwasm job list'
client job list
say '$ ppwasm worker list'
client worker list

say 'The workers finish and leave; everything that was made is taken away.'
