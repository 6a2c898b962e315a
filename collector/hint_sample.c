/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#include "config.h"

#include <string.h>

#include "proto/flow.h"
#include "proto/pcapng.h"
#include "proto/transit.h"

#include "collector/hint_sample.h"

#define SAMPLE_SECOND_NS	UINT64_C(1000000000)
#define SAMPLE_LEVEL_MAX	40u
#define SAMPLE_KIND_MAX		(HINT_BLOCK_SAMPLES / 2)

enum sample_kind { SAMPLE_ANY, SAMPLE_AUDIT };

/* The smallest digests of one kind, in order. */
struct sample_choice {
	struct pcapng_packet	packet[SAMPLE_KIND_MAX];
	size_t			count;
	uint64_t		limit;		/* none above it is in */
};

/* The same one, of this direction. */
static bool
choice_has(const struct sample_choice *choice, const struct pcapng_packet *packet)
{
	for (size_t i = choice->count; i > 0 && choice->packet[i - 1].packetid >= packet->packetid; i--)
		if (choice->packet[i - 1].packetid == packet->packetid && ((choice->packet[i - 1].flags ^ packet->flags) & 3) == 0)
			return true;
	return false;
}

/* False: it is not one of the smallest. */
static bool
choice_add(struct sample_choice *choice, const struct pcapng_packet *packet)
{
	size_t at = choice->count;
	uint64_t largest;

	while (at > 0 && choice->packet[at - 1].packetid > packet->packetid)
		at--;
	if (choice->count == SAMPLE_KIND_MAX) {
		largest = choice->packet[SAMPLE_KIND_MAX - 1].packetid;
		choice->limit = (packet->packetid > largest ? packet->packetid : largest) - 1;
		if (at == SAMPLE_KIND_MAX)
			return false;
		choice->count--;
	}
	memmove(&choice->packet[at + 1], &choice->packet[at], (choice->count - at) * sizeof(choice->packet[0]));
	choice->packet[at] = *packet;
	choice->count++;
	return true;
}

static bool
sample_is_audit(const struct pcapng_packet *packet, uint16_t linktype)
{
	struct flow flow = flow_of_stored(linktype, packet->data, packet->captured_len);

	return flow.known && flow.hash == 0;
}

static void
sample_consider(struct hint_sampler *sampler, struct sample_choice choice[2], const struct pcapng_packet *packet, uint16_t linktype)
{
	bool audit;

	if (packet->packetid > choice[SAMPLE_ANY].limit && packet->packetid > choice[SAMPLE_AUDIT].limit)
		return;
	if (choice_has(&choice[SAMPLE_ANY], packet) || choice_has(&choice[SAMPLE_AUDIT], packet))
		return;		/* one that is repeated is one */
	sampler->examined++;
	audit = sample_is_audit(packet, linktype);
	if (packet->packetid > choice[audit].limit)
		return;
	sampler->count[audit] += choice_add(&choice[audit], packet);
}

/* The direction of what a guest says to itself, or of what was captured without one, proves nothing. What goes to a group is never left
 * out. */
static bool
sample_take(const struct pcapng_packet *packet, uint16_t linktype, bool audit, struct hint_sample *sample)
{
	uint32_t direction = packet->flags & 3;
	struct transit transit;

	transit_parse(&transit, linktype, packet->data, packet->captured_len, packet->original_len);
	if (transit.kind == TRANSIT_NONE || transit.family == 0 || transit.group ||
	    (direction != PCAPNG_EPB_IN && direction != PCAPNG_EPB_OUT))
		return false;
	*sample = (struct hint_sample){ .digest = packet->packetid, .time_ns = packet->time_ns, .interface = packet->interface,
	    .src.family = transit.family, .dst.family = transit.family, .out = direction == PCAPNG_EPB_OUT,
	    .undivided = transit_undivided(&transit), .audit = audit };
	memcpy(sample->src.address, transit.src, sizeof(sample->src.address));
	memcpy(sample->dst.address, transit.dst, sizeof(sample->dst.address));
	return true;
}

