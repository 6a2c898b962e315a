/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#include "config.h"

#include <sys/random.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/clock.h"
#include "common/tls.h"
#include "proto/codec.h"
#include "proto/frame.h"

#include "collector/counts.h"
#include "collector/policy.h"
#include "collector/quota.h"
#include "collector/revoked.h"
#include "collector/session.h"
#include "collector/stream.h"
#include "collector/stream_hint.h"
#include "collector/tenant.h"
#include "collector/worker.h"

/* How a session becomes its VM's one session: HELLO, takeover or clone, WELCOME. */

static int
session_check_hello(const struct msg_hello *hello, struct fault *fault)
{
	if (hello->version_min > FRAME_VERSION || hello->version_max < FRAME_VERSION)
		return fault_set(fault, MSG_ERR_VERSION, "this collector speaks protocol version %d, the agent %u to %u",
		    FRAME_VERSION, hello->version_min, hello->version_max);
	for (uint16_t i = 0; i < hello->stream_count; i++) {
		const struct msg_stream *stream = &hello->stream[i];

		if (stream->last >= INT64_MAX || stream->first > stream->last + 1)
			return fault_set(fault, MSG_ERR_PROTOCOL, "HELLO: a stream from %" PRIu64 " to %" PRIu64, stream->first,
			    stream->last);
		for (uint16_t j = 0; j < i; j++)
			if (memcmp(hello->stream[j].id, stream->id, MSG_ID_SIZE) == 0)
				return fault_set(fault, MSG_ERR_PROTOCOL, "HELLO: the same stream twice");
	}
	return 0;
}

static void
session_fill_row(struct session *session, const struct msg_hello *hello)
{
	struct vm_row *row = &session->vm->row;

	session->since_ns = clock_wall_ns();
	snprintf(row->software, sizeof(row->software), "%s", hello->software);
	snprintf(row->os, sizeof(row->os), "%s", hello->os);
	snprintf(row->hardware, sizeof(row->hardware), "%s", hello->hardware);
	archive_clean_text(row->software);
	archive_clean_text(row->os);
	archive_clean_text(row->hardware);
	memcpy(row->address, session->address, sizeof(row->address));
	row->connected = true;
	row->since_ns = row->seen_ns = session->since_ns;
	row->clock_offset_ns = (int64_t)(hello->wall_ns - session->since_ns);
	row->not_after_ns = clock_ns_of_s(tlsio_peer_not_after(session->tls));
	archive_vm_changed(&session->worker->archive, session->vm);
}

static int
session_put_welcome(struct session *session, const struct msg_hello *hello)
{
	struct msg_welcome welcome = { .version = FRAME_VERSION, .codecs = codec_mask(), .wall_ns = clock_wall_ns() };

	welcome.keepalive_ms = (uint32_t)session->worker->keepalive_ms;
	for (uint16_t i = 0; i < hello->stream_count; i++) {
		const struct stream *stream = stream_find(session->vm, hello->stream[i].id);
		struct msg_stream *known = &welcome.stream[welcome.stream_count];

		if (stream == NULL || !stream->known)
			continue;
		memcpy(known->id, stream->id, MSG_ID_SIZE);
		known->started_ns = hello->stream[i].started_ns;
		known->last = stream->durable;
		welcome.stream_count++;
	}
	return msg_put_welcome(&session->worker->out, &welcome);
}

static int
session_take_streams(struct session *session, const struct msg_hello *hello, struct fault *fault)
{
	struct archive *archive = &session->worker->archive;
	struct stream *stream;

	if (stream_abandon_others(archive, session->vm, hello, fault) == -1)
		return -1;
	memcpy(session->vm->instance, hello->instance, MSG_ID_SIZE);
	TAILQ_FOREACH(stream, &session->vm->streams, entry) {
		stream->told = false;
		stream->known = true;
	}
	for (uint16_t i = 0; i < hello->stream_count; i++) {
		const struct msg_stream *told = &hello->stream[i];

		if ((stream = stream_get(archive, session->vm, told->id, told->started_ns, fault)) == NULL ||
		    stream_begin_at(archive, stream, told->first, told->last, fault) == -1)
			return -1;
	}
	return 0;
}

