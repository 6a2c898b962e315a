/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#include "config.h"

#include <string.h>

#include "dedup_internal.h"

#define TCP_FIN		0x01u
#define TCP_SYN		0x02u
#define TCP_CHECKSUM_AT	16	/* RFC 9293, 3.1 */
#define LONG_RANGE	64	/* sequence numbers; a chain is of 2048 of them (dedup_key.c) */
#define GOOD_ENOUGH	16	/* equal candidates that are compared by their hints */
#define AHEAD_MAX	8	/* what was sent before and is still missing when so many later ones are there has been lost */

/* Those of the outermost are not all: what a tunnel carries has its own, and the flow's number is easily made to meet. */
static bool
same_addresses(const struct transit *a, const struct transit *b)
{
	return memcmp(a->src, b->src, sizeof(a->src)) == 0 && memcmp(a->dst, b->dst, sizeof(a->dst)) == 0 &&
	    a->addresses_len == b->addresses_len && (a->addresses_len == 0 || memcmp(a->addresses, b->addresses, a->addresses_len) == 0);
}

bool
dedup_same_flow(const struct dedup_entry *a, const struct dedup_entry *b)
{
	const struct transit *s = &a->transit, *t = &b->transit;

	return a->from->vm != b->from->vm && a->from->network == b->from->network && s->kind == t->kind && s->flow == t->flow &&
	    s->family == t->family && s->protocol == t->protocol && s->src_port == t->src_port && s->dst_port == t->dst_port &&
	    same_addresses(s, t);
}

unsigned
dedup_likeness(const struct dedup_entry *a, const struct dedup_entry *b)
{
	return (a->transit.ip_id == b->transit.ip_id ? 2u : 0u) + (a->transit.hops == b->transit.hops ? 1u : 0u);
}

/* The header but its checksum, which the sender's NIC fills in. */
static bool
same_header(const struct transit *a, const struct transit *b)
{
	size_t behind = TCP_CHECKSUM_AT + 2;

	return a->header_len == b->header_len && memcmp(a->header, b->header, TCP_CHECKSUM_AT) == 0 &&
	    memcmp(a->header + behind, b->header + behind, a->header_len - behind) == 0;
}

static bool
same_whole(const struct dedup_entry *a, const struct dedup_entry *b)
{
	const struct transit *s = &a->transit, *t = &b->transit;

	if (!dedup_same_flow(a, b) || s->payload_len != t->payload_len)
		return false;
	if (s->kind == TRANSIT_FRAGMENT && (s->ip_id != t->ip_id || s->fragment != t->fragment))
		return false;
	if (s->kind == TRANSIT_TCP && !same_header(s, t))
		return false;
	return s->payload_len == 0 || memcmp(s->payload, t->payload, s->payload_len) == 0;
}

void
dedup_pick(struct dedup *dedup, struct dedup_entry *entry, uint32_t from, uint32_t len)
{
	entry->stamp = dedup->attempts;
	dedup->pick[dedup->pick_count++] = (struct dedup_pick){ .entry = entry, .from = from, .len = len };
}

/* Of long ranges so few are in one chain that it is not worth the while. */
static void
mark_seen(struct dedup *dedup, struct dedup_entry *entry)
{
	if (entry->seen || (dedup_by_range(&entry->transit) && entry->span >= LONG_RANGE))
		return;
	dedup_unindex_entry(dedup, entry);
	entry->seen = true;
	dedup_index_entry(dedup, entry, CHAIN_SEEN);
}

void
dedup_pass_lost(struct dedup *dedup, uint64_t base, unsigned ahead)
{
	for (; ahead > AHEAD_MAX; ahead--)
		mark_seen(dedup, dedup_look(dedup, base, CHAIN_FRESH).first->owner);
}

/* --- whole --- */

static int
pick_whole(struct dedup *dedup, const struct dedup_entry *receiver, uint64_t base, enum dedup_chain chain)
{
	struct dedup_look look = dedup_look(dedup, base, chain);
	struct dedup_entry *entry, *best = NULL;
	unsigned likeness, best_likeness = 0, best_at = 0, good = 0;

	for (struct dedup_node *node = look.first; node != NULL && good < GOOD_ENOUGH; node = dedup_look_next(&look, node)) {
		entry = node->owner;
		if (cover_free(&entry->cover, receiver->source, 0, entry->span) != entry->span || !same_whole(entry, receiver))
			continue;
		likeness = dedup_likeness(entry, receiver);
		good = likeness == 3 ? GOOD_ENOUGH : good + 1;
		if (best != NULL && likeness <= best_likeness)
			continue;
		best = entry;
		best_likeness = likeness;
		best_at = look.count;
	}
	if (best == NULL)
		return 0;
	dedup_pick(dedup, best, 0, best->span);
	if (chain == CHAIN_FRESH)
		dedup_pass_lost(dedup, base, best_at);
	return 1;
}

