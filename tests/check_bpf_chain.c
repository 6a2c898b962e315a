/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#include "config.h"

#include <sys/types.h>
#include <sys/socket.h>
#include <arpa/inet.h>
#include <netinet/in.h>
#include <dirent.h>
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <net/if.h>
#include <netpacket/packet.h>

#include <check.h>
#include <linux/filter.h>
#include <linux/if_ether.h>
#include <pcap/pcap.h>

#include "proto/bpf.h"
#include "proto/bpf_part.h"

/*
 * Chains of what libpcap compiles, against the conjunction of their parts: on packets of our own, on those of capture files, and in
 * the kernel.
 */
#define SNAPLEN		262144
#define EXPR_MAX	32
#define CHAIN_PARTS	3
#define PER_PACKET	48	/* chains tried on each packet of a file; the next packet goes on with the next ones */
#define OWN_MARK	0x74657374u

static const char *const expressions[] = {
	"", "ip", "ip6", "arp", "tcp", "udp port 53", "tcp port 80 or tcp port 443", "portrange 1-1023", "net 10.0.0.0/8",
	"src net 192.168.0.0/16 and tcp", "host 2001:db8::1", "icmp or icmp6", "less 100", "greater 600", "ip proto 47",
	"tcp[tcpflags] & (tcp-syn|tcp-fin) != 0", "ip[6:2] & 0x3fff != 0", "(ip[2:2] - ((ip[0] & 0xf) << 2)) > 60",
	"udp[4:2] / udp[6:2] >= 0", "len % 3 = 1", "vlan", "vlan and tcp", "vlan and vlan and ip", "pppoes and ip",
	"mpls or multicast", "not tcp port 8827", "ether[0] & 1 = 0 and ip[16] >= 224",
};
#define EXPR_COUNT	(sizeof(expressions) / sizeof(expressions[0]))
_Static_assert(EXPR_COUNT <= EXPR_MAX, "raise EXPR_MAX");

struct part {
	struct bpf_program	 plain;
	struct bpf_insn		*negated;	/* "return what was not" */
};

struct chain {
	uint8_t		 part[CHAIN_PARTS], count, negate;	/* negate: a bit for each part */
	struct bpf_insn	*insn;
	size_t		 len;
};

struct set {
	int		 linktype;
	struct part	 part[EXPR_MAX];
	size_t		 part_count;
	struct chain	*chain;
	size_t		 chain_count, next;
};

static void
part_compile(struct set *s, pcap_t *handle, const char *expression)
{
	struct part *p = &s->part[s->part_count];

	if (pcap_compile(handle, &p->plain, expression, 1, PCAP_NETMASK_UNKNOWN) == -1)
		return;		/* not of this link type */
	p->negated = calloc(p->plain.bf_len, sizeof(*p->negated));
	ck_assert_ptr_nonnull(p->negated);
	memcpy(p->negated, p->plain.bf_insns, p->plain.bf_len * sizeof(*p->negated));
	for (size_t i = 0; i < p->plain.bf_len; i++)
		if (BPF_CLASS(p->negated[i].code) == BPF_RET)
			p->negated[i].k = p->negated[i].k == 0;
	s->part_count++;
}

static void
chain_build(struct set *s, struct chain *c)
{
	struct bpf_insn out[BPF_CHAIN_MAX];
	struct bpf_chain chain;

	bpf_chain_init(&chain);
	for (size_t i = 0; i < c->count; i++) {
		const struct bpf_program *p = &s->part[c->part[i]].plain;

		ck_assert_int_eq(bpf_chain_add(&chain, "part", p->bf_insns, p->bf_len, (c->negate >> i & 1) != 0), BPF_OK);
	}
	ck_assert_int_eq(bpf_chain_finish(&chain, SNAPLEN, out, &c->len), BPF_OK);
	c->insn = calloc(c->len, sizeof(*c->insn));
	ck_assert_ptr_nonnull(c->insn);
	memcpy(c->insn, out, c->len * sizeof(*c->insn));
	bpf_chain_clear(&chain);
}

