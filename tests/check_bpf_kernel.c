/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#include "config.h"

#include <sys/types.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <net/if.h>
#include <netpacket/packet.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <check.h>
#include <linux/filter.h>
#include <linux/if_ether.h>
#include <linux/sock_diag.h>
#include <pcap/pcap.h>

#include "proto/bpf.h"
#include "proto/bpf_part.h"
#include "tests/bpf_frames.h"
#include "tests/bpf_reference.h"

/* The real kernel on the parts that libpcap has no words for: whether it takes them, and what it lets pass of frames. */
#define SKIPPED		77	/* automake's exit status for a test that could not run */
#define OPTMEM		"/proc/sys/net/core/optmem_max"
#define FRAME_MAX	1514
#define KEEP		62	/* below it, frames of ours have odd hashes and even ones */
#define WITHHELD_ROOM	(BPF_CHAIN_MAX - BPF_SAMPLED_OUT_MAX - BPF_TAIL_HEADERS_MAX)

struct program {
	struct bpf_insn	insn[BPF_CHAIN_MAX];
	size_t		len;
};

static const struct {
	const char	*what;
	unsigned	v6_of_2, random_words;
} sets[] = {
	{ "IPv4, neighbours", 0, 0 },
	{ "IPv4, at random", 0, 1 },
	{ "IPv6 of one /64, neighbours", 2, 0 },
	{ "IPv6 of one /64, at random", 2, 2 },
	{ "half IPv6 of one /64, at random", 1, 2 },
	{ "IPv6, at random", 2, 4 },
};
#define SET_COUNT	(sizeof(sets) / sizeof(sets[0]))

static struct bpf_peer peer[BPF_WITHHELD_PEERS_MAX];
static bool balanced;

static void
put_word(struct bpf_peer *p, unsigned word, uint32_t value)
{
	for (unsigned i = 0; i < 4; i++)
		p->address[4 * word + i] = (uint8_t)(value >> (24 - 8 * i));
}

static void
make_peers(size_t set)
{
	srandom(1);
	memset(peer, 0, sizeof(peer));
	for (size_t i = 0; i < BPF_WITHHELD_PEERS_MAX; i++) {
		bool v6 = i % 2 < sets[set].v6_of_2;
		unsigned words = v6 ? 4 : 1;

		peer[i].family = v6 ? AF_INET6 : AF_INET;
		put_word(&peer[i], 0, 0x20010db8);
		put_word(&peer[i], words - 1, (v6 ? 0 : 0x0a000000) + (uint32_t)i);
		for (unsigned k = 0; k < sets[set].random_words && k < words; k++)
			put_word(&peer[i], words - 1 - k, (uint32_t)random() * 2 + (random() & 1));
	}
}

static void
add_part(struct bpf_chain *chain, struct program *part)
{
	ck_assert_uint_ne(part->len, 0);
	ck_assert_int_eq(bpf_chain_add(chain, "part", part->insn, part->len, true), BPF_OK);
}

static size_t
part_withheld(struct program *p, size_t room, enum bpf_link link, size_t peers, bool shared, size_t *placed)
{
	static const struct bpf_peer own[] = { { AF_INET, A4 }, { AF_INET, B4 }, { AF_INET6, A6 }, { AF_INET6, B6 },
		{ AF_INET6, { 0xfe, 0x80, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0xff, 0xfe, 0, 0, 1 } } };
	const struct bpf_withheld withheld = { .peer = peer, .peer_count = peers, .own = own, .own_count = sizeof(own) / sizeof(own[0]),
	    .balanced = shared };

	return bpf_part_withheld(p->insn, room, link, &withheld, placed);
}

/* Neither sampled out nor withheld (of no peers: that part is left away), cut behind the headers. */
static void
make_program(struct program *p, enum bpf_link link, size_t peers, size_t *placed)
{
	static struct program part;
	struct bpf_chain chain;

	bpf_chain_init(&chain);
	part.len = bpf_part_sampled_out(part.insn, BPF_SAMPLED_OUT_MAX, link, KEEP);
	add_part(&chain, &part);
	if (peers > 0) {
		part.len = part_withheld(&part, WITHHELD_ROOM, link, peers, balanced, placed);
		add_part(&chain, &part);
	}
	part.len = bpf_tail_headers(part.insn, BPF_TAIL_HEADERS_MAX, link, 16, 262144);
	ck_assert_int_eq(bpf_chain_finish_with(&chain, part.insn, part.len, p->insn, &p->len), BPF_OK);
	bpf_chain_clear(&chain);
}

