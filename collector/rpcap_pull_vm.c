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
#include "collector/quota.h"
#include "collector/revoked.h"
#include "collector/rpcap_pull.h"
#include "collector/rpcap_url.h"
#include "collector/session.h"
#include "collector/stream.h"
#include "collector/tenant.h"
#include "collector/worker.h"

/* What an RPCAP server is to the collector: a VM, with the place and the session that others have. */

#define SOFTWARE	"rpcapd (RPCAP 0)"

static int
take_place(struct rpcap_pull *pull, struct fault *fault)
{
	struct vm *vm = pull->vm;
	struct tenant_quota quota;

	vm->use = pull->use;
	policy_set_quota(pull->worker->policy, pull->identity.tenant, &quota);
	tenant_use_set(pull->use, &quota);
	if (!vm->has_place && !(vm->has_place = quota_take_vm(&vm->use->places))) {
		count_add(COUNT_SESSIONS_REFUSED, 1);
		return fault_set(fault, MSG_ERR_LIMIT, "this collector has descriptors for %u VMs, and %u are there", quota_vms_max(),
		    quota_vms_taken());
	}
	if (vm->pulls > 0 || (pull->has_session = tenant_use_take_session(pull->use)))
		return 0;
	count_add(COUNT_SESSIONS_REFUSED, 1);
	return fault_set(fault, MSG_ERR_LIMIT, "tenant %s may have %" PRIu64 " VMs with a session at this collector, and as many are"
	    " there",
	    pull->identity.tenant, quota.sessions);
}

static void
fill_row(struct rpcap_pull *pull)
{
	struct vm_row *row = &pull->vm->row;

	pull->since_ns = clock_wall_ns();
	snprintf(row->software, sizeof(row->software), "%s", SOFTWARE);
	row->os[0] = row->hardware[0] = '\0';
	memcpy(row->address, pull->address, sizeof(row->address));
	if (!row->connected)
		row->since_ns = pull->since_ns;
	row->connected = true;
	row->seen_ns = pull->since_ns;
	row->clock_offset_ns = 0;
	row->not_after_ns = pull->url->tls ? clock_ns_of_s(tlsio_peer_not_after(pull->control)) : 0;
	archive_vm_changed(&pull->worker->archive, pull->vm);
}

/* Streams of connections before this process, or before all of the VM's had ended, are over. */
static int
abandon_others(struct rpcap_pull *pull, struct fault *fault)
{
	struct msg_hello *none = calloc(1, sizeof(*none));
	int rc;

	if (none == NULL)
		return fault_set(fault, MSG_ERR_LIMIT, "out of memory");
	rc = stream_abandon_others(&pull->worker->archive, pull->vm, none, fault);
	free(none);
	return rc;
}

int
rpcap_pull_join(struct rpcap_pull *pull, struct fault *fault)
{
	struct worker *worker = pull->worker;
	struct vm *vm;

	if (worker->failing)
		return fault_set(fault, MSG_ERR_STORE, "%s", worker->failing_text);
	if (revoked_has(worker->all->revoked, pull->identity.uuid))
		return fault_set(fault, MSG_ERR_REVOKED, "the VM has been revoked");
	if ((pull->use = tenants_use(worker->all->known, pull->identity.tenant)) == NULL)
		return fault_set(fault, MSG_ERR_LIMIT, "out of memory");
	if ((vm = archive_vm(&worker->archive, &pull->identity, fault)) == NULL)
		return -1;
	if (vm->session != NULL)
		return fault_set(fault, MSG_ERR_CLONE, "an agent has a session by a certificate of this VM's UUID");
	pull->vm = vm;
	if (take_place(pull, fault) == -1 || (vm->pulls == 0 && abandon_others(pull, fault) == -1)) {
		pull->vm = NULL;
		if (pull->has_session)
			tenant_use_give_session(pull->use);
		pull->has_session = false;
		return -1;
	}
	vm->pulls++;
	fill_row(pull);
	rpcap_pull_policy(pull);
	return 0;
}

/* The tenant's one session of the VM goes with the last. */
static void
pass_session(struct rpcap_pull *pull)
{
	struct rpcap_pull *other;

	if (!pull->has_session)
		return;
	TAILQ_FOREACH(other, &pull->worker->rpcap_pulls, entry)
		if (other != pull && other->vm == pull->vm) {
			other->has_session = true;
			return;
		}
	tenant_use_give_session(pull->use);
}

void
rpcap_pull_leave(struct rpcap_pull *pull)
{
	struct vm *vm = pull->vm;

	if (vm == NULL)
		return;
	pass_session(pull);
	pull->vm = NULL;
	vm->row.seen_ns = clock_wall_ns();
	if (--vm->pulls == 0) {
		vm->row.connected = false;
		vm->left_ns = clock_mono_ns();
	}
	archive_vm_changed(&pull->worker->archive, vm);
}
