/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#include "config.h"

#include <sys/resource.h>
#include <sys/stat.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <pwd.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <event2/event.h>
#include <sqlite3.h>

#include "common/daemon.h"
#include "common/tls.h"

#include "collector/catalog.h"
#include "collector/collector.h"
#include "collector/credentials.h"
#include "collector/ctl.h"
#include "collector/enrol_desk.h"
#include "collector/listen.h"
#include "collector/memory.h"
#include "collector/policy.h"
#include "collector/pull.h"
#include "collector/scrape.h"
#include "collector/quota.h"
#include "collector/revoked.h"
#include "collector/store_retain.h"
#include "collector/tenant.h"

void
collector_fill_settings(const struct collector *collector, struct worker_settings *settings)
{
	settings->rotate_size = collector->options.rotate_size;
	settings->rotate_interval_ms = collector->options.rotate_interval_ms;
	settings->keepalive_ms = collector->options.keepalive_ms;
	settings->dedup = collector->options.dedup;
	settings->hint_lease_ms = collector->options.hint_lease_ms;
	settings->enrol_life_ms = collector->options.enroll_life_ms;
}

struct desk_signing *
collector_load_signing(const struct collector *collector, char *error, size_t error_size)
{
	const struct collector_options *options = &collector->options;
	const struct desk_settings settings = { .ca = options->ca, .cert = options->enroll_cert, .key = options->enroll_key,
	    .command = options->enroll_command, .life_ms = options->enroll_life_ms };

	return desk_signing_new(&settings, error, error_size);
}

/* Every VM is a socket and a file or two. */
static void
start_raise_limits(unsigned workers)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur < limit.rlim_max) {
		limit.rlim_cur = limit.rlim_max;
		setrlimit(RLIMIT_NOFILE, &limit);
	}
	if (getrlimit(RLIMIT_NOFILE, &limit) == 0)
		quota_init(limit.rlim_cur, workers);
	signal(SIGPIPE, SIG_IGN);
	signal(SIGXFSZ, SIG_IGN);	/* a file size limit is an error of write(2) like others */
}

/* A store made by root for a user that root then becomes. */
static void
start_drop_privileges(const struct collector_options *options)
{
	struct passwd *pw;

	if (options->user == NULL)
		return;
	if ((pw = getpwnam(options->user)) == NULL)
		fatal("user %s: there is none of this name", options->user);
	if (getuid() == pw->pw_uid)
		return;
	if (mkdir(options->store, 0750) == 0 && chown(options->store, pw->pw_uid, pw->pw_gid) == -1)
		fatal("store %s: %s", options->store, strerror(errno));
	if (initgroups(pw->pw_name, pw->pw_gid) == -1 || setgid(pw->pw_gid) == -1 || setuid(pw->pw_uid) == -1)
		fatal("user %s: %s", options->user, strerror(errno));
}

static void
start_open_store(struct collector *collector)
{
	struct retain_limits limits = { .size = collector->options.retain_size, .size_vm = collector->options.retain_size_vm,
	    .age_ms = collector->options.retain_age_ms };
	char error[COLLECTOR_ERROR_SIZE];

	if (store_open(&collector->store, collector->options.store, collector->options.group, error, sizeof(error)) == -1 ||
	    (collector->db = catalog_open(collector->options.store, error, sizeof(error))) == NULL ||
	    (collector->known = tenants_new(collector->options.store, error, sizeof(error))) == NULL ||
	    (collector->revoked = revoked_new(collector->db, error, sizeof(error))) == NULL ||
	    (collector->policy = collector_make_policy(collector, NULL, NULL, error, sizeof(error))) == NULL)
		fatal("%s", error);
	collector_set_quotas(collector);
	limits.tenants = collector->known;
	if ((collector->retainer = retainer_new(&collector->store, &limits, error, sizeof(error))) == NULL)
		fatal("%s", error);
}

static int
start_open_file(const char *path)
{
	int fd = path != NULL ? open(path, O_RDONLY | O_CLOEXEC) : -1;

	if (path != NULL && fd == -1)
		fatal("%s: %s", path, strerror(errno));
	return fd;
}

/* What RPCAP servers over TLS are shown, and by whom they are verified. */
static void
start_load_rpcap(struct collector *collector)
{
	const struct collector_options *options = &collector->options;
	struct tls_files files = { .ca_name = options->rpcap_ca, .cert_name = options->rpcap_cert, .key_name = options->rpcap_key };
	char error[TLS_ERROR_SIZE];

	if (!pulls_need_tls(collector->pulls))
		return;
	files.ca_fd = start_open_file(options->rpcap_ca);
	files.cert_fd = start_open_file(options->rpcap_cert);
	files.key_fd = start_open_file(options->rpcap_key);
	for (uint64_t i = 0; i < options->workers; i++)
		if ((collector->workers.rpcap_tls[i] = tls_context_new_foreign(&files, TLSIO_CLIENT, error)) == NULL)
			fatal("rpcaps: %s", error);
	for (int i = 0; i < 3; i++) {
		int fd = i == 0 ? files.ca_fd : i == 1 ? files.cert_fd : files.key_fd;

		if (fd != -1)
			close(fd);
	}
}

