# SPDX-License-Identifier: BSD-2-Clause
# Sourced by the benchmarks after tests/lab.sh (bash): what they measure with, and what captures on the guest's eth0 besides agents.

make_corpus() {	# make_corpus FILE: 8 MB of text, the C headers below /usr/include
	find /usr/include -name '*.h' -type f | LC_ALL=C sort | xargs cat 2>/dev/null | head -c 8000000 > "$1"
}

cpu_ns() {	# of processes and all their threads
	local pid sum=0 ns
	for pid in "$@"; do
		for ns in $(cat /proc/"$pid"/task/*/schedstat 2>/dev/null | cut -d' ' -f1); do sum=$((sum + ns)); done
	done
	echo $sum
}
machine_ticks() { awk '/^cpu /{ print $2 + $3 + $4 + $7 + $8 }' /proc/stat; }
interface_count() { in_ns guest cat "/sys/class/net/$1/statistics/$2"; }	# interface_count IF rx_bytes

settle() {	# settle PID...: until the processes have nothing left to do
	LAST_CPU=0
	wait_for 60 cpu_settled "$@"
}
cpu_settled() {
	local now
	now=$(cpu_ns "$@")
	[ $((now - LAST_CPU)) -lt 2000000 ] && return 0
	LAST_CPU=$now
	read -rt 0.2 <> <(:) || :
	return 1
}
settle_store() {	# until the collector stores no more
	LAST_STORED=
	wait_for 20 store_settled
}
store_settled() {
	local now
	now=$(stored_packets)
	[ "$now" = "$LAST_STORED" ] && return 0
	LAST_STORED=$now
	read -rt 0.3 <> <(:) || :
	return 1
}

# What captures is "cand": a program that throws all away, or a pipe through COMMAND and TLS to a sink, "far", that does.
start_tcpdump() {	# start_tcpdump [SNAPLEN]
	start cand guest tcpdump -n -i eth0 -B 8192 -s "${1:-262144}" -w /dev/null
}
start_pipe() {	# start_pipe COMMAND
	start far collector $FAR_RUN "$BUILD/tests/bench/limit" sink 9000 "$LAB/pki/collector.crt" "$LAB/pki/collector.key"
	wait_for 10 far_listens || return 1
	start cand guest bash -c "tcpdump -n -i eth0 -B 8192 -s 262144 -w - | $1 |
		openssl s_client -quiet -connect $COLLECTOR_ADDRESS:9000 >/dev/null 2>&1"
}
far_listens() { in_ns collector ss -Hltn "sport = :9000" | grep -q .; }
stop_pipe() {
	kill -INT "$(tcpdump_pid)"
	wait_for 10 logged cand "^[0-9]* packets captured"
	kill $(descendants "${LAB_PID[cand]}") 2>/dev/null	# s_client waits for the other side's end, whatever its input says
	finish cand
	stop far
}
cand_listens() { grep -qi "listening on\|Capturing on" "$LAB/cand.log"; }
tcpdump_pid() { pgrep -xP "${LAB_PID[cand]}" tcpdump || echo "${LAB_PID[cand]}"; }
tcpdump_drained() {	# it has taken all that is in its ring, where the last packets stay for a second; as it says when asked
	kill -USR1 "$(tcpdump_pid)"
	read -rt 0.1 <> <(:) || :
	tail -n 1 "$LAB/cand.log" | awk '/captured.*received.*dropped/ && $2 + $10 == $5 { drained = 1 } END { exit !drained }'
}
tcpdump_captured() { sed -n 's/^\([0-9]*\) packets captured.*/\1/p' "$LAB/cand.log" | tail -n 1; }

# A server of RPCAP and, as "far", a client that counts what comes and throws it away. rpcapd ends with all of its process group.
start_rpcap() {	# start_rpcap rpcap|rpcapd plain|tls
	local server=$1 trust=
	rm -f "$LAB/far.log"
	[ "$2" = tls ] && trust="-t $LAB/pki/ca.crt"
	case $1:$2 in
	rpcap:plain) set -- --rpcap-plain;;
	rpcap:tls) set -- --rpcap-cert "$LAB/pki/collector.crt" --rpcap-key "$LAB/pki/collector.key";;
	rpcapd:plain) set -- ;;
	rpcapd:tls) set -- -S -X "$LAB/pki/collector.crt" -K "$LAB/pki/collector.key";;
	esac
	if [ $server = rpcapd ]; then
		start cand guest setsid "$RPCAP_RPCAPD" -4 -n -b $AGENT_ADDRESS "$@"
	else
		start cand guest "$BUILD/vmtap-agent" $UNGOVERNED --cpu-limit 0 --metrics none --memory-limit 128M --rpcap-null-auth \
			--rpcap-listen $AGENT_ADDRESS "$@"
	fi
	wait_for 10 rpcap_listens || return 1
	start far collector $FAR_RUN "$BUILD/tests/bench/rpcap_sink" $trust $AGENT_ADDRESS 2002 eth0
}
rpcap_listens() { in_ns guest ss -Hltn "sport = :2002" | grep -q .; }
rpcap_captures() { logged far "^capturing"; }
rpcap_drained() {	# what passed the server's filter is dropped there or has come, or nothing comes any more
	local before
	before=$(tail -n 1 "$LAB/far.log")
	kill -USR1 "${LAB_PID[far]}"
	read -rt 0.2 <> <(:) || :
	tail -n 1 "$LAB/far.log" | awk -v before="$before" '$1 == "packets" && ($2 + $12 == $8 || $0 == before) { drained = 1 } END { exit !drained }'
}
stop_rpcap() {
	stop far INT
	stop cand
}
