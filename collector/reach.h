/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#ifndef VMTAP_COLLECTOR_REACH_H
#define VMTAP_COLLECTOR_REACH_H

#include <stddef.h>

struct json_t;

/*
 * How a command reaches the running collector: by its control socket, or with --connect by TLS from anywhere, as an operator. What is
 * said is the same (ctl.h).
 */
struct reach_options {
	char	*connect, *ca, *cert, *key;
};
/* Rows for a verb whose options struct has a struct reach_options named reach. */
#define REACH_ROWS(options_type) \
	{ .name = "connect", .type = CONF_STRING, .argument = "HOST[:PORT]", .offset = offsetof(options_type, reach.connect), \
	    .help = "ask this collector, as an operator, over TLS" }, \
	{ .name = "ca", .type = CONF_STRING, .initial = SYSCONFDIR "/vmtap/ca.crt", .argument = "FILE", \
	    .offset = offsetof(options_type, reach.ca), .help = "with --connect: certificate of the deployment's CA" }, \
	{ .name = "cert", .type = CONF_STRING, .initial = SYSCONFDIR "/vmtap/operator.crt", .argument = "FILE", \
	    .offset = offsetof(options_type, reach.cert), .help = "with --connect: the operator's certificate" }, \
	{ .name = "key", .type = CONF_STRING, .initial = SYSCONFDIR "/vmtap/operator.key", .argument = "FILE", \
	    .offset = offsetof(options_type, reach.key), .help = "with --connect: its private key" }

/* What goes wrong is told on stderr, under the verb's name. */
struct reach;
/* ctl: the control socket's path, NULL: STORE/ctl.sock; both are for when there is no --connect. NULL: it cannot be reached. */
struct reach	*reach_open(const char *verb, const struct reach_options *, const char *store, const char *ctl);
void		 reach_close(struct reach *);		/* NULL is fine */
/* The answer to the question, which is taken; NULL: there is none, or it says no (and why is told). */
struct json_t	*reach_ask(struct reach *, struct json_t *question);
/* reach_open(), reach_ask(), reach_close(). */
struct json_t	*reach_ask_once(const char *verb, const struct reach_options *, const char *store, const char *ctl,
		    struct json_t *question);
/* With --connect: runs a command there, argv of strings (taken): what it writes comes to out and standard error; its exit status. */
int		 reach_run(struct reach *, struct json_t *argv, int out);

#endif
