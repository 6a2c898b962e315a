/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#ifndef VMTAP_COLLECTOR_CTL_H
#define VMTAP_COLLECTOR_CTL_H

#include <sys/types.h>
#include <stddef.h>

#include "proto/identity.h"
#include "proto/rights.h"

struct collector;
struct note;
struct tlsio;

/*
 * Control: one JSON object a line each way, in the order asked; by a unix stream, which whoever may open it may use for all, or by
 * TLS (ALPN FRAME_ALPN_CTL) with an operator's certificate, whose rights (proto/rights.h) say what there is: what is another tenant's
 * does not exist, whatever is asked.
 *
 *	{"command":"policy-set","scope":"vm web1","text":"filter = tcp\n"}	keys given replace those set before; answered once
 *	{"command":"policy-clear","scope":"vm web1"}				connected agents have, within 5 s
 *		-> {"ok":true,"results":[{"vm":UUID,"name":"web1","accepted":true,"reason":""}]}	accepted null: no answer yet
 *	{"command":"policy-show"} -> {"ok":true,"policies":[{"scope":"vm web1","origin":"file"|"command","text":"..."}]}
 *	{"command":"status"} -> {"ok":true,"workers":[{"worker":0,...,"sessions":[{"vm":UUID,...}]}],"counters":{...}}
 *	{"command":"token-create","tenant":T,"ttl":SECONDS,"uses":N,"labels":"k=v,...","name":"..."}	all but tenant may be left out
 *		-> {"ok":true,"id":ID,"token":"vmtap1-...","tenant":T,"expires_ns":N,"fingerprint":"SHA256:HEX"}
 *	{"command":"token-list","tenant":T}	without tenant: of all, or of the one that the client has the right for
 *		-> {"ok":true,"tokens":[{"id","tenant","name","labels","uses","used","created_ns","expires_ns","revoked":bool}]}
 *	{"command":"token-revoke","id":ID,"tenant":T} -> {"ok":true,"id":ID,"tenant":T}
 *	{"command":"revoke","vm":NAME-or-UUID} -> {"ok":true,"vm":UUID,"name":"web1","tenant":T,"closed":N}	sessions that ended
 *	{"command":"run","argv":["read","web1","--from","-10m"]} -> {"ok":true}		of an operator only; vmtap(1)'s vms, files, stats, read
 *		and behind that line, until CTL_RUN_END, pieces of what it writes: u8 channel, u32 length (big-endian), so many bytes
 *	anything wrong -> {"ok":false,"error":"..."}
 */
#define CTL_LINE_MAX		(64u * 1024)
#define CTL_CLIENTS_MAX		32u	/* of the socket */
#define CTL_IDLE_S		30	/* for a client's next line */
#define CTL_DESK_S		12	/* for the desk, which may wait for the catalog */
#define CTL_RESULTS_S		5	/* for agents' answers */
/* Operators have places of their own. A tenant's first is taken when those that have several are not given more, so that none shuts
 * out another. */
#define CTL_OPERATORS_MAX	64u
#define CTL_OPERATORS_SHARED	32u	/* beyond so many a tenant has one */
#define CTL_OPERATORS_TENANT	4u
#define CTL_QUESTION_BURST	40u	/* of a tenant's operators; and then one in so long */
#define CTL_QUESTION_NS		UINT64_C(250000000)
#define CTL_QUESTION_SHARE	10u	/* of the main thread's time, the part that a tenant's may have */
/* Policies of its VMs that a tenant's operators may set; all are in memory, and are read anew each time. */
#define CTL_POLICIES_TENANT	1000u
#define CTL_RUNS_MAX		16u	/* children at a time, likewise */
#define CTL_RUNS_SHARED		8u
#define CTL_RUNS_TENANT		2u
#define CTL_RUN_STALL_S		300	/* for who does not read a command's output */
#define CTL_RUN_OUT		1	/* channels: standard output, */
#define CTL_RUN_ERR		2	/* standard error, */
#define CTL_RUN_END		0	/* the exit status, u8: the last piece */
#define CTL_RUN_HEADER		5u
#define CTL_RUN_PIECE_MAX	(64u * 1024)
#define CTL_RUN_ARGS_MAX	64u

/* An operator's connection after its handshake: made by a worker, with the place of a connection that it has (quota.h). */
struct ctl_operator {
	struct tlsio	*io;		/* detached */
	struct identity	 identity;
	struct rights	 rights;
};
void		 ctl_operator_free(struct ctl_operator *);	/* NULL is fine; closes it */
char		*ctl_refusal(const char *why);			/* the line for who is refused; heap; NULL: ENOMEM */

struct ctl;
/* Binds path, mode 0660, group gid unless (gid_t)-1. NULL with a line for people. */
struct ctl	*ctl_new(struct collector *, const char *path, gid_t gid, char *error, size_t error_size);
void		 ctl_note(struct ctl *, struct note *);	/* what workers answer; the note stays the caller's */
void		 ctl_take_operator(struct ctl *, struct ctl_operator *);	/* takes it */
void		 ctl_free(struct ctl *);		/* NULL is fine; removes the socket */

#endif
