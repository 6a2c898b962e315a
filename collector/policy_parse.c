/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#include "config.h"

#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "proto/codec.h"
#include "proto/identity.h"
#include "proto/pcapng.h"

#include "collector/policy_parse.h"

char *
policy_trim(char *text)
{
	size_t len;

	text += strspn(text, " \t\r");
	for (len = strlen(text); len > 0 && strchr(" \t\r", text[len - 1]) != NULL; len--)
		;
	text[len] = '\0';
	return text;
}

/* "role=web": a name and a value. */
static bool
policy_label_valid(const char *label)
{
	const char *value = strchr(label, '=');
	char key[IDENTITY_NAME_SIZE];

	if (value == NULL || (size_t)(value - label) >= sizeof(key))
		return false;
	memcpy(key, label, (size_t)(value - label));
	key[value - label] = '\0';
	return identity_name_valid(key) && identity_name_valid(value + 1);
}

int
policy_parse_scope(const char *text, enum policy_scope *scope, char name[POLICY_SCOPE_SIZE], char *error, size_t error_size)
{
	static const char *const words[] = { [SCOPE_TENANT] = "tenant ", [SCOPE_LABEL] = "label ", [SCOPE_VM] = "vm " };

	*scope = SCOPE_DEFAULT;
	name[0] = '\0';
	if (strcmp(text, "default") == 0)
		return 0;
	for (int i = SCOPE_TENANT; i <= SCOPE_VM; i++) {
		if (strncmp(text, words[i], strlen(words[i])) != 0)
			continue;
		*scope = (enum policy_scope)i;
		text += strlen(words[i]);
		text += strspn(text, " \t");
		snprintf(name, POLICY_SCOPE_SIZE, "%.*s", POLICY_SCOPE_SIZE - 1, text);
		if (strlen(text) < POLICY_SCOPE_SIZE && (identity_name_valid(text) || identity_uuid_valid(text) ||
		    (i == SCOPE_LABEL && policy_label_valid(text))))
			return 0;
		snprintf(error, error_size, "\"%.64s\" cannot be the name of a %.*s", text, (int)strlen(words[i]) - 1, words[i]);
		return -1;
	}
	snprintf(error, error_size, "\"%.64s\" is no scope; scopes are: default, tenant NAME, label NAME, vm NAME-or-UUID", text);
	return -1;
}

static int
policy_value_error(char *error, size_t error_size, const char *value, const char *wanted)
{
	snprintf(error, error_size, "\"%.64s\" is not %s", value, wanted);
	return -1;
}

static int
policy_set_interfaces(struct policy_section *section, const char *value, char *error, size_t error_size)
{
	if (strlen(value) >= sizeof(section->policy.interfaces))
		return policy_value_error(error, error_size, value, "a list of interface names short enough (1023 bytes)");
	strcpy(section->policy.interfaces, value);
	return 0;
}

static int
policy_set_filter(struct policy_section *section, const char *value, char *error, size_t error_size)
{
	if (strlen(value) >= sizeof(section->policy.filter)) {
		snprintf(error, error_size, "the filter is longer than %d bytes", MSG_FILTER_SIZE - 1);
		return -1;
	}
	strcpy(section->policy.filter, value);
	return 0;
}

static int
policy_set_snaplen(struct policy_section *section, const char *value, char *error, size_t error_size)
{
	char *end;
	unsigned long n;

	errno = 0;
	n = strtoul(value, &end, 10);
	if (!isdigit((unsigned char)value[0]) || *end != '\0' || errno != 0 || n < 1 || n > PCAPNG_SNAPLEN)
		return policy_value_error(error, error_size, value, "a snaplen from 1 to 262144");
	section->policy.snaplen = (uint32_t)n;
	return 0;
}

static int
policy_set_direction(struct policy_section *section, const char *value, char *error, size_t error_size)
{
	if (strcmp(value, "inout") == 0)
		section->policy.direction = DIRECTION_INOUT;
	else if (strcmp(value, "in") == 0)
		section->policy.direction = DIRECTION_IN;
	else if (strcmp(value, "out") == 0)
		section->policy.direction = DIRECTION_OUT;
	else
		return policy_value_error(error, error_size, value, "a direction: in, out or inout");
	return 0;
}

static int
policy_set_compress(struct policy_section *section, const char *value, char *error, size_t error_size)
{
	const struct codec *codec;
	int level;

	if (strlen(value) >= sizeof(section->policy.codec))
		return policy_value_error(error, error_size, value, "a codec");
	if (codec_parse(value, &codec, &level, error, error_size) == -1)
		return -1;
	strcpy(section->policy.codec, value);
	return 0;
}

