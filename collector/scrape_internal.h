/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#ifndef VMTAP_COLLECTOR_SCRAPE_INTERNAL_H
#define VMTAP_COLLECTOR_SCRAPE_INTERNAL_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>

#include "common/metrics.h"

struct sqlite3;
struct sqlite3_stmt;
struct store;

#define SCRAPE_VMS_MAX	20000u	/* whose ledgers are told */

/* One reading of the catalog by the thread of scrape_catalog.c: one transaction, so that the families agree. */
struct scrape_reading {
	struct sqlite3	*db;
	const struct store *store;
	struct metrics	 metrics;
	size_t		 mark;		/* where the family at hand began */
	bool		 complete;	/* all had room */
	atomic_bool	*stop;
};

/* Ends the family at hand, before the next one and at the end: one that has no room is left out as a whole. */
void		 scrape_fit(struct scrape_reading *);
const char	*scrape_column(struct sqlite3_stmt *, int);	/* "" for NULL; as long as the row */

/* Each puts families: 0, or -1 with what SQLite says in the database, or for want of memory. */
int		 scrape_put_store(struct scrape_reading *);
int		 scrape_put_vms(struct scrape_reading *);	/* scrape_vms.c */
int		 scrape_put_ledgers(struct scrape_reading *);	/* scrape_ledger.c */
int		 scrape_put_counters(struct scrape_reading *);	/* scrape_vms.c */

#endif
