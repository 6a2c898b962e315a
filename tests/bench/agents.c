/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors
 *
 * agents: plays many agents against one collector and prints how it fared: time until all are live, latency from a block's
 * due time to its ACK, bytes, refusals, errors, and how each session ended.
 * usage: agents -c HOST:PORT -d PKI_FOLDER [-T TENANT] [-n AGENTS] [-r BLOCKS_PER_SECOND of each] [-b PACKETS_PER_BLOCK] [-t SECONDS]
 *	[-a AT_ONCE: so many agents dial at a time, not all]
 *	[-g FACTOR: the first sends that many times its share, and is reported apart] [-R RECONNECTS of all at once]
 *	[-s SILENT_CONNECTIONS: half say nothing at all, half nothing after the TLS handshake] [-w SECONDS to wait for all to be live]
 *	[-k: after -t seconds of traffic (0: without an end) stay until the collector ends the sessions]
 *	[-z CODEC[:LEVEL] -p FILE|random: blocks of IMIX packets of that payload, of 256 KiB before they are encoded, instead of -b;
 *	each agent sends as fast as is acknowledged, at most -W blocks ahead; or at -m BYTES_PER_SECOND of all agents, encoded: a block
 *	when it is full or after 250 ms]
 *	[-P PID -o FILE: appends to FILE what that process used from -u seconds after the begin of the traffic to its end: agents,
 *	nanoseconds, nanoseconds of CPU, blocks acknowledged, their bytes encoded and raw, KiB resident, anonymous and at most resident,
 *	microseconds from due to acknowledged in the median and of 99 in 100]
 * Agents make their certificates with the CA's key in PKI_FOLDER. Status 1: an agent that was not refused was not live in time.
 */
#include "config.h"

#include <sys/random.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <errno.h>
#include <inttypes.h>
#include <netdb.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <event2/event.h>

#include "common/buf.h"
#include "common/clock.h"
#include "common/conf.h"
#include "common/tls.h"
#include "proto/codec.h"
#include "proto/frame.h"
#include "proto/msg.h"
#include "proto/pcapng.h"

#include "agents_block.h"
#include "agents_pki.h"
#include "agents_watch.h"

#define NS		1000000000u
#define PACKET_SIZE	400
#define WINDOW_MAX	256u
#define FLUSH_NS	250000000u	/* an agent's block that is not full is sent then */
#define RAW_FULL	(256u * 1024)	/* ... or is as large as that */
#define INPUT_MAX	(64u * 1024)
#define REDIAL_MS	500u
#define STATS_NS	UINT64_C(10000000000)
#define HELD_BLOCKS	8		/* a catch-up sends at most so many in one go */

struct latencies {
	uint32_t	*us;
	size_t		 count, size;
};

enum agent_state { AGENT_OFF, AGENT_DIALLED, AGENT_LIVE, AGENT_REFUSED };

struct agent {
	struct load	*load;
	struct tls_context *tls;
	struct tlsio	*io;
	struct event	*due, *redial;
	enum agent_state state;
	uint8_t		 instance[MSG_ID_SIZE], stream[MSG_ID_SIZE];
	uint64_t	 sent, acked;		/* block numbers */
	uint64_t	 due_ns, interval_ns, stats_ns;
	uint64_t	 due_of[WINDOW_MAX];	/* by number */
	size_t		 turn;			/* its first block's place among all blocks */
	struct buf	 out;			/* what the socket has not taken */
	struct latencies *latencies;
	bool		 leaving, said_bye;
};

struct silent {
	struct load	*load;
	int		 fd;
	struct tlsio	*io;
	struct event	*readable;
};