static int
session_refuse_vm(struct fault *fault, const struct session *session)
{
	count_add(COUNT_SESSIONS_REFUSED, 1);
	if (atomic_load(&session->use->places) > 0 && quota_vms_taken() < quota_vms_max())
		return fault_set(fault, MSG_ERR_LIMIT, "this collector has descriptors for %u VMs, %u are there, and what is left is for other"
		    " tenants than %s, which has %u of them: its limit of open files is %" PRIu64, quota_vms_max(), quota_vms_taken(),
		    session->identity.tenant, atomic_load(&session->use->places), quota_descriptors());
	return fault_set(fault, MSG_ERR_LIMIT, "this collector has descriptors for %u VMs and as many are there: its limit of open files"
	    " is %" PRIu64 "; LimitNOFILE= of its systemd unit, or ulimit -n, raises it", quota_vms_max(), quota_descriptors());
}

/* A VM that has its place keeps it: what is open already must go on. Then one of the tenant's sessions, given back when it leaves. */
static int
session_take_place(struct session *session, struct fault *fault)
{
	struct tenant_quota quota;
	struct vm *vm = session->vm;

	vm->use = session->use;
	policy_set_quota(session->worker->policy, session->identity.tenant, &quota);
	tenant_use_set(session->use, &quota);
	if (!vm->has_place && !(vm->has_place = quota_take_vm(&vm->use->places)))
		return session_refuse_vm(fault, session);
	if (tenant_use_take_session(session->use))
		return 0;
	count_add(COUNT_SESSIONS_REFUSED, 1);
	return fault_set(fault, MSG_ERR_LIMIT, "tenant %s may have %" PRIu64 " VMs with a session at this collector, and as many are there",
	    session->identity.tenant, quota.sessions);
}

/* The tenant's VMs so far, which is one, get other policies by it. */
static void
session_tell_peers(const struct session *session)
{
	struct note note = { .kind = NOTE_PEERS };

	if (!tenants_meet(session->worker->all->known, session->identity.tenant, session->identity.uuid))
		return;
	snprintf(note.text, sizeof(note.text), "%s", session->identity.tenant);
	workers_tell(session->worker->all, &note);
}

/* From here on the session's blocks are the VM's. */
static int
session_open(struct session *session, const struct msg_hello *hello, struct fault *fault)
{
	struct worker *worker = session->worker;

	if (worker->failing)
		return fault_set(fault, MSG_ERR_STORE, "%s", worker->failing_text);
	if (session_take_place(session, fault) == -1)
		return -1;
	session->vm->session = session;
	session_fill_row(session, hello);
	if (session_take_streams(session, hello, fault) == -1)
		return -1;
	if (session_put_welcome(session, hello) == -1)
		return fault_set(fault, MSG_ERR_LIMIT, "out of memory");
	if (session_send(session) == -1)
		return 0;
	session->welcomed = true;
	count_add(COUNT_SESSIONS, 1);
	log_info("%s (%s): session opened, tenant %s, %s", session->identity.name, session->address, session->identity.tenant,
	    session->vm->row.software);
	session_change_state(session, SESSION_OPEN);
	if (worker->paused)
		tlsio_read_stop(session->tls);
	session_tell_peers(session);
	stream_hint_up(&worker->archive, session->vm, worker->index);
	session_push_policy(session, true);
	if (session_ask_clock(session, clock_mono_ns()))
		worker_ask_clocks_soon(worker);
	return 0;
}

static void
session_replace(struct session *old, const char *why)
{
	struct fault fault;

	fault_set(&fault, MSG_ERR_REPLACED, "%s", why);
	session_fail(old, &fault);
}

