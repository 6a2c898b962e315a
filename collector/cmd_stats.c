/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#include "config.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include <jansson.h>
#include <sqlite3.h>

#include "common/clock.h"
#include "proto/counter.h"

#include "catalog.h"
#include "cmd.h"
#include "cmd_list.h"
#include "ledger.h"
#include "table.h"

/* vmtap stats: the ledger of a VM, then what it is made of. */

static const struct table_column stat_columns[] = {
	{ "stream", "STREAM", TABLE_TEXT }, { "interface", "INTERFACE", TABLE_TEXT }, { "place", "PLACE", TABLE_TEXT },
	{ "counter", "COUNTER", TABLE_TEXT }, { "value", "VALUE", TABLE_COUNT }, { "updated", "UPDATED", TABLE_TIME },
	{ NULL, NULL, TABLE_TEXT }
};
static const char stat_sql[] =
    "SELECT substr(lower(hex(stat.stream)), 1, 8) AS stream, coalesce(interface.name, CASE stat.interface WHEN -1 THEN '-'"
    " ELSE stat.interface END) AS interface, counter, value, updated_ns AS updated FROM stat"
    " LEFT JOIN interface ON interface.stream = stat.stream AND interface.id = stat.interface"
    " JOIN stream ON stream.id = stat.stream"
    " WHERE stat.vm = ?1 ORDER BY stream.started_ns, stat.stream, stat.interface, counter";

static const struct table_column loss_columns[] = {
	{ "stream", "STREAM", TABLE_TEXT }, { "place", "PLACE", TABLE_TEXT }, { "first_block", "FIRST", TABLE_COUNT },
	{ "last_block", "LAST", TABLE_COUNT }, { "packets", "PACKETS", TABLE_COUNT }, { "bytes", "BYTES", TABLE_BYTES },
	{ "from", "FROM", TABLE_TIME }, { "to", "TO", TABLE_TIME }, { "approximate", NULL, TABLE_COUNT }, { NULL, NULL, TABLE_TEXT }
};
static const char loss_sql[] =
    "SELECT substr(lower(hex(stream)), 1, 8) AS stream, place, first_block, last_block, packets, bytes, first_ns AS \"from\","
    " last_ns AS \"to\", approximate FROM loss WHERE vm = ?1 ORDER BY id";

static const struct table_column event_columns[] = {
	{ "at", "AT", TABLE_TIME }, { "stream", "STREAM", TABLE_TEXT }, { "block", "BLOCK", TABLE_COUNT }, { "text", "WHAT", TABLE_TEXT },
	{ NULL, NULL, TABLE_TEXT }
};
static const char event_sql[] =
    "SELECT at_ns AS at, substr(lower(hex(stream)), 1, 8) AS stream, block, text FROM event WHERE vm = ?1 ORDER BY id";

static const struct table_column withheld_columns[] = {
	{ "peer", "PEER", TABLE_TEXT }, { "address", "ADDRESS", TABLE_TEXT }, { "network", "NETWORK", TABLE_TEXT },
	{ "share", "SHARE", TABLE_TEXT }, { "since", "SINCE", TABLE_TIME }, { NULL, NULL, TABLE_TEXT }
};
static const char withheld_sql[] =
    "SELECT peer.name AS peer, withheld.address, network, CASE balanced WHEN 0 THEN 'sender' ELSE 'balanced' END AS share,"
    " from_ns AS since FROM withheld JOIN vm AS peer ON peer.uuid = withheld.peer WHERE withheld.vm = ?1 AND to_ns IS NULL"
    " ORDER BY peer.name, withheld.address";

