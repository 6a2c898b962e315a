/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#include "config.h"

#include <sys/inotify.h>
#include <sys/stat.h>

#include <errno.h>
#include <limits.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <event2/event.h>

#include "common/filewatch.h"
#include "common/log.h"

/*
 * Directories are watched, not files: a file that is renamed over another is a new one. Which directories, follows from the paths
 * and the symbolic links on them, and so is found out anew after each change. Those above are watched for names only: one of them
 * may be a link that is turned, or one that is moved.
 */
#define LINKS_MAX	8	/* symbolic links followed from one path */
#define NAME_EVENTS	(IN_CREATE | IN_MOVED_FROM | IN_MOVED_TO | IN_DELETE)
#define FILE_EVENTS	(IN_CLOSE_WRITE | IN_ATTRIB)

struct mark {			/* what a file is known by; zeroed: there is none */
	dev_t		dev;
	ino_t		ino;
	off_t		size;
	struct timespec	mtime, ctime;
};

struct filewatch {
	struct event_base *base;
	filewatch_fn	*changed;
	void		*arg;
	struct event	*readable;	/* of the inotify descriptor; NULL: not watching */
	struct event	*settle;
	bool		 said;		/* that it cannot be watched */
	char		*path[FILEWATCH_MAX];
	size_t		 count;
	struct mark	 mark[FILEWATCH_MAX];
};

static bool
mark_differs(const struct mark *a, const struct mark *b)
{
	return a->dev != b->dev || a->ino != b->ino || a->size != b->size || a->mtime.tv_sec != b->mtime.tv_sec ||
	    a->mtime.tv_nsec != b->mtime.tv_nsec || a->ctime.tv_sec != b->ctime.tv_sec || a->ctime.tv_nsec != b->ctime.tv_nsec;
}

/* Whether any file is not what it was. */
static bool
take_marks(struct filewatch *w)
{
	bool differs = false;

	for (size_t i = 0; i < w->count; i++) {
		struct mark mark = { 0 };
		struct stat st;

		if (stat(w->path[i], &st) == 0)
			mark = (struct mark){ .dev = st.st_dev, .ino = st.st_ino, .size = st.st_size, .mtime = st.st_mtim,
			    .ctime = st.st_ctim };
		differs = differs || mark_differs(&mark, &w->mark[i]);
		w->mark[i] = mark;
	}
	return differs;
}

/* Cuts the last name off: "/a/b" to "/a", "/a" to "/", "a" to "."; false: nothing is left to cut. */
static bool
to_directory(char *path)
{
	char *slash = strrchr(path, '/');

	if (strcmp(path, "/") == 0 || strcmp(path, ".") == 0)
		return false;
	if (slash == NULL)
		strcpy(path, ".");
	else if (slash == path)
		path[1] = '\0';
	else
		*slash = '\0';
	return true;
}

/* The file's directory and all above it that are there. -1: the system has no more watches. */
static int
watch_directories(int fd, const char *file)
{
	char path[PATH_MAX];
	uint32_t events = NAME_EVENTS | FILE_EVENTS | IN_ONLYDIR | IN_MASK_ADD;

	strcpy(path, file);
	while (to_directory(path)) {
		if (inotify_add_watch(fd, path, events) == -1 && (errno == ENOSPC || errno == ENOMEM))
			return -1;
		events &= ~(uint32_t)FILE_EVENTS;
	}
	return 0;
}

/* In path: where the symbolic link of this path leads. false: it is none, or too long. */
static bool
follow_link(char path[PATH_MAX])
{
	char target[PATH_MAX];
	ssize_t len = readlink(path, target, sizeof(target) - 1);
	size_t keep = 0;

	if (len <= 0)
		return false;
	if (target[0] != '/' && strrchr(path, '/') != NULL)
		keep = (size_t)(strrchr(path, '/') - path) + 1;
	if (keep + (size_t)len >= PATH_MAX)
		return false;
	memcpy(path + keep, target, (size_t)len);
	path[keep + (size_t)len] = '\0';
	return true;
}

