/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#ifndef VMTAP_COLLECTOR_HINT_SAMPLE_H
#define VMTAP_COLLECTOR_HINT_SAMPLE_H

#include <stddef.h>
#include <stdint.h>

#include "collector/hint.h"

/*
 * Which packets of a block are samples (collector/hint.h): those with the smallest digests, so that both ends of a packet choose the
 * same ones. How small follows from how many there are, some HINT_SAMPLE_RATE a second; the same again of flows that are never
 * withheld, of which there are few. What is repeated in a block is one. A sender could have other packets passed over by digests that are
 * small by no chance: that is noticed. Pure.
 */
#define HINT_SAMPLE_RATE	128u		/* above it, only half as many are taken from then on; below a quarter, twice as many */
#define HINT_SAMPLE_EXAMINED	8192u		/* packets a second whose flow is looked at for the second kind */

struct hint_sampler {		/* zeroed: of a VM of which nothing is known */
	unsigned	level[2];	/* leading zeros that a digest has at least */
	unsigned	count[2];
	unsigned	examined;
	unsigned	seen;		/* packets with a digest, of which these are */
	uint64_t	since_ns;
};

/* linktype: of each interface, by id; count of them. The block, decoded, has passed its check. Fills in samples, ceilings, and whether
 * packets were dropped. */
void	hint_sample_block(struct hint_sampler *, const uint8_t *block, size_t len, const uint16_t *linktype, uint32_t count,
	    uint64_t now_ns, struct hint_block *);

#endif
