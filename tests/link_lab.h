/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#ifndef VMTAP_TESTS_LINK_LAB_H
#define VMTAP_TESTS_LINK_LAB_H

#include "agent/link.h"
#include "tests/script_lab.h"

struct spool;

/* The link role as link_start() has it, but for what looks at the machine: the test has the other ends. */
struct link_lab {
	struct link	 link;
	struct spool	*producer[IPC_TAPS_MAX];
	int		 capture[2], supervisor[2];	/* the second ones are the test's */
	const struct ipc_callbacks *from_supervisor, *from_capture;	/* NULL: what they say goes nowhere */
};

void	link_lab_open(struct link_lab *, size_t spool_size);
void	link_lab_close(struct link_lab *);

#endif