static int
watch_path(int fd, const char *file)
{
	char path[PATH_MAX];
	unsigned links = 0;

	if (strlen(file) >= sizeof(path))
		return 0;
	strcpy(path, file);
	do
		if (watch_directories(fd, path) == -1)
			return -1;
	while (++links <= LINKS_MAX && follow_link(path));
	return 0;
}

static void
disarm(struct filewatch *w)
{
	if (w->readable == NULL)
		return;
	close(event_get_fd(w->readable));
	event_free(w->readable);
	w->readable = NULL;
}

/* What it says is not read: on_settled() looks itself, and until then nobody listens. */
static void
on_readable(evutil_socket_t fd, short what, void *arg)
{
	static const struct timeval wait = { .tv_sec = FILEWATCH_SETTLE_MS / 1000, .tv_usec = FILEWATCH_SETTLE_MS % 1000 * 1000 };
	struct filewatch *w = arg;

	(void)fd;
	(void)what;
	event_add(w->settle, &wait);
}

static int
watch_paths(const struct filewatch *w, int fd)
{
	for (size_t i = 0; i < w->count; i++)
		if (watch_path(fd, w->path[i]) == -1)
			return -1;
	return 0;
}

static int
watch_begin(struct filewatch *w)
{
	int fd, saved;

	if ((fd = inotify_init1(IN_CLOEXEC | IN_NONBLOCK)) == -1)
		return -1;
	if ((w->readable = event_new(w->base, fd, EV_READ, on_readable, w)) == NULL) {
		close(fd);
		errno = ENOMEM;
		return -1;
	}
	if (watch_paths(w, fd) == 0 && event_add(w->readable, NULL) == 0)
		return 0;
	saved = errno;
	disarm(w);
	errno = saved;
	return -1;
}

/* Where nothing tells us, we look. */
static void
arm(struct filewatch *w)
{
	static const struct timeval retry = { .tv_sec = FILEWATCH_RETRY_MS / 1000, .tv_usec = FILEWATCH_RETRY_MS % 1000 * 1000 };

	disarm(w);
	if (w->count == 0 || watch_begin(w) == 0) {
		w->said = false;
		return;
	}
	if (!w->said)
		log_warn("changes of %s and other files are seen late: they cannot be watched, and are looked at every %u s: %s",
		    w->path[0], FILEWATCH_RETRY_MS / 1000, strerror(errno));
	w->said = true;
	event_add(w->settle, &retry);
}

/* Watched anew before it is looked at: what happens between is seen by one of the two. */
static void
on_settled(evutil_socket_t fd, short what, void *arg)
{
	struct filewatch *w = arg;

	(void)fd;
	(void)what;
	arm(w);
	if (take_marks(w))
		w->changed(w->arg);
}

static void
forget(struct filewatch *w)
{
	disarm(w);
	event_del(w->settle);
	while (w->count > 0)
		free(w->path[--w->count]);
}

struct filewatch *
filewatch_new(struct event_base *base, filewatch_fn *changed, void *arg)
{
	struct filewatch *w = calloc(1, sizeof(*w));

	if (w == NULL || (w->settle = evtimer_new(base, on_settled, w)) == NULL) {
		free(w);
		errno = ENOMEM;
		return NULL;
	}
	w->base = base;
	w->changed = changed;
	w->arg = arg;
	return w;
}

int
filewatch_set(struct filewatch *w, const char *const path[], size_t count)
{
	forget(w);
	if (count > FILEWATCH_MAX) {
		errno = EINVAL;
		return -1;
	}
	for (; w->count < count; w->count++)
		if ((w->path[w->count] = strdup(path[w->count])) == NULL)
			goto fail;
	arm(w);
	take_marks(w);
	return 0;
fail:
	forget(w);
	return -1;
}

void
filewatch_free(struct filewatch *w)
{
	if (w == NULL)
		return;
	forget(w);
	event_free(w->settle);
	free(w);
}
