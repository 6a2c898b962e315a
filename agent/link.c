/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#include "config.h"

#include <linux/ioprio.h>
#include <sys/random.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <event2/event.h>

#include "agent/disk.h"
#include "agent/link.h"
#include "agent/link_breaker.h"
#include "agent/link_dial.h"
#include "agent/link_enroll.h"
#include "agent/link_listen.h"
#include "agent/link_metrics.h"
#include "agent/link_renew.h"
#include "agent/link_session.h"
#include "agent/role.h"
#include "agent/rpcap.h"
#include "agent/spool.h"
#include "common/buf.h"
#include "common/clock.h"
#include "common/log.h"
#include "common/tls.h"

#define IOPRIO_LOWEST	7
#define STOP_BYE_MS	250	/* of the time to the end: for BYE and the end of TLS */
#define STOP_DISK_MS	300	/* for writing to the disk, if there is one */
#define STOP_SPARE_MS	100	/* and for late timers and exit; the rest is for what is left in the spool */

/* --- small things for all --- */

uint64_t
link_random(uint64_t below)
{
	uint64_t value = 0;

	if (getrandom(&value, sizeof(value), 0) != (ssize_t)sizeof(value))
		value = clock_mono_ns();
	return value % below;
}

struct event *
link_timer_new(struct link *link, void (*callback)(int, short, void *), void *arg)
{
	struct event *timer = evtimer_new(link->base, callback, arg);

	if (timer == NULL)
		fatal("out of memory");
	return timer;
}

void
link_timer_set(struct event *timer, uint64_t delay_ns)
{
	struct timeval tv = { .tv_sec = (time_t)(delay_ns / 1000000000), .tv_usec = (suseconds_t)(delay_ns / 1000 % 1000000) };

	evtimer_add(timer, &tv);
}

/* --- sockets --- */

int
link_ask_socket(struct link *link, uint8_t family, uint8_t type, enum link_asker asker)
{
	const uint8_t wanted[] = { family, type };

	if (link->sockets_due == LINK_ASKERS) {
		errno = EBUSY;
		return -1;
	}
	if (ipc_send(link->supervisor, IPC_SOCKET_REQUEST, wanted, sizeof(wanted), NULL, 0) == -1)
		return -1;
	link->socket_for[link->sockets_due++] = (uint8_t)asker;
	return 0;
}

void
link_socket_came(struct link *link, struct ipc_message *message)
{
	struct cursor c;
	uint32_t error = EIO;
	int fd = message->fd[0];
	enum link_asker asker = (enum link_asker)link->socket_for[0];

	if (link->sockets_due == 0)
		return;
	memmove(link->socket_for, link->socket_for + 1, --link->sockets_due);
	if (fd == -1) {
		cursor_init(&c, message->payload, message->length);
		(void)cursor_u32(&c, &error);
	}
	message->fd[0] = -1;
	if (asker == LINK_ENROLL)
		enroll_socket(link, fd, (int)error);
	else if (asker == LINK_RPCAP)
		rpcap_socket(link->rpcap, fd, (int)error);
	else
		dial_socket(link->dial, fd, (int)error);
}

/* Of the stream that ends with its capture, or with this process. */
static void
keep_last(struct link_tap *tap)
{
	struct msg_stat stat[LINK_STATS_MAX];
	struct msg_stats last;

	if (!stats_refresh(&tap->stats, tap->spool))
		return;
	stats_fill(&tap->stats, tap->spool, &last, stat);
	backlog_keep_last(&tap->backlog, &last);
}

/* --- the end --- */

static void
stop_log_left(const struct link *link, const char *why)
{
	if (link->disk == NULL)
		log_warn("%s: %zu bytes are lost", why, spool_used(link->tap[0].spool));
	else
		log_info("%s: what is left goes to the disk", why);
}

static bool
stop_has_time(void *link)
{
	return clock_mono_ns() + STOP_SPARE_MS / 2 * LINK_MS < ((struct link *)link)->stop_ns;
}

