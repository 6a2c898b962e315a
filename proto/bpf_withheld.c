/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#include "config.h"

#include <sys/types.h>
#include <sys/socket.h>
#include <stdlib.h>
#include <string.h>
#include <netpacket/packet.h>

#include <linux/filter.h>
#include <pcap/bpf.h>

#include "proto/bpf_flow.h"
#include "proto/bpf_part.h"

#define WORDS		4	/* of an address; IPv4 has one */
#define TOGETHER	6	/* so many values are compared one after the other; more are halved first */
#define NEAR		24	/* addresses whose code a conditional jump gets across, in the worst case */
#define NO_NEAR		180	/* a "no" is due, so that the jumps of what comes next reach it too */

struct peer_key {
	uint32_t	word[WORDS];
};

/* A search tree over first words; below each of them one over those next words that stand behind it. */
struct search {
	struct bpf_code		*code;
	struct bpf_label	*yes;		/* NULL: accepted */
	struct bpf_label	 no;
	size_t			 no_since;	/* where its first jump is */
	uint32_t		 m;		/* of the address in M[] */
	unsigned		 words;
};

static int
key_compare(const void *a, const void *b)
{
	const struct peer_key *x = a, *y = b;

	for (int i = 0; i < WORDS; i++)
		if (x->word[i] != y->word[i])
			return x->word[i] < y->word[i] ? -1 : 1;
	return 0;
}

