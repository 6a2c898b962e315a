/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#include "config.h"

#include <inttypes.h>
#include <stdlib.h>

#include "common/buf.h"

#include "collector/policy_parse.h"

const char *
policy_dedup_name(enum dedup_mode mode)
{
	static const char *const names[] = { [DEDUP_OFF] = "off", [DEDUP_TAG] = "tag", [DEDUP_WITHHOLD] = "withhold" };

	return names[mode];
}

static int
policy_put_value(struct buf *text, const struct policy_section *section, enum policy_key key)
{
	static const char *const directions[] = { [DIRECTION_INOUT] = "inout", [DIRECTION_IN] = "in", [DIRECTION_OUT] = "out" };
	const struct msg_policy *policy = &section->policy;
	const struct policy_dedup *dedup = &section->dedup;
	char slice[SLICE_TEXT_SIZE];

	switch (key) {
	case KEY_INTERFACES:
		return buf_printf(text, "%s", policy->interfaces);
	case KEY_FILTER:
		return buf_printf(text, "%s", policy->filter);
	case KEY_SNAPLEN:
		return buf_printf(text, "%" PRIu32, policy->snaplen);
	case KEY_DIRECTION:
		return buf_printf(text, "%s", directions[policy->direction]);
	case KEY_COMPRESS:
		return buf_printf(text, "%s", policy->codec);
	case KEY_RATE_LIMIT:
		return buf_printf(text, "%" PRIu64, policy->rate_limit);
	case KEY_SLICE:
		slice_to_text(&policy->slice, slice);
		return buf_printf(text, "%s", slice);
	case KEY_MASK:
		return buf_printf(text, "%s", policy->slice.mask ? "yes" : "no");
	case KEY_DEDUP:
		return buf_printf(text, "%s", policy_dedup_name(dedup->mode));
	case KEY_NETWORK:
		return buf_printf(text, "%s", dedup->network);
	case KEY_WITHHOLD_SHARE:
		return buf_printf(text, "%s", dedup->balanced ? "balanced" : "sender");
	case KEY_LABELS:
		return buf_printf(text, "%s", section->labels);
	case KEY_TENANT_STORE:
		return buf_printf(text, "%" PRIu64, section->quota.store);
	case KEY_TENANT_SESSIONS:
		return buf_printf(text, "%" PRIu64, section->quota.sessions);
	case KEY_TENANT_RATE:
		return buf_printf(text, "%" PRIu64, section->quota.rate);
	case KEY_MAX:
		break;
	}
	return -1;
}

char *
policy_section_text(const struct policy_section *section)
{
	struct buf text;
	int errs = 0;

	buf_init(&text, POLICY_TEXT_MAX);
	for (enum policy_key key = 0; key < KEY_MAX; key++) {
		if (!(section->set & (1u << key)))
			continue;
		errs += buf_printf(&text, "%s = ", policy_key_name(key));
		errs += policy_put_value(&text, section, key);
		errs += buf_put_u8(&text, '\n');
	}
	errs += buf_put_u8(&text, '\0');
	if (errs == 0)
		return (char *)text.data;
	buf_clear(&text);
	return NULL;
}

static unsigned
policy_keys_set(const struct msg_policy *policy, const struct policy_dedup *dedup)
{
	unsigned set = 0;

	set |= policy->interfaces[0] != '\0' ? 1u << KEY_INTERFACES : 0;
	set |= policy->filter[0] != '\0' ? 1u << KEY_FILTER : 0;
	set |= policy->snaplen != 0 ? 1u << KEY_SNAPLEN : 0;
	set |= policy->direction != DIRECTION_INOUT ? 1u << KEY_DIRECTION : 0;
	set |= policy->codec[0] != '\0' ? 1u << KEY_COMPRESS : 0;
	set |= policy->rate_limit != 0 ? 1u << KEY_RATE_LIMIT : 0;
	set |= policy->slice.headers ? 1u << KEY_SLICE : 0;
	set |= policy->slice.mask ? 1u << KEY_MASK : 0;
	set |= dedup->mode != DEDUP_OFF ? 1u << KEY_DEDUP : 0;
	set |= dedup->network[0] != '\0' ? 1u << KEY_NETWORK : 0;
	set |= dedup->balanced ? 1u << KEY_WITHHOLD_SHARE : 0;
	return set;
}

char *
policy_to_text(const struct msg_policy *policy, const struct policy_dedup *dedup)
{
	struct policy_section *section = calloc(1, sizeof(*section));
	char *text;

	if (section == NULL)
		return NULL;
	section->policy = *policy;
	section->dedup = *dedup;
	section->set = policy_keys_set(policy, dedup);
	text = policy_section_text(section);
	free(section);
	return text;
}