static const struct table_column interface_columns[] = {
	{ "interface", "INTERFACE", TABLE_TEXT }, { "nic_dropped", "NIC DROPPED", TABLE_COUNT },
	{ "nic_missed", "NIC MISSED", TABLE_COUNT }, { "from", "FROM", TABLE_TIME }, { "to", "TO", TABLE_TIME },
	{ "unwatched", "UNWATCHED", TABLE_COUNT }, { NULL, NULL, TABLE_TEXT }
};
/* NULL where no agent told it. Counts begin with the stream, so that they add up. */
static const char interface_sql[] =
    "SELECT interface.name AS interface,"
    " CAST(CASE WHEN count(CASE counter WHEN 'nic_dropped_packets' THEN 1 END) > 0 THEN"
    " total(CASE counter WHEN 'nic_dropped_packets' THEN value END) END AS INTEGER) AS nic_dropped,"
    " CAST(CASE WHEN count(CASE counter WHEN 'nic_missed_packets' THEN 1 END) > 0 THEN"
    " total(CASE counter WHEN 'nic_missed_packets' THEN value END) END AS INTEGER) AS nic_missed,"
    " min(CASE WHEN value > 0 AND counter <> 'unwatched_packets' THEN since_ns END) AS \"from\","
    " max(CASE WHEN value > 0 AND counter <> 'unwatched_packets' THEN changed_ns END) AS \"to\","
    " CAST(CASE WHEN count(CASE counter WHEN 'unwatched_packets' THEN 1 END) > 0 THEN"
    " total(CASE counter WHEN 'unwatched_packets' THEN value END) END AS INTEGER) AS unwatched"
    " FROM stream JOIN interface ON interface.stream = stream.id"
    " LEFT JOIN stat ON stat.vm = stream.vm AND stat.stream = stream.id AND stat.interface = interface.id"
    " AND counter IN ('nic_dropped_packets', 'nic_missed_packets', 'unwatched_packets')"
    " WHERE stream.vm = ?1 GROUP BY interface.name ORDER BY interface.name";

static const struct table_column term_columns[] = {
	{ "term", "LEDGER", TABLE_TEXT }, { "packets", "PACKETS", TABLE_COUNT }, { "from", "FROM", TABLE_TEXT }, { "to", "TO", TABLE_TEXT },
	{ NULL, NULL, TABLE_TEXT }
};
static const struct table_column stream_columns[] = {
	{ "stream", "STREAM", TABLE_TEXT }, { "started", "STARTED", TABLE_TEXT }, { "state", "STATE", TABLE_TEXT },
	{ "level", "LEVEL", TABLE_TEXT }, { "came", "CAME", TABLE_COUNT }, { "stored", "STORED", TABLE_COUNT }, { "gaps", "GAPS", TABLE_COUNT },
	{ "cut", "CUT OFF", TABLE_COUNT }, { "under_way", "UNDER WAY", TABLE_COUNT }, { "unaccounted", "UNACCOUNTED", TABLE_COUNT },
	{ NULL, NULL, TABLE_TEXT }
};

/* What vmtap stats shows, as JSON. */
struct stats {
	json_t	*ledger, *interfaces, *events, *losses, *withheld, *counters;
};

static json_t *
time_value(uint64_t time_ns)
{
	char iso[CLOCK_ISO_SIZE];

	return time_ns != 0 ? json_string(clock_iso(time_ns, iso, sizeof(iso))) : json_null();
}

static json_t *
terms_json(const struct ledger_part *part)
{
	json_t *terms = json_object(), *object;

	for (int id = 0; id < LEDGER_TERMS; id++) {
		const struct ledger_term *term = &part->term[id];

		object = json_pack("{s:o,s:o,s:o,s:b,s:b}", "packets", term->known ? json_integer(term->packets) : json_null(),
		    "from", time_value(term->from_ns), "to", time_value(term->to_ns), "up_to", term->up_to, "more", term->more);
		json_object_set_new(terms, ledger_name((enum ledger_id)id), object);
	}
	return terms;
}

static json_t *
part_json(const struct ledger_part *part)
{
	return json_pack("{s:s,s:o,s:o,s:b}", "level", ledger_level_name(part->level), "terms", terms_json(part), "unaccounted",
	    part->balanced ? json_integer(part->unaccounted) : json_null(), "exact", part->exact);
}

static const char *
stream_state(const struct ledger_stream *stream)
{
	static const char *const ends[] = { [STREAM_WHOLE] = "ended", [STREAM_CUT] = "cut off", [STREAM_ELSEWHERE] = "elsewhere" };

	return !stream->ended ? "open" : stream->cut >= STREAM_WHOLE && stream->cut <= STREAM_ELSEWHERE ? ends[stream->cut] : "?";
}

static void
stream_hex(const struct ledger_stream *stream, char text[9])
{
	snprintf(text, 9, "%02x%02x%02x%02x", stream->id[0], stream->id[1], stream->id[2], stream->id[3]);
}

