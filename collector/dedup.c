/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#include "config.h"

#include <sys/socket.h>
#include <malloc.h>
#include <stdlib.h>
#include <string.h>

#include "dedup_internal.h"

#define ASK_MAX	8

struct dedup *
dedup_new(const struct dedup_settings *settings)
{
	struct dedup *dedup = calloc(1, sizeof(*dedup));

	if (dedup == NULL)
		return NULL;
	dedup->settings = *settings;
	if (dedup_index_init(&dedup->index) == 0)
		return dedup;
	free(dedup);
	return NULL;
}

static void
free_entry(struct dedup *dedup, struct dedup_entry *entry)
{
	dedup->bytes -= entry->size + entry->cover.size * sizeof(struct cover_range);
	dedup->block_bytes -= entry->block_len;
	cover_clear(&entry->cover);
	free(entry);
}

/* Takes it out of everything; it is the caller's to free. */
static void
take_out(struct dedup *dedup, struct dedup_entry *entry)
{
	heap_remove(&dedup->heap, &entry->heap);
	dedup_unindex_entry(dedup, entry);
}

void
dedup_free(struct dedup *dedup)
{
	struct heap_item *item;

	if (dedup == NULL)
		return;
	while ((item = heap_first(&dedup->heap)) != NULL) {
		take_out(dedup, (struct dedup_entry *)item);
		free_entry(dedup, (struct dedup_entry *)item);
	}
	for (size_t i = 0; i < dedup->source_count; i++)
		free(dedup->source[i]);
	for (size_t i = 0; i < dedup->removed_count; i++)
		free(dedup->removed[i].from);
	heap_clear(&dedup->heap);
	dedup_index_clear(&dedup->index);
	free(dedup->source);
	free(dedup->removed);
	free(dedup->receiver);
	free(dedup);
}

uint32_t
dedup_add_source(struct dedup *dedup, uint32_t vm, uint32_t network, uint16_t linktype)
{
	struct dedup_source **grown, *source;

	if ((grown = realloc(dedup->source, (dedup->source_count + 1) * sizeof(struct dedup_source *))) == NULL)
		return DEDUP_UNKNOWN;
	dedup->source = grown;
	if ((source = calloc(1, sizeof(*source))) == NULL)
		return DEDUP_UNKNOWN;
	*source = (struct dedup_source){ .vm = vm, .network = network, .linktype = linktype };
	grown[dedup->source_count] = source;
	return (uint32_t)dedup->source_count++;
}

void
dedup_keep(struct dedup *dedup, uint32_t source)
{
	dedup->source[source]->keep = true;
}

/* --- counts --- */

static int
count_removed(struct dedup *dedup, uint32_t sender_vm, uint32_t receiver_vm)
{
	struct removed_row *rows, *row;
	uint64_t *from;

	if (receiver_vm >= dedup->removed_count) {
		if ((rows = realloc(dedup->removed, (receiver_vm + 1) * sizeof(*rows))) == NULL)
			return -1;
		memset(rows + dedup->removed_count, 0, (receiver_vm + 1 - dedup->removed_count) * sizeof(*rows));
		dedup->removed = rows;
		dedup->removed_count = receiver_vm + 1;
	}
	row = &dedup->removed[receiver_vm];
	if (sender_vm >= row->count) {
		if ((from = realloc(row->from, (sender_vm + 1) * sizeof(*from))) == NULL)
			return -1;
		memset(from + row->count, 0, (sender_vm + 1 - row->count) * sizeof(*from));
		row->from = from;
		row->count = sender_vm + 1;
	}
	row->from[sender_vm]++;
	dedup->stats.removed++;
	return 0;
}

uint64_t
dedup_removed(const struct dedup *dedup, uint32_t sender_vm, uint32_t receiver_vm)
{
	if (receiver_vm >= dedup->removed_count || sender_vm >= dedup->removed[receiver_vm].count)
		return 0;
	return dedup->removed[receiver_vm].from[sender_vm];
}

const struct dedup_stats *
dedup_stats(const struct dedup *dedup)
{
	return &dedup->stats;
}

static uint64_t
memory(const struct dedup *dedup)
{
	return dedup->bytes + dedup->index.size * sizeof(struct dedup_node *) + dedup->heap.size * sizeof(struct heap_slot);
}

static void
note_peak(struct dedup *dedup)
{
	uint64_t bytes = memory(dedup);

	if (bytes <= dedup->stats.memory_peak)
		return;
	dedup->stats.memory_peak = bytes;
	dedup->stats.peak_entries = dedup->heap.count;
	dedup->stats.peak_state = bytes - dedup->block_bytes;
}

/* --- out --- */