/* What is not acknowledged goes to the disk, if there is one. */
static void
stop_keep(struct link *link)
{
	struct backlog *backlog = &link->tap[0].backlog;

	if (link->disk == NULL || !link->stopping || backlog_empty(backlog))
		return;
	keep_last(&link->tap[0]);
	if (!backlog_flush(backlog, stop_has_time, link))
		log_warn("not all could be written to the disk in time: %zu bytes are lost", spool_used(link->tap[0].spool));
	log_info("%llu bytes wait on the disk for the next start", (unsigned long long)disk_used(link->disk));
}

static void
stop_now(struct link *link)
{
	stop_keep(link);
	event_base_loopbreak(link->base);
}

static void
stop_say_bye(struct link *link)
{
	struct session *s, *next;

	for (s = TAILQ_FIRST(&link->sessions); s != NULL; s = next) {
		next = TAILQ_NEXT(s, entry);
		session_bye(s, 2, "the agent shuts down");
	}
}

static bool
stop_all_sent(const struct link *link)
{
	const struct session *s;

	TAILQ_FOREACH(s, &link->sessions, entry)
		if (!session_done(s))
			return false;
	return link->capture == NULL;
}

/* Once capture is gone nothing more comes: what is acknowledged then is all. */
void
link_stop_check(struct link *link)
{
	const struct session *s;

	if (!link->stopping)
		return;
	if (!link->stop_bye && stop_all_sent(link)) {
		link->stop_bye = true;
		link_timer_set(link->stop_timer, STOP_BYE_MS * LINK_MS);
		stop_say_bye(link);
	}
	TAILQ_FOREACH(s, &link->sessions, entry)
		if (s->state != SESSION_HANDSHAKE)
			return;
	if (link->stop_bye && rpcap_done(link->rpcap))
		stop_now(link);
}

static void
on_stop_timer(evutil_socket_t fd, short what, void *arg)
{
	struct link *link = arg;

	(void)fd;
	(void)what;
	if (link->stop_bye) {
		stop_now(link);
		return;
	}
	if (link->tap[0].session != NULL && !backlog_empty(&link->tap[0].backlog))
		stop_log_left(link, "the collector has not acknowledged all in time");
	link->stop_bye = true;
	link_timer_set(link->stop_timer, STOP_BYE_MS * LINK_MS);
	stop_say_bye(link);
	link_stop_check(link);
}

static void
stop(struct link *link, uint32_t left_ms)
{
	uint32_t end_ms = STOP_BYE_MS + STOP_SPARE_MS + (link->disk != NULL ? STOP_DISK_MS : 0);

	if (link->stopping)
		return;
	link->stopping = true;
	link->stop_ns = clock_mono_ns() + left_ms * LINK_MS;
	dial_stop(link->dial);
	rpcap_stop(link->rpcap);
	listener_check(link->listener);
	session_hold_all(link, false);
	if (link->tap[0].session == NULL && !backlog_empty(&link->tap[0].backlog))
		stop_log_left(link, "no collector is connected");
	link_timer_set(link->stop_timer, (left_ms > end_ms ? left_ms - end_ms : 0) * LINK_MS);
	link_stop_check(link);
}

/* --- the capture role --- */

static void
on_capture_message(struct ipc *ipc, struct ipc_message *message, void *arg)
{
	struct link *link = arg;
	static struct msg_stat stat[MSG_STATS_MAX];
	struct msg_stats last = { .stat = stat };
	struct ipc_interface_gone gone;
	struct ipc_tap_result result;
	struct ipc_linktype linktype;
	uint8_t tap;

	(void)ipc;
	if (message->type == IPC_TAP_RESULT && ipc_get_tap_result(message, &result) == 0)
		tap_result(link, &result);
	else if (message->type == IPC_LAST_STATS && ipc_get_last_stats(message, &tap, &last) == 0)
		tap_last_stats(&link->tap[tap], &last);
	else if (message->type == IPC_INTERFACE_GONE && ipc_get_interface_gone(message, &gone) == 0)
		interfaces_gone(link, &gone);
	else if (message->type == IPC_LINKTYPE && ipc_get_linktype(message, &linktype) == 0)
		rpcap_linktype(link->rpcap, &linktype);
	else if (message->type == IPC_COUNTED && ipc_get_count(message, &tap) == 0)
		rpcap_counted(link->rpcap, tap);
	else
		log_warn("a message of the capture role makes no sense (type %d)", (int)message->type);
	listener_check(link->listener);
}

