/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#include "config.h"

#include <sys/types.h>
#include <sys/socket.h>
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <netpacket/packet.h>

#include <check.h>
#include <pcap/pcap.h>

#include "proto/bpf.h"
#include "proto/bpf_code.h"
#include "proto/bpf_part.h"
#include "proto/flow.h"
#include "tests/bpf_frames.h"
#include "tests/bpf_reference.h"

/* The parts that libpcap has no words for, against what they say of themselves, told again in C (tests/bpf_reference.c). */
#define CUTS_TO		200	/* packets of capture files are cut to each length up to this */

struct program {
	struct bpf_insn	insn[BPF_CHAIN_MAX];
	size_t		len;
};

static uint32_t
run(const struct program *p, uint16_t protocol, const uint8_t *data, size_t len)
{
	struct bpf_packet packet = { .data = data, .captured_len = len, .len = len, .protocol = protocol, .pkttype = PACKET_HOST };

	return bpf_interpret(p->insn, p->len, &packet);
}

/* --- the assembler --- */

START_TEST(code_room)
{
	struct bpf_insn insn[3];
	struct bpf_code code;

	bpf_code_init(&code, insn, 3);
	for (int i = 0; i < 3; i++)
		bpf_code_return(&code, 1);
	ck_assert_uint_eq(bpf_code_end(&code), 3);
	bpf_code_return(&code, 1);
	ck_assert_uint_eq(bpf_code_end(&code), 0);
}
END_TEST

/* padding: instructions between the jump and its label. */
static size_t
code_with_jump(struct program *p, size_t padding, bool relay)
{
	struct bpf_label label = { 0 };
	struct bpf_code code;

	bpf_code_init(&code, p->insn, BPF_CHAIN_MAX);
	bpf_code_unless(&code, BPF_JGT, 0, &label);
	bpf_code_if(&code, BPF_JEQ, 1, &label);
	for (size_t i = 0; i < padding; i++) {
		if (relay && i == padding / 2) {
			bpf_code_return(&code, 2);
			bpf_code_relay(&code, &label);
		}
		bpf_code_stmt(&code, BPF_LD | BPF_IMM, 5);
	}
	bpf_code_return(&code, 2);
	bpf_code_here(&code, &label);
	bpf_code_return(&code, 3);
	return p->len = bpf_code_end(&code);
}

START_TEST(code_jumps)
{
	struct program p;

	ck_assert_uint_eq(code_with_jump(&p, 252, false), 256);
	ck_assert_uint_eq(run(&p, 0, (const uint8_t *)"", 0), 3);
	ck_assert_uint_eq(code_with_jump(&p, 253, false), 257);
	ck_assert_uint_eq(p.insn[0].jf, 255);
	ck_assert_uint_eq(code_with_jump(&p, 254, false), 0);
	ck_assert_uint_ne(code_with_jump(&p, 400, true), 0);
	ck_assert_uint_eq(run(&p, 0, (const uint8_t *)"", 0), 3);
}
END_TEST

START_TEST(code_label_not_placed)
{
	struct bpf_label label = { 0 };
	struct bpf_insn insn[2];
	struct bpf_code code;

	bpf_code_init(&code, insn, 2);
	bpf_code_goto(&code, &label);
	bpf_code_return(&code, 1);
	ck_assert_uint_eq(bpf_code_end(&code), 0);
}
END_TEST

/* --- the flow hash --- */

static struct program sampled[2][64];

static void
sampled_build(void)
{
	for (unsigned link = 0; link < 2; link++)
		for (unsigned keep = 1; keep < 64; keep++) {
			struct program *p = &sampled[link][keep];

			p->len = bpf_part_sampled_out(p->insn, BPF_SAMPLED_OUT_MAX, (enum bpf_link)link, keep);
			ck_assert_uint_ne(p->len, 0);
			ck_assert_uint_eq(bpf_part_sampled_out(p->insn, p->len - 1, (enum bpf_link)link, keep), 0);
			ck_assert_uint_eq(bpf_part_sampled_out(p->insn, p->len, (enum bpf_link)link, keep), p->len);
		}
}

/* The smallest keep that keeps the packet, less 1; every larger one has to keep it too. */
static int
hash_by_program(enum bpf_link link, uint16_t protocol, const uint8_t *data, size_t len)
{
	unsigned least = 1;

	while (least < 64 && run(&sampled[link][least], protocol, data, len) != 0)
		least++;
	for (unsigned keep = least; keep < 64; keep++)
		ck_assert_uint_eq(run(&sampled[link][keep], protocol, data, len), 0);
	return (int)least - 1;
}

