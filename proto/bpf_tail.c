/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#include "config.h"

#include <sys/types.h>
#include <netinet/in.h>

#include <linux/if_ether.h>
#include <pcap/bpf.h>

#include "proto/bpf_part.h"
#include "proto/bpf_walk.h"

/*
 * Classic BPF has no way back, so each level of encapsulation has its own copy of what reads a network header. What ends a packet's
 * headers (the extension headers of IPv6, the lengths of transport headers) stands once, behind all levels:
 *
 *	level 0 -> level 1 -> level 2 -> extensions -> transport -> end
 */
#define LEVELS		3	/* outermost, and two of what is encapsulated */
#define EXTENSIONS	3	/* behind all levels */
#define M_WORD		0
#define VXLAN_PORT	4789
#define VXLAN_VNI	0x08		/* the first byte, by RFC 7348; a group policy beside it, by its draft */
#define VXLAN_POLICY	0x80
#define GENEVE_PORT	6081
#define GENEVE_RESERVED	0xc03f0000	/* version 0; RFC 8926 */
#define ETH_P_TEB	0x6558	/* Ethernet in GRE and Geneve */
#define PPP_IP		0x0021
#define PPP_IPV6	0x0057

struct tail {
	struct bpf_code	 code;
	struct bpf_label ethernet[LEVELS], type[LEVELS], ip[LEVELS];
	struct bpf_label extensions;		/* A = protocol, no tunnel */
	struct bpf_label fragment, arp, end;	/* end: X behind the headers */
	struct bpf_label cut;			/* its headers go on behind the packet's end, or say so */
};

/* What has jumped far ahead so far goes on from here. */
static void
relay_ends(struct tail *t)
{
	bpf_code_relay(&t->code, &t->end);
	bpf_code_relay(&t->code, &t->cut);
	bpf_code_relay(&t->code, &t->arp);
}

static void
skip(struct bpf_code *code, uint32_t len)
{
	bpf_code_stmt(code, BPF_MISC | BPF_TXA, 0);
	bpf_code_stmt(code, BPF_ALU | BPF_ADD | BPF_K, len);
	bpf_code_stmt(code, BPF_MISC | BPF_TAX, 0);
}

static void
add_a(struct bpf_code *code)
{
	bpf_code_stmt(code, BPF_ALU | BPF_ADD | BPF_X, 0);
	bpf_code_stmt(code, BPF_MISC | BPF_TAX, 0);
}

/* RFC 3032: the last label has the bottom bit. */
static void
mpls(struct tail *t)
{
	struct bpf_label bottom = { 0 };

	for (int label = 0; label < 3; label++) {
		bpf_walk_pass(&t->code, 4, &t->cut);
		bpf_code_stmt(&t->code, BPF_LD | BPF_B | BPF_IND, (uint32_t)-2);
		bpf_code_if(&t->code, BPF_JSET, 1, &bottom);
	}
	bpf_code_goto(&t->code, &t->end);
	bpf_code_here(&t->code, &bottom);
	bpf_code_goto(&t->code, &t->ip[0]);
}

static void
pppoe(struct tail *t)
{
	bpf_walk_pass(&t->code, 8, &t->cut);
	bpf_code_stmt(&t->code, BPF_LD | BPF_H | BPF_IND, (uint32_t)-2);
	bpf_code_if(&t->code, BPF_JEQ, PPP_IP, &t->ip[0]);
	bpf_code_if(&t->code, BPF_JEQ, PPP_IPV6, &t->ip[0]);
	bpf_code_goto(&t->code, &t->end);
}

