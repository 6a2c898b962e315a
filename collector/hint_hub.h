/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#ifndef VMTAP_COLLECTOR_HINT_HUB_H
#define VMTAP_COLLECTOR_HINT_HUB_H

#include "collector/hint.h"

/*
 * The hints of all VMs (collector/hint.h), shared by the workers: each calls the engine's events between hint_hub_lock() and
 * hint_hub_unlock(), which takes microseconds, and never anything else in between. What follows for VMs of other workers, those are
 * woken for.
 */
struct hint_hub;

/* wake: something waits for the worker of this index; called in any worker's thread, but not again before that one has taken some. */
typedef void hint_hub_wake(unsigned index, void *arg);
struct hint_hub	*hint_hub_new(uint64_t lease_ns, unsigned workers, hint_hub_wake *, void *arg);	/* NULL: ENOMEM */
void		 hint_hub_free(struct hint_hub *);
/* The engine, and the time for its events. */
struct hints	*hint_hub_lock(struct hint_hub *, struct hint_time *now);
void		 hint_hub_unlock(struct hint_hub *);
/* For the woken worker, until there is nothing: a message and whom it is to, or a record. */
enum hint_hub_next { HINT_NOTHING, HINT_MESSAGE, HINT_RECORD };
enum hint_hub_next hint_hub_take(struct hint_hub *, unsigned index, struct msg_hints *, char uuid[IDENTITY_UUID_SIZE],
		    struct hint_record *);
uint64_t	 hint_hub_pairs(struct hint_hub *);

#endif
