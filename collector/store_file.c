/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#include "config.h"

#include <sys/stat.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/log.h"
#include "proto/codec.h"

#include "collector/counts.h"
#include "collector/store.h"

#define STORE_NAME_TRIES	10000	/* files of one VM that begin in the same second */

static int
store_make_vm_directory(const struct store *store, const char *path)
{
	int fd;

	if (mkdirat(store->root_fd, path, 0750) == -1)
		return errno == EEXIST ? 0 : -1;
	if ((fd = openat(store->root_fd, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW)) != -1) {
		store_set_group(store, fd);
		close(fd);
	}
	return 0;
}

static int
store_make_directories(const struct store *store, const char *tenant, const char *uuid)
{
	char path[STORE_PATH_SIZE];

	snprintf(path, sizeof(path), "%s/%s", tenant, uuid);
	if (store_make_vm_directory(store, tenant) == -1)
		return -1;
	return store_make_vm_directory(store, path);
}

/* Makes the hidden file. The final name is looked at after that: the committer may just have given it to another one. */
static int
store_file_try(struct store_file *file)
{
	char hidden[STORE_PATH_SIZE + 1];
	struct stat st;

	store_hidden_path(file->path, hidden);
	file->fd = openat(file->store->root_fd, hidden, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0640);
	if (file->fd == -1)
		return -1;
	if (fstatat(file->store->root_fd, file->path, &st, AT_SYMLINK_NOFOLLOW) == -1)
		return 0;
	unlinkat(file->store->root_fd, hidden, 0);
	close(file->fd);
	file->fd = -1;
	errno = EEXIST;
	return -1;
}

static int
store_file_make(struct store_file *file, const char *tenant, const char *uuid)
{
	time_t seconds = (time_t)(file->created_ns / 1000000000u);
	char start[32];
	struct tm tm;

	gmtime_r(&seconds, &tm);
	strftime(start, sizeof(start), "%Y%m%dT%H%M%SZ", &tm);
	for (unsigned n = 1; n <= STORE_NAME_TRIES; n++) {
		snprintf(file->path, sizeof(file->path), "%s/%s/%s-%u.pcapng%s", tenant, uuid, start, n, file->codec->suffix);
		if (store_file_try(file) == 0)
			return 0;
		if (errno != EEXIST)
			return -1;
	}
	errno = EEXIST;
	return -1;
}

static void
store_file_discard(struct store_file *file)
{
	char hidden[STORE_PATH_SIZE + 1];
	int saved = errno;

	store_hidden_path(file->path, hidden);
	unlinkat(file->store->root_fd, hidden, 0);
	close(file->fd);
	free(file);
	errno = saved;
}

struct store_file *
store_file_create(struct store *store, const char *tenant, const char *uuid, const struct codec *codec, const uint8_t *head,
    size_t head_len)
{
	struct store_file *file = calloc(1, sizeof(*file));
	uint8_t edge[CODEC_FILE_EDGE_MAX];

	if (file == NULL)
		return NULL;
	file->store = store;
	file->codec = codec;
	file->created_ns = clock_wall_ns();
	file->created_mono_ns = clock_mono_ns();
	if (store_make_directories(store, tenant, uuid) == -1 || store_file_make(file, tenant, uuid) == -1) {
		int saved = errno;
		free(file);
		errno = saved;
		return NULL;
	}
	store_set_group(store, file->fd);
	if (store_file_append(file, edge, codec->file_begin(edge, sizeof(edge))) == -1 ||
	    store_file_append_raw(file, head, head_len) == -1) {
		store_file_discard(file);
		return NULL;
	}
	file->id = atomic_fetch_add(&store->next_file_id, 1);
	count_add(COUNT_FILES, 1);
	return file;
}

/* Back to the last whole unit. What cannot be cut off is overwritten by the next unit, or cut by the next start's recovery. */
static void
store_file_cut(struct store_file *file)
{
	int saved = errno;

	if (ftruncate(file->fd, (off_t)file->length) == -1)
		log_warn("%s/%s: cannot be cut to %llu bytes: %s", file->store->path, file->path, (unsigned long long)file->length,
		    strerror(errno));
	errno = saved;
}

int
store_file_append(struct store_file *file, const uint8_t *unit, size_t len)
{
	size_t done = 0;

	while (done < len) {
		ssize_t n = pwrite(file->fd, unit + done, len - done, (off_t)(file->length + done));

		if (n == -1 && errno == EINTR)
			continue;
		if (n <= 0) {
			if (n == 0)
				errno = ENOSPC;
			store_file_cut(file);
			return -1;
		}
		done += (size_t)n;
	}
	file->length += len;
	return 0;
}

int
store_file_append_raw(struct store_file *file, const uint8_t *raw, size_t len)
{
	size_t size = file->codec->bound(len);
	uint8_t *unit = malloc(size);
	ssize_t n;
	int rc = -1;

	if (unit == NULL)
		return -1;
	n = file->codec->store(raw, len, unit, size);
	if (n >= 0)
		rc = store_file_append(file, unit, (size_t)n);
	else
		errno = EMSGSIZE;
	if (rc == 0)
		file->raw += len;
	free(unit);
	return rc;
}

void
store_file_finish(struct store_file *file)
{
	uint8_t edge[CODEC_FILE_EDGE_MAX];

	if (store_file_append(file, edge, file->codec->file_end(edge, sizeof(edge))) == -1)
		log_warn("%s/%s: its end could not be written: %s", file->store->path, file->path, strerror(errno));
	close(file->fd);
	file->fd = -1;
}

void
store_file_free(struct store_file *file)
{
	if (file != NULL && file->fd != -1)
		close(file->fd);
	free(file);
}
