# SPDX-License-Identifier: BSD-2-Clause
# Sourced after tests/lab_guests.sh (bash): real applications between the guests. Servers run in b and c, clients in a unless said.

APPS_NEED="iperf3 redis-benchmark redis-check-rdb busybox curl dnsmasq drill socat nft perl ping"
declare -A APP	# the packets of each, as a filter
APP=(
	[tcp]="tcp port 5201" [tcp6]="ip6 and tcp port 5203" [udp]="udp port 5201" [lossy]="tcp port 5202" [redis]="tcp port 6379"
	[http]="tcp port 80" [dns]="port 53" [ping]="icmp[icmptype] == icmp-echo or icmp[icmptype] == icmp-echoreply"
	[ping6]="ip6 proto 58 and (ip6[40] == 128 or ip6[40] == 129)" [fragments]="ip[6:2] & 0x3fff != 0 or ip6[6] == 44"
	[repeats]="udp port 7001" [broadcasts]="udp port 7002" [superpackets]="udp port 7003" [keepalives]="tcp port 7004"
	[twice]="udp port 7005" [unreachable]="icmp[icmptype] == icmp-unreach" [vxlan]="udp port 4789" [vlan]="vlan 5"
	[frames]="ether proto 0x88b5" [routed]="host 10.80.0.3"
	[neighbours]="arp or (icmp6 and (ip6[40] == 135 or ip6[40] == 136))"
	[outsider]="(host $OUTSIDER or host fd78::fe or udp port 7006) and not arp"
)

listens() { in_ns "$1" ss -Hltun "sport = :$2" | grep -q .; }	# listens GUEST PORT
serve() {	# serve GUEST PORT COMMAND...
	local guest=$1 port=$2
	shift 2
	start "serve-$guest-$port" "$guest" "$@"
	wait_for 10 listens "$guest" "$port" || { echo "$guest: $1 does not listen:"; tail -n 3 "$LAB/serve-$guest-$port.log"; return 1; }
}

make_page() { mkdir -p "$LAB/www" && perl -e 'srand 1; print pack("C", rand 256) for 1 .. 1000000' >"$LAB/www/page"; }

start_servers() {
	make_page
	serve b 5201 iperf3 -s && serve c 5201 iperf3 -s && serve b 5202 iperf3 -s -p 5202 && serve b 5203 iperf3 -s -p 5203 &&
	serve b 6379 bash -c 'exec -a redis-server redis-check-rdb --save "" --appendonly no --protected-mode no' &&
	serve b 80 busybox httpd -f -p 80 -h "$LAB/www" && serve c 80 busybox httpd -f -p 80 -h "$LAB/www" &&
	serve b 53 dnsmasq -k -C /dev/null -u root -x "" -R -h --address=/test/10.78.0.9 --address=/test/fd78::9 &&
	serve b 7004 socat TCP-LISTEN:7004,fork PIPE && serve b 7001 socat -u UDP-RECV:7001 /dev/null && serve c 7001 socat -u UDP-RECV:7001 /dev/null
}

lose_some() {	# of what comes through the switch to or from TCP port 5202, one in 16; to UDP port 7001, one in 8
	in_ns switch nft -f - <<-END
		table bridge lab {
			chain forward {
				type filter hook forward priority 0;
				tcp dport 5202 numgen inc mod 16 == 3 drop
				tcp sport 5202 numgen inc mod 16 == 9 drop
				udp dport 7001 numgen inc mod 8 == 3 drop
			}
		}
	END
}