struct load {
	struct event_base *base;
	struct addrinfo	*address;
	const char	*pki, *results, *tenant;
	unsigned	 agents, packets, silents, storms, wait_s, seconds, greed, at_once, dialled;
	unsigned	 window;		/* blocks not acknowledged; beyond, an agent waits as one with a full spool does */
	double		 rate, total_rate;	/* blocks a second of each; bytes a second of all */
	const struct codec *codec;		/* NULL: random packets */
	int		 level;
	const char	*payload;
	bool		 keep, fast;
	struct agent	*agent;
	struct silent	*silent;
	struct agents_blocks pool;
	unsigned	 live, refused, open, storm;
	bool		 in_time, working, ending;
	uint64_t	 begun_ns, redials, errors, held, bytes, blocks, acks, byes, cut;
	unsigned	 dropped;
	uint64_t	 first_drop_ns, last_drop_ns;
	struct latencies quiet, greedy;
	struct event	*timer, *warm_up;
	long		 pid;
	unsigned	 warm_up_s;
	struct agents_watch watch;		/* at the begin of what is measured */
	uint64_t	 stored, stored_encoded, stored_raw;	/* since then */
	char		 refusal[MSG_TEXT_SIZE], error[TLS_ERROR_SIZE];
};

static void	agent_dial(struct agent *);
static void	load_dial_next(struct load *);
static void	load_next(struct load *);

static void
die(const char *what, const char *why)
{
	fprintf(stderr, "agents: %s: %s\n", what, why);
	exit(1);
}

static double
seconds_since(uint64_t ns)
{
	return (double)(clock_mono_ns() - ns) / NS;
}

static void
timer_set(struct event *timer, uint64_t ns)
{
	const struct timeval tv = { .tv_sec = (time_t)(ns / NS), .tv_usec = (suseconds_t)(ns % NS / 1000) };

	event_add(timer, &tv);
}

/* --- latencies --- */

static void
latency_add(struct latencies *l, uint64_t ns)
{
	if (l->count == l->size) {
		l->size = l->size * 2 + 1024;
		if ((l->us = realloc(l->us, l->size * sizeof(*l->us))) == NULL)
			die("latencies", strerror(ENOMEM));
	}
	l->us[l->count++] = (uint32_t)(ns / 1000);
}

static int
compare_us(const void *a, const void *b)
{
	const uint32_t *left = a, *right = b;

	return *left < *right ? -1 : *left > *right;
}

static void
latency_sort(struct latencies *l)
{
	if (l->count > 0)
		qsort(l->us, l->count, sizeof(*l->us), compare_us);
}

/* Of sorted ones. */
static uint32_t
latency_part(const struct latencies *l, unsigned percent)
{
	return l->count > 0 ? l->us[l->count * percent / 100] : 0;
}

static void
latency_print(const char *who, struct latencies *l)
{
	if (l->count == 0)
		return;
	latency_sort(l);
	printf("%s: %zu blocks acknowledged, latency p50 %.1f ms, p99 %.1f ms, max %.1f ms\n", who, l->count, latency_part(l, 50) / 1e3,
	    latency_part(l, 99) / 1e3, l->us[l->count - 1] / 1e3);
}

/* --- an agent's messages --- */

/* In order, however much the socket takes at a time. */
static void
agent_push(struct agent *a)
{
	size_t taken;

	if (a->out.len == 0)
		return;
	taken = tlsio_send(a->io, a->out.data, a->out.len);
	a->load->bytes += taken;
	buf_consume(&a->out, taken);
}

static void
agent_hello(struct agent *a)
{
	struct msg_hello hello = { .version_min = FRAME_VERSION, .version_max = FRAME_VERSION, .software = "agents", .stream_count = 1 };

	hello.codecs = codec_mask();
	hello.wall_ns = hello.stream[0].started_ns = clock_wall_ns();
	hello.stream[0].first = 1;
	memcpy(hello.instance, a->instance, MSG_ID_SIZE);
	memcpy(hello.stream[0].id, a->stream, MSG_ID_SIZE);
	if (msg_put_hello(&a->out, &hello) == -1)
		die("HELLO", strerror(errno));
	agent_push(a);
}

