/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors
 *
 * agents: plays many agents against one collector and prints how it fared: time until all are live, latency from a block's
 * due time to its ACK, bytes, refusals, errors, and how each session ended.
 * usage: agents -c HOST:PORT -d PKI_FOLDER [-n AGENTS] [-r BLOCKS_PER_SECOND of each] [-b PACKETS_PER_BLOCK] [-t SECONDS]
 *	[-g FACTOR: the first sends that many times its share, and is reported apart] [-R RECONNECTS of all at once]
 *	[-s SILENT_CONNECTIONS: half say nothing at all, half nothing after the TLS handshake] [-w SECONDS to wait for all to be live]
 *	[-k: with -t 0 stay until the collector ends the sessions]
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

#include "agents_pki.h"

#define NS		1000000000u
#define PACKET_SIZE	400
#define WINDOW		256u		/* blocks not acknowledged; beyond, the agent waits as one with a full spool does */
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
	uint64_t	 due_of[WINDOW];	/* by number */
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
	const char	*pki;
	unsigned	 agents, packets, silents, storms, wait_s, seconds, greed;
	double		 rate;
	bool		 keep;
	struct agent	*agent;
	struct silent	*silent;
	struct buf	 block, frame;		/* every block's body; the frame being made */
	struct msg_block header;
	unsigned	 live, refused, open, storm;
	bool		 in_time, working, ending;
	uint64_t	 begun_ns, redials, errors, held, bytes, blocks, acks, byes, cut;
	unsigned	 dropped;
	uint64_t	 first_drop_ns, last_drop_ns;
	struct latencies quiet, greedy;
	struct event	*timer;
	char		 refusal[MSG_TEXT_SIZE], error[TLS_ERROR_SIZE];
};

