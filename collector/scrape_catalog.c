/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#include "config.h"

#include <sys/statvfs.h>
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <sqlite3.h>

#include "common/buf.h"
#include "common/clock.h"
#include "common/log.h"
#include "common/metrics.h"

#include "collector/catalog.h"
#include "collector/note.h"
#include "collector/scrape.h"
#include "collector/scrape_internal.h"
#include "collector/store.h"

#define SCRAPE_LOG_MS	60000
#define SCRAPE_STEPS	10000	/* of SQLite, until it looks whether it is to stop: some ms */

void
scrape_fit(struct scrape_reading *reading)
{
	if (metrics_take_back(&reading->metrics, reading->mark))
		reading->complete = false;
	reading->mark = reading->metrics.buf->len;
}

const char *
scrape_column(struct sqlite3_stmt *stmt, int i)
{
	const unsigned char *text = sqlite3_column_text(stmt, i);

	return text != NULL ? (const char *)text : "";
}

/* --- the store --- */

int
scrape_put_store(struct scrape_reading *reading)
{
	struct metrics *metrics = &reading->metrics;
	sqlite3_stmt *stmt = NULL;
	struct statvfs fs;
	int rc = SQLITE_ERROR;

	if (sqlite3_prepare_v2(reading->db, "SELECT CAST(total(length) AS INTEGER), count(*) FROM file", -1, &stmt, NULL) == SQLITE_OK &&
	    (rc = sqlite3_step(stmt)) == SQLITE_ROW) {
		metrics_family(metrics, METRICS_GAUGE, "Bytes of all files in the store.", "vmtap_collector_store_bytes");
		metrics_u64(metrics, NULL, (uint64_t)sqlite3_column_int64(stmt, 0));
		metrics_family(metrics, METRICS_GAUGE, "Files in the store.", "vmtap_collector_store_files");
		metrics_u64(metrics, NULL, (uint64_t)sqlite3_column_int64(stmt, 1));
	}
	sqlite3_finalize(stmt);
	if (fstatvfs(reading->store->root_fd, &fs) == 0) {
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
	atomic_bool		 stop;
	pthread_mutex_t		 mutex;		/* guards what follows */
	pthread_cond_t		 cond;
	bool			 asked;
	struct scrape_text	 text;		/* what was read last; empty: that failed, or it has been taken */
};

static int
stopping(void *arg)
{
	return atomic_load((atomic_bool *)arg);
}

/* The store's few lines come first, what is most and matters least last: there may be no room for all. */
static int
read_families(struct scrape_reading *reading)
{
	static int (*const put[])(struct scrape_reading *) = { scrape_put_store, scrape_put_vms, scrape_put_ledgers,
	    scrape_put_counters };

	for (size_t i = 0; i < sizeof(put) / sizeof(put[0]); i++)
		if (put[i](reading) == -1)
			return -1;
	scrape_fit(reading);
	return 0;
}

static int
read_all(struct scrape_catalog *catalog, struct scrape_text *text)
{
	struct scrape_reading reading = { .db = catalog->db, .store = catalog->store, .complete = true, .stop = &catalog->stop };
	int rc;

	metrics_init(&reading.metrics, &text->buf);
	rc = sqlite3_exec(catalog->db, "BEGIN", NULL, NULL, NULL) == SQLITE_OK ? read_families(&reading) : -1;
	if (rc == -1 && !atomic_load(&catalog->stop))
		log_limited(&catalog->limit, SCRAPE_LOG_MS, LOG_LEVEL_WARN, "metrics: catalog: %s", sqlite3_errmsg(catalog->db));
	sqlite3_exec(catalog->db, "COMMIT", NULL, NULL, NULL);
	text->complete = reading.complete;
	if (rc == -1 || metrics_end(&reading.metrics) == 0)
		return rc;
	log_limited(&catalog->limit, SCRAPE_LOG_MS, LOG_LEVEL_WARN, "metrics: %s", strerror(errno));
	return -1;
}

static void
read_once(struct scrape_catalog *catalog)
{
	struct scrape_text text = { .begun_ns = clock_mono_ns() }, old;

	buf_init(&text.buf, SCRAPE_TEXT_MAX);
	if (read_all(catalog, &text) == -1)
		buf_clear(&text.buf);
	else if (!text.complete)
		log_limited(&catalog->limit, SCRAPE_LOG_MS, LOG_LEVEL_WARN, "metrics: more than %u bytes: some are left out",
		    SCRAPE_TEXT_MAX);
	pthread_mutex_lock(&catalog->mutex);
	old = catalog->text;
	catalog->text = text;
	pthread_mutex_unlock(&catalog->mutex);
	buf_clear(&old.buf);
	mailbox_post(catalog->main, note_new(NOTE_METRICS));
}

static void *
scrape_catalog_main(void *arg)
{
	struct scrape_catalog *catalog = arg;
	bool asked;

	do {
		pthread_mutex_lock(&catalog->mutex);
		while (!catalog->asked && !atomic_load(&catalog->stop))
			pthread_cond_wait(&catalog->cond, &catalog->mutex);
		asked = catalog->asked && !atomic_load(&catalog->stop);
		catalog->asked = false;
		pthread_mutex_unlock(&catalog->mutex);
		if (asked)
			read_once(catalog);
	} while (asked);
	return NULL;
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
	buf_init(&catalog->text.buf, SCRAPE_TEXT_MAX);
	pthread_mutex_init(&catalog->mutex, NULL);
	pthread_cond_init(&catalog->cond, NULL);
	if ((catalog->db = catalog_open_read_only(store->path, error, error_size)) == NULL)
		goto fail;
	sqlite3_progress_handler(catalog->db, SCRAPE_STEPS, stopping, &catalog->stop);
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
scrape_catalog_take(struct scrape_catalog *catalog, struct scrape_text *text)
{
	pthread_mutex_lock(&catalog->mutex);
	*text = catalog->text;
	buf_init(&catalog->text.buf, SCRAPE_TEXT_MAX);
	pthread_mutex_unlock(&catalog->mutex);
	return text->buf.len > 0 ? 0 : -1;
}

void
scrape_catalog_free(struct scrape_catalog *catalog)
{
	if (catalog == NULL)
		return;
	pthread_mutex_lock(&catalog->mutex);
	atomic_store(&catalog->stop, true);
	pthread_cond_signal(&catalog->cond);
	pthread_mutex_unlock(&catalog->mutex);
	pthread_join(catalog->thread, NULL);
	sqlite3_close(catalog->db);
	pthread_mutex_destroy(&catalog->mutex);
	pthread_cond_destroy(&catalog->cond);
	buf_clear(&catalog->text.buf);
	free(catalog);
}
