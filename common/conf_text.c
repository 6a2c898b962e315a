/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#include "config.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/buf.h"
#include "common/conf.h"
#include "common/conf_stage.h"

#define FILE_SIZE_MAX	(1024u * 1024)
#define ORIGIN_SIZE	512
#define BLANKS		" \t\r\v\f"

/* One line of the file, while it is taken apart; line is a copy with a NUL at its end. */
struct config_line {
	const char	*name;
	size_t		 name_len;
	char		*value;		/* NULL: none */
};

static int
hex_digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	c = (char)tolower((unsigned char)c);
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* What follows a backslash at p; returns the bytes read, 0 when it is none of the escapes. */
static size_t
unescape(const char *p, char *c)
{
	int	 high, low;

	*c = *p == 'n' ? '\n' : *p;
	if (*p == 'n' || *p == '"' || *p == '\\')
		return 1;
	if (*p != 'x' || (high = hex_digit(p[1])) == -1 || (low = hex_digit(p[2])) == -1 || high + low == 0)
		return 0;
	*c = (char)(high << 4 | low);
	return 3;
}

/* The text in quotes, in place; NULL, or why it is not well-formed. */
static const char *
unquote(char *text)
{
	char	*to = text, *p = text + 1;

	while (*p != '"') {
		char	 c = *p++;

		if (c == '\0')
			return "closing quote is missing";
		if (c == '\\') {
			size_t	 n = unescape(p, &c);

			if (n == 0)
				return "after a backslash only \\ \" n xNN are known";
			p += n;
		}
		*to++ = c;
	}
	p++;
	if (*p != '\0' && strchr(BLANKS, *p) == NULL)
		return "text behind the closing quote";
	p += strspn(p, BLANKS);
	if (*p != '\0' && *p != '#')
		return "text behind the closing quote";
	*to = '\0';
	return NULL;
}

/* Ends the text before its comment and trailing white space. */
static void
trim(char *text)
{
	size_t	 n;

	for (char *p = text; *p != '\0'; p++) {
		if (*p == '#' && (p == text || strchr(BLANKS, p[-1]) != NULL)) {
			*p = '\0';
			break;
		}
	}
	for (n = strlen(text); n > 0 && strchr(BLANKS, text[n - 1]) != NULL; n--)
		;
	text[n] = '\0';
}

/* Name and value of a line; name_len 0: nothing on it. NULL, or what is wrong. */
static const char *
line_split(char *line, struct config_line *out)
{
	char	*p = line + strspn(line, BLANKS);
	bool	 equals;

	*out = (struct config_line){ .name = p };
	if (*p == '#')
		return NULL;
	out->name_len = strcspn(p, BLANKS "=");
	p += out->name_len;
	p += strspn(p, BLANKS);
	equals = *p == '=';
	if (equals) {
		p++;
		p += strspn(p, BLANKS);
	}
	if (out->name_len == 0)
		return equals ? "name is missing before \"=\"" : NULL;
	if (*p == '"') {
		out->value = p;
		return unquote(p);
	}
	trim(p);
	if (*p != '\0')
		out->value = p;
	return equals && *p == '\0' ? "missing value" : NULL;
}

static void
unknown_option(const struct conf_row *rows, const char *origin, const struct config_line *line, struct conf_error *error)
{
	const char	*nearest = conf_nearest(rows, line->name, line->name_len, CONF_NO_FILE | CONF_HIDDEN);
	int		 shown = line->name_len > 80 ? 80 : (int)line->name_len;

	if (nearest != NULL)
		conf_error_set(error, "%s: unknown option \"%.*s\"; did you mean \"%s\"?", origin, shown, line->name, nearest);
	else
		conf_error_set(error, "%s: unknown option \"%.*s\"", origin, shown, line->name);
}

/* Whether row may stand on this line of a file. */
static int
check_row(const struct conf_row *row, const struct conf_value *value, const char *origin, const struct config_line *line,
    struct conf_error *error)
{
	if ((row->flags & CONF_NO_FILE) != 0) {
		conf_error_set(error, "%s: \"%s\" stands only on the command line, as --%s", origin, row->name, row->name);
		return -1;
	}
	if (value->line != 0 && row->type != CONF_LIST) {
		conf_error_set(error, "%s: \"%s\" was already given on line %u", origin, row->name, value->line);
		return -1;
	}
	if (line->value == NULL && row->type != CONF_FLAG) {
		conf_error_set(error, "%s: %s: missing value", origin, row->name);
		return -1;
	}
	return 0;
}

static int
stage_line(struct conf_stage *stage, const char *origin, unsigned number, char *text, struct conf_error *error)
{
	struct config_line	 line;
	const char		*why = line_split(text, &line);
	int			 i;

	if (line.name_len == 0 && why == NULL)
		return 0;
	i = line.name_len == 0 ? -1 : conf_find(stage->rows, line.name, line.name_len);
	if (i == -1 && line.name_len > 0) {
		unknown_option(stage->rows, origin, &line, error);
		return -1;
	}
	if (why != NULL) {
		conf_error_set(error, "%s: %.*s%s%s", origin, (int)line.name_len, line.name, line.name_len > 0 ? ": " : "", why);
		return -1;
	}
	if (check_row(&stage->rows[i], &stage->value[i], origin, &line, error) == -1)
		return -1;
	if (conf_value_parse(&stage->rows[i], &stage->value[i], line.value, origin, error) == -1) {
		conf_error_place(error, origin, stage->rows[i].name);
		return -1;
	}
	if (stage->value[i].line == 0)
		stage->value[i].line = number;
	return 0;
}

