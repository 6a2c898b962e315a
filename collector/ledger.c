/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#include "config.h"

#include <stdlib.h>
#include <string.h>

#include <sqlite3.h>

#include "collector/catalog.h"
#include "collector/ledger.h"
#include "collector/loss.h"

static const struct {
	const char	*name, *words;
	const char	*counter;	/* of an agent, whose sum it is; NULL: the collector's own knowledge */
} terms[LEDGER_TERMS] = {
	[LEDGER_OFFERED] = { "offered", "offered by the kernel", "offered_packets" },
	[LEDGER_FILTERED] = { "filtered", "refused by a filter", "filtered_packets" },
	[LEDGER_OWN] = { "own", "the agent's own", "own_packets" },
	[LEDGER_WITHHELD] = { "withheld", "left to a peer's agent", "withheld_packets" },
	[LEDGER_SAMPLED_OUT] = { "sampled_out", "flows not sampled", "sampled_out_packets" },
	[LEDGER_PAUSED] = { "paused", "while paused", "paused_packets" },
	[LEDGER_RING_RECEIVED] = { "ring_received", "passed the filter", "ring_received_packets" },
	[LEDGER_RING_DROPPED] = { "ring_dropped", "dropped, ring full", "ring_dropped_packets" },
	[LEDGER_OVERSIZE] = { "oversize", "too large for a block", "oversize_packets" },
	[LEDGER_STORED] = { "stored", "stored", NULL },
	[LEDGER_EXPIRED] = { "expired", "  of these expired", NULL },
	[LEDGER_GAP_SPOOL] = { "gap_spool", "gap: spool full", NULL },
	[LEDGER_GAP_CAPTURE] = { "gap_capture", "gap: no room", NULL },
	[LEDGER_GAP_PULL] = { "gap_pull", "gap: slow operator", NULL },
	[LEDGER_GAP_DISK] = { "gap_disk", "gap: disk spool", NULL },
	[LEDGER_GAP_LINK] = { "gap_link", "gap: not delivered", NULL },
	[LEDGER_GAP_ELSEWHERE] = { "gap_elsewhere", "gap: in another store", NULL },
	[LEDGER_GAP_STORE] = { "gap_store", "gap: gone from the store", NULL },
	[LEDGER_CUT] = { "cut", "capture cut off", NULL },
	[LEDGER_POSSIBLE] = { "possible_gap", "possible gap: left to a peer", NULL },
	[LEDGER_UNDER_WAY] = { "under_way", "under way", "captured_packets" },
	[LEDGER_SWITCHED] = { "switched", "uncertain, filter changed", "switched_packets" },
};

const char *
ledger_name(enum ledger_id id)
{
	return terms[id].name;
}

const char *
ledger_words(enum ledger_id id)
{
	return terms[id].words;
}

const char *
ledger_level_name(enum ledger_level level)
{
	static const char *const names[] = { [LEDGER_OFF] = "off", [LEDGER_RING] = "ring", [LEDGER_KERNEL] = "kernel" };

	return names[level];
}

int64_t
ledger_add(int64_t a, int64_t b)
{
	int64_t sum;

	if (__builtin_add_overflow(a, b, &sum))
		return b > 0 ? INT64_MAX : -INT64_MAX;
	return sum;
}

static void
term_add(struct ledger_term *term, int64_t packets, uint64_t from_ns, uint64_t to_ns)
{
	term->known = true;
	term->packets = ledger_add(term->packets, packets);
	if (from_ns != 0 && (term->from_ns == 0 || from_ns < term->from_ns))
		term->from_ns = from_ns;
	if (to_ns > term->to_ns)
		term->to_ns = to_ns;
}

static uint64_t
column_u64(sqlite3_stmt *stmt, int column)
{
	return (uint64_t)sqlite3_column_int64(stmt, column);
}

/* What one reading holds beside its result. */
struct ledger_reader {
	struct ledger	*ledger;
	size_t		 size;		/* room in ledger->stream */
	size_t		*by_id;		/* its indices, sorted once all streams are there */
	size_t		 last;		/* found: rows of one stream mostly come together */
};