static json_t *
ledger_json(const struct ledger *ledger)
{
	json_t *all = part_json(&ledger->sum), *streams = json_array(), *object;
	char id[9];

	for (size_t i = 0; i < ledger->count; i++) {
		stream_hex(&ledger->stream[i], id);
		object = part_json(&ledger->stream[i].part);
		json_object_set_new(object, "stream", json_string(id));
		json_object_set_new(object, "started", time_value(ledger->stream[i].started_ns));
		json_object_set_new(object, "state", json_string(stream_state(&ledger->stream[i])));
		json_array_append_new(streams, object);
	}
	json_object_set_new(all, "streams", streams);
	return all;
}

/* "up to 40", "40 and more": for people. */
static json_t *
term_cell(const struct ledger_term *term)
{
	char text[64];

	if (!term->known)
		return json_string("unknown");
	if (term->more && term->packets == 0)
		return json_string("any number");
	snprintf(text, sizeof(text), "%s%" PRId64 "%s", term->up_to && !term->more ? "up to " : "", term->packets,
	    term->more ? " and more" : "");
	return json_string(text);
}

/* Is the term worth a line? Those that the equation at hand begins with always are, others where there is something. */
static bool
term_shown(const struct ledger_part *part, enum ledger_id id)
{
	if (id == LEDGER_OFFERED || id == LEDGER_STORED || id == LEDGER_RING_DROPPED || id == LEDGER_UNDER_WAY)
		return true;
	if (id == LEDGER_RING_RECEIVED)
		return part->level != LEDGER_KERNEL;
	if (id == LEDGER_FILTERED || id == LEDGER_OWN)
		return true;
	return part->term[id].packets != 0 || part->term[id].more;
}

static void
print_terms(const struct ledger_part *part)
{
	json_t *rows = json_array();

	for (int id = 0; id < LEDGER_TERMS; id++) {
		const struct ledger_term *term = &part->term[id];

		if (term_shown(part, (enum ledger_id)id))
			json_array_append_new(rows, json_pack("{s:s,s:o,s:o,s:o}", "term", ledger_words((enum ledger_id)id), "packets",
			    term_cell(term), "from", time_value(term->from_ns), "to", time_value(term->to_ns)));
	}
	json_array_append_new(rows, json_pack("{s:s,s:o}", "term", "unaccounted", "packets",
	    part->balanced ? json_integer(part->unaccounted) : json_string("unknown")));
	table_print(term_columns, rows, false);
	json_decref(rows);
}

static json_t *
stream_row(const struct ledger_stream *stream)
{
	const struct ledger_part *part = &stream->part;
	struct ledger_term gaps = { .known = true };
	char id[9];

	for (int gap = LEDGER_GAP_SPOOL; gap <= LEDGER_GAP_STORE; gap++) {
		gaps.packets = ledger_add(gaps.packets, part->term[gap].packets);
		gaps.up_to = gaps.up_to || part->term[gap].up_to;
		gaps.more = gaps.more || part->term[gap].more;
	}
	stream_hex(stream, id);
	return json_pack("{s:s,s:o,s:s,s:s,s:o,s:o,s:o,s:o,s:o,s:o}", "stream", id, "started", time_value(stream->started_ns), "state",
	    stream_state(stream), "level", ledger_level_name(part->level), "came",
	    term_cell(&part->term[part->level == LEDGER_KERNEL ? LEDGER_OFFERED : LEDGER_RING_RECEIVED]), "stored",
	    term_cell(&part->term[LEDGER_STORED]), "gaps", term_cell(&gaps), "cut",
	    part->term[LEDGER_CUT].known ? term_cell(&part->term[LEDGER_CUT]) : json_integer(0), "under_way",
	    json_integer(part->term[LEDGER_UNDER_WAY].packets), "unaccounted",
	    part->balanced ? json_integer(part->unaccounted) : json_string("unknown"));
}

static void
print_ledger(const struct ledger *ledger)
{
	json_t *rows = json_array();

	print_terms(&ledger->sum);
	for (size_t i = 0; i < ledger->count; i++)
		json_array_append_new(rows, stream_row(&ledger->stream[i]));
	printf("\n");
	table_print(stream_columns, rows, false);
	json_decref(rows);
}