static void	agent_dial(struct agent *);
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
latency_print(const char *who, struct latencies *l)
{
	if (l->count == 0)
		return;
	qsort(l->us, l->count, sizeof(*l->us), compare_us);
	printf("%s: %zu blocks acknowledged, latency p50 %.1f ms, p99 %.1f ms, max %.1f ms\n", who, l->count, l->us[l->count / 2] / 1e3,
	    l->us[l->count * 99 / 100] / 1e3, l->us[l->count - 1] / 1e3);
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

static void
agent_block(struct agent *a)
{
	struct load *load = a->load;
	struct msg_block header = load->header;

	memcpy(header.stream, a->stream, MSG_ID_SIZE);
	header.number = ++a->sent;
	a->due_of[a->sent % WINDOW] = a->due_ns;
	if (msg_put_block_header(&a->out, &header) == -1 || buf_put(&a->out, load->block.data, load->block.len) == -1)
		die("BLOCK", strerror(errno));
	load->blocks++;
	agent_push(a);
}

/* What is due, unless the collector is behind: a real agent's blocks wait in its spool then, and so do these, growing older. */
static void
agent_work(evutil_socket_t fd, short what, void *arg)
{
	struct agent *a = arg;
	uint64_t now = clock_mono_ns();

	(void)fd;
	(void)what;
	if (a->state != AGENT_LIVE || !a->load->working)
		return;
	if (now >= a->stats_ns + STATS_NS)
		agent_stats(a);
	for (int i = 0; a->due_ns <= now && i < HELD_BLOCKS; i++) {
		if (a->sent - a->acked >= WINDOW || a->out.len > 0) {
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

	if (a->interval_ns == 0)
		return;
	getrandom(&at, sizeof(at), 0);
	a->due_ns = clock_mono_ns() + at % a->interval_ns;
	timer_set(a->due, at % a->interval_ns);
}

static void
agent_welcome(struct agent *a)
{
	a->state = AGENT_LIVE;
	a->load->live++;
	agent_interface(a);
	if (a->load->working)
		agent_begin_work(a);
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
	while (a->acked < mark.number)
		latency_add(a->latencies, now - a->due_of[++a->acked % WINDOW]);
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

static void
load_work(struct load *load)
{
	load->working = true;
	load->begun_ns = clock_mono_ns();
	for (unsigned i = 0; i < load->agents; i++)
		if (load->agent[i].state == AGENT_LIVE)
			agent_begin_work(&load->agent[i]);
	if (!load->keep)
		timer_set(load->timer, (uint64_t)load->seconds * NS);
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
		load_end(load);
	if (load->open == 0)
		load_next(load);
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

static void
load_make_block(struct load *load)
{
	uint8_t bytes[PACKET_SIZE];
	struct pcapng_packet packet = { .time_ns = clock_wall_ns(), .captured_len = PACKET_SIZE, .original_len = PACKET_SIZE,
	    .data = bytes };

	getrandom(bytes, sizeof(bytes), 0);
	buf_init(&load->block, MSG_BLOCK_RAW_MAX);
	for (unsigned i = 0; i < load->packets; i++)
		if (pcapng_put_epb(&load->block, &packet) == -1)
			die("-b", "more packets than fit into a block");
	load->header = (struct msg_block){ .codec = CODEC_NONE, .raw_len = (uint32_t)load->block.len, .packets = load->packets,
	    .bytes = (uint64_t)load->packets * PACKET_SIZE, .first_ns = packet.time_ns, .last_ns = packet.time_ns,
	    .data = load->block.data, .data_len = load->block.len };
}

static void
load_make_agents(struct load *load)
{
	struct tls_context **tls = calloc(load->agents, sizeof(*tls));

	load->agent = calloc(load->agents, sizeof(*load->agent));
	load->silent = calloc(load->silents + 1, sizeof(*load->silent));
	if (tls == NULL || load->agent == NULL || load->silent == NULL)
		die("agents", strerror(ENOMEM));
	agents_pki_make(load->pki, load->agents, tls);
	for (unsigned i = 0; i < load->agents; i++) {
		struct agent *a = &load->agent[i];
		bool greedy = load->greed > 0 && i == 0;

		a->load = load;
		a->tls = tls[i];
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
	event_base_free(load->base);
	buf_clear(&load->block);
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
	late = evtimer_new(load->base, load_too_late, load);
	load_make_block(load);
	load_make_agents(load);
	load->begun_ns = clock_mono_ns();
	timer_set(late, (uint64_t)load->wait_s * NS);
	for (unsigned i = 0; i < load->silents; i++)
		silent_dial(load, i);
	for (unsigned i = 0; i < load->agents; i++)
		agent_dial(&load->agent[i]);
	event_base_dispatch(load->base);
	event_free(late);
}

int
main(int argc, char **argv)
{
	struct load load = { .agents = 1, .rate = 1, .packets = 100, .wait_s = 60 };
	const char *collector = NULL;
	int c, status;

	while ((c = getopt(argc, argv, "c:d:n:r:b:t:g:s:R:w:k")) != -1) {
		switch (c) {
		case 'c': collector = optarg; break;
		case 'd': load.pki = optarg; break;
		case 'n': load.agents = (unsigned)strtoul(optarg, NULL, 10); break;
		case 'r': load.rate = strtod(optarg, NULL); break;
		case 'b': load.packets = (unsigned)strtoul(optarg, NULL, 10); break;
		case 't': load.seconds = (unsigned)strtoul(optarg, NULL, 10); break;
		case 'g': load.greed = (unsigned)strtoul(optarg, NULL, 10); break;
		case 's': load.silents = (unsigned)strtoul(optarg, NULL, 10); break;
		case 'R': load.storms = (unsigned)strtoul(optarg, NULL, 10); break;
		case 'w': load.wait_s = (unsigned)strtoul(optarg, NULL, 10); break;
		case 'k': load.keep = true; break;
		default: collector = NULL; optind = argc; break;
		}
	}
	if (collector == NULL || load.pki == NULL || load.agents == 0 || load.packets == 0) {
		fprintf(stderr, "usage: agents -c HOST:PORT -d PKI_FOLDER [-n AGENTS] [-r BLOCKS_PER_SECOND] [-b PACKETS] [-t SECONDS]"
		    " [-g FACTOR] [-s SILENT] [-R STORMS] [-w SECONDS] [-k]\n");
		return 2;
	}
	load_resolve(&load, collector);
	load_run(&load);
	load_report(&load);
	status = load.in_time ? 0 : 1;
	load_clear(&load);
	return status;
}