static int
id_compare(const void *a, const void *b, void *arg)
{
	const struct ledger *ledger = arg;

	return memcmp(ledger->stream[*(const size_t *)a].id, ledger->stream[*(const size_t *)b].id, MSG_ID_SIZE);
}

static int
ledger_sort(struct ledger_reader *reader)
{
	struct ledger *ledger = reader->ledger;

	if (ledger->count == 0)
		return 0;
	if ((reader->by_id = calloc(ledger->count, sizeof(*reader->by_id))) == NULL)
		return -1;
	for (size_t i = 0; i < ledger->count; i++)
		reader->by_id[i] = i;
	qsort_r(reader->by_id, ledger->count, sizeof(*reader->by_id), id_compare, ledger);
	return 0;
}

static struct ledger_stream *
ledger_find(struct ledger_reader *reader, sqlite3_stmt *stmt)
{
	struct ledger_stream *stream = reader->ledger->stream;
	const void *id = sqlite3_column_blob(stmt, 0);
	size_t low = 0, high = reader->ledger->count;

	if (id == NULL || sqlite3_column_bytes(stmt, 0) != MSG_ID_SIZE || high == 0)
		return NULL;
	if (memcmp(stream[reader->last].id, id, MSG_ID_SIZE) == 0)
		return &stream[reader->last];
	while (low < high) {
		size_t middle = low + (high - low) / 2, at = reader->by_id[middle];
		int order = memcmp(stream[at].id, id, MSG_ID_SIZE);

		if (order == 0)
			return &stream[reader->last = at];
		if (order < 0)
			low = middle + 1;
		else
			high = middle;
	}
	return NULL;
}

static int
ledger_reserve(struct ledger_reader *reader)
{
	size_t size = reader->size > 0 ? reader->size * 2 : 16;
	struct ledger_stream *stream;

	if (reader->ledger->count < reader->size)
		return 0;
	if ((stream = reallocarray(reader->ledger->stream, size, sizeof(*stream))) == NULL)
		return -1;
	reader->ledger->stream = stream;
	reader->size = size;
	return 0;
}

static int
ledger_take_stream(struct ledger_reader *reader, sqlite3_stmt *stmt)
{
	struct ledger_stream *stream;

	if (ledger_reserve(reader) == -1)
		return -1;
	stream = &reader->ledger->stream[reader->ledger->count++];
	memset(stream, 0, sizeof(*stream));
	if (sqlite3_column_bytes(stmt, 0) == MSG_ID_SIZE)
		memcpy(stream->id, sqlite3_column_blob(stmt, 0), MSG_ID_SIZE);
	stream->started_ns = column_u64(stmt, 1);
	stream->ended = sqlite3_column_int(stmt, 2) != 0;
	stream->cut = sqlite3_column_int(stmt, 3);
	stream->stats_ns = column_u64(stmt, 4);
	term_add(&stream->part.term[LEDGER_STORED], sqlite3_column_int64(stmt, 5), column_u64(stmt, 6), column_u64(stmt, 7));
	/* Nothing is expired until its file is not there. */
	term_add(&stream->part.term[LEDGER_EXPIRED], sqlite3_column_int64(stmt, 5), 0, 0);
	stream->part.level = LEDGER_RING;
	return 0;
}

/* Columns: id, counter, sum of the values, since_ns, changed_ns. Only the level is one of the agent. */
static int
ledger_take_stat(struct ledger_reader *reader, sqlite3_stmt *stmt)
{
	struct ledger_stream *stream = ledger_find(reader, stmt);
	const char *name = (const char *)sqlite3_column_text(stmt, 1);
	int64_t value = sqlite3_column_int64(stmt, 2);

	if (stream == NULL || name == NULL)
		return 0;
	if (strcmp(name, "ledger") == 0)
		stream->part.level = value >= LEDGER_KERNEL ? LEDGER_KERNEL : value == LEDGER_RING ? LEDGER_RING : LEDGER_OFF;
	for (int id = 0; id < LEDGER_TERMS; id++)
		if (terms[id].counter != NULL && strcmp(terms[id].counter, name) == 0)
			term_add(&stream->part.term[id], value, column_u64(stmt, 3), column_u64(stmt, 4));
	return 0;
}

