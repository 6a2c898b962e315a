/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#include "config.h"

#include <stdio.h>
#include <string.h>

#include "proto/rights.h"

static const struct {
	enum right	 right;
	const char	*name;
} names[] = {
	{ RIGHT_READ,	"read" },
	{ RIGHT_POLICY,	"policy" },
	{ RIGHT_ENROL,	"enrol" },
	{ RIGHT_ADMIN,	"admin" },
};
#define NAME_COUNT	(sizeof(names) / sizeof(names[0]))

static unsigned
find(const char *name, size_t len)
{
	for (size_t i = 0; i < NAME_COUNT; i++)
		if (strlen(names[i].name) == len && memcmp(names[i].name, name, len) == 0)
			return names[i].right;
	return 0;
}

const char *
rights_name(enum right right)
{
	for (size_t i = 0; i < NAME_COUNT; i++)
		if (names[i].right == right)
			return names[i].name;
	return "unknown";
}

int
rights_add(struct rights *rights, const char *tenant, unsigned set)
{
	size_t i = 0;

	if (strcmp(tenant, RIGHTS_ALL_TENANTS) == 0) {
		rights->all |= set;
		return 0;
	}
	while (i < rights->count && strcmp(rights->tenant[i].name, tenant) != 0)
		i++;
	if (i == RIGHTS_TENANTS_MAX || !identity_name_valid(tenant))
		return -1;
	if (i == rights->count) {
		memcpy(rights->tenant[i].name, tenant, strlen(tenant) + 1);
		rights->tenant[rights->count++].set = 0;
	}
	rights->tenant[i].set |= set;
	return 0;
}

int
rights_add_uri(struct rights *rights, const char *uri)
{
	const size_t scheme = strlen(RIGHTS_SCHEME);
	const char *slash;
	char tenant[IDENTITY_NAME_SIZE];
	unsigned right;
	size_t len;

	if (strncmp(uri, RIGHTS_SCHEME, scheme) != 0)
		return -1;
	uri += scheme;
	if ((slash = strchr(uri, '/')) == NULL || (len = (size_t)(slash - uri)) >= sizeof(tenant) ||
	    (right = find(slash + 1, strlen(slash + 1))) == 0)
		return -1;
	memcpy(tenant, uri, len);
	tenant[len] = '\0';
	return rights_add(rights, tenant, right);
}

bool
rights_have(const struct rights *rights, const char *tenant, unsigned set)
{
	unsigned have = rights->all;

	for (size_t i = 0; i < rights->count; i++)
		if (strcmp(rights->tenant[i].name, tenant) == 0)
			have |= rights->tenant[i].set;
	return (have & set) == set;
}

bool
rights_have_some(const struct rights *rights, enum right right)
{
	unsigned have = rights->all;

	for (size_t i = 0; i < rights->count; i++)
		have |= rights->tenant[i].set;
	return (have & right) != 0;
}

int
rights_parse(const char *list, unsigned *set)
{
	unsigned right;
	size_t len;

	*set = 0;
	if (strcmp(list, "none") == 0)
		return 0;
	for (;; list += len + 1) {
		len = strcspn(list, ",");
		if ((right = find(list, len)) == 0)
			return -1;
		*set |= right;
		if (list[len] == '\0')
			return 0;
	}
}

int
rights_format(const char *tenant, enum right right, char *uri, size_t uri_size)
{
	int n;

	if (strcmp(tenant, RIGHTS_ALL_TENANTS) != 0 && !identity_name_valid(tenant))
		return -1;
	n = snprintf(uri, uri_size, RIGHTS_SCHEME "%s/%s", tenant, rights_name(right));
	return n < 0 || (size_t)n >= uri_size ? -1 : 0;
}