static void
on_capture_closed(struct ipc *ipc, void *arg)
{
	struct link *link = arg;

	ipc_free(ipc);
	link->capture = NULL;
	for (size_t i = 0; i < IPC_TAPS_MAX; i++)
		keep_last(&link->tap[i]);
	tap_capture_is_new(link);
	listener_check(link->listener);
	link_stop_check(link);
}

static void
capture_set(struct link *link, int fd)
{
	static const struct ipc_callbacks callbacks = { on_capture_message, on_capture_closed };

	ipc_free(link->capture);
	if ((link->capture = ipc_new(link->base, fd, &callbacks, link)) == NULL) {
		log_error("cannot talk to the capture role: out of memory");
		close(fd);
	}
}

/* --- the supervisor --- */

static void
reload(struct link *link, int fd)
{
	struct conf_error error;

	if (agent_options_read(&link->options, fd, &error) == -1) {
		log_error("the new configuration cannot be read: %s", error.text);
		return;
	}
	log_set_level((enum log_level)link->options.log_level);
	interfaces_changed(link);
	session_limit_all(link);
	breaker_set_flush(link->breaker, link->options.flush_ms * LINK_MS);
	breaker_set_flush(link->rpcap_breaker, link->options.flush_ms * LINK_MS);
	enroll_options(link);
	if (link->rpcap == NULL)
		link->rpcap = rpcap_new(link);
	rpcap_options(link->rpcap);
	credentials_request(link);
	dial_start(link->dial);
}

static void
dump(struct link *link)
{
	const struct session *s;
	struct link_tap *tap;

	TAILQ_FOREACH(s, &link->sessions, entry)
		if (s->tap != NULL)
			log_info("session with %s, tap %u", s->name, s->tap->number);
	for (tap = link->tap; tap < link->tap + IPC_TAPS_MAX; tap++) {
		if (!tap->told.active)
			continue;
		if (tap->backlog.disk != NULL)
			log_info("on disk: %llu of %llu bytes", (unsigned long long)disk_used(link->disk),
			    (unsigned long long)disk_size(link->disk));
		log_info("tap %u: %zu of %zu bytes in the spool%s", tap->number, spool_used(tap->spool), spool_size(tap->spool),
		    tap->has_policy ? ", with a policy" : "");
		if (stats_refresh(&tap->stats, tap->spool))
			stats_log(&tap->stats, tap->spool);
	}
	rpcap_log(link->rpcap);
}

static void
stored(struct link *link, const struct ipc_message *message)
{
	enum ipc_store what;
	int error;

	if (ipc_get_stored(message, &what, &error) == 0)
		enroll_stored(link, what, error);
	else
		log_warn("what the supervisor says of a file makes no sense");
}

static void
on_supervisor_message(struct ipc *ipc, struct ipc_message *message, void *arg)
{
	struct link *link = arg;
	uint32_t left_ms;

	(void)ipc;
	switch (message->type) {
	case IPC_CONFIG:
		reload(link, message->fd[0]);
		break;
	case IPC_PEER:
		capture_set(link, message->fd[0]);
		message->fd[0] = -1;
		tap_capture_is_new(link);
		break;
	case IPC_SHUTDOWN:
		stop(link, ipc_get_shutdown(message, &left_ms) == 0 ? left_ms : 0);
		break;
	case IPC_DUMP:
		dump(link);
		break;
	case IPC_SOCKET:
		link_socket_came(link, message);
		break;
	case IPC_ENROLMENT:
		enroll_told(link, message);
		break;
	case IPC_STORED:
		stored(link, message);
		break;
	case IPC_CREDENTIALS:
		credentials_receive(link, message);
		break;
	case IPC_RPCAP_FILES:
		rpcap_files(link->rpcap, message);
		break;
	default:
		log_warn("a message of the supervisor makes no sense (type %d)", (int)message->type);
	}
}

static void
on_supervisor_closed(struct ipc *ipc, void *arg)
{
	struct link *link = arg;

	(void)ipc;
	log_error("the supervisor is gone");
	link->status = EXIT_FAILURE;
	stop_now(link);
}

/* --- the spools --- */

/* With a disk each block wakes, also while nobody reads: it may be the one that is too much for memory. */
static void
tap_spill(struct link_tap *tap)
{
	if (tap->backlog.disk == NULL)
		return;
	event_add(tap->wake, NULL);
	if (backlog_spill(&tap->backlog, clock_mono_ns()))
		link_timer_set(tap->spill, 0);
}

