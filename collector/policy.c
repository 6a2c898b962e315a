/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#include "config.h"

#include <errno.h>
#include <fnmatch.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "collector/policy.h"
#include "collector/policy_parse.h"

#define POLICY_FILE_MAX		(4u * 1024 * 1024)

struct policy_set {
	atomic_uint	refs;
	TAILQ_HEAD(policy_sections, policy_section) sections;
};

struct policy_set *
policy_set_new(void)
{
	struct policy_set *set = calloc(1, sizeof(*set));

	if (set == NULL)
		return NULL;
	atomic_init(&set->refs, 1);
	TAILQ_INIT(&set->sections);
	return set;
}

struct policy_set *
policy_set_ref(struct policy_set *set)
{
	atomic_fetch_add(&set->refs, 1);
	return set;
}

void
policy_set_unref(struct policy_set *set)
{
	struct policy_section *section;

	if (set == NULL || atomic_fetch_sub(&set->refs, 1) != 1)
		return;
	while ((section = TAILQ_FIRST(&set->sections)) != NULL) {
		TAILQ_REMOVE(&set->sections, section, entry);
		free(section);
	}
	free(set);
}

/* The file's section of a scope may be begun several times; overrides stand by themselves. */
static struct policy_section *
policy_section_get(struct policy_set *set, enum policy_scope scope, const char *name, bool override)
{
	struct policy_section *section;

	TAILQ_FOREACH(section, &set->sections, entry)
		if (section->scope == scope && section->override == override && strcmp(section->name, name) == 0)
			return section;
	if ((section = calloc(1, sizeof(*section))) == NULL)
		return NULL;
	section->scope = scope;
	section->override = override;
	snprintf(section->name, sizeof(section->name), "%s", name);
	TAILQ_INSERT_TAIL(&set->sections, section, entry);
	return section;
}

static int
policy_begin_section(struct policy_set *set, char *line, struct policy_section **section, char *error, size_t error_size)
{
	char name[POLICY_SCOPE_SIZE];
	enum policy_scope scope;
	size_t len = strlen(line);

	if (line[len - 1] != ']') {
		snprintf(error, error_size, "\"%.64s\" lacks its ]", line);
		return -1;
	}
	line[len - 1] = '\0';
	if (policy_parse_scope(policy_trim(line + 1), &scope, name, error, error_size) == -1)
		return -1;
	if ((*section = policy_section_get(set, scope, name, false)) != NULL)
		return 0;
	snprintf(error, error_size, "out of memory");
	return -1;
}

/* A whole line, or what stands behind white space, is a comment from # on. */
static char *
policy_strip(char *line)
{
	for (char *p = line; (p = strchr(p, '#')) != NULL; p++)
		if (p == line || p[-1] == ' ' || p[-1] == '\t') {
			*p = '\0';
			break;
		}
	return policy_trim(line);
}

static int
policy_parse_one(struct policy_set *set, struct policy_section **section, char *line, char *error, size_t error_size)
{
	line = policy_strip(line);
	if (line[0] == '\0')
		return 0;
	if (line[0] == '[' && set != NULL)
		return policy_begin_section(set, line, section, error, error_size);
	if (*section != NULL)
		return policy_parse_line(*section, line, error, error_size);
	snprintf(error, error_size, "a [section] must come first: [default], [tenant NAME], [label NAME] or [vm NAME-or-UUID]");
	return -1;
}

/* set is NULL where sections may not be begun. */
static int
policy_parse_lines(struct policy_set *set, struct policy_section *section, const char *origin, const char *text, char *error,
    size_t error_size)
{
	char reason[POLICY_ERROR_SIZE], *copy = strdup(text), *rest = copy, *line;
	unsigned number = 0;
	int rc = 0;

	if (copy == NULL) {
		snprintf(error, error_size, "%s: out of memory", origin);
		return -1;
	}
	while (rc == 0 && (line = strsep(&rest, "\n")) != NULL) {
		number++;
		rc = policy_parse_one(set, &section, line, reason, sizeof(reason));
	}
	if (rc == -1)
		snprintf(error, error_size, "%s:%u: %s", origin, number, reason);
	free(copy);
	return rc;
}

int
policy_set_parse(struct policy_set *set, const char *origin, const char *text, char *error, size_t error_size)
{
	return policy_parse_lines(set, NULL, origin, text, error, error_size);
}

int
policy_set_load_file(struct policy_set *set, const char *path, char *error, size_t error_size)
{
	char *text = malloc(POLICY_FILE_MAX + 1);
	FILE *file = fopen(path, "re");
	size_t len = 0;
	int rc = -1;

	if (file == NULL || text == NULL) {
		snprintf(error, error_size, "%s: %s", path, strerror(errno));
		goto out;
	}
	len = fread(text, 1, POLICY_FILE_MAX + 1, file);
	if (ferror(file))
		snprintf(error, error_size, "%s: %s", path, strerror(errno));
	else if (len > POLICY_FILE_MAX)
		snprintf(error, error_size, "%s: larger than %u bytes", path, POLICY_FILE_MAX);
	else if (memchr(text, '\0', len) != NULL)
		snprintf(error, error_size, "%s: not a text file", path);
	else {
		text[len] = '\0';
		rc = policy_set_parse(set, path, text, error, error_size);
	}
out:
	if (file != NULL)
		fclose(file);
	free(text);
	return rc;
}

