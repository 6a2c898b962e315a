/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#include "config.h"

#include <malloc.h>

#include "collector/memory.h"

#define MEMORY_MMAP	(32 * 1024 * 1024)	/* the most that glibc takes */
#define MEMORY_KEEP	(64 * 1024 * 1024)	/* free, of each thread: from less much is given back in vain (tests/bench/collector) */

void
memory_init(void)
{
#ifdef __GLIBC__
	mallopt(M_MMAP_THRESHOLD, MEMORY_MMAP);
	mallopt(M_TRIM_THRESHOLD, MEMORY_KEEP);
#endif
}
