/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#ifndef VMTAP_AGENT_LINK_BACKOFF_H
#define VMTAP_AGENT_LINK_BACKOFF_H

#include <stdint.h>

/* Between attempts: 500 ms at most after the first one, twice that after each further one, a minute at most. */
#define BACKOFF_MAX_MS	60000
#define BACKOFF_STEPS	7	/* rounds until then */

/* The most to wait after so many rounds, which become one more; what is waited is at random below it, so that those who began
 * together do not go on together. */
uint64_t	backoff_next_ms(unsigned *rounds);

#endif