/* All ordered pairs in all signs, and with each pair a third part, signs taken in turn. */
static void
chains_build(struct set *s)
{
	size_t n = s->part_count, pair = 0;

	s->chain = calloc(n * n * 5, sizeof(*s->chain));
	ck_assert_ptr_nonnull(s->chain);
	for (size_t i = 0; i < n; i++)
		for (size_t j = 0; j < n; j++, pair++) {
			uint8_t a = (uint8_t)i, b = (uint8_t)j, third = (uint8_t)((i * 7 + j * 3 + 5) % n);

			for (uint8_t negate = 0; negate < 4; negate++)
				s->chain[s->chain_count++] = (struct chain){ .part = { a, b }, .count = 2, .negate = negate };
			s->chain[s->chain_count++] = (struct chain){ .part = { a, b, third }, .count = 3, .negate = pair % 8 };
		}
	for (size_t i = 0; i < s->chain_count; i++)
		chain_build(s, &s->chain[i]);
}

static void
set_init(struct set *s, int linktype)
{
	pcap_t *handle = pcap_open_dead(linktype, SNAPLEN);

	ck_assert_ptr_nonnull(handle);
	memset(s, 0, sizeof(*s));
	s->linktype = linktype;
	for (size_t i = 0; i < EXPR_COUNT; i++)
		part_compile(s, handle, expressions[i]);
	pcap_close(handle);
	ck_assert_uint_gt(s->part_count, 1);
	chains_build(s);
}

static void
set_clear(struct set *s)
{
	for (size_t i = 0; i < s->chain_count; i++)
		free(s->chain[i].insn);
	free(s->chain);
	for (size_t i = 0; i < s->part_count; i++) {
		free(s->part[i].negated);
		pcap_freecode(&s->part[i].plain);
	}
	memset(s, 0, sizeof(*s));
}

/* verdict[sign][part], by the interpreter on the parts alone. */
struct verdicts {
	bool	pass[2][EXPR_MAX];
};

static void
verdicts_of(const struct set *s, const struct bpf_packet *p, struct verdicts *v)
{
	for (size_t i = 0; i < s->part_count; i++) {
		const struct part *part = &s->part[i];

		v->pass[0][i] = bpf_interpret(part->plain.bf_insns, part->plain.bf_len, p) != 0;
		v->pass[1][i] = bpf_interpret(part->negated, part->plain.bf_len, p) != 0;
		if (v->pass[0][i] && v->pass[1][i])
			ck_abort_msg("part %zu accepts what it refuses", i);
	}
}

/* libpcap's own interpreter must agree with ours; only where no ancillary data is asked for. */
static void
check_oracle(const struct set *s, const struct bpf_packet *p, const struct verdicts *v)
{
	struct pcap_pkthdr header = { .caplen = (bpf_u_int32)p->captured_len, .len = (bpf_u_int32)p->len };

	for (size_t i = 0; i < s->part_count; i++)
		if ((pcap_offline_filter(&s->part[i].plain, &header, p->data) != 0) != v->pass[0][i])
			ck_abort_msg("libpcap and bpf_interpret() differ on part %zu", i);
}

static void
check_chain(const struct chain *c, const struct bpf_packet *p, const struct verdicts *v)
{
	bool pass = true;
	uint32_t got = bpf_interpret(c->insn, c->len, p);

	for (size_t i = 0; i < c->count; i++)
		pass = pass && v->pass[c->negate >> i & 1][c->part[i]];
	if (got != (pass ? SNAPLEN : 0))
		ck_abort_msg("parts %u %u %u, negate %x: %u for %zu bytes", c->part[0], c->part[1], c->part[2], c->negate, got,
		    p->captured_len);
}

static void
check_packet(struct set *s, const struct bpf_packet *p, size_t chains)
{
	struct verdicts v;

	verdicts_of(s, p, &v);
	check_oracle(s, p, &v);
	for (size_t i = 0; i < chains; i++, s->next = (s->next + 1) % s->chain_count)
		check_chain(&s->chain[s->next], p, &v);
}

/* --- packets of our own --- */

