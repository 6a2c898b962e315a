/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#include "config.h"

#include <sys/mman.h>

#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "agent/last_counts.h"
#include "agent/supervisor.h"
#include "agent/supervisor_identity.h"

static int
boot_id_read(char id[LAST_BOOT_ID_SIZE])
{
	int fd = open("/proc/sys/kernel/random/boot_id", O_RDONLY | O_CLOEXEC);
	ssize_t n = fd != -1 ? read(fd, id, LAST_BOOT_ID_SIZE - 1) : -1;

	if (fd != -1)
		close(fd);
	id[n > 0 ? n : 0] = '\0';
	return n == LAST_BOOT_ID_SIZE - 1 ? 0 : -1;
}

/* The file is gone with this: what it says is counted once, or if this agent dies, not at all. */
static void
last_take(struct supervisor *supervisor)
{
	char text[LAST_TEXT_SIZE], boot_id[LAST_BOOT_ID_SIZE];

	if (identity_take_last(supervisor->options, text, sizeof(text)) > 0 && boot_id_read(boot_id) == 0)
		last_counts_parse(text, boot_id, supervisor->last);
}

int
supervisor_last_open(struct supervisor *supervisor)
{
	size_t size = sizeof(*supervisor->last);
	int fd = memfd_create("vmtap-last", MFD_CLOEXEC | MFD_ALLOW_SEALING);

	if ((supervisor->last_fd = fd) == -1 || ftruncate(fd, (off_t)size) == -1 ||
	    fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) == -1 ||
	    (supervisor->last = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0)) == MAP_FAILED) {
		supervisor->last = NULL;
		return -1;
	}
	last_take(supervisor);
	return 0;
}

void
supervisor_last_keep(const struct supervisor *supervisor)
{
	char text[LAST_TEXT_SIZE], boot_id[LAST_BOOT_ID_SIZE];
	struct last_counts last = *supervisor->last;
	size_t len;

	if (boot_id_read(boot_id) == 0 && (len = last_counts_format(&last, boot_id, text)) > 0)
		(void)identity_keep_last(supervisor->options, text, len);
}