int
policy_check_scope(const char *scope, char *error, size_t error_size)
{
	char name[POLICY_SCOPE_SIZE];
	enum policy_scope kind;

	return policy_parse_scope(scope, &kind, name, error, error_size);
}

int
policy_set_override(struct policy_set *set, const char *scope, const char *text, char *error, size_t error_size)
{
	struct policy_section *section;
	char name[POLICY_SCOPE_SIZE];
	enum policy_scope kind;

	if (policy_parse_scope(scope, &kind, name, error, error_size) == -1)
		return -1;
	if ((section = policy_section_get(set, kind, name, true)) == NULL) {
		snprintf(error, error_size, "out of memory");
		return -1;
	}
	return policy_parse_lines(NULL, section, scope, text, error, error_size);
}

/* What becomes of the sections that hold for a VM. */
struct policy_merged {
	struct msg_policy	*policy;
	struct policy_dedup	*dedup;
	const char		*labels;	/* of its sections */
	const char		*enrolled;	/* with which it came */
};

static void
policy_merge_dedup(struct policy_dedup *dedup, const struct policy_section *section)
{
	if (section->set & (1u << KEY_DEDUP)) {
		dedup->mode = section->dedup.mode;
		dedup->mode_set = true;
	}
	if (section->set & (1u << KEY_NETWORK))
		memcpy(dedup->network, section->dedup.network, sizeof(dedup->network));
	if (section->set & (1u << KEY_WITHHOLD_SHARE))
		dedup->balanced = section->dedup.balanced;
}

static void
policy_merge(const struct policy_merged *merged, const struct policy_section *section)
{
	struct msg_policy *policy = merged->policy;
	const struct msg_policy *from = &section->policy;

	if (section->set & (1u << KEY_INTERFACES))
		memcpy(policy->interfaces, from->interfaces, sizeof(policy->interfaces));
	if (section->set & (1u << KEY_FILTER))
		memcpy(policy->filter, from->filter, sizeof(policy->filter));
	if (section->set & (1u << KEY_SNAPLEN))
		policy->snaplen = from->snaplen;
	if (section->set & (1u << KEY_DIRECTION))
		policy->direction = from->direction;
	if (section->set & (1u << KEY_COMPRESS))
		memcpy(policy->codec, from->codec, sizeof(policy->codec));
	if (section->set & (1u << KEY_RATE_LIMIT))
		policy->rate_limit = from->rate_limit;
	if (section->set & (1u << KEY_SLICE)) {
		policy->slice.headers = from->slice.headers;
		policy->slice.payload = from->slice.payload;
	}
	if (section->set & (1u << KEY_MASK))
		policy->slice.mask = from->slice.mask;
	policy_merge_dedup(merged->dedup, section);
}

/* Is label one of the comma-separated list's? */
static bool
policy_has_label(const char *list, const char *label)
{
	size_t len = strlen(label), n;

	for (; *list != '\0'; list += n + (list[n] == ',')) {
		n = strcspn(list, ",");
		if (n == len && strncmp(list, label, len) == 0)
			return true;
	}
	return false;
}

static const struct policy_section *
policy_label(const struct policy_set *set, const char *label, bool override)
{
	const struct policy_section *section;

	TAILQ_FOREACH(section, &set->sections, entry)
		if (section->scope == SCOPE_LABEL && section->override == override && strcmp(section->name, label) == 0)
			return section;
	return NULL;
}

/* In the file's order, each with its override right behind it; overrides of labels that are not in the file come last. */
static bool
policy_merge_labels(const struct policy_set *set, const struct policy_merged *merged)
{
	const struct policy_section *section, *override;
	bool any = false;

	TAILQ_FOREACH(section, &set->sections, entry) {
		if (section->scope != SCOPE_LABEL || (!policy_has_label(merged->labels, section->name) &&
		    !policy_has_label(merged->enrolled, section->name)))
			continue;
		if (section->override && policy_label(set, section->name, false) != NULL)
			continue;
		any = true;
		policy_merge(merged, section);
		if (!section->override && (override = policy_label(set, section->name, true)) != NULL)
			policy_merge(merged, override);
	}
	return any;
}

struct policy_subject {
	const char	*tenant, *name, *uuid;
};

static bool
policy_applies(const struct policy_section *section, const struct policy_subject *subject)
{
	switch (section->scope) {
	case SCOPE_DEFAULT:
		return true;
	case SCOPE_TENANT:
		return strcmp(section->name, subject->tenant) == 0;
	case SCOPE_VM:	/* a name that looks like the UUID of another VM is none */
		return strcasecmp(section->name, subject->uuid) == 0 ||
		    (!identity_uuid_valid(section->name) && strcmp(section->name, subject->name) == 0);
	case SCOPE_LABEL:
		break;
	}
	return false;
}

