/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#include "config.h"

#include <string.h>

#include "dedup_internal.h"

/*
 * A sender hands its kernel several datagrams of a flow as one (UDP_SEGMENT), and a receiver's joins several to one (UDP_GRO): in
 * both, payloads of one length, the last may be shorter. What the length is, no capture says: it shows with the first piece.
 */
#define PIECES_MAX	128	/* UDP_MAX_SEGMENTS in Linux */
#define CLOSE		16	/* oldest candidates of which the length of the pieces is tried out */

/* How many bytes of the receiver's copy from at on the sender's holds at from: to the end of either of them, or 0. */
static uint32_t
piece(const struct dedup_entry *sender, uint32_t from, const struct dedup_entry *receiver, uint32_t at)
{
	uint32_t need = receiver->span - at, len = cover_free(&sender->cover, receiver->source, from, sender->span);

	if (len > need)
		len = need;
	if (len == 0 || (len != need && from + len != sender->span))
		return 0;
	return memcmp(sender->transit.payload + from, receiver->transit.payload + at, len) == 0 ? len : 0;
}

/* A datagram that overtook others of its super-packet. */
static uint32_t
piece_anywhere(const struct dedup_entry *sender, const struct dedup_entry *receiver, uint32_t *from)
{
	uint32_t len = receiver->span, cut = sender->cut != 0 ? sender->cut : len;

	if (len >= sender->span)
		return 0;
	if (len == cut && sender->span / len < PIECES_MAX)
		for (*from = 0; *from + len <= sender->span; *from += len)
			if (piece(sender, *from, receiver, 0) != 0)
				return len;
	*from = sender->span - len;
	return piece(sender, *from, receiver, 0);
}

static uint32_t
piece_of(const struct dedup_entry *sender, const struct dedup_entry *receiver, uint32_t at, bool close, uint32_t *from)
{
	uint32_t len;

	if (receiver->transit.payload_len == 0 || sender->transit.payload_len == 0 || !dedup_same_flow(sender, receiver))
		return 0;
	*from = cover_next_free(&sender->cover, receiver->source, 0);
	if (*from < sender->span && (len = piece(sender, *from, receiver, at)) != 0)
		return len;
	return at == 0 && (close || sender->cut != 0) ? piece_anywhere(sender, receiver, from) : 0;
}

static uint32_t
pick_piece(struct dedup *dedup, const struct dedup_entry *receiver, uint32_t at, enum dedup_chain chain)
{
	uint64_t base = dedup_key_flow(dedup, receiver);
	struct dedup_look look = dedup_look(dedup, base, chain);
	struct dedup_entry *entry;
	uint32_t from, len;

	for (struct dedup_node *node = look.first; node != NULL; node = dedup_look_next(&look, node)) {
		entry = node->owner;
		if (entry->stamp == dedup->attempts || (len = piece_of(entry, receiver, at, look.count < CLOSE, &from)) == 0)
			continue;
		if (entry->cut == 0 && from + len != entry->span)
			entry->cut = len;
		dedup_pick(dedup, entry, from, len);
		if (chain == CHAIN_FRESH)
			dedup_pass_lost(dedup, base, look.count);
		return len;
	}
	return 0;
}

int
dedup_match_run(struct dedup *dedup, const struct dedup_entry *receiver)
{
	uint32_t at, len;

	for (at = 0; at < receiver->span; at += len)
		if (dedup->pick_count == DEDUP_PICK_MAX || ((len = pick_piece(dedup, receiver, at, CHAIN_FRESH)) == 0 &&
		    (len = pick_piece(dedup, receiver, at, CHAIN_SEEN)) == 0))
			return 0;
	return 1;
}

bool
dedup_may_complete(const struct dedup_entry *sender, const struct dedup_entry *receiver)
{
	const struct transit *s = &sender->transit, *r = &receiver->transit;
	uint32_t from;

	if (s->payload_len == 0 || s->payload_len >= r->payload_len)
		return piece_of(sender, receiver, 0, true, &from) != 0;
	return memcmp(s->payload, r->payload + r->payload_len - s->payload_len, s->payload_len) == 0;
}