static void
agent_interface(struct agent *a)
{
	struct pcapng_interface interface = { .linktype = 1, .name = "load0", .tsresol = 9 };
	struct msg_interface msg = { 0 };
	struct buf idb;

	buf_init(&idb, MSG_IDB_MAX);
	if (pcapng_put_idb(&idb, &interface) == -1)
		die("interface description", strerror(errno));
	memcpy(msg.stream, a->stream, MSG_ID_SIZE);
	msg.idb = idb.data;
	msg.idb_len = idb.len;
	if (msg_put_interface(&a->out, &msg) == -1)
		die("INTERFACE", strerror(errno));
	buf_clear(&idb);
	agent_push(a);
}

static void
agent_stats(struct agent *a)
{
	struct msg_stat stat = { .counter = 1, .interface = 0, .value = a->sent * a->load->packets };
	struct msg_stats stats = { .wall_ns = clock_wall_ns(), .count = 1, .stat = &stat };

	memcpy(stats.stream, a->stream, MSG_ID_SIZE);
	msg_put_stats(&a->out, &stats);
	agent_push(a);
	a->stats_ns = clock_mono_ns();
}

static const struct msg_block *
agent_block_of(const struct agent *a, uint64_t number)
{
	const struct agents_blocks *blocks = &a->load->pool;

	return &blocks->block[(a->turn + number) % blocks->count];
}

static void
agent_block(struct agent *a)
{
	struct load *load = a->load;
	struct msg_block block = *agent_block_of(a, ++a->sent);

	memcpy(block.stream, a->stream, MSG_ID_SIZE);
	block.number = a->sent;
	a->due_of[a->sent % WINDOW_MAX] = a->due_ns;
	if (msg_put_block_header(&a->out, &block) == -1 || buf_put(&a->out, block.data, block.data_len) == -1)
		die("BLOCK", strerror(errno));
	load->blocks++;
	agent_push(a);
}

static bool
agent_has_work(const struct agent *a)
{
	return a->interval_ns > 0 || a->load->fast;
}

/* What is due, unless the collector is behind: a real agent's blocks wait in its spool then, and so do these, growing older. */
static void
agent_work(evutil_socket_t fd, short what, void *arg)
{
	struct agent *a = arg;
	uint64_t now = clock_mono_ns();

	(void)fd;
	(void)what;
	if (a->state != AGENT_LIVE || !a->load->working || !agent_has_work(a))
		return;
	if (now >= a->stats_ns + STATS_NS)
		agent_stats(a);
	for (int i = 0; a->due_ns <= now && i < HELD_BLOCKS; i++) {
		if (a->load->fast)
			a->due_ns = now;
		if (a->sent - a->acked >= a->load->window || a->out.len > 0) {
			a->load->held++;
			return;		/* an ACK or writable() goes on */
		}
		agent_block(a);
		a->due_ns += a->interval_ns;
	}
	now = clock_mono_ns();
	timer_set(a->due, a->due_ns > now ? a->due_ns - now : 0);
}

static void
agent_begin_work(struct agent *a)
{
	uint64_t at = 0;

	if (!agent_has_work(a))
		return;
	getrandom(&at, sizeof(at), 0);
	at = a->load->fast ? 0 : at % a->interval_ns;
	a->due_ns = clock_mono_ns() + at;
	timer_set(a->due, at);
}

static void
agent_welcome(struct agent *a)
{
	a->state = AGENT_LIVE;
	a->load->live++;
	agent_interface(a);
	if (a->load->working)
		agent_begin_work(a);
	load_dial_next(a->load);
	load_next(a->load);
}

static void
agent_ack(struct agent *a, const struct frame *frame)
{
	uint64_t now = clock_mono_ns();
	struct msg_mark mark;

	if (msg_get_ack(frame, &mark) == -1 || memcmp(mark.stream, a->stream, MSG_ID_SIZE) != 0 || mark.number > a->sent)
		return;
	a->load->acks++;
	while (a->acked < mark.number) {
		latency_add(a->latencies, now - a->due_of[++a->acked % WINDOW_MAX]);
		a->load->stored++;
		a->load->stored_encoded += agent_block_of(a, a->acked)->data_len;
		a->load->stored_raw += agent_block_of(a, a->acked)->raw_len;
	}
	agent_work(-1, 0, a);
}

