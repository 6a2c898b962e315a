/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#include "config.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <event2/event.h>

#include "common/daemon.h"
#include "common/tls.h"
#include "common/watchdog.h"

#include "collector/collector.h"
#include "collector/counts.h"
#include "collector/credentials.h"
#include "collector/ctl.h"
#include "collector/enrol_desk.h"
#include "collector/listen.h"
#include "collector/policy.h"
#include "collector/pull.h"
#include "collector/rpcap_url.h"
#include "collector/scrape.h"
#include "collector/store_retain.h"

static void
collector_hand_out(struct collector *collector, int fd, int pull, const char *name)
{
	struct note *note = note_new(NOTE_CONNECTION);

	note->fd = fd;
	note->pull = pull;
	snprintf(note->text, sizeof(note->text), "%s", name);
	mailbox_post(collector->workers.worker[collector->turn++ % collector->workers.count].inbox, note);
}

static void
collector_accepted(int fd, void *arg)
{
	collector_hand_out(arg, fd, -1, "");
}

/* Which VM it is need not be asked, so it is at home at once: with those of the same host, which leave out each other's connections. */
static void
collector_dialled_rpcap(struct collector *collector, int fd, int pull, const struct rpcap_url *url)
{
	struct note *note = note_new(NOTE_RPCAP);

	note->fd = fd;
	note->pull = pull;
	note->url = url;
	mailbox_post(collector->workers.worker[url->group % collector->workers.count].inbox, note);
}

static void
collector_dialled(int fd, int pull, const char *name, const struct rpcap_url *url, void *arg)
{
	if (url != NULL)
		collector_dialled_rpcap(arg, fd, pull, url);
	else
		collector_hand_out(arg, fd, pull, name);
}

static void
collector_stop_timeout(int signo)
{
	static const char text[] = "vmtap-collector: error: the store did not finish in time; what is not acknowledged stays with the"
	    " agents\n";

	(void)signo;
	(void)!write(STDERR_FILENO, text, sizeof(text) - 1);
	_exit(EXIT_FAILURE);
}

/* No new connections; the workers commit, acknowledge, say BYE and end. */
static void
collector_stop(struct collector *collector)
{
	const struct note note = { .kind = NOTE_STOP };

	if (collector->stopping)
		return;
	collector->stopping = true;
	log_info("shutting down");
	daemon_notify("STOPPING=1");
	listeners_free(collector->listeners);
	collector->listeners = NULL;
	pulls_stop(collector->pulls);
	scrape_stop(collector->scrape);
	workers_tell(&collector->workers, &note);
	signal(SIGALRM, collector_stop_timeout);	/* the event loop ends before all that may wait for a disk */
	alarm(COLLECTOR_STOP_S);
}

static int
collector_reload_policy(struct collector *collector)
{
	char error[POLICY_ERROR_SIZE];
	struct policy_set *set = collector_make_policy(collector, NULL, NULL, error, sizeof(error));

	if (set == NULL) {
		log_error("reload: %s; the policy before stays in force", error);
		return -1;
	}
	collector_use_policy(collector, set, 0);
	return 0;
}

static int
collector_reload_desk(struct collector *collector)
{
	char error[COLLECTOR_ERROR_SIZE];
	struct desk_signing *signing = collector_load_signing(collector, error, sizeof(error));

	if (signing != NULL) {
		desk_set(collector->desk, signing);
		return 0;
	}
	log_error("reload: %s; certificates are signed as before", error);
	return -1;
}

/* -1: something on disk is wrong, and not in force. */
static int
collector_reload(struct collector *collector)
{
	struct collector_options fresh = { 0 };
	struct note note = { .kind = NOTE_SETTINGS };
	struct retain_limits limits;
	struct conf_error error;
	const char *name;
	int result;

	if (collector_options_load(&fresh, collector->argc, collector->argv, &error) == -1) {
		log_error("reload: %s; all stays as it is", error.text);
		return -1;
	}
	if ((name = conf_needs_restart(collector_rows, &collector->options, &fresh)) != NULL)
		log_warn("reload: %s has changed, which takes effect at the next start", name);
	collector_options_take(&collector->options, &fresh);
	collector_options_free(&fresh);
	log_set_level((enum log_level)collector->options.log_level);
	collector_fill_settings(collector, &note.settings);
	workers_tell(&collector->workers, &note);
	limits = (struct retain_limits){ .size = collector->options.retain_size, .size_vm = collector->options.retain_size_vm,
	    .age_ms = collector->options.retain_age_ms, .tenants = collector->known };
	retainer_set_limits(collector->retainer, &limits);
	credentials_reload(collector);
	result = collector_reload_policy(collector) + collector_reload_desk(collector) == 0 ? 0 : -1;
	log_info("reloaded");
	return result;
}

static void
collector_reload_told(struct collector *collector)
{
	daemon_notify_reloading();
	daemon_notify(collector_reload(collector) == 0 ? "READY=1\nSTATUS=ready" :
	    "READY=1\nSTATUS=ready; of what is on disk, something was refused and is not in force, see the log");
}

static void
collector_signal(evutil_socket_t number, short events, void *arg)
{
	struct collector *collector = arg;

	(void)events;
	switch (number) {
	case SIGTERM:
	case SIGINT:
		collector_stop(collector);
		break;
	case SIGHUP:
		if (!collector->stopping)
			collector_reload_told(collector);
		break;
	case SIGUSR1:
		count_log();
		break;
	}
}