static int
attach(int fd, struct program *p)
{
	struct sock_fprog program = { .len = (unsigned short)p->len, .filter = (struct sock_filter *)p->insn };

	return setsockopt(fd, SOL_SOCKET, SO_ATTACH_FILTER, &program, sizeof(program));
}

/* What a program takes of a socket's optmem; 0: the kernel refuses it for that. */
static size_t
cost_of(struct program *p)
{
	uint32_t info[SK_MEMINFO_VARS] = { 0 };
	socklen_t len = sizeof(info);
	int fd = socket(AF_PACKET, SOCK_RAW, 0);

	ck_assert_int_ne(fd, -1);
	if (attach(fd, p) == -1)
		ck_assert_msg(errno == ENOMEM, "the kernel refused %zu instructions: %s", p->len, strerror(errno));
	else
		ck_assert_int_eq(getsockopt(fd, SOL_SOCKET, SO_MEMINFO, info, &len), 0);
	close(fd);
	return info[SK_MEMINFO_OPTMEM];
}

static void
print_cost(const char *what, struct program *p)
{
	size_t cost = cost_of(p);

	ck_assert_uint_ne(cost, 0);
	printf("check_bpf_kernel: %s: %zu instructions, %zu bytes of optmem\n", what, p->len, cost);
}

START_TEST(kernel_takes)
{
	struct program p;
	size_t placed;

	for (unsigned link = 0; link < 2; link++) {
		p.len = bpf_part_sampled_out(p.insn, BPF_SAMPLED_OUT_MAX, (enum bpf_link)link, KEEP);
		print_cost("sampled out", &p);
		make_peers(0);
		p.len = part_withheld(&p, BPF_CHAIN_MAX, (enum bpf_link)link, 1, false, &placed);
		print_cost("withheld, one peer", &p);
		p.len = part_withheld(&p, BPF_CHAIN_MAX, (enum bpf_link)link, 1, true, &placed);
		print_cost("withheld, balanced, one peer", &p);
		p.len = bpf_tail_headers(p.insn, BPF_TAIL_HEADERS_MAX, (enum bpf_link)link, 0, 262144);
		print_cost("headers", &p);
		make_program(&p, (enum bpf_link)link, 1, &placed);
		print_cost("all three", &p);
	}
}
END_TEST

/* --- how many peers fit --- */

static bool
optmem_set(size_t bytes, size_t *before)
{
	FILE *f = fopen(OPTMEM, "r+");
	bool done = f != NULL && fscanf(f, "%zu", before) == 1;

	if (f != NULL) {
		rewind(f);
		done = done && fprintf(f, "%zu\n", bytes) > 0;
		done = fclose(f) == 0 && done;
	}
	if (!done)
		printf("check_bpf_kernel: %s cannot be written, so how many peers fit is not tried\n", OPTMEM);
	return done;
}

static size_t
peers_taken(void)
{
	static struct program p;
	size_t fit = 0, too_many = BPF_WITHHELD_PEERS_MAX + 1, placed = 0;

	while (too_many - fit > 1) {
		size_t middle = fit + (too_many - fit) / 2;

		make_program(&p, BPF_LINK_ETHERNET, middle, &placed);
		if (placed == middle && cost_of(&p) != 0)
			fit = middle;
		else
			too_many = middle;
	}
	return fit;
}

START_TEST(peers_that_fit)
{
	static const size_t limits[] = { 20480, 131072 };
	size_t before, ours, taken[2][SET_COUNT];
	bool can = true;

	balanced = _i == 1;
	for (size_t i = 0; i < 2 && (can = optmem_set(limits[i], i == 0 ? &before : &ours)); i++)
		for (size_t set = 0; set < SET_COUNT; set++) {
			make_peers(set);
			taken[i][set] = peers_taken();
		}
	if (!can)
		return;
	ck_assert(optmem_set(before, &ours));
	for (size_t set = 0; set < SET_COUNT; set++) {
		printf("check_bpf_kernel: %s: %zu and %zu peers fit into 20480 and 131072 bytes, with sampling and headers%s\n",
		    sets[set].what, taken[0][set], taken[1][set], balanced ? ", balanced" : "");
		ck_assert_uint_gt(taken[0][set], 50);
		ck_assert_uint_gt(taken[1][set], 300);
	}
}
END_TEST

/* --- frames through a veth pair --- */

struct tap {
	int		fd;
	enum bpf_link	link;
	uint8_t		pkttype;
	struct program	program;
};

static struct tap taps[] = {
	{ .link = BPF_LINK_ETHERNET, .pkttype = PACKET_HOST },
	{ .link = BPF_LINK_RAW, .pkttype = PACKET_HOST },
	{ .link = BPF_LINK_ETHERNET, .pkttype = PACKET_OUTGOING },
};
#define TAP_COUNT	(sizeof(taps) / sizeof(taps[0]))
static int sender;
static size_t frames, passed;