/* What the program makes of a hash, which is all that it shows: no hash looks like 0. */
static void
check_hash(enum bpf_link link, uint16_t protocol, const uint8_t *data, size_t len)
{
	struct flow flow = flow_of(link, protocol, data, len);

	ck_assert_int_eq(hash_by_program(link, protocol, data, len), flow.known ? (int)flow.hash : 0);
}

static void
check_hash_cuts(enum bpf_link link, uint16_t protocol, const uint8_t *data, size_t len)
{
	uint8_t *exact = malloc(len > 0 ? len : 1);

	ck_assert_ptr_nonnull(exact);
	memcpy(exact, data, len);
	for (size_t cut = 0; cut <= len; cut++)
		check_hash(link, protocol, exact, cut);
	free(exact);
}

START_TEST(hash_both_directions)
{
	int hash[2];

	for (int i = 0; i < 2; i++) {
		const struct bytes *b = &frames_both[_i][i];

		hash[i] = hash_by_program(BPF_LINK_ETHERNET, 0, b->data, b->len);
		ck_assert(flow_of(BPF_LINK_ETHERNET, 0, b->data, b->len).known);
		check_hash_cuts(BPF_LINK_ETHERNET, 0, b->data, b->len);
		if (memcmp(b->data + 12, "\x08\0", 2) == 0 || memcmp(b->data + 12, "\x86\xdd", 2) == 0) {
			uint16_t protocol = b->data[12] == 8 ? 0x0800 : 0x86dd;

			ck_assert_int_eq(hash_by_program(BPF_LINK_RAW, protocol, b->data + 14, b->len - 14), hash[i]);
			check_hash_cuts(BPF_LINK_RAW, protocol, b->data + 14, b->len - 14);
		}
	}
	ck_assert_int_eq(hash[0], hash[1]);
}
END_TEST

START_TEST(no_hash)
{
	const struct bytes *b = &frames_unhashed[_i];

	ck_assert(!flow_of(BPF_LINK_ETHERNET, 0, b->data, b->len).known);
	ck_assert_int_eq(hash_by_program(BPF_LINK_ETHERNET, 0, b->data, b->len), 0);
	check_hash_cuts(BPF_LINK_ETHERNET, 0, b->data, b->len);
}
END_TEST

/* Numbers of section "Flow hash" of proto/PROTOCOL, reckoned apart from either program. */
START_TEST(hash_known)
{
	static const uint8_t v4[] = V4("\6", A4, B4) TCP(P1, P2), v6[] = V6("\6", A6, B6) TCP(P1, P2);
	static const uint8_t udp[] = V4("\x11", A4, B4) P1 P2 REST;

	ck_assert_int_eq(hash_by_program(BPF_LINK_RAW, 0x0800, v4, sizeof(v4) - 1), 61);
	ck_assert_int_eq(hash_by_program(BPF_LINK_RAW, 0x86dd, v6, sizeof(v6) - 1), 20);
	ck_assert_int_eq(hash_by_program(BPF_LINK_RAW, 0x0800, udp, sizeof(udp) - 1), 4);
}
END_TEST

/* 6400 neighbours: 100 of each value, within what chance would give. what: where the number stands that counts up. */
static void
check_spread(const uint8_t *packet, size_t len, uint16_t protocol, size_t what)
{
	uint8_t copy[128];
	unsigned count[64] = { 0 };

	memcpy(copy, packet, len);
	for (unsigned i = 0; i < 6400; i++) {
		copy[what] = (uint8_t)(i >> 8);
		copy[what + 1] = (uint8_t)i;
		count[hash_by_program(BPF_LINK_RAW, protocol, copy, len)]++;
	}
	for (unsigned i = 0; i < 64; i++)
		ck_assert_msg(count[i] > 50 && count[i] < 160, "%u times %u", count[i], i);
}

