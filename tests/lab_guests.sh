# SPDX-License-Identifier: BSD-2-Clause
# Sourced after tests/lab.sh (bash): guests on a switch, an agent in each, and beside it tcpdump as the reference.
#
#	a --- eth0 ---+                   +--- mgmt0 ---+
#	b --- eth0 ---+ br0 of "switch"   +--- mgmt0 ---+ br0 of "collector"
#	c --- eth0 ---+                   +--- mgmt0 ---+
#
# The switch has an address of its own: a machine that nobody monitors. Guest number N has 10.78.0.N and fd78::N on eth0. All send
# and get super-packets; once they differ, b knows none, and c gets what fits the wire, and joins that.

PCAPCHECK=$BUILD/tests/e2e/pcapcheck
LAB_NS=
OUTSIDER=10.78.0.254
GUESTS=()
declare -A GUEST_NUMBER GUEST_MAC GUEST_SWITCH
FROM=0 TO=0	# what is compared came between these

of() { local VM=$1; shift; "$@"; }	# of VM COMMAND...: those of tests/lab.sh are about $VM
guest_address() { echo "10.78.0.${GUEST_NUMBER[$1]}"; }
guest_address6() { echo "fd78::${GUEST_NUMBER[$1]}"; }
link_local() { echo "fe80::78:ff:fe00:${GUEST_NUMBER[$1]}"; }	# of the guests of the first switch
need() {	# need PROGRAM...: or the test is skipped
	local program
	for program in "$@"; do
		command -v "$program" >/dev/null || { echo "skip	$(basename "$0"): no $program"; exit 0; }
	done
}

namespace_up() {	# no address is probed for, no router asked for: what is not a test's own traffic is little
	ip netns add "$(lab_ns "$1")" || return 1
	LAB_NS="$LAB_NS $1"
	in_ns "$1" sysctl -qw net.ipv6.conf.{all,default}.accept_dad=0 net.ipv6.conf.{all,default}.router_solicitations=0 \
		net.ipv4.icmp_ratelimit=0 net.ipv4.icmp_echo_ignore_broadcasts=0
	ip -n "$(lab_ns "$1")" link set lo up
}

switch_up() {	# switch_up NAME ADDRESS [ADDRESS6]
	namespace_up "$1" || return 1
	ip -n "$(lab_ns "$1")" -batch - <<-END
		link add br0 type bridge mcast_snooping 0
		address add $2/24 dev br0
		${3:+address add $3/64 dev br0}
		link set dev br0 up
	END
}

switch_port() {	# switch_port SWITCH GUEST INTERFACE: plugs it in
	ip link add "$3" netns "$(lab_ns "$2")" type veth peer name "$2" netns "$(lab_ns "$1")" &&
	ip -n "$(lab_ns "$1")" link set dev "$2" master br0 up
}

# guest_up NAME NUMBER [SWITCH [MGMT-NUMBER]]
guest_up() {
	local name=$1 number=$2 switch=${3:-switch}
	namespace_up "$name" || return 1
	GUESTS+=("$name") GUEST_NUMBER[$name]=$number GUEST_SWITCH[$name]=$switch GUEST_MAC[$name]=$(printf 02:78:00:00:00:%02x "${4:-$number}")
	switch_port "$switch" "$name" eth0 && switch_port collector "$name" mgmt0 || return 1
	in_ns "$name" sysctl -qw net.ipv6.conf.mgmt0.disable_ipv6=1
	ip -n "$(lab_ns "$name")" -batch - <<-END
		link set dev eth0 address ${GUEST_MAC[$name]}
		address add $(guest_address "$name")/24 brd + dev eth0
		address add $(guest_address6 "$name")/64 dev eth0
		link set dev eth0 up
		address add 10.77.1.$((10 + ${4:-$number}))/24 dev mgmt0
		link set dev mgmt0 up
	END
}

# wire_sized NAMESPACE INTERFACE: what leaves there fits the wire. joins GUEST: what comes is joined before it is seen.
wire_sized() { in_ns "$1" ethtool -K "$2" tso off gso off tx-udp-segmentation off >/dev/null; }
joins() { in_ns "$1" ethtool -K eth0 gro on rx-udp-gro-forwarding on >/dev/null; }

