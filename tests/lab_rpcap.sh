# SPDX-License-Identifier: BSD-2-Clause
# Sourced behind lab.sh by the tests of RPCAP: an agent that serves it, clients, and what they have.

BLAST=$BUILD/tests/bench/blast PCAPCHECK=$BUILD/tests/e2e/pcapcheck
CAPTURED_MAX=65515 DATAGRAM_CAPTURED_MAX=65479

# --- programs ---

agent() {	# agent [OPTION...]
	rm -f "$LAB/agent.log"
	start agent guest "$BUILD/vmtap-agent" -i eth0 -B 32768 --memory-limit 256M $UNGOVERNED --metrics none \
		--rpcap-listen $AGENT_ADDRESS --rpcap-listen $GUEST_ADDRESS "$@"
	wait_for 10 logged agent "in service"
}
role_pid() { local p; for p in $(descendants "${LAB_PID[agent]}"); do [ "$(cat /proc/$p/comm)" != "vmtap-$1" ] || echo "$p"; done; }

# A client is of a kind: a tcpdump whose libpcap has remote capture, or a collector that pulls.
CLIENT=collector
connections() { in_ns "$1" ss -Htnp state established | grep -c "pid=$2,"; }
connected_twice() { [ "$(connections "$1" "$2")" = 2 ]; }	# for requests, and for packets
client_start() {	# client_start NAME NS HOST [FILTER...]: captures for $LAB/NAME.pcap
	local name=$1 ns=$2 host=$3
	shift 3
	rm -rf "$LAB/$name.log" "$LAB/$name.pcap" "$LAB/$name.store"
	"client_$CLIENT" "$name" "$ns" "${SCHEME:-rpcap}://${USER_INFO:+$USER_INFO@}$host/eth0" "$@" ||
		{ echo "$name does not capture: $(cat "$LAB/$name.log")"; return 1; }
}
client_tcpdump() {
	start "$1" "$2" $RPCAP_TCPDUMP -n -U -i "$3" -w "$LAB/$1.pcap" "${@:4}"
	wait_for 10 connected_twice "$2" "${LAB_PID[$1]}"
}
client_collector() {
	mkdir "$LAB/$1.store"
	start "$1" "$2" "$BUILD/vmtap-collector" --store "$LAB/$1.store" $(credentials collector) --pull "$1=$3" --rpcap-ca "$LAB/server.crt"
	wait_for 10 logged "$1" "capture by RPCAP begins"
}
client_stop() { stop "$1" INT; client_file "$1"; }
client_file() {	# brings what is in $LAB/NAME.pcap up to date
	[ -d "$LAB/$1.store" ] || return 0
	rm -f "$LAB/$1.pcap"
	"$BUILD/vmtap" read "$1" --store "$LAB/$1.store" -w "$LAB/$1.pcap" 2>/dev/null
}
client_counter() { "$BUILD/vmtap" stats "$1" --store "$LAB/$1.store" --json | jq "[.counters[] | select(.counter == \"$2\") | .value] | add // 0"; }
begins() {	# begins NAME COMMAND...: as check, but what it starts is there afterwards
	local name=$1
	shift
	if "$@" >"$LAB/begins.log" 2>&1; then ok "$name"; else not_ok "$name" "$(tail -n 1 "$LAB/begins.log")"; fi
}
said() {	# said NAME captured|received|dropped
	if [ ! -d "$LAB/$1.store" ]; then
		sed -n "s/^\([0-9]*\) packets\{0,1\} ${2/dropped/dropped by kernel}.*/\1/p" "$LAB/$1.log"
	elif [ "$2" = captured ]; then
		packets "$1"
	else
		client_counter "$1" "ring_${2}_packets"
	fi
}
refused() {	# refused WORDS HOST: for a reason in which these are
	local out
	out=$(in_ns collector timeout 20 $RPCAP_TCPDUMP -n -c 1 -i "${SCHEME:-rpcap}://${USER_INFO:+$USER_INFO@}$2/eth0" 2>&1) && { echo "was let in"; return 1; }
	grep -qi -- "$1" <<<"$out" || { echo "$out"; return 1; }
}

passwords_are() { echo "alice:$(openssl passwd -6 "$1")" >"$LAB/passwords"; chmod 600 "$LAB/passwords"; }
certificate() {	# certificate NAME ADDRESS...: self-signed
	local name=$1 names
	shift
	names=$(printf ",IP:%s" "$@")
	openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj "/CN=$name" -addext "subjectAltName=${names#,}" \
		-keyout "$LAB/$name.key" -out "$LAB/$name.crt" 2>/dev/null && chmod 600 "$LAB/$name.key"
}

reference_start() {
	rm -f "$LAB/reference.log"
	start reference guest tcpdump -n -U -i eth0 -B 32768 -s $CAPTURED_MAX -w "$LAB/reference.pcap"
	wait_for 10 logged reference "listening on"
}

# --- packets ---

blast() { in_ns peer "$BLAST" -i veth0 -r 5000 -n "$1" -p random "${@:2}" >/dev/null; }
ping_from_peer() { in_ns peer ping -q -i 0.01 "$@" $GUEST_ADDRESS >/dev/null; }
packets() { client_file "$1"; tcpdump -n -r "$LAB/$1.pcap" "${2:-}" 2>/dev/null | wc -l; }	# packets NAME [FILTER]
has() { [ "$(packets "$1" "$3")" -ge "$2" ]; }				# has NAME PACKETS FILTER
has_exactly() { [ "$(packets "$1" "$3")" = "$2" ] || { packets "$1" "$3"; return 1; }; }
whole() {	# whole NAME PACKETS: all that blast sent, in order
	local line
	client_file "$1"
	line=$("$PCAPCHECK" sequence "$LAB/$1.pcap")
	grep -q "packets $2 missing 0 duplicates 0 disordered 0" <<<"$line" || { echo "$line"; return 1; }
}
adds_up() {	# adds_up NAME: what passed the filter was delivered or is counted as dropped
	local captured received dropped
	captured=$(said "$1" captured) received=$(said "$1" received) dropped=$(said "$1" dropped)
	[ $((captured + dropped)) = "$received" ] || { echo "$captured captured, $dropped dropped, $received received"; return 1; }
}
mtu() { for ns in peer:veth0 guest:eth0; do in_ns ${ns%:*} ip link set ${ns#*:} mtu "$1"; done; }
lengths() { tshark -n -r "$LAB/$1.pcap" -T fields -e frame.len -e frame.cap_len "$2" 2>/dev/null | sort -n | tail -n 1 | tr '\t' ' '; }
neighbour() { ip -n "$(lab_ns $1)" neigh replace $3 dev $2 nud permanent lladdr "$(in_ns $4 cat /sys/class/net/$5/address)"; }
no_arp() {	# between the two: each packet counts
	neighbour peer veth0 $GUEST_ADDRESS guest eth0
	neighbour guest eth0 $PEER_ADDRESS peer veth0
}
