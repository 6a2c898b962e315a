/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#include "config.h"

#include <sys/socket.h>
#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <sqlite3.h>

#include "proto/flow.h"

#include "collector/catalog.h"
#include "collector/withheld.h"

#define NEAR_NS		UINT64_C(10000000000)	/* spans so near to one another are one */

static int
parse_address(const char *text, size_t len, struct bpf_peer *peer)
{
	char copy[CATALOG_ADDRESS_SIZE];

	memset(peer, 0, sizeof(*peer));
	if (len >= sizeof(copy))
		return -1;
	memcpy(copy, text, len);
	copy[len] = '\0';
	peer->family = strchr(copy, ':') != NULL ? AF_INET6 : AF_INET;
	return inet_pton(peer->family, copy, peer->address) == 1 ? 0 : -1;
}

/* "10.0.0.1,fd00::1": what is no address is passed over. */
static int
parse_own(struct withheld_span *span, const char *text)
{
	size_t len, room = 1;

	for (const char *p = text; *p != '\0'; p++)
		room += *p == ',';
	if ((span->own = calloc(room, sizeof(*span->own))) == NULL)
		return -1;
	for (; *text != '\0'; text += len + (text[len] == ',')) {
		len = strcspn(text, ",");
		if (parse_address(text, len, &span->own[span->own_count]) == 0)
			span->own_count++;
	}
	return 0;
}

static const char *
column(sqlite3_stmt *stmt, int number)
{
	const unsigned char *text = sqlite3_column_text(stmt, number);

	return text != NULL ? (const char *)text : "";
}

static bool
same_peer(const struct bpf_peer *a, const struct bpf_peer *b)
{
	return a->family == b->family && memcmp(a->address, b->address, sizeof(a->address)) == 0;
}

static bool
goes_on(const struct withheld_span *before, const struct withheld_span *span)
{
	return strcmp(before->peer, span->peer) == 0 && strcmp(before->network, span->network) == 0 &&
	    before->balanced == span->balanced && same_peer(&before->address, &span->address) &&
	    before->own_count == span->own_count && memcmp(before->own, span->own, span->own_count * sizeof(*span->own)) == 0 &&
	    (before->to_ns >= span->from_ns || span->from_ns - before->to_ns <= NEAR_NS);
}

/* The row's span, or the one before it made longer. */
static int
add_span(struct withheld *withheld, sqlite3_stmt *stmt)
{
	struct withheld_span *grown, *span;

	if ((grown = realloc(withheld->span, (withheld->count + 1) * sizeof(*grown))) == NULL)
		return -1;
	withheld->span = grown;
	span = &grown[withheld->count];
	memset(span, 0, sizeof(*span));
	snprintf(span->peer, sizeof(span->peer), "%s", column(stmt, 0));
	snprintf(span->peer_name, sizeof(span->peer_name), "%s", column(stmt, 1));
	snprintf(span->network, sizeof(span->network), "%s", column(stmt, 4));
	span->balanced = sqlite3_column_int(stmt, 5) != 0;
	span->from_ns = (uint64_t)sqlite3_column_int64(stmt, 6);
	span->to_ns = sqlite3_column_type(stmt, 7) == SQLITE_NULL ? UINT64_MAX : (uint64_t)sqlite3_column_int64(stmt, 7);
	if (parse_own(span, column(stmt, 3)) == -1)
		return -1;
	if (parse_address(column(stmt, 2), strlen(column(stmt, 2)), &span->address) == -1 || span->own_count == 0) {
		free(span->own);
		return 0;
	}
	if (withheld->count > 0 && goes_on(span - 1, span)) {
		if (span->to_ns > span[-1].to_ns)
			span[-1].to_ns = span->to_ns;
		free(span->own);
		return 0;
	}
	withheld->count++;
	return 0;
}

static int
by_peer_and_time(const void *a, const void *b)
{
	const struct withheld_span *x = a, *y = b;
	int order = strcmp(x->peer, y->peer);

	return order != 0 ? order : (x->from_ns > y->from_ns) - (x->from_ns < y->from_ns);
}

static void
sort_spans(struct withheld *withheld)
{
	struct withheld_span *span = withheld->span;

	if (withheld->count > 0)
		qsort(span, withheld->count, sizeof(*span), by_peer_and_time);
	for (size_t i = 0; i < withheld->count; i++) {
		span[i].latest_ns = span[i].to_ns;
		if (i > 0 && strcmp(span[i - 1].peer, span[i].peer) == 0 && span[i - 1].latest_ns > span[i].to_ns)
			span[i].latest_ns = span[i - 1].latest_ns;
	}
}

bool
withheld_any(struct sqlite3 *db, const char *uuid)
{
	sqlite3_stmt *stmt = NULL;
	bool any = false;

	if (sqlite3_prepare_v2(db, "SELECT 1 FROM withheld WHERE vm = ?1 LIMIT 1", -1, &stmt, NULL) == SQLITE_OK &&
	    sqlite3_bind_text(stmt, 1, uuid, -1, SQLITE_STATIC) == SQLITE_OK)
		any = sqlite3_step(stmt) == SQLITE_ROW;
	sqlite3_finalize(stmt);
	return any;
}

