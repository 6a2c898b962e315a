/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#include "config.h"

#include <sys/socket.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <sqlite3.h>

#include "merge_internal.h"
#include "pcapng_out.h"

#define COMMENT_SIZE	(IDENTITY_NAME_SIZE + 80)

int
merge_whole_load(struct merge *merge)
{
	const struct merge_settings *settings = &merge->settings;

	return withheld_load(&merge->withheld, settings->db, settings->vm, settings->from_ns, settings->to_ns, merge->error,
	    sizeof(merge->error));
}

void
merge_whole_know(struct merge *merge, struct merge_vm *vm)
{
	const struct withheld *withheld = &merge->withheld;
	size_t first = 0;

	if (strcmp(vm->uuid, merge->settings.vm) == 0) {
		vm->own = true;
		merge->whole = vm;
		return;
	}
	while (first < withheld->count && strcmp(withheld->span[first].peer, vm->uuid) != 0)
		first++;
	vm->span = withheld->span + first;
	for (vm->span_count = 0; first + vm->span_count < withheld->count; vm->span_count++)
		if (strcmp(vm->span[vm->span_count].peer, vm->uuid) != 0)
			break;
}

/* --- a peer's interface --- */

static bool
has_address(const struct pcapng_interface *interface, const struct bpf_peer *address)
{
	if (address->family == AF_INET) {
		for (size_t i = 0; i < interface->ipv4_count; i++)
			if (memcmp(interface->ipv4[i], address->address, 4) == 0)
				return true;
		return false;
	}
	for (size_t i = 0; i < interface->ipv6_count; i++)
		if (memcmp(interface->ipv6[i], address->address, 16) == 0)
			return true;
	return false;
}

/* Does the VM get there what this peer sends to it? */
static bool
is_way_in(const struct merge_vm *peer, const struct pcapng_interface *interface)
{
	for (size_t i = 0; i < peer->span_count; i++)
		for (size_t k = 0; k < peer->span[i].own_count; k++)
			if (has_address(interface, &peer->span[i].own[k]))
				return true;
	return false;
}

/* The VM's interface in this network, the newest that has such an address, or else the newest. 1 / 0: it has none / -1. */
static int
find_way_in(struct merge *merge, const struct merge_source *source, struct pcapng_interface *way)
{
	static const char sql[] = "SELECT idb FROM interface JOIN stream ON stream.id = interface.stream WHERE stream.vm = ?1"
	    " AND network = ?2 ORDER BY stream.rowid DESC, interface.id DESC";
	struct pcapng_interface interface;
	sqlite3_stmt *stmt;
	int found = 0, rc;

	if (sqlite3_prepare_v2(merge->settings.db, sql, -1, &stmt, NULL) != SQLITE_OK)
		return merge_fail(merge, "catalog", sqlite3_errmsg(merge->settings.db));
	sqlite3_bind_text(stmt, 1, merge->whole->uuid, -1, SQLITE_STATIC);
	sqlite3_bind_text(stmt, 2, merge->network[source->network], -1, SQLITE_STATIC);
	while ((rc = sqlite3_step(stmt)) == SQLITE_ROW) {
		if (pcapng_parse_idb(sqlite3_column_blob(stmt, 0), (size_t)sqlite3_column_bytes(stmt, 0), &interface) == -1)
			continue;
		if (!found || is_way_in(source->vm, &interface))
			*way = interface;
		found = 1;
		if (is_way_in(source->vm, &interface))
			break;
	}
	sqlite3_finalize(stmt);
	return rc == SQLITE_ROW || rc == SQLITE_DONE ? found : merge_fail(merge, "catalog", sqlite3_errmsg(merge->settings.db));
}

/* What of a filter can be asked of a packet that is stored: all but the direction, which stands at its end. */
static void
cut_direction(char *filter)
{
	static const char *const ends[] = { " and inbound", "inbound" };
	size_t len = strlen(filter), n;

	for (size_t i = 0; i < sizeof(ends) / sizeof(ends[0]); i++)
		if (len >= (n = strlen(ends[i])) && strcmp(filter + len - n, ends[i]) == 0) {
			filter[len - n] = '\0';
			return;
		}
}

/* The VM would have captured only what passes its filter, where that is another one than the peer's. */
static int
compile_filter(struct merge *merge, struct merge_source *source, const char *filter)
{
	pcap_t *dead = pcap_open_dead(source->linktype == 101 ? DLT_RAW : source->linktype, (int)PCAPNG_SNAPLEN);
	int rc = 0;

	if (dead == NULL)
		return merge_fail(merge, source->vm->name, "out of memory");
	if (pcap_compile(dead, &source->filter, filter, 1, PCAP_NETMASK_UNKNOWN) == -1)
		rc = merge_fail(merge, filter, pcap_geterr(dead));
	pcap_close(dead);
	return rc;
}

