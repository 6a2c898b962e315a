/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#include "config.h"

#include <sys/socket.h>
#include <sys/stat.h>
#include <netinet/in.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <event2/event.h>
#include <sqlite3.h>

#include "common/conf.h"
#include "proto/rpcap.h"

#include "collector/catalog.h"
#include "collector/revoked.h"
#include "collector/rpcap_pull.h"
#include "collector/rpcap_url.h"
#include "collector/store_retain.h"
#include "collector/tenant.h"

#include "tests/script_lab.h"

/* A worker and its committer as they are, but for their threads, which are run here, one after the other. */
#define pthread_create(thread, attributes, run, arg)	((void)(thread), (void)(run), (void)(arg), 0)
#define pthread_join(thread, result)			((void)(thread), 0)
#include "collector/worker.c"
#include "collector/store_commit.c"

int	LLVMFuzzerTestOneInput(const uint8_t *, size_t);

/*
 * The input is what an RPCAP server does: it answers what it was asked, well or spoilt, says what it was not asked, sends packets
 * that are some or not, and goes away in any state, while policies change and commits end or not. At the end the collector stops,
 * and what the catalog promises is compared with the disk.
 */
#define STEPS_MAX	128
#define OPENS_MAX	6
#define OUT_MAX		(256u * 1024)

static struct store store;
static struct sqlite3 *db;
static char vm_folder[256];
static struct rpcap_url url;

static struct {
	struct workers	 workers;
	int		 control, listener, data;
	uint16_t	 port;
	uint8_t		 asked;		/* the last request's type; 0: none */
	unsigned	 opens;
	uint32_t	 number;
	struct buf	 out;
	bool		 stopped;
} fuzz;

/* Nobody's limits are reached here. */
void
retainer_poke(struct retainer *retainer)
{
	(void)retainer;
}

static void
start(void)
{
	char error[512] = "", path[128];

	snprintf(path, sizeof(path), "%s/store", script_folder());
	if (store_open(&store, path, NULL, error, sizeof(error)) == -1)
		script_failed(error, "store", 0);
	snprintf(vm_folder, sizeof(vm_folder), "%s/rpcap", store.path);
	db = catalog_open(store.path, error, sizeof(error));
	script_assert(db != NULL);
	script_assert(rpcap_url_parse("web=rpcap://user:password@h/eth0", &url, error) == 0);
	strcpy(url.tenant, "rpcap");
}

/* --- what runs by itself --- */

static void
take_notes(void)
{
	struct note *note;

	mailbox_clear(fuzz.workers.main);
	while ((note = mailbox_take(fuzz.workers.main)) != NULL) {
		script_assert(note->kind != NOTE_LOST);
		note_free(note);
	}
}

static struct worker *
the_worker(void)
{
	return &fuzz.workers.worker[0];
}

static void
hang_up(int *fd)
{
	if (*fd != -1)
		close(*fd);
	*fd = -1;
}