#define ETH		"\x02\0\0\0\0\1\x02\0\0\0\0\2"
#define ETH_MULTICAST	"\x01\0\x5e\0\0\x05\x02\0\0\0\0\2"
#define IPV4(len, frag, proto, src, dst)	"\x45\0\0" len "\0\1" frag "\x40" proto "\0\0" src dst
#define NET10		"\x0a\1\2\3"
#define NET192		"\xc0\xa8\1\1"
#define V6(next, len)	"\x60\0\0\0\0" len next "\x40\x20\1\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\1\x20\1\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\2"
#define TCP(dport)	"\xc0\0" dport "\0\0\0\1\0\0\0\0\x50\x02\xff\xff\0\0\0\0"
#define UDP(dport, sum)	"\xc0\0" dport "\0\x10" sum "payload!"
#define BYTES(s)	{ (const uint8_t *)(s), sizeof(s) - 1 }

static const struct {
	const uint8_t	*data;
	size_t		 len;
} own[] = {
	BYTES(ETH "\x08\x06\0\1\x08\0\6\4\0\1\x02\0\0\0\0\1" NET10 "\0\0\0\0\0\0" NET192),
	BYTES(ETH "\x08\0" IPV4("\x28", "\x40\0", "\6", NET192, NET10) TCP("\0\x50")),
	BYTES(ETH "\x08\0" IPV4("\x28", "\x40\0", "\6", NET192, NET10) TCP("\x22\x7b")),
	BYTES(ETH "\x08\0" IPV4("\x24", "\0\0", "\x11", NET10, NET192) UDP("\0\x35", "\x12\x34")),
	BYTES(ETH "\x08\0" IPV4("\x24", "\0\0", "\x11", NET10, NET192) UDP("\0\x35", "\0\0")),
	BYTES(ETH "\x08\0" IPV4("\x24", "\x20\x05", "\x11", NET10, NET192) "fragment, no header"),
	BYTES(ETH_MULTICAST "\x08\0" IPV4("\x20", "\0\0", "\1", NET10, "\xe0\0\0\5") "\x08\0\0\0\0\1\0\1ping"),
	BYTES(ETH "\x08\0\x4f\0\0\x60\0\1\0\0\x40\6\0\0" NET10 NET192 "0123456789012345678901234567890123456789" TCP("\1\xbb")),
	BYTES(ETH "\x86\xdd" V6("\6", "\x14") TCP("\0\x50")),
	BYTES(ETH "\x86\xdd" V6("\x3a", "\x08") "\x80\0\0\0\0\1\0\1"),
	BYTES(ETH "\x86\xdd" V6("\0", "\x10") "\6\0\1\4\0\0\0\0"),
	BYTES(ETH "\x81\0\0\x64\x08\0" IPV4("\x28", "\x40\0", "\6", NET192, NET10) TCP("\0\x50")),
	BYTES(ETH "\x88\xa8\0\x05\x81\0\0\x64\x08\0" IPV4("\x24", "\0\0", "\x11", NET10, NET192) UDP("\0\x35", "\0\1")),
	BYTES(ETH "\x88\x64\x11\0\0\1\0\x1a\0\x21" IPV4("\x28", "\x40\0", "\6", NET192, NET10) TCP("\0\x50")),
	BYTES(ETH "\x88\x47\0\1\1\x40" IPV4("\x28", "\x40\0", "\6", NET192, NET10) TCP("\0\x50")),
	BYTES(ETH "\x08\0" IPV4("\x30", "\0\0", "\x2f", NET10, NET192) "\0\0\x08\0"
	    IPV4("\x18", "\0\0", "\1", NET10, NET10) "ping"),
	BYTES(ETH "\0\x26\x42\x42\3\0\0\0\0\0"),
};
#define OWN_COUNT	(sizeof(own) / sizeof(own[0]))

static struct bpf_packet
own_packet(size_t which, size_t captured_len)
{
	return (struct bpf_packet){ .data = own[which].data, .captured_len = captured_len, .len = captured_len };
}