/* Another instance has the VM: which of the two is real? The one that has it is asked for a sign of life. */
static int
session_contend(struct session *session, const struct msg_hello *hello, struct fault *fault)
{
	struct session *old = session->vm->session;
	struct msg_ping ping = { .wall_ns = clock_wall_ns() };

	if (getrandom(&ping.token, sizeof(ping.token), 0) != sizeof(ping.token))
		ping.token = clock_mono_ns();
	if ((session->hello = malloc(sizeof(*hello))) == NULL)
		return fault_set(fault, MSG_ERR_LIMIT, "out of memory");
	*session->hello = *hello;
	session->token = ping.token;
	session->vm->contender = session;
	session_change_state(session, SESSION_CONTENDING);
	if (msg_put_ping(&session->worker->out, &ping) == 0)
		session_send(old);
	return 0;
}

static bool
session_same_instance(const struct session *a, const struct session *b)
{
	return a != NULL && b != NULL && memcmp(a->instance, b->instance, MSG_ID_SIZE) == 0;
}

static void
session_refuse_clone(struct session *contender, const struct session *real)
{
	struct fault fault;

	fault_set(&fault, MSG_ERR_CLONE,
	    "two machines use the certificate of VM %s (a clone?): the one at %s is connected and answers, so this one is refused;"
	    " give it a certificate of its own: vmtap pki agent", real->identity.name, real->address);
	session_fail(contender, &fault);
}

/* One that comes again is alive, as much as one that answers a PING. */
static int
session_meet_contender(struct session *session, struct fault *fault)
{
	struct session *other = session->vm->contender;

	if (other == NULL)
		return 0;
	if (session_same_instance(session->vm->session, session)) {
		session_refuse_clone(other, session);
		return 0;
	}
	if (!session_same_instance(other, session))
		return fault_set(fault, MSG_ERR_CLONE,
		    "several machines ask to be VM %s with its certificate (clones?); give each a certificate of its own:"
		    " vmtap pki agent", session->identity.name);
	session_replace(other, "the same agent has opened another session");
	return 0;
}

int
session_hello(struct session *session, const struct frame *frame, struct fault *fault)
{
	struct msg_hello hello;
	struct vm *vm;

	if (msg_get_hello(frame, &hello) == -1)
		return fault_set(fault, MSG_ERR_PROTOCOL, "HELLO is malformed");
	if (revoked_has(session->worker->all->revoked, session->identity.uuid))	/* on the way from another worker */
		return fault_set(fault, MSG_ERR_REVOKED, "the VM has been revoked");
	if (session_check_hello(&hello, fault) == -1 ||
	    (vm = archive_vm(&session->worker->archive, &session->identity, fault)) == NULL)
		return -1;
	if (vm->pulls > 0)
		return fault_set(fault, MSG_ERR_CLONE, "VM %s is pulled by RPCAP", session->identity.name);
	session->vm = vm;
	memcpy(session->instance, hello.instance, MSG_ID_SIZE);
	if (session_meet_contender(session, fault) == -1)
		return -1;
	if (vm->session != NULL && !session_same_instance(vm->session, session))
		return session_contend(session, &hello, fault);
	if (vm->session != NULL)
		session_replace(vm->session, "the same agent has opened another session");
	return session_open(session, &hello, fault);
}

static void
session_take_over(struct session *session)
{
	struct msg_hello *hello = session->hello;
	struct fault fault;

	session->hello = NULL;
	session->vm->contender = NULL;
	if (session->vm->session != NULL)
		session_replace(session->vm->session,
		    "another agent of this VM has taken over: this one did not answer within 2 s");
	tlsio_read_start(session->tls);
	if (session_open(session, hello, &fault) == -1)
		session_fail(session, &fault);
	free(hello);
	session_input(session);
}

/* While nothing is read no answer can come; worker_resume() lets the time begin again. */
void
session_contend_timeout(struct session *session)
{
	if (session->worker->stopping)
		return;
	if (!session->worker->paused || session->vm->session == NULL)
		session_take_over(session);
}

void
session_ponged(struct session *session, uint64_t token)
{
	struct session *contender = session->vm->contender;

	if (contender != NULL && contender->token == token)
		session_refuse_clone(contender, session);
}

