/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#ifndef VMTAP_COLLECTOR_SCRAPE_H
#define VMTAP_COLLECTOR_SCRAPE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/buf.h"

struct collector;
struct conf_list;
struct mailbox;
struct note;
struct store;

/*
 * The collector's metrics, at the places of --metrics. In the main thread, which waits for nobody: at a request the workers are asked
 * for their state and the reader below for the catalog's, and who asked is answered when they have told, or after
 * SCRAPE_WAIT_S with what is there. Requests meanwhile share the answer. Of a catalog that takes longer to read, what was read before
 * is told, and how old it is; while it is still being read, nobody waits for that a second time.
 */
#define SCRAPE_PLACES_MAX	8
#define SCRAPE_WAIT_S		8	/* Prometheus waits 10 */
#define SCRAPE_FRESH_MS		1000u	/* the catalog is read again after this time */
#define SCRAPE_TEXT_MAX		(64u * 1024 * 1024)	/* some 6,000 VMs; one is held, and another one while it is read */

struct scrape;
/* Binds. NULL with a line for people. */
struct scrape	*scrape_new(const struct conf_list *places, char *error, size_t error_size);
/* Serves; while signals are blocked, since it may start a thread. 0, or -1 with a line. */
int		 scrape_start(struct scrape *, struct collector *, char *error, size_t error_size);
void		 scrape_note(struct scrape *, struct note *);	/* what workers and the reader answer; the note stays the caller's */
void		 scrape_stop(struct scrape *);			/* takes no more requests, answers none */
void		 scrape_free(struct scrape *);			/* NULL is fine */

/* --- scrape_catalog.c --- */
/* A thread that reads the catalog, however long that takes. */
struct scrape_catalog;
struct scrape_text {		/* what it has read */
	struct buf	 buf;
	uint64_t	 begun_ns;	/* monotonic: as old is what it tells */
	bool		 complete;	/* nothing was left out for want of room */
};
struct scrape_catalog	*scrape_catalog_new(const struct store *, struct mailbox *main, char *error, size_t error_size);
void			 scrape_catalog_read(struct scrape_catalog *);	/* NOTE_METRICS follows; not before that again */
/* What was read last, once; the buf is the caller's to clear. 0, or -1: that failed. */
int			 scrape_catalog_take(struct scrape_catalog *, struct scrape_text *);
void			 scrape_catalog_free(struct scrape_catalog *);

#endif
