/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#ifndef VMTAP_COLLECTOR_NOTE_H
#define VMTAP_COLLECTOR_NOTE_H

#include <sys/queue.h>
#include <stdbool.h>
#include <stdint.h>

#include "proto/identity.h"
#include "proto/msg.h"

struct batch;
struct ctl_operator;
struct json_t;
struct pki_chain;
struct policy_set;
struct rpcap_url;
struct session;
struct tls_context;

/* What threads tell one another. A note is owned by whoever holds it; what it carries is taken by setting it to NULL (fd: -1). */
enum note_kind {
	/* main -> worker */
	NOTE_CONNECTION,	/* fd, pull (-1: accepted), text: whom it dials */
	NOTE_RPCAP,		/* fd, pull, url: of an RPCAP server that is dialled; its VM is yours */
	NOTE_CREDENTIALS,	/* tls */
	NOTE_SETTINGS,		/* settings */
	NOTE_POLICY,		/* policy, token */
	NOTE_STATUS,		/* token */
	NOTE_STOP,
	/* desk -> worker */
	NOTE_CERTIFICATE,	/* token: ticket; good: chain; else text, why not ("": not even that is told); later: not now */
	NOTE_REVOKE,		/* token, uuid: of the VM whose sessions end */
	/* worker -> worker */
	NOTE_SESSION,		/* session: its VM is yours */
	NOTE_PEERS,		/* text: this tenant has several VMs now */
	NOTE_HINTS,		/* something waits for you at the hub */
	/* committer -> worker */
	NOTE_COMMITTED,		/* batch */
	NOTE_COMMIT_FAILING,	/* text */
	/* worker -> main */
	NOTE_PULL_ENDED,	/* pull, good: got as far as a WELCOME */
	NOTE_OPERATOR,		/* operator: it wants to talk to control */
	NOTE_POLICY_PUSHED,	/* token, version, uuid, name, text: tenant */
	NOTE_POLICY_PUSHED_ALL,	/* token */
	NOTE_POLICY_RESULT,	/* version, uuid, good, text */
	NOTE_STATUS_REPLY,	/* token, json */
	NOTE_REVOKED,		/* token, version: as many sessions were ended */
	NOTE_DESK,		/* of the desk: token, json: the answer; uuid: the workers were told to revoke it, else "" */
	NOTE_METRICS,		/* of the reader for metrics: it has read */
	NOTE_STOPPED,
	NOTE_LOST		/* text: data may be lost, the process must end */
};

struct worker_settings {
	uint64_t	rotate_size, rotate_interval_ms, keepalive_ms, hint_lease_ms, enrol_life_ms;
	int		dedup;		/* enum dedup_mode: an unset one of a VM with peers */
};

struct note {
	STAILQ_ENTRY(note) entry;
	enum note_kind	 kind;
	uint64_t	 token, version;
	int		 fd, pull;
	bool		 good, later;
	const struct rpcap_url *url;	/* as long as the workers live */
	struct session	*session;
	struct tls_context *tls;
	struct policy_set *policy;
	struct batch	*batch;
	struct pki_chain *chain;
	struct json_t	*json;
	struct ctl_operator *operator;
	struct worker_settings settings;
	char		 uuid[IDENTITY_UUID_SIZE];
	char		 name[IDENTITY_NAME_SIZE];
	char		 text[MSG_TEXT_SIZE];
};

struct note	*note_new(enum note_kind);	/* never NULL: a collector that has no memory for a note aborts */
void		 note_free(struct note *);	/* with all it still carries */

/* A locked queue with an eventfd. */
struct mailbox;
struct mailbox	*mailbox_new(void);		/* NULL with errno */
void		 mailbox_free(struct mailbox *);
void		 mailbox_post(struct mailbox *, struct note *);	/* takes it; any thread */
struct note	*mailbox_take(struct mailbox *);	/* NULL: empty */
int		 mailbox_fd(const struct mailbox *);	/* readable: mailbox_clear(), then take all */
void		 mailbox_clear(struct mailbox *);

#endif