static int
ledger_take_file(struct ledger_reader *reader, sqlite3_stmt *stmt)
{
	struct ledger_stream *stream = ledger_find(reader, stmt);

	if (stream == NULL)
		return 0;
	term_add(&stream->part.term[LEDGER_EXPIRED], -sqlite3_column_int64(stmt, 1), 0, 0);
	stream->part.term[LEDGER_EXPIRED].to_ns = column_u64(stmt, 2);
	return 0;
}

static int
ledger_take_loss(struct ledger_reader *reader, sqlite3_stmt *stmt)
{
	struct ledger_stream *stream = ledger_find(reader, stmt);
	const char *name = (const char *)sqlite3_column_text(stmt, 1);
	int place = name != NULL ? loss_place(name) : -1, bound = sqlite3_column_int(stmt, 5);
	int64_t packets = sqlite3_column_int64(stmt, 2);
	struct ledger_term *term;

	if (stream == NULL || place == -1)
		return 0;
	term = &stream->part.term[place == LOSS_CUT ? LEDGER_CUT : place == LOSS_WITHHELD ? LEDGER_POSSIBLE :
	    LEDGER_GAP((enum loss_place)place)];
	term_add(term, packets, column_u64(stmt, 3), column_u64(stmt, 4));
	term->up_to = term->up_to || bound == LOSS_UP_TO;
	term->more = term->more || bound == LOSS_UNKNOWN;
	if (place != LOSS_STORE)
		return 0;
	/* Stored once, and neither there any more nor expired. */
	term_add(&stream->part.term[LEDGER_STORED], -packets, 0, 0);
	term_add(&stream->part.term[LEDGER_EXPIRED], -packets, 0, 0);
	return 0;
}

static const struct {
	const char	*sql;
	int		(*take)(struct ledger_reader *, sqlite3_stmt *);
} queries[] = {		/* the streams first: the others are theirs */
	{ "SELECT id, started_ns, ended, cut, stats_ns, packets, first_ns, last_ns FROM stream WHERE vm = ?1 ORDER BY rowid",
	    ledger_take_stream },
	{ "SELECT stream, counter, value, CASE WHEN value > 0 THEN since_ns END, CASE WHEN value > 0 THEN changed_ns END FROM stat"
	    " WHERE vm = ?1 AND (interface >= 0 OR counter = 'ledger')", ledger_take_stat },
	{ "SELECT stream, sum(packets), min(first_ns) FROM file WHERE vm = ?1 GROUP BY stream", ledger_take_file },
	{ "SELECT stream, place, packets, first_ns, last_ns, approximate FROM loss WHERE vm = ?1", ledger_take_loss },
};

static int
ledger_query(sqlite3 *db, const char *sql, const char *vm_uuid, int (*take)(struct ledger_reader *, sqlite3_stmt *),
    struct ledger_reader *reader)
{
	sqlite3_stmt *stmt = NULL;
	int rc = SQLITE_ERROR;

	if (sqlite3_prepare_v2(db, sql, -1, &stmt, NULL) == SQLITE_OK &&
	    sqlite3_bind_text(stmt, 1, vm_uuid, -1, SQLITE_STATIC) == SQLITE_OK)
		while ((rc = sqlite3_step(stmt)) == SQLITE_ROW)
			if (take(reader, stmt) == -1)
				break;
	sqlite3_finalize(stmt);
	return rc == SQLITE_DONE ? 0 : -1;
}

/* Packets that the collector knows of: stored, or in a gap, those gone from its disk included. slack: how many too many that may be. */
static int64_t
part_taken(const struct ledger_part *part, int64_t *slack)
{
	int64_t taken = part->term[LEDGER_STORED].packets;

	*slack = 0;
	for (int id = LEDGER_GAP_SPOOL; id <= LEDGER_GAP_STORE; id++) {
		taken = ledger_add(taken, part->term[id].packets);
		if (part->term[id].up_to)
			*slack = ledger_add(*slack, part->term[id].packets);
	}
	return taken;
}