START_TEST(hash_spread)
{
	static const uint8_t v4[] = V4("\6", A4, B4) TCP(P1, P2), v6[] = V6("\6", A6, B6) TCP(P1, P2);

	check_spread(v4, sizeof(v4) - 1, 0x0800, 14);
	check_spread(v4, sizeof(v4) - 1, 0x0800, 18);
	check_spread(v4, sizeof(v4) - 1, 0x0800, 20);
	check_spread(v4, sizeof(v4) - 1, 0x0800, 22);
	check_spread(v6, sizeof(v6) - 1, 0x86dd, 14);
	check_spread(v6, sizeof(v6) - 1, 0x86dd, 22);
	check_spread(v6, sizeof(v6) - 1, 0x86dd, 38);
	check_spread(v6, sizeof(v6) - 1, 0x86dd, 40);
}
END_TEST

/* --- capture files --- */

typedef void check_fn(enum bpf_link, uint16_t protocol, const uint8_t *, size_t);

/* Both as the link says and, where that is not Ethernet, as what a cooked or raw header would leave. */
static void
check_cuts(check_fn *check, int linktype, const uint8_t *data, size_t len)
{
	enum bpf_link link = linktype == DLT_EN10MB ? BPF_LINK_ETHERNET : BPF_LINK_RAW;
	size_t skip = linktype == DLT_LINUX_SLL ? 16 : linktype == DLT_LINUX_SLL2 ? 20 : 0;
	uint16_t protocol = 0;

	if (len < skip + 1)
		return;
	if (link == BPF_LINK_RAW)
		protocol = data[skip] >> 4 == 6 ? 0x86dd : 0x0800;
	for (size_t cut = 0; cut <= CUTS_TO && cut + skip < len; cut++)
		check(link, protocol, data + skip, cut);
	check(link, protocol, data + skip, len - skip);
}

static size_t
check_file(check_fn *check, const char *path)
{
	char error[PCAP_ERRBUF_SIZE];
	pcap_t *handle = pcap_open_offline(path, error);
	struct pcap_pkthdr *header;
	const u_char *data;
	size_t packets = 0;

	if (handle == NULL) {
		printf("check_bpf_part: %s: not read: %s\n", path, error);
		return 0;
	}
	for (; pcap_next_ex(handle, &header, &data) == 1; packets++)
		check_cuts(check, pcap_datalink(handle), data, header->caplen);
	pcap_close(handle);
	return packets;
}

static void
check_captures(check_fn *check)
{
	const char *folder = getenv("VMTAP_CAPTURES");
	struct dirent **entries;
	char path[1024];
	size_t packets = 0;
	int count = folder == NULL ? -1 : scandir(folder, &entries, NULL, alphasort);

	if (count == -1) {
		printf("check_bpf_part: no capture files are tried; VMTAP_CAPTURES names a folder of them\n");
		return;
	}
	for (int i = 0; i < count; i++) {
		snprintf(path, sizeof(path), "%s/%s", folder, entries[i]->d_name);
		if (strstr(entries[i]->d_name, ".pcap") != NULL)
			packets += check_file(check, path);
		free(entries[i]);
	}
	free(entries);
	ck_assert_uint_gt(packets, 0);
	printf("check_bpf_part: %zu packets of %s\n", packets, folder);
}

/* One program would do to see each hash, were there one that returned it: below, at and above it is enough. */
static void
check_hash_near(enum bpf_link link, uint16_t protocol, const uint8_t *data, size_t len)
{
	struct flow flow = flow_of(link, protocol, data, len);
	unsigned hash = flow.known ? flow.hash : 0;

	if (hash > 0 && run(&sampled[link][hash], protocol, data, len) == 0)
		ck_abort_msg("kept at %u of %zu bytes", hash, len);
	if (hash < 63 && run(&sampled[link][hash + 1], protocol, data, len) != 0)
		ck_abort_msg("left out at %u of %zu bytes", hash + 1, len);
}

START_TEST(hash_of_captures)
{
	check_captures(check_hash_near);
}
END_TEST

/* --- peers --- */

#define PEERS_MAX	BPF_WITHHELD_PEERS_MAX

static struct bpf_peer peer[PEERS_MAX + 1];
static struct bpf_peer own[BPF_WITHHELD_OWN_MAX + 1];
static size_t own_count;
static bool balanced;

static uint32_t
random_u32(void)
{
	static uint64_t state = 88172645463325252;

	state ^= state << 13;
	state ^= state >> 7;
	state ^= state << 17;
	return (uint32_t)(state >> 16);
}