static void
agent_refused(struct agent *a, const struct frame *frame)
{
	struct msg_end end;

	if (msg_get_error(frame, &end) == -1)
		return;
	if (a->load->refusal[0] == '\0')
		snprintf(a->load->refusal, sizeof(a->load->refusal), "ERROR %u: %.900s", end.code, end.text);
	if (a->state == AGENT_LIVE)
		a->load->live--;
	a->state = AGENT_REFUSED;
	a->load->refused++;
	load_dial_next(a->load);
}

static void
agent_frame(struct agent *a, const struct frame *frame)
{
	struct msg_ping ping;

	switch (frame->type) {
	case FRAME_WELCOME:
		agent_welcome(a);
		break;
	case FRAME_ACK:
		agent_ack(a, frame);
		break;
	case FRAME_PING:
		if (msg_get_ping(frame, &ping) == 0)
			msg_put_pong(&a->out, &ping);
		agent_push(a);
		break;
	case FRAME_BYE:
		a->said_bye = true;
		break;
	case FRAME_ERROR:
		agent_refused(a, frame);
		break;
	default:
		break;
	}
}

/* --- an agent's connection --- */

static void
agent_opened(struct tlsio *io, void *arg)
{
	(void)io;
	agent_hello(arg);
}

static void
agent_readable(struct tlsio *io, void *arg)
{
	struct buf *input = tlsio_input(io);
	struct agent *a = arg;
	struct frame frame;

	while (frame_parse(input->data, input->len, &frame) == FRAME_OK) {
		agent_frame(a, &frame);
		if (a->io != io)
			return;
		buf_consume(input, FRAME_HEADER_SIZE + frame.length);
	}
	tlsio_input_taken(io);
}

static void
agent_writable(struct tlsio *io, void *arg)
{
	struct agent *a = arg;

	(void)io;
	agent_push(a);
	if (a->out.len == 0)
		agent_work(-1, 0, a);
}

static void
agent_hang_up(struct agent *a)
{
	tlsio_free(a->io);
	a->io = NULL;
	a->load->open--;
	buf_consume(&a->out, a->out.len);
	event_del(a->due);
	if (a->state == AGENT_LIVE)
		a->load->live--;
	if (a->state != AGENT_REFUSED)
		a->state = AGENT_OFF;
}

static void
agent_closed(struct tlsio *io, const char *why, void *arg)
{
	struct agent *a = arg;
	struct load *load = a->load;

	(void)io;
	load->byes += a->said_bye;
	load->cut += !a->said_bye && !a->leaving && a->state == AGENT_LIVE;
	if (a->state == AGENT_DIALLED && !a->said_bye) {
		load->errors++;
		snprintf(load->error, sizeof(load->error), "%s", why);
	}
	agent_hang_up(a);
	if (!load->in_time && !load->ending && a->state == AGENT_OFF)
		timer_set(a->redial, REDIAL_MS * (NS / 1000) + (uint64_t)(random() % 1000) * 1000000);
	load_next(load);
}

