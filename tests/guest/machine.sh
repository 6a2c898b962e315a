# SPDX-License-Identifier: BSD-2-Clause
# Sourced by tests/guest/run (bash): the network of the guests, and QEMU around each.
#
#	guest (virtio-net) --- tap --- br0 10.78.0.1, namespace "collector": DHCP, HTTP (packages), vmtap-collector, tcpdump

HOST_ADDRESS=10.78.0.1
ACCEL=${GUEST_ACCEL:-tcg,thread=multi}
declare -A POWER_ON	# seconds since 1970 as the host's clock had it, by guest
BOOTS=0

network_up() {
	local name
	chmod 755 "$LAB"
	ip netns add "$(lab_ns collector)"
	in_ns collector sysctl -qw net.ipv6.conf.all.disable_ipv6=1 net.ipv6.conf.default.disable_ipv6=1
	ip -n "$(lab_ns collector)" -batch - <<-END
		link set lo up
		link add br0 type bridge
		address add $HOST_ADDRESS/24 dev br0
		link set br0 up
	END
	for name in vm clone other; do echo "dhcp-host=$(mac_of $name),$(address_of $name)"; done >"$LAB/dnsmasq.conf"
	start dhcp collector dnsmasq -k -C "$LAB/dnsmasq.conf" --port=0 --interface=br0 --bind-interfaces --dhcp-range=10.78.0.50,10.78.0.99 \
		--dhcp-authoritative --dhcp-leasefile="$LAB/leases" --pid-file= --log-facility=-
	for name in vm clone other; do tap_up $name || return 1; done
	start http collector busybox httpd -f -p $HOST_ADDRESS:80 -h "$WWW"
}
mac_of() { case $1 in vm) echo 52:54:00:78:00:11;; clone) echo 52:54:00:78:00:12;; *) echo 52:54:00:78:00:13;; esac; }
address_of() { case $1 in vm) echo 10.78.0.11;; clone) echo 10.78.0.12;; *) echo 10.78.0.13;; esac; }

tap_up() {
	in_ns collector ip tuntap add "$1" mode tap vnet_hdr || return 1
	ip -n "$(lab_ns collector)" link set "$1" master br0 up
}

stamp() { local line; while IFS= read -r line; do printf '%s %s\n' "$EPOCHREALTIME" "${line%$'\r'}"; done; }

power_on() {	# power_on NAME UUID [KERNEL-PARAMETER...]
	local name=$1 uuid=$2 ns
	shift 2
	ns=$(lab_ns collector)
	rm -f "$LAB/$name.probe"
	[ ! -f "$LAB/$name.console" ] || mv "$LAB/$name.console" "$LAB/$name.console.$((++BOOTS))"
	POWER_ON[$name]=$EPOCHREALTIME
	ip netns exec "$ns" qemu-system-x86_64 -accel "$ACCEL" -M q35 -smp 2 -m 768 -nodefaults -no-user-config -display none \
		-uuid "$uuid" -kernel $(kernel_file vmlinuz) -initrd $(kernel_file initrd.img) -append "root=/dev/vda rw console=ttyS0 $*" \
		-drive "if=virtio,file=$LAB/$name.qcow2,cache=unsafe" -drive "if=virtio,file=$LAB/$name.iso,format=raw,readonly=on" \
		-device virtio-rng-pci -netdev "tap,id=net,ifname=$name,script=no,downscript=no,vhost=off" \
		-device "virtio-net-pci,netdev=net,mac=$(mac_of "$name")" -serial stdio \
		-chardev "socket,id=probe,path=$LAB/$name.probe,server=on,wait=off" -serial chardev:probe \
		</dev/null > >(stamp >"$LAB/$name.console") 2>"$LAB/$name.qemu" &
	LAB_PID[$name]=$!
}

# in_guest NAME COMMAND: as root; its output, its status; 125 where the guest does not answer within $PATIENCE (20) seconds. In a process of
# its own, which a guest that goes away may end as it likes.
in_guest() (
	status=125
	trap '' PIPE
	[ -S "$LAB/$1.probe" ] || exit 125
	coproc SOCK { exec socat - "UNIX-CONNECT:$LAB/$1.probe" 2>/dev/null; }
	to=${SOCK[1]:-} from=${SOCK[0]:-} pid=${SOCK_PID:-}
	[ -n "$pid" ] && printf '%s\n' "$(printf %s "$2" | base64 -w0)" >&"$to" || exit 125
	while IFS= read -rt "${PATIENCE:-20}" line <&"$from"; do
		case $line in "=END "*) status=${line#=END }; break;; esac
		printf '%s\n' "$line"
	done 2>/dev/null
	kill "$pid"
	exit "$status"
) 2>/dev/null
answers() { PATIENCE=3 in_guest "$1" true; }
booted() { in_guest "$1" '[ -f /run/cloud-init/result.json ] && systemctl is-active -q multi-user.target'; }
boot() {	# boot NAME UUID [KERNEL-PARAMETER...]: until cloud-init is done and the system is up
	power_on "$@" && WAIT_STEP=0.5 wait_for "$BOOT_SECONDS" booted "$1" || { tail -n 20 "$LAB/$1.console"; return 1; }
}
BOOT_SECONDS=200

power_off() {	# power_off NAME: how a guest shuts down; its seconds in $OFF_SECONDS
	local from=$EPOCHREALTIME
	in_guest "$1" "systemctl poweroff" >/dev/null
	if wait_for 100 gone "$1"; then finish "$1"; else stop "$1" KILL; fi
	OFF_SECONDS=$(seconds_between "$from" "$EPOCHREALTIME")
}
gone() { ! kill -0 "${LAB_PID[$1]}"; }
seconds_between() { awk -v a="$1" -v b="$2" 'BEGIN { printf "%.1f", b - a }'; }