static void
add_own(uint8_t family, const void *address)
{
	ck_assert_uint_lt(own_count, sizeof(own) / sizeof(own[0]));
	memset(&own[own_count], 0, sizeof(own[0]));
	own[own_count].family = family;
	memcpy(own[own_count++].address, address, family == AF_INET ? 4 : 16);
}

/* Those at both ends of the packets here, or at all of them but the first, and so many others. */
static void
make_own(bool all, size_t others)
{
	uint32_t address[4];

	own_count = 0;
	if (all)
		add_own(AF_INET, A4);
	add_own(AF_INET6, B6);
	for (; others > 0; others--) {
		for (int i = 0; i < 4; i++)
			address[i] = random_u32();
		add_own(random_u32() % 2 == 0 ? AF_INET : AF_INET6, address);
	}
	add_own(AF_INET, B4);
	if (all)
		add_own(AF_INET6, A6);
}

/* Addresses that share words: of each, few values or many. */
static void
random_peers(size_t count, unsigned v6_of_4)
{
	static const uint32_t values[] = { 1, 2, 5, 0xffffffff };
	uint32_t mask[4];

	for (int i = 0; i < 4; i++)
		mask[i] = values[random_u32() % 4];
	memset(peer, 0, sizeof(peer));
	for (size_t i = 0; i < count; i++) {
		bool v6 = random_u32() % 4 < v6_of_4;

		peer[i].family = v6 ? AF_INET6 : AF_INET;
		for (unsigned k = 0; k < (v6 ? 4u : 1u); k++) {
			uint32_t word = random_u32() % mask[k] * 0x6789abcd;

			if (!v6)
				word = random_u32() % 4 == 0 ? random_u32() : 0x0a000000 + random_u32() % 512;
			for (unsigned b = 0; b < 4; b++)
				peer[i].address[4 * k + b] = (uint8_t)(word >> (24 - 8 * b));
		}
	}
}

static bool
is_among(const struct bpf_peer *among, size_t count, uint8_t family, const uint8_t *address)
{
	for (size_t i = 0; i < count; i++)
		if (among[i].family == family && memcmp(among[i].address, address, family == AF_INET ? 4 : 16) == 0)
			return true;
	return false;
}

static bool
is_withheld(const struct flow *flow, uint8_t pkttype, size_t placed)
{
	bool in = pkttype == PACKET_HOST, out = pkttype == PACKET_OUTGOING;

	if (!flow->known || flow->hash == 0 || flow->icmp_error || (!in && !out))
		return false;
	if (balanced && (flow->tcp_fragment || (flow->hash % 2 == 0) != in))
		return false;
	return (in || balanced) && is_among(peer, placed, flow->family, in ? flow->source : flow->destination) &&
	    is_among(own, own_count < BPF_WITHHELD_OWN_MAX ? own_count : BPF_WITHHELD_OWN_MAX, flow->family,
	    in ? flow->destination : flow->source);
}

static void
check_withheld(const struct program *p, size_t placed, enum bpf_link link, uint16_t protocol, const uint8_t *data, size_t len)
{
	struct flow flow = flow_of(link, protocol, data, len);
	struct bpf_packet packet = { .data = data, .captured_len = len, .len = len, .protocol = protocol };

	for (packet.pkttype = PACKET_HOST; packet.pkttype <= PACKET_OUTGOING; packet.pkttype++)
		if (bpf_interpret(p->insn, p->len, &packet) != is_withheld(&flow, packet.pkttype, placed))
			ck_abort_msg("type %u, %zu bytes, hash %u", packet.pkttype, len, flow.hash);
}

/* A TCP packet from the address, or to it, to ports that give all hashes. */
static size_t
check_address(const struct program *p, size_t placed, uint8_t family, const uint8_t *address)
{
	static const uint8_t v4[] = V4("\6", A4, B4) TCP(P1, P2), v6[] = V6("\6", A6, B6) TCP(P1, P2);
	size_t len = family == AF_INET ? sizeof(v4) - 1 : sizeof(v6) - 1;
	uint8_t packet[sizeof(v6)];

	memcpy(packet, family == AF_INET ? v4 : v6, len);
	if (family == AF_INET)
		memcpy(packet + (random_u32() % 2 == 0 ? 12 : 16), address, 4);
	else
		memcpy(packet + (random_u32() % 2 == 0 ? 8 : 24), address, 16);
	packet[len - 19] = (uint8_t)random_u32();
	if (random_u32() % 8 == 0)
		packet[family == AF_INET ? 19 : 39] ^= 1;
	check_withheld(p, placed, BPF_LINK_RAW, family == AF_INET ? 0x0800 : 0x86dd, packet, len);
	return flow_of(BPF_LINK_RAW, family == AF_INET ? 0x0800 : 0x86dd, packet, len).hash != 0;
}