/* How many had it; in dedup->receiver. -1: ENOMEM. */
static ssize_t
list_receivers(struct dedup *dedup, const struct dedup_entry *entry)
{
	struct dedup_receiver *grown;
	size_t count = 0;

	if (entry->cover.count > dedup->receiver_size) {
		if ((grown = realloc(dedup->receiver, entry->cover.count * sizeof(*grown))) == NULL)
			return -1;
		dedup->receiver = grown;
		dedup->receiver_size = entry->cover.count;
	}
	for (uint32_t i = 0; i < entry->cover.count; i++) {
		const struct cover_range *range = &entry->cover.range[i];

		if (count == 0 || dedup->receiver[count - 1].source != range->receiver)
			dedup->receiver[count++] = (struct dedup_receiver){ .source = range->receiver,
			    .whole = range->from == 0 && range->to == entry->span };
	}
	return (ssize_t)count;
}

static int
emit(struct dedup *dedup, struct dedup_entry *entry)
{
	struct dedup_out out = { .source = entry->source, .time_ns = entry->heap.time_ns, .block = entry->block,
	    .block_len = entry->block_len };
	ssize_t receivers = list_receivers(dedup, entry);
	int rc = -1;

	take_out(dedup, entry);
	if (receivers != -1) {
		out.receiver = dedup->receiver;
		out.receiver_count = (size_t)receivers;
		dedup->stats.out++;
		dedup->stats.late += out.time_ns < dedup->last_ns;
		if (out.time_ns > dedup->last_ns)
			dedup->last_ns = out.time_ns;
		rc = dedup->settings.emit(&out, dedup->settings.arg);
	}
	free_entry(dedup, entry);
	return rc;
}

int
dedup_advance(struct dedup *dedup, uint64_t now_ns)
{
	struct heap_item *item;
	int rc = 1;

	while (rc == 1 && now_ns >= dedup->settings.window_ns && (item = heap_first(&dedup->heap)) != NULL &&
	    item->time_ns < now_ns - dedup->settings.window_ns)
		rc = emit(dedup, (struct dedup_entry *)item);
	return rc;
}

int
dedup_finish(struct dedup *dedup)
{
	struct heap_item *item;
	int rc = 1;

	while (rc == 1 && (item = heap_first(&dedup->heap)) != NULL)
		rc = emit(dedup, (struct dedup_entry *)item);
	return rc;
}

static int
make_room(struct dedup *dedup, size_t size)
{
	int rc = 1;

	while (rc == 1 && dedup->heap.count > 0 && memory(dedup) + size > dedup->settings.memory_max) {
		dedup->stats.early++;
		rc = emit(dedup, (struct dedup_entry *)heap_first(&dedup->heap));
	}
	return rc;
}

/* --- in --- */

static bool
is_loopback(const struct transit *transit)
{
	static const uint8_t loopback6[16] = { [15] = 1 };

	if (transit->family == AF_INET)
		return transit->src[0] == 127 || transit->dst[0] == 127;
	return transit->family == AF_INET6 && (memcmp(transit->src, loopback6, 16) == 0 || memcmp(transit->dst, loopback6, 16) == 0);
}

static enum dedup_role
role_of(struct dedup *dedup, const struct transit *transit, enum dedup_direction direction)
{
	if (direction == DEDUP_NO_DIRECTION) {
		dedup->stats.unknown_direction++;
		return ROLE_NONE;
	}
	if (transit->kind == TRANSIT_NONE) {
		dedup->stats.not_comparable++;
		return ROLE_NONE;
	}
	if (is_loopback(transit) || (transit->family != 0 && memcmp(transit->src, transit->dst, sizeof(transit->src)) == 0))
		return ROLE_NONE;
	return direction == DEDUP_OUT ? ROLE_SENDER : ROLE_RECEIVER;
}

/* What is looked up by; block is the caller's. */
static void
describe(struct dedup *dedup, struct dedup_entry *entry, const struct dedup_packet *packet)
{
	memset(entry, 0, sizeof(*entry));
	entry->from = dedup->source[packet->source];
	entry->source = packet->source;
	entry->heap.time_ns = packet->time_ns;
	transit_parse(&entry->transit, entry->from->linktype, packet->block + packet->data_at, packet->captured, packet->original);
	entry->role = role_of(dedup, &entry->transit, packet->direction);
	entry->span = dedup_span(&entry->transit);
	entry->node_count = dedup_node_count(entry);
	cover_init(&entry->cover);
}

static const uint8_t *
moved(const uint8_t *p, const uint8_t *from, const uint8_t *to)
{
	return p != NULL ? to + (p - from) : NULL;
}

