/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#ifndef VMTAP_COLLECTOR_STORE_COMMIT_H
#define VMTAP_COLLECTOR_STORE_COMMIT_H

#include <stddef.h>

#include "collector/store.h"
#include "collector/store_batch.h"

/*
 * Group commit, in a thread of its own so that a slow disk does not hold up a worker's network: all files are written, syncfs(2),
 * one transaction, then files new in the catalog get their final names. These names are in turn made durable by the next commit's syncfs, whose
 * transaction says so (hidden = 0); until then readers try both names and recovery ends what was begun.
 * Writing and transaction that fail are tried again until they work. A syncfs that fails cannot be: the kernel has dropped the pages.
 */
enum commit_event {
	COMMIT_DONE,		/* batch is durable; it is the receiver's again */
	COMMIT_FAILING,		/* text says why; it is being tried again */
	COMMIT_LOST		/* text says why: what was written since the last commit may be gone; the process must end */
};
struct committer;
/* Called in the committer's thread. */
typedef void commit_report(enum commit_event, struct batch *, const char *text, void *arg);

struct committer	*committer_new(struct store *, commit_report *, void *arg, char *error, size_t error_size);
/* One at a time: the next after COMMIT_DONE. Takes the batch. */
void			 committer_start(struct committer *, struct batch *);
/* Gives up a commit that is failing, ends the thread, frees. */
void			 committer_free(struct committer *);

#endif
