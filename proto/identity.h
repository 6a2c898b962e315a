/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#ifndef VMTAP_PROTO_IDENTITY_H
#define VMTAP_PROTO_IDENTITY_H

#include <stddef.h>

/* Who a certificate says its holder is (PROTOCOL, "Identity"). */
enum identity_role { ROLE_AGENT, ROLE_COLLECTOR, ROLE_OPERATOR };

#define IDENTITY_NAME_SIZE	65	/* 64 of [A-Za-z0-9._-], not starting with '.' or '-', and NUL */
#define IDENTITY_UUID_SIZE	37	/* lower case, with hyphens, and NUL */
#define IDENTITY_URI_SIZE	256

struct identity {
	enum identity_role role;
	char	tenant[IDENTITY_NAME_SIZE];	/* agent, operator; else "" */
	char	name[IDENTITY_NAME_SIZE];	/* collector, operator; an agent's is its certificate's common name */
	char	uuid[IDENTITY_UUID_SIZE];	/* agent; else "" */
};

/* "vmtap://TENANT/UUID", "vmtap-collector://NAME", "vmtap-operator://TENANT/NAME" and the common name; 0 / -1. */
int	identity_parse(const char *uri, const char *common_name, struct identity *);
int	identity_format(const struct identity *, char *uri, size_t uri_size);
int	identity_name_valid(const char *);	/* 1 if it may be a tenant, VM, collector or operator name */
int	identity_uuid_valid(const char *);
const char *identity_role_name(enum identity_role);	/* "agent" "collector" "operator" */

#endif
