/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#ifndef VMTAP_COMMON_CONF_H
#define VMTAP_COMMON_CONF_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

/*
 * One table of rows makes the command line, the config file, --help and the lists in the man pages.
 * A config file line is "name = value" or "name value", or just the name of a flag; '#' at the line's start or after white
 * space starts a comment; a repeatable option stands on several lines, any other on one. The value is the rest of the line;
 * one that is empty, or holds what a line cannot, is put in double quotes, with \" \\ \n \xNN inside.
 * On the command line flags stand alone or as --flag=no. A value given there replaces all of the file's.
 */

enum conf_type {
	CONF_FLAG,	/* bool; in a file yes/no */
	CONF_STRING,	/* char *, heap */
	CONF_LIST,	/* struct conf_list; repeatable */
	CONF_UINT,	/* uint64_t */
	CONF_SIZE,	/* uint64_t bytes: 16M, 256K, 1G, plain bytes */
	CONF_TIME,	/* uint64_t milliseconds: 250ms, 10s, 5m, 2h, 30d; a plain number is seconds */
	CONF_ENUM	/* int: place of the word in values ("in|out|inout") */
};

#define CONF_NO_FILE	0x1	/* command line only: -d, -D, --config */
#define CONF_RELOAD	0x2	/* a change takes effect at SIGHUP; others need a restart and say so */
#define CONF_HIDDEN	0x4	/* not in --help */

struct conf_row {
	const char	*name;		/* long option and config file line */
	char		 letter;	/* 0: none */
	enum conf_type	 type;
	uint64_t	 min, max;	/* of UINT, SIZE, TIME; max 0: no ceiling */
	const char	*initial;	/* default, as one would write it; NULL: none */
	const char	*argument;	/* "HOST:PORT", for --help */
	const char	*values;	/* CONF_ENUM */
	unsigned	 flags;
	size_t		 offset;	/* into the program's options struct */
	const char	*help;
};

struct conf_list {
	char	**value;
	char	**origin;	/* where each came from: "/etc/vmtap/agent.conf:12" or "command line" */
	size_t	  count;
};

#define CONF_COMMAND_LINE	"command line"

#define CONF_ERROR_SIZE	512
struct conf_error {
	char	text[CONF_ERROR_SIZE];	/* one line: place, the text found, what would be accepted, the nearest name */
};

/* All: 0, or -1 with the error filled; options is then as it was before the call. Rows end with name NULL.
 * Options must be zeroed before the first call; what was in them is freed when it is replaced. */
int	conf_defaults(const struct conf_row *, void *options, struct conf_error *);
int	conf_parse_text(const struct conf_row *, void *options, const char *origin, const char *text, struct conf_error *);
/* Sets *rest to the index of the first operand in argv (options end at the first operand, as in tcpdump). */
int	conf_parse_args(const struct conf_row *, void *options, int argc, char **argv, int *rest, struct conf_error *);
/* The usual start, and again at SIGHUP: defaults, then the file, then the command line. The file is the value of the row at
 * config_offset if the command line has one, else default_path (NULL: none), which need not exist. --help and --version
 * (flags of these names) read no file, so that they work whatever is in it. */
int	conf_load(const struct conf_row *, void *options, int argc, char **argv, const char *default_path,
	    size_t config_offset, int *rest, struct conf_error *);
void	conf_free(const struct conf_row *, void *options);	/* options may be filled again */
/* The options as config file text that conf_parse_text() on the defaults turns back into the same (CONF_NO_FILE rows are left
 * out); heap, caller frees; NULL: ENOMEM. */
char	*conf_to_text(const struct conf_row *, const void *options);
/* Name of the first row without CONF_RELOAD that differs, or NULL. */
const char *conf_needs_restart(const struct conf_row *, const void *old, const void *fresh);
void	conf_help(const struct conf_row *, FILE *);
/* "program: error" on stderr and exit status 2. */
void	conf_usage(const char *program, const struct conf_error *) __attribute__((noreturn));
void	conf_error_set(struct conf_error *, const char *, ...) __attribute__((format(printf, 2, 3)));
/* Puts the place before a value's error: "--name " or "file:line: name ", by the origin of a list's value (NULL: none known).
 * "1.2.3.4:99999: port must be..." -> "--listen 1.2.3.4:99999: port must be..." */
void	conf_error_place(struct conf_error *, const char *origin, const char *name);

/* "HOST:PORT", "HOST", "[V6]:PORT", "[V6]", "V6" -> parts; port_default when none is named. 0 / -1 with the error "TEXT: why". */
int	conf_host_port(const char *, uint16_t port_default, char *host, size_t host_size, uint16_t *port,
	    struct conf_error *);

#endif