static int
load_connect(const struct load *load)
{
	int fd = socket(load->address->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	if (fd == -1 || (connect(fd, load->address->ai_addr, load->address->ai_addrlen) == -1 && errno != EINPROGRESS))
		die("connect", strerror(errno));
	return fd;
}

static void
agent_dial(struct agent *a)
{
	static const struct tlsio_callbacks callbacks = { .opened = agent_opened, .readable = agent_readable,
	    .writable = agent_writable, .closed = agent_closed };
	const struct tlsio_options options = { .side = TLSIO_CLIENT, .handshake_ms = 30000, .input_max = INPUT_MAX,
	    .read_budget = INPUT_MAX };

	getrandom(a->stream, sizeof(a->stream), 0);
	a->sent = a->acked = 0;
	a->said_bye = a->leaving = false;
	a->state = AGENT_DIALLED;
	if ((a->io = tlsio_new(a->load->base, a->tls, load_connect(a->load), &options, &callbacks, a)) == NULL)
		die("connection", strerror(errno));
	a->load->open++;
}

static void
agent_redial(evutil_socket_t fd, short what, void *arg)
{
	struct agent *a = arg;

	(void)fd;
	(void)what;
	if (a->load->in_time || a->load->ending)
		return;
	a->load->redials++;
	agent_dial(a);
}

/* --- connections that say nothing --- */

static void
silent_dropped(struct silent *s)
{
	struct load *load = s->load;

	if (load->dropped++ == 0)
		load->first_drop_ns = clock_mono_ns();
	load->last_drop_ns = clock_mono_ns();
	load_next(load);
}

static void
silent_closed(struct tlsio *io, const char *why, void *arg)
{
	struct silent *s = arg;

	(void)why;
	s->io = NULL;
	tlsio_free(io);
	silent_dropped(s);
}

static void
silent_readable(evutil_socket_t fd, short what, void *arg)
{
	struct silent *s = arg;
	char bytes[64];
	ssize_t n = recv(fd, bytes, sizeof(bytes), 0);

	(void)what;
	if (n > 0 || (n == -1 && errno == EAGAIN))
		return;
	event_free(s->readable);
	s->readable = NULL;
	close(fd);
	silent_dropped(s);
}

static void
silent_dial(struct load *load, unsigned i)
{
	static const struct tlsio_callbacks callbacks = { .closed = silent_closed };
	const struct tlsio_options options = { .side = TLSIO_CLIENT, .handshake_ms = 30000, .input_max = INPUT_MAX,
	    .read_budget = INPUT_MAX };
	struct silent *s = &load->silent[i];

	s->load = load;
	s->fd = load_connect(load);
	if (i % 2 == 0) {
		s->readable = event_new(load->base, s->fd, EV_READ | EV_PERSIST, silent_readable, s);
		event_add(s->readable, NULL);
	} else if ((s->io = tlsio_new(load->base, load->agent[i % load->agents].tls, s->fd, &options, &callbacks, s)) == NULL)
		die("connection", strerror(errno));
}

/* --- the whole --- */

static void
load_dial_next(struct load *load)
{
	if (load->dialled < load->agents && !load->ending)
		agent_dial(&load->agent[load->dialled++]);
}

static void
load_end(struct load *load)
{
	static const struct msg_end bye = { .code = 0, .text = "done" };

	load->ending = true;
	for (unsigned i = 0; i < load->agents; i++) {
		struct agent *a = &load->agent[i];

		event_del(a->redial);
		if (a->io == NULL)
			continue;
		a->leaving = true;
		if (a->state == AGENT_LIVE && a->out.len == 0 && msg_put_bye(&a->out, &bye) == 0)
			agent_push(a);
		tlsio_shutdown(a->io, "done", 2000);
	}
}

/* All at once, without a word, and back. */
static void
load_storm(struct load *load)
{
	load->storm++;
	load->begun_ns = clock_mono_ns();
	load->in_time = false;
	for (unsigned i = 0; i < load->agents; i++)
		if (load->agent[i].io != NULL && load->agent[i].state != AGENT_REFUSED) {
			agent_hang_up(&load->agent[i]);
			agent_dial(&load->agent[i]);
		}
}

/* From here on it is measured. */
static void
load_measure(struct load *load)
{
	load->stored = load->stored_encoded = load->stored_raw = 0;
	load->quiet.count = load->greedy.count = 0;
	agents_watch(load->pid, &load->watch);
}

static void
load_work(struct load *load)
{
	load->working = true;
	load->begun_ns = clock_mono_ns();
	for (unsigned i = 0; i < load->agents; i++)
		if (load->agent[i].state == AGENT_LIVE)
			agent_begin_work(&load->agent[i]);
	if (load->warm_up_s > 0)
		timer_set(load->warm_up, (uint64_t)load->warm_up_s * NS);
	else
		load_measure(load);
	if (!load->keep || load->seconds > 0)
		timer_set(load->timer, (uint64_t)load->seconds * NS);
}

static void
load_put_results(struct load *load)
{
	struct latencies *l = &load->quiet;
	struct agents_watch end;
	FILE *file;

	agents_watch(load->pid, &end);
	if ((file = fopen(load->results, "ae")) == NULL)
		die(load->results, strerror(errno));
	latency_sort(l);
	fprintf(file, "%u %" PRIu64 " %" PRIu64 " %" PRIu64 " %" PRIu64 " %" PRIu64 " %" PRIu64 " %" PRIu64 " %" PRIu64 " %u %u\n",
	    load->live, end.at_ns - load->watch.at_ns, end.cpu_ns - load->watch.cpu_ns, load->stored, load->stored_encoded,
	    load->stored_raw, end.rss_kib, end.anon_kib, end.peak_kib, latency_part(l, 50), latency_part(l, 99));
	if (fclose(file) != 0)
		die(load->results, strerror(errno));
}

/* The traffic is over; the sessions may stay. */
static void
load_rest(struct load *load)
{
	load->working = false;
	if (load->results != NULL)
		load_put_results(load);
	if (!load->keep) {
		load_end(load);
		return;
	}
	printf("idle\n");
	fflush(stdout);
}

static void
load_all_live(struct load *load)
{
	load->in_time = true;
	if (load->storm == 0 || load->storm == load->storms || load->agents > 10)
		printf("%s %u: %u of %u live in %.3f s, %u refused, %" PRIu64 " redials, %" PRIu64 " errors\n", load->storm == 0 ? "start" :
		    "storm", load->storm, load->live, load->agents, seconds_since(load->begun_ns), load->refused, load->redials, load->errors);
	fflush(stdout);
}

/* Looked at whenever an agent's state changed. */
static void
load_next(struct load *load)
{
	if (!load->in_time && !load->ending && load->live + load->refused == load->agents) {
		load_all_live(load);
		if (load->storm < load->storms)
			timer_set(load->timer, 0);
		else
			load_work(load);
	}
	if (load->open == 0 && (load->ending || load->in_time) && (load->dropped == load->silents || load->ending))
		event_base_loopbreak(load->base);
}

static void
load_timer(evutil_socket_t fd, short what, void *arg)
{
	struct load *load = arg;

	(void)fd;
	(void)what;
	if (load->in_time && load->storm < load->storms)
		load_storm(load);
	else if (load->in_time)
		load_rest(load);
	if (load->open == 0)
		load_next(load);
}

static void
load_warm(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	load_measure(arg);
}

static void
load_too_late(evutil_socket_t fd, short what, void *arg)
{
	struct load *load = arg;

	(void)fd;
	(void)what;
	if (load->in_time)
		return;
	printf("only %u of %u live after %u s, %u refused\n", load->live, load->agents, load->wait_s, load->refused);
	load_end(load);
	load_next(load);
}

/* How long an agent takes to have as many bytes to send as the blocks have on average. */
static double
load_block_seconds(const struct load *load)
{
	return (double)load->pool.encoded / (double)load->pool.count * load->agents / load->total_rate;
}

/* Of a full block or, if that takes an agent too long, of the part of one that it fills in time. */
static void
load_make_imix(struct load *load)
{
	double flush_s = (double)FLUSH_NS / NS, full_s;

	agents_blocks_imix(&load->pool, load->codec, load->level, load->payload, RAW_FULL);
	load->rate = 0;
	if (load->fast)
		return;
	if ((full_s = load_block_seconds(load)) > flush_s) {
		agents_blocks_clear(&load->pool);
		agents_blocks_imix(&load->pool, load->codec, load->level, load->payload, (size_t)(RAW_FULL * flush_s / full_s));
	}
	load->rate = 1 / load_block_seconds(load);
}

static void
load_make_blocks(struct load *load)
{
	if (load->codec != NULL)
		load_make_imix(load);
	else
		agents_blocks_random(&load->pool, load->packets, PACKET_SIZE);
}

static void
load_make_agents(struct load *load)
{
	struct tls_context **tls = calloc(load->agents, sizeof(*tls));

	load->agent = calloc(load->agents, sizeof(*load->agent));
	load->silent = calloc(load->silents + 1, sizeof(*load->silent));
	if (tls == NULL || load->agent == NULL || load->silent == NULL)
		die("agents", strerror(ENOMEM));
	agents_pki_make(load->pki, load->tenant, load->agents, tls);
	for (unsigned i = 0; i < load->agents; i++) {
		struct agent *a = &load->agent[i];
		bool greedy = load->greed > 0 && i == 0;

		a->load = load;
		a->tls = tls[i];
		a->turn = i;
		a->due = evtimer_new(load->base, agent_work, a);
		a->redial = evtimer_new(load->base, agent_redial, a);
		a->latencies = greedy ? &load->greedy : &load->quiet;
		if (load->rate > 0)
			a->interval_ns = (uint64_t)(NS / (load->rate * (greedy ? load->greed : 1)));
		getrandom(a->instance, sizeof(a->instance), 0);
		buf_init(&a->out, 2 * MSG_BLOCK_MAX);
	}
	free(tls);
}

static void
load_report(struct load *load)
{
	printf("traffic: %" PRIu64 " blocks, %" PRIu64 " bytes in %.1f s, %" PRIu64 " ACKs, held back %" PRIu64 " times\n", load->blocks,
	    load->bytes, seconds_since(load->begun_ns), load->acks, load->held);
	latency_print("others", &load->quiet);
	latency_print("greedy", &load->greedy);
	if (load->silents > 0)
		printf("silent: %u of %u dropped\n", load->dropped, load->silents);
	printf("ended: %" PRIu64 " by BYE, %" PRIu64 " without a word\n", load->byes, load->cut);
	if (load->refusal[0] != '\0')
		printf("refused: %s\n", load->refusal);
	if (load->error[0] != '\0')
		printf("error: %s\n", load->error);
}

static void
load_clear(struct load *load)
{
	for (unsigned i = 0; i < load->agents; i++) {
		tlsio_free(load->agent[i].io);
		tls_context_free(load->agent[i].tls);
		event_free(load->agent[i].due);
		event_free(load->agent[i].redial);
		buf_clear(&load->agent[i].out);
	}
	for (unsigned i = 0; i < load->silents; i++) {
		tlsio_free(load->silent[i].io);
		if (load->silent[i].readable != NULL) {
			event_free(load->silent[i].readable);
			close(load->silent[i].fd);
		}
	}
	event_free(load->timer);
	event_free(load->warm_up);
	event_base_free(load->base);
	agents_blocks_clear(&load->pool);
	freeaddrinfo(load->address);
	free(load->agent);
	free(load->silent);
	free(load->quiet.us);
	free(load->greedy.us);
}

static void
load_resolve(struct load *load, const char *text)
{
	const struct addrinfo hints = { .ai_socktype = SOCK_STREAM };
	struct conf_error error;
	char host[256], service[8];
	uint16_t port;
	int rc;

	if (conf_host_port(text, FRAME_PORT, host, sizeof(host), &port, &error) == -1)
		die(text, error.text);
	snprintf(service, sizeof(service), "%u", port);
	if ((rc = getaddrinfo(host, service, &hints, &load->address)) != 0)
		die(text, gai_strerror(rc));
}

static void
load_run(struct load *load)
{
	struct rlimit limit;
	struct event *late;

	if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
		limit.rlim_cur = limit.rlim_max;
		setrlimit(RLIMIT_NOFILE, &limit);
	}
	signal(SIGPIPE, SIG_IGN);
	load->base = event_base_new();
	load->timer = evtimer_new(load->base, load_timer, load);
	load->warm_up = evtimer_new(load->base, load_warm, load);
	late = evtimer_new(load->base, load_too_late, load);
	load_make_blocks(load);
	load_make_agents(load);
	load->begun_ns = clock_mono_ns();
	timer_set(late, (uint64_t)load->wait_s * NS);
	for (unsigned i = 0; i < load->silents; i++)
		silent_dial(load, i);
	for (unsigned i = 0; i < load->at_once; i++)
		load_dial_next(load);
	event_base_dispatch(load->base);
	event_free(late);
}

