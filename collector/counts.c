/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#include "config.h"

#include <inttypes.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#include "common/log.h"

#include "collector/counts.h"

#define COUNT_LINE_SIZE	200

static _Atomic uint64_t count_value[COUNT_MAX];

static const char *const count_names[COUNT_MAX] = {
	[COUNT_CONNECTIONS] = "connections",
	[COUNT_CONNECTIONS_DROPPED] = "connections_dropped",
	[COUNT_HANDSHAKES_FAILED] = "handshakes_failed",
	[COUNT_SESSIONS_REFUSED] = "sessions_refused",
	[COUNT_OPERATORS_REFUSED] = "operators_refused",
	[COUNT_SESSIONS] = "sessions",
	[COUNT_BLOCKS] = "blocks",
	[COUNT_BLOCK_BYTES] = "block_bytes",
	[COUNT_PACKETS] = "packets",
	[COUNT_BLOCKS_REPEATED] = "blocks_repeated",
	[COUNT_GAPS] = "gaps",
	[COUNT_GAP_PACKETS] = "gap_packets",
	[COUNT_LOSSES_JOINED] = "losses_joined",
	[COUNT_EVENTS_LEFT_OUT] = "events_left_out",
	[COUNT_STATS_IGNORED] = "stats_ignored",
	[COUNT_FILES] = "files",
	[COUNT_FILES_REMOVED] = "files_removed",
	[COUNT_COMMITS] = "commits",
	[COUNT_COMMITS_FAILED] = "commits_failed",
	[COUNT_POLICIES_REFUSED] = "policies_refused",
	[COUNT_HINTS_GIVEN] = "hints_given",
	[COUNT_HINTS_WITHDRAWN] = "hints_withdrawn",
	[COUNT_HINTS_MISMATCHES] = "hints_mismatches",
	[COUNT_HINTS_BARRED] = "hints_barred",
	[COUNT_HINTS_CONFLICTS] = "hints_conflicts",
	[COUNT_HINTS_SENT] = "hints_sent",
	[COUNT_HINTS_SENT_WHOLE] = "hints_sent_whole",
	[COUNT_ENROLLED] = "enrolled",
	[COUNT_ENROLLED_AGAIN] = "enrolled_again",
	[COUNT_ENROL_STRANGERS] = "enrol_strangers",
	[COUNT_ENROL_REFUSED] = "enrol_refused",
	[COUNT_ENROL_FAILED] = "enrol_failed",
	[COUNT_RENEWED] = "renewed",
	[COUNT_RENEWALS_REFUSED] = "renewals_refused",
	[COUNT_ERRORS + MSG_ERR_PROTOCOL] = "errors_protocol",
	[COUNT_ERRORS + MSG_ERR_ROLE] = "errors_role",
	[COUNT_ERRORS + MSG_ERR_TENANT] = "errors_tenant",
	[COUNT_ERRORS + MSG_ERR_VERSION] = "errors_version",
	[COUNT_ERRORS + MSG_ERR_CLONE] = "errors_clone",
	[COUNT_ERRORS + MSG_ERR_SEQUENCE] = "errors_sequence",
	[COUNT_ERRORS + MSG_ERR_BLOCK] = "errors_block",
	[COUNT_ERRORS + MSG_ERR_STORE] = "errors_store",
	[COUNT_ERRORS + MSG_ERR_LIMIT] = "errors_limit",
	[COUNT_ERRORS + MSG_ERR_REPLACED] = "errors_replaced",
	[COUNT_ERRORS + MSG_ERR_TIMEOUT] = "errors_timeout",
	[COUNT_ERRORS + MSG_ERR_REVOKED] = "errors_revoked",
	[COUNT_ERRORS + MSG_ERR_TOKEN] = "errors_token",
};