int
merge_whole_describe(struct merge *merge, struct merge_source *source, struct pcapng_interface *interface)
{
	struct pcapng_interface way;
	char filter[sizeof(way.filter)];
	int found = find_way_in(merge, source, &way);

	if (found != 1)
		return found;
	memcpy(filter, way.filter, sizeof(filter));
	cut_direction(filter);
	if (filter[0] != '\0' && strcmp(filter, interface->filter) != 0 && compile_filter(merge, source, filter) == -1)
		return -1;
	*interface = way;
	interface->linktype = source->linktype;
	snprintf(interface->description, sizeof(interface->description), "what the agent of %s delivers for it", source->vm->name);
	return 0;
}

/* --- packets --- */

static bool
passes(const struct merge_source *source, const struct pcapng_packet *packet)
{
	struct pcap_pkthdr header = { .caplen = packet->captured_len, .len = packet->original_len };

	return source->filter.bf_len == 0 || pcap_offline_filter(&source->filter, &header, packet->data) != 0;
}

int
merge_whole_wants(struct merge *merge, struct merge_vm *vm)
{
	const struct pcapng_packet *packet = &vm->item.packet;
	const struct merge_source *source = merge_source_of(merge, vm, vm->item.stream, packet->interface);
	struct withheld_packet looked_at = { .at_ns = vm->heap.time_ns, .sent = (packet->flags & PCAPNG_EPB_OUT) != 0,
	    .data = packet->data, .len = packet->captured_len };

	if (source == NULL)
		return -1;
	if ((packet->flags & (PCAPNG_EPB_IN | PCAPNG_EPB_OUT)) == 0)
		return 0;
	looked_at.network = merge->network[source->network];
	looked_at.linktype = source->linktype;
	for (size_t i = 0; i < vm->span_count; i++)
		if (withheld_left_out(&vm->span[i], &looked_at))
			return passes(source, packet);
	return 0;
}

/* Has the VM captured it, too: all of it, or some? */
static void
own_copies(const struct merge *merge, const struct dedup_out *out, bool *whole, bool *part)
{
	*whole = *part = false;
	for (size_t i = 0; i < out->receiver_count; i++)
		if (merge->source[out->receiver[i].source]->vm->own) {
			*part = true;
			*whole = *whole || out->receiver[i].whole;
		}
}

/* The peer's packet as the VM would have had it: the other direction, the VM's time. */
static int
write_brought(struct merge *merge, const struct dedup_out *out, struct pcapng_packet *packet, bool in_part)
{
	const struct merge_source *source = merge->source[out->source];
	bool sent = (packet->flags & PCAPNG_EPB_OUT) != 0;
	char comment[COMMENT_SIZE];

	snprintf(comment, sizeof(comment), "%s by %s, %s%s observed", sent ? "sent" : "received", source->vm->name,
	    sent ? "arrival" : "departure", in_part ? " in part" : " not");
	packet->flags ^= PCAPNG_EPB_IN | PCAPNG_EPB_OUT;
	packet->time_ns = clock_track_guest(&merge->whole->clock, out->time_ns);
	packet->dropped = 0;
	packet->comment = comment;
	merge->scratch.len = 0;
	if (pcapng_put_epb(&merge->scratch, packet) == -1)
		return merge_fail(merge, source->name, "a packet for which there is no memory");
	source->vm->brought++;
	return pcapng_out_block(merge->settings.out, source->stream, merge->scratch.data, merge->scratch.len);
}

int
merge_whole_emit(struct merge *merge, const struct dedup_out *out)
{
	const struct merge_source *source = merge->source[out->source];
	struct pcapng_packet packet;
	struct pcapng_walk walk;
	const uint8_t *block;
	bool whole, part;
	uint32_t type;
	size_t len;

	if (source->vm->own)
		return pcapng_out_block(merge->settings.out, source->stream, out->block, out->block_len);
	own_copies(merge, out, &whole, &part);
	if (whole)
		return 1;
	pcapng_walk_init(&walk, out->block, out->block_len);
	if (pcapng_walk_next(&walk, &type, &packet, &block, &len) != 1 || type != PCAPNG_EPB)
		return merge_fail(merge, source->name, walk.error);
	return write_brought(merge, out, &packet, part);
}
