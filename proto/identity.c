/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#include "config.h"

#include <stdio.h>
#include <string.h>

#include "proto/identity.h"

#define NAME_CHARS	"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-"
#define UUID_HEX	"0123456789abcdef"

static const struct identity_scheme {
	enum identity_role role;
	const char	*scheme;
	const char	*name;
} schemes[] = {
	{ ROLE_AGENT,		"vmtap://",		"agent" },
	{ ROLE_COLLECTOR,	"vmtap-collector://",	"collector" },
	{ ROLE_OPERATOR,	"vmtap-operator://",	"operator" },
};
#define SCHEME_COUNT	(sizeof(schemes) / sizeof(schemes[0]))

const char *
identity_role_name(enum identity_role role)
{
	for (size_t i = 0; i < SCHEME_COUNT; i++)
		if (schemes[i].role == role)
			return schemes[i].name;
	return "unknown";
}

/* Names become parts of paths: no slash, no leading dot, none that looks like an option. */
int
identity_name_valid(const char *name)
{
	size_t len = strlen(name);

	return len > 0 && len < IDENTITY_NAME_SIZE && name[0] != '.' && name[0] != '-' && strspn(name, NAME_CHARS) == len;
}

int
identity_uuid_valid(const char *uuid)
{
	if (strlen(uuid) != IDENTITY_UUID_SIZE - 1)
		return 0;
	for (size_t i = 0; i < IDENTITY_UUID_SIZE - 1; i++) {
		int hyphen = i == 8 || i == 13 || i == 18 || i == 23;

		if (hyphen ? uuid[i] != '-' : strchr(UUID_HEX, uuid[i]) == NULL)
			return 0;
	}
	return 1;
}

static int
copy_name(char dst[IDENTITY_NAME_SIZE], const char *name)
{
	if (!identity_name_valid(name))
		return -1;
	memcpy(dst, name, strlen(name) + 1);
	return 0;
}

/* The part before the slash, which is the tenant; *rest is what follows it. */
static int
take_tenant(const char *path, char tenant[IDENTITY_NAME_SIZE], const char **rest)
{
	const char *slash = strchr(path, '/');
	char part[IDENTITY_NAME_SIZE];

	if (slash == NULL || (size_t)(slash - path) >= sizeof(part))
		return -1;
	memcpy(part, path, (size_t)(slash - path));
	part[slash - path] = '\0';
	*rest = slash + 1;
	return copy_name(tenant, part);
}

static int
parse_path(const char *path, const char *common_name, struct identity *id)
{
	switch (id->role) {
	case ROLE_AGENT:
		if (take_tenant(path, id->tenant, &path) == -1 || !identity_uuid_valid(path))
			return -1;
		memcpy(id->uuid, path, IDENTITY_UUID_SIZE);
		return copy_name(id->name, common_name);
	case ROLE_COLLECTOR:
		return copy_name(id->name, path);
	case ROLE_OPERATOR:
		if (take_tenant(path, id->tenant, &path) == -1)
			return -1;
		return copy_name(id->name, path);
	}
	return -1;
}

int
identity_parse(const char *uri, const char *common_name, struct identity *id)
{
	for (size_t i = 0; i < SCHEME_COUNT; i++) {
		size_t len = strlen(schemes[i].scheme);

		if (strncmp(uri, schemes[i].scheme, len) != 0)
			continue;
		memset(id, 0, sizeof(*id));
		id->role = schemes[i].role;
		return parse_path(uri + len, common_name, id);
	}
	return -1;
}

int
identity_format(const struct identity *id, char *uri, size_t uri_size)
{
	int n = -1;

	if (!identity_name_valid(id->name) || (id->role != ROLE_COLLECTOR && !identity_name_valid(id->tenant)))
		return -1;
	switch (id->role) {
	case ROLE_AGENT:
		if (!identity_uuid_valid(id->uuid))
			return -1;
		n = snprintf(uri, uri_size, "vmtap://%s/%s", id->tenant, id->uuid);
		break;
	case ROLE_COLLECTOR:
		n = snprintf(uri, uri_size, "vmtap-collector://%s", id->name);
		break;
	case ROLE_OPERATOR:
		n = snprintf(uri, uri_size, "vmtap-operator://%s/%s", id->tenant, id->name);
		break;
	}
	return n < 0 || (size_t)n >= uri_size ? -1 : 0;
}