/* The sections of one scope that apply: the file's in their order, then overrides. */
static bool
policy_merge_scope(const struct policy_set *set, enum policy_scope scope, const struct policy_subject *subject,
    struct policy_merged *merged)
{
	const struct policy_section *section;
	bool any = false;

	for (int override = 0; override <= 1; override++)
		TAILQ_FOREACH(section, &set->sections, entry) {
			if (section->scope != scope || section->override != (override == 1) || !policy_applies(section, subject))
				continue;
			any = any || (section->set & ~(1u << KEY_LABELS | POLICY_QUOTAS)) != 0;
			if (section->set & (1u << KEY_LABELS))
				merged->labels = section->labels;
			policy_merge(merged, section);
		}
	return any;
}

bool
policy_set_resolve(const struct policy_set *set, const char *tenant, const char *name, const char *uuid, const char *labels,
    struct msg_policy *policy, struct policy_dedup *dedup)
{
	const struct policy_subject subject = { .tenant = tenant, .name = name, .uuid = uuid };
	struct policy_merged merged = { .policy = policy, .dedup = dedup, .labels = "", .enrolled = labels };
	bool any;

	/* The VM's own sections come last, but say first which labels it has. */
	policy_merge_scope(set, SCOPE_VM, &subject, &merged);
	memset(policy, 0, sizeof(*policy));
	memset(dedup, 0, sizeof(*dedup));
	any = policy_merge_scope(set, SCOPE_DEFAULT, &subject, &merged);
	any |= policy_merge_scope(set, SCOPE_TENANT, &subject, &merged);
	any |= policy_merge_labels(set, &merged);
	any |= policy_merge_scope(set, SCOPE_VM, &subject, &merged);
	policy->digest = dedup->mode != DEDUP_OFF;
	return any;
}

static void
policy_merge_quota(struct tenant_quota *quota, const struct policy_section *section)
{
	if (section->set & (1u << KEY_TENANT_STORE))
		quota->store = section->quota.store;
	if (section->set & (1u << KEY_TENANT_SESSIONS))
		quota->sessions = section->quota.sessions;
	if (section->set & (1u << KEY_TENANT_RATE))
		quota->rate = section->quota.rate;
}

void
policy_set_quota(const struct policy_set *set, const char *tenant, struct tenant_quota *quota)
{
	const struct policy_section *section;

	*quota = (struct tenant_quota){ 0 };
	for (int override = 0; override <= 1; override++)
		TAILQ_FOREACH(section, &set->sections, entry)
			if (section->scope == SCOPE_TENANT && section->override == (override == 1) && strcmp(section->name, tenant) == 0)
				policy_merge_quota(quota, section);
}

/* Of patterns the first that fits holds; the name without one is the rest's, wherever it stands. */
void
policy_network(const struct policy_dedup *dedup, const char *ifname, char *name, size_t size)
{
	char copy[POLICY_NETWORK_SIZE], *rest = copy, *item, *colon;

	name[0] = '\0';
	memcpy(copy, dedup->network, sizeof(copy));
	while ((item = strsep(&rest, ",")) != NULL) {
		if ((colon = strchr(item, ':')) == NULL) {
			snprintf(name, size, "%s", item);
			continue;
		}
		*colon = '\0';
		if (fnmatch(item, ifname, 0) == 0) {
			snprintf(name, size, "%s", colon + 1);
			return;
		}
	}
}

static const struct policy_section *
policy_find_override(const struct policy_set *set, const char *scope)
{
	const struct policy_section *section;
	char name[POLICY_SCOPE_SIZE], error[POLICY_ERROR_SIZE];
	enum policy_scope kind;

	if (policy_parse_scope(scope, &kind, name, error, sizeof(error)) == -1)
		return NULL;
	TAILQ_FOREACH(section, &set->sections, entry)
		if (section->override && section->scope == kind && strcmp(section->name, name) == 0)
			return section;
	return NULL;
}

char *
policy_set_override_text(const struct policy_set *set, const char *scope)
{
	const struct policy_section *section = policy_find_override(set, scope);

	return section != NULL ? policy_section_text(section) : NULL;
}

char *
policy_set_override_quotas(const struct policy_set *set, const char *scope)
{
	const struct policy_section *section = policy_find_override(set, scope);
	struct policy_section *quotas;
	char *text;

	if (section == NULL)
		return strdup("");
	if ((quotas = malloc(sizeof(*quotas))) == NULL)
		return NULL;
	*quotas = *section;
	quotas->set &= POLICY_QUOTAS;
	text = policy_section_text(quotas);
	free(quotas);
	return text;
}

void
policy_set_each(const struct policy_set *set, policy_each *each, void *arg)
{
	static const char *const words[] = { [SCOPE_DEFAULT] = "default", [SCOPE_TENANT] = "tenant ", [SCOPE_LABEL] = "label ",
	    [SCOPE_VM] = "vm " };
	const struct policy_section *section;
	char scope[POLICY_SCOPE_SIZE + 16], *text;

	TAILQ_FOREACH(section, &set->sections, entry) {
		snprintf(scope, sizeof(scope), "%s%s", words[section->scope], section->name);
		if ((text = policy_section_text(section)) != NULL)
			each(scope, text, section->override, arg);
		free(text);
	}
}
