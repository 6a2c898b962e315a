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
	[COUNT_SESSIONS] = "sessions",
	[COUNT_BLOCKS] = "blocks",
	[COUNT_BLOCK_BYTES] = "block_bytes",
	[COUNT_PACKETS] = "packets",
	[COUNT_BLOCKS_REPEATED] = "blocks_repeated",
	[COUNT_GAPS] = "gaps",
	[COUNT_GAP_PACKETS] = "gap_packets",
	[COUNT_FILES] = "files",
	[COUNT_FILES_REMOVED] = "files_removed",
	[COUNT_COMMITS] = "commits",
	[COUNT_COMMITS_FAILED] = "commits_failed",
	[COUNT_POLICIES_REFUSED] = "policies_refused",
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
};

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