int
conf_stage_text(struct conf_stage *stage, const char *origin, const char *text, struct conf_error *error)
{
	for (unsigned number = 1; *text != '\0'; number++) {
		size_t	 n = strcspn(text, "\n");
		char	 place[ORIGIN_SIZE], *line = strndup(text, n);
		int	 status;

		if (line == NULL) {
			conf_error_set(error, "out of memory");
			return -1;
		}
		snprintf(place, sizeof(place), "%s:%u", origin, number);
		status = stage_line(stage, place, number, line, error);
		free(line);
		if (status == -1)
			return -1;
		text += n + (text[n] == '\n');
	}
	return 0;
}

/* 0 with all of the file in text, NUL-terminated; -1 with errno: EFBIG above 1 MiB, EILSEQ for NUL bytes. */
static int
read_whole(int fd, struct buf *text)
{
	ssize_t	 n;

	do {
		if (buf_reserve(text, 4096) == -1) {
			errno = errno == ENOBUFS ? EFBIG : errno;
			return -1;
		}
		n = read(fd, text->data + text->len, 4096);
		if (n > 0)
			text->len += (size_t)n;
	} while (n > 0 || (n == -1 && errno == EINTR));
	if (n == -1)
		return -1;
	if (text->len > 0 && memchr(text->data, '\0', text->len) != NULL) {
		errno = EILSEQ;
		return -1;
	}
	return buf_put_u8(text, '\0');
}

int
conf_stage_file(struct conf_stage *stage, const char *path, bool may_be_absent, struct conf_error *error)
{
	struct buf	 text;
	int		 fd, status = -1;

	fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
	if (fd == -1 && errno == ENOENT && may_be_absent)
		return 0;
	buf_init(&text, FILE_SIZE_MAX);
	if (fd == -1 || read_whole(fd, &text) == -1)
		conf_error_set(error, "%s: %s", path, errno == EILSEQ ? "holds NUL bytes, so is no config file" : strerror(errno));
	else
		status = conf_stage_text(stage, path, (const char *)text.data, error);
	if (fd != -1)
		close(fd);
	buf_clear(&text);
	return status;
}

/* Whether the text would come back changed from a line of its own. */
static bool
needs_quotes(const char *text)
{
	size_t	 n = strlen(text);

	if (n == 0 || *text == '"' || *text == '#' || strchr(BLANKS, text[0]) != NULL || strchr(BLANKS, text[n - 1]) != NULL)
		return true;
	for (const char *p = text; *p != '\0'; p++) {
		if ((unsigned char)*p < 0x20 || (*p == '#' && p > text && strchr(BLANKS, p[-1]) != NULL))
			return true;
	}
	return false;
}

static int
put_text(struct buf *out, const char *name, const char *text)
{
	int	 errs = 0;

	if (!needs_quotes(text))
		return buf_printf(out, "%s = %s\n", name, text);
	errs += buf_printf(out, "%s = \"", name);
	for (const char *p = text; *p != '\0'; p++) {
		if (*p == '"' || *p == '\\')
			errs += buf_printf(out, "\\%c", *p);
		else if ((unsigned char)*p < 0x20)
			errs += buf_printf(out, "\\x%02x", (unsigned)*p);
		else
			errs += buf_put_u8(out, (uint8_t)*p);
	}
	errs += buf_put(out, "\"\n", 2);
	return errs == 0 ? 0 : -1;
}

static int
put_list(struct buf *out, const char *name, const struct conf_list *list)
{
	int	 errs = 0;

	for (size_t i = 0; i < list->count; i++)
		errs += put_text(out, name, list->value[i]);
	return errs == 0 ? 0 : -1;
}

/* A 0 without a default is what the row has anyway, and may lie outside its range. */
static int
put_number(struct buf *out, const struct conf_row *row, uint64_t number)
{
	char	 text[CONF_NUMBER_SIZE];

	if (number == 0 && row->initial == NULL)
		return 0;
	return put_text(out, row->name, conf_format_number(row->type, number, text));
}

static int
put_word(struct buf *out, const struct conf_row *row, int word)
{
	const char	*p = row->values;

	for (; word > 0; word--)
		p += strcspn(p, "|") + 1;
	return buf_printf(out, "%s = %.*s\n", row->name, (int)strcspn(p, "|"), p);
}

static int
put_value(struct buf *out, const struct conf_row *row, const void *value)
{
	switch (row->type) {
	case CONF_FLAG:
		return put_text(out, row->name, *(const bool *)value ? "yes" : "no");
	case CONF_STRING:
		return *(char *const *)value == NULL ? 0 : put_text(out, row->name, *(char *const *)value);
	case CONF_LIST:
		return put_list(out, row->name, value);
	case CONF_UINT:
	case CONF_SIZE:
	case CONF_TIME:
		return put_number(out, row, *(const uint64_t *)value);
	case CONF_ENUM:
		return put_word(out, row, *(const int *)value);
	}
	return 0;
}

char *
conf_to_text(const struct conf_row *rows, const void *options)
{
	struct buf	 out;
	int		 errs = 0;

	buf_init(&out, SIZE_MAX);
	for (const struct conf_row *row = rows; row->name != NULL; row++) {
		if ((row->flags & CONF_NO_FILE) == 0)
			errs += put_value(&out, row, (const char *)options + row->offset);
	}
	errs += buf_put_u8(&out, '\0');
	if (errs != 0)
		buf_clear(&out);
	return (char *)out.data;
}
