/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#ifndef VMTAP_PROTO_SLICE_H
#define VMTAP_PROTO_SLICE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct buf;
struct cursor;

/* What of each packet is kept. Headers: from the link's to the transport's, whatever the encapsulation (proto/bpf_part.h). */
#define SLICE_TEXT_SIZE		16
struct slice {
	bool		headers;	/* and payload bytes behind them; the rest is left out */
	bool		mask;		/* the rest is there as zeroes, so that lengths stay; without headers: behind the headers */
	uint16_t	payload;
};

/* Stands in the if_description of an interface whose packets are masked: not all that is there was captured. */
#define SLICE_ZEROES_TEXT	"zeroes behind them"

/* "none", "headers", "headers:64": all but mask, which stays. -1 with a line for people, nothing changed. */
int	slice_parse(const char *, struct slice *, char *error, size_t error_size);
void	slice_to_text(const struct slice *, char dst[SLICE_TEXT_SIZE]);	/* likewise */
bool	slice_cuts(const struct slice *);	/* is anything left out? */
/* As a POLICY has it: a byte of flags and the payload. 0 / -1. */
int	slice_put(struct buf *, const struct slice *);
int	slice_get(struct cursor *, struct slice *);
/* What is kept where both shall hold. */
struct slice slice_narrower(const struct slice *, const struct slice *);

#endif