/* What no agent told is unknown, not 0. */
static void
print_interfaces(json_t *interfaces)
{
	static const char *const keys[] = { "nic_dropped", "nic_missed", "unwatched" };
	json_t *row;
	size_t i, k;

	json_array_foreach(interfaces, i, row)
		for (k = 0; k < sizeof(keys) / sizeof(keys[0]); k++)
			if (json_is_null(json_object_get(row, keys[k])))
				json_object_set_new(row, keys[k], json_string("unknown"));
	printf("\n");
	table_print(interface_columns, interfaces, false);
}

static void
print_section(const char *title, const char *none, const struct table_column *columns, const json_t *rows)
{
	if (json_array_size(rows) == 0) {
		printf("\n%s\n", none);
		return;
	}
	printf("\n%s\n", title);
	table_print(columns, rows, false);
}

static void
print_tables(const struct catalog_vm *vm, const struct ledger *ledger, const struct stats *stats)
{
	printf("%s (tenant %s, %s)\n\n", vm->name, vm->tenant, vm->uuid);
	print_ledger(ledger);
	print_interfaces(stats->interfaces);
	print_section("events", "no events", event_columns, stats->events);
	print_section("gaps", "no gaps", loss_columns, stats->losses);
	if (json_array_size(stats->withheld) > 0)
		print_section("left to peers", "", withheld_columns, stats->withheld);
	print_section("counters", "no counters", stat_columns, stats->counters);
}

static void
print_json(const struct catalog_vm *vm, const struct stats *stats)
{
	json_t *all = json_pack("{s:{s:s,s:s,s:s},s:O,s:O,s:O,s:O,s:O,s:O}", "vm", "name", vm->name, "tenant", vm->tenant, "uuid", vm->uuid,
	    "ledger", stats->ledger, "interfaces", stats->interfaces, "events", stats->events, "counters", stats->counters, "losses",
	    stats->losses, "withheld", stats->withheld);

	json_dumpf(all, stdout, JSON_INDENT(2) | JSON_ENSURE_ASCII);
	fputc('\n', stdout);
	json_decref(all);
}

/* Where in the data path a counter counts, beside its name. */
static void
add_places(json_t *rows)
{
	const struct counter_row *row;
	json_t *object;
	size_t i;

	json_array_foreach(rows, i, object)
		if ((row = counter_by_name(json_string_value(json_object_get(object, "counter")))) != NULL)
			json_object_set_new(object, "place", json_string(row->place));
}

static bool
read_stats(sqlite3 *db, const char *verb, const char *uuid, struct stats *stats)
{
	if ((stats->interfaces = table_query(db, verb, interface_columns, interface_sql, uuid)) == NULL ||
	    (stats->events = table_query(db, verb, event_columns, event_sql, uuid)) == NULL ||
	    (stats->losses = table_query(db, verb, loss_columns, loss_sql, uuid)) == NULL ||
	    (stats->withheld = table_query(db, verb, withheld_columns, withheld_sql, uuid)) == NULL ||
	    (stats->counters = table_query(db, verb, stat_columns, stat_sql, uuid)) == NULL)
		return false;
	add_places(stats->counters);
	return true;
}

int
cmd_stats(int argc, char **argv)
{
	struct list_options options = { 0 };
	struct stats stats = { 0 };
	struct ledger ledger;
	struct catalog_vm vm;
	bool good = false;
	sqlite3 *db;
	int status;

	if (!list_open_vm(argc, argv, &options, &db, &vm, &status))
		return status;
	if (ledger_read(db, vm.uuid, &ledger) == -1)
		cmd_fail(argv[0], "catalog: %s", sqlite3_errmsg(db));
	else
		good = read_stats(db, argv[0], vm.uuid, &stats);
	sqlite3_close(db);
	if (good && options.json) {
		stats.ledger = ledger_json(&ledger);
		print_json(&vm, &stats);
	} else if (good)
		print_tables(&vm, &ledger, &stats);
	ledger_clear(&ledger);
	json_decref(stats.ledger);
	json_decref(stats.interfaces);
	json_decref(stats.events);
	json_decref(stats.losses);
	json_decref(stats.withheld);
	json_decref(stats.counters);
	conf_free(list_rows, &options);
	return !good;
}