/* Ends what the session is to its VM. One that contends for it wins by that, a moment later: it may be the one that called. */
void
session_leave_vm(struct session *session)
{
	struct vm *vm = session->vm;

	session->vm = NULL;
	if (vm == NULL)
		return;
	if (vm->contender == session)
		vm->contender = NULL;
	if (vm->session != session)
		return;
	vm->session = NULL;
	tenant_use_give_session(session->use);
	stream_hint_down(&session->worker->archive, vm);
	vm->row.connected = false;
	vm->row.seen_ns = clock_wall_ns();
	vm->left_ns = clock_mono_ns();
	archive_vm_changed(&session->worker->archive, vm);
	if (vm->contender != NULL)
		session_set_timer(vm->contender, 0);
}

/* The next version: time grows also when the catalog that had the last one is gone. */
static uint64_t
session_policy_version(const struct vm_row *row)
{
	uint64_t now = clock_wall_ns();

	return now > row->policy_version ? now : row->policy_version + 1;
}

static void
session_set_policy(struct session *session, char *text)
{
	struct vm_row *row = &session->vm->row;

	free(row->policy_text);
	row->policy_text = text;
	row->policy_version = session_policy_version(row);
	row->policy_state = "pending";
	row->policy_reason[0] = '\0';
	archive_vm_changed(&session->worker->archive, session->vm);
}

/* What is left unset is decided, and digests get their key; without one there are none. */
static void
session_resolve_dedup(struct session *session, struct msg_policy *policy, struct policy_dedup *dedup)
{
	struct worker *worker = session->worker;
	struct tenants *known = worker->all->known;
	const char *tenant = session->vm->row.tenant;
	char error[POLICY_ERROR_SIZE];

	if (!dedup->mode_set)
		dedup->mode = tenants_has_peers(known, tenant) ? (enum dedup_mode)worker->dedup : DEDUP_OFF;
	policy->digest = dedup->mode != DEDUP_OFF;
	session->secret_wanted = false;
	if (!policy->digest || tenants_secret(known, tenant, policy->secret, error, sizeof(error)) == 0)
		return;
	if (error[0] != '\0')
		log_warn("tenant %s: no secret for its digests: %s; trying again", tenant, error);
	policy->digest = false;
	dedup->mode = DEDUP_OFF;
	session->secret_wanted = true;
}

/* A catalog that has it from before may have it from another policy. */
static void
session_set_dedup(struct session *session, const struct policy_dedup *dedup, bool anyway)
{
	struct vm *vm = session->vm;
	bool moved = strcmp(vm->dedup.network, dedup->network) != 0;

	vm->dedup = *dedup;
	if (moved || anyway)
		stream_networks_changed(&session->worker->archive, vm);
}

bool
session_push_policy(struct session *session, bool again)
{
	const struct vm_row *row = &session->vm->row;
	struct tenant_quota quota;
	struct policy_dedup dedup;
	struct msg_policy policy;
	bool changed;
	char *text;

	policy_set_resolve(session->worker->policy, row->tenant, row->name, row->uuid, row->labels, &policy, &dedup);
	policy_set_quota(session->worker->policy, row->tenant, &quota);
	tenant_use_set(session->use, &quota);
	session_resolve_dedup(session, &policy, &dedup);
	session_set_dedup(session, &dedup, again);
	if ((text = policy_to_text(&policy, &dedup)) == NULL)
		return false;
	changed = strcmp(text, row->policy_text != NULL ? row->policy_text : "") != 0;
	if (changed)
		session_set_policy(session, text);
	else
		free(text);
	if (!changed && (!again || row->policy_version == 0)) {
		stream_hint_policy(&session->worker->archive, session->vm, !session->policy_asked);
		return false;
	}
	policy.version = row->policy_version;
	session->policy_asked = true;
	stream_hint_policy(&session->worker->archive, session->vm, false);
	if (msg_put_policy(&session->worker->out, &policy) == 0)
		session_send(session);
	return changed;
}