/* From A = Ethertype to the network header. */
static void
read_type(struct tail *t, unsigned level)
{
	struct bpf_label is_mpls = { 0 }, is_pppoe = { 0 };
	struct bpf_code *code = &t->code;

	bpf_walk_tags(code, 2, &t->cut);
	bpf_code_if(code, BPF_JEQ, ETH_P_IP, &t->ip[level]);
	bpf_code_if(code, BPF_JEQ, ETH_P_IPV6, &t->ip[level]);
	bpf_code_if(code, BPF_JEQ, ETH_P_ARP, &t->arp);
	if (level == 0) {
		bpf_code_if(code, BPF_JEQ, ETH_P_MPLS_UC, &is_mpls);
		bpf_code_if(code, BPF_JEQ, ETH_P_MPLS_MC, &is_mpls);
		bpf_code_if(code, BPF_JEQ, ETH_P_PPP_SES, &is_pppoe);
	}
	bpf_code_goto(code, &t->end);
	if (level == 0) {
		bpf_code_here(code, &is_mpls);
		mpls(t);
		bpf_code_here(code, &is_pppoe);
		pppoe(t);
	}
}

/* To "transport" with A = protocol. */
static void
read_ip(struct tail *t, unsigned level, struct bpf_label *transport)
{
	struct bpf_label v6 = { 0 };
	struct bpf_code *code = &t->code;

	bpf_code_here(code, &t->ip[level]);
	bpf_walk_version(code, &v6, &t->end, &t->cut);
	bpf_walk_v4(code);
	bpf_code_if(code, BPF_JSET, 0x1fff0000, &t->end);
	bpf_code_stmt(code, BPF_ALU | BPF_AND | BPF_K, 0xff);
	bpf_code_goto(code, transport);
	relay_ends(t);
	bpf_code_here(code, &v6);
	bpf_walk_v6(code, &t->cut);
	if (level == 0)		/* RFC 2473 puts destination options before what it carries, segment routing a routing header */
		bpf_walk_extension(code, &t->fragment, transport, &t->cut);
	bpf_code_here(code, transport);
}

/* From A = protocol type of GRE or Geneve. */
static void
enter(struct tail *t, unsigned level)
{
	bpf_code_if(&t->code, BPF_JEQ, ETH_P_TEB, &t->ethernet[level]);
	bpf_code_goto(&t->code, &t->type[level]);
}

/* RFC 8926: X behind the UDP header. */
static void
geneve(struct tail *t, unsigned level)
{
	struct bpf_code *code = &t->code;

	bpf_walk_have(code, 8, &t->end);
	bpf_code_stmt(code, BPF_LD | BPF_W | BPF_IND, 0);
	bpf_code_if(code, BPF_JSET, GENEVE_RESERVED, &t->end);
	bpf_code_stmt(code, BPF_ST, M_WORD);
	skip(code, 8);
	bpf_code_stmt(code, BPF_LD | BPF_MEM, M_WORD);
	bpf_code_stmt(code, BPF_ALU | BPF_RSH | BPF_K, 22);
	bpf_code_stmt(code, BPF_ALU | BPF_AND | BPF_K, 0x3f << 2);
	add_a(code);
	bpf_code_stmt(code, BPF_LD | BPF_MEM, M_WORD);
	bpf_code_stmt(code, BPF_ALU | BPF_AND | BPF_K, 0xffff);
	enter(t, level + 1);
}

static void
udp(struct tail *t, unsigned level)
{
	struct bpf_label is_vxlan = { 0 }, is_geneve = { 0 };
	struct bpf_code *code = &t->code;

	bpf_walk_pass(code, 8, &t->cut);
	bpf_code_stmt(code, BPF_LD | BPF_H | BPF_IND, (uint32_t)-6);
	bpf_code_if(code, BPF_JEQ, VXLAN_PORT, &is_vxlan);
	bpf_code_if(code, BPF_JEQ, GENEVE_PORT, &is_geneve);
	bpf_code_goto(code, &t->end);
	bpf_code_here(code, &is_vxlan);
	bpf_walk_have(code, 8, &t->end);
	bpf_code_stmt(code, BPF_LD | BPF_B | BPF_IND, 0);
	bpf_code_stmt(code, BPF_ALU | BPF_AND | BPF_K, (uint8_t)~VXLAN_POLICY);
	bpf_code_unless(code, BPF_JEQ, VXLAN_VNI, &t->end);
	skip(code, 8);
	bpf_code_goto(code, &t->ethernet[level + 1]);
	bpf_code_here(code, &is_geneve);
	geneve(t, level);
}

