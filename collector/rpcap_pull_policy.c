/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#include "config.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/clock.h"
#include "common/tls.h"

#include "collector/counts.h"
#include "collector/policy.h"
#include "collector/rpcap_pull.h"
#include "collector/rpcap_url.h"
#include "collector/session.h"
#include "collector/stream.h"
#include "collector/tenant_use.h"
#include "collector/worker.h"

/* What the policy has of a VM that is pulled, and what became of it. */

uint32_t
rpcap_pull_snaplen(const struct msg_policy *policy)
{
	return policy->snaplen > 0 && policy->snaplen < RPCAP_PULL_SNAPLEN ? policy->snaplen : RPCAP_PULL_SNAPLEN;
}

static void
add_word(char *text, size_t size, const char *word)
{
	size_t len = strlen(text);

	snprintf(text + len, size - len, "%s%s", len > 0 ? ", " : "", word);
}

/* What a server cannot be asked for, or need not do. */
static void
tell_left_out(struct rpcap_pull *pull, const struct msg_policy *policy, const struct policy_dedup *dedup)
{
	char words[160] = "";

	pull->filter.reason[0] = '\0';
	if (policy->interfaces[0] != '\0')
		add_word(words, sizeof(words), "interfaces");
	if (policy->direction != DIRECTION_INOUT)
		add_word(words, sizeof(words), "direction (asked for, many servers do not see to it)");
	if (policy->codec[0] != '\0')
		add_word(words, sizeof(words), "compress");
	if (policy->rate_limit != 0)
		add_word(words, sizeof(words), "rate-limit");
	if (policy->slice.headers || policy->slice.mask)
		add_word(words, sizeof(words), "slice");
	if (dedup->mode_set && dedup->mode != DEDUP_OFF)
		add_word(words, sizeof(words), "dedup");
	if (words[0] != '\0')
		snprintf(pull->filter.reason, sizeof(pull->filter.reason), "not by RPCAP: %s", words);
}

static void
set_policy(struct rpcap_pull *pull, char *text)
{
	struct vm_row *row = &pull->vm->row;
	uint64_t now = clock_wall_ns();

	free(row->policy_text);
	row->policy_text = text;
	row->policy_version = now > row->policy_version ? now : row->policy_version + 1;
	row->policy_state = "pending";
	row->policy_reason[0] = '\0';
	archive_vm_changed(&pull->worker->archive, pull->vm);
}

/* The networks of interfaces, which is all that deduplication has of it. */
static void
set_networks(struct rpcap_pull *pull, const struct policy_dedup *dedup)
{
	struct vm *vm = pull->vm;
	bool moved = strcmp(vm->dedup.network, dedup->network) != 0;

	vm->dedup = *dedup;
	vm->dedup.mode = DEDUP_OFF;
	if (moved)
		stream_networks_changed(&pull->worker->archive, vm);
}

/* As soon as nothing is awaited. Another snaplen takes another capture. */
static void
push(struct rpcap_pull *pull, const struct msg_policy *policy)
{
	struct fault fault;

	if (pull->state != RPCAP_PULL_RUNNING || rpcap_pull_snaplen(policy) == pull->snaplen) {
		rpcap_pull_renew_filter(pull);
		return;
	}
	log_info("%s (%s): another snaplen: the capture begins anew", pull->identity.name, pull->url->label);
	if (rpcap_pull_finish(pull, &fault) == -1)
		log_warn("%s (%s): %s", pull->identity.name, pull->url->label, fault.text);
}

bool
rpcap_pull_policy(struct rpcap_pull *pull)
{
	struct tenant_quota quota;
	struct policy_dedup dedup;
	struct msg_policy policy;
	bool changed;
	char *text;

	if (pull->vm == NULL)
		return false;
	policy_set_resolve(pull->worker->policy, pull->identity.tenant, pull->identity.name, pull->identity.uuid, pull->vm->row.labels,
	    &policy, &dedup);
	policy_set_quota(pull->worker->policy, pull->identity.tenant, &quota);
	tenant_use_set(pull->use, &quota);
	tell_left_out(pull, &policy, &dedup);
	set_networks(pull, &dedup);
	if (!dedup.mode_set)
		dedup.mode = DEDUP_OFF;
	if ((text = policy_to_text(&policy, &dedup)) == NULL)
		return false;
	changed = strcmp(text, pull->vm->row.policy_text != NULL ? pull->vm->row.policy_text : "") != 0;
	if (changed)
		set_policy(pull, text);
	else
		free(text);
	if (pull->filter.version == pull->vm->row.policy_version && pull->filter.known)
		return changed;
	pull->filter.version = pull->vm->row.policy_version;
	pull->filter.known = pull->filter.due = pull->filter.other = true;
	pull->filter.refused = false;
	snprintf(pull->filter.text, sizeof(pull->filter.text), "%s", policy.filter);
	push(pull, &policy);
	return changed;
}

static void
tell_result(const struct rpcap_pull *pull, bool good)
{
	struct note *note = note_new(NOTE_POLICY_RESULT);

	note->version = pull->filter.version;
	note->good = good;
	memcpy(note->uuid, pull->identity.uuid, sizeof(note->uuid));
	snprintf(note->text, sizeof(note->text), "%s", pull->filter.reason);
	mailbox_post(pull->worker->all->main, note);
}

static void
tell_row(struct rpcap_pull *pull, bool good)
{
	struct vm_row *row = &pull->vm->row;
	bool none = row->policy_text == NULL || row->policy_text[0] == '\0';

	if (row->policy_version != pull->filter.version)
		return;
	row->policy_state = !good ? "refused" : none ? "none" : "accepted";
	snprintf(row->policy_reason, sizeof(row->policy_reason), "%s", pull->filter.reason);
	archive_clean_text(row->policy_reason);
	archive_vm_changed(&pull->worker->archive, pull->vm);
}

/* Packets come from here on. */
static void
begin_running(struct rpcap_pull *pull)
{
	pull->state = RPCAP_PULL_RUNNING;
	pull->good = true;
	pull->stats_ns = clock_mono_ns() + RPCAP_PULL_STATS_MS * UINT64_C(1000000);
	count_add(COUNT_SESSIONS, 1);
	log_info("%s (%s): capture by RPCAP begins, tenant %s, address %s, snaplen %" PRIu32, pull->identity.name, pull->url->label,
	    pull->identity.tenant, pull->address, pull->snaplen);
}

/* The policy's result; of a filter that was sent for the connections of others alone, it is known. */
static void
tell_policy(struct rpcap_pull *pull)
{
	bool good = !pull->filter.refused;

	if (!good) {
		count_add(COUNT_POLICIES_REFUSED, 1);
		log_warn("%s (%s): policy refused: %s", pull->identity.name, pull->url->label, pull->filter.reason);
	}
	tell_row(pull, good);
	tell_result(pull, good);
}

void
rpcap_pull_filter_answered(struct rpcap_pull *pull)
{
	if (!pull->filter.refused)
		memcpy(pull->filter.force, pull->filter.text, sizeof(pull->filter.force));
	if (pull->state == RPCAP_PULL_RUNNING) {
		pull->filter.exchanged = true;
		pull->refused = UINT64_MAX;
	} else
		begin_running(pull);
	if (pull->filter.exchanged && pull->filter.other && !pull->filter.refused)
		rpcap_stream_event(pull->stream, "the filter has been changed");
	if (pull->filter.other)
		tell_policy(pull);
	pull->filter.other = false;
}
