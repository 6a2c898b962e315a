/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#include "config.h"

#include <stdio.h>
#include <stdlib.h>

#include <sqlite3.h>

#include "common/metrics.h"

#include "collector/catalog.h"
#include "collector/ledger.h"
#include "collector/scrape_internal.h"

/* The same that vmtap stats shows, from the same place. */

struct scrape_ledger {
	struct catalog_vm	vm;
	struct ledger_part	sum;
};

struct ledgers {
	struct scrape_ledger	*row;
	size_t			 count, size;
};

static int
ledgers_add(struct ledgers *all, sqlite3_stmt *stmt)
{
	size_t size = all->size > 0 ? all->size * 2 : 64;
	struct scrape_ledger *row = all->row;
	struct catalog_vm *vm;

	if (all->count == all->size) {
		if ((row = reallocarray(all->row, size, sizeof(*row))) == NULL)
			return -1;
		all->row = row;
		all->size = size;
	}
	vm = &row[all->count++].vm;
	snprintf(vm->uuid, sizeof(vm->uuid), "%s", scrape_column(stmt, 0));
	snprintf(vm->tenant, sizeof(vm->tenant), "%s", scrape_column(stmt, 1));
	snprintf(vm->name, sizeof(vm->name), "%s", scrape_column(stmt, 2));
	return 0;
}

/* Those heard of last come first. */
static int
ledgers_find(struct scrape_reading *reading, struct ledgers *all)
{
	sqlite3_stmt *stmt = NULL;
	int rc = SQLITE_ERROR;

	if (sqlite3_prepare_v2(reading->db, "SELECT uuid, tenant, name FROM vm ORDER BY coalesce(seen_ns, 0) DESC, uuid", -1, &stmt,
	    NULL) == SQLITE_OK)
		while ((rc = sqlite3_step(stmt)) == SQLITE_ROW)
			if (all->count == SCRAPE_VMS_MAX || ledgers_add(all, stmt) == -1)
				break;
	sqlite3_finalize(stmt);
	if (rc == SQLITE_ROW)
		reading->complete = false;
	return rc == SQLITE_DONE || rc == SQLITE_ROW ? 0 : -1;
}

static int
ledgers_read(struct scrape_reading *reading, struct ledgers *all)
{
	struct ledger ledger;

	for (size_t i = 0; i < all->count; i++) {
		if (atomic_load(reading->stop) || ledger_read(reading->db, all->row[i].vm.uuid, &ledger) == -1)
			return -1;
		all->row[i].sum = ledger.sum;
		ledger_clear(&ledger);
	}
	return 0;
}

/* --- families --- */

static void
put_terms(struct metrics *metrics, const struct scrape_ledger *row, bool (*value)(const struct ledger_term *, int64_t *))
{
	int64_t number;

	for (int id = 0; id < LEDGER_TERMS; id++) {
		const struct metrics_label label[] = { { "tenant", row->vm.tenant }, { "vm", row->vm.name }, { "uuid", row->vm.uuid },
		    { "place", ledger_name((enum ledger_id)id) }, { NULL, NULL } };

		if (row->sum.term[id].known && value(&row->sum.term[id], &number))
			metrics_i64(metrics, label, number);
	}
}

static bool
term_packets(const struct ledger_term *term, int64_t *value)
{
	*value = term->packets;
	return true;
}

static bool
term_bound(const struct ledger_term *term, int64_t *value)
{
	*value = term->more ? 2 : 1;
	return term->more || term->up_to;
}

static bool
part_unaccounted(const struct ledger_part *part, int64_t *value)
{
	*value = part->unaccounted;
	return part->balanced;
}

static bool
part_exact(const struct ledger_part *part, int64_t *value)
{
	*value = part->exact;
	return true;
}

static bool
part_level(const struct ledger_part *part, int64_t *value)
{
	*value = part->level;
	return true;
}

static const struct {
	const char	*name, *help;
	bool		(*term)(const struct ledger_term *, int64_t *);		/* by place, or */
	bool		(*part)(const struct ledger_part *, int64_t *);
} families[] = {
	{ "vmtap_vm_packets", "Where the VM's packets are, by place: the terms of its ledger.", term_packets, NULL },
	{ "vmtap_vm_packets_bound", "1: the packets of the place are an upper bound; 2: there are more, that nobody counted.",
	    term_bound, NULL },
	{ "vmtap_vm_unaccounted_packets", "Packets that are in no place.", NULL, part_unaccounted },
	{ "vmtap_vm_ledger_exact", "1 if no place of the VM's packets is a bound.", NULL, part_exact },
	{ "vmtap_vm_ledger_level", "How much the VM's agent counts: 2 kernel, 1 ring, 0 off.", NULL, part_level },
};

static void
put_part(struct metrics *metrics, const struct scrape_ledger *row, bool (*value)(const struct ledger_part *, int64_t *))
{
	const struct metrics_label label[] = { { "tenant", row->vm.tenant }, { "vm", row->vm.name }, { "uuid", row->vm.uuid },
	    { NULL, NULL } };
	int64_t number;

	if (value(&row->sum, &number))
		metrics_i64(metrics, label, number);
}

static void
put_ledgers(struct scrape_reading *reading, const struct ledgers *all)
{
	for (size_t i = 0; i < sizeof(families) / sizeof(families[0]); i++) {
		scrape_fit(reading);
		metrics_family(&reading->metrics, METRICS_GAUGE, families[i].help, "%s", families[i].name);
		for (size_t n = 0; n < all->count; n++)
			if (families[i].term != NULL)
				put_terms(&reading->metrics, &all->row[n], families[i].term);
			else
				put_part(&reading->metrics, &all->row[n], families[i].part);
	}
}

int
scrape_put_ledgers(struct scrape_reading *reading)
{
	struct ledgers all = { 0 };
	int rc = -1;

	if (ledgers_find(reading, &all) == 0 && ledgers_read(reading, &all) == 0) {
		put_ledgers(reading, &all);
		rc = 0;
	}
	free(all.row);
	return rc;
}