/* "10M": decimal multiples, as network rates have it. */
static int
policy_parse_rate(const char *value, uint64_t *rate, char *error, size_t error_size)
{
	static const struct { char letter; uint64_t factor; } units[] = { { 'k', 1000 }, { 'K', 1000 }, { 'M', 1000000 },
	    { 'G', 1000000000 } };
	uint64_t factor = 1;
	unsigned long long n;
	char *end;

	errno = 0;
	n = strtoull(value, &end, 10);
	for (size_t i = 0; i < sizeof(units) / sizeof(units[0]); i++)
		if (*end == units[i].letter && end[1] == '\0') {
			factor = units[i].factor;
			end++;
			break;
		}
	if (!isdigit((unsigned char)value[0]) || *end != '\0' || errno != 0 || n > (uint64_t)INT64_MAX / factor)
		return policy_value_error(error, error_size, value, "a rate in bits a second, as 500k, 10M or 1G; 0 is no limit");
	*rate = n * factor;
	return 0;
}

static int
policy_set_rate_limit(struct policy_section *section, const char *value, char *error, size_t error_size)
{
	return policy_parse_rate(value, &section->policy.rate_limit, error, error_size);
}

/* What a tenant may take. */

static int
policy_check_tenant(const struct policy_section *section, char *error, size_t error_size)
{
	if (section->scope == SCOPE_TENANT)
		return 0;
	snprintf(error, error_size, "tenant-store, tenant-sessions and tenant-rate can be given to a tenant only");
	return -1;
}

static int
policy_set_tenant_rate(struct policy_section *section, const char *value, char *error, size_t error_size)
{
	if (policy_check_tenant(section, error, error_size) == -1)
		return -1;
	return policy_parse_rate(value, &section->quota.rate, error, error_size);
}

/* "200G": binary multiples, as sizes on disk have it. */
static int
policy_set_tenant_store(struct policy_section *section, const char *value, char *error, size_t error_size)
{
	static const char units[] = "KMGT";
	unsigned long long n;
	const char *unit;
	unsigned shift = 0;
	char *end;

	if (policy_check_tenant(section, error, error_size) == -1)
		return -1;
	errno = 0;
	n = strtoull(value, &end, 10);
	if (*end != '\0' && (unit = strchr(units, *end)) != NULL) {
		shift = 10 * (unsigned)(unit - units + 1);
		end++;
	}
	if (!isdigit((unsigned char)value[0]) || *end != '\0' || errno != 0 || n > (uint64_t)INT64_MAX >> shift)
		return policy_value_error(error, error_size, value, "a size, as 500M, 200G or 4T; 0 is no limit");
	section->quota.store = n << shift;
	return 0;
}

static int
policy_set_tenant_sessions(struct policy_section *section, const char *value, char *error, size_t error_size)
{
	unsigned long n;
	char *end;

	if (policy_check_tenant(section, error, error_size) == -1)
		return -1;
	errno = 0;
	n = strtoul(value, &end, 10);
	if (!isdigit((unsigned char)value[0]) || *end != '\0' || errno != 0 || n > 1000000)
		return policy_value_error(error, error_size, value, "a number of VMs up to 1000000; 0 is no limit");
	section->quota.sessions = n;
	return 0;
}

static int
policy_set_slice(struct policy_section *section, const char *value, char *error, size_t error_size)
{
	return slice_parse(value, &section->policy.slice, error, error_size);
}

static int
policy_set_mask(struct policy_section *section, const char *value, char *error, size_t error_size)
{
	if (strcmp(value, "yes") != 0 && strcmp(value, "no") != 0)
		return policy_value_error(error, error_size, value, "yes or no");
	section->policy.slice.mask = strcmp(value, "yes") == 0;
	return 0;
}

static int
policy_set_dedup(struct policy_section *section, const char *value, char *error, size_t error_size)
{
	for (int mode = DEDUP_OFF; mode <= DEDUP_WITHHOLD; mode++)
		if (strcmp(value, policy_dedup_name((enum dedup_mode)mode)) == 0) {
			section->dedup.mode = (enum dedup_mode)mode;
			section->dedup.mode_set = true;
			return 0;
		}
	return policy_value_error(error, error_size, value, "off, tag or withhold");
}

/* One of the list: PATTERN:NAME, or NAME, which holds for the rest and is there once. */
static int
policy_check_network(char *item, bool *rest, char *error, size_t error_size)
{
	char *name = strrchr(item, ':');
	bool pattern = name != NULL;

	if (strpbrk(item, " \t") != NULL || !identity_name_valid(pattern ? name + 1 : item) ||
	    (pattern && (name == item || memchr(item, ':', (size_t)(name - item)) != NULL)))
		return policy_value_error(error, error_size, item, "a network, as NAME or INTERFACE-PATTERN:NAME");
	if (!pattern && *rest)
		return policy_value_error(error, error_size, item, "possible: the network of all other interfaces is named before");
	*rest = *rest || !pattern;
	return 0;
}

