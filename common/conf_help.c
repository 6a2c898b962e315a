/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#include "config.h"

#include <string.h>

#include "common/conf.h"

#define HELP_COLUMN_MAX	30	/* a longer option gets a line of its own */
#define HELP_WIDTH	79
#define LABEL_SIZE	128
#define TEXT_SIZE	512

static const char *
argument_of(const struct conf_row *row)
{
	static const char *const usual[] = {
		[CONF_STRING] = "TEXT", [CONF_LIST] = "TEXT", [CONF_UINT] = "N", [CONF_SIZE] = "SIZE", [CONF_TIME] = "TIME",
	};

	if (row->argument != NULL)
		return row->argument;
	return row->type == CONF_ENUM ? row->values : usual[row->type];
}

/* "  -i, --interface=NAME" */
static size_t
label(const struct conf_row *row, char dst[LABEL_SIZE])
{
	size_t	 n = 0;

	if (row->letter != 0)
		n = (size_t)snprintf(dst, LABEL_SIZE, "  -%c, --%s", row->letter, row->name);
	else
		n = (size_t)snprintf(dst, LABEL_SIZE, "      --%s", row->name);
	if (row->type != CONF_FLAG && n < LABEL_SIZE)
		snprintf(dst + n, LABEL_SIZE - n, "=%s", argument_of(row));
	return strlen(dst);
}

/* The help, whether it may be repeated, and the default unless that is "no". */
static void
text_of(const struct conf_row *row, char dst[TEXT_SIZE])
{
	bool		 list = row->type == CONF_LIST;
	const char	*initial = row->initial;

	if (row->type == CONF_FLAG && initial != NULL && strcmp(initial, "no") == 0)
		initial = NULL;
	snprintf(dst, TEXT_SIZE, "%s%s%s%s%s%s", row->help == NULL ? "" : row->help, list || initial != NULL ? " (" : "",
	    list ? "repeatable" : "", list && initial != NULL ? "; " : "", initial != NULL ? "default " : "",
	    initial != NULL ? initial : "");
	if (list || initial != NULL)
		strncat(dst, ")", TEXT_SIZE - strlen(dst) - 1);
}

/* Words of text from the column on, the pen being at column at. */
static void
print_wrapped(FILE *out, const char *text, size_t column, size_t at)
{
	bool	 first = true;

	while (*text != '\0') {
		size_t	 n = strcspn(text, " ");

		if (!first && at + 1 + n > HELP_WIDTH) {
			fputc('\n', out);
			at = 0;
		} else if (!first)
			at += (size_t)fprintf(out, " ");
		if (at < column)
			at += (size_t)fprintf(out, "%*s", (int)(column - at), "");
		at += (size_t)fprintf(out, "%.*s", (int)n, text);
		text += n + strspn(text + n, " ");
		first = false;
	}
	fputc('\n', out);
}

static size_t
help_column(const struct conf_row *rows)
{
	char	 text[LABEL_SIZE];
	size_t	 column = 0;

	for (const struct conf_row *row = rows; row->name != NULL; row++) {
		size_t	 n = label(row, text) + 2;

		if ((row->flags & CONF_HIDDEN) == 0 && n > column && n <= HELP_COLUMN_MAX)
			column = n;
	}
	return column;
}

void
conf_help(const struct conf_row *rows, FILE *out)
{
	size_t	 column = help_column(rows);

	for (const struct conf_row *row = rows; row->name != NULL; row++) {
		char	 name[LABEL_SIZE], text[TEXT_SIZE];
		size_t	 at;

		if ((row->flags & CONF_HIDDEN) != 0)
			continue;
		at = label(row, name);
		fputs(name, out);
		if (at + 2 > column) {
			fputc('\n', out);
			at = 0;
		}
		text_of(row, text);
		print_wrapped(out, text, column, at);
	}
}