static void
start_open_sockets(struct collector *collector)
{
	const struct pull_settings pulls = { .list = &collector->options.pulls, .file = collector->options.pull_file,
		.tenants = &collector->options.tenants, .rpcap_plain = collector->options.rpcap_plain };
	char error[COLLECTOR_ERROR_SIZE];

	if (collector->options.rpcap_plain)
		log_warn("--rpcap-plain: passwords of RPCAP servers go in plain text to whoever is between");
	if ((collector->listeners = listeners_new(&collector->options.listens, error, sizeof(error))) == NULL ||
	    (collector->pulls = pulls_new(&pulls, error, sizeof(error))) == NULL ||
	    (collector->scrape = scrape_new(&collector->options.metrics, error, sizeof(error))) == NULL)
		fatal("%s", error);
	start_load_rpcap(collector);
}

static void
start_open_ctl(struct collector *collector)
{
	char error[COLLECTOR_ERROR_SIZE], path[4096];

	snprintf(path, sizeof(path), "%s/" STORE_CTL_NAME, collector->options.store);
	if (collector->options.ctl != NULL)
		snprintf(path, sizeof(path), "%s", collector->options.ctl);
	collector->ctl = ctl_new(collector, path, collector->store.gid, error, sizeof(error));
	if (collector->ctl == NULL)
		fatal("%s", error);
}

static void
start_tell(const struct note *like, void *arg)
{
	workers_tell(&((struct collector *)arg)->workers, like);
}

static void
start_desk(struct collector *collector)
{
	char error[COLLECTOR_ERROR_SIZE];

	collector->desk = desk_new(collector->options.store, collector->signing, collector->revoked, collector->inbox, start_tell,
	    collector, error, sizeof(error));
	if (collector->desk == NULL)
		fatal("%s", error);
	collector->signing = NULL;
}

static void
start_workers(struct collector *collector)
{
	struct worker_settings settings;
	char error[COLLECTOR_ERROR_SIZE];

	collector_fill_settings(collector, &settings);
	collector->workers.main = collector->inbox;
	collector->workers.store = &collector->store;
	collector->workers.retainer = collector->retainer;
	collector->workers.tenants = &collector->options.tenants;
	collector->workers.known = collector->known;
	collector->workers.desk = collector->desk;
	collector->workers.revoked = collector->revoked;
	log_info("descriptors for %u VMs at a time", quota_vms_max());
	if (workers_start(&collector->workers, (unsigned)collector->options.workers, collector->tls, collector->policy, &settings,
	    error, sizeof(error)) == -1)
		fatal("%s", error);
}

static void
start_pidfile(struct collector *collector)
{
	char error[DAEMON_ERROR_SIZE];

	collector->pidfile_fd = -1;
	if (collector->options.pidfile == NULL)
		return;
	if ((collector->pidfile_fd = daemon_pidfile_write(collector->options.pidfile, error)) == -1)
		fatal("%s", error);
}

/* What may be refused without a trace comes first, then what needs root, then the store, then threads (whose signals are ours). */
void
collector_start(struct collector *collector)
{
	char error[COLLECTOR_ERROR_SIZE];
	static const int ours[] = { SIGTERM, SIGINT, SIGHUP, SIGUSR1 };
	sigset_t set, before;

	sigemptyset(&set);
	for (size_t i = 0; i < sizeof(ours) / sizeof(ours[0]); i++)
		sigaddset(&set, ours[i]);
	memory_init();
	start_raise_limits((unsigned)collector->options.workers);
	if (credentials_load(collector, collector->tls, error, sizeof(error)) == -1 ||
	    (collector->signing = collector_load_signing(collector, error, sizeof(error))) == NULL)
		fatal("%s", error);
	if (collector->options.daemon && daemon_detach() == -1)
		fatal("daemon: %s", strerror(errno));
	start_open_sockets(collector);
	start_pidfile(collector);
	start_drop_privileges(&collector->options);
	if ((collector->base = event_base_new()) == NULL || (collector->inbox = mailbox_new()) == NULL)
		fatal("event loop: %s", strerror(errno));
	pthread_sigmask(SIG_BLOCK, &set, &before);
	start_open_store(collector);
	start_open_ctl(collector);
	start_desk(collector);
	start_workers(collector);
	if (scrape_start(collector->scrape, collector, error, sizeof(error)) == -1)
		fatal("%s", error);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
}

void
collector_clear(struct collector *collector)
{
	scrape_free(collector->scrape);
	ctl_free(collector->ctl);
	pulls_free(collector->pulls);
	listeners_free(collector->listeners);
	credentials_free(collector->credentials);
	retainer_free(collector->retainer);
	policy_set_unref(collector->policy);
	tenants_free(collector->known);
	revoked_free(collector->revoked);
	sqlite3_close(collector->db);
	store_close(&collector->store);
	for (int i = 0; i < COLLECTOR_SIGNALS; i++)
		event_free(collector->signals[i]);
	event_free(collector->inbox_event);
	if (collector->watchdog != NULL)
		event_free(collector->watchdog);
	mailbox_free(collector->inbox);
	event_base_free(collector->base);
	daemon_pidfile_remove(collector->options.pidfile, collector->pidfile_fd);
	collector_options_free(&collector->options);
}
