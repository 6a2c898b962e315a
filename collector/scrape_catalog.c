/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#include "config.h"

#include <sys/statvfs.h>
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <sqlite3.h>

#include "common/buf.h"
#include "common/log.h"
#include "common/metrics.h"
#include "proto/counter_metrics.h"

#include "collector/catalog.h"
#include "collector/note.h"
#include "collector/scrape.h"
#include "collector/store.h"

#define SCRAPE_LOG_MS	60000

/* --- the families of VMs --- */

/* Columns: tenant, name, UUID, value, and that of the label if there is one. What retention removes is missing in sums over files and
 * streams, so they are gauges. */
struct scrape_family {
	const char	*name, *help, *label, *sql;
	double		 per;		/* of the value's unit in the base unit */
};

#define BY_VM(columns, from)	"SELECT v.tenant, v.name, v.uuid, " columns " FROM " from

/* Where a VM's packets are, by place: the terms of the ledger as far as the catalog's tables have them. */
#define PLACES_OF_COUNTERS												\
	"(VALUES ('offered_packets', 'offered'), ('filtered_packets', 'filtered'), ('own_packets', 'own'),"		\
	" ('paused_packets', 'paused'), ('ring_dropped_packets', 'ring'), ('before_filter_packets', 'before_filter'),"	\
	" ('oversize_packets', 'oversize'))"
#define LEDGER														\
	"(SELECT vm, CAST(total(packets) AS INTEGER) AS packets, 'stored' AS place FROM file GROUP BY vm UNION ALL"			\
	" SELECT vm, CAST(total(packets) AS INTEGER), 'lost' FROM loss GROUP BY vm UNION ALL"						\
	" SELECT s.vm, CAST(total(s.value) AS INTEGER), p.column2 FROM stat s JOIN " PLACES_OF_COUNTERS " p ON p.column1 = s.counter"	\
	" GROUP BY s.vm, p.column2)"

static const struct scrape_family families[] = {
	{ "vmtap_vm_connected", "1 while the VM's agent has a session.", NULL, BY_VM("v.connected", "vm v"), 1 },
	{ "vmtap_vm_last_seen_timestamp_seconds", "When the VM's agent was heard last, since 1970.", NULL,
	    BY_VM("v.seen_ns", "vm v WHERE v.seen_ns > 0"), 1e9 },
	{ "vmtap_vm_clock_offset_seconds", "The guest's wall clock minus the collector's.", NULL,
	    BY_VM("v.clock_offset_ns", "vm v WHERE v.clock_offset_ns IS NOT NULL"), 1e9 },
	{ "vmtap_vm_stored_packets", "Packets of the VM that are in the store.", NULL,
	    BY_VM("CAST(total(f.packets) AS INTEGER)", "file f JOIN vm v ON v.uuid = f.vm GROUP BY f.vm"), 1 },
	{ "vmtap_vm_stored_bytes", "Bytes of the VM's files in the store.", NULL,
	    BY_VM("CAST(total(f.length) AS INTEGER)", "file f JOIN vm v ON v.uuid = f.vm GROUP BY f.vm"), 1 },
	{ "vmtap_vm_lost_packets", "Packets in gaps that the catalog knows of.", "place",
	    BY_VM("CAST(total(l.packets) AS INTEGER), l.place", "loss l JOIN vm v ON v.uuid = l.vm GROUP BY l.vm, l.place"), 1 },
	{ "vmtap_vm_packets", "Where the packets of the streams went that the catalog knows of.", "place",
	    BY_VM("l.packets, l.place", LEDGER " l JOIN vm v ON v.uuid = l.vm"), 1 },
};

static const char *
column(sqlite3_stmt *stmt, int i)
{
	const unsigned char *text = sqlite3_column_text(stmt, i);

	return text != NULL ? (const char *)text : "";
}

static int
put_family(struct metrics *metrics, sqlite3 *db, const struct scrape_family *family)
{
	sqlite3_stmt *stmt = NULL;
	int rc = SQLITE_ERROR;

	metrics_family(metrics, METRICS_GAUGE, family->help, "%s", family->name);
	if (sqlite3_prepare_v2(db, family->sql, -1, &stmt, NULL) == SQLITE_OK)
		while ((rc = sqlite3_step(stmt)) == SQLITE_ROW) {
			const struct metrics_label label[] = { { "tenant", column(stmt, 0) }, { "vm", column(stmt, 1) },
			    { "uuid", column(stmt, 2) }, { family->label, family->label != NULL ? column(stmt, 4) : NULL },
			    { NULL, NULL } };

			metrics_double(metrics, label, (double)sqlite3_column_int64(stmt, 3) / family->per);
		}
	sqlite3_finalize(stmt);
	return rc == SQLITE_DONE ? 0 : -1;
}