# The collector, and guests a, b, c on one switch.
guests_up() {
	chmod 755 "$LAB"
	switch_up collector $COLLECTOR_ADDRESS && switch_up switch $OUTSIDER fd78::fe && guest_up a 1 && guest_up b 2 && guest_up c 3
}

differ() { wire_sized b eth0 && wire_sized switch b && wire_sized switch c && joins c; }	# in their offloads, as guests of all kinds do

guests_pki() {	# of all guests; those of TENANT "default", others by guest_pki
	of "${GUESTS[0]}" lab_pki || return 1
	local name
	for name in "${GUESTS[@]:1}"; do guest_pki "$name" || return 1; done
}
guest_pki() { "$BUILD/vmtap" pki agent "$LAB/pki" "$1" ${2:+--tenant "$2"} >/dev/null; }	# guest_pki NAME [TENANT]

start_guest() {	# start_guest NAME [OPTION...]: its agent, with room for all that a test sends
	local name=$1
	shift
	start "agent-$name" "$name" "$BUILD/vmtap-agent" -i eth0 $UNGOVERNED --buffer-size 32768 --spool-memory 96M --memory-limit 192M \
		--collector $COLLECTOR_ADDRESS --metrics "$LAB/$name.sock" $(credentials "$name") "$@"
}
start_guests() {	# start_guests [OPTION...]: and waits until all capture
	local name
	for name in "${GUESTS[@]}"; do start_guest "$name" "$@"; done
	for name in "${GUESTS[@]}"; do
		wait_for 20 of "$name" capturing || { echo "$name captures nothing:"; tail -n 5 "$LAB/agent-$name.log"; return 1; }
	done
}
stop_guests() { local name; for name in "${GUESTS[@]}"; do stop "agent-$name"; done; }
each_guest() { local name; for name in "${GUESTS[@]}"; do of "$name" "$@" || return 1; done; }

# The reference: all that a guest's eth0 sees, in $LAB/NAME.pcap. What it sends has its MAC.
start_references() {
	local name
	for name in "${GUESTS[@]}"; do
		start "ref-$name" "$name" tcpdump -p -Z root -n -i eth0 -B 65536 -s 262144 --time-stamp-precision nano -w "$LAB/$name.pcap"
	done
	for name in "${GUESTS[@]}"; do wait_for 10 logged "ref-$name" "listening on" || return 1; done
}
reference_drained() {	# tcpdump has taken all that is in its ring, as it says when asked
	kill -USR1 "${LAB_PID[ref-$1]}"
	read -rt 0.05 <> <(:) || :
	tail -n 1 "$LAB/ref-$1.log" | awk '/captured.*received.*dropped/ && $2 == $5 { drained = 1 } END { exit !drained }'
}
stop_references() {
	local name
	for name in "${GUESTS[@]}"; do
		wait_for 10 reference_drained "$name"
		stop "ref-$name" INT
	done
}
references_whole() { local name; for name in "${GUESTS[@]}"; do logged "ref-$name" "^0 packets dropped by kernel" || return 1; done; }

# send_datagrams GUEST ADDRESS PORT COUNT SIZE [SEGMENT]: all the same, without checksums. SEGMENT: each leaves as a super-packet.
send_datagrams() {
	in_ns "$1" perl -MSocket -e 'my ($to, $port, $count, $size, $segment) = @ARGV;
		socket(S, PF_INET, SOCK_DGRAM, 17) && setsockopt(S, SOL_SOCKET, SO_BROADCAST, 1) or die;
		setsockopt(S, SOL_SOCKET, 11, $segment ? 0 : 1) or die;	# SO_NO_CHECK
		!$segment || setsockopt(S, 17, 103, pack("i", $segment)) or die;
		for (1 .. $count) { defined(send(S, "v" x $size, 0, sockaddr_in($port, inet_aton($to)))) or die $! }' "${@:2}"
}