app_tcp() {	# in all directions of parted and joined
	in_ns a iperf3 -c "$(guest_address b)" -n 8M && in_ns a iperf3 -c "$(guest_address b)" -n 8M -R &&
	in_ns a iperf3 -c "$(guest_address c)" -n 8M && in_ns a iperf3 -c "$(guest_address c)" -n 8M -R
}
app_tcp6() { in_ns c iperf3 -c "$(guest_address6 b)" -p 5203 -n 4M; }
app_udp() { in_ns a iperf3 -c "$(guest_address b)" -u -b 100M -n 2M -l 1400 && in_ns a iperf3 -c "$(guest_address c)" -u -b 100M -n 2M -l 1400; }
app_lossy() { lose_some && in_ns a iperf3 -c "$(guest_address b)" -p 5202 -n 4M -M 1400; }
app_redis() { in_ns a redis-benchmark -h "$(guest_address b)" -n 1000 -c 10 -d 200 -t set,get -q; }
app_http() {
	local host
	for host in "$(guest_address b)" "[$(guest_address6 b)]" "$(guest_address c)"; do
		in_ns a curl -sf -o "$LAB/got" "http://$host/page" && cmp "$LAB/got" "$LAB/www/page" || return 1
	done
}
app_dns() {
	local i
	for i in 1 2 3 4 5; do
		in_ns a drill -Q "host$i.test" @"$(guest_address b)" && in_ns c drill -Q "host$i.test" @"$(guest_address6 b)" AAAA || return 1
	done
	in_ns a drill -Q -t host.test @"$(guest_address b)"
}
app_ping() { in_ns a ping -q -c 20 -i 0.01 "$(guest_address b)" && in_ns b ping -q -c 20 -i 0.01 "$(guest_address c)"; }
app_ping6() {	# of all scopes
	in_ns a ping -q -c 5 -i 0.01 -I "$(link_local a)%eth0" "$(guest_address6 c)" && in_ns b ping -q -c 5 -i 0.01 "$(link_local a)%eth0" &&
	in_ns a ping -q -c 20 -i 0.01 "$(guest_address6 c)" && in_ns c ping -6 -q -c 2 -i 0.2 ff02::1%eth0
}
app_fragments() { in_ns a ping -q -c 5 -i 0.01 -s 5000 "$(guest_address b)" && in_ns a ping -q -c 5 -i 0.01 -s 5000 "$(guest_address6 c)"; }
app_broadcasts() { send_datagrams a 10.78.0.255 7002 20 80 && send_datagrams c 10.78.0.255 7002 20 80; }
app_superpackets() { send_datagrams a "$(guest_address c)" 7003 10 12000 1200 && send_datagrams a "$(guest_address b)" 7003 5 12000 1200; }
keepalives_sent() { [ "$(in_ns a nstat -asz TcpExtTCPKeepAlive | awk '/KeepAlive/ { print $2 }')" -ge 2 ]; }
app_keepalives() {	# socat waits for its other side
	start idle a socat "TCP:$(guest_address b):7004,keepalive,keepidle=1,keepintvl=1" "UNIX-LISTEN:$LAB/idle"
}
app_twice() {	# the switch sends each of these twice; each has its own length
	local size
	in_ns switch nft -f - <<-END
		table netdev lab {
			chain twice {
				type filter hook ingress device a priority 0;
				udp dport 7005 dup to b
			}
		}
	END
	for size in 300 301 302 303 304; do send_datagrams a "$(guest_address b)" 7005 1 $size || return 1; done
}
tunnel_up() {	# tunnel_up GUEST OTHER
	ip -n "$(lab_ns "$1")" link add vx0 type vxlan id 7 local "$(guest_address "$1")" remote "$(guest_address "$2")" dstport 4789 dev eth0 &&
	in_ns "$1" sysctl -qw net.ipv6.conf.vx0.disable_ipv6=1 &&
	ip -n "$(lab_ns "$1")" address add "10.79.0.${GUEST_NUMBER[$1]}/24" dev vx0 && ip -n "$(lab_ns "$1")" link set dev vx0 up
}
app_vxlan() {
	tunnel_up a c && tunnel_up c a &&
	in_ns a ping -q -c 5 -i 0.01 10.79.0.3 && in_ns a curl -sf -o "$LAB/got" http://10.79.0.3/page && cmp "$LAB/got" "$LAB/www/page"
}
app_routed() {	# b is the router
	in_ns b sysctl -qw net.ipv4.ip_forward=1 net.ipv4.conf.all.send_redirects=0 net.ipv4.conf.eth0.send_redirects=0 &&
	ip -n "$(lab_ns c)" address add 10.80.0.3/32 dev lo && ip -n "$(lab_ns b)" route add 10.80.0.3 via "$(guest_address c)" &&
	ip -n "$(lab_ns a)" route add 10.80.0.3 via "$(guest_address b)" &&
	in_ns a ping -q -c 5 -i 0.01 10.80.0.3 && in_ns a curl -sf -o "$LAB/got" http://10.80.0.3/page
}
app_repeats() {	# the same payload, and the same bytes altogether
	send_datagrams a "$(guest_address b)" 7001 50 160 &&
	send_frames b c 50 08004500003400004000401126190a4e00020a4e00031b591b5900200000"$(printf '%048d' 5)"
}
app_frames() { send_frames a b 5 88b5"$(printf '%0100d' 7)"; }	# not IP
app_vlan() {	# IPv4 and UDP, in VLAN 5
	send_frames a c 5 8100000508004500003000000000401100000a5100010a5100031b581b58001c0000$(printf '%040d' 9)
}
app_outsider() {	# somebody whom nobody monitors, to one and to all
	in_ns switch ping -q -c 5 -i 0.01 "$(guest_address a)" && in_ns switch ping -q -c 5 -i 0.01 fd78::2 &&
	in_ns a ping -q -c 5 -i 0.01 $OUTSIDER && send_datagrams switch 10.78.0.255 7006 5 90
}

run_apps() {	# run_apps NAME...
	local name
	for name in "$@"; do
		"app_$name" >"$LAB/app-$name.log" 2>&1 || { echo "$name fails: $(tail -n 2 "$LAB/app-$name.log" | tr '\n' ' ')"; return 1; }
	done
}