/* RFC 2890: checksum, key and sequence number are 4 bytes each where their bit is set. Another version, or RFC 1701's routing, ends
 * behind the first 4 bytes. */
static void
gre(struct tail *t, unsigned level)
{
	static const uint32_t shifts[] = { 29, 27, 26 };
	struct bpf_code *code = &t->code;

	bpf_walk_pass(code, 4, &t->cut);
	bpf_code_stmt(code, BPF_LD | BPF_W | BPF_IND, (uint32_t)-4);
	bpf_code_if(code, BPF_JSET, 0x40070000, &t->end);
	bpf_code_stmt(code, BPF_ST, M_WORD);
	for (int i = 0; i < 3; i++) {
		bpf_code_stmt(code, BPF_ALU | BPF_RSH | BPF_K, shifts[i]);
		bpf_code_stmt(code, BPF_ALU | BPF_AND | BPF_K, 4);
		add_a(code);
		bpf_code_stmt(code, BPF_LD | BPF_MEM, M_WORD);
	}
	bpf_code_stmt(code, BPF_ALU | BPF_AND | BPF_K, 0xffff);
	enter(t, level + 1);
}

/* From A = protocol into what it carries, if it is a tunnel. */
static void
tunnels(struct tail *t, unsigned level)
{
	struct bpf_label is_udp = { 0 }, is_gre = { 0 }, is_ip = { 0 };
	struct bpf_code *code = &t->code;

	bpf_code_if(code, BPF_JEQ, IPPROTO_UDP, &is_udp);
	bpf_code_if(code, BPF_JEQ, IPPROTO_GRE, &is_gre);
	bpf_code_if(code, BPF_JEQ, IPPROTO_IPIP, &is_ip);
	bpf_code_if(code, BPF_JEQ, IPPROTO_IPV6, &is_ip);
	bpf_code_goto(code, &t->extensions);
	bpf_code_here(code, &is_ip);
	bpf_code_goto(code, &t->ip[level + 1]);
	bpf_code_here(code, &is_udp);
	udp(t, level);
	bpf_code_here(code, &is_gre);
	gre(t, level);
	relay_ends(t);
	bpf_code_relay(code, &t->fragment);
}

static void
read_level(struct tail *t, unsigned level)
{
	struct bpf_label transport = { 0 };

	if (level > 0) {
		bpf_code_here(&t->code, &t->ethernet[level]);
		bpf_walk_pass(&t->code, ETH_HLEN, &t->cut);
		bpf_code_stmt(&t->code, BPF_LD | BPF_H | BPF_IND, (uint32_t)-2);
		bpf_code_here(&t->code, &t->type[level]);
	}
	read_type(t, level);
	read_ip(t, level, &transport);
	if (level + 1 < LEVELS)
		tunnels(t, level);
}

/* To "transport" from A = protocol of the last network header. */
static void
read_extensions(struct tail *t, struct bpf_label *transport)
{
	struct bpf_code *code = &t->code;

	bpf_code_here(code, &t->extensions);
	for (int i = 0; i < EXTENSIONS; i++)
		bpf_walk_extension(code, &t->fragment, transport, &t->cut);
	bpf_code_unless(code, BPF_JEQ, IPPROTO_FRAGMENT, transport);
	bpf_code_here(code, &t->fragment);
	bpf_walk_pass(code, 8, &t->cut);
	bpf_code_stmt(code, BPF_LD | BPF_W | BPF_IND, (uint32_t)-8);
	bpf_code_if(code, BPF_JSET, 0xfff8, &t->end);
	bpf_code_stmt(code, BPF_ALU | BPF_RSH | BPF_K, 24);
	bpf_code_here(code, transport);
}

