# SPDX-License-Identifier: BSD-2-Clause
# Sourced by the end-to-end tests and the benchmarks (bash): a lab of network namespaces, programs in them, and conditions to wait for.
#
#	peer ---veth--- eth0 guest mgmt0 ---veth--- collector
#
# The agent runs in "guest" and taps eth0; what it sends leaves by mgmt0. Nothing outside the namespaces is touched.
# $BUILD: where the programs were built. $LAB: this lab's own folder. Needs root.

BUILD=${BUILD:-$(pwd)}
LAB=$(mktemp -d "${TMPDIR:-/tmp}/vmtap-lab.XXXXXX")
LAB_ID=vt$$
AGENT_ADDRESS=10.77.1.1
COLLECTOR_ADDRESS=10.77.1.2
GUEST_ADDRESS=10.77.0.1
PEER_ADDRESS=10.77.0.2
VM=guest1
UNGOVERNED="--ladder none"	# a governor would step down in slow builds, on busy machines
LAB_NS="peer guest collector"
FAR_RUN=	# a command that runs the far end, in benchmarks
declare -A LAB_PID

lab_ns() { echo "$LAB_ID-$1"; }
in_ns() { local ns=$1; shift; ip netns exec "$(lab_ns "$ns")" "$@"; }

lab_link() {	# lab_link NS IF ADDRESS NS IF ADDRESS
	ip link add "$2" netns "$(lab_ns "$1")" type veth peer name "$5" netns "$(lab_ns "$4")"
	ip -n "$(lab_ns "$1")" -batch - <<<"address add $3/24 dev $2"$'\n'"link set $2 up"
	ip -n "$(lab_ns "$4")" -batch - <<<"address add $6/24 dev $5"$'\n'"link set $5 up"
}

lab_up() {
	local ns
	chmod 755 "$LAB"
	for ns in $LAB_NS; do
		ip netns add "$(lab_ns $ns)"
		in_ns $ns sysctl -qw net.ipv6.conf.all.disable_ipv6=1 net.ipv6.conf.default.disable_ipv6=1
		ip -n "$(lab_ns $ns)" link set lo up
	done
	lab_link peer veth0 $PEER_ADDRESS guest eth0 $GUEST_ADDRESS
	lab_link guest mgmt0 $AGENT_ADDRESS collector veth0 $COLLECTOR_ADDRESS
}

lab_down() {
	local name ns
	for name in "${!LAB_PID[@]}"; do stop "$name" KILL; done
	for ns in $LAB_NS; do
		kill -KILL $(ip netns pids "$(lab_ns $ns)" 2>/dev/null) 2>/dev/null
		ip netns del "$(lab_ns $ns)" 2>/dev/null
	done
	[ -n "${LAB_KEEP:-}" ] || rm -rf "$LAB"
}
trap lab_down EXIT
trap 'exit 130' HUP INT TERM

start() {	# start NAME NS COMMAND...: in the background, output in $LAB/NAME.log
	local name=$1 ns=$2
	shift 2
	ip netns exec "$(lab_ns "$ns")" "$@" >>"$LAB/$name.log" 2>&1 &
	LAB_PID[$name]=$!
}

stop() {	# stop NAME [SIGNAL]: and wait for its end; returns its status
	local pid=${LAB_PID[$1]:-} rc
	[ -n "$pid" ] || return 0
	unset "LAB_PID[$1]"
	kill -"${2:-TERM}" "$pid" 2>/dev/null
	wait "$pid" 2>/dev/null
	rc=$?
	return $rc
}

finish() {	# finish NAME: waits for a program that ends by itself
	local pid=${LAB_PID[$1]}
	unset "LAB_PID[$1]"
	wait "$pid"
}

wait_for() {	# wait_for SECONDS COMMAND...: until it succeeds
	local end=$((SECONDS + $1 + 1))
	shift
	until "$@" >/dev/null 2>&1; do
		[ $SECONDS -lt $end ] || return 1
		read -rt "${WAIT_STEP:-0.05}" <> <(:) || :
	done
}

logged() { grep -q -- "$2" "$LAB/$1.log"; }

