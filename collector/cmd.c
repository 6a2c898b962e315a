/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#include "config.h"

#include <errno.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <sqlite3.h>

#include "common/log.h"
#include "proto/rights.h"

#include "catalog.h"
#include "catalog_restrict.h"
#include "cmd.h"

#define SAY_SIZE	2048	/* of one message; a longer one is cut */
#define ROWS_MAX	32	/* of a verb's options */
#define MEMORY_MAX	(UINT64_C(256) << 20)	/* for an operator far away */

/* --- for an operator far away --- */

static struct {
	const char		*store;		/* NULL: no restriction */
	const struct rights	*rights;
	struct conf_row		 rows[ROWS_MAX + 1];
} restricted;

void
cmd_restrict(const char *store, const struct rights *rights)
{
	restricted.store = store;
	restricted.rights = rights;
}

bool
cmd_is_harmless(const struct conf_row *row)
{
	static const char *const names[] = { "json", "from", "to", "count", "as-captured", "tenant", "merged", "follow", "dedup-window",
	    "dedup-memory" };

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		if (strcmp(names[i], row->name) == 0)
			return true;
	return false;
}

/* Those of the verb's rows that may be given. */
static const struct conf_row *
rows_for_args(const struct conf_row *rows)
{
	struct conf_row *own = restricted.rows;

	if (restricted.store == NULL)
		return rows;
	for (; rows->name != NULL && own < restricted.rows + ROWS_MAX; rows++) {
		if (!cmd_is_harmless(rows))
			continue;
		*own = *rows;
		if (strcmp(rows->name, "dedup-memory") == 0)
			own->max = MEMORY_MAX;
		own++;
	}
	own->name = NULL;
	return restricted.rows;
}

static int
defaults(const struct conf_row *rows, void *options, struct conf_error *error)
{
	char **store;

	if (conf_defaults(rows, options, error) == -1)
		return -1;
	for (; restricted.store != NULL && rows->name != NULL; rows++)
		if (strcmp(rows->name, "store") == 0) {
			store = (char **)(void *)((char *)options + rows->offset);
			free(*store);
			*store = strdup(restricted.store);
		}
	return 0;
}

/* --- options --- */

static bool
asks_for_help(int argc, char **argv)
{
	int i;

	for (i = 1; i < argc && strcmp(argv[i], "--") != 0; i++)
		if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0)
			return true;
	return false;
}

void
cmd_options(const struct conf_row *rows, void *options, int argc, char **argv, const char *usage, int *rest)
{
	struct conf_error error;
	char program[64];

	snprintf(program, sizeof(program), "vmtap %s", argv[0]);
	if (asks_for_help(argc, argv)) {
		printf("usage: %s %s\n\n", program, usage);
		conf_help(rows_for_args(rows), stdout);
		exit(0);
	}
	if (defaults(rows, options, &error) == -1 || conf_parse_args(rows_for_args(rows), options, argc, argv, rest, &error) == -1)
		conf_usage(program, &error);
}

void
cmd_options_operand(const struct conf_row *rows, void *options, int argc, char **argv, const char *usage, const char **operand,
    int *rest)
{
	struct conf_error error;
	char program[64];
	int behind;

	cmd_options(rows, options, argc, argv, usage, rest);
	*operand = *rest < argc ? argv[*rest] : NULL;
	if (*operand == NULL)
		return;
	/* The operand stands where a program's name would. */
	if (conf_parse_args(rows_for_args(rows), options, argc - *rest, argv + *rest, &behind, &error) == -1) {
		snprintf(program, sizeof(program), "vmtap %s", argv[0]);
		conf_usage(program, &error);
	}
	*rest += behind;
}

/* Some of it came from agents: no control bytes reach the terminal. */
static void __attribute__((format(printf, 2, 0)))
say(const char *verb, const char *format, va_list ap)
{
	char text[SAY_SIZE], escaped[SAY_SIZE];

	vsnprintf(text, sizeof(text), format, ap);
	log_escape(escaped, sizeof(escaped), text);
	fprintf(stderr, "vmtap %s: %s", verb, escaped);
}

int
cmd_fail(const char *verb, const char *format, ...)
{
	va_list ap;

	va_start(ap, format);
	say(verb, format, ap);
	va_end(ap);
	fputc('\n', stderr);
	return 1;
}

void
cmd_bad_usage(const char *verb, const char *format, ...)
{
	va_list ap;

	va_start(ap, format);
	say(verb, format, ap);
	va_end(ap);
	fprintf(stderr, "; \"vmtap %s --help\" tells more\n", verb);
	exit(2);
}

int
cmd_finish_output(int status)
{
	bool failed = ferror(stdout) != 0;

	errno = 0;
	failed = fflush(stdout) == EOF || failed;
	if (status != 0 || !failed || errno == EPIPE)
		return status;
	fprintf(stderr, "vmtap: standard output: %s\n", errno != 0 ? strerror(errno) : "write error");
	return 1;
}

struct sqlite3 *
cmd_catalog(const char *verb, const char *store)
{
	struct sqlite3 *db;
	char error[512];

	if ((db = catalog_open_read_only(store, error, sizeof(error))) != NULL && restricted.store != NULL &&
	    catalog_restrict(db, restricted.rights, error, sizeof(error)) == -1) {
		sqlite3_close(db);
		db = NULL;
	}
	if (db == NULL)
		cmd_fail(verb, "%s", error);
	return db;
}

char *
cmd_join(int argc, char **argv)
{
	size_t len = 0;
	char *text;
	int i;

	if (argc <= 0)
		return NULL;
	for (i = 0; i < argc; i++)
		len += strlen(argv[i]) + 1;
	if ((text = malloc(len)) == NULL)
		return NULL;
	text[0] = '\0';
	for (i = 0; i < argc; i++) {
		if (i > 0)
			strcat(text, " ");
		strcat(text, argv[i]);
	}
	return text;
}