/* What the agent says went elsewhere than into blocks, taken from what came: all of it must be in blocks. */
static int64_t
part_captured(const struct ledger_part *part)
{
	static const enum ledger_id kernel[] = { LEDGER_FILTERED, LEDGER_OWN, LEDGER_WITHHELD, LEDGER_SAMPLED_OUT, LEDGER_PAUSED };
	bool all = part->level == LEDGER_KERNEL;
	int64_t left = part->term[all ? LEDGER_OFFERED : LEDGER_RING_RECEIVED].packets;

	for (size_t i = 0; all && i < sizeof(kernel) / sizeof(kernel[0]); i++)
		left = ledger_add(left, -part->term[kernel[i]].packets);
	left = ledger_add(left, -part->term[LEDGER_RING_DROPPED].packets);
	return ledger_add(left, -part->term[LEDGER_OVERSIZE].packets);
}

/* Of what retention removed only so much is known: it is older than what is left. */
static void
stream_settle_expired(struct ledger_part *part)
{
	struct ledger_term *expired = &part->term[LEDGER_EXPIRED];
	bool any = expired->packets > 0;

	expired->from_ns = any ? part->term[LEDGER_STORED].from_ns : 0;
	if (!any || expired->to_ns == 0)
		expired->to_ns = any ? part->term[LEDGER_STORED].to_ns : 0;
}

/* Where a stream's counters end before its packets do, what is between has a name too. */
static void
stream_settle_end(struct ledger_stream *stream, int64_t *left)
{
	struct ledger_part *part = &stream->part;
	struct ledger_term *under_way = &part->term[LEDGER_UNDER_WAY], *elsewhere = &part->term[LEDGER_GAP_ELSEWHERE];
	struct ledger_term *cut = &part->term[LEDGER_CUT];

	if (stream->ended && stream->cut == STREAM_CUT) {
		/* What was in no block is part of the bound, and what came after the last STATS is in no counter. What is missing
		 * beyond the bound was not lost by the cut. */
		cut->more = cut->more || !cut->known;
		cut->known = true;
		under_way->packets = 0;
		*left = cut->more ? 0 : ledger_add(*left, -cut->packets);
		if (*left < 0)
			*left = 0;
		part->balanced = true;
		part->exact = false;
	} else if (elsewhere->more || stream->cut == STREAM_ELSEWHERE) {
		/* Whether the other store has them, only that one knows. */
		if (*left > 0)
			term_add(elsewhere, *left, 0, 0);
		elsewhere->known = elsewhere->up_to = elsewhere->more = true;
		under_way->packets = *left = 0;
		part->exact = false;
	}
}

/* An agent that does not count before the filter may tell 0 for that. */
static void
part_forget_untold(struct ledger_part *part)
{
	static const enum ledger_id kernel[] = { LEDGER_OFFERED, LEDGER_FILTERED, LEDGER_OWN, LEDGER_WITHHELD, LEDGER_SAMPLED_OUT,
	    LEDGER_PAUSED, LEDGER_SWITCHED };

	for (size_t i = 0; part->level != LEDGER_KERNEL && i < sizeof(kernel) / sizeof(kernel[0]); i++)
		memset(&part->term[kernel[i]], 0, sizeof(part->term[kernel[i]]));
}