children() { cat /proc/"$1"/task/*/children 2>/dev/null; }
descendants() { local c; echo "$1"; for c in $(children "$1"); do descendants "$c"; done; }

lab_pki() {
	"$BUILD/vmtap" pki init "$LAB/pki" >/dev/null &&
	"$BUILD/vmtap" pki agent "$LAB/pki" $VM >/dev/null &&
	"$BUILD/vmtap" pki collector "$LAB/pki" collector --host $COLLECTOR_ADDRESS ${COLLECTOR_HOSTS:-} >/dev/null &&
	"$BUILD/vmtap" pki operator "$LAB/pki" operator >/dev/null
}
credentials() { echo "--ca $LAB/pki/ca.crt --cert $LAB/pki/$1.crt --key $LAB/pki/$1.key"; }

start_collector() {	# start_collector [OPTION...]
	mkdir -p "$LAB/store"
	start collector collector $FAR_RUN "$BUILD/vmtap-collector" --store "$LAB/store" $(credentials collector) "$@"
	wait_for 10 collector_listens || { echo "collector does not listen:"; cat "$LAB/collector.log"; return 1; }
}
collector_listens() { in_ns collector ss -Hltn "sport = :8827" | grep -q .; }

start_agent() {	# start_agent [OPTION...]: taps eth0, sends to the collector, has its metrics at $LAB/agent.sock
	start agent guest "$BUILD/vmtap-agent" -i eth0 $UNGOVERNED --collector $COLLECTOR_ADDRESS --metrics "$LAB/agent.sock" $(credentials $VM) "$@"
}
vmtap() { local verb=$1; shift; "$BUILD/vmtap" "$verb" --store "$LAB/store" "$@"; }
json_says() { jq -ne "input | $1"; }	# json_says JQ-EXPRESSION: false without input, too, which jq 1.6 would take for success
connected() { vmtap vms --json | json_says ".[] | select(.name == \"$VM\" and .state == \"connected\")"; }
capturing() {	# an interface is open
	connected && vmtap stats $VM --json | json_says 'any(.counters[]; .counter == "ring_received_packets")'
}
stored_packets() { vmtap vms --json | jq ".[] | select(.name == \"$VM\") | .packets"; }
stored_at_least() { [ "$(stored_packets)" -ge "$1" ]; }
counter() {	# counter NAME: summed over interfaces and streams
	vmtap stats $VM --json | jq "[.counters[] | select(.counter == \"$1\") | .value] | add // 0"
}

PASSED=0
FAILED=0
ok() { PASSED=$((PASSED + 1)); echo "ok	$1"; }
not_ok() { FAILED=$((FAILED + 1)); echo "NOT OK	$1${2:+: $2}"; }
check() {	# check NAME COMMAND...
	local name=$1 out
	shift
	if out=$("$@" 2>&1); then ok "$name"; else not_ok "$name" "$(printf %s "$out" | tail -n 3 | tr '\n' ' ')"; fi
}

ledger() { vmtap stats $VM --json | json_says ".ledger | $1"; }	# ledger JQ-EXPRESSION: false is failure
ledger_rests() { ledger '.terms.under_way.packets == 0 and (.unaccounted // 0) == 0'; }
ledger_line() { ledger '[.level, "ring " + (.terms.ring_received.packets | tostring), "offered " + (.terms.offered.packets | tostring), (.terms
	| to_entries[] | select(.key | test("offered|ring_received") | not) | select((.value.packets // 0) != 0 or .value.more)
	| "\(.key) \(if .value.up_to then "<=" else "" end)\(.value.packets)"), "unaccounted \(.unaccounted)", if .exact then "exact"
	else "with bounds" end] | join(", ")' | tr -d '"'; }
ledger_exact() {	# ledger_exact NAME: nothing is under way after a while, and each packet of the VM is in some place
	if wait_for 15 ledger_rests; then ok "$1: ledger: $(ledger_line)"; else not_ok "$1: ledger" "$(ledger_line)"; fi
}
lab_end() { echo "$PASSED passed, $FAILED failed"; [ $FAILED -eq 0 ]; }