# send_frames NAMESPACE GUEST COUNT HEX [INTERFACE]: what is behind the MACs
send_frames() {
	in_ns "$1" perl -MSocket -e 'my ($to, $count, $rest, $name) = @ARGV;
		sub about { open(my $file, "<", "/sys/class/net/$name/$_[0]") or die; my $text = <$file>; chomp $text; $text =~ s/://g; $text }
		socket(S, 17, SOCK_RAW, unpack("S", pack("n", 3))) or die;
		my $at = pack("Snlsccx8", 17, 3, about("ifindex"), 0, 0, 6), my $frame = pack("H*", $to . about("address") . $rest);
		for (1 .. $count) { defined(send(S, $frame, 0, $at)) or die $! }' "${GUEST_MAC[$2]//:/}" "$3" "$4" "${5:-eth0}"
}

# The window: what is compared, from one moment of silence to another.
guest_packets() {
	local name
	for name in "${GUESTS[@]}"; do in_ns "$name" cat /sys/class/net/eth0/statistics/{rx,tx}_packets; done | tr '\n' ' '
}
silent() {
	local before=$LAST_PACKETS
	LAST_PACKETS=$(guest_packets)
	[ "$before" = "$LAST_PACKETS" ] || { read -rt 0.2 <> <(:) || :; return 1; }
}
wait_silence() { LAST_PACKETS=; WAIT_STEP=0.3 wait_for 15 silent; }
now() { echo "${EPOCHREALTIME/[.,]/.}000"; }
open_window() { wait_silence; FROM=$(now); }
close_window() { wait_silence; TO=$(now); }
catalog() { sqlite3 -readonly "$LAB/store/catalog.sqlite" ".timeout 2000" "$1"; }
later() {	# later SECONDS TIME: as now prints it
	awk -v by="$1" -v time="$2" 'BEGIN {
		split(time, part, ".")
		seconds = int(part[2] / 1e9 + by)
		printf "%010d.%09d\n", part[1] + seconds, (part[2] / 1e9 + by - seconds) * 1e9
	}'
}
stored_beyond() {	# stored_beyond TIME GUEST...: what these captured until then is durable
	local time=${1/./} names
	shift
	names=$(printf ",'%s'" "$@")
	[ "$(catalog "SELECT count(*) FROM (SELECT max(last_ns) AS last_ns FROM stream JOIN vm ON vm = uuid WHERE name IN (${names:1}) GROUP BY vm)
		WHERE last_ns > $time")" = $# ]
}
wait_stored() {	# wait_stored [GUEST...]: all until now; what they send for that comes after the window
	local time name
	[ $# -gt 0 ] || set -- "${GUESTS[@]}"
	time=$(now)
	for name in "$@"; do send_datagrams "$name" 10.78.0.255 9 1 20; done
	wait_for 20 stored_beyond "$time" "$@"
}

added() { awk '{ sum += $1 } END { printf "%.0f\n", sum }'; }
wire_bytes() { in_ns collector cat /sys/class/net/{a,b,c}/statistics/rx_bytes | added; }	# what the guests sent to the collector

# Every pair talks, by which it is proven.
start_chat() {
	local pair
	for pair in "a b" "b c" "c a"; do
		set -- $pair
		start "chat-$1" "$1" ping -q -i 0.1 "$(guest_address "$2")"
		start "chat6-$1" "$1" ping -q -i 0.1 "$(guest_address6 "$2")"
	done
}
stop_chat() { local name; for name in "${!LAB_PID[@]}"; do [[ $name != chat* ]] || stop "$name"; done; }
withheld() {	# withheld WHERE: how many rows; r is the receiver, s the sender
	catalog "SELECT count(*) FROM withheld JOIN vm AS r ON r.uuid = withheld.vm JOIN vm AS s ON s.uuid = peer WHERE $1"
}
all_withheld() {	# of both families
	[ "$(withheld "to_ns IS NULL AND (withheld.address LIKE '10.78.0._' OR withheld.address LIKE 'fd78::_')")" = 12 ]
}
proven() {	# all pairs are, while they talk
	local rc
	start_chat
	wait_for "${1:-20}" all_withheld
	rc=$?
	stop_chat
	[ $rc = 0 ] || echo "$(withheld "to_ns IS NULL") are withheld"
	return $rc
}

# Packets as sorted lines: lengths and a hash, of one guest's reference or of a file that the product wrote.
packets_of() { "$PCAPCHECK" packets "$1" "${2:-}" "$FROM" "$TO" | cut -d' ' -f2- | LC_ALL=C sort; }	# packets_of FILE [FILTER]
seen_at() { packets_of "$LAB/$1.pcap" "${2:-}"; }	# seen_at GUEST [FILTER]
macs() { local name; for name in "$@"; do printf ' or ether src %s' "${GUEST_MAC[$name]}"; done | cut -c5-; }
also() { [ -z "${1:-}" ] || echo " and ($1)"; }
sent_by() { seen_at "$1" "$(macs "$1")$(also "${2:-}")"; }	# sent_by GUEST [FILTER]
from_others() { seen_at "$1" "not ($(macs "${GUESTS[@]}"))$(also "${2:-}")"; }	# what came from machines that nobody monitors
came_twice() { LC_ALL=C comm -13 <(sent_by "$1" "$3") <(seen_at "$2" "$3"); }	# came_twice FROM TO FILTER: what came more often than it went
transmissions() {	# transmissions [FILTER]: what a merged stream must have
	local name
	for name in "${GUESTS[@]}"; do sent_by "$name" "${1:-}"; from_others "$name" "${1:-}"; done | LC_ALL=C sort
}
differing() { LC_ALL=C comm -3 "$1" "$2" | wc -l; }	# of two sorted files
in_order() {	# in_order FILE: of time
	"$PCAPCHECK" packets "$1" | cut -d' ' -f1 >"$LAB/times" && [ -s "$LAB/times" ] && LC_ALL=C sort -c "$LAB/times"
}

# The merged stream beside what it must have, $MERGED.
MERGED=$LAB/merged.pcapng
read_merged() { vmtap read --tenant default --merged -w "$MERGED"; }
expected() {	# expected CASE [FILTER]
	{ transmissions "${2:-}"; [[ $1 != twice && $1 != all ]] || came_twice a b "${APP[twice]}"; } | LC_ALL=C sort
}
row() {	# row CASE [FILTER]
	local name=$1 filter=${2:-} guest seen="" wrong
	for guest in "${GUESTS[@]}"; do seen+=$(printf '%8s' "$(seen_at "$guest" "$filter" | wc -l)"); done
	expected "$name" "$filter" >"$LAB/expected"
	packets_of "$MERGED" "$filter" >"$LAB/merged"
	wrong=$(differing "$LAB/expected" "$LAB/merged")
	printf '%-14s%s%8s%10s%7s\n' "$name" "$seen" "$(wc -l <"$LAB/merged")" "$(wc -l <"$LAB/expected")" "$wrong"
	[ "$wrong" = 0 ] && [ -s "$LAB/expected" ]
}
table() {	# table CASE...
	local name bad=0
	printf '%-14s%8s%8s%8s%8s%10s%7s\n' case "seen: A" B C merged expected wrong
	for name in "$@"; do row "$name" "${APP[$name]}" || bad=1; done
	row all || bad=1
	return $bad
}

# What each direction of each flow carried, whatever packets it came in: of a guest's reference, and of a file of the product's that
# shows what others sent as they sent it. What was lost or overtaken on the way, so that others' references differ, is left alone.
flows_of() { "$PCAPCHECK" flows "$1" "${2:-}" "$FROM" "$TO"; }	# flows_of FILE [FILTER]
same_flows() {	# same_flows GUEST FILE [FILTER]
	local name
	for name in "${GUESTS[@]}"; do [ "$name" = "$1" ] || flows_of "$LAB/$name.pcap" "${3:-}"; done >"$LAB/flows-others"
	flows_of "$LAB/$1.pcap" "${3:-}" >"$LAB/flows-seen"
	flows_of "$2" "${3:-}" >"$LAB/flows-got"
	awk -F' packets ' '
		FILENAME ~ /others$/ { other[$0] = 1; elsewhere[$1] = 1; next }
		FILENAME ~ /seen$/ { known[$1] = 1; if (($1 in elsewhere) && !($0 in other)) { changed[$1] = 1; next } seen[$0] = 1; n++; next }
		{ got[$0] = 1; if (!($1 in known)) { print "unknown:", $0; bad++ } }
		END {
			for (line in seen) if (!(line in got)) { print "missing:", line; bad++ }
			for (line in changed) alone++
			print n, "flows,", alone + 0, "changed on the way,", bad + 0, "wrong"
			exit bad > 0 || n < 4 * alone || n == 0
		}' "$LAB/flows-others" "$LAB/flows-seen" "$LAB/flows-got"
}
