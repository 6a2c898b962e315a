/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#include "config.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <sqlite3.h>

#include "common/clock.h"

#include "catalog.h"
#include "cmd.h"
#include "pcapng_out.h"
#include "store_read.h"

/* vmtap read: one pcapng across the files of a VM. */

struct read_options {
	char		*store, *from, *to, *write;
	uint64_t	 count;
};
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

static void
on_warning(const char *text, void *arg)
{
	(void)arg;
	fprintf(stderr, "vmtap read: %s\n", text);
}

static void
parse_window(const struct read_options *options, struct store_reader *reader)
{
	uint64_t now = clock_wall_ns();

	reader->from_ns = 0;
	reader->to_ns = UINT64_MAX;
	if (options->from != NULL && clock_parse(options->from, now, &reader->from_ns) == -1)
		cmd_bad_usage("read", "--from %s: not a time", options->from);
	if (options->to != NULL && clock_parse(options->to, now, &reader->to_ns) == -1)
		cmd_bad_usage("read", "--to %s: not a time", options->to);
	if (reader->from_ns > reader->to_ns)
		cmd_bad_usage("read", "--from lies after --to");
}

static int
finish(struct reading *reading, struct store_reader *reader, int rc)
{
	bool gone;

	if (rc == 0)
		rc = pcapng_out_flush(reading->out);
	gone = pcapng_out_reader_gone(reading->out);
	if (rc == -1 && !gone)
		cmd_fail("read", "%s", reader->error[0] != '\0' ? reader->error : pcapng_out_error(reading->out));
	if (pcapng_out_mixed(reading->out))
		on_warning("the output mixes link types: Wireshark reads that, tcpdump does not; a filter or --from/--to can part them", NULL);
	if (pcapng_out_close(reading->out) == -1 && rc != -1)
		rc = cmd_fail("read", "cannot write: %s", strerror(errno));
	return rc != 0 && !gone;
}

static int
read_vm(const struct read_options *options, const char *name, const char *filter, struct store_reader *reader)
{
	struct reading reading;
	struct catalog_vm vm;
	char error[512];

	if ((reading.db = cmd_catalog("read", options->store)) == NULL)
		return 1;
	if (catalog_find_vm(reading.db, name, &vm, error, sizeof(error)) == -1 ||
	    (reading.out = pcapng_out_open(options->write, filter, "vmtap read " PACKAGE_VERSION, error, sizeof(error))) == NULL) {
		sqlite3_close(reading.db);
		return cmd_fail("read", "%s", error);
	}
	if (options->count != 0)
		pcapng_out_limit(reading.out, options->count);
	pcapng_out_window(reading.out, reader->from_ns, reader->to_ns);
	reader->db = reading.db;
	reader->store = options->store;
	reader->uuid = vm.uuid;
	reader->block = on_block;
	reader->warning = on_warning;
	reader->arg = &reading;
	return finish(&reading, reader, store_read(reader)) | (sqlite3_close(reading.db) != SQLITE_OK);
}

int
cmd_read(int argc, char **argv)
{
	struct read_options options = { 0 };
	struct store_reader reader = { 0 };
	const char *name;
	char *filter;
	int rest, rc;

	cmd_options_operand(read_rows, &options, argc, argv, "VM [OPTION...] [FILTER...]", &name, &rest);
	if (name == NULL)
		cmd_bad_usage("read", "which VM?");
	parse_window(&options, &reader);
	filter = cmd_join(argc - rest, argv + rest);
	rc = read_vm(&options, name, filter, &reader);
	free(filter);
	conf_free(read_rows, &options);
	return rc;
}
