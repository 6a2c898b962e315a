/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#include "config.h"

#include <sys/stat.h>

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "common/log.h"

#include "agent/agent.h"
#include "agent/supervisor_identity.h"

#define TEMPORARY	".new"
#define SAID_MS		3600000
#define FILE_MAX	(IPC_STORE_MAX + MACHINE_TEXT_SIZE)

/* --- files --- */

static int
open_folder(const struct agent_options *options)
{
	return open(options->state_dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
}

static int
open_file(int folder, const char *name)
{
	return openat(folder, name, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NOFOLLOW | O_NONBLOCK);
}

const char *
identity_name_of(const struct agent_options *options, const char *path)
{
	size_t len = strlen(options->state_dir);

	return strncmp(path, options->state_dir, len) == 0 && path[len] == '/' ? path + len + 1 : NULL;
}

int
identity_open(const struct agent_options *options, const char *path)
{
	int follow = identity_name_of(options, path) != NULL ? O_NOFOLLOW : 0;

	return open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK | follow);
}

/* Whose folder it is, so that root by hand leaves nothing behind that the service cannot read. */
static int
give_to_owner(int folder, int fd)
{
	struct stat st;

	if (geteuid() != 0)
		return 0;
	return fstat(folder, &st) == -1 ? -1 : fchown(fd, st.st_uid, st.st_gid);
}

static int
write_all(int fd, const char *bytes, size_t len)
{
	ssize_t n;

	for (; len > 0; bytes += n, len -= (size_t)n)
		if ((n = write(fd, bytes, len)) == -1)
			return -1;
	return 0;
}

/* Forced: after a crash there is either what was there before, or all of this. */
static int
write_whole(int folder, const char *name, const char *head, size_t head_len, const void *bytes, size_t len, bool forced)
{
	char temporary[32];
	int fd, saved;

	snprintf(temporary, sizeof(temporary), "%s" TEMPORARY, name);
	if (unlinkat(folder, temporary, 0) == -1 && errno != ENOENT)
		return -1;
	if ((fd = openat(folder, temporary, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600)) == -1)
		return -1;
	if (write_all(fd, head, head_len) == 0 && write_all(fd, bytes, len) == 0 && give_to_owner(folder, fd) == 0 &&
	    (!forced || fsync(fd) == 0) && renameat(folder, temporary, folder, name) == 0) {
		close(fd);
		return forced ? fsync(folder) : 0;
	}
	saved = errno;
	close(fd);
	(void)unlinkat(folder, temporary, 0);
	errno = saved;
	return -1;
}

static int
write_file(int folder, const char *name, const char *head, size_t head_len, const void *bytes, size_t len)
{
	return write_whole(folder, name, head, head_len, bytes, len, true);
}

/* Its length, size - 1 at most, with a NUL behind it; 0: there is none. */
static size_t
read_file(int folder, const char *name, char *text, size_t size)
{
	size_t len = 0;
	ssize_t n = 0;
	int fd;

	text[0] = '\0';
	if ((fd = open_file(folder, name)) == -1)
		return 0;
	while (len < size - 1 && (n = read(fd, text + len, size - 1 - len)) > 0)
		len += (size_t)n;
	close(fd);
	text[len] = '\0';
	return n == -1 ? 0 : len;
}

static void
forget_file(int folder, const char *name)
{
	if (unlinkat(folder, name, 0) == -1 && errno != ENOENT)
		log_warn("%s in the state folder cannot be removed: %s", name, strerror(errno));
}

/* --- the machine --- */

static int
write_machine(int folder, const struct machine *machine)
{
	char text[MACHINE_TEXT_SIZE];
	size_t len = machine_format(machine, text);

	if (write_file(folder, IDENTITY_MACHINE, text, len, "", 0) == 0)
		return 0;
	log_warn("what this machine is cannot be kept, so that a copy of it would not be told from it: %s", strerror(errno));
	return -1;
}

/* Who has no record of it yet enrolled here, or was set up by hand. */
static void
look_at_machine(int folder, const struct machine *now, struct ipc_enrolment *enrolment)
{
	static char text[FILE_MAX + 1];
	struct machine was;

	if (faccessat(folder, IDENTITY_CERTIFICATE, F_OK, AT_SYMLINK_NOFOLLOW) == -1)
		return;
	(void)read_file(folder, IDENTITY_MACHINE, text, sizeof(text));
	machine_parse(text, &was);
	enrolment->cloned = machine_differs(&was, now, enrolment->why, sizeof(enrolment->why));
	if (!enrolment->cloned && machine_learn(&was, now))
		(void)write_machine(folder, &was);
}

/* --- the end of an enrolment --- */

static void
forget_token(const struct agent_options *options)
{
	if (unlink(options->token_file) == -1 && errno != ENOENT)
		log_warn("%s: the token was used and cannot be removed: %s", options->token_file, strerror(errno));
}

