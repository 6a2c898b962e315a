/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#ifndef VMTAP_COLLECTOR_COLLECTOR_H
#define VMTAP_COLLECTOR_COLLECTOR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <time.h>

#include "collector/options.h"
#include "collector/store.h"
#include "collector/worker.h"

struct credentials;
struct ctl;
struct desk;
struct desk_signing;
struct event;
struct event_base;
struct listeners;
struct pulls;
struct revoked;
struct scrape;
struct sqlite3;
struct tenants;

#define COLLECTOR_STOP_S	5	/* SIGTERM to exit, whatever a disk does */
#define COLLECTOR_SIGNALS	4
#define COLLECTOR_ERROR_SIZE	1024

/* The main thread: sockets, signals, control, policy. */
struct collector {
	struct collector_options options;
	int			 argc;
	char			**argv;
	struct event_base	*base;
	struct event		*signals[COLLECTOR_SIGNALS], *inbox_event;
	struct event		*watchdog;	/* NULL: the service manager keeps none */
	struct mailbox		*inbox;
	int			 pidfile_fd;
	struct store		 store;
	struct sqlite3		*db;		/* for overrides of the policy */
	struct retainer		*retainer;
	struct policy_set	*policy;
	struct tenants		*known;
	struct revoked		*revoked;
	struct desk_signing	*signing;	/* until the desk has it */
	struct desk		*desk;		/* enrolment */
	struct tls_context	*tls[WORKERS_MAX];	/* until the workers have them */
	time_t			 not_after;	/* of the certificate in use */
	struct credentials	*credentials;
	struct workers		 workers;
	unsigned		 turn;		/* of the workers, for new connections */
	unsigned		 stopped;	/* workers that have ended */
	bool			 stopping;
	struct listeners	*listeners;
	struct pulls		*pulls;
	struct ctl		*ctl;
	struct scrape		*scrape;	/* metrics */
};

/* Runs until SIGTERM; exit status. */
int	collector_main(struct collector_options *, int argc, char **argv);

/* collector_start.c: everything up to the loop; one line and exit status 1 when something is wrong. */
void	collector_start(struct collector *);
void	collector_clear(struct collector *);
void	collector_fill_settings(const struct collector *, struct worker_settings *);
struct desk_signing *collector_load_signing(const struct collector *, char *error, size_t error_size);

/* collector_policy.c. A set of the policy file and all overrides; the override of scope gets text on top, or is left out if text is
 * NULL (scope NULL: all as they are). NULL with a line for people. */
struct policy_set *collector_make_policy(struct collector *, const char *scope, const char *text, char *error, size_t error_size);
/* Keeps the override of scope as it is in the set (NULL: as none) in the catalog. 0 / -1 with a line. */
int	collector_store_override(struct collector *, const char *scope, const struct policy_set *, char *error, size_t error_size);
/* What each known tenant may take, from the policy. */
void	collector_set_quotas(struct collector *);
/* The workers push it to whom it concerns, and answer with token. Takes the set. */
void	collector_use_policy(struct collector *, struct policy_set *, uint64_t token);

#endif
