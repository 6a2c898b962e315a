# SPDX-License-Identifier: BSD-2-Clause
# Sourced by tests/faults/run for one case: traffic with numbers, faults, and the ledger at the end.
#
# A case is a file in cases/ with a function fault_case. It begins with case_begin, offers packets with traffic, does its worst,
# says fault_over when the fault is gone, and ends with account. $LONG is 1 in the long form.

. "$TOP/tests/lab.sh"
PCAPCHECK=$BUILD/tests/e2e/pcapcheck
AGENT=$BUILD/vmtap-agent
BLAST=$BUILD/tests/bench/blast
SHIMS=$BUILD/tests/faults
TAP=(-i eth0)
WAIT_STEP=0.15	# several cases wait at a time, and each look costs
SIZE=imix	# of the packets: blast's -s
OFFERED=0 RECOVERED=- ASAN_SHIM=$ASAN_OPTIONS:verify_asan_link_order=0
TUNED=

# pick NAME SHORT LOW HIGH: sets NAME to SHORT, or in the long form to a number of LOW to HIGH that the seed decides.
pick() {
	local value=$2
	[ "$LONG" = 0 ] || value=$(($3 + (RANDOM << 15 | RANDOM) % ($4 - $3 + 1)))
	printf -v "$1" %s "$value"
	TUNED="$TUNED $1=$value"
}

sanitized() { nm -D "$AGENT" 2>/dev/null | grep -q __asan_init; }
skip() { echo "skip	$CASE: $1"; case_end skipped; }	# what failed before has failed
now_ms() { echo $((${EPOCHREALTIME/./} / 1000)); }

# Questions that are asked again and again go to the catalog itself: the command with its sanitizers takes ten times as long. For its
# leaks there are other tests.
vmtap() { local verb=$1; shift; ASAN_OPTIONS=$ASAN_OPTIONS:detect_leaks=0 "$BUILD/vmtap" "$verb" --store "$LAB/store" "$@"; }
catalog() { sqlite3 -readonly "$LAB/store/catalog.sqlite" "$1" 2>/dev/null; }
stored_packets() { local n; n=$(catalog "SELECT coalesce(sum(packets), 0) FROM file JOIN vm ON vm = uuid WHERE name = '$VM'"); echo "${n:-0}"; }
capturing() { catalog "SELECT 1 FROM stat JOIN vm ON vm = uuid WHERE name = '$VM' AND connected AND counter = 'ring_received_packets'" | grep -q 1; }

# case_begin [AGENT-OPTION...]: the lab, a collector, an agent that captures. COLLECTOR_OPTIONS, COLLECTOR_ENV,
# AGENT_ENV and SECOND_NIC may be set.
case_begin() {
	lab_up
	cp -a "$PKI" "$LAB/pki"
	ip -n "$(lab_ns guest)" address flush dev eth0
	ip -n "$(lab_ns peer)" address flush dev veth0
	[ -z "${SECOND_NIC:-}" ] || second_nic
	collector_up || case_end
	agent_up "$@"
	wait_for 20 capturing || { not_ok "$CASE" "the agent does not capture: $(tail -n 2 "$LAB/agent.log" | tr '\n' ' ')"; case_end; }
}