START_TEST(own_packets)
{
	struct bpf_packet p = own_packet((size_t)_i, own[_i].len);
	struct set s;

	set_init(&s, DLT_EN10MB);
	ck_assert_uint_eq(s.part_count, EXPR_COUNT);
	check_packet(&s, &p, s.chain_count);
	while (p.captured_len-- > 0) {
		p.len = p.captured_len;
		check_packet(&s, &p, PER_PACKET);
	}
	set_clear(&s);
}
END_TEST

/* What only works by jumping back is refused, before the kernel does. */
START_TEST(backward_jumps)
{
	pcap_t *handle = pcap_open_dead(DLT_EN10MB, SNAPLEN);
	struct bpf_program program;
	struct bpf_chain chain;

	ck_assert_ptr_nonnull(handle);
	ck_assert_int_eq(pcap_compile(handle, &program, "ip6 protochain 6", 1, PCAP_NETMASK_UNKNOWN), 0);
	bpf_chain_init(&chain);
	ck_assert_int_eq(bpf_chain_add(&chain, "protochain", program.bf_insns, program.bf_len, false), BPF_MALFORMED);
	bpf_chain_clear(&chain);
	pcap_freecode(&program);
	pcap_close(handle);
}
END_TEST

/* --- capture files --- */

static size_t
check_handle(pcap_t *handle, struct set *s)
{
	struct pcap_pkthdr *header;
	const u_char *data;
	size_t packets = 0;

	while (pcap_next_ex(handle, &header, &data) == 1) {
		struct bpf_packet p = { .data = data, .captured_len = header->caplen, .len = header->len };

		check_packet(s, &p, PER_PACKET);
		packets++;
	}
	return packets;
}

static size_t
check_file(const char *path, struct set *s)
{
	char error[PCAP_ERRBUF_SIZE];
	pcap_t *handle = pcap_open_offline(path, error);
	size_t packets;

	if (handle == NULL) {
		printf("check_bpf_chain: %s: not read: %s\n", path, error);
		return 0;
	}
	if (s->chain != NULL && s->linktype != pcap_datalink(handle))
		set_clear(s);
	if (s->chain == NULL)
		set_init(s, pcap_datalink(handle));
	packets = check_handle(handle, s);
	pcap_close(handle);
	return packets;
}

static const char *
captures_folder(char *path, size_t path_size)
{
	const char *folder = getenv("VMTAP_CAPTURES"), *srcdir = getenv("srcdir");

	if (folder != NULL)
		return folder;
	snprintf(path, path_size, "%s/../shared/captures", srcdir != NULL ? srcdir : ".");
	return path;
}

START_TEST(capture_files)
{
	struct set s = { 0 };
	char folder_path[512], path[1024];
	const char *folder = captures_folder(folder_path, sizeof(folder_path));
	struct dirent **entries;
	int count = scandir(folder, &entries, NULL, alphasort);
	size_t packets = 0;

	if (count == -1) {
		printf("check_bpf_chain: no folder %s, so no capture files are tried; VMTAP_CAPTURES names another\n", folder);
		return;
	}
	for (int i = 0; i < count; i++) {
		snprintf(path, sizeof(path), "%s/%s", folder, entries[i]->d_name);
		if (strstr(entries[i]->d_name, ".pcap") != NULL)
			packets += check_file(path, &s);
		free(entries[i]);
	}
	free(entries);
	set_clear(&s);
	ck_assert_uint_gt(packets, 0);
	printf("check_bpf_chain: %zu packets of %s\n", packets, folder);
}
END_TEST

/* --- the kernel --- */

static void
attach(int fd, struct bpf_insn *insn, size_t len)
{
	struct sock_fprog program = { .len = (unsigned short)len, .filter = (struct sock_filter *)insn };

	ck_assert_msg(setsockopt(fd, SOL_SOCKET, SO_ATTACH_FILTER, &program, sizeof(program)) == 0,
	    "the kernel refused %zu instructions: %s", len, strerror(errno));
}

