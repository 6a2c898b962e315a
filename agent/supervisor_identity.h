/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#ifndef VMTAP_AGENT_SUPERVISOR_IDENTITY_H
#define VMTAP_AGENT_SUPERVISOR_IDENTITY_H

#include <stdbool.h>
#include <stddef.h>

#include "agent/ipc.h"

struct agent_options;

/*
 * What enrolment got, in files of fixed names in the state folder: ca.crt, agent.pem (key, certificate and chain), pending.key
 * while a token is being used, and machine, which says what this machine was when it enrolled. They are written whole, forced to the disk
 * and renamed into place, for nobody else to read; what is in them is the link role's to understand.
 */
#define IDENTITY_CA		"ca.crt"
#define IDENTITY_CERTIFICATE	"agent.pem"
#define IDENTITY_PENDING	"pending.key"
#define IDENTITY_MACHINE	"machine"
#define IDENTITY_LAST		"last"	/* and this, of whoever ran last: last_counts.h */

/* --- supervisor_machine.c --- */
#define MACHINE_FACT_SIZE	128
/* By what a copy of this machine's disk is told from it; "": not known. */
struct machine {
	char	product_uuid[MACHINE_FACT_SIZE];	/* of the firmware: another one in another VM */
	char	instance_id[MACHINE_FACT_SIZE];		/* of cloud-init: another one in another instance */
};
#define MACHINE_INSTANCE_RUN	"/run/cloud-init/.instance-id"		/* this boot's, once cloud-init has run */
#define MACHINE_INSTANCE_DATA	"/var/lib/cloud/data/instance-id"	/* the last one's */
void	machine_read(struct machine *);
/* As lines "name: value", and back; what is in neither is passed over. */
#define MACHINE_TEXT_SIZE	(2 * MACHINE_FACT_SIZE + 64)
size_t	machine_format(const struct machine *, char dst[MACHINE_TEXT_SIZE]);
void	machine_parse(const char *text, struct machine *);
/* In something that is known on both sides; why of size bytes then says it. UUIDs are the same in either order of their bytes. */
bool	machine_differs(const struct machine *was, const struct machine *now, char *why, size_t size);
/* What of now was not known is taken over; whether there was any. */
bool	machine_learn(struct machine *was, const struct machine *now);

/* --- supervisor_identity.c --- */
/* What follows the state folder in path; NULL: it is elsewhere. */
const char *identity_name_of(const struct agent_options *, const char *path);
/*
 * To be handed to a role. No link is followed in the state folder: it belongs to the roles' user, and what that cannot read is not to
 * be had through root.
 */
int	identity_open(const struct agent_options *, const char *path);
/* What there is on this machine; fds of two: token and pending key, as far as they are there, the caller's. Ends an enrolment that
 * was cut short behind its last certificate, and throws a pending key away that another machine made. */
void	identity_look(const struct agent_options *, const struct machine *, struct ipc_enrolment *, int fds[2]);
/* 0, or -1 with errno: what was there before still is. */
int	identity_store(const struct agent_options *, const struct machine *, enum ipc_store, const void *, size_t);
/* For this boot only: not forced to the disk. -1 with errno, if there is no such folder too. */
int	identity_keep_last(const struct agent_options *, const char *text, size_t len);
/* Removes it. Its length, size - 1 at most, with a NUL behind it; 0: there is none, or it would be taken again. */
size_t	identity_take_last(const struct agent_options *, char *text, size_t size);

#endif