/* The pending key goes last: while it is there, this is done again. */
static void
finish(int folder, const struct machine *machine)
{
	if (write_machine(folder, machine) == -1)
		return;
	forget_file(folder, IDENTITY_PENDING);
	(void)fsync(folder);
}

/* The key begins what enrolment stores last; so it has, if agent.pem begins with it. */
static bool
is_finished(int folder, const char *pending)
{
	static char text[FILE_MAX + 1];
	const char *key = strstr(pending, "-----BEGIN");
	size_t len = read_file(folder, IDENTITY_CERTIFICATE, text, sizeof(text));
	bool finished = key != NULL && strncmp(text, key, strlen(key)) == 0;

	explicit_bzero(text, len);
	return finished;
}

static void
look_at_pending(const struct agent_options *options, int folder, const struct machine *now)
{
	static char pending[FILE_MAX + 1];
	struct machine was;
	char why[MSG_TEXT_SIZE];
	bool differs;
	size_t len;

	if ((len = read_file(folder, IDENTITY_PENDING, pending, sizeof(pending))) == 0)
		return;
	machine_parse(pending, &was);
	differs = machine_differs(&was, now, why, sizeof(why));
	if (is_finished(folder, pending)) {
		if (!differs)
			forget_token(options);
		finish(folder, &was);
	} else if (differs) {
		log_info("an enrolment that another machine began (%s) is not gone on with", why);
		forget_file(folder, IDENTITY_PENDING);
	}
	explicit_bzero(pending, len);
}

/* --- what others call --- */

static void
open_secrets(const struct agent_options *options, int folder, struct ipc_enrolment *enrolment, int fds[2])
{
	static struct log_limit limit;
	size_t count = 0;

	if ((fds[count] = identity_open(options, options->token_file)) != -1) {
		enrolment->token = true;
		count++;
	} else if (errno != ENOENT)
		log_limited(&limit, SAID_MS, LOG_LEVEL_ERROR, "%s: the token cannot be read: %s", options->token_file, strerror(errno));
	if (folder != -1 && (fds[count] = open_file(folder, IDENTITY_PENDING)) != -1)
		enrolment->pending = true;
}

void
identity_look(const struct agent_options *options, const struct machine *now, struct ipc_enrolment *enrolment, int fds[2])
{
	int folder = open_folder(options);

	memset(enrolment, 0, sizeof(*enrolment));
	fds[0] = fds[1] = -1;
	if (folder != -1) {
		look_at_pending(options, folder, now);
		look_at_machine(folder, now, enrolment);
	}
	open_secrets(options, folder, enrolment, fds);
	if (folder != -1)
		close(folder);
}

static int
store_in(const struct agent_options *options, int folder, const struct machine *now, enum ipc_store what, const void *bytes,
    size_t len)
{
	struct ipc_enrolment enrolment = { 0 };
	char head[MACHINE_TEXT_SIZE];

	switch (what) {
	case STORE_PENDING:
		return write_file(folder, IDENTITY_PENDING, head, machine_format(now, head), bytes, len);
	case STORE_CA:
		return write_file(folder, IDENTITY_CA, "", 0, bytes, len);
	case STORE_ENROLLED:
		if (write_file(folder, IDENTITY_CERTIFICATE, "", 0, bytes, len) == -1)
			return -1;
		forget_token(options);
		finish(folder, now);
		return 0;
	case STORE_RENEWED:
		look_at_machine(folder, now, &enrolment);
		if (!enrolment.cloned)
			return write_file(folder, IDENTITY_CERTIFICATE, "", 0, bytes, len);
		break;
	case STORE_MAX:
		break;
	}
	errno = EINVAL;
	return -1;
}

int
identity_store(const struct agent_options *options, const struct machine *now, enum ipc_store what, const void *bytes, size_t len)
{
	int folder, result, saved;

	if (mkdir(options->state_dir, 0700) == -1 && errno != EEXIST)
		return -1;
	if ((folder = open_folder(options)) == -1)
		return -1;
	result = store_in(options, folder, now, what, bytes, len);
	saved = errno;
	close(folder);
	errno = saved;
	return result;
}

/* --- what the last agent counted --- */

int
identity_keep_last(const struct agent_options *options, const char *text, size_t len)
{
	int folder = open_folder(options), result;

	if (folder == -1)
		return -1;
	result = write_whole(folder, IDENTITY_LAST, text, len, "", 0, false);
	close(folder);
	return result;
}

size_t
identity_take_last(const struct agent_options *options, char *text, size_t size)
{
	int folder = open_folder(options);
	size_t len = 0;

	if (folder == -1)
		return 0;
	len = read_file(folder, IDENTITY_LAST, text, size);
	if (unlinkat(folder, IDENTITY_LAST, 0) == -1)
		len = 0;
	close(folder);
	return len;
}