/* A filter on a datagram socket sees each datagram as a packet: the kernel itself judges bytes of our own. */
static void
check_in_kernel(const int pair[2], const struct chain *c, const struct set *s, size_t which)
{
	struct bpf_packet p = own_packet(which, own[which].len);
	struct verdicts v;
	char received[512];
	bool pass;

	verdicts_of(s, &p, &v);
	check_chain(c, &p, &v);
	pass = bpf_interpret(c->insn, c->len, &p) != 0;
	if (send(pair[0], p.data, p.len, MSG_DONTWAIT) != (ssize_t)p.len)
		ck_abort_msg("send: %s", strerror(errno));
	if (recv(pair[1], received, sizeof(received), MSG_DONTWAIT) != (pass ? (ssize_t)p.len : -1))
		ck_abort_msg("kernel and bpf_interpret() differ on packet %zu", which);
}

START_TEST(kernel_agrees)
{
	struct set s;
	int pair[2];

	set_init(&s, DLT_EN10MB);
	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_DGRAM, 0, pair), 0);
	for (size_t i = 0; i < s.chain_count; i++) {
		attach(pair[1], s.chain[i].insn, s.chain[i].len);
		for (size_t k = 0; k < OWN_COUNT; k++)
			check_in_kernel(pair, &s.chain[i], &s, k);
	}
	close(pair[0]);
	close(pair[1]);
	set_clear(&s);
}
END_TEST

START_TEST(kernel_cuts_to_snaplen)
{
	struct bpf_insn out[BPF_CHAIN_MAX];
	struct bpf_chain chain;
	char received[512];
	size_t len;
	int pair[2];

	bpf_chain_init(&chain);
	ck_assert_int_eq(bpf_chain_finish(&chain, 34, out, &len), BPF_OK);
	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_DGRAM, 0, pair), 0);
	attach(pair[1], out, len);
	ck_assert_int_eq(send(pair[0], own[1].data, own[1].len, 0), (ssize_t)own[1].len);
	ck_assert_int_eq(recv(pair[1], received, sizeof(received), MSG_DONTWAIT), 34);
	close(pair[0]);
	close(pair[1]);
}
END_TEST

START_TEST(kernel_takes_ready_made_parts)
{
	struct bpf_insn part[BPF_PART_MAX], out[BPF_CHAIN_MAX];
	struct bpf_chain chain;
	size_t len;
	int fd = socket(AF_INET, SOCK_DGRAM, 0);

	ck_assert_int_ne(fd, -1);
	bpf_chain_init(&chain);
	for (int negate = 0; negate < 2; negate++) {
		ck_assert_int_eq(bpf_chain_add(&chain, "mark", part, bpf_part_own_mark(part, OWN_MARK), negate), BPF_OK);
		ck_assert_int_eq(bpf_chain_add(&chain, "in", part, bpf_part_direction(part, true), negate), BPF_OK);
		ck_assert_int_eq(bpf_chain_add(&chain, "out", part, bpf_part_direction(part, false), negate), BPF_OK);
		ck_assert_int_eq(bpf_chain_add(&chain, "nothing", part, bpf_part_nothing(part), negate), BPF_OK);
	}
	ck_assert_int_eq(bpf_chain_finish(&chain, SNAPLEN, out, &len), BPF_OK);
	attach(fd, out, len);
	bpf_chain_clear(&chain);
	close(fd);
}
END_TEST

/* --- live handles, whose filters ask for ancillary data; they need CAP_NET_RAW --- */

static const char *const live_expressions[] = {
	"inbound", "outbound", "vlan", "vlan 100", "not vlan", "vlan and outbound", "vlan 100 and ip", "vlan and vlan",
	"inbound and arp", "tcp",
};

static pcap_t *
open_lo(void)
{
	char error[PCAP_ERRBUF_SIZE];
	pcap_t *handle = pcap_create("lo", error);

	ck_assert_ptr_nonnull(handle);
	if (pcap_activate(handle) >= 0)
		return handle;
	printf("check_bpf_chain: no capture on lo: %s: live filters are not tried\n", pcap_geterr(handle));
	pcap_close(handle);
	return NULL;
}