/* Each peer, and neighbours of it in each word. */
static void
check_peers(const struct program *p, size_t placed, size_t count)
{
	size_t checked = 0;

	for (size_t i = 0; i < count; i++) {
		struct bpf_peer other = peer[i];

		checked += check_address(p, placed, peer[i].family, peer[i].address);
		for (unsigned b = 3; b < (peer[i].family == AF_INET ? 4u : 16u); b += 4) {
			other.address[b] = (uint8_t)(other.address[b] ^ 1u << random_u32() % 8);
			check_address(p, placed, other.family, other.address);
		}
	}
	ck_assert(checked > 0 || count == 1);	/* whose one packet may have hash 0 */
}

static size_t
part_withheld(struct program *p, size_t room, enum bpf_link link, size_t count, size_t *placed)
{
	const struct bpf_withheld withheld = { .peer = peer, .peer_count = count, .own = own, .own_count = own_count,
	    .balanced = balanced };

	return bpf_part_withheld(p->insn, room, link, &withheld, placed);
}

static void
build_withheld(struct program *p, size_t room, enum bpf_link link, size_t count, size_t *placed)
{
	struct bpf_chain chain;

	p->len = part_withheld(p, room, link, count, placed);
	ck_assert_uint_ne(p->len, 0);
	ck_assert_uint_le(p->len, room);
	bpf_chain_init(&chain);
	ck_assert_int_eq(bpf_chain_add(&chain, "withheld", p->insn, p->len, true), p->len == BPF_CHAIN_MAX ? BPF_TOO_LONG : BPF_OK);
	bpf_chain_clear(&chain);
}

START_TEST(withheld_sets)
{
	static const size_t counts[] = { 1, 2, 3, 6, 7, 8, 13, 14, 24, 25, 26, 50, 100, 200, 400, 1000 };
	struct program p;
	size_t placed;

	balanced = _i >= 5;
	for (size_t c = 0; c < sizeof(counts) / sizeof(counts[0]); c++)
		for (unsigned round = 0; round < 8; round++) {
			random_peers(counts[c], (unsigned)_i % 5);
			make_own(round % 4 != 0, round == 7 ? BPF_WITHHELD_OWN_MAX - 3 : round);
			build_withheld(&p, BPF_CHAIN_MAX, BPF_LINK_RAW, counts[c], &placed);
			ck_assert(placed == counts[c] || p.len > BPF_CHAIN_MAX - 64);
			check_peers(&p, placed, counts[c]);
		}
}
END_TEST

START_TEST(withheld_room)
{
	struct program p;
	size_t placed, before = 0;

	balanced = _i == 1;
	random_peers(PEERS_MAX, 2);
	make_own(true, 0);
	for (size_t room = 1; room < 1500; room += room < 300 ? 1 : 37) {
		build_withheld(&p, room, BPF_LINK_RAW, PEERS_MAX, &placed);
		if (placed == 0)
			ck_assert_uint_eq(p.len, 1);
		else
			check_peers(&p, placed, placed + 20 < PEERS_MAX ? placed + 20 : PEERS_MAX);
		ck_assert_uint_ge(placed + 2, before);
		before = placed;
	}
	ck_assert_uint_gt(before, 200);
	ck_assert_uint_eq(part_withheld(&p, 0, BPF_LINK_RAW, 1, &placed), 0);
	ck_assert_uint_eq(part_withheld(&p, BPF_CHAIN_MAX, BPF_LINK_RAW, 0, &placed), 1);
	memset(peer, 0, sizeof(peer));
	for (size_t i = 0; i <= PEERS_MAX; i++)
		peer[i].family = AF_INET;
	build_withheld(&p, 1000, BPF_LINK_RAW, PEERS_MAX + 1, &placed);
	ck_assert_uint_eq(placed, PEERS_MAX);
}
END_TEST

static const uint8_t icmp_types[] = { 0, 1, 2, 3, 4, 5, 6, 10, 11, 12, 13, 128, 135 };