static int
match_whole(struct dedup *dedup, const struct dedup_entry *receiver)
{
	uint64_t base = dedup_key_identity(dedup, receiver);

	return pick_whole(dedup, receiver, base, CHAIN_FRESH) == 1 || pick_whole(dedup, receiver, base, CHAIN_SEEN) == 1;
}

/* --- ranges of TCP: SYN and FIN take one number each --- */

static bool
flag_at(const struct dedup_entry *entry, unsigned flag, uint32_t at)
{
	return (entry->transit.tcp_flags & flag) != 0 && at == (flag == TCP_SYN ? 0 : entry->span - 1);
}

static const uint8_t *
data_at(const struct dedup_entry *entry, uint32_t at)
{
	return entry->transit.payload + at - ((entry->transit.tcp_flags & TCP_SYN) != 0 ? 1 : 0);
}

static bool
same_range(const struct dedup_entry *a, uint32_t a_at, const struct dedup_entry *b, uint32_t b_at, uint32_t len)
{
	bool syn = flag_at(a, TCP_SYN, a_at), fin = flag_at(a, TCP_FIN, a_at + len - 1);

	if (syn != flag_at(b, TCP_SYN, b_at) || fin != flag_at(b, TCP_FIN, b_at + len - 1))
		return false;
	if (syn) {
		a_at++;
		b_at++;
		len--;
	}
	if (fin && len > 0)
		len--;
	return len == 0 || memcmp(data_at(a, a_at), data_at(b, b_at), len) == 0;
}

/* How far a sender's copy covers a receiver's from there on; 0: not at all. */
static uint32_t
reach(const struct dedup_entry *entry, const struct dedup_entry *receiver, uint32_t at)
{
	uint32_t from = receiver->transit.seq + at - entry->transit.seq, len;

	if (from >= entry->span || !dedup_same_flow(entry, receiver))
		return 0;
	len = cover_free(&entry->cover, receiver->source, from, entry->span);
	if (len > receiver->span - at)
		len = receiver->span - at;
	return len > 0 && same_range(entry, from, receiver, at, len) ? len : 0;
}

/* The farthest is taken, and so the fewest. Returns how far it reaches; 0: none. */
static uint32_t
pick_farthest(struct dedup *dedup, const struct dedup_entry *receiver, uint32_t at, uint64_t base, enum dedup_chain chain)
{
	struct dedup_look look = dedup_look(dedup, base, chain);
	struct dedup_entry *entry, *best = NULL;
	uint32_t len, best_len = 0;

	for (struct dedup_node *node = look.first; node != NULL; node = dedup_look_next(&look, node)) {
		entry = node->owner;
		if ((len = reach(entry, receiver, at)) < best_len || len == 0)
			continue;
		if (len == best_len && dedup_likeness(entry, receiver) <= dedup_likeness(best, receiver))
			continue;
		best = entry;
		best_len = len;
	}
	if (best != NULL)
		dedup_pick(dedup, best, receiver->transit.seq + at - best->transit.seq, best_len);
	return best_len;
}

static int
match_range(struct dedup *dedup, const struct dedup_entry *receiver)
{
	uint32_t at, len;
	uint64_t base;

	for (at = 0; at < receiver->span; at += len) {
		base = dedup_key_range(dedup, receiver, receiver->transit.seq + at);
		if (dedup->pick_count == DEDUP_PICK_MAX || ((len = pick_farthest(dedup, receiver, at, base, CHAIN_FRESH)) == 0 &&
		    (len = pick_farthest(dedup, receiver, at, base, CHAIN_SEEN)) == 0))
			return 0;
	}
	return 1;
}

/* --- all --- */

static int
take_picks(struct dedup *dedup, const struct dedup_entry *receiver)
{
	for (size_t i = 0; i < dedup->pick_count; i++) {
		struct dedup_pick *part = &dedup->pick[i];
		uint32_t held = part->entry->cover.size;

		if (cover_add(&part->entry->cover, receiver->source, part->from, part->from + part->len) == -1)
			return -1;
		dedup->bytes += (part->entry->cover.size - held) * sizeof(struct cover_range);
		if (cover_next_free(&part->entry->cover, receiver->source, 0) == part->entry->span)
			mark_seen(dedup, part->entry);
	}
	return 1;
}

int
dedup_match(struct dedup *dedup, struct dedup_entry *receiver, uint32_t *sender_vm)
{
	int found;

	dedup->pick_count = dedup->searched = 0;
	dedup->attempts++;
	if (dedup_by_range(&receiver->transit))
		found = match_range(dedup, receiver);
	else if ((found = match_whole(dedup, receiver)) == 0 && receiver->transit.kind == TRANSIT_UDP)
		found = dedup_match_run(dedup, receiver);
	if (found == 0)
		return 0;
	*sender_vm = dedup->pick[0].entry->from->vm;
	return take_picks(dedup, receiver);
}