static bool
is_vlan_type(const uint8_t *p)
{
	return memcmp(p, "\x81\0", 2) == 0 || memcmp(p, "\x88\xa8", 2) == 0 || memcmp(p, "\x91\0", 2) == 0;
}

/* What "inbound", "vlan" and "vlan 100" mean, without libpcap. */
static void
check_meaning(const struct set *s, const struct verdicts *v, const struct bpf_packet *p)
{
	bool in_packet = is_vlan_type(p->data + 12), hundred = memcmp(p->data + 14, "\0\x64", 2) == 0;
	bool vlan = p->vlan_present || in_packet;
	bool vlan_100 = p->vlan_present ? (p->vlan_tci & 0xfff) == 100 : in_packet && hundred;

	ck_assert_uint_gt(s->part_count, 4);
	ck_assert_int_eq(v->pass[0][0], p->pkttype != PACKET_OUTGOING);
	ck_assert_int_eq(v->pass[0][1], p->pkttype == PACKET_OUTGOING);
	ck_assert_int_eq(v->pass[0][2], vlan);
	ck_assert_int_eq(v->pass[0][3], vlan_100);
	ck_assert_int_eq(v->pass[0][4], !vlan);
}

static void
check_variant(const struct set *s, const struct bpf_packet *p)
{
	struct verdicts v;

	verdicts_of(s, p, &v);
	check_meaning(s, &v, p);
	for (size_t i = 0; i < s->chain_count; i++)
		check_chain(&s->chain[i], p, &v);
}

static void
check_variants(const struct set *s, size_t which)
{
	static const uint16_t tcis[] = { 100, 0x2064, 5 };
	struct bpf_packet p = own_packet(which, own[which].len);

	for (p.pkttype = PACKET_HOST; p.pkttype <= PACKET_OUTGOING; p.pkttype++) {
		p.vlan_present = false;
		p.vlan_tci = 0;
		check_variant(s, &p);
		p.vlan_present = true;
		for (size_t i = 0; i < sizeof(tcis) / sizeof(tcis[0]); i++) {
			p.vlan_tci = tcis[i];
			check_variant(s, &p);
		}
	}
}

START_TEST(live_filters)
{
	struct set s = { .linktype = DLT_EN10MB };
	pcap_t *handle = open_lo();
	int fd;

	if (handle == NULL)
		return;
	for (size_t i = 0; i < sizeof(live_expressions) / sizeof(live_expressions[0]); i++)
		part_compile(&s, handle, live_expressions[i]);
	ck_assert_uint_eq(s.part_count, sizeof(live_expressions) / sizeof(live_expressions[0]));
	pcap_close(handle);
	chains_build(&s);
	for (size_t i = 0; i < OWN_COUNT; i++)
		check_variants(&s, i);
	ck_assert_int_ne(fd = socket(AF_PACKET, SOCK_RAW, 0), -1);
	for (size_t i = 0; i < s.chain_count; i++)
		attach(fd, s.chain[i].insn, s.chain[i].len);
	close(fd);
	set_clear(&s);
}
END_TEST

