/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#include "config.h"

#include <string.h>

#include "common/conf.h"
#include "common/conf_stage.h"

#define NAME_MAX_LEN	40	/* longer ones are not compared for likeness */

int
conf_find(const struct conf_row *rows, const char *name, size_t name_len)
{
	for (int i = 0; rows[i].name != NULL; i++) {
		if (strlen(rows[i].name) == name_len && memcmp(rows[i].name, name, name_len) == 0)
			return i;
	}
	return -1;
}

static unsigned
min3(unsigned a, unsigned b, unsigned c)
{
	unsigned	 m = a < b ? a : b;

	return m < c ? m : c;
}

/* How many letters are missing, too many, wrong, or swapped with their neighbour (optimal string alignment distance). */
static unsigned
distance(const char *a, size_t a_len, const char *b, size_t b_len)
{
	unsigned	 d[NAME_MAX_LEN + 1][NAME_MAX_LEN + 1];

	for (size_t i = 0; i <= a_len; i++)
		d[i][0] = (unsigned)i;
	for (size_t j = 0; j <= b_len; j++)
		d[0][j] = (unsigned)j;
	for (size_t i = 1; i <= a_len; i++) {
		for (size_t j = 1; j <= b_len; j++) {
			d[i][j] = min3(d[i - 1][j] + 1, d[i][j - 1] + 1, d[i - 1][j - 1] + (a[i - 1] != b[j - 1]));
			if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] && d[i - 2][j - 2] + 1 < d[i][j])
				d[i][j] = d[i - 2][j - 2] + 1;
		}
	}
	return d[a_len][b_len];
}

const char *
conf_nearest(const struct conf_row *rows, const char *name, size_t name_len, unsigned but_flags)
{
	const char	*nearest = NULL;
	unsigned	 best = name_len < 4 ? 1 : (unsigned)name_len / 4 + 1;	/* beyond that it is another word */

	if (name_len > NAME_MAX_LEN)
		return NULL;
	for (const struct conf_row *row = rows; row->name != NULL; row++) {
		size_t		 len = strlen(row->name);
		unsigned	 d;

		if ((row->flags & but_flags) != 0 || len > NAME_MAX_LEN)
			continue;
		d = distance(name, name_len, row->name, len);
		if (d <= best && (nearest == NULL || d < best)) {
			nearest = row->name;
			best = d;
		}
	}
	return nearest;
}