/* Sends of A's: errors are never withheld, echoes are. */
START_TEST(withheld_not_errors)
{
	static const uint8_t v4[] = V4("\1", A4, B4) REST, v6[] = V6("\x3a", A6, B6) REST;
	static const uint8_t fragment4[] = IP("\x45", "\x20\0", "\1", A4, B4) REST;
	static const uint8_t fragment6[] = V6("\x2c", A6, B6) "\x3a\0\0\1\0\0\0\7" REST;
	uint8_t packet[256];
	struct program p;
	size_t placed;

	balanced = _i == 1;
	memset(peer, 0, sizeof(peer));
	peer[0].family = AF_INET;
	memcpy(peer[0].address, A4, 4);
	peer[1].family = AF_INET6;
	memcpy(peer[1].address, A6, 16);
	make_own(false, 0);
	build_withheld(&p, BPF_CHAIN_MAX, BPF_LINK_RAW, 2, &placed);
	for (size_t i = 0; i < sizeof(icmp_types); i++) {
		memcpy(packet, v4, sizeof(v4));
		packet[20] = icmp_types[i];
		check_withheld(&p, 2, BPF_LINK_RAW, 0x0800, packet, sizeof(v4) - 1);
		if (!balanced)
			ck_assert_uint_eq(run(&p, 0x0800, packet, sizeof(v4) - 1),
			    !((packet[20] >= 3 && packet[20] <= 5) || packet[20] == 11 || packet[20] == 12));
		memcpy(packet, v6, sizeof(v6));
		packet[40] = icmp_types[i];
		check_withheld(&p, 2, BPF_LINK_RAW, 0x86dd, packet, sizeof(v6) - 1);
	}
	for (size_t len = 0; len < sizeof(fragment4); len++)
		check_withheld(&p, 2, BPF_LINK_RAW, 0x0800, fragment4, len);
	for (size_t len = 0; len < sizeof(fragment6); len++)
		check_withheld(&p, 2, BPF_LINK_RAW, 0x86dd, fragment6, len);
}
END_TEST

/* A peer's TCP packet that a router parts has another hash on its far side: no end may leave it to the other one. */
START_TEST(withheld_parted)
{
	static const char *const heads[] = { "\x20\0", "\0\1" };
	uint8_t whole[] = V4("\6", A4, B4) TCP(P1, P2), part[sizeof(whole)], part6[] = V6("\x2c", A6, B6) "\6\0\0\1\0\0\0\7" TCP(P1, P2);
	size_t placed, len = sizeof(whole) - 1, left_out = 0;
	struct program p, sender;

	balanced = true;
	memset(peer, 0, sizeof(peer));
	peer[0] = peer[1] = (struct bpf_peer){ .family = AF_INET };
	memcpy(peer[0].address, A4, 4);
	own_count = 0;
	add_own(AF_INET, B4);
	build_withheld(&p, BPF_CHAIN_MAX, BPF_LINK_RAW, 1, &placed);
	memcpy(peer[0].address, B4, 4);
	own_count = 0;
	add_own(AF_INET, A4);
	build_withheld(&sender, BPF_CHAIN_MAX, BPF_LINK_RAW, 1, &placed);
	for (unsigned address = 0; address < 256; address++)
		for (int i = 0; i < 2; i++) {
			struct bpf_packet in = { .data = part, .captured_len = len, .len = len, .pkttype = PACKET_HOST };
			struct bpf_packet out = { .data = whole, .captured_len = len, .len = len, .pkttype = PACKET_OUTGOING };

			in.protocol = out.protocol = 0x0800;
			whole[len - 19] = (uint8_t)address;
			memcpy(part, whole, sizeof(whole));
			memcpy(part + 6, heads[i], 2);
			left_out += bpf_interpret(sender.insn, sender.len, &out) != 0;
			ck_assert(bpf_interpret(sender.insn, sender.len, &out) == 0 || bpf_interpret(p.insn, p.len, &in) == 0);
		}
	ck_assert_uint_gt(left_out, 128);
	memset(peer, 0, sizeof(peer));
	peer[0].family = AF_INET6;
	memcpy(peer[0].address, A6, 16);
	make_own(true, 0);
	build_withheld(&p, BPF_CHAIN_MAX, BPF_LINK_RAW, 1, &placed);
	for (size_t n = 0; n < sizeof(part6); n++)
		check_withheld(&p, 1, BPF_LINK_RAW, 0x86dd, part6, n);
}
END_TEST