static int
policy_set_network(struct policy_section *section, const char *value, char *error, size_t error_size)
{
	char copy[POLICY_NETWORK_SIZE], *rest = copy, *item;
	bool has_rest = false;

	if (strlen(value) >= sizeof(copy))
		return policy_value_error(error, error_size, value, "a list of networks short enough (511 bytes)");
	strcpy(copy, value);
	section->dedup.network[0] = '\0';
	while (value[0] != '\0' && (item = strsep(&rest, ",")) != NULL) {
		item = policy_trim(item);
		if (policy_check_network(item, &has_rest, error, error_size) == -1)
			return -1;
		if (section->dedup.network[0] != '\0')
			strcat(section->dedup.network, ",");
		strcat(section->dedup.network, item);
	}
	return 0;
}

static int
policy_set_withhold_share(struct policy_section *section, const char *value, char *error, size_t error_size)
{
	if (strcmp(value, "sender") != 0 && strcmp(value, "balanced") != 0)
		return policy_value_error(error, error_size, value, "sender or balanced");
	section->dedup.balanced = strcmp(value, "balanced") == 0;
	return 0;
}

static int
policy_set_labels(struct policy_section *section, const char *value, char *error, size_t error_size)
{
	char copy[MSG_TEXT_SIZE], *rest = copy, *label;

	if (section->scope != SCOPE_VM) {
		snprintf(error, error_size, "labels can be given to a vm only");
		return -1;
	}
	if (strlen(value) >= sizeof(section->labels))
		return policy_value_error(error, error_size, value, "a list of labels short enough (1023 bytes)");
	strcpy(copy, value);
	section->labels[0] = '\0';
	while ((label = strsep(&rest, ",")) != NULL) {
		label = policy_trim(label);
		if (!identity_name_valid(label) && !policy_label_valid(label))
			return policy_value_error(error, error_size, label, "a label");
		if (section->labels[0] != '\0')
			strcat(section->labels, ",");
		strcat(section->labels, label);
	}
	return 0;
}

static const struct policy_row {
	const char	*name;
	int		(*set)(struct policy_section *, const char *, char *, size_t);
} policy_rows[KEY_MAX] = {
	[KEY_INTERFACES] = { "interfaces", policy_set_interfaces },
	[KEY_FILTER] = { "filter", policy_set_filter },
	[KEY_SNAPLEN] = { "snaplen", policy_set_snaplen },
	[KEY_DIRECTION] = { "direction", policy_set_direction },
	[KEY_COMPRESS] = { "compress", policy_set_compress },
	[KEY_RATE_LIMIT] = { "rate-limit", policy_set_rate_limit },
	[KEY_SLICE] = { "slice", policy_set_slice },
	[KEY_MASK] = { "mask", policy_set_mask },
	[KEY_DEDUP] = { "dedup", policy_set_dedup },
	[KEY_NETWORK] = { "network", policy_set_network },
	[KEY_WITHHOLD_SHARE] = { "withhold-share", policy_set_withhold_share },
	[KEY_LABELS] = { "labels", policy_set_labels },
	[KEY_TENANT_STORE] = { "tenant-store", policy_set_tenant_store },
	[KEY_TENANT_SESSIONS] = { "tenant-sessions", policy_set_tenant_sessions },
	[KEY_TENANT_RATE] = { "tenant-rate", policy_set_tenant_rate },
};

const char *
policy_key_name(enum policy_key key)
{
	return policy_rows[key].name;
}

static int
policy_check_printable(const char *text, char *error, size_t error_size)
{
	for (; *text != '\0'; text++)
		if (!isprint((unsigned char)*text) && *text != '\t') {
			snprintf(error, error_size, "byte 0x%02x is not allowed", (unsigned char)*text);
			return -1;
		}
	return 0;
}

int
policy_parse_line(struct policy_section *section, char *line, char *error, size_t error_size)
{
	char *value = strchr(line, '='), *name;

	if (policy_check_printable(line, error, error_size) == -1)
		return -1;
	if (value == NULL) {
		snprintf(error, error_size, "\"%.64s\" is not \"key = value\"", line);
		return -1;
	}
	*value++ = '\0';
	name = policy_trim(line);
	value = policy_trim(value);
	for (unsigned i = 0; i < KEY_MAX; i++) {
		if (strcmp(name, policy_rows[i].name) != 0)
			continue;
		section->set |= 1u << i;
		return policy_rows[i].set(section, value, error, error_size);
	}
	snprintf(error, error_size,
	    "unknown key \"%.64s\"; keys are: interfaces, filter, snaplen, direction, compress, rate-limit, slice, mask, dedup, network,"
	    " withhold-share, labels, tenant-store, tenant-sessions, tenant-rate", name);
	return -1;
}
