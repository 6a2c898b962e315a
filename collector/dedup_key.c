/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#include "config.h"

#include <string.h>

#include "dedup_internal.h"

#define BUCKET_SHIFT	11	/* of sequence numbers: a segment or two */
#define SAMPLE		128	/* bytes of a payload's begin and end that its key is made of */
#define TCP_FIN		0x01u
#define TCP_SYN		0x02u

enum base { BASE_IDENTITY = 1, BASE_FLOW, BASE_RANGE };

static uint64_t
mix(uint64_t hash, uint64_t value)
{
	hash = (hash ^ value) * 0x9e3779b97f4a7c15u;
	return hash ^ hash >> 32;
}

static uint64_t
mix_bytes(uint64_t hash, const uint8_t *p, size_t len)
{
	uint64_t word;

	for (; len >= sizeof(word); p += sizeof(word), len -= sizeof(word)) {
		memcpy(&word, p, sizeof(word));
		hash = mix(hash, word);
	}
	for (word = 0; len > 0; len--)
		word = word << 8 | *p++;
	return mix(hash, word);
}

static uint64_t
base_of(const struct dedup *dedup, const struct dedup_entry *entry, enum base base)
{
	uint64_t hash = mix(dedup->settings.seed, (uint64_t)base << 32 | entry->from->network);

	return mix(hash, entry->transit.flow ^ (uint64_t)entry->transit.kind << 56);
}

bool
dedup_by_range(const struct transit *transit)
{
	return transit->kind == TRANSIT_TCP && transit->payload_len > 0;
}

uint32_t
dedup_span(const struct transit *transit)
{
	uint32_t ends = ((transit->tcp_flags & TCP_SYN) != 0 ? 1u : 0u) + ((transit->tcp_flags & TCP_FIN) != 0 ? 1u : 0u);

	if (dedup_by_range(transit))
		return (uint32_t)transit->payload_len + ends;
	return transit->kind == TRANSIT_UDP && transit->payload_len > 0 ? (uint32_t)transit->payload_len : 1;
}

uint32_t
dedup_node_count(const struct dedup_entry *entry)
{
	uint32_t last = entry->transit.seq + entry->span - 1;

	if (entry->role == ROLE_NONE)
		return 0;
	if (dedup_by_range(&entry->transit))
		return ((last >> BUCKET_SHIFT) - (entry->transit.seq >> BUCKET_SHIFT)) % (1u << (32 - BUCKET_SHIFT)) + 1;
	return entry->transit.kind == TRANSIT_UDP ? 2 : 1;
}

uint64_t
dedup_key_identity(const struct dedup *dedup, const struct dedup_entry *entry)
{
	const struct transit *t = &entry->transit;
	uint64_t hash = mix(base_of(dedup, entry, BASE_IDENTITY), t->payload_len);

	if (t->kind == TRANSIT_TCP)
		return mix(mix(hash, (uint64_t)t->seq << 32 | t->ack), (uint64_t)t->tcp_flags << 32 | t->header_len);
	if (t->kind == TRANSIT_FRAGMENT)
		hash = mix(hash, (uint64_t)t->ip_id << 16 | t->fragment);
	if (t->payload_len <= 2 * SAMPLE)
		return mix_bytes(hash, t->payload, t->payload_len);
	return mix_bytes(mix_bytes(hash, t->payload, SAMPLE), t->payload + t->payload_len - SAMPLE, SAMPLE);
}

uint64_t
dedup_key_flow(const struct dedup *dedup, const struct dedup_entry *entry)
{
	return base_of(dedup, entry, BASE_FLOW);
}

uint64_t
dedup_key_range(const struct dedup *dedup, const struct dedup_entry *entry, uint32_t seq)
{
	return mix(base_of(dedup, entry, BASE_RANGE), seq >> BUCKET_SHIFT);
}

static uint64_t
chain_key(uint64_t base, enum dedup_chain chain)
{
	return mix(base, chain);
}

static void
set_bases(const struct dedup *dedup, struct dedup_entry *entry)
{
	if (dedup_by_range(&entry->transit)) {
		for (uint32_t i = 0; i < entry->node_count; i++)
			entry->node[i].base = dedup_key_range(dedup, entry, entry->transit.seq + (i << BUCKET_SHIFT));
		return;
	}
	entry->node[0].base = dedup_key_identity(dedup, entry);
	if (entry->node_count > 1)
		entry->node[1].base = dedup_key_flow(dedup, entry);
}

void
dedup_index_entry(struct dedup *dedup, struct dedup_entry *entry, enum dedup_chain chain)
{
	if (entry->node_count > 0 && entry->node[0].owner == NULL)
		set_bases(dedup, entry);
	for (uint32_t i = 0; i < entry->node_count; i++) {
		entry->node[i].owner = entry;
		dedup_index_put(&dedup->index, &entry->node[i], chain_key(entry->node[i].base, chain));
	}
}

void
dedup_unindex_entry(struct dedup *dedup, struct dedup_entry *entry)
{
	for (uint32_t i = 0; i < entry->node_count; i++)
		dedup_index_remove(&dedup->index, &entry->node[i]);
}

struct dedup_look
dedup_look(const struct dedup *dedup, uint64_t base, enum dedup_chain chain)
{
	struct dedup_look look = { dedup_index_first(&dedup->index, chain_key(base, chain)), 0 };

	return look;
}

struct dedup_node *
dedup_look_next(struct dedup_look *look, struct dedup_node *node)
{
	return ++look->count < DEDUP_LOOK_MAX ? dedup_index_next(look->first, node) : NULL;
}