static struct peer_key
peer_key(const struct bpf_peer *peer)
{
	size_t words = peer->family == AF_INET ? 1 : WORDS;
	struct peer_key key = { { 0 } };

	for (size_t i = 0; i < words; i++) {
		const uint8_t *p = peer->address + 4 * i;

		key.word[i] = (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
	}
	return key;
}

/* Those of the family, sorted, each once. */
static size_t
keys_of(const struct bpf_peer *peer, size_t count, uint8_t family, struct peer_key *key)
{
	size_t n = 0, unique = 0;

	for (size_t i = 0; i < count; i++)
		if (peer[i].family == family)
			key[n++] = peer_key(&peer[i]);
	qsort(key, n, sizeof(*key), key_compare);
	for (size_t i = 0; i < n; i++)
		if (unique == 0 || key_compare(&key[unique - 1], &key[i]) != 0)
			key[unique++] = key[i];
	return unique;
}

/* How many from the first one on have its word. */
static size_t
run_len(const struct peer_key *key, size_t count, unsigned word)
{
	size_t n = 1;

	while (n < count && key[n].word[word] == key[0].word[word])
		n++;
	return n;
}

static size_t
distinct(const struct peer_key *key, size_t count, unsigned word)
{
	size_t n = 0;

	for (size_t i = 0; i < count; i += run_len(key + i, count - i, word))
		n++;
	return n;
}

/* Where the run begins that has so many others before it. */
static size_t
run_start(const struct peer_key *key, size_t count, unsigned word, size_t before)
{
	size_t i = 0;

	while (before-- > 0)
		i += run_len(key + i, count - i, word);
	return i;
}

static void	search_word(struct search *, const struct peer_key *, size_t count, unsigned word);

static void
no_unless(struct search *s, uint32_t value)
{
	if (s->no.last == 0)
		s->no_since = s->code->len;
	bpf_code_unless(s->code, BPF_JEQ, value, &s->no);
}

static void
search_last(struct search *s, const struct peer_key *key, size_t count, unsigned word)
{
	struct bpf_label yes = { 0 };

	for (size_t i = 0; i + 1 < count; i++)
		bpf_code_if(s->code, BPF_JEQ, key[i].word[word], &yes);
	no_unless(s, key[count - 1].word[word]);
	bpf_code_here(s->code, &yes);
	if (s->yes != NULL)
		bpf_code_goto(s->code, s->yes);
	else
		bpf_code_return(s->code, 1);
	if (s->code->len - s->no_since > NO_NEAR) {
		bpf_code_here(s->code, &s->no);
		bpf_code_return(s->code, 0);
	}
}

/* Those that have this word alike. Goes on behind with the same A if it is another one. */
static void
search_run(struct search *s, const struct peer_key *key, size_t count, unsigned word, bool is_last)
{
	struct bpf_label here = { 0 }, other = { 0 };

	if (is_last) {
		no_unless(s, key->word[word]);
	} else if (count <= NEAR) {
		bpf_code_unless(s->code, BPF_JEQ, key->word[word], &other);
	} else {
		bpf_code_if(s->code, BPF_JEQ, key->word[word], &here);
		bpf_code_goto(s->code, &other);
		bpf_code_here(s->code, &here);
	}
	bpf_code_stmt(s->code, BPF_LD | BPF_MEM, s->m + word + 1);
	search_word(s, key, count, word + 1);
	bpf_code_here(s->code, &other);
}

static void
search_halves(struct search *s, const struct peer_key *key, size_t count, unsigned word, size_t lower)
{
	struct bpf_label below = { 0 }, above = { 0 };

	if (lower <= NEAR) {
		bpf_code_if(s->code, BPF_JGE, key[lower].word[word], &above);
	} else {
		bpf_code_unless(s->code, BPF_JGE, key[lower].word[word], &below);
		bpf_code_goto(s->code, &above);
		bpf_code_here(s->code, &below);
	}
	search_word(s, key, lower, word);
	bpf_code_here(s->code, &above);
	search_word(s, key + lower, count - lower, word);
}

/* A = the word of the address; those before it are as in all of these keys. */
static void
search_word(struct search *s, const struct peer_key *key, size_t count, unsigned word)
{
	size_t values = distinct(key, count, word);

	if (values > TOGETHER)
		search_halves(s, key, count, word, run_start(key, count, word, values / 2));
	else if (word + 1 == s->words)
		search_last(s, key, count, word);
	else
		for (size_t i = 0, n; i < count; i += n) {
			n = run_len(key + i, count - i, word);
			search_run(s, key + i, n, word, i + n == count);
		}
}

/* Nothing falls through. */
static void
search_family(struct bpf_code *code, const struct bpf_peer *peer, size_t count, uint8_t family, uint32_t m, struct bpf_label *yes)
{
	struct peer_key key[BPF_WITHHELD_PEERS_MAX];
	struct search s = { .code = code, .yes = yes, .m = m, .words = family == AF_INET ? 1 : WORDS };
	size_t n = keys_of(peer, count, family, key);

	if (n > 0) {
		bpf_code_stmt(code, BPF_LD | BPF_MEM, m);
		search_word(&s, key, n, 0);
	}
	bpf_code_here(code, &s.no);
	bpf_code_return(code, 0);
}

/* From M_SOURCE, a peer's, to M_DESTINATION, the guest's. */
static void
search_both(struct bpf_code *code, const struct bpf_withheld *w, size_t peers, uint8_t family)
{
	size_t own_count = w->own_count < BPF_WITHHELD_OWN_MAX ? w->own_count : BPF_WITHHELD_OWN_MAX;
	struct bpf_label own = { 0 };

	search_family(code, w->own, own_count, family, BPF_FLOW_M_DESTINATION, &own);
	if (own.last == 0)
		return;
	bpf_code_here(code, &own);
	search_family(code, w->peer, peers, family, BPF_FLOW_M_SOURCE, NULL);
}

static void
load_type(struct bpf_code *code)
{
	bpf_code_stmt(code, BPF_LD | BPF_W | BPF_ABS, (uint32_t)(SKF_AD_OFF + SKF_AD_PKTTYPE));
}

/* To "found" from here on: what comes in. */
static void
inbound(struct bpf_code *code, enum bpf_link link, struct bpf_label *found, struct bpf_label *none)
{
	load_type(code);
	bpf_code_unless(code, BPF_JEQ, PACKET_HOST, none);
	bpf_flow_hash(code, link, BPF_FLOW_NO_ICMP_ERRORS | BPF_FLOW_DESTINATION, none);
	bpf_code_unless(code, BPF_JEQ, 0, found);
}

static void
swap_ends(struct bpf_code *code)
{
	for (uint32_t i = 0; i < WORDS; i++) {
		bpf_code_stmt(code, BPF_LD | BPF_MEM, BPF_FLOW_M_SOURCE + i);
		bpf_code_stmt(code, BPF_LDX | BPF_MEM, BPF_FLOW_M_DESTINATION + i);
		bpf_code_stmt(code, BPF_ST, BPF_FLOW_M_DESTINATION + i);
		bpf_code_stmt(code, BPF_STX, BPF_FLOW_M_SOURCE + i);
	}
}

/* Likewise: what comes in of even flows, and what goes out of odd ones. */
static void
balanced_share(struct bpf_code *code, enum bpf_link link, struct bpf_label *found, struct bpf_label *none)
{
	struct bpf_label unicast = { 0 }, in = { 0 };

	load_type(code);
	bpf_code_if(code, BPF_JEQ, PACKET_HOST, &unicast);
	bpf_code_unless(code, BPF_JEQ, PACKET_OUTGOING, none);
	bpf_code_here(code, &unicast);
	bpf_flow_hash(code, link, BPF_FLOW_NO_ICMP_ERRORS | BPF_FLOW_NO_TCP_FRAGMENTS | BPF_FLOW_DESTINATION, none);
	bpf_code_if(code, BPF_JEQ, 0, none);
	bpf_code_stmt(code, BPF_ST, BPF_FLOW_M_FREE);
	load_type(code);
	bpf_code_if(code, BPF_JEQ, PACKET_HOST, &in);
	bpf_code_stmt(code, BPF_LD | BPF_MEM, BPF_FLOW_M_FREE);
	bpf_code_unless(code, BPF_JSET, 1, none);
	swap_ends(code);
	bpf_code_goto(code, found);
	bpf_code_here(code, &in);
	bpf_code_stmt(code, BPF_LD | BPF_MEM, BPF_FLOW_M_FREE);
	bpf_code_unless(code, BPF_JSET, 1, found);
}

/* A part of the first so many peers, 0 if it does not fit. */
static size_t
withheld(struct bpf_insn *insn, size_t room, enum bpf_link link, const struct bpf_withheld *w, size_t peers)
{
	struct bpf_label none = { 0 }, found = { 0 }, v4 = { 0 }, v6 = { 0 };
	struct bpf_code code;

	bpf_code_init(&code, insn, room);
	if (w->balanced)
		balanced_share(&code, link, &found, &none);
	else
		inbound(&code, link, &found, &none);
	bpf_code_relay(&code, &none);	/* a return here would do, but the kernel takes what it knows of M[] across one */
	bpf_code_here(&code, &found);
	bpf_code_stmt(&code, BPF_LD | BPF_MEM, BPF_FLOW_M_VERSION);
	bpf_code_unless(&code, BPF_JEQ, 6, &v4);
	bpf_code_goto(&code, &v6);
	bpf_code_here(&code, &v4);
	search_both(&code, w, peers, AF_INET);
	bpf_code_here(&code, &v6);
	search_both(&code, w, peers, AF_INET6);
	bpf_code_here(&code, &none);
	bpf_code_return(&code, 0);
	return bpf_code_end(&code);
}

/* The largest number of peers that fit. Fewer are not always shorter, so that it may be one or two below what would just fit. */
static size_t
peers_that_fit(struct bpf_insn *insn, size_t room, enum bpf_link link, const struct bpf_withheld *w)
{
	size_t count = w->peer_count < BPF_WITHHELD_PEERS_MAX ? w->peer_count : BPF_WITHHELD_PEERS_MAX, fit = 0, too_many = count + 1;

	if (withheld(insn, room, link, w, count) != 0)
		return count;
	while (too_many - fit > 1) {
		size_t middle = fit + (too_many - fit) / 2;

		if (withheld(insn, room, link, w, middle) != 0)
			fit = middle;
		else
			too_many = middle;
	}
	return fit;
}

size_t
bpf_part_withheld(struct bpf_insn *insn, size_t room, enum bpf_link link, const struct bpf_withheld *w, size_t *placed)
{
	*placed = 0;
	if (room == 0)
		return 0;
	if ((*placed = peers_that_fit(insn, room, link, w)) == 0)
		return bpf_part_nothing(insn);
	return withheld(insn, room, link, w, *placed);
}
