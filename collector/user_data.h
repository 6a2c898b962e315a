/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#ifndef VMTAP_COLLECTOR_USER_DATA_H
#define VMTAP_COLLECTOR_USER_DATA_H

#include <stdint.h>

struct buf;

/*
 * What cloud-init does in a new VM: contrib/cloud-init/user-data.in, filled in. The file is compiled in. A line "#@ WORD..." in it
 * begins lines that are for one of these kinds of package only (url, repository, key), "#@" ends that.
 */
struct user_data {
	const char	*collector;	/* HOST[:PORT] */
	const char	*tenant;
	const char	*url;		/* of a .deb, "#sha256=HEX" behind it; NULL: none */
	const char	*repository;	/* "deb URL SUITE COMPONENT", for sources.list; NULL: none. Neither: the image has the package */
	const char	*key;		/* text of the repository's OpenPGP key, armored; NULL: named in the line, or in the image */
	/* From the collector: */
	const char	*token, *fingerprint;
	uint64_t	 expires_ns;
};

#define USER_DATA_ERROR_SIZE	256
#define USER_DATA_MAX		16384u	/* EC2's limit, the lowest */

/*
 * All that is put in is read by YAML, a shell, apt and the agent: nothing passes that one of them could take for more than a word of
 * its own. 0, or -1 with a line for people, which quotes no value (the caller's terminal). The first looks at what the operator gave
 * only, so that no token is made in vain.
 */
int	user_data_check(const struct user_data *, char *error);
int	user_data_write(const struct user_data *, struct buf *, char *error);

#endif
