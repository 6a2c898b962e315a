/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <sqlite3.h>

#include "common/clock.h"

#include "catalog.h"
#include "cmd.h"
#include "cmd_read.h"
#include "cmd_remote.h"
#include "merge.h"
#include "pcapng_out.h"
#include "store_read.h"
#include "withheld.h"

/* vmtap read: one pcapng across the files of a VM; or with --merged of all of a tenant's (cmd_read_merged.c). */

static const struct conf_row read_rows[] = {
	{ .name = "store", .type = CONF_STRING, .initial = CMD_STORE, .argument = "DIR", .offset = offsetof(struct read_options, store),
	  .help = "the collector's store" },
	{ .name = "from", .type = CONF_STRING, .argument = "TIME", .offset = offsetof(struct read_options, from),
	  .help = "no packet before: 2026-11-23T01:06:39Z, \"2026-11-23 01:06:39\" (local), @SECONDS, -10m, now" },
	{ .name = "to", .type = CONF_STRING, .argument = "TIME", .offset = offsetof(struct read_options, to), .help = "no packet after" },
	{ .name = "write", .letter = 'w', .type = CONF_STRING, .initial = "-", .argument = "FILE",
	  .offset = offsetof(struct read_options, write), .help = "where to; - is standard output" },
	{ .name = "count", .letter = 'c', .type = CONF_UINT, .min = 1, .max = INT64_MAX, .argument = "N",
	  .offset = offsetof(struct read_options, count), .help = "stop after N packets" },
	{ .name = "as-captured", .type = CONF_FLAG, .offset = offsetof(struct read_options, as_captured),
	  .help = "of a VM only what it delivered itself" },
	{ .name = "tenant", .type = CONF_STRING, .argument = "TENANT", .offset = offsetof(struct read_options, tenant),
	  .help = "with --merged: whose VMs" },
	{ .name = "merged", .type = CONF_FLAG, .offset = offsetof(struct read_options, merged),
	  .help = "all VMs of a tenant as one stream, each transmission once" },
	{ .name = "follow", .type = CONF_FLAG, .offset = offsetof(struct read_options, follow),
	  .help = "with --merged: from now, or --from, on, until interrupted" },
	{ .name = "dedup-window", .type = CONF_TIME, .min = 1, .max = 60000, .initial = "2s", .argument = "TIME",
	  .offset = offsetof(struct read_options, dedup_window_ms), .help = "so far apart may be what two VMs have of a packet" },
	{ .name = "dedup-memory", .type = CONF_SIZE, .min = 1u << 20, .initial = "256M", .argument = "SIZE",
	  .offset = offsetof(struct read_options, dedup_memory), .help = "so much is held meanwhile" },
	REACH_ROWS(struct read_options),
	{ 0 }
};

struct reading {
	struct sqlite3		*db;
	struct pcapng_out	*out;
};

static int
describe(struct reading *reading, const uint8_t stream[MSG_ID_SIZE], uint32_t id)
{
	uint8_t idb[MSG_IDB_MAX];
	int len;

	if ((len = store_read_interface(reading->db, stream, id, idb)) == -1)
		return 0;	/* pcapng_out_block() says what is missing */
	return pcapng_out_interface(reading->out, stream, id, idb, (size_t)len);
}

static int
on_block(const uint8_t stream[MSG_ID_SIZE], const uint8_t *block, size_t len, void *arg)
{
	struct reading *reading = arg;
	uint32_t id = pcapng_out_interface_of(block, len);

	if (!pcapng_out_knows(reading->out, stream, id) && describe(reading, stream, id) == -1)
		return -1;
	return pcapng_out_block(reading->out, stream, block, len);
}

void
read_warning(const char *text, void *arg)
{
	(void)arg;
	cmd_fail("read", "%s", text);
}

static void
parse_window(const struct read_options *options, uint64_t *from_ns, uint64_t *to_ns)
{
	uint64_t now = clock_wall_ns();

	*from_ns = options->follow ? now : 0;
	*to_ns = UINT64_MAX;
	if (options->from != NULL && clock_parse(options->from, now, from_ns) == -1)
		cmd_bad_usage("read", "--from %s: not a time", options->from);
	if (options->to != NULL && clock_parse(options->to, now, to_ns) == -1)
		cmd_bad_usage("read", "--to %s: not a time", options->to);
	if (*from_ns > *to_ns)
		cmd_bad_usage("read", "--from lies after --to");
}

int
read_finish(struct pcapng_out *out, int rc, const char *why)
{
	bool gone;

	if (rc == 0)
		rc = pcapng_out_flush(out);
	gone = pcapng_out_reader_gone(out);
	if (rc == -1 && !gone)
		cmd_fail("read", "%s", why != NULL && why[0] != '\0' ? why : pcapng_out_error(out));
	if (pcapng_out_mixed(out))
		read_warning("the output mixes link types: Wireshark reads that, tcpdump does not; a filter or --from/--to can part them", NULL);
	if (pcapng_out_close(out) == -1 && rc != -1)
		rc = cmd_fail("read", "cannot write: %s", strerror(errno));
	return rc != 0 && !gone;
}