/* Asked for once the frame before it has been judged: ARP of this link address, which no part refuses. */
static const uint8_t marker[] = ETH "\x08\x06\0\1\x08\0\6\4\0\1marker" A4 "\0\0\0\0\0\0" B4;

static int
packet_socket(int type, uint16_t protocol, const char *interface)
{
	struct sockaddr_ll address = { .sll_family = AF_PACKET, .sll_protocol = htons(protocol) };
	struct timeval timeout = { .tv_sec = 10 };
	int fd = socket(AF_PACKET, type, 0);

	ck_assert_int_ne(fd, -1);
	address.sll_ifindex = (int)if_nametoindex(interface);
	ck_assert_int_ne(address.sll_ifindex, 0);
	ck_assert_int_eq(setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof(timeout)), 0);
	ck_assert_int_eq(bind(fd, (struct sockaddr *)&address, sizeof(address)), 0);
	return fd;
}

/* Of all packets once its program stands. */
static void
tap_open(struct tap *tap)
{
	const char *interface = tap->pkttype == PACKET_HOST ? "far0" : "near0";
	struct sockaddr_ll address = { .sll_family = AF_PACKET, .sll_protocol = htons(ETH_P_ALL),
	    .sll_ifindex = (int)if_nametoindex(interface) };
	size_t placed;

	make_program(&tap->program, tap->link, 100, &placed);
	ck_assert_uint_eq(placed, 100);
	tap->fd = packet_socket(tap->link == BPF_LINK_ETHERNET ? SOCK_RAW : SOCK_DGRAM, 0, interface);
	ck_assert_int_eq(attach(tap->fd, &tap->program), 0);
	ck_assert_int_eq(bind(tap->fd, (struct sockaddr *)&address, sizeof(address)), 0);
}

static void
taps_open(bool are_balanced)
{
	balanced = are_balanced;
	for (size_t i = 0; i < TAP_COUNT; i++)
		tap_open(&taps[i]);
}

static void
lab_setup(void)
{

	ck_assert_int_eq(unshare(CLONE_NEWNET), 0);
	ck_assert_int_eq(system("ip link add near0 type veth peer name far0 && ip link set far0 address 02:00:00:00:00:01 && "
	    "echo 1 >/proc/sys/net/ipv6/conf/near0/disable_ipv6 && echo 1 >/proc/sys/net/ipv6/conf/far0/disable_ipv6 && "
	    "ip link set near0 up && ip link set far0 up && "
	    "for end in near0 far0; do until ip link show dev $end | grep -q 'state UP'; do :; done; done"), 0);
	make_peers(4);
	peer[0].family = AF_INET;
	memcpy(peer[0].address, A4, 4);
	peer[1].family = AF_INET6;
	memcpy(peer[1].address, A6, 16);
	sender = packet_socket(SOCK_RAW, 0, "near0");
}

/* The outermost 802.1Q or 802.1ad tag becomes metadata before a filter sees the frame. */
static size_t
as_seen(uint8_t *seen, const uint8_t *frame, size_t len)
{
	bool tagged = len >= 18 && ((frame[12] == 0x81 && frame[13] == 0) || (frame[12] == 0x88 && frame[13] == 0xa8));

	memcpy(seen, frame, len);
	if (!tagged)
		return len;
	memmove(seen + 12, frame + 16, len - 16);
	return len - 4;
}

static bool
is_marker(const struct tap *tap, const uint8_t *data, size_t len)
{
	size_t skip = tap->link == BPF_LINK_ETHERNET ? 14 : 0;

	return len >= skip + 14 && memcmp(data + skip + 8, "marker", 6) == 0;
}

static void
check_tap(const struct tap *tap, const uint8_t *seen, size_t len)
{
	size_t skip = tap->link == BPF_LINK_ETHERNET ? 0 : 14;
	struct bpf_packet packet = { .data = seen + skip, .captured_len = len - skip, .len = len - skip, .pkttype = tap->pkttype,
		.protocol = (uint16_t)(seen[12] << 8 | seen[13]) };
	size_t want = bpf_interpret(tap->program.insn, tap->program.len, &packet);
	uint8_t got[FRAME_MAX + 4];
	ssize_t got_len = recv(tap->fd, got, sizeof(got), 0);

	if (seen[0] != 2)
		ck_abort_msg("a frame to %02x", seen[0]);
	ck_assert_int_gt(got_len, 0);
	if (want > packet.len)
		want = packet.len;
	if (want == 0) {
		ck_assert_msg(is_marker(tap, got, (size_t)got_len), "the kernel passed %zd bytes of %zu", got_len, packet.len);
		return;
	}
	ck_assert_msg((size_t)got_len == want && memcmp(got, packet.data, want) == 0, "the kernel passed %zd bytes of %zu, not %zu",
	    got_len, packet.len, want);
	got_len = recv(tap->fd, got, sizeof(got), 0);
	ck_assert(got_len > 0 && is_marker(tap, got, (size_t)got_len));
	passed++;
}

