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
	store_file_free(file);
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
	buf_init(&file->pending, STORE_PENDING_MAX);
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

int
store_file_append(struct store_file *file, const uint8_t *unit, size_t len)
{
	if (buf_put(&file->pending, unit, len) == -1)
		return -1;
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
}

void
store_file_hand_over(struct store_file *file, struct store_file *copy, bool end)
{
	*copy = *file;
	buf_init(&file->pending, STORE_PENDING_MAX);
	if (end)
		file->fd = -1;
}

int
store_file_write(struct store_file *copy)
{
	struct buf *pending = &copy->pending;

	while (pending->len > 0) {
		ssize_t n = pwrite(copy->fd, pending->data, pending->len, (off_t)(copy->length - pending->len));

		if (n > 0)
			buf_consume(pending, (size_t)n);
		else if (n == 0) {
			errno = ENOSPC;
			return -1;
		} else if (errno != EINTR)
			return -1;
	}
	return 0;
}

void
store_file_clear(struct store_file *file, bool end)
{
	buf_clear(&file->pending);
	if (end && file->fd != -1)
		close(file->fd);
	file->fd = -1;
}

void
store_file_free(struct store_file *file)
{
	if (file == NULL)
		return;
	store_file_clear(file, true);
	free(file);
}
