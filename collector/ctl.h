/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#ifndef VMTAP_COLLECTOR_CTL_H
#define VMTAP_COLLECTOR_CTL_H

#include <sys/types.h>
#include <stddef.h>

struct collector;
struct note;

/*
 * The control socket: a unix stream, one JSON object a line each way, in the order asked.
 *
 *	{"command":"policy-set","scope":"vm web1","text":"filter = tcp\n"}	keys given replace those set before; answered once
 *	{"command":"policy-clear","scope":"vm web1"}				connected agents have, within 5 s
 *		-> {"ok":true,"results":[{"vm":UUID,"name":"web1","accepted":true,"reason":""}]}	accepted null: no answer yet
 *	{"command":"policy-show"} -> {"ok":true,"policies":[{"scope":"vm web1","origin":"file"|"command","text":"..."}]}
 *	{"command":"status"} -> {"ok":true,"workers":[{"worker":0,...,"sessions":[{"vm":UUID,...}]}],"counters":{...}}
 *	{"command":"token-create","tenant":T,"ttl":SECONDS,"uses":N,"labels":"k=v,...","name":"..."}	all but tenant may be left out
 *		-> {"ok":true,"id":ID,"token":"vmtap1-...","tenant":T,"expires_ns":N,"fingerprint":"SHA256:HEX"}
 *	{"command":"token-list","tenant":T}	without tenant: of all
 *		-> {"ok":true,"tokens":[{"id","tenant","name","labels","uses","used","created_ns","expires_ns","revoked":bool}]}
 *	{"command":"token-revoke","id":ID} -> {"ok":true,"id":ID,"tenant":T}
 *	{"command":"revoke","vm":NAME-or-UUID} -> {"ok":true,"vm":UUID,"name":"web1","tenant":T,"closed":N}	sessions that ended
 *	anything wrong -> {"ok":false,"error":"..."}
 */
#define CTL_LINE_MAX		(64u * 1024)
#define CTL_CLIENTS_MAX		32u
#define CTL_IDLE_S		30	/* for a client's next line */
#define CTL_DESK_S		12	/* for the desk, which may wait for the catalog */
#define CTL_RESULTS_S		5	/* for agents' answers */

struct ctl;
/* Binds path, mode 0660, group gid unless (gid_t)-1. NULL with a line for people. */
struct ctl	*ctl_new(struct collector *, const char *path, gid_t gid, char *error, size_t error_size);
void		 ctl_note(struct ctl *, struct note *);	/* what workers answer; the note stays the caller's */
void		 ctl_free(struct ctl *);		/* NULL is fine; removes the socket */

#endif
