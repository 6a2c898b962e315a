/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#ifndef VMTAP_COLLECTOR_POLICY_PARSE_H
#define VMTAP_COLLECTOR_POLICY_PARSE_H

#include <sys/queue.h>

#include "collector/policy.h"

enum policy_scope { SCOPE_DEFAULT, SCOPE_TENANT, SCOPE_LABEL, SCOPE_VM };

enum policy_key {
	KEY_INTERFACES, KEY_FILTER, KEY_SNAPLEN, KEY_DIRECTION, KEY_COMPRESS, KEY_RATE_LIMIT, KEY_SLICE, KEY_MASK, KEY_DEDUP,
	KEY_NETWORK, KEY_WITHHOLD_SHARE, KEY_LABELS, KEY_TENANT_STORE, KEY_TENANT_SESSIONS, KEY_TENANT_RATE, KEY_MAX
};

#define POLICY_QUOTAS	(1u << KEY_TENANT_STORE | 1u << KEY_TENANT_SESSIONS | 1u << KEY_TENANT_RATE)

struct policy_section {
	TAILQ_ENTRY(policy_section) entry;
	enum policy_scope scope;
	char		name[POLICY_SCOPE_SIZE];	/* "" of the default */
	bool		override;
	unsigned	set;				/* bit 1 << enum policy_key */
	struct msg_policy policy;
	struct policy_dedup dedup;
	char		labels[MSG_TEXT_SIZE];
	struct tenant_quota quota;
};

/* "label web" -> scope and name. */
int	policy_parse_scope(const char *text, enum policy_scope *, char name[POLICY_SCOPE_SIZE], char *error, size_t error_size);
/* One "key = value" line into the section. */
int	policy_parse_line(struct policy_section *, char *line, char *error, size_t error_size);
const char *policy_key_name(enum policy_key);
/* What the section sets, as lines; heap, NULL: ENOMEM. */
char	*policy_section_text(const struct policy_section *);
/* Cuts white space at both ends, in place. */
char	*policy_trim(char *);

#endif
