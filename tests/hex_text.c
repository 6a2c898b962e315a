/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#include "config.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "common/buf.h"
#include "tests/hex_text.h"

/* The last byte so many times in all. */
static int
put_again(const char **s, struct buf *b)
{
	char *end;
	unsigned long times = strtoul(*s + 1, &end, 10);
	int errs = b->len == 0 || end == *s + 1;

	while (errs == 0 && times-- > 1)
		errs += buf_put_u8(b, b->data[b->len - 1]);
	*s = end;
	return errs;
}

static int
put_text(const char **s, struct buf *b)
{
	const char *text = *s + 1, *end = strchr(text, '\'');

	if (end == NULL)
		return -1;
	*s = end + 1;
	return buf_put(b, text, (size_t)(end - text));
}

static int
put_pair(const char **s, struct buf *b)
{
	const char pair[3] = { (*s)[0], (*s)[0] == '\0' ? '\0' : (*s)[1], '\0' };

	if (!isxdigit((unsigned char)pair[0]) || !isxdigit((unsigned char)pair[1]))
		return -1;
	*s += 2;
	return buf_put_u8(b, (uint8_t)strtoul(pair, NULL, 16));
}

int
hex_text_parse(const char *s, struct buf *b)
{
	int errs = 0;

	while (*s != '\0' && errs == 0) {
		if (isspace((unsigned char)*s))
			s++;
		else if (*s == '\'')
			errs += put_text(&s, b);
		else if (*s == 'x')
			errs += put_again(&s, b);
		else
			errs += put_pair(&s, b);
	}
	return errs == 0 ? 0 : -1;
}