static const char *const count_helps[COUNT_ERRORS + 1] = {
	[COUNT_CONNECTIONS] = "Connections accepted or dialled.",
	[COUNT_CONNECTIONS_DROPPED] = "Connections closed at once: too many without a handshake, or no memory.",
	[COUNT_HANDSHAKES_FAILED] = "TLS handshakes that failed.",
	[COUNT_SESSIONS_REFUSED] = "Sessions refused: no descriptors for one more VM.",
	[COUNT_OPERATORS_REFUSED] = "Connections for control whose certificate gives no right to it.",
	[COUNT_SESSIONS] = "Sessions that got a WELCOME.",
	[COUNT_BLOCKS] = "Blocks stored.",
	[COUNT_BLOCK_BYTES] = "Bytes of blocks, as stored.",
	[COUNT_PACKETS] = "Packets stored.",
	[COUNT_BLOCKS_REPEATED] = "Blocks received again and discarded.",
	[COUNT_GAPS] = "Gaps that agents told.",
	[COUNT_GAP_PACKETS] = "Packets in gaps that agents told.",
	[COUNT_LOSSES_JOINED] = "Gaps joined with others in the catalog, for one virtual machine told too many.",
	[COUNT_EVENTS_LEFT_OUT] = "Blocks whose events are in the files alone, for one virtual machine told too many.",
	[COUNT_STATS_IGNORED] = "Counters of an interface that an agent told as its own, or the other way round.",
	[COUNT_FILES] = "Files begun.",
	[COUNT_FILES_REMOVED] = "Files removed by retention.",
	[COUNT_COMMITS] = "Commits done.",
	[COUNT_COMMITS_FAILED] = "Tries of a commit that failed; each is repeated until it works.",
	[COUNT_POLICIES_REFUSED] = "Policies that agents refused.",
	[COUNT_HINTS_GIVEN] = "Addresses of peers that virtual machines were told to withhold.",
	[COUNT_HINTS_WITHDRAWN] = "Addresses of peers that virtual machines were told not to withhold any more.",
	[COUNT_HINTS_MISMATCHES] = "Packets that came from a peer's address and that the peer had not sent.",
	[COUNT_HINTS_BARRED] = "Pairs of virtual machines barred for some time by such packets.",
	[COUNT_HINTS_CONFLICTS] = "Addresses found to be claimed by several virtual machines.",
	[COUNT_HINTS_SENT] = "Lists of peers sent, changes and renewals.",
	[COUNT_HINTS_SENT_WHOLE] = "Lists of peers sent that were whole ones.",
	[COUNT_ENROLLED] = "Keys that got a certificate by a token.",
	[COUNT_ENROLLED_AGAIN] = "Keys that asked again for the certificate that they had got.",
	[COUNT_ENROL_STRANGERS] = "Enrolments refused: the token is unknown.",
	[COUNT_ENROL_REFUSED] = "Enrolments refused: the token is used up, expired or revoked, or the request is none.",
	[COUNT_ENROL_FAILED] = "Enrolments that failed: not signed, not stored, or too many waited.",
	[COUNT_RENEWED] = "Certificates renewed.",
	[COUNT_RENEWALS_REFUSED] = "Renewals of certificates refused or failed.",
	[COUNT_ERRORS] = "Sessions ended with an ERROR, by its code.",
};

const double count_commit_bounds[COUNT_COMMIT_BOUNDS] = { 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 2.5, 10 };
static _Atomic uint64_t count_commit_value[COUNT_COMMIT_BOUNDS + 1], count_commit_sum_ns;

void
count_add(enum count count, uint64_t value)
{
	atomic_fetch_add_explicit(&count_value[count], value, memory_order_relaxed);
}

uint64_t
count_get(enum count count)
{
	return atomic_load_explicit(&count_value[count], memory_order_relaxed);
}

const char *
count_name(enum count count)
{
	return count < COUNT_MAX ? count_names[count] : NULL;
}

const char *
count_help(enum count count)
{
	return count <= COUNT_ERRORS && count_helps[count] != NULL ? count_helps[count] : "";
}

void
count_commit(uint64_t ns)
{
	unsigned i = 0;

	while (i < COUNT_COMMIT_BOUNDS && (double)ns / 1e9 > count_commit_bounds[i])
		i++;
	atomic_fetch_add_explicit(&count_commit_value[i], 1, memory_order_relaxed);
	atomic_fetch_add_explicit(&count_commit_sum_ns, ns, memory_order_relaxed);
}

void
count_commits(uint64_t counts[COUNT_COMMIT_BOUNDS + 1], uint64_t *sum_ns)
{
	for (unsigned i = 0; i <= COUNT_COMMIT_BOUNDS; i++)
		counts[i] = atomic_load_explicit(&count_commit_value[i], memory_order_relaxed);
	*sum_ns = atomic_load_explicit(&count_commit_sum_ns, memory_order_relaxed);
}

void
count_log(void)
{
	char line[COUNT_LINE_SIZE];
	size_t used = 0;

	for (unsigned i = 0; i < COUNT_MAX; i++) {
		if (count_names[i] == NULL || count_get(i) == 0)
			continue;
		used += (size_t)snprintf(line + used, sizeof(line) - used, " %s=%" PRIu64, count_names[i], count_get(i));
		if (used < sizeof(line) - 60)
			continue;
		log_info("counters:%s", line);
		used = 0;
	}
	if (used > 0)
		log_info("counters:%s", line);
}