static void
collector_note(struct collector *collector, struct note *note)
{
	switch (note->kind) {
	case NOTE_PULL_ENDED:
		pulls_ended(collector->pulls, note->pull, note->good);
		break;
	case NOTE_POLICY_PUSHED:
	case NOTE_POLICY_PUSHED_ALL:
	case NOTE_POLICY_RESULT:
	case NOTE_STATUS_REPLY:
	case NOTE_REVOKED:
	case NOTE_DESK:
		ctl_note(collector->ctl, note);
		scrape_note(collector->scrape, note);
		break;
	case NOTE_OPERATOR:
		ctl_take_operator(collector->ctl, note->operator);
		note->operator = NULL;
		break;
	case NOTE_METRICS:
		scrape_note(collector->scrape, note);
		break;
	case NOTE_STOPPED:
		if (++collector->stopped == collector->workers.count)
			event_base_loopbreak(collector->base);
		break;
	case NOTE_LOST:
		log_error("%s; ending, so that the next start can set the store right", note->text);
		_exit(EXIT_FAILURE);
	case NOTE_CONNECTION:
	case NOTE_RPCAP:
	case NOTE_CREDENTIALS:
	case NOTE_SETTINGS:
	case NOTE_POLICY:
	case NOTE_STATUS:
	case NOTE_STOP:
	case NOTE_CERTIFICATE:
	case NOTE_REVOKE:
	case NOTE_SESSION:
	case NOTE_PEERS:
	case NOTE_HINTS:
	case NOTE_COMMITTED:
	case NOTE_COMMIT_FAILING:
		break;
	}
}

static void
collector_inbox(evutil_socket_t fd, short events, void *arg)
{
	struct collector *collector = arg;
	struct note *note;

	(void)fd;
	(void)events;
	mailbox_clear(collector->inbox);
	while ((note = mailbox_take(collector->inbox)) != NULL) {
		collector_note(collector, note);
		note_free(note);
	}
}

static int
collector_add_events(struct collector *collector)
{
	static const int numbers[COLLECTOR_SIGNALS] = { SIGTERM, SIGINT, SIGHUP, SIGUSR1 };

	for (int i = 0; i < COLLECTOR_SIGNALS; i++)
		if ((collector->signals[i] = evsignal_new(collector->base, numbers[i], collector_signal, collector)) == NULL ||
		    event_add(collector->signals[i], NULL) == -1)
			return -1;
	collector->inbox_event = event_new(collector->base, mailbox_fd(collector->inbox), EV_READ | EV_PERSIST, collector_inbox,
	    collector);
	if (collector->inbox_event == NULL || event_add(collector->inbox_event, NULL) == -1)
		return -1;
	if (credentials_start(collector) == -1 ||
	    listeners_start(collector->listeners, collector->base, collector_accepted, collector) == -1)
		return -1;
	return pulls_start(collector->pulls, collector->base, collector_dialled, collector);
}

/* For this loop alone: a worker may wait for a disk as long as that hangs, and ending it would cost all sessions and help nobody. */
static void
collector_watch_loop(struct collector *collector)
{
	collector->watchdog = watchdog_new(collector->base);
	if (collector->watchdog == NULL && errno != 0)
		log_warn("the service manager's watchdog cannot be told: %s", strerror(errno));
}

static void
collector_ready(const struct collector *collector)
{
	if (collector->options.daemon)
		log_to_syslog();
	if (daemon_ready() == -1)
		log_warn("cannot leave the terminal: %s", strerror(errno));
	daemon_notify("READY=1\nSTATUS=ready");
	log_info("ready: store %s, %u workers", collector->options.store, collector->workers.count);
}

/* A password on the command line is seen by all until then. What is read again at a reload is a copy. */
static char **
collector_hide_passwords(int argc, char **argv)
{
	char **copy = calloc((size_t)argc + 1, sizeof(*copy));

	if (copy == NULL)
		fatal("out of memory");
	for (int i = 0; i < argc; i++) {
		if ((copy[i] = strdup(argv[i])) == NULL)
			fatal("out of memory");
		rpcap_url_hide(argv[i]);
	}
	return copy;
}

static void
collector_free_arguments(int argc, char **argv)
{
	for (int i = 0; i < argc; i++) {
		explicit_bzero(argv[i], strlen(argv[i]));
		free(argv[i]);
	}
	free(argv);
}

int
collector_main(struct collector_options *options, int argc, char **argv)
{
	struct collector collector = { .options = *options, .argc = argc, .argv = collector_hide_passwords(argc, argv),
		.pidfile_fd = -1 };

	*options = (struct collector_options){ 0 };
	collector_start(&collector);
	if (collector_add_events(&collector) == -1)
		fatal("event loop: %s", strerror(errno));
	collector_watch_loop(&collector);
	collector_ready(&collector);
	event_base_dispatch(collector.base);
	desk_free(collector.desk);	/* before those whom it answers */
	collector.desk = NULL;
	workers_join(&collector.workers);
	log_info("ended");
	collector_clear(&collector);
	collector_free_arguments(collector.argc, collector.argv);
	return EXIT_SUCCESS;
}