/* What the VM delivered itself, block by block as it is. */
static int
read_as_captured(const struct read_options *options, struct reading *reading, const char *uuid, uint64_t from_ns, uint64_t to_ns)
{
	struct store_reader reader = { .db = reading->db, .store = options->store, .uuid = uuid, .from_ns = from_ns, .to_ns = to_ns,
	    .block = on_block, .warning = read_warning, .arg = reading };
	int rc = store_read(&reader);

	return read_finish(reading->out, rc, reader.error);
}

static int
read_vm(const struct read_options *options, const char *name, const char *filter, uint64_t from_ns, uint64_t to_ns)
{
	struct reading reading;
	struct catalog_vm vm;
	char error[512];
	int rc;

	if ((reading.db = cmd_catalog("read", options->store)) == NULL)
		return 1;
	if (catalog_find_vm(reading.db, name, &vm, error, sizeof(error)) == -1 ||
	    (reading.out = pcapng_out_open(options->write, filter, "vmtap read " PACKAGE_VERSION, error, sizeof(error))) == NULL) {
		sqlite3_close(reading.db);
		return cmd_fail("read", "%s", error);
	}
	if (options->count != 0)
		pcapng_out_limit(reading.out, options->count);
	pcapng_out_window(reading.out, from_ns, to_ns);
	if (options->as_captured || !withheld_any(reading.db, vm.uuid)) {
		rc = read_as_captured(options, &reading, vm.uuid, from_ns, to_ns);
	} else {
		struct merge_settings settings = { .db = reading.db, .store = options->store, .vm = vm.uuid, .out = reading.out,
		    .from_ns = from_ns, .to_ns = to_ns, .warning = read_warning };

		rc = read_whole(options, &settings);
	}
	return rc | (sqlite3_close(reading.db) != SQLITE_OK);
}

/* What a time of day means is known here, and what "-10m" does is known there. */
static void
fix_time(char **time, uint64_t ns)
{
	char *fixed;

	if (*time == NULL || (*time)[0] == '-' || strcmp(*time, "now") == 0 ||
	    asprintf(&fixed, "@%" PRIu64 ".%09" PRIu64, ns / 1000000000, ns % 1000000000) == -1)
		return;
	free(*time);
	*time = fixed;
}

static int
read_remote(const struct read_options *options, const char *vm, const char *filter)
{
	const struct remote_verb remote = { .verb = "read", .reach = &options->reach, .rows = read_rows, .options = options,
	    .operand = vm, .rest = filter };
	bool standard = strcmp(options->write, "-") == 0;
	int fd, rc;

	if (standard && isatty(STDOUT_FILENO))
		return cmd_fail("read", PCAPNG_OUT_NO_TERMINAL);
	if ((fd = standard ? STDOUT_FILENO : open(options->write, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666)) == -1)
		return cmd_fail("read", "%s: %s", options->write, strerror(errno));
	rc = cmd_remote(&remote, fd);
	if (!standard && close(fd) == -1)
		rc = cmd_fail("read", "cannot write: %s", strerror(errno));
	return rc;
}

/* A VM is read, or all of a tenant's as one; what is for the one is not for the other. */
static void
check_usage(const struct read_options *options, const char *first)
{
	if (!options->merged && options->tenant != NULL)
		cmd_bad_usage("read", "--tenant is for --merged");
	if (!options->merged && options->follow)
		cmd_bad_usage("read", "--follow is for --merged");
	if (!options->merged && first == NULL)
		cmd_bad_usage("read", "which VM?");
	if (options->merged && options->as_captured)
		cmd_bad_usage("read", "--as-captured is for one VM");
	if (options->merged && options->tenant == NULL)
		cmd_bad_usage("read", "--merged: which --tenant?");
	if (options->follow && options->to != NULL)
		cmd_bad_usage("read", "--follow goes on, so there is no --to");
}

/* Without a VM in front of it. */
static char *
join_filter(const char *first, int argc, char **argv)
{
	char *rest = cmd_join(argc, argv), *filter = NULL;

	if (first == NULL || rest == NULL)
		return first != NULL ? strdup(first) : rest;
	if (asprintf(&filter, "%s %s", first, rest) == -1)
		filter = NULL;
	free(rest);
	return filter;
}

int
cmd_read(int argc, char **argv)
{
	struct read_options options = { 0 };
	uint64_t from_ns, to_ns;
	const char *first;
	char *filter;
	int rest, rc;

	cmd_options_operand(read_rows, &options, argc, argv, "VM [OPTION...] [FILTER...]\n"
	    "       vmtap read --tenant TENANT --merged [OPTION...] [FILTER...]", &first, &rest);
	check_usage(&options, first);
	parse_window(&options, &from_ns, &to_ns);
	filter = join_filter(options.merged ? first : NULL, argc - rest, argv + rest);
	fix_time(&options.from, from_ns);
	fix_time(&options.to, to_ns);
	if (options.reach.connect != NULL)
		rc = read_remote(&options, options.merged ? NULL : first, filter);
	else
		rc = options.merged ? read_merged(&options, filter, from_ns, to_ns) : read_vm(&options, first, filter, from_ns, to_ns);
	free(filter);
	conf_free(read_rows, &options);
	return rc;
}
