/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#ifndef VMTAP_COMMON_CONF_STAGE_H
#define VMTAP_COMMON_CONF_STAGE_H

#include "common/conf.h"

struct buf;

/* What conf*.c share. Values wait on a stage until all of them are known to be good, then they are moved to the options. */
struct conf_value {
	bool		 set;
	unsigned	 line;		/* of the file, where it was first given */
	bool		 flag;
	int		 word;
	uint64_t	 number;
	char		*string;
	struct conf_list list;
};

struct conf_stage {
	const struct conf_row *rows;
	size_t		 count;
	struct conf_value *value;	/* one a row */
};

int	conf_stage_init(struct conf_stage *, const struct conf_row *, struct conf_error *);
void	conf_stage_clear(struct conf_stage *);
void	conf_stage_merge(struct conf_stage *, struct conf_stage *over);	/* moves what is set in over */
int	conf_stage_text(struct conf_stage *, const char *origin, const char *text, struct conf_error *);
/* may_be_absent: then a file that does not exist is an empty one. */
int	conf_stage_file(struct conf_stage *, const char *path, bool may_be_absent, struct conf_error *);
int	conf_stage_args(struct conf_stage *, int argc, char **argv, int *rest, struct conf_error *);

/* text becomes (a list: is added to) the value; text NULL is a flag standing alone. The error begins with text and ": ". */
int	conf_value_parse(const struct conf_row *, struct conf_value *, const char *text, const char *origin, struct conf_error *);
void	conf_value_clear(struct conf_value *);
void	conf_list_clear(struct conf_list *);
/* A number in the largest unit that fits exactly: "16M", "250ms". */
#define CONF_NUMBER_SIZE	32
char	*conf_format_number(enum conf_type, uint64_t, char dst[CONF_NUMBER_SIZE]);
/* The place of the row in rows, or -1. */
int	conf_find(const struct conf_row *, const char *name, size_t name_len);
/* The name that was probably meant, or NULL; rows with any of the flags are not considered. */
const char *conf_nearest(const struct conf_row *, const char *name, size_t name_len, unsigned but_flags);

#endif
