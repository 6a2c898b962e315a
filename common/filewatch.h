/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#ifndef VMTAP_COMMON_FILEWATCH_H
#define VMTAP_COMMON_FILEWATCH_H

#include <stddef.h>

struct event_base;
struct filewatch;

#define FILEWATCH_MAX		8	/* files */
#define FILEWATCH_SETTLE_MS	1000
#define FILEWATCH_RETRY_MS	5000

/*
 * Calls changed() a second after something happened to the files, once for all that happened meanwhile: written in place, renamed
 * over, a symbolic link on the way turned elsewhere, appeared, removed. Only if a file is another one than before or has other
 * times or size, so that neighbours in the same directory do not matter. Directories that are not there are waited for. Costs
 * nothing while nothing happens (inotify(7)); on a file system that tells nobody, like one of the network, nothing is noticed.
 * While the system has no watch to give, which is logged once, files are looked at every FILEWATCH_RETRY_MS, and it is asked again.
 */
typedef void	filewatch_fn(void *arg);
struct filewatch *filewatch_new(struct event_base *, filewatch_fn *changed, void *arg);	/* NULL with errno */
/* Instead of what was watched before; paths are copied. -1 with errno: nothing is watched. */
int		 filewatch_set(struct filewatch *, const char *const path[], size_t count);
void		 filewatch_free(struct filewatch *);	/* NULL is fine */

#endif
