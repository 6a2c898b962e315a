/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/log.h"

#include "collector/catalog_write.h"
#include "collector/counts.h"
#include "collector/store_commit.h"

#define COMMIT_RETRY_S		1
#define COMMIT_LOG_MS		60000
#define COMMIT_ERROR_SIZE	512

struct committer {
	struct store		*store;
	int			 sync_fd;	/* syncfs(2) tells an error once to each open file: this one is ours alone */
	struct catalog_writer	*writer;
	commit_report		*report;
	void			*arg;
	uint64_t		*revealed;	/* ids of files renamed since the last commit */
	size_t			 revealed_count, revealed_size;
	struct log_limit	 limit;
	pthread_t		 thread;
	pthread_mutex_t		 mutex;		/* guards what follows */
	pthread_cond_t		 cond;
	struct batch		*batch;		/* to be committed */
	bool			 stop;
};

static void
commit_remember_revealed(struct committer *committer, uint64_t id)
{
	size_t size = committer->revealed_size > 0 ? committer->revealed_size * 2 : 16;
	uint64_t *p = committer->revealed;

	if (committer->revealed_count == committer->revealed_size) {
		if ((p = reallocarray(p, size, sizeof(*p))) == NULL)
			return;		/* stays hidden in the catalog; the next start's recovery sets it right */
		committer->revealed = p;
		committer->revealed_size = size;
	}
	committer->revealed[committer->revealed_count++] = id;
}

static void
commit_reveal_files(struct committer *committer, const struct batch *batch)
{
	const struct file_row *row = batch->files.row;

	committer->revealed_count = 0;
	for (size_t i = 0; i < batch->files.count; i++) {
		if (!row[i].reveal)
			continue;
		if (store_reveal(committer->store, row[i].file.path) == 0)
			commit_remember_revealed(committer, row[i].file.id);
		else
			log_limited(&committer->limit, COMMIT_LOG_MS, LOG_LEVEL_ERROR, "%s/%s: cannot be given its name: %s",
			    committer->store->path, row[i].file.path, strerror(errno));
	}
}

static bool
commit_wait_retry(struct committer *committer)
{
	struct timespec until;
	bool stop;

	clock_gettime(CLOCK_REALTIME, &until);
	until.tv_sec += COMMIT_RETRY_S;
	pthread_mutex_lock(&committer->mutex);
	while (!committer->stop && pthread_cond_timedwait(&committer->cond, &committer->mutex, &until) == 0)
		;
	stop = committer->stop;
	pthread_mutex_unlock(&committer->mutex);
	return !stop;
}

/* Goes on where an attempt that failed has stopped. */
static int
commit_write_files(struct committer *committer, struct batch *batch, char *error, size_t error_size)
{
	struct file_row *row = batch->files.row;

	if (store_check_place(committer->store, error, error_size) == -1)
		return -1;
	for (size_t i = 0; i < batch->files.count; i++) {
		if (store_file_write(&row[i].file) == -1) {
			snprintf(error, error_size, "%s: %s", row[i].file.path, errno == ENOSPC || errno == EDQUOT ?
			    "the store is full" : strerror(errno));
			return -1;
		}
		store_file_clear(&row[i].file, !row[i].live);
	}
	return 0;
}

static int
commit_write_rows(struct committer *committer, struct batch *batch, char *error, size_t error_size)
{
	return catalog_writer_commit(committer->writer, batch, committer->revealed, committer->revealed_count, error, error_size);
}

/* Tries until step is through; false: told to stop. */
static bool
commit_insist(struct committer *committer, int (*step)(struct committer *, struct batch *, char *, size_t), struct batch *batch)
{
	char error[COMMIT_ERROR_SIZE];
	bool told = false;

	while (step(committer, batch, error, sizeof(error)) == -1) {
		bool busy = errno == EBUSY;

		count_add(COUNT_COMMITS_FAILED, 1);
		log_limited(&committer->limit, COMMIT_LOG_MS, LOG_LEVEL_ERROR, "%s: commit failed, trying again: %s",
		    committer->store->path, error);
		/* Who waits for another worker's commit, on a disk that hangs, fails no more than if it hung itself. */
		if (!told && !busy) {
			committer->report(COMMIT_FAILING, NULL, error, committer->arg);
			told = true;
		}
		if (!commit_wait_retry(committer))
			return false;
	}
	return true;
}

static void
commit_run(struct committer *committer, struct batch *batch)
{
	uint64_t begin_ns = clock_mono_ns();
	char error[COMMIT_ERROR_SIZE];

	if (!commit_insist(committer, commit_write_files, batch)) {
		batch_free(batch);
		return;
	}
	if ((batch->file_bytes > 0 || committer->revealed_count > 0) && syncfs(committer->sync_fd) == -1) {
		snprintf(error, sizeof(error), "%s: data could not be made durable: %s", committer->store->path, strerror(errno));
		batch_free(batch);
		committer->report(COMMIT_LOST, NULL, error, committer->arg);
		return;
	}
	if (!commit_insist(committer, commit_write_rows, batch)) {
		batch_free(batch);
		return;
	}
	commit_reveal_files(committer, batch);
	count_add(COUNT_COMMITS, 1);
	count_commit(clock_mono_ns() - begin_ns);
	committer->report(COMMIT_DONE, batch, NULL, committer->arg);
}

static void *
committer_main(void *arg)
{
	struct committer *committer = arg;
	struct batch *batch;

	for (;;) {
		pthread_mutex_lock(&committer->mutex);
		while (committer->batch == NULL && !committer->stop)
			pthread_cond_wait(&committer->cond, &committer->mutex);
		batch = committer->batch;
		committer->batch = NULL;
		pthread_mutex_unlock(&committer->mutex);
		if (batch == NULL)
			return NULL;
		commit_run(committer, batch);
	}
}

struct committer *
committer_new(struct store *store, commit_report *report, void *arg, char *error, size_t error_size)
{
	struct committer *committer = calloc(1, sizeof(*committer));

	if (committer == NULL) {
		snprintf(error, error_size, "out of memory");
		return NULL;
	}
	committer->store = store;
	committer->report = report;
	committer->arg = arg;
	pthread_mutex_init(&committer->mutex, NULL);
	pthread_cond_init(&committer->cond, NULL);
	if ((committer->sync_fd = openat(store->root_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC)) == -1) {
		snprintf(error, error_size, "store %s: %s", store->path, strerror(errno));
		goto fail;
	}
	if ((committer->writer = catalog_writer_new(store->path, error, error_size)) == NULL)
		goto fail;
	if ((errno = pthread_create(&committer->thread, NULL, committer_main, committer)) == 0)
		return committer;
	snprintf(error, error_size, "thread: %s", strerror(errno));
fail:
	catalog_writer_free(committer->writer);
	if (committer->sync_fd != -1)
		close(committer->sync_fd);
	free(committer);
	return NULL;
}

void
committer_start(struct committer *committer, struct batch *batch)
{
	pthread_mutex_lock(&committer->mutex);
	committer->batch = batch;
	pthread_cond_signal(&committer->cond);
	pthread_mutex_unlock(&committer->mutex);
}

void
committer_free(struct committer *committer)
{
	if (committer == NULL)
		return;
	pthread_mutex_lock(&committer->mutex);
	committer->stop = true;
	pthread_cond_signal(&committer->cond);
	pthread_mutex_unlock(&committer->mutex);
	pthread_join(committer->thread, NULL);
	catalog_writer_free(committer->writer);
	close(committer->sync_fd);
	pthread_mutex_destroy(&committer->mutex);
	pthread_cond_destroy(&committer->cond);
	free(committer->revealed);
	free(committer);
}
