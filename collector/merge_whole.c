/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#include "config.h"

#include <sys/socket.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <sqlite3.h>

#include "hint_rule.h"
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

/* A stored packet has no direction that a program could ask for: the words for it are put as what is known of it. */
static void
set_direction(char *text, size_t size, const char *filter, bool in)
{
	static const char *const yes = "greater 0", *const no = "less 0";
	const char *put;
	size_t len, used = 0;

	for (text[0] = '\0'; *filter != '\0' && used < size; filter += len) {
		if ((len = strspn(filter, "abcdefghijklmnopqrstuvwxyz0123456789_.:-")) == 7 && memcmp(filter, "inbound", 7) == 0)
			put = in ? yes : no;
		else if (len == 8 && memcmp(filter, "outbound", 8) == 0)
			put = in ? no : yes;
		else
			put = NULL;
		len += len == 0;
		used += (size_t)snprintf(text + used, size - used, "%.*s", put != NULL ? (int)strlen(put) : (int)len,
		    put != NULL ? put : filter);
	}
}

/* The VM would have captured only what passes its filter. One that cannot be asked of this link type lets all pass, which is told. */
static int
compile_filter(struct merge *merge, struct merge_source *source, const char *filter)
{
	pcap_t *dead = pcap_open_dead(source->linktype == 101 ? DLT_RAW : source->linktype, (int)PCAPNG_SNAPLEN);
	char text[2 * sizeof(((struct pcapng_interface *)NULL)->filter)], warning[2 * MERGE_NAME_SIZE + 120];
	int failed = 0;

	if (dead == NULL)
		return merge_fail(merge, source->vm->name, "out of memory");
	/* An agent has said it: of another kind it would never have been told to withhold, and names in it are nobody's to resolve. */
	failed += !hint_filter_covers("", filter);
	for (unsigned in = 0; failed == 0 && in < 2; in++) {
		set_direction(text, sizeof(text), filter, in == 1);
		failed += pcap_compile(dead, &source->filter[in], text, 1, PCAP_NETMASK_UNKNOWN) == -1;
	}
	pcap_close(dead);
	if (failed == 0)
		return 0;
	snprintf(warning, sizeof(warning), "the filter of %s cannot be asked of what %s delivers for it: all of that is taken",
	    merge->whole->name, source->vm->name);
	merge->settings.warning(warning, merge->settings.arg);
	return 0;
}

int
merge_whole_describe(struct merge *merge, struct merge_source *source, struct pcapng_interface *interface)
{
	struct pcapng_interface way;
	int found = find_way_in(merge, source, &way);

	if (found != 1)
		return found;
	if (way.filter[0] != '\0' && compile_filter(merge, source, way.filter) == -1)
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
	const struct bpf_program *filter = &source->filter[(packet->flags & PCAPNG_EPB_OUT) != 0];
	struct pcap_pkthdr header = { .caplen = packet->captured_len, .len = packet->original_len };

	return filter->bf_len == 0 || pcap_offline_filter(filter, &header, packet->data) != 0;
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
	return withheld_left_out(vm->span, vm->span_count, &looked_at) && passes(source, packet);
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