START_TEST(withheld_frames)
{
	struct program p;
	size_t placed;

	balanced = _i == 1;
	random_peers(PEERS_MAX, 2);
	peer[0] = (struct bpf_peer){ .family = AF_INET };
	memcpy(peer[0].address, A4, 4);
	peer[1] = (struct bpf_peer){ .family = AF_INET6 };
	memcpy(peer[1].address, B6, 16);
	make_own(true, 2);
	build_withheld(&p, BPF_CHAIN_MAX, BPF_LINK_ETHERNET, 40, &placed);
	for (size_t i = 0; i < frames_both_count; i++)
		for (int k = 0; k < 2; k++)
			for (size_t len = 0; len <= frames_both[i][k].len; len++)
				check_withheld(&p, 40, BPF_LINK_ETHERNET, 0, frames_both[i][k].data, len);
}
END_TEST

/* Peers from the captures themselves, and what is withheld of them. */
static size_t source_count;
static struct program by_source[2];

static void
add_source(enum bpf_link link, uint16_t protocol, const uint8_t *data, size_t len)
{
	struct flow flow = flow_of(link, protocol, data, len);

	if (!flow.known || source_count == 60 || is_among(peer, source_count, flow.family, flow.source) || random_u32() % 8 != 0)
		return;
	peer[source_count].family = flow.family;
	memcpy(peer[source_count++].address, flow.source, flow.family == AF_INET ? 4 : 16);
	if (random_u32() % 4 != 0)
		add_own(flow.family, flow.destination);
}

static void
check_source(enum bpf_link link, uint16_t protocol, const uint8_t *data, size_t len)
{
	check_withheld(&by_source[link], source_count, link, protocol, data, len);
}

START_TEST(withheld_of_captures)
{
	size_t placed;

	balanced = _i == 1;
	memset(peer, 0, sizeof(peer));
	source_count = own_count = 0;
	check_captures(add_source);
	for (unsigned link = 0; link < 2; link++)
		build_withheld(&by_source[link], BPF_CHAIN_MAX, (enum bpf_link)link, source_count, &placed);
	check_captures(check_source);
}
END_TEST

/* --- ends of programs --- */

static const struct tail {
	unsigned	payload;
	uint32_t	snaplen;
} tails[] = { { 0, 262144 }, { 64, 262144 }, { 20, 96 }, { 0xffffff, 0xffffffff }, { 300, 200 }, { 0, 1 } };
#define TAIL_COUNT	(sizeof(tails) / sizeof(tails[0]))

static struct program tail[2][TAIL_COUNT];

static size_t
tail_build(struct program *p, size_t room, unsigned link, const struct tail *t)
{
	return p->len = bpf_tail_headers(p->insn, room, (enum bpf_link)link, t->payload, t->snaplen);
}

static void
tails_build(void)
{
	for (unsigned link = 0; link < 2; link++)
		for (size_t i = 0; i < TAIL_COUNT; i++) {
			size_t len = tail_build(&tail[link][i], BPF_TAIL_HEADERS_MAX, link, &tails[i]);

			ck_assert_uint_ne(len, 0);
			ck_assert_uint_eq(tail_build(&tail[link][i], len - 1, link, &tails[i]), 0);
			ck_assert_uint_eq(tail_build(&tail[link][i], len, link, &tails[i]), len);
		}
}

static size_t
cut_by_program(const struct program *p, uint16_t protocol, const uint8_t *data, size_t len)
{
	size_t cut = run(p, protocol, data, len);

	ck_assert_uint_gt(cut, 0);
	return cut < len ? cut : len;
}

static void
check_first_tails(size_t count, enum bpf_link link, uint16_t protocol, const uint8_t *data, size_t len)
{
	for (size_t i = 0; i < count; i++) {
		size_t want = reference_cut(link, protocol, tails[i].payload, tails[i].snaplen, data, len);
		size_t got = cut_by_program(&tail[link][i], protocol, data, len);

		if (got != want)
			ck_abort_msg("payload %u, snaplen %u: %zu of %zu bytes, not %zu", tails[i].payload, tails[i].snaplen, got,
			    len, want);
	}
}

static void
check_tails(enum bpf_link link, uint16_t protocol, const uint8_t *data, size_t len)
{
	check_first_tails(TAIL_COUNT, link, protocol, data, len);
}