/* The destination is the far end's, or the packet's type would not be ours to say. */
static void
check_frame(const uint8_t *data, size_t len)
{
	uint8_t frame[FRAME_MAX], seen[FRAME_MAX];
	size_t seen_len;

	if (len < 34 || len > FRAME_MAX)
		return;
	memcpy(frame, data, len);
	memcpy(frame, marker, 6);
	ck_assert_int_eq(send(sender, frame, len, 0), (ssize_t)len);
	ck_assert_int_eq(send(sender, marker, sizeof(marker) - 1, 0), (ssize_t)sizeof(marker) - 1);
	seen_len = as_seen(seen, frame, len);
	for (size_t i = 0; i < TAP_COUNT; i++)
		if (taps[i].pkttype == PACKET_HOST)
			check_tap(&taps[i], seen, seen_len);
		else
			check_tap(&taps[i], frame, len);
	frames++;
}

static void
check_frame_cut(const struct bytes *b)
{
	for (size_t len = 0; len <= b->len; len++)
		check_frame(b->data, len);
}

START_TEST(frames_of_ours)
{
	taps_open(_i == 1);
	frames = passed = 0;
	for (size_t i = 0; i < frames_both_count; i++)
		for (int k = 0; k < 2; k++)
			check_frame_cut(&frames_both[i][k]);
	for (size_t i = 0; i < frames_unhashed_count; i++)
		check_frame_cut(&frames_unhashed[i]);
	for (size_t i = 0; i < frames_ends_count; i++)
		check_frame_cut(&frames_ends[i].frame);
	printf("check_bpf_kernel: %zu frames of our own, %zu copies of them passed\n", frames, passed);
	ck_assert(passed > 0 && passed < TAP_COUNT * frames);
}
END_TEST

static void
check_file(const char *path)
{
	char error[PCAP_ERRBUF_SIZE];
	pcap_t *handle = pcap_open_offline(path, error);
	struct pcap_pkthdr *header;
	const u_char *data;

	if (handle == NULL)
		return;
	while (pcap_datalink(handle) == DLT_EN10MB && pcap_next_ex(handle, &header, &data) == 1)
		check_frame(data, header->caplen);
	pcap_close(handle);
}

START_TEST(frames_of_captures)
{
	const char *folder = getenv("VMTAP_CAPTURES");
	struct dirent **entries;
	char path[1024];
	int count = folder == NULL ? -1 : scandir(folder, &entries, NULL, alphasort);

	if (count == -1) {
		printf("check_bpf_kernel: no capture files are tried; VMTAP_CAPTURES names a folder of them\n");
		return;
	}
	taps_open(_i == 1);
	frames = passed = 0;
	for (int i = 0; i < count; i++) {
		snprintf(path, sizeof(path), "%s/%s", folder, entries[i]->d_name);
		if (strstr(entries[i]->d_name, ".pcap") != NULL)
			check_file(path);
		free(entries[i]);
	}
	free(entries);
	printf("check_bpf_kernel: %zu frames of %s, %zu copies of them passed\n", frames, folder, passed);
	ck_assert(passed > 0 && passed < TAP_COUNT * frames);
}
END_TEST

int
main(void)
{
	Suite *suite = suite_create("bpf kernel");
	TCase *fit = tcase_create("fit"), *veth = tcase_create("veth");
	SRunner *runner;
	int failed;

	if (geteuid() != 0) {
		fprintf(stderr, "needs root, for packet sockets and a network namespace of its own\n");
		return SKIPPED;
	}
	tcase_set_timeout(fit, 120);
	tcase_add_checked_fixture(fit, lab_setup, NULL);
	tcase_add_test(fit, kernel_takes);
	tcase_add_loop_test(fit, peers_that_fit, 0, 2);
	suite_add_tcase(suite, fit);
	tcase_set_timeout(veth, 120);
	tcase_add_checked_fixture(veth, lab_setup, NULL);
	tcase_add_loop_test(veth, frames_of_ours, 0, 2);
	tcase_add_loop_test(veth, frames_of_captures, 0, 2);
	suite_add_tcase(suite, veth);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