static void
on_wake(evutil_socket_t fd, short what, void *arg)
{
	struct link_tap *tap = arg;
	uint64_t count;

	(void)what;
	if (read(fd, &count, sizeof(count)) == -1 && errno != EAGAIN)
		log_error("cannot read a spool's eventfd: %s", strerror(errno));
	if (tap->session != NULL)
		session_run(tap->session);
	if (tap->rpcap != NULL)
		rpcap_wake(tap);
	if (tap->number == 0)	/* the governor goes by it, also while there is no session */
		spool_count_set(tap->spool, COUNTER_CPU_LINK_US, STATS_AGENT, clock_cpu_us());
	tap_spill(tap);
}

static void
on_spill(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	tap_spill(arg);
}

static void
disk_start(struct link *link)
{
	struct link_tap *tap = &link->tap[0];
	int fd[DISK_SEGMENTS];

	if (link->options.spool_disk > 0) {
		for (int i = 0; i < DISK_SEGMENTS; i++)
			fd[i] = ROLE_FD_DISK + i;
		/* Best effort, the last of it: others' reads and writes go first. Where the system cannot, it goes without. */
		(void)syscall(SYS_ioprio_set, IOPRIO_WHO_PROCESS, 0, IOPRIO_PRIO_VALUE(IOPRIO_CLASS_BE, IOPRIO_LOWEST));
		if ((link->disk = disk_new(fd, link->options.spool_disk, link->options.spool_min_free, tap->spool)) == NULL)
			fatal("the disk spool cannot be used: %s", strerror(errno));
		if (!disk_empty(link->disk))
			log_info("%llu bytes on the disk wait to be sent", (unsigned long long)disk_used(link->disk));
		event_add(tap->wake, NULL);
	}
	tap->spill = link_timer_new(link, on_spill, tap);
}

static void
taps_init(struct link *link)
{
	struct link_tap *tap;
	struct spool_stream streams[MSG_STREAMS_MAX];
	uint8_t i;

	for (i = 0; i < IPC_TAPS_MAX; i++) {
		tap = &link->tap[i];
		tap->number = i;
		tap->reset_due = i > 0;
		if ((tap->spool = spool_attach(ROLE_FD_SPOOL + i, SPOOL_CONSUMER)) == NULL)
			fatal("spool %u cannot be used: %s", i, strerror(errno));
		if ((tap->wake = event_new(link->base, ROLE_FD_WAKE + i, EV_READ, on_wake, tap)) == NULL)
			fatal("out of memory");
	}
	disk_start(link);
	for (i = 0; i < IPC_TAPS_MAX; i++)
		backlog_init(&link->tap[i].backlog, link->tap[i].spool, i == 0 ? link->disk : NULL);
	policy_kept_open(&link->tap[0]);
	/* Without anybody to call, the collector's tap begins with the first collector that calls. */
	link->tap[0].wanted = link->options.collectors.count > 0 || backlog_streams(&link->tap[0].backlog, streams) > 0;
}

/* --- who and where we are --- */

static void
instance_init(struct link *link)
{
	const char *text = getenv(AGENT_INSTANCE_ENV);
	size_t i;

	if (text != NULL && strlen(text) == 2 * MSG_ID_SIZE && strspn(text, "0123456789abcdef") == 2 * MSG_ID_SIZE) {
		for (i = 0; i < MSG_ID_SIZE; i++)
			sscanf(text + 2 * i, "%2hhx", &link->instance[i]);
		return;
	}
	if (getrandom(link->instance, sizeof(link->instance), 0) != (ssize_t)sizeof(link->instance))
		fatal("no random numbers: %s", strerror(errno));
}

/* The first line of a file, or of its line that begins with key, without quotes; "" if there is none. */
static void
file_line(const char *path, const char *key, char *out, size_t size)
{
	char line[256], *value;
	FILE *file = fopen(path, "re");

	out[0] = '\0';
	while (file != NULL && out[0] == '\0' && fgets(line, sizeof(line), file) != NULL) {
		if (strncmp(line, key, strlen(key)) != 0)
			continue;
		value = line + strlen(key) + (line[strlen(key)] == '"');
		value[strcspn(value, "\"\n")] = '\0';
		snprintf(out, size, "%s", value);
	}
	if (file != NULL)
		fclose(file);
}

