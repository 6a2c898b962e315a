/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#include "config.h"

#include <string.h>

#include "dedup_internal.h"

/*
 * A sender hands its kernel several datagrams of a flow as one (UDP_SEGMENT), and a receiver's joins several to one (UDP_GRO). How
 * long each was no capture says, and the edges of the two need not be the same: so it is looked for where the receiver's begins.
 */
#define CLOSE		16	/* oldest candidates that are searched all through */
#define NEEDLE_MIN	16	/* bytes that are searched for */
#define NEEDLE_MAX	64
#define SEARCH_MAX	(256u * 1024)	/* bytes that are searched through for one packet */
#define FINDS_MAX	128	/* places in a candidate; UDP_MAX_SEGMENTS in Linux */

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

/* The first place from there on where the receiver's copy may begin; the span: none. */
static uint32_t
find_place(const struct dedup_entry *sender, const struct dedup_entry *receiver, uint32_t from)
{
	const uint8_t *payload = sender->transit.payload, *found;

	found = memmem(payload + from, sender->span - from, receiver->transit.payload,
	    receiver->span < NEEDLE_MAX ? receiver->span : NEEDLE_MAX);
	return found != NULL ? (uint32_t)(found - payload) : sender->span;
}

/* What overtook others of its super-packet. */
static uint32_t
piece_anywhere(const struct dedup_entry *sender, const struct dedup_entry *receiver, uint32_t *from)
{
	uint32_t len;

	*from = 0;
	for (unsigned i = 0; i < FINDS_MAX; i++) {
		*from = cover_next_free(&sender->cover, receiver->source, *from);
		if (*from >= sender->span || (*from = find_place(sender, receiver, *from)) >= sender->span)
			return 0;
		if ((len = piece(sender, *from, receiver, 0)) != 0)
			return len;
		++*from;
	}
	return 0;
}

/* So few bytes are found anywhere: they count only if they are all that is left. */
static bool
too_short(const struct dedup_entry *sender, const struct dedup_entry *receiver, uint32_t from)
{
	return receiver->span < NEEDLE_MIN && from + receiver->span != sender->span;
}

static uint32_t
piece_of(const struct dedup_entry *sender, const struct dedup_entry *receiver, uint32_t at, bool close, uint32_t *from)
{
	uint32_t len;

	if (receiver->transit.payload_len == 0 || sender->transit.payload_len == 0 || !dedup_same_flow(sender, receiver))
		return 0;
	*from = cover_next_free(&sender->cover, receiver->source, 0);
	if (too_short(sender, receiver, *from))
		return 0;
	if (*from < sender->span && (len = piece(sender, *from, receiver, at)) != 0)
		return len;
	return at == 0 && close && receiver->span >= NEEDLE_MIN ? piece_anywhere(sender, receiver, from) : 0;
}

static uint32_t
pick_piece(struct dedup *dedup, const struct dedup_entry *receiver, uint32_t at, enum dedup_chain chain)
{
	uint64_t base = dedup_key_flow(dedup, receiver);
	struct dedup_look look = dedup_look(dedup, base, chain);
	struct dedup_entry *entry;
	uint32_t from, len;
	bool close;

	for (struct dedup_node *node = look.first; node != NULL; node = dedup_look_next(&look, node)) {
		entry = node->owner;
		if (entry->stamp == dedup->attempts)
			continue;
		close = look.count < CLOSE && dedup->searched < SEARCH_MAX;
		dedup->searched += close ? entry->span : 0;
		if ((len = piece_of(entry, receiver, at, close, &from)) == 0)
			continue;
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