/* A copy that is held; NULL: ENOMEM. */
static struct dedup_entry *
hold(struct dedup *dedup, const struct dedup_entry *looked_up, const struct dedup_packet *packet)
{
	size_t head = sizeof(struct dedup_entry) + looked_up->node_count * sizeof(struct dedup_node);
	struct dedup_entry *entry = malloc(head + packet->block_len);

	if (entry == NULL)
		return NULL;
	*entry = *looked_up;
	memset(entry->node, 0, head - sizeof(*entry));
	cover_init(&entry->cover);
	entry->block = (uint8_t *)entry + head;
	entry->block_len = packet->block_len;
	memcpy(entry->block, packet->block, packet->block_len);
	entry->transit.addresses = moved(entry->transit.addresses, packet->block, entry->block);
	entry->transit.header = moved(entry->transit.header, packet->block, entry->block);
	entry->transit.payload = moved(entry->transit.payload, packet->block, entry->block);
	if (heap_put(&dedup->heap, &entry->heap) == -1) {
		free(entry);
		return NULL;
	}
	entry->size = malloc_usable_size(entry) + sizeof(size_t);
	dedup->bytes += entry->size;
	dedup->block_bytes += entry->block_len;
	note_peak(dedup);
	return entry;
}

/* A copy that stays, and has found what it is one of. */
static void
settle(struct dedup *dedup, struct dedup_entry *entry)
{
	dedup_unindex_entry(dedup, entry);
	entry->node_count = 0;
	entry->role = ROLE_NONE;
}

/* 1: it was found to be a copy, and waits no more; 0: it does; -1. */
static int
retry(struct dedup *dedup, struct dedup_entry *receiver)
{
	uint32_t sender_vm;
	int rc = dedup_match(dedup, receiver, &sender_vm);

	if (rc != 1)
		return rc;
	if (receiver->from->keep) {
		settle(dedup, receiver);
		return 1;
	}
	if (count_removed(dedup, sender_vm, receiver->from->vm) == -1)
		return -1;
	take_out(dedup, receiver);
	free_entry(dedup, receiver);
	return 1;
}

/* Is it worth asking in full whether a copy that waits is covered, now that this sender's has come? Of UDP the oldest are asked
 * anyway, for where the edges of super-packets differ it is not seen cheaply. */
static bool
worth_it(const struct dedup_entry *sender, const struct dedup_entry *receiver, bool whole, unsigned vain)
{
	if (!dedup_same_flow(sender, receiver))
		return false;
	if (whole)
		return cover_free(&sender->cover, receiver->source, 0, sender->span) == sender->span;
	return sender->transit.kind == TRANSIT_TCP || vain < ASK_MAX || dedup_may_complete(sender, receiver);
}

/* Receivers' copies that came before their sender's; the chain changes beneath. */
static int
retry_chain(struct dedup *dedup, const struct dedup_entry *sender, uint64_t base, bool whole)
{
	struct dedup_look look = dedup_look(dedup, base, CHAIN_WAIT);
	struct dedup_node *node = look.first, *next;
	struct dedup_entry *receiver;
	unsigned vain = 0;

	for (; node != NULL; node = next) {
		next = dedup_look_next(&look, node);
		receiver = node->owner;
		if (!worth_it(sender, receiver, whole, vain))
			continue;
		switch (retry(dedup, receiver)) {
		case -1:
			return -1;
		case 0:
			vain++;
			break;
		case 1:
			if (node == look.first)
				look.first = next;
		}
	}
	return 0;
}

static int
retry_waiting(struct dedup *dedup, const struct dedup_entry *sender)
{
	bool range = dedup_by_range(&sender->transit);
	uint32_t i;

	for (i = 0; i < sender->node_count; i++)
		if (retry_chain(dedup, sender, sender->node[i].base, !range && i == 0) == -1)
			return -1;
	return 0;
}

/* That it was seen may have cost memory, too. */
static int
drop(struct dedup *dedup, uint32_t sender_vm, const struct dedup_entry *receiver)
{
	note_peak(dedup);
	return count_removed(dedup, sender_vm, receiver->from->vm) == -1 ? -1 : make_room(dedup, 0);
}

int
dedup_put(struct dedup *dedup, const struct dedup_packet *packet)
{
	struct dedup_entry looked_up, *entry;
	uint32_t sender_vm;
	int rc = 0;

	dedup->stats.in++;
	describe(dedup, &looked_up, packet);
	if (looked_up.role == ROLE_RECEIVER && (rc = dedup_match(dedup, &looked_up, &sender_vm)) != 0) {
		if (rc == -1 || !looked_up.from->keep)
			return rc == -1 ? -1 : drop(dedup, sender_vm, &looked_up);
		looked_up.role = ROLE_NONE;
		looked_up.node_count = 0;
	}
	if ((rc = make_room(dedup, sizeof(*entry) + looked_up.node_count * sizeof(struct dedup_node) + packet->block_len)) != 1)
		return rc;
	if ((entry = hold(dedup, &looked_up, packet)) == NULL)
		return -1;
	dedup_index_entry(dedup, entry, entry->role == ROLE_SENDER ? CHAIN_FRESH : CHAIN_WAIT);
	return entry->role == ROLE_SENDER && retry_waiting(dedup, entry) == -1 ? -1 : 1;
}