/* --- the agents' own counters --- */

/*
 * Those of each VM's newest stream that has told any, since some of them go on from stream to stream. An interface that went and came
 * back has several ids: counters are summed up, a level (value beside max()) is that of the newest.
 */
static const char counters_sql[] =
    "WITH newest AS (SELECT vm, id AS stream, max(started_ns) FROM stream n WHERE EXISTS"
    " (SELECT 1 FROM stat WHERE vm = n.vm AND stream = n.id) GROUP BY vm)"
    " SELECT v.tenant, v.name, v.uuid, s.counter, i.name, CAST(total(s.value) AS INTEGER), s.value, max(s.interface) FROM newest n"
    " JOIN stat s ON s.vm = n.vm AND s.stream = n.stream JOIN vm v ON v.uuid = n.vm"
    " LEFT JOIN interface i ON i.stream = s.stream AND i.id = s.interface"
    " GROUP BY s.counter, n.vm, i.name ORDER BY s.counter";

static void
put_counter(struct metrics *metrics, sqlite3_stmt *stmt, const struct counter_row *row)
{
	const struct metrics_label label[] = { { "tenant", column(stmt, 0) }, { "vm", column(stmt, 1) }, { "uuid", column(stmt, 2) },
	    { row->per_interface ? "interface" : NULL, column(stmt, 4) }, { NULL, NULL } };

	counter_metrics_sample(metrics, row, label, (uint64_t)sqlite3_column_int64(stmt, row->level ? 6 : 5));
}

static int
put_counters(struct metrics *metrics, sqlite3 *db)
{
	const struct counter_row *row = NULL, *next;
	sqlite3_stmt *stmt = NULL;
	int rc = SQLITE_ERROR;

	if (sqlite3_prepare_v2(db, counters_sql, -1, &stmt, NULL) == SQLITE_OK)
		while ((rc = sqlite3_step(stmt)) == SQLITE_ROW) {
			if ((next = counter_by_name(column(stmt, 3))) == NULL)
				continue;	/* of a newer collector */
			if (next != row)
				counter_metrics_family(metrics, next);
			row = next;
			put_counter(metrics, stmt, row);
		}
	sqlite3_finalize(stmt);
	return rc == SQLITE_DONE ? 0 : -1;
}

/* --- the store --- */

static int
put_store(struct metrics *metrics, sqlite3 *db, const struct store *store)
{
	sqlite3_stmt *stmt = NULL;
	struct statvfs fs;
	int rc = SQLITE_ERROR;

	if (sqlite3_prepare_v2(db, "SELECT CAST(total(length) AS INTEGER), count(*) FROM file", -1, &stmt, NULL) == SQLITE_OK &&
	    (rc = sqlite3_step(stmt)) == SQLITE_ROW) {
		metrics_family(metrics, METRICS_GAUGE, "Bytes of all files in the store.", "vmtap_collector_store_bytes");
		metrics_u64(metrics, NULL, (uint64_t)sqlite3_column_int64(stmt, 0));
		metrics_family(metrics, METRICS_GAUGE, "Files in the store.", "vmtap_collector_store_files");
		metrics_u64(metrics, NULL, (uint64_t)sqlite3_column_int64(stmt, 1));
	}
	sqlite3_finalize(stmt);
	if (fstatvfs(store->root_fd, &fs) == 0) {
		metrics_family(metrics, METRICS_GAUGE, "Bytes that the store's file system has left.", "vmtap_collector_store_free_bytes");
		metrics_u64(metrics, NULL, (uint64_t)fs.f_bavail * fs.f_frsize);
	}
	return rc == SQLITE_ROW ? 0 : -1;
}

/* --- the thread --- */

struct scrape_catalog {
	const struct store	*store;
	struct mailbox		*main;
	sqlite3			*db;
	struct log_limit	 limit;
	pthread_t		 thread;
	pthread_mutex_t		 mutex;		/* guards what follows */
	pthread_cond_t		 cond;
	struct buf		 text;		/* empty: the last reading failed */
	bool			 asked, stop;
};

