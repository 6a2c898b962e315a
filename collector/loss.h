/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#ifndef VMTAP_COLLECTOR_LOSS_H
#define VMTAP_COLLECTOR_LOSS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Where packets were lost: the places of the catalog's table loss, and what a file's comments say of them. Pure. */
enum loss_place { LOSS_SPOOL, LOSS_CAPTURE, LOSS_PULL, LOSS_DISK, LOSS_LINK, LOSS_ELSEWHERE, LOSS_STORE, LOSS_CUT,
	LOSS_WITHHELD,	/* left out, and perhaps not delivered by the peer: none of those that the ledger misses */
	LOSS_PLACES };

/* loss.approximate */
enum loss_bound {
	LOSS_EXACT,
	LOSS_UP_TO,		/* packets and bytes are an upper bound */
	LOSS_UNKNOWN		/* nothing is known to bound them */
};

struct loss {
	uint64_t	packets, bytes;
	uint64_t	first_ns, last_ns;	/* 0: not known */
	enum loss_bound	bound;
};

/* One place's losses since the last packet that was stored. */
struct loss_sum {
	bool		any;
	struct loss	loss;
};

const char	*loss_name(enum loss_place);			/* "spool" */
int		 loss_place(const char *name);			/* -1: none is called so */
void		 loss_add(struct loss_sum *, const struct loss *);
/* One line on all that is missing, by place ([LOSS_PLACES]); false: nothing worth a line (blocks without packets). */
bool		 loss_text(const struct loss_sum *, char *text, size_t text_size);
/* One line on a stream that was cut off. */
void		 loss_cut_text(const struct loss *, char *text, size_t text_size);

#define LOSS_TEXT_SIZE	1024	/* holds a line on all places */

#endif