/* A bound UDP socket of lo, and its address. */
static int
udp_receiver(struct sockaddr_in *address)
{
	int fd = socket(AF_INET, SOCK_DGRAM, 0);
	socklen_t len = sizeof(*address);

	*address = (struct sockaddr_in){ .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	ck_assert_int_ne(fd, -1);
	ck_assert_int_eq(bind(fd, (struct sockaddr *)address, sizeof(*address)), 0);
	ck_assert_int_eq(getsockname(fd, (struct sockaddr *)address, &len), 0);
	return fd;
}

/* A packet socket on lo that takes UDP to the port, but not what we sent with our mark. */
static int
unmarked_tap(uint16_t port)
{
	struct sockaddr_ll lo = { .sll_family = AF_PACKET, .sll_protocol = htons(ETH_P_ALL) };
	struct bpf_insn mark[BPF_PART_MAX], out[BPF_CHAIN_MAX];
	struct set s = { .linktype = DLT_EN10MB };
	pcap_t *handle = pcap_open_dead(DLT_EN10MB, SNAPLEN);
	struct bpf_chain chain;
	char expression[64];
	size_t len;
	int fd = socket(AF_PACKET, SOCK_RAW, 0);

	ck_assert_int_ne(fd, -1);
	snprintf(expression, sizeof(expression), "udp dst port %u", port);
	part_compile(&s, handle, expression);
	pcap_close(handle);
	bpf_chain_init(&chain);
	ck_assert_int_eq(bpf_chain_add(&chain, "own", mark, bpf_part_own_mark(mark, OWN_MARK), true), BPF_OK);
	ck_assert_int_eq(bpf_chain_add(&chain, "port", s.part[0].plain.bf_insns, s.part[0].plain.bf_len, false), BPF_OK);
	ck_assert_int_eq(bpf_chain_finish(&chain, SNAPLEN, out, &len), BPF_OK);
	attach(fd, out, len);
	bpf_chain_clear(&chain);
	set_clear(&s);
	lo.sll_ifindex = (int)if_nametoindex("lo");
	ck_assert_int_eq(bind(fd, (struct sockaddr *)&lo, sizeof(lo)), 0);
	return fd;
}

static void
send_byte(const struct sockaddr_in *to, char byte, uint32_t mark)
{
	int fd = socket(AF_INET, SOCK_DGRAM, 0);

	ck_assert_int_ne(fd, -1);
	ck_assert_int_eq(setsockopt(fd, SOL_SOCKET, SO_MARK, &mark, sizeof(mark)), 0);
	ck_assert_int_eq(sendto(fd, &byte, 1, 0, (const struct sockaddr *)to, sizeof(*to)), 1);
	close(fd);
}

/* Counts the copies of each byte sent, until the unmarked one has come in. */
static void
count_copies(int tap, unsigned sent[2], unsigned arrived[2])
{
	struct sockaddr_ll from;
	struct pollfd p = { .fd = tap, .events = POLLIN };
	uint8_t data[128];

	while (arrived[0] == 0) {
		socklen_t len = sizeof(from);

		ck_assert_int_eq(poll(&p, 1, 5000), 1);
		ck_assert_int_ge(recvfrom(tap, data, sizeof(data), 0, (struct sockaddr *)&from, &len), 43);
		ck_assert(data[42] == 'm' || data[42] == 'u');
		(from.sll_pkttype == PACKET_OUTGOING ? sent : arrived)[data[42] == 'm']++;
	}
}

START_TEST(own_mark_in_kernel)
{
	unsigned sent[2] = { 0 }, arrived[2] = { 0 };
	struct sockaddr_in address;
	pcap_t *handle = open_lo();
	int receiver, tap;

	if (handle == NULL)
		return;
	pcap_close(handle);
	receiver = udp_receiver(&address);
	tap = unmarked_tap(ntohs(address.sin_port));
	send_byte(&address, 'm', OWN_MARK);
	send_byte(&address, 'u', 0);
	count_copies(tap, sent, arrived);
	ck_assert_uint_eq(sent[1], 0);
	ck_assert_uint_eq(sent[0], 1);
	ck_assert_uint_eq(arrived[1], 1);
	close(tap);
	close(receiver);
}
END_TEST

int
main(void)
{
	Suite *suite = suite_create("bpf chain");
	TCase *tc = tcase_create("packets"), *kernel = tcase_create("kernel");
	SRunner *runner;
	int failed;

	tcase_set_timeout(tc, 300);
	tcase_set_timeout(kernel, 120);
	tcase_add_loop_test(tc, own_packets, 0, OWN_COUNT);
	tcase_add_test(tc, backward_jumps);
	tcase_add_test(tc, capture_files);
	suite_add_tcase(suite, tc);
	tcase_add_test(kernel, kernel_agrees);
	tcase_add_test(kernel, kernel_cuts_to_snaplen);
	tcase_add_test(kernel, kernel_takes_ready_made_parts);
	tcase_add_test(kernel, live_filters);
	tcase_add_test(kernel, own_mark_in_kernel);
	suite_add_tcase(suite, kernel);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