int
withheld_load(struct withheld *withheld, struct sqlite3 *db, const char *uuid, uint64_t from_ns, uint64_t to_ns, char *error,
    size_t error_size)
{
	static const char sql[] = "SELECT w.peer, v.name, w.address, w.own, w.network, w.balanced, w.from_ns, w.to_ns"
	    " FROM withheld w JOIN vm v ON v.uuid = w.peer WHERE w.vm = ?1 AND (w.to_ns IS NULL OR w.to_ns >= ?2) AND w.from_ns <= ?3"
	    " ORDER BY w.peer, w.network, w.address, w.own, w.balanced, w.from_ns";
	sqlite3_stmt *stmt = NULL;
	int rc;

	memset(withheld, 0, sizeof(*withheld));
	if ((rc = sqlite3_prepare_v2(db, sql, -1, &stmt, NULL)) == SQLITE_OK) {
		sqlite3_bind_text(stmt, 1, uuid, -1, SQLITE_STATIC);
		sqlite3_bind_int64(stmt, 2, from_ns > INT64_MAX ? INT64_MAX : (sqlite3_int64)from_ns);
		sqlite3_bind_int64(stmt, 3, to_ns > INT64_MAX ? INT64_MAX : (sqlite3_int64)to_ns);
		while ((rc = sqlite3_step(stmt)) == SQLITE_ROW)
			if (add_span(withheld, stmt) == -1)
				break;
	}
	if (rc != SQLITE_DONE)
		snprintf(error, error_size, "%s%s", rc == SQLITE_ROW ? "out of memory" : "catalog: ",
		    rc == SQLITE_ROW ? "" : sqlite3_errmsg(db));
	sqlite3_finalize(stmt);
	if (rc == SQLITE_DONE) {
		sort_spans(withheld);
		return 0;
	}
	withheld_clear(withheld);
	return -1;
}

void
withheld_clear(struct withheld *withheld)
{
	for (size_t i = 0; i < withheld->count; i++)
		free(withheld->span[i].own);
	free(withheld->span);
	memset(withheld, 0, sizeof(*withheld));
}

static bool
is_address(const struct bpf_peer *peer, uint8_t family, const uint8_t *address)
{
	return peer->family == family && memcmp(peer->address, address, family == AF_INET ? 4 : 16) == 0;
}

static bool
is_own(const struct withheld_span *span, uint8_t family, const uint8_t *address)
{
	for (size_t i = 0; i < span->own_count; i++)
		if (is_address(&span->own[i], family, address))
			return true;
	return false;
}

/* By the rules of HINTS (PROTOCOL, section 7.6): unbalanced, all flows but those of hash 0 are the sender's to deliver. Balanced,
 * none leaves out fragments of TCP; but of those that the peer received, the VM may have left out the packet that they are of. */
static bool
is_peers_share(const struct withheld_span *span, const struct flow *flow, bool sent)
{
	if (!span->balanced)
		return sent;
	if (flow->tcp_fragment)
		return !sent;
	return (flow->hash % 2 == 0) == sent;
}

static bool
is_left_out(const struct withheld_span *span, const struct withheld_packet *packet, const struct flow *flow)
{
	if (!flow->known || flow->icmp_error || flow->hash == 0 || !is_peers_share(span, flow, packet->sent))
		return false;
	return packet->sent ? is_address(&span->address, flow->family, flow->source) && is_own(span, flow->family, flow->destination)
	    : is_own(span, flow->family, flow->source) && is_address(&span->address, flow->family, flow->destination);
}

/* How many begin at a time or before. */
static size_t
begun(const struct withheld_span *span, size_t count, uint64_t at_ns)
{
	size_t low = 0, middle;

	while (low < count) {
		middle = low + (count - low) / 2;
		if (span[middle].from_ns <= at_ns)
			low = middle + 1;
		else
			count = middle;
	}
	return low;
}

bool
withheld_left_out(const struct withheld_span *span, size_t count, const struct withheld_packet *packet)
{
	size_t i = begun(span, count, packet->at_ns);
	struct flow flow;

	if (i == 0 || span[i - 1].latest_ns < packet->at_ns)
		return false;
	flow = flow_of_stored(packet->linktype, packet->data, packet->len);
	while (i-- > 0 && span[i].latest_ns >= packet->at_ns)
		if (span[i].to_ns >= packet->at_ns && strcmp(packet->network, span[i].network) == 0 && is_left_out(&span[i], packet, &flow))
			return true;
	return false;
}

bool
withheld_touched(const struct withheld_span *span, size_t count, uint64_t first_ns, uint64_t last_ns)
{
	size_t i = begun(span, count, last_ns);

	return i > 0 && span[i - 1].latest_ns >= first_ns;
}
