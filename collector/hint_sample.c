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
#define LINK_ETHERNET		1

enum sample_kind { SAMPLE_ANY, SAMPLE_AUDIT };

/* The smallest digests of one kind, in order. */
struct sample_choice {
	struct pcapng_packet	packet[SAMPLE_KIND_MAX];
	size_t			count;
	uint64_t		limit;		/* none above it is in */
};

static void
choice_add(struct sample_choice *choice, const struct pcapng_packet *packet)
{
	uint64_t largest;
	size_t at;

	if (choice->count == SAMPLE_KIND_MAX) {
		largest = choice->packet[SAMPLE_KIND_MAX - 1].packetid;
		choice->limit = (packet->packetid > largest ? packet->packetid : largest) - 1;
		if (packet->packetid >= largest)
			return;
		choice->count--;
	}
	at = choice->count;
	while (at > 0 && choice->packet[at - 1].packetid > packet->packetid)
		at--;
	memmove(&choice->packet[at + 1], &choice->packet[at], (choice->count - at) * sizeof(choice->packet[0]));
	choice->packet[at] = *packet;
	choice->count++;
}

static bool
sample_is_audit(const struct pcapng_packet *packet, uint16_t linktype)
{
	enum bpf_link link = linktype == LINK_ETHERNET ? BPF_LINK_ETHERNET : BPF_LINK_RAW;
	uint16_t protocol = packet->captured_len > 0 && packet->data[0] >> 4 == 6 ? 0x86dd : 0x0800;
	struct flow flow = flow_of(link, protocol, packet->data, packet->captured_len);

	return flow.known && flow.hash == 0;
}

static void
sample_consider(struct hint_sampler *sampler, struct sample_choice choice[2], const struct pcapng_packet *packet, uint16_t linktype)
{
	bool audit;

	if (packet->packetid > choice[SAMPLE_ANY].limit && packet->packetid > choice[SAMPLE_AUDIT].limit)
		return;
	sampler->examined++;
	audit = sample_is_audit(packet, linktype);
	if (packet->packetid > choice[audit].limit)
		return;
	sampler->count[audit]++;
	choice_add(&choice[audit], packet);
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

static void
sampler_adapt(struct hint_sampler *sampler, uint64_t now_ns)
{
	bool over = now_ns - sampler->since_ns >= SAMPLE_SECOND_NS;

	for (int kind = 0; kind < 2; kind++) {
		bool much = kind == SAMPLE_AUDIT && sampler->examined > HINT_SAMPLE_EXAMINED, some = kind == SAMPLE_AUDIT &&
		    sampler->examined > HINT_SAMPLE_EXAMINED / 4;

		if ((sampler->count[kind] > HINT_SAMPLE_RATE || much) && sampler->level[kind] < SAMPLE_LEVEL_MAX) {
			sampler->level[kind]++;
			sampler->count[kind] = 0;
		} else if (over && sampler->count[kind] < HINT_SAMPLE_RATE / 4 && !some && sampler->level[kind] > 0)
			sampler->level[kind]--;
	}
	if (!over && sampler->examined <= HINT_SAMPLE_EXAMINED)
		return;
	sampler->since_ns = now_ns;
	sampler->examined = sampler->count[0] = sampler->count[1] = 0;
}

static void
sample_walk(struct hint_sampler *sampler, const uint8_t *data, size_t len, const uint16_t *linktype, uint32_t count,
    struct sample_choice choice[2], struct hint_block *block)
{
	struct pcapng_packet packet;
	struct pcapng_walk walk;
	const uint8_t *inside;
	size_t inside_len;
	uint32_t type;

	pcapng_walk_init(&walk, data, len);
	while (pcapng_walk_next(&walk, &type, &packet, &inside, &inside_len) == 1) {
		if (type != PCAPNG_EPB)
			continue;
		block->dropped = block->dropped || packet.dropped > 0;
		if (packet.packetid != 0 && packet.interface < count)
			sample_consider(sampler, choice, &packet, linktype[packet.interface]);
	}
}

void
hint_sample_block(struct hint_sampler *sampler, const uint8_t *data, size_t len, const uint16_t *linktype, uint32_t count,
    uint64_t now_ns, struct hint_block *block)
{
	struct sample_choice choice[2];

	for (int kind = 0; kind < 2; kind++) {
		choice[kind].count = 0;
		choice[kind].limit = UINT64_MAX >> sampler->level[kind];
	}
	block->count = 0;
	block->dropped = false;
	sample_walk(sampler, data, len, linktype, count, choice, block);
	for (int kind = 0; kind < 2; kind++) {
		block->ceiling[kind] = choice[kind].limit;
		for (size_t i = 0; i < choice[kind].count; i++)
			block->count += sample_take(&choice[kind].packet[i], linktype[choice[kind].packet[i].interface],
			    kind == SAMPLE_AUDIT, &block->sample[block->count]);
	}
	sampler_adapt(sampler, now_ns);
}
