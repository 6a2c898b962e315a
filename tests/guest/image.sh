# SPDX-License-Identifier: BSD-2-Clause
# Sourced by tests/guest/run (bash): packages, a root file system, and the disks of guests. All of it in $WORK.

ROOT=$WORK/root
WWW=$WORK/www

# The machine's own Debian archive, as lines of sources.list.
debian_sources() {
	apt-get indextargets --format '$(ORIGIN) deb $(REPO_URI) $(RELEASE) $(COMPONENT)' 'Identifier: Packages' | sed -n 's/^Debian //p'
}

build_packages() {	# the .debs of this checkout, in $DEBS
	[ -n "${GUEST_DEBS:-}" ] && { DEBS=$GUEST_DEBS; return; }
	DEBS=$WORK/debs
	mkdir -p "$DEBS"
	DEB_BUILD_OPTIONS=nocheck "$TOP/contrib/debian/build" -o "$DEBS" >"$WORK/packages.log" 2>&1 ||
		die_with "$WORK/packages.log" "the packages could not be built"
}
programs() {	# the collector and the command are the packages', too, not installed here
	local deb
	for deb in "$DEBS"/vmtap_*.deb "$DEBS"/vmtap-collector_*.deb; do dpkg-deb -x "$deb" "$LAB/host" || return 1; done
	BUILD=$LAB/host/usr/bin
	ln -s ../sbin/vmtap-collector "$BUILD/vmtap-collector"
}
agent_deb() { echo "$DEBS"/vmtap-agent_*.deb; }

# Debian as its cloud images are: cloud-init, a cloud kernel, systemd-networkd. What vmtap-agent depends on is fetched for the guest's
# archive, but not installed: that is for the guest to do. A second serial line answers commands, for what a test asks.
build_root() {
	[ -d "$ROOT" ] && return
	debian_sources >"$WORK/sources.list"
	mkdir -p "$WWW/debian"
	mmdebstrap --mode=root --skip=check/qemu --variant=minbase --include="$ROOT_PACKAGES" \
		--customize-hook="copy-in $(agent_deb) /tmp" \
		--customize-hook='chroot "$1" apt-get clean' \
		--customize-hook='chroot "$1" sh -c "apt-get install -y --no-install-recommends --download-only /tmp/vmtap-agent_*.deb"' \
		--customize-hook="sync-out /var/cache/apt/archives $WWW/debian" \
		--customize-hook='rm "$1"/tmp/vmtap-agent_*.deb' \
		--customize-hook="copy-in $TOP/tests/guest/probe /usr/local/sbin" \
		--customize-hook="copy-in $TOP/tests/guest/probe.service $TOP/tests/guest/app.service /etc/systemd/system" \
		--customize-hook='chroot "$1" systemctl enable -q systemd-networkd probe app' \
		--customize-hook='rm -rf "$1"/etc/apt/sources.list.d/* "$1"/var/lib/apt/lists/*' \
		--customize-hook="echo 'deb [trusted=yes] http://$HOST_ADDRESS/debian ./' >\"\$1\"/etc/apt/sources.list" \
		--customize-hook='printf "locale: false\napt: {preserve_sources_list: true}\n" >"$1"/etc/cloud/cloud.cfg.d/90-lab.cfg' \
		--customize-hook='useradd -R "$1" -m someone' \
		"" "$ROOT.part" "$WORK/sources.list" >"$WORK/root.log" 2>&1 || die_with "$WORK/root.log" "mmdebstrap failed"
	mv "$ROOT.part" "$ROOT"
}
ROOT_PACKAGES=systemd-sysv,udev,dbus,linux-image-cloud-amd64,cloud-init,iproute2,iputils-ping,busybox

build_image() {
	[ -f "$WORK/base.img" ] && return
	truncate -s 2G "$WORK/base.img.part"
	mke2fs -q -t ext4 -d "$ROOT" "$WORK/base.img.part" && mv "$WORK/base.img.part" "$WORK/base.img"
}
kernel_file() { echo "$ROOT"/boot/"$1"-*-cloud-amd64; }

disk() { qemu-img create -q -f qcow2 -b "$WORK/base.img" -F raw "$LAB/$1.qcow2"; }	# disk NAME: a fresh one
disk_clone() { cp --reflink=auto "$LAB/$1.qcow2" "$LAB/$2.qcow2"; }			# disk_clone FROM TO: of a guest that is off

seed() {	# seed NAME INSTANCE-ID: of the user-data on standard input
	local dir=$LAB/$1.seed
	rm -rf "$dir" && mkdir "$dir" && cat >"$dir/user-data"
	printf 'instance-id: %s\nlocal-hostname: %s\n' "$2" "$1" >"$dir/meta-data"
	genisoimage -quiet -output "$LAB/$1.iso" -volid cidata -joliet -rock "$dir/user-data" "$dir/meta-data"
}

# Archives for the guest's apt, each a flat folder: Debian's, and vmtap's with a signature of its own.
publish_debian() { (cd "$WWW/debian" && rm -rf partial lock && dpkg-scanpackages -m . >Packages) 2>/dev/null; }
publish_vmtap() {
	local at=$WWW/vmtap home=$LAB/gnupg
	mkdir -p "$at" && mkdir -m 700 "$home" && cp "$(agent_deb)" "$at" || return 1
	(cd "$at" && dpkg-scanpackages -m . >Packages 2>/dev/null &&
		printf 'Date: %s\nSHA256:\n %s %s Packages\n' "$(date -uR)" "$(sha256sum <Packages | cut -d' ' -f1)" "$(stat -c %s Packages)" >Release &&
		gpg --homedir "$home" --batch --quiet --passphrase '' --quick-generate-key vmtap-test ed25519 sign never &&
		gpg --homedir "$home" --batch --quiet --yes --clearsign -o InRelease Release &&
		gpg --homedir "$home" --batch --armor --export vmtap-test >"$LAB/archive.asc") 2>"$LAB/gpg.log"
	gpgconf --homedir "$home" --kill all
}