/* One transaction, so that the families agree. */
static int
read_all(struct scrape_catalog *catalog, struct buf *text)
{
	sqlite3 *db = catalog->db;
	struct metrics metrics;
	int errs = 0;

	metrics_init(&metrics, text);
	errs += sqlite3_exec(db, "BEGIN", NULL, NULL, NULL) != SQLITE_OK;
	for (size_t i = 0; i < sizeof(families) / sizeof(families[0]); i++)
		errs += put_family(&metrics, db, &families[i]) == -1;
	errs += put_counters(&metrics, db) == -1;
	errs += put_store(&metrics, db, catalog->store) == -1;
	if (errs > 0)
		log_limited(&catalog->limit, SCRAPE_LOG_MS, LOG_LEVEL_WARN, "metrics: catalog: %s", sqlite3_errmsg(db));
	sqlite3_exec(db, "COMMIT", NULL, NULL, NULL);
	if (metrics_end(&metrics) == -1) {
		log_limited(&catalog->limit, SCRAPE_LOG_MS, LOG_LEVEL_WARN, "metrics: %s", strerror(errno));
		return -1;
	}
	return errs > 0 ? -1 : 0;
}

static void
read_once(struct scrape_catalog *catalog)
{
	struct buf text, old;

	buf_init(&text, SCRAPE_TEXT_MAX);
	if (read_all(catalog, &text) == -1)
		buf_clear(&text);
	pthread_mutex_lock(&catalog->mutex);
	old = catalog->text;
	catalog->text = text;
	pthread_mutex_unlock(&catalog->mutex);
	buf_clear(&old);
	mailbox_post(catalog->main, note_new(NOTE_METRICS));
}

static void *
scrape_catalog_main(void *arg)
{
	struct scrape_catalog *catalog = arg;
	bool stop;

	for (;;) {
		pthread_mutex_lock(&catalog->mutex);
		while (!catalog->asked && !catalog->stop)
			pthread_cond_wait(&catalog->cond, &catalog->mutex);
		catalog->asked = false;
		stop = catalog->stop;
		pthread_mutex_unlock(&catalog->mutex);
		if (stop)
			return NULL;
		read_once(catalog);
	}
}

struct scrape_catalog *
scrape_catalog_new(const struct store *store, struct mailbox *main_box, char *error, size_t error_size)
{
	struct scrape_catalog *catalog = calloc(1, sizeof(*catalog));

	if (catalog == NULL) {
		snprintf(error, error_size, "out of memory");
		return NULL;
	}
	catalog->store = store;
	catalog->main = main_box;
	buf_init(&catalog->text, SCRAPE_TEXT_MAX);
	pthread_mutex_init(&catalog->mutex, NULL);
	pthread_cond_init(&catalog->cond, NULL);
	if ((catalog->db = catalog_open_read_only(store->path, error, error_size)) == NULL)
		goto fail;
	if ((errno = pthread_create(&catalog->thread, NULL, scrape_catalog_main, catalog)) == 0)
		return catalog;
	snprintf(error, error_size, "thread: %s", strerror(errno));
fail:
	sqlite3_close(catalog->db);
	free(catalog);
	return NULL;
}

void
scrape_catalog_read(struct scrape_catalog *catalog)
{
	pthread_mutex_lock(&catalog->mutex);
	catalog->asked = true;
	pthread_cond_signal(&catalog->cond);
	pthread_mutex_unlock(&catalog->mutex);
}

int
scrape_catalog_take(struct scrape_catalog *catalog, struct buf *out)
{
	int rc;

	pthread_mutex_lock(&catalog->mutex);
	rc = catalog->text.len > 0 ? buf_put(out, catalog->text.data, catalog->text.len) : -1;
	pthread_mutex_unlock(&catalog->mutex);
	return rc;
}

void
scrape_catalog_free(struct scrape_catalog *catalog)
{
	if (catalog == NULL)
		return;
	pthread_mutex_lock(&catalog->mutex);
	catalog->stop = true;
	pthread_cond_signal(&catalog->cond);
	pthread_mutex_unlock(&catalog->mutex);
	sqlite3_interrupt(catalog->db);
	pthread_join(catalog->thread, NULL);
	sqlite3_close(catalog->db);
	pthread_mutex_destroy(&catalog->mutex);
	pthread_cond_destroy(&catalog->cond);
	buf_clear(&catalog->text);
	free(catalog);
}