static void
guest_init(struct link *link)
{
	char name[64], product[64];
	struct utsname uts;

	if (uname(&uts) == -1)
		memset(&uts, 0, sizeof(uts));
	file_line("/etc/os-release", "PRETTY_NAME=", name, sizeof(name));
	file_line("/sys/class/dmi/id/product_name", "", product, sizeof(product));
	snprintf(link->os, sizeof(link->os), "%s%s%.16s %.32s", name, name[0] != '\0' ? ", " : "", uts.sysname, uts.release);
	snprintf(link->hardware, sizeof(link->hardware), "%.32s%s%s", uts.machine, product[0] != '\0' ? ", " : "", product);
}

/* --- life --- */

static void
link_start(struct link *link)
{
	static const struct ipc_callbacks callbacks = { on_supervisor_message, on_supervisor_closed };

	if ((link->base = event_base_new()) == NULL)
		fatal("no event loop: %s", strerror(errno));
	TAILQ_INIT(&link->sessions);
	if ((link->supervisor = ipc_new(link->base, ROLE_FD_SUPERVISOR, &callbacks, link)) == NULL)
		fatal("cannot talk to the supervisor: %s", strerror(errno));
	capture_set(link, ROLE_FD_PEER);
	link->stop_timer = link_timer_new(link, on_stop_timer, link);
	link->pulse = link_timer_new(link, pulse_beat, link);
	pulse_init(link);
	instance_init(link);
	guest_init(link);
	taps_init(link);
	hints_init(link);
	link->dial = dial_new(link);
	link->enroll = enroll_new(link);
	link->renewal = renew_new(link);
	link->listener = listener_new(link);
	link->rpcap = rpcap_new(link);
	link->metrics = link_metrics_new(link);
	if ((link->watch = netif_watch_new(link->base, interfaces_changed, link)) == NULL)
		fatal("cannot watch the network interfaces: %s", strerror(errno));
	interfaces_changed(link);
	credentials_init(link);
	dial_start(link->dial);
	rpcap_options(link->rpcap);
}

static void
link_clear(struct link *link)
{
	struct session *s;
	size_t i;

	while ((s = TAILQ_FIRST(&link->sessions)) != NULL)
		session_free(s);
	rpcap_free(link->rpcap);
	link->rpcap = NULL;
	dial_free(link->dial);
	enroll_free(link->enroll);
	link->enroll = NULL;
	renew_free(link->renewal);
	link->renewal = NULL;
	listener_free(link->listener);
	link_metrics_free(link->metrics);
	netif_watch_free(link->watch);
	netif_clear(&link->netifs);
	ipc_free(link->capture);
	ipc_free(link->supervisor);
	event_free(link->stop_timer);
	event_free(link->pulse);
	event_free(link->renew);
	for (i = 0; i < IPC_TAPS_MAX; i++) {
		free(link->tap[i].asked);
		free(link->tap[i].waiting);
		event_free(link->tap[i].wake);
		backlog_clear(&link->tap[i].backlog);
		spool_detach(link->tap[i].spool);
	}
	event_free(link->tap[0].spill);
	policy_kept_close(&link->tap[0]);
	hints_clear(link);
	disk_free(link->disk);
	event_base_loop(link->base, EVLOOP_NONBLOCK);	/* only the resolver is left, which is freed from there */
	breaker_free(link->breaker);
	breaker_free(link->rpcap_breaker);
	tls_context_free(link->tls);
	event_base_free(link->base);
	agent_options_free(&link->options);
}

int
link_main(void)
{
	struct link *link = calloc(1, sizeof(*link));
	int status;

	if (link == NULL)
		fatal("out of memory");
	role_begin(ROLE_LINK, &link->options);
	signal(SIGPIPE, SIG_IGN);
	link_start(link);
	role_sandbox();
	if (ipc_send(link->supervisor, IPC_READY, NULL, 0, NULL, 0) == -1)
		fatal("cannot talk to the supervisor: %s", strerror(errno));
	event_base_dispatch(link->base);
	status = link->status;
	link_clear(link);
	free(link);
	return status;
}