/* What the collector asks is read, and only the last of it known. */
static void
look(void)
{
	uint8_t bytes[4096];
	ssize_t n;

	if (fuzz.data == -1 && fuzz.listener != -1)
		fuzz.data = accept4(fuzz.listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
	while (fuzz.control != -1 && (n = read(fuzz.control, bytes, sizeof(bytes))) >= (ssize_t)RPCAP_HEADER_SIZE)
		fuzz.asked = bytes[1] < RPCAP_TYPE_MAX ? bytes[1] : fuzz.asked;
}

static void
run(unsigned times)
{
	for (unsigned i = 0; i < times; i++) {
		if (!the_worker()->finished)
			script_loop(the_worker()->base, 1);
		look();
	}
	take_notes();
}

static void
commit(void)
{
	struct committer *committer = the_worker()->committer;
	struct batch *batch = committer->batch;

	committer->batch = NULL;
	if (batch != NULL)
		commit_run(committer, batch);
}

/* --- steps --- */

static int
listen_somewhere(uint16_t *port)
{
	struct sockaddr_in sin = { .sin_family = AF_INET, .sin_addr = { htonl(INADDR_LOOPBACK) } };
	socklen_t len = sizeof(sin);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	script_assert(fd != -1 && bind(fd, (struct sockaddr *)&sin, sizeof(sin)) == 0 && listen(fd, 4) == 0);
	script_assert(getsockname(fd, (struct sockaddr *)&sin, &len) == 0);
	*port = ntohs(sin.sin_port);
	return fd;
}

/* Both ends of a connection are there at once, on loopback. */
static void
step_open(struct cursor *cursor)
{
	struct sockaddr_in sin = { .sin_family = AF_INET, .sin_addr = { htonl(INADDR_LOOPBACK) } };
	struct note *note;

	(void)cursor;
	if (fuzz.opens++ >= OPENS_MAX)
		return;
	hang_up(&fuzz.control);
	hang_up(&fuzz.data);
	run(2);
	if (fuzz.listener == -1)
		fuzz.listener = listen_somewhere(&fuzz.port);
	note = note_new(NOTE_RPCAP);
	note->url = &url;
	note->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	sin.sin_port = htons(fuzz.port);
	script_assert(connect(note->fd, (struct sockaddr *)&sin, sizeof(sin)) == 0 && fcntl(note->fd, F_SETFL, O_NONBLOCK) == 0);
	fuzz.control = accept4(fuzz.listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
	fuzz.asked = 0;
	fuzz.number = 1;
	mailbox_post(the_worker()->inbox, note);
}

static void
put_answer(uint8_t type, struct cursor *cursor)
{
	const struct rpcap_auth_reply auth = { .order = (enum rpcap_order)(script_u8(cursor) % 3) };
	const struct rpcap_open_reply open = { .linktype = (uint32_t)(script_u8(cursor) & 1 ? 1 : script_number(cursor)) };
	const struct rpcap_startcap_reply startcap = { .buffer_bytes = 65536, .port = fuzz.port };
	const struct rpcap_stats stats = { .ifrecv = (uint32_t)script_number(cursor), .svrcapt = (uint32_t)script_number(cursor),
		.krnldrop = (uint32_t)script_number(cursor) };

	if (type == RPCAP_AUTH)
		rpcap_put_auth_reply(&fuzz.out, &auth);
	else if (type == RPCAP_OPEN)
		rpcap_put_open_reply(&fuzz.out, 0, &open);
	else if (type == RPCAP_STARTCAP)
		rpcap_put_startcap_reply(&fuzz.out, 0, &startcap);
	else if (type == RPCAP_STATS)
		rpcap_put_stats_reply(&fuzz.out, 0, &stats);
	else
		rpcap_put_empty(&fuzz.out, 0, type | RPCAP_REPLY);
}

static void
write_out(int fd)
{
	if (fd != -1 && fuzz.out.len > 0)
		(void)!send(fd, fuzz.out.data, fuzz.out.len, MSG_NOSIGNAL);
	fuzz.out.len = 0;
}

/* Well, and what was asked. */
static void
step_answer(struct cursor *cursor)
{
	run(2);
	put_answer(fuzz.asked, cursor);
	write_out(fuzz.control);
}

/* All the way to the packets. */
static void
step_begin(struct cursor *cursor)
{
	step_open(cursor);
	for (unsigned i = 0; i < 5; i++)
		step_answer(cursor);
}

static void
step_spoilt(struct cursor *cursor)
{
	put_answer(script_u8(cursor) & 1 ? fuzz.asked : script_u8(cursor), cursor);
	script_spoil(cursor, fuzz.out.data, fuzz.out.len);
	write_out(fuzz.control);
}

static void
step_error(struct cursor *cursor)
{
	char text[300] = "";

	script_bytes(cursor, (uint8_t *)text, sizeof(text) - 1);
	rpcap_put_error(&fuzz.out, 0, (enum rpcap_error)script_u8(cursor), text);
	write_out(fuzz.control);
}

static void
step_raw(struct cursor *cursor)
{
	uint8_t bytes[256], where = script_u8(cursor);

	buf_put(&fuzz.out, bytes, script_bytes(cursor, bytes, sizeof(bytes)));
	write_out(where & 1 ? fuzz.control : fuzz.data);
}

static void
put_packet(struct cursor *cursor)
{
	static const uint8_t data[2048];
	uint8_t bytes[RPCAP_PACKET_SIZE], what = script_u8(cursor);
	struct rpcap_packet packet = { .number = fuzz.number++, .original_len = (uint32_t)script_number(cursor) };

	packet.captured_len = what & 1 ? (uint32_t)(what << 3) : what;
	packet.seconds = (uint32_t)script_number(cursor);
	packet.microseconds = (uint32_t)script_number(cursor);
	if (what > 0xf0)
		packet.number = fuzz.number = (uint32_t)script_number(cursor);
	rpcap_write_packet(bytes, 0, &packet);
	buf_put(&fuzz.out, bytes, sizeof(bytes));
	buf_put(&fuzz.out, data, packet.captured_len);
}

static void
step_packets(struct cursor *cursor)
{
	uint8_t count = script_u8(cursor);

	for (unsigned i = 0; i <= (count & 15u); i++)
		put_packet(cursor);
	if (count & 0x80)
		script_spoil(cursor, fuzz.out.data, fuzz.out.len);
	if ((count & 0x40) && fuzz.out.len > 5)
		fuzz.out.len -= 5;
	write_out(fuzz.data);
}

static void
step_close(struct cursor *cursor)
{
	hang_up(script_u8(cursor) & 1 ? &fuzz.control : &fuzz.data);
}

static void
step_commit(struct cursor *cursor)
{
	if (script_u8(cursor) & 1)
		worker_commit_timeout(-1, 0, the_worker());
	commit();
}

static void
step_commit_fails(struct cursor *cursor)
{
	(void)cursor;
	if (the_worker()->committer->batch != NULL)
		worker_commit_report(COMMIT_FAILING, NULL, "disk full", the_worker());
}

/* A timer of the connection: the time that it waits for may have come, too. */
static void
step_time(struct cursor *cursor)
{
	struct rpcap_pull *pull = TAILQ_FIRST(&the_worker()->rpcap_pulls);
	uint8_t what = script_u8(cursor);

	if (pull == NULL)
		return;
	if (what & 2)
		pull->deadline_ns = pull->stats_ns = 0;
	event_active(what & 1 ? pull->timer : pull->seal_timer, EV_TIMEOUT, 1);
}

static void
step_policy(struct cursor *cursor)
{
	static const char *const texts[] = { "[default]\nfilter = tcp\n", "[vm web]\nsnaplen = 96\n", "", "[tenant rpcap]\ndirection = in\n",
	    "[vm web]\nfilter = gibberish\n", "[tenant rpcap]\ntenant-rate = 1k\n" };
	struct note *note = note_new(NOTE_POLICY);
	char error[POLICY_ERROR_SIZE];

	note->policy = policy_set_new();
	script_assert(policy_set_parse(note->policy, "fuzz", texts[script_u8(cursor) % (sizeof(texts) / sizeof(texts[0]))], error,
	    sizeof(error)) == 0);
	mailbox_post(the_worker()->inbox, note);
}

static void
step_pause(struct cursor *cursor)
{
	if (the_worker()->stopping)
		return;
	if (script_u8(cursor) & 1)
		worker_pause(the_worker());
	else
		worker_resume(the_worker());
}

static void
step_tick(struct cursor *cursor)
{
	(void)cursor;
	worker_tick(-1, 0, the_worker());
	worker_throttle_timeout(-1, 0, the_worker());
	mailbox_post(the_worker()->inbox, note_new(NOTE_STATUS));
}

static void
step_stop(struct cursor *cursor)
{
	(void)cursor;
	if (!fuzz.stopped)
		workers_tell(&fuzz.workers, &(struct note){ .kind = NOTE_STOP });
	fuzz.stopped = true;
}

static void (*const steps[])(struct cursor *) = {
	step_begin, step_open, step_answer, step_spoilt, step_error, step_raw, step_packets, step_close, step_commit, step_commit_fails,
	step_time, step_policy, step_pause, step_tick, step_stop, step_packets,
};
#define STEPS	(sizeof(steps) / sizeof(steps[0]))

/* --- the end --- */

static int64_t
number(const char *sql)
{
	sqlite3_stmt *statement;
	int64_t value = 0;

	script_assert(sqlite3_prepare_v2(db, sql, -1, &statement, NULL) == SQLITE_OK);
	if (sqlite3_step(statement) == SQLITE_ROW)
		value = sqlite3_column_int64(statement, 0);
	sqlite3_finalize(statement);
	return value;
}

static void
check_store(void)
{
	sqlite3_stmt *statement;
	struct stat st;

	script_assert(sqlite3_prepare_v2(db, "SELECT path, length FROM file", -1, &statement, NULL) == SQLITE_OK);
	while (sqlite3_step(statement) == SQLITE_ROW) {
		script_assert(fstatat(store.root_fd, (const char *)sqlite3_column_text(statement, 0), &st, 0) == 0);
		script_assert(st.st_size >= sqlite3_column_int64(statement, 1));
	}
	sqlite3_finalize(statement);
	script_assert(number("SELECT count(*) FROM file WHERE live") == 0);
	script_assert(number("SELECT count(*) FROM vm WHERE connected") == 0);
	script_assert(number("SELECT count(*) FROM stream WHERE NOT ended") == 0);
}

static void
stop(void)
{
	step_stop(NULL);
	run(2);
	worker_each_pull(the_worker(), rpcap_pull_free);	/* the time for an end in order is over */
	for (unsigned i = 0; i < 6; i++) {
		run(2);
		commit();
	}
	script_assert(the_worker()->finished && TAILQ_EMPTY(&the_worker()->rpcap_pulls));
	hang_up(&fuzz.control);
	hang_up(&fuzz.data);
	hang_up(&fuzz.listener);
}

static void
begin(void)
{
	const struct worker_settings settings = { .rotate_size = 1u << 16, .rotate_interval_ms = 3600000, .keepalive_ms = 60000,
	    .hint_lease_ms = 5000, .enrol_life_ms = 60000 };
	static const struct conf_list tenants;
	struct tls_context *tls[1] = { NULL };
	struct policy_set *policy = policy_set_new();
	char error[512] = "";

	memset(&fuzz, 0, sizeof(fuzz));
	fuzz.control = fuzz.data = fuzz.listener = -1;
	buf_init(&fuzz.out, OUT_MAX);
	fuzz.workers.main = mailbox_new();
	fuzz.workers.store = &store;
	fuzz.workers.tenants = &tenants;
	script_assert((fuzz.workers.known = tenants_new(store.path, error, sizeof(error))) != NULL);
	script_assert((fuzz.workers.revoked = revoked_new(db, error, sizeof(error))) != NULL);
	script_assert(workers_start(&fuzz.workers, 1, tls, policy, &settings, error, sizeof(error)) == 0);
	policy_set_unref(policy);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct cursor cursor;

	if (db == NULL)
		start();
	cursor_init(&cursor, data, size);
	begin();
	for (unsigned i = 0; i < STEPS_MAX && cursor.left > 0; i++) {
		steps[script_u8(&cursor) % STEPS](&cursor);
		run(2);
	}
	stop();
	workers_join(&fuzz.workers);
	take_notes();
	tenants_free(fuzz.workers.known);
	revoked_free(fuzz.workers.revoked);
	mailbox_free(fuzz.workers.main);
	buf_clear(&fuzz.out);
	check_store();
	script_assert(sqlite3_exec(db, "DELETE FROM point; DELETE FROM file; DELETE FROM interface; DELETE FROM loss; DELETE FROM stat;"
	    " DELETE FROM stream; DELETE FROM event; DELETE FROM vm", NULL, NULL, NULL) == SQLITE_OK);
	script_remove_files(vm_folder);
	return 0;
}
