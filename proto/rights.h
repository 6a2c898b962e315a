/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#ifndef VMTAP_PROTO_RIGHTS_H
#define VMTAP_PROTO_RIGHTS_H

#include <stdbool.h>
#include <stddef.h>

#include "proto/identity.h"

/*
 * What an operator may do at a collector, tenant by tenant (PROTOCOL, "Rights"). Zeroed: nothing. What is not understood, or does not
 * fit, gives nothing.
 */
enum right {
	RIGHT_READ = 0x1,	/* what is stored, and the state of VMs */
	RIGHT_POLICY = 0x2,	/* what agents capture */
	RIGHT_ENROL = 0x4,	/* tokens */
	RIGHT_ADMIN = 0x8	/* the rest: revocation; of all tenants, quotas */
};
#define RIGHTS_EVERY		(RIGHT_READ | RIGHT_POLICY | RIGHT_ENROL | RIGHT_ADMIN)
#define RIGHTS_ALL_TENANTS	"*"
#define RIGHTS_TENANTS_MAX	64	/* named ones, of one operator */
#define RIGHTS_SCHEME		"vmtap-right://"

struct rights {
	unsigned	all;		/* of all tenants, those to come as well */
	size_t		count;
	struct {
		char	 name[IDENTITY_NAME_SIZE];
		unsigned set;
	}		tenant[RIGHTS_TENANTS_MAX];
};

/* "vmtap-right://TENANT/RIGHT"; 0, or -1: it gives nothing. */
int	rights_add_uri(struct rights *, const char *uri);
int	rights_add(struct rights *, const char *tenant, unsigned set);	/* tenant: a name or "*"; -1: neither, or too many */
bool	rights_have(const struct rights *, const char *tenant, unsigned set);	/* all of the set; tenant "*": of all tenants */
bool	rights_have_some(const struct rights *, enum right);		/* of any tenant at all */
/* "read,policy" -> a set, "none" -> 0; -1: no such list. */
int	rights_parse(const char *list, unsigned *set);
const char *rights_name(enum right);
int	rights_format(const char *tenant, enum right, char *uri, size_t uri_size);	/* 0 / -1 */

#endif