static void
load_codec(struct load *load, const char *text)
{
	char error[128];

	if (codec_parse(text, &load->codec, &load->level, error, sizeof(error)) == -1)
		die("-z", error);
}

/* False: none of these. */
static bool
load_option_number(struct load *load, int c, const char *text)
{
	unsigned *const places[128] = { ['n'] = &load->agents, ['b'] = &load->packets, ['t'] = &load->seconds, ['g'] = &load->greed,
	    ['s'] = &load->silents, ['R'] = &load->storms, ['w'] = &load->wait_s, ['a'] = &load->at_once, ['W'] = &load->window,
	    ['u'] = &load->warm_up_s };

	if (c <= 0 || c >= 128 || places[c] == NULL)
		return false;
	*places[c] = (unsigned)strtoul(text, NULL, 10);
	return true;
}

static const char *
load_options(struct load *load, int argc, char **argv)
{
	const char *collector = NULL;
	int c;

	while ((c = getopt(argc, argv, "c:d:T:n:r:b:t:g:s:R:w:a:z:p:m:W:u:P:o:k")) != -1) {
		switch (c) {
		case 'c': collector = optarg; break;
		case 'd': load->pki = optarg; break;
		case 'T': load->tenant = optarg; break;
		case 'r': load->rate = strtod(optarg, NULL); break;
		case 'z': load_codec(load, optarg); break;
		case 'p': load->payload = optarg; break;
		case 'm': load->total_rate = strtod(optarg, NULL); break;
		case 'P': load->pid = strtol(optarg, NULL, 10); break;
		case 'o': load->results = optarg; break;
		case 'k': load->keep = true; break;
		default:
			if (!load_option_number(load, c, optarg))
				return NULL;
		}
	}
	load->fast = load->codec != NULL && load->total_rate <= 0;
	if (load->at_once == 0 || load->at_once > load->agents)
		load->at_once = load->agents;
	return collector;
}

int
main(int argc, char **argv)
{
	struct load load = { .tenant = "load", .agents = 1, .rate = 1, .packets = 100, .wait_s = 60, .window = WINDOW_MAX, .payload = "random" };
	const char *collector = load_options(&load, argc, argv);
	int status;

	if (collector == NULL || load.pki == NULL || load.agents == 0 || load.packets == 0 || load.window == 0 ||
	    load.window > WINDOW_MAX) {
		fprintf(stderr, "usage: agents -c HOST:PORT -d PKI_FOLDER [-T TENANT] [-n AGENTS] [-r BLOCKS_PER_SECOND] [-b PACKETS] [-t SECONDS]"
		    " [-a AT_ONCE] [-g FACTOR] [-s SILENT] [-R STORMS] [-w SECONDS] [-k] [-z CODEC[:LEVEL]] [-p FILE|random]"
		    " [-m BYTES_PER_SECOND] [-W BLOCKS] [-u SECONDS] [-P PID -o FILE]\n");
		return 2;
	}
	load_resolve(&load, collector);
	load_run(&load);
	load_report(&load);
	status = load.in_time ? 0 : 1;
	load_clear(&load);
	return status;
}
