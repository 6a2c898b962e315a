/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#include "config.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <jansson.h>
#include <sqlite3.h>

#include "catalog.h"
#include "cmd.h"
#include "cmd_list.h"
#include "cmd_remote.h"
#include "table.h"

/* vmtap vms and files: what the catalog says, as tables or JSON. */

const struct conf_row list_rows[] = {
	{ .name = "store", .type = CONF_STRING, .initial = CMD_STORE, .argument = "DIR", .offset = offsetof(struct list_options, store),
	  .help = "the collector's store" },
	{ .name = "json", .type = CONF_FLAG, .offset = offsetof(struct list_options, json), .help = "as JSON" },
	REACH_ROWS(struct list_options),
	{ 0 }
};

static const struct table_column vm_columns[] = {
	{ "name", "NAME", TABLE_TEXT }, { "tenant", "TENANT", TABLE_TEXT }, { "uuid", "UUID", TABLE_TEXT },
	{ "state", "STATE", TABLE_TEXT }, { "since", NULL, TABLE_TIME }, { "seen", "SEEN", TABLE_TIME },
	{ "address", "ADDRESS", TABLE_TEXT }, { "packets", "PACKETS", TABLE_COUNT }, { "bytes", "BYTES", TABLE_BYTES },
	{ "stored", "STORED", TABLE_BYTES }, { "lost_packets", "LOST", TABLE_COUNT }, { "policy", "POLICY", TABLE_TEXT },
	{ "dedup", "DEDUP", TABLE_TEXT }, { "certificate_ends", "UNTIL", TABLE_DATE }, { "version", "VERSION", TABLE_TEXT },
	{ "labels", "LABELS", TABLE_TEXT },
	{ "policy_version", NULL, TABLE_COUNT }, { "policy_text", NULL, TABLE_TEXT }, { "policy_reason", NULL, TABLE_TEXT },
	{ "software", NULL, TABLE_TEXT }, { "os", NULL, TABLE_TEXT }, { "hardware", NULL, TABLE_TEXT },
	{ "clock_offset_ns", NULL, TABLE_COUNT }, { NULL, NULL, TABLE_TEXT }
};
/* The policy's text has a key on each line, and no value has more than one. */
#define POLICY_HAS(line)	"instr(char(10) || policy_text, char(10) || '" line "') > 0"
static const char vm_sql[] =
    "SELECT name, tenant, uuid, CASE WHEN EXISTS (SELECT 1 FROM revoked WHERE revoked.uuid = vm.uuid) THEN 'revoked'"
    " WHEN connected <> 0 THEN 'connected' WHEN since_ns IS NULL THEN 'enrolled' ELSE 'away' END AS state, since_ns AS since,"
    " seen_ns AS seen, address,"
    " (SELECT coalesce(sum(packets), 0) FROM file WHERE vm = uuid) AS packets,"
    " (SELECT coalesce(sum(bytes), 0) FROM file WHERE vm = uuid) AS bytes,"
    " (SELECT coalesce(sum(length), 0) FROM file WHERE vm = uuid) AS stored,"
    " (SELECT CAST(total(packets) AS INTEGER) FROM loss WHERE vm = uuid AND place <> 'withheld') AS lost_packets,"
    " coalesce(policy_state, 'none') AS policy, policy_version, policy_text, policy_reason,"
    " CASE WHEN " POLICY_HAS("dedup = withhold") " THEN 'withhold' WHEN " POLICY_HAS("dedup = tag") " THEN 'tag' ELSE 'off' END"
    " AS dedup,"
    " not_after_ns AS certificate_ends, labels, CASE WHEN software LIKE 'vmtap-agent %' THEN substr(software, 13) ELSE software END"
    " AS version, software, os, hardware, clock_offset_ns FROM vm ORDER BY tenant, name, uuid";

static const struct table_column file_columns[] = {
	{ "path", "FILE", TABLE_TEXT }, { "state", "STATE", TABLE_TEXT }, { "codec", "CODEC", TABLE_TEXT },
	{ "from", "FROM", TABLE_TIME }, { "to", "TO", TABLE_TIME }, { "packets", "PACKETS", TABLE_COUNT },
	{ "bytes", "BYTES", TABLE_BYTES }, { "length", "STORED", TABLE_BYTES }, { "raw", NULL, TABLE_COUNT },
	{ "first_block", NULL, TABLE_COUNT }, { "last_block", NULL, TABLE_COUNT }, { "stream", NULL, TABLE_TEXT },
	{ "created", NULL, TABLE_TIME }, { NULL, NULL, TABLE_TEXT }
};
static const char file_sql[] =
    "SELECT path, CASE live WHEN 0 THEN 'closed' ELSE 'live' END AS state, codec, first_ns AS \"from\", last_ns AS \"to\", packets,"
    " bytes, length, raw, first_block, last_block, lower(hex(stream)) AS stream, created_ns AS created"
    " FROM file WHERE vm = ?1 ORDER BY id";

static int
list_remote(const char *verb, const struct list_options *options, const char *vm)
{
	const struct remote_verb remote = { .verb = verb, .reach = &options->reach, .rows = list_rows, .options = options, .operand = vm };

	return cmd_remote(&remote, STDOUT_FILENO);
}

bool
list_open_vm(int argc, char **argv, struct list_options *options, sqlite3 **db, struct catalog_vm *vm, int *status)
{
	char error[512];
	const char *name;
	int rest;

	*db = NULL;
	*status = 1;
	cmd_options_operand(list_rows, options, argc, argv, "VM [OPTION...]", &name, &rest);
	if (name == NULL || rest != argc)
		cmd_bad_usage(argv[0], "%s", name == NULL ? "which VM?" : "one VM, please");
	if (options->reach.connect != NULL)
		*status = list_remote(argv[0], options, name);
	else if ((*db = cmd_catalog(argv[0], options->store)) != NULL) {
		if (catalog_find_vm(*db, name, vm, error, sizeof(error)) == 0)
			return true;
		cmd_fail(argv[0], "%s", error);
	}
	sqlite3_close(*db);
	conf_free(list_rows, options);
	return false;
}

static int
list_vms(const char *verb, const struct list_options *options)
{
	sqlite3 *db = cmd_catalog(verb, options->store);
	json_t *rows = db != NULL ? table_query(db, verb, vm_columns, vm_sql, NULL) : NULL;

	sqlite3_close(db);
	if (rows == NULL)
		return 1;
	table_print(vm_columns, rows, options->json);
	json_decref(rows);
	return 0;
}

int
cmd_vms(int argc, char **argv)
{
	struct list_options options = { 0 };
	int rest, rc;

	cmd_options(list_rows, &options, argc, argv, "[OPTION...]", &rest);
	if (rest != argc)
		cmd_bad_usage(argv[0], "no operand, please: \"%s\"", argv[rest]);
	rc = options.reach.connect != NULL ? list_remote(argv[0], &options, NULL) : list_vms(argv[0], &options);
	conf_free(list_rows, &options);
	return rc;
}

int
cmd_files(int argc, char **argv)
{
	struct list_options options = { 0 };
	struct catalog_vm vm;
	json_t *rows;
	sqlite3 *db;
	int status;

	if (!list_open_vm(argc, argv, &options, &db, &vm, &status))
		return status;
	rows = table_query(db, argv[0], file_columns, file_sql, vm.uuid);
	sqlite3_close(db);
	if (rows != NULL)
		table_print(file_columns, rows, options.json);
	json_decref(rows);
	conf_free(list_rows, &options);
	return rows == NULL;
}
