/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#ifndef VMTAP_COLLECTOR_RPCAP_URL_H
#define VMTAP_COLLECTOR_RPCAP_URL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "proto/identity.h"

/*
 * Where an interface is pulled by RPCAP, and what the VM is called that it becomes:
 *
 *	[[TENANT/]NAME=]rpcap://[USER:PASSWORD@]HOST[:PORT]/INTERFACE		rpcaps: over TLS
 *
 * User, password and interface may have %XX in them. A password is in no error, nor in label.
 */
#define RPCAP_URL_PART_SIZE	256	/* of a host, an interface, a user, a password */
#define RPCAP_URL_LABEL_SIZE	600
#define RPCAP_URL_ERROR_SIZE	256

struct rpcap_url {
	bool		tls;
	bool		has_user;
	unsigned	group;		/* of what must be in one worker: the pulls of a VM, and those of a host; set by pull.c */
	uint16_t	port;
	char		user[RPCAP_URL_PART_SIZE], password[RPCAP_URL_PART_SIZE];
	char		host[RPCAP_URL_PART_SIZE];	/* without brackets */
	char		interface[RPCAP_URL_PART_SIZE];
	char		tenant[IDENTITY_NAME_SIZE];	/* "": not said */
	char		name[IDENTITY_NAME_SIZE];	/* the host's if none was said */
	char		label[RPCAP_URL_LABEL_SIZE];	/* for people: "rpcap://HOST:PORT/INTERFACE", printable */
};

/* Is it meant as one? Else it is the HOST[:PORT] of an agent. */
bool	rpcap_url_is(const char *);
/* 0, or -1 with what is wrong, without the text itself. */
int	rpcap_url_parse(const char *, struct rpcap_url *, char error[RPCAP_URL_ERROR_SIZE]);
bool	rpcap_url_same(const struct rpcap_url *, const struct rpcap_url *);	/* the same interface of the same server */
/* The UUID, of version 8, that a VM of this tenant and name always has. */
void	rpcap_url_uuid(const char *tenant, const char *name, char uuid[IDENTITY_UUID_SIZE]);
/* Writes over the password in the text, if there is one: a command line is seen by all. */
void	rpcap_url_hide(char *);

#endif