static void
check_bare_tail(enum bpf_link link, uint16_t protocol, const uint8_t *data, size_t len)
{
	check_first_tails(1, link, protocol, data, len);
}

START_TEST(tail_ends)
{
	const struct bytes *b = &frames_ends[_i].frame;
	uint8_t *exact = malloc(b->len);

	ck_assert_ptr_nonnull(exact);
	memcpy(exact, b->data, b->len);
	ck_assert_uint_eq(cut_by_program(&tail[BPF_LINK_ETHERNET][0], 0, exact, b->len), frames_ends[_i].end);
	ck_assert_uint_eq(cut_by_program(&tail[BPF_LINK_ETHERNET][1], 0, exact, b->len), frames_ends[_i].end + 64);
	for (size_t len = 0; len <= b->len; len++) {
		check_tails(BPF_LINK_ETHERNET, 0, exact, len);
		if (len >= 14)
			check_tails(BPF_LINK_RAW, (uint16_t)(exact[12] << 8 | exact[13]), exact + 14, len - 14);
	}
	free(exact);
}
END_TEST

START_TEST(tail_of_captures)
{
	check_captures(check_bare_tail);
}
END_TEST

START_TEST(tail_behind_parts)
{
	struct bpf_insn part[BPF_PART_MAX];
	struct program p;
	struct bpf_chain chain;
	const struct bytes *b = &frames_ends[2].frame;
	struct bpf_packet packet = { .data = b->data, .captured_len = b->len, .len = b->len };

	bpf_chain_init(&chain);
	ck_assert_int_eq(bpf_chain_add(&chain, "out", part, bpf_part_direction(part, false), false), BPF_OK);
	ck_assert_int_eq(bpf_chain_finish_with(&chain, tail[0][0].insn, tail[0][0].len, p.insn, &p.len), BPF_OK);
	ck_assert_uint_eq(bpf_interpret(p.insn, p.len, &packet), 0);
	packet.pkttype = PACKET_OUTGOING;
	ck_assert_uint_eq(bpf_interpret(p.insn, p.len, &packet), frames_ends[2].end);
	ck_assert_int_eq(bpf_chain_finish_with(&chain, tail[0][0].insn, tail[0][0].len - 2, p.insn, &p.len), BPF_MALFORMED);
	ck_assert_int_eq(bpf_chain_finish_with(&chain, tail[0][0].insn, BPF_CHAIN_MAX, p.insn, &p.len), BPF_TOO_LONG);
	bpf_chain_clear(&chain);
}
END_TEST

int
main(void)
{
	Suite *suite = suite_create("bpf part");
	TCase *code = tcase_create("code"), *hash = tcase_create("hash");
	TCase *peers = tcase_create("peers"), *cut = tcase_create("tail");
	SRunner *runner;
	int failed;

	tcase_add_test(code, code_room);
	tcase_add_test(code, code_jumps);
	tcase_add_test(code, code_label_not_placed);
	suite_add_tcase(suite, code);
	tcase_set_timeout(hash, 300);
	tcase_add_unchecked_fixture(hash, sampled_build, NULL);
	tcase_add_loop_test(hash, hash_both_directions, 0, (int)frames_both_count);
	tcase_add_loop_test(hash, no_hash, 0, (int)frames_unhashed_count);
	tcase_add_test(hash, hash_known);
	tcase_add_test(hash, hash_spread);
	tcase_add_test(hash, hash_of_captures);
	suite_add_tcase(suite, hash);
	tcase_set_timeout(peers, 300);
	tcase_add_loop_test(peers, withheld_sets, 0, 10);
	tcase_add_loop_test(peers, withheld_room, 0, 2);
	tcase_add_loop_test(peers, withheld_not_errors, 0, 2);
	tcase_add_test(peers, withheld_parted);
	tcase_add_loop_test(peers, withheld_frames, 0, 2);
	tcase_add_loop_test(peers, withheld_of_captures, 0, 2);
	suite_add_tcase(suite, peers);
	tcase_set_timeout(cut, 300);
	tcase_add_unchecked_fixture(cut, tails_build, NULL);
	tcase_add_loop_test(cut, tail_ends, 0, (int)frames_ends_count);
	tcase_add_test(cut, tail_of_captures);
	tcase_add_test(cut, tail_behind_parts);
	suite_add_tcase(suite, cut);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
