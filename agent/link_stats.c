/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#include "config.h"

#include <stdio.h>
#include <string.h>

#include "agent/link_netif.h"
#include "agent/link_stats.h"
#include "agent/spool.h"
#include "common/clock.h"
#include "common/log.h"
#include "proto/pcapng.h"

/* Of a tap that nobody ever had, the pages are left alone. */
void
stats_reset(struct link_stats *stats)
{
	if (stats->any_stream)
		memset(stats, 0, sizeof(*stats));
}

/* Another stream's ids are other interfaces. */
static void
forget_nics(const struct link_stats *stats, struct spool *spool)
{
	uint32_t id;

	for (id = 0; id < stats->count; id++) {
		spool_count_set(spool, COUNTER_NIC_DROPPED, id, 0);
		spool_count_set(spool, COUNTER_NIC_MISSED, id, 0);
	}
}

/* The newest stream is the one being captured. */
static bool
find_stream(struct link_stats *stats, struct spool *spool)
{
	struct spool_stream streams[MSG_STREAMS_MAX];
	size_t count = spool_streams(spool, streams);

	if (count == 0)
		return stats->any_stream;
	if (!stats->any_stream || memcmp(stats->stream, streams[count - 1].id, MSG_ID_SIZE) != 0) {
		if (stats->any_stream)
			forget_nics(stats, spool);
		stats_reset(stats);
		memcpy(stats->stream, streams[count - 1].id, MSG_ID_SIZE);
		stats->any_stream = true;
	}
	return true;
}

static void
add_interface(struct link_stats *stats, const uint8_t *idb, size_t len)
{
	struct stats_interface *fresh = &stats->interface[stats->count];
	struct pcapng_interface parsed;
	uint32_t i;

	memset(fresh, 0, sizeof(*fresh));
	stats->count++;
	if (pcapng_parse_idb(idb, len, &parsed) == -1 || strlen(parsed.name) >= sizeof(fresh->name))
		return;
	strcpy(fresh->name, parsed.name);
	fresh->current = true;
	for (i = 0; i + 1 < stats->count; i++)
		if (strcmp(stats->interface[i].name, fresh->name) == 0)
			stats->interface[i].current = false;
}

bool
stats_refresh(struct link_stats *stats, struct spool *spool)
{
	uint8_t idb[MSG_IDB_MAX];
	int len;

	spool_count_set(spool, COUNTER_CPU_LINK_US, STATS_AGENT, clock_cpu_us());
	if (!find_stream(stats, spool))
		return false;
	while (stats->count < MSG_INTERFACES_MAX && (len = spool_interface_get(spool, stats->stream, stats->count, idb)) != -1)
		add_interface(stats, idb, (size_t)len);
	return true;
}

void
stats_count_nics(struct link_stats *stats, struct spool *spool, const struct netif_table *netifs)
{
	struct stats_interface *interface;
	const struct netif *netif;
	uint32_t id;

	for (id = 0; id < stats->count; id++) {
		interface = &stats->interface[id];
		if (!interface->current || (netif = netif_by_name(netifs, interface->name)) == NULL || !netif->has_drops) {
			interface->seen = false;
			continue;
		}
		if (interface->seen) {
			/* Modulo 2^32, as they are counted. */
			spool_count_add(spool, COUNTER_NIC_DROPPED, id, (uint32_t)(netif->rx_dropped - interface->rx_dropped));
			spool_count_add(spool, COUNTER_NIC_MISSED, id, (uint32_t)(netif->rx_missed - interface->rx_missed));
		}
		interface->seen = true;
		interface->rx_dropped = netif->rx_dropped;
		interface->rx_missed = netif->rx_missed;
	}
}

/* --- all counters of a tap, in one order --- */

struct stats_walk {
	uint32_t	interface;	/* of the one found; STATS_AGENT behind the last id */
	unsigned	counter;
	size_t		place;		/* in told */
};

/* The next counter that there is, after walk; false: no more. Starts from an all-zero walk. */
static bool
walk_next(const struct link_stats *stats, struct stats_walk *walk)
{
	const struct counter_row *row;
	uint32_t index = walk->interface == STATS_AGENT ? stats->count : walk->interface;

	for (; index <= stats->count; index++, walk->counter = 0) {
		while (++walk->counter < COUNTER_MAX) {
			row = counter_row(walk->counter);
			if (row == NULL || row->per_interface != (index < stats->count))
				continue;
			walk->interface = index < stats->count ? index : STATS_AGENT;
			walk->place = (index < stats->count ? index : MSG_INTERFACES_MAX) * COUNTER_MAX + walk->counter;
			return true;
		}
	}
	return false;
}

/* What is in the spool falls by acknowledgements too, which its producer does not see. */
static uint64_t
value_of(const struct spool *spool, const struct stats_walk *walk)
{
	if (walk->counter == COUNTER_SPOOL_BYTES)
		return spool_used(spool);
	return spool_count_get(spool, (enum counter)walk->counter, walk->interface);
}

/* Those that move by telling alone do not count as a change. */
static bool
counter_matters(unsigned counter)
{
	return counter != COUNTER_CPU_LINK_US && counter != COUNTER_CPU_CAPTURE_US && counter != COUNTER_BYTES_SENT;
}

bool
stats_changed(const struct link_stats *stats, const struct spool *spool)
{
	struct stats_walk walk = { 0 };

	while (walk_next(stats, &walk))
		if (counter_matters(walk.counter) && value_of(spool, &walk) != stats->told[walk.place])
			return true;
	return false;
}

void
stats_fill(struct link_stats *stats, const struct spool *spool, struct msg_stats *msg, struct msg_stat stat[LINK_STATS_MAX])
{
	struct stats_walk walk = { 0 };
	size_t count = 0;

	memset(msg, 0, sizeof(*msg));
	memcpy(msg->stream, stats->stream, MSG_ID_SIZE);
	msg->wall_ns = clock_wall_ns();
	msg->stat = stat;
	while (walk_next(stats, &walk)) {
		stats->told[walk.place] = value_of(spool, &walk);
		stat[count].counter = (uint16_t)walk.counter;
		stat[count].interface = walk.interface;
		stat[count].value = stats->told[walk.place];
		count++;
	}
	msg->count = (uint16_t)count;
}

/* The capture role logs the others of an interface. */
static bool
counter_own(unsigned counter)
{
	return counter == COUNTER_NIC_DROPPED || counter == COUNTER_NIC_MISSED;
}

void
stats_log(const struct link_stats *stats, const struct spool *spool)
{
	struct stats_walk walk = { 0 };
	const char *where;
	uint64_t value;

	while (walk_next(stats, &walk)) {
		if (counter_row(walk.counter)->per_interface && !counter_own(walk.counter))
			continue;
		value = value_of(spool, &walk);
		where = walk.interface == STATS_AGENT ? "agent" : stats->interface[walk.interface].name;
		if (value != 0)
			log_info("%s: %s %llu", where, counter_row(walk.counter)->name, (unsigned long long)value);
	}
}