/* Digests are spread evenly, whoever sends them: so many of so many below a limit are not by chance. */
static bool
is_uneven(uint64_t count, uint64_t seen, uint64_t limit)
{
	return count > 4 * (seen * (limit >> 32) >> 32) + 16;
}

/* Flows are looked at for the kind that takes more. */
static bool
sampler_adapt_kind(struct hint_sampler *sampler, int kind, bool over)
{
	unsigned *level = &sampler->level[kind], examined = *level <= sampler->level[!kind] ? sampler->examined : 0;
	bool uneven = false;

	if ((sampler->count[kind] > HINT_SAMPLE_RATE || examined > HINT_SAMPLE_EXAMINED) && *level < SAMPLE_LEVEL_MAX) {
		uneven = is_uneven(sampler->count[kind] > HINT_SAMPLE_RATE ? sampler->count[kind] : examined, sampler->seen,
		    UINT64_MAX >> *level);
		++*level;
		sampler->count[kind] = 0;
	} else if (over && sampler->count[kind] < HINT_SAMPLE_RATE / 4 && examined <= HINT_SAMPLE_EXAMINED / 4 && *level > 0)
		--*level;
	return uneven;
}

static bool
sampler_adapt(struct hint_sampler *sampler, uint64_t now_ns)
{
	bool over = now_ns - sampler->since_ns >= SAMPLE_SECOND_NS, uneven = false;

	for (int kind = 0; kind < 2; kind++)
		uneven |= sampler_adapt_kind(sampler, kind, over);
	if (!over && sampler->examined <= HINT_SAMPLE_EXAMINED)
		return uneven;
	sampler->since_ns = now_ns;
	sampler->seen = sampler->examined = sampler->count[0] = sampler->count[1] = 0;
	return uneven;
}

/* Returns how many packets have a digest. */
static unsigned
sample_walk(struct hint_sampler *sampler, const uint8_t *data, size_t len, const uint16_t *linktype, uint32_t count,
    struct sample_choice choice[2], struct hint_block *block)
{
	struct pcapng_packet packet;
	struct pcapng_walk walk;
	const uint8_t *inside;
	size_t inside_len;
	unsigned seen = 0;
	uint32_t type;

	pcapng_walk_init(&walk, data, len);
	while (pcapng_walk_next(&walk, &type, &packet, &inside, &inside_len) == 1) {
		if (type != PCAPNG_EPB)
			continue;
		block->dropped = block->dropped || packet.dropped > 0;
		if (packet.packetid == 0 || packet.interface >= count)
			continue;
		seen++;
		sample_consider(sampler, choice, &packet, linktype[packet.interface]);
	}
	return seen;
}

void
hint_sample_block(struct hint_sampler *sampler, const uint8_t *data, size_t len, const uint16_t *linktype, uint32_t count,
    uint64_t now_ns, struct hint_block *block)
{
	struct sample_choice choice[2];
	unsigned seen;

	for (int kind = 0; kind < 2; kind++) {
		choice[kind].count = 0;
		choice[kind].limit = UINT64_MAX >> sampler->level[kind];
	}
	block->count = 0;
	block->dropped = block->uneven = false;
	seen = sample_walk(sampler, data, len, linktype, count, choice, block);
	sampler->seen += seen;
	for (int kind = 0; kind < 2; kind++) {
		block->ceiling[kind] = choice[kind].limit;
		block->uneven = block->uneven || is_uneven(choice[kind].count, seen, choice[kind].limit);
		for (size_t i = 0; i < choice[kind].count; i++)
			block->count += sample_take(&choice[kind].packet[i], linktype[choice[kind].packet[i].interface],
			    kind == SAMPLE_AUDIT, &block->sample[block->count]);
	}
	block->uneven = sampler_adapt(sampler, now_ns) || block->uneven;
}