# case_end [skipped]: what the sanitizers said, the parameters; the logs are kept of a case that failed.
case_end() {
	local said
	[ -s "$ROW" ] || [ "${1:-}" = skipped ] || not_ok "$CASE" "ended before its account"
	said=$(grep -ahsE -m 1 'ERROR: (Address|Leak)Sanitizer|runtime error' "$LAB"/*.log | head -n 1)
	[ -z "$said" ] || not_ok "$CASE: sanitizers" "$said"
	echo "parameters	--seed $SEED --minutes 0 $CASE:$TUNED"
	[ $FAILED = 0 ] || { mkdir -p "$ROW.logs" && cp "$LAB"/*.log "$LAB"/store/catalog.sqlite* "$ROW.logs" 2>/dev/null; }
	[ $FAILED = 0 ]
	exit
}

collector_up() {
	start collector collector env ${COLLECTOR_ENV:-} "$BUILD/vmtap-collector" --store "$LAB/store" $(credentials collector) \
		--keepalive 2s ${COLLECTOR_OPTIONS:-}
	wait_for 15 collector_listens || { echo "collector does not listen:"; tail -n 5 "$LAB/collector.log"; return 1; }
}
collector_kill() { stop collector "${1:-KILL}"; }

agent_up() {	# taps what TAP names
	AGENT_SETTINGS=("$@")
	start agent guest env ${AGENT_ENV:-} "$AGENT" $UNGOVERNED "${TAP[@]}" --collector "${COLLECTOR_NAME:-$COLLECTOR_ADDRESS}" \
		--metrics "$LAB/agent.sock" $(credentials $VM) --keepalive 2s "$@"
}
agent_again() { agent_up "${AGENT_SETTINGS[@]}"; wait_for 20 capturing; }

# A role's process: kill -KILL $(role capture)
role() {
	local p
	for p in $(descendants "${LAB_PID[agent]}"); do
		tr '\0' ' ' <"/proc/$p/cmdline" 2>/dev/null | grep -q -- "role=$1" && echo "$p"
	done
}
agent_pids() { descendants "${LAB_PID[agent]}"; }

# traffic N [RATE]: N numbered packets to eth0 in the background; their numbers go on from those before.
traffic() {
	start blast peer "$BLAST" -i veth0 -r "${2:-$RATE}" -n "$1" -s $SIZE -p random -o $OFFERED
	OFFERED=$((OFFERED + $1))
}
traffic_on() {	# traffic_on IF N: the same by another of the peer's interfaces, and waits for its end
	in_ns peer "$BLAST" -i "$1" -r "$RATE" -n "$2" -s $SIZE -p random -o $OFFERED >>"$LAB/blast.log" 2>&1
	OFFERED=$((OFFERED + $2))
}
traffic_end() { finish blast; }

more_stored() { local n; n=$(stored_packets) && [ "$n" -ge $((STORED_BEFORE + $1)) ]; }
wait_stored() {	# wait_stored N [SECONDS]: until so many more are stored
	STORED_BEFORE=$(stored_packets)
	wait_for "${2:-20}" more_stored "$1"
}

# pause_ms N: the fault lasts; nothing to wait for but time.
pause_ms() { read -rt "$(printf %d.%03d $(($1 / 1000)) $(($1 % 1000)))" <> <(:) || :; }

# Something new is stored; while it is not, traffic never ends.
recovered() {
	if ! kill -0 "${LAB_PID[blast]:-x}"; then
		[ -z "${LAB_PID[blast]:-}" ] || finish blast
		traffic 200
	fi
	more_stored 1
}

# goes_on NAME: during the fault, packets are stored.
goes_on() {
	STORED_BEFORE=$(stored_packets)
	if wait_for 20 recovered; then ok "$CASE: $1"; else not_ok "$CASE: $1" "nothing stored within 20 s"; fi
}

# fault_over [SECONDS]: the fault is gone; the time until something is newly stored is the time to recover.
fault_over() {
	local begin
	begin=$(now_ms)
	STORED_BEFORE=$(stored_packets)
	if wait_for "${1:-30}" recovered; then
		RECOVERED=$(($(now_ms) - begin))
	else
		not_ok "$CASE: recovers" "nothing stored within ${1:-30} s; collector: $(tail -n 1 "$LAB/collector.log"); agent: $(tail -n 1 "$LAB/agent.log")"
	fi
}

# Of the ledger, what is lost and counted: gaps of all places, what the ring dropped, what capture was cut off from or refused.
LOST='([.terms | to_entries[] | select(.key | test("^(gap_.*|cut|ring_dropped|oversize|paused|sampled_out)$")) | .value.packets] | add // 0)'
counted() { ledger "$LOST"; }
all_accounted() { ledger ".terms.stored.packets + $LOST >= $OFFERED"; }

# settle [SECONDS]: until stored and lost make up what was offered.
settle() { wait_for "${1:-40}" all_accounted || :; }

# What a capture role takes with it when it is killed, in packets of SIZE bytes: the ring, full (killed cases have the smallest,
# RING), and one block that was not sealed. Neither has room for more of them than bytes / SIZE. What was sealed is in the
# supervisor's memory, and what came while nobody captured is missing in truth: no part of how wide a bound may be.
RING="-B 2048" HELD_BYTES=$(((2048 + 512) * 1024))
held() { echo $((HELD_BYTES / SIZE)); }

# account [WIDTH]: the case's row. Stored and lost are all that was offered, to the packet; with WIDTH what is lost may be a
# bound that is wider than the truth by no more than so many packets.
account() {
	local line packets duplicates gaps missing over unaccounted
	ledger_exact "$CASE"
	line=$(vmtap read $VM 2>>"$LAB/read.log" | "$PCAPCHECK" sequence - 2>>"$LAB/read.log") || line="packets 0 missing 0 duplicates 0"
	read -r _ packets _ _ _ duplicates _ <<<"$line"
	gaps=$(counted)
	missing=$((OFFERED - packets + duplicates))
	over=$((gaps - missing))
	unaccounted=$((missing > gaps ? missing - gaps : 0))
	[ -n "${1:-}" ] || unaccounted=${over#-}
	printf '%s\t%s\t%s\t%s\t%s\t%s\t%s\n' "$CASE" $OFFERED $((packets - duplicates)) "$gaps" $unaccounted "$duplicates" "$RECOVERED" >"$ROW"
	if [ $unaccounted = 0 ] && [ "$duplicates" = 0 ] && [ $over -le "${1:-0}" ]; then
		ok "$CASE: every packet once, or in a gap${1:+ (its bound $over wider than the truth, of $1 at most)}"
	else
		not_ok "$CASE: every packet once, or in a gap" "$OFFERED offered, $line, $gaps in gaps${1:+, of which $1 may be too many}"
	fi
}
nothing_lost() { check "$CASE: nothing lost" ledger "$LOST == 0"; }

# A second interface to tap, eth1, between peer (veth1) and guest.
second_nic() {
	lab_link peer veth1 10.77.3.2 guest eth1 10.77.3.1
	in_ns guest ip address flush dev eth1
	in_ns peer ip address flush dev veth1
}
# capturing_interface NAME: a packet socket is bound to it.
capturing_interface() {
	in_ns guest ss -Hnp0 2>/dev/null | grep -qE "[*:]$1( |\$)"
}
not_capturing_interface() { ! capturing_interface "$1"; }
capturing_eth1() { capturing_interface eth1; }