/* left is what no term has; near enough to 0, it is what the terms may be wrong by. */
static void
stream_balance(struct ledger_stream *stream)
{
	struct ledger_part *part = &stream->part;
	struct ledger_term *under_way = &part->term[LEDGER_UNDER_WAY];
	int64_t captured = under_way->packets, taken, left, slack, switched;

	part_forget_untold(part);
	switched = part->term[LEDGER_SWITCHED].packets;
	taken = part_taken(part, &slack);
	left = ledger_add(part_captured(part), -taken);
	part->balanced = part->term[part->level == LEDGER_KERNEL ? LEDGER_OFFERED : LEDGER_RING_RECEIVED].known;
	part->exact = part->balanced && slack == 0 && switched == 0;
	under_way->packets = under_way->known ? ledger_add(captured, -taken) : 0;
	under_way->from_ns = part->term[LEDGER_STORED].to_ns;
	under_way->to_ns = stream->stats_ns;
	if (under_way->packets < 0 && under_way->packets >= -slack)
		under_way->packets = 0;
	stream_settle_expired(part);
	stream_settle_end(stream, &left);
	if (stream->ended && under_way->packets > 0)
		under_way->packets = 0;	/* nothing comes any more: if it is in no term, that is to be seen */
	if (stream->ended && under_way->packets < 0)
		part->exact = false;	/* its last counters were never told */
	left = ledger_add(left, -under_way->packets);
	if (left < 0 && left >= -slack)
		left = 0;
	if (part->level == LEDGER_KERNEL && left >= -switched && left <= switched)
		left = 0;
	part->unaccounted = part->balanced ? left : 0;
}

static void
part_add(struct ledger_part *sum, const struct ledger_part *part)
{
	for (int id = 0; id < LEDGER_TERMS; id++) {
		const struct ledger_term *term = &part->term[id];

		if (!term->known)
			continue;
		term_add(&sum->term[id], term->packets, term->from_ns, term->to_ns);
		sum->term[id].up_to = sum->term[id].up_to || term->up_to;
		sum->term[id].more = sum->term[id].more || term->more;
	}
	if (part->level < sum->level)
		sum->level = part->level;
	sum->balanced = sum->balanced && part->balanced;
	sum->unaccounted = ledger_add(sum->unaccounted, part->unaccounted);
	sum->exact = sum->exact && part->exact;
}

/* A stream that has just begun, without a counter or a packet, says nothing against the others. */
static bool
stream_speaks(const struct ledger_stream *stream)
{
	const struct ledger_part *part = &stream->part;
	int64_t slack;

	return part->balanced || part->term[LEDGER_CUT].known || part_taken(part, &slack) > 0;
}

/* All from one state of the catalog, that of the caller's transaction if there is one. */
static int
ledger_query_all(sqlite3 *db, const char *vm_uuid, struct ledger *ledger)
{
	struct ledger_reader reader = { .ledger = ledger };
	int rc;

	if (sqlite3_exec(db, "SAVEPOINT ledger", NULL, NULL, NULL) != SQLITE_OK)
		return -1;
	rc = ledger_query(db, queries[0].sql, vm_uuid, queries[0].take, &reader);
	if (rc == 0)
		rc = ledger_sort(&reader);
	for (size_t i = 1; rc == 0 && i < sizeof(queries) / sizeof(queries[0]); i++)
		rc = ledger_query(db, queries[i].sql, vm_uuid, queries[i].take, &reader);
	sqlite3_exec(db, "RELEASE ledger", NULL, NULL, NULL);
	free(reader.by_id);
	return rc;
}

static void
ledger_sum(struct ledger *ledger)
{
	bool any = false;

	ledger->sum.level = LEDGER_KERNEL;
	ledger->sum.balanced = ledger->sum.exact = true;
	for (size_t i = 0; i < ledger->count; i++) {
		stream_balance(&ledger->stream[i]);
		if (!stream_speaks(&ledger->stream[i]))
			continue;
		part_add(&ledger->sum, &ledger->stream[i].part);
		any = true;
	}
	if (!any)
		ledger->sum.level = LEDGER_RING;
}

int
ledger_read(struct sqlite3 *db, const char *vm_uuid, struct ledger *ledger)
{
	memset(ledger, 0, sizeof(*ledger));
	if (ledger_query_all(db, vm_uuid, ledger) == -1) {
		ledger_clear(ledger);
		return -1;
	}
	ledger_sum(ledger);
	return 0;
}

void
ledger_clear(struct ledger *ledger)
{
	free(ledger->stream);
	memset(ledger, 0, sizeof(*ledger));
}