/* X += the header's length by A = protocol. */
static void
read_transport(struct tail *t)
{
	struct bpf_label tcp = { 0 }, eight = { 0 }, twelve = { 0 }, add = { 0 };
	struct bpf_code *code = &t->code;

	bpf_code_if(code, BPF_JEQ, IPPROTO_TCP, &tcp);
	bpf_code_if(code, BPF_JEQ, IPPROTO_UDP, &eight);
	bpf_code_if(code, BPF_JEQ, IPPROTO_ICMP, &eight);
	bpf_code_if(code, BPF_JEQ, IPPROTO_ICMPV6, &eight);
	bpf_code_if(code, BPF_JEQ, IPPROTO_ESP, &eight);
	bpf_code_if(code, BPF_JEQ, IPPROTO_SCTP, &twelve);
	bpf_code_goto(code, &t->end);
	bpf_code_here(code, &eight);
	bpf_code_stmt(code, BPF_LD | BPF_IMM, 8);
	bpf_code_goto(code, &add);
	bpf_code_here(code, &twelve);
	bpf_code_stmt(code, BPF_LD | BPF_IMM, 12);
	bpf_code_goto(code, &add);
	bpf_code_here(code, &t->arp);
	bpf_code_stmt(code, BPF_LD | BPF_IMM, 28);
	bpf_code_goto(code, &add);
	bpf_code_here(code, &tcp);
	bpf_walk_have(code, 13, &t->cut);
	bpf_code_stmt(code, BPF_LD | BPF_B | BPF_IND, 12);
	bpf_code_stmt(code, BPF_ALU | BPF_RSH | BPF_K, 4);
	bpf_code_stmt(code, BPF_ALU | BPF_LSH | BPF_K, 2);
	bpf_code_if(code, BPF_JGE, 20, &add);
	bpf_code_stmt(code, BPF_LD | BPF_IMM, 20);
	bpf_code_here(code, &add);
	add_a(code);
}

/* 0 would refuse the packet. */
static void
return_len(struct tail *t, unsigned payload, uint32_t snaplen)
{
	struct bpf_label nothing = { 0 }, all = { 0 };
	struct bpf_code *code = &t->code;

	bpf_code_here(code, &t->end);
	bpf_code_stmt(code, BPF_MISC | BPF_TXA, 0);
	bpf_code_stmt(code, BPF_ALU | BPF_ADD | BPF_K, payload);
	bpf_code_if(code, BPF_JEQ, 0, &nothing);
	bpf_code_if(code, BPF_JGE, snaplen, &all);
	bpf_code_stmt(code, BPF_RET | BPF_A, 0);
	bpf_code_here(code, &nothing);
	bpf_code_return(code, snaplen > 0);
	bpf_code_here(code, &t->cut);
	if (BPF_TAIL_CUT + payload < snaplen)
		bpf_code_return(code, BPF_TAIL_CUT + payload);
	bpf_code_here(code, &all);
	bpf_code_return(code, snaplen);
}

size_t
bpf_tail_headers(struct bpf_insn *insn, size_t room, enum bpf_link link, unsigned payload, uint32_t snaplen)
{
	struct tail t = { .code = { .room = 0 } };
	struct bpf_label transport = { 0 };

	bpf_code_init(&t.code, insn, room);
	if (snaplen > INT32_MAX)	/* longer than any packet; the sum must not wrap around */
		snaplen = INT32_MAX;
	if (payload >= snaplen) {
		bpf_code_return(&t.code, snaplen);
		return bpf_code_end(&t.code);
	}
	bpf_walk_link(&t.code, link, &t.cut);
	for (unsigned level = 0; level < LEVELS; level++)
		read_level(&t, level);
	read_extensions(&t, &transport);
	read_transport(&t);
	return_len(&t, payload, snaplen);
	return bpf_code_end(&t.code);
}
