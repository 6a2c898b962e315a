/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#include "config.h"

#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/types.h>

#include <errno.h>
#include <grp.h>
#include <linux/capability.h>
#include <pwd.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "common/sandbox.h"

/* capset(2) itself has no function in libc; version 3 speaks of 64 capabilities in two halves. */
struct caps {
	struct __user_cap_header_struct header;
	struct __user_cap_data_struct half[_LINUX_CAPABILITY_U32S_3];
};

static int
find_user(const char *user, uid_t *uid, gid_t *gid, char *error, size_t error_size)
{
	struct passwd	 entry, *found = NULL;
	char		 strings[16384];
	int		 failed = getpwnam_r(user, &entry, strings, sizeof(strings), &found);

	if (found == NULL) {
		snprintf(error, error_size, "user \"%s\": %s", user, failed != 0 ? strerror(failed) : "there is no such user");
		return -1;
	}
	*uid = entry.pw_uid;
	*gid = entry.pw_gid;
	return 0;
}

/* Permitted capabilities outlive the change of user (PR_SET_KEEPCAPS), for keep_only() to choose from. */
static int
become(const char *user, char *error, size_t error_size)
{
	uid_t	 uid;
	gid_t	 gid;

	if (find_user(user, &uid, &gid, error, error_size) == -1)
		return -1;
	if (prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0) == -1 || setgroups(1, &gid) == -1 || setresgid(gid, gid, gid) == -1 ||
	    setresuid(uid, uid, uid) == -1 || prctl(PR_SET_KEEPCAPS, 0, 0, 0, 0) == -1) {
		snprintf(error, error_size, "cannot become user \"%s\": %s", user, strerror(errno));
		return -1;
	}
	return 0;
}

static int
keep_only(uint32_t wanted, char *error, size_t error_size)
{
	struct caps	 caps = { .header = { .version = _LINUX_CAPABILITY_VERSION_3 } };

	if (syscall(SYS_capget, &caps.header, caps.half) == -1)
		goto failed;
	if ((caps.half[0].permitted & wanted) != wanted) {
		snprintf(error, error_size, "CAP_NET_RAW is missing: start as root, or give it to the program or its service");
		return -1;
	}
	memset(caps.half, 0, sizeof(caps.half));
	caps.half[0].permitted = caps.half[0].effective = wanted;
	/* Clearing what can be inherited clears the ambient set as well. */
	if (syscall(SYS_capset, &caps.header, caps.half) == 0)
		return 0;
failed:
	snprintf(error, error_size, "cannot give up capabilities: %s", strerror(errno));
	return -1;
}

int
sandbox_drop_user(const char *user, bool keep_net_raw, char *error, size_t error_size)
{
	if (geteuid() == 0 && become(user, error, error_size) == -1)
		return -1;
	if (keep_only(keep_net_raw ? 1u << CAP_NET_RAW : 0, error, error_size) == -1)
		return -1;
	if (geteuid() != 0 && setresuid((uid_t)-1, 0, (uid_t)-1) == 0) {
		snprintf(error, error_size, "the process could become root again");
		return -1;
	}
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == -1 || prctl(PR_SET_DUMPABLE, SANDBOX_FOR_ASAN, 0, 0, 0) == -1) {
		snprintf(error, error_size, "cannot close the process off: %s", strerror(errno));
		return -1;
	}
	return 0;
}
