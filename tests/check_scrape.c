/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#include "config.h"

#include <sys/socket.h>
#include <sys/un.h>
#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <check.h>
#include <event2/event.h>
#include <sqlite3.h>

#include "common/clock.h"
#include "common/log.h"
#include "proto/counter.h"

#include "collector/catalog.h"
#include "collector/collector.h"
#include "collector/counts.h"
#include "collector/ledger.h"
#include "collector/note.h"
#include "collector/scrape.h"
#include "collector/scrape_internal.h"
#include "collector/store_retain.h"

#include "tests/session_lab.h"
#include "tests/store_lab.h"

#define TEXT_SIZE	(1u << 20)
#define WAIT_S		30
#define B		"x'02000000000000000000000000000000'"
#define C		"x'03000000000000000000000000000000'"

static struct store_lab lab;
static struct collector collector;
static struct event *inbox_event;
static char place[96], reply[TEXT_SIZE];
static struct fault fault;

/* --- what a text says --- */

/* The value of the first sample whose line begins with name and has label in it; NULL: there is none. */
static const char *
sample(const char *text, const char *name, const char *label)
{
	static char value[64];
	size_t len = strlen(name);

	for (const char *line = text; line != NULL && *line != '\0'; line = strchr(line, '\n'), line += line != NULL) {
		const char *end = line + strcspn(line, "\n"), *found = label != NULL ? strstr(line, label) : line, *space = end;

		if (strncmp(line, name, len) != 0 || strchr("{ ", line[len]) == NULL || found == NULL || found >= end)
			continue;
		while (space[-1] != ' ')
			space--;
		snprintf(value, sizeof(value), "%.*s", (int)(end - space), space);
		return value;
	}
	return NULL;
}

static void
says(const char *text, const char *name, const char *label, int64_t value)
{
	const char *found = sample(text, name, label);

	ck_assert_msg(found != NULL, "%s %s is missing", name, label != NULL ? label : "");
	ck_assert_msg(strtoll(found, NULL, 10) == value, "%s %s: %s, not %" PRId64, name, label != NULL ? label : "", found, value);
}

/* Prometheus takes nothing of a text in which a series comes twice. */
static void
series_come_once(const char *text)
{
	for (const char *line = text; *line != '\0'; line += strcspn(line, "\n") + 1) {
		size_t len = strcspn(line, "\n");

		while (*line != '#' && len > 0 && line[len - 1] != ' ')
			len--;
		for (const char *other = text; *line != '#' && other < line; other += strcspn(other, "\n") + 1)
			ck_assert_msg(strncmp(other, line, len) != 0, "twice: %.*s", (int)len, line);
	}
}

/* --- one reading --- */

static const char *
read_text(size_t max, bool *complete)
{
	atomic_bool stop = false;
	struct scrape_reading reading = { .store = &lab.store, .complete = true, .stop = &stop };
	struct buf buf;
	char error[512];

	ck_assert_ptr_nonnull(reading.db = catalog_open_read_only(lab.path, error, sizeof(error)));
	buf_init(&buf, max);
	metrics_init(&reading.metrics, &buf);
	ck_assert_int_eq(scrape_put_store(&reading), 0);
	ck_assert_int_eq(scrape_put_vms(&reading), 0);
	ck_assert_int_eq(scrape_put_ledgers(&reading), 0);
	ck_assert_int_eq(scrape_put_counters(&reading), 0);
	scrape_fit(&reading);
	ck_assert_int_eq(metrics_end(&reading.metrics), 0);
	ck_assert_uint_lt(buf.len, sizeof(reply));
	memcpy(reply, buf.data != NULL ? buf.data : (const uint8_t *)"", buf.len);
	reply[buf.len] = '\0';
	buf_clear(&buf);
	sqlite3_close(reading.db);
	*complete = reading.complete;
	return reply;
}

static const char *
read_all(void)
{
	const char *text;
	bool complete;

	text = read_text(TEXT_SIZE - 1, &complete);
	ck_assert(complete);
	series_come_once(text);
	return text;
}

static void
setup_store(void)
{
	log_init("check", LOG_LEVEL_ERROR);
	signal(SIGPIPE, SIG_IGN);
	store_lab_open(&lab);
}

static void
teardown_store(void)
{
	store_lab_close(&lab);
}

static void
stat_set(enum counter counter, uint32_t interface, uint64_t value)
{
	struct msg_stat stat = { .counter = (uint16_t)counter, .interface = interface, .value = value };
	const struct msg_stats stats = { .wall_ns = STORE_LAB_START + 100, .count = 1, .stat = &stat };

	ck_assert_int_eq(stream_set_stats(&lab.archive, lab.stream, &stats, &fault), 0);
}

static void
gap(uint64_t first, uint64_t packets)
{
	const struct msg_gap msg = { .first = first, .last = first, .packets = packets, .bytes = packets, .first_ns = 1, .last_ns = 2,
	    .place = GAP_SPOOL };

	ck_assert_int_eq(stream_add_gap(&lab.archive, lab.stream, &msg, &fault), 0);
}

/* 150 offered: 20 refused, 5 own, 3 dropped, 2 too large, 30 in a gap, 88 stored of which some expire, 2 nowhere. */
static void
fill_store(void)
{
	const struct retain_limits limits = { .size = 1 };
	char error[512];
	struct sqlite3 *db;

	store_lab_add(&lab, codec_by_id(CODEC_NONE), 1, 50);
	gap(2, 30);
	store_lab_commit(&lab);
	stream_close_file(&lab.archive, lab.stream);
	store_lab_commit(&lab);
	store_lab_add(&lab, codec_by_id(CODEC_NONE), 3, 38);
	stat_set(COUNTER_LEDGER, STATS_AGENT, LEDGER_KERNEL);
	stat_set(COUNTER_OFFERED, 0, 150);
	stat_set(COUNTER_FILTERED, 0, 20);
	stat_set(COUNTER_OWN, 0, 5);
	stat_set(COUNTER_RING_DROPPED, 0, 3);
	stat_set(COUNTER_PACKETS_OVERSIZE, 0, 2);
	stat_set(COUNTER_PACKETS_CAPTURED, 0, 118);
	store_lab_commit(&lab);
	ck_assert_ptr_nonnull(db = catalog_open(lab.path, error, sizeof(error)));
	ck_assert_int_eq(store_retain(&lab.store, db, &limits, error, sizeof(error)), 1);
	sqlite3_close(db);
}

/* Each term that vmtap stats has, with its value, and none that it has not. */
static void
terms_are_the_ledgers(const char *text)
{
	struct ledger ledger;
	char error[512], label[64];
	struct sqlite3 *db = catalog_open_read_only(lab.path, error, sizeof(error));

	ck_assert_int_eq(ledger_read(db, STORE_LAB_UUID, &ledger), 0);
	for (int id = 0; id < LEDGER_TERMS; id++) {
		const struct ledger_term *term = &ledger.sum.term[id];

		snprintf(label, sizeof(label), "place=\"%s\"", ledger_name((enum ledger_id)id));
		if (term->known)
			says(text, "vmtap_vm_packets", label, term->packets);
		else
			ck_assert_ptr_null(sample(text, "vmtap_vm_packets", label));
		if (term->known && (term->more || term->up_to))
			says(text, "vmtap_vm_packets_bound", label, term->more ? 2 : 1);
		else
			ck_assert_ptr_null(sample(text, "vmtap_vm_packets_bound", label));
	}
	if (ledger.sum.balanced)
		says(text, "vmtap_vm_unaccounted_packets", NULL, ledger.sum.unaccounted);
	else
		ck_assert_ptr_null(sample(text, "vmtap_vm_unaccounted_packets", NULL));
	says(text, "vmtap_vm_ledger_level", NULL, ledger.sum.level);
	ledger_clear(&ledger);
	sqlite3_close(db);
}

START_TEST(places_are_those_of_the_ledger)
{
	const char *text;

	fill_store();
	text = read_all();
	terms_are_the_ledgers(text);
	says(text, "vmtap_vm_packets", "place=\"stored\"", 88);
	says(text, "vmtap_vm_packets", "place=\"expired\"", 50);
	says(text, "vmtap_vm_stored_packets", NULL, 38);
	says(text, "vmtap_vm_unaccounted_packets", NULL, 2);
	/* An older stream that was cut off, and one with the rest elsewhere. */
	store_lab_sql(&lab, "INSERT INTO stream (id, vm, started_ns, packets, ended, cut) VALUES (" B ", '" STORE_LAB_UUID "', 1, 7, 1, 1)");
	store_lab_sql(&lab, "INSERT INTO loss (vm, stream, place, packets, bytes, recorded_ns, approximate) VALUES ('" STORE_LAB_UUID "', "
	    B ", 'cut', 9, 0, 1, 1)");
	store_lab_sql(&lab, "INSERT INTO stream (id, vm, started_ns, packets, ended, cut) VALUES (" C ", '" STORE_LAB_UUID "', 1, 7, 1, 2)");
	text = read_all();
	terms_are_the_ledgers(text);
	says(text, "vmtap_vm_packets", "place=\"cut\"", 9);
	says(text, "vmtap_vm_packets_bound", "place=\"gap_elsewhere\"", 2);
	says(text, "vmtap_vm_ledger_exact", NULL, 0);
}
END_TEST

/* Of a guest whose clock was stepped back: what it told last counts. */
START_TEST(the_newest_stream_is_the_last_to_become_known)
{
	stat_set(COUNTER_SPOOL_BYTES, STATS_AGENT, 1);
	store_lab_commit(&lab);
	store_lab_sql(&lab, "INSERT INTO stream (id, vm, started_ns) VALUES (" B ", '" STORE_LAB_UUID "', 1)");
	store_lab_sql(&lab, "INSERT INTO stream (id, vm, started_ns) VALUES (" C ", '" STORE_LAB_UUID "', 2)");
	store_lab_sql(&lab, "INSERT INTO stat (vm, stream, interface, counter, value, updated_ns) VALUES ('" STORE_LAB_UUID "', " B
	    ", -1, 'spool_bytes', 2, 1)");
	says(read_all(), "vmtap_agent_spool_bytes", NULL, 2);
}
END_TEST

/* Interfaces without a name or a description, and rows that no collector of today would write. */
START_TEST(hostile_rows_make_no_series_twice)
{
	static const char *const counters[] = { "spool_bytes", "ring_dropped_packets", "cpu_link_microseconds", "no such counter" };
	char sql[512];
	const char *text;

	store_lab_commit(&lab);
	for (int interface = -1; interface < 5; interface++)
		for (size_t i = 0; i < sizeof(counters) / sizeof(counters[0]); i++) {
			snprintf(sql, sizeof(sql), "INSERT OR REPLACE INTO stat (vm, stream, interface, counter, value, updated_ns)"
			    " SELECT vm, id, %d, '%s', %d, 1 FROM stream", interface, counters[i], 10 + interface);
			store_lab_sql(&lab, sql);
		}
	store_lab_sql(&lab, "INSERT INTO interface (stream, id, name, linktype, idb) SELECT id, 1, '', 1, x'00' FROM stream");
	store_lab_sql(&lab, "INSERT INTO interface (stream, id, name, linktype, idb) SELECT id, 2, 'a\"\\', 1, x'00' FROM stream");
	text = read_all();
	says(text, "vmtap_agent_spool_bytes", NULL, 9);
	says(text, "vmtap_agent_ring_dropped_packets_total", "interface=\"\"", 11 + 13 + 14);
	says(text, "vmtap_agent_ring_dropped_packets_total", "interface=\"a\\\"\\\\\"", 12);
}
END_TEST

/* However little room there is: whole families, and told. */
START_TEST(what_has_no_room_is_left_out)
{
	size_t whole;
	bool complete;

	fill_store();
	whole = strlen(read_all());
	for (size_t max = 0; max < whole; max += 61) {
		const char *text = read_text(max, &complete);
		size_t len = strlen(text);

		ck_assert(!complete);
		ck_assert(len <= max && (len == 0 || (text[len - 1] == '\n' && strncmp(text, "# HELP ", 7) == 0)));
		if (sample(text, "vmtap_vm_packets", "place=\"offered\"") != NULL)
			says(text, "vmtap_vm_packets", "place=\"expired\"", 50);
	}
	read_text(whole, &complete);
	ck_assert(complete);
}
END_TEST

START_TEST(each_count_has_a_help)
{
	for (enum count count = 0; count < COUNT_ERRORS; count++)
		ck_assert_msg(count_name(count) == NULL || count_help(count)[0] != '\0', "%s", count_name(count));
	ck_assert(count_help(COUNT_ERRORS)[0] != '\0');
}
END_TEST

/* --- the whole, as the collector has it --- */

static void
inbox_readable(evutil_socket_t fd, short what, void *arg)
{
	struct note *note;

	(void)fd;
	(void)what;
	(void)arg;
	mailbox_clear(collector.inbox);
	while ((note = mailbox_take(collector.inbox)) != NULL) {
		scrape_note(collector.scrape, note);
		session_lab.stopped += note->kind == NOTE_STOPPED;
		note_free(note);
	}
}

static void
serve(const char *folder, const struct store *store, struct event_base *base, struct mailbox *inbox)
{
	static struct conf_list places;
	static char *value[1] = { place };
	char error[512] = "";

	snprintf(place, sizeof(place), "%s/metrics", folder);
	places = (struct conf_list){ .value = value, .count = 1 };
	collector.base = base;
	collector.inbox = inbox;
	collector.store = *store;
	ck_assert_msg((collector.scrape = scrape_new(&places, error, sizeof(error))) != NULL, "%s", error);
	ck_assert_msg(scrape_start(collector.scrape, &collector, error, sizeof(error)) == 0, "%s", error);
	inbox_event = event_new(base, mailbox_fd(inbox), EV_READ | EV_PERSIST, inbox_readable, NULL);
	ck_assert_int_eq(event_add(inbox_event, NULL), 0);
}

static void
serve_no_more(void)
{
	scrape_free(collector.scrape);
	collector.scrape = NULL;
	event_free(inbox_event);
}

static int
ask(void)
{
	static const char request[] = "GET /metrics HTTP/1.1\r\n\r\n";
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	snprintf(address.sun_path, sizeof(address.sun_path), "%s", place);
	ck_assert_int_eq(connect(fd, (struct sockaddr *)&address, sizeof(address)), 0);
	ck_assert_int_eq(send(fd, request, sizeof(request) - 1, MSG_NOSIGNAL), (ssize_t)sizeof(request) - 1);
	return fd;
}

static void
on_reply(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	(void)arg;
}

/* The body of the answer, or a failure; the loop runs meanwhile. */
static const char *
answer(int fd)
{
	struct event *readable = event_new(collector.base, fd, EV_READ | EV_PERSIST, on_reply, NULL);
	uint64_t end_ns = clock_mono_ns() + WAIT_S * UINT64_C(1000000000);
	size_t len = 0;
	ssize_t n = -1;

	event_add(readable, NULL);
	while (n != 0) {
		n = recv(fd, reply + len, sizeof(reply) - 1 - len, MSG_DONTWAIT);
		ck_assert_msg(n >= 0 || errno == EAGAIN, "%s", strerror(errno));
		len += n > 0 ? (size_t)n : 0;
		if (n == -1)
			event_base_loop(collector.base, EVLOOP_ONCE);
		ck_assert_msg(clock_mono_ns() < end_ns, "no answer");
	}
	event_free(readable);
	close(fd);
	reply[len] = '\0';
	ck_assert_msg(strncmp(reply, "HTTP/1.1 200", 12) == 0, "%.200s", reply);
	return strstr(reply, "\r\n\r\n") + 4;
}

/* --- a catalog that is slow to read: whatever is begun in it waits at a gate --- */

static pthread_mutex_t gate = PTHREAD_MUTEX_INITIALIZER;
static pthread_t main_thread;

static int
pass_gate(unsigned type, void *context, void *p, void *x)
{
	(void)type;
	(void)context;
	(void)p;
	(void)x;
	if (!pthread_equal(pthread_self(), main_thread)) {
		pthread_mutex_lock(&gate);
		pthread_mutex_unlock(&gate);
	}
	return 0;
}

static int
gate_connection(sqlite3 *db, const char **error, const struct sqlite3_api_routines *api)
{
	(void)error;
	(void)api;
	return sqlite3_trace_v2(db, SQLITE_TRACE_STMT, pass_gate, NULL);
}

static void
serve_gated(void)
{
	main_thread = pthread_self();
	sqlite3_auto_extension((void (*)(void))gate_connection);
	serve(lab.path, &lab.store, event_base_new(), mailbox_new());
	sqlite3_reset_auto_extension();
}

static void
serve_gated_no_more(void)
{
	serve_no_more();
	mailbox_free(collector.inbox);
	event_base_free(collector.base);
}

/* What was read before is told, with its age; and nobody waits for the same reading twice. */
START_TEST(a_slow_catalog_leaves_the_last_text)
{
	uint64_t asked_ns;
	const char *text;

	fill_store();
	serve_gated();
	text = answer(ask());
	says(text, "vmtap_collector_catalog_up", NULL, 1);
	says(text, "vmtap_collector_vm_metrics_complete", NULL, 1);
	says(text, "vmtap_vm_packets", "place=\"stored\"", 88);
	pthread_mutex_lock(&gate);
	do
		text = answer(ask());
	while (strcmp(sample(text, "vmtap_collector_catalog_up", NULL), "1") == 0);
	says(text, "vmtap_vm_packets", "place=\"stored\"", 88);
	ck_assert_double_ge(strtod(sample(text, "vmtap_collector_vm_metrics_age_seconds", NULL), NULL), SCRAPE_WAIT_S);
	asked_ns = clock_mono_ns();
	text = answer(ask());
	ck_assert_uint_lt(clock_mono_ns() - asked_ns, UINT64_C(1000000000) * SCRAPE_WAIT_S / 2);
	says(text, "vmtap_collector_catalog_up", NULL, 0);
	says(text, "vmtap_vm_packets", "place=\"stored\"", 88);
	pthread_mutex_unlock(&gate);
	do		/* what began while the gate was shut, then what is new */
		text = answer(ask());
	while (strtod(sample(text, "vmtap_collector_vm_metrics_age_seconds", NULL), NULL) >= SCRAPE_WAIT_S);
	says(text, "vmtap_collector_catalog_up", NULL, 1);
	serve_gated_no_more();
}
END_TEST

/* Nothing was read yet: nothing is told of VMs, and that it is so. */
START_TEST(a_catalog_slow_from_the_start)
{
	const char *text;

	fill_store();
	serve_gated();
	pthread_mutex_lock(&gate);
	text = answer(ask());
	says(text, "vmtap_collector_catalog_up", NULL, 0);
	ck_assert_ptr_null(strstr(text, "vmtap_vm_packets"));
	ck_assert_ptr_null(strstr(text, "vmtap_collector_vm_metrics_age_seconds"));
	pthread_mutex_unlock(&gate);
	do
		text = answer(ask());
	while (strcmp(sample(text, "vmtap_collector_catalog_up", NULL), "0") == 0);
	says(text, "vmtap_vm_packets", "place=\"stored\"", 88);
	serve_gated_no_more();
}
END_TEST

/* --- workers, reader and main thread at once --- */

static void
setup_certificates(void)
{
	log_init("check", LOG_LEVEL_ERROR);
	signal(SIGPIPE, SIG_IGN);
	lab_open();
	lab_issue("good", "web2", time(NULL) - 300, time(NULL) + 86400);
}

static void
put_stats(struct agent *agent, uint8_t stream, uint64_t packets)
{
	struct msg_stat stat[] = { { COUNTER_RING_RECEIVED, 0, packets }, { COUNTER_PACKETS_CAPTURED, 0, packets } };
	const struct msg_stats stats = { .stream = { stream }, .wall_ns = 1000 + packets, .count = 2, .stat = stat };

	ck_assert_int_eq(msg_put_stats(&agent->out, &stats), 0);
}

static void
begin(struct agent *agent, const char *name, uint8_t stream)
{
	agent_open(agent, name, stream);
	agent_hello(agent, stream);
	agent_put_interface(agent, stream, 0);
	agent_send(agent);
}

/* Both VMs' packets, all stored and counted? */
static bool
rests(const char *text, int64_t packets)
{
	static const char *const vms[] = { "vm=\"web1\"", "vm=\"web2\"" };
	const char *value;

	for (int i = 0; i < 2; i++)
		if ((value = sample(text, "vmtap_vm_stored_packets", vms[i])) == NULL || strtoll(value, NULL, 10) != packets)
			return false;
	return true;
}

START_TEST(scrapes_while_agents_send)
{
	enum { BLOCKS = 200, STEP = 10 };
	static struct agent agent[2];
	long sessions;
	int fd[4];

	session_lab_open();
	collector.workers = session_lab.workers;
	event_del(session_lab.mailbox);
	serve(session_lab.path, &session_lab.store, session_lab.base, session_lab.workers.main);
	begin(&agent[0], "web1", 7);
	begin(&agent[1], "web2", 8);
	for (uint64_t number = 1; number <= BLOCKS; number += STEP) {
		for (uint8_t i = 0; i < 2; i++) {
			for (uint64_t n = number; n < number + STEP; n++)
				agent_put_block(&agent[i], 7 + i, n);
			put_stats(&agent[i], 7 + i, number + STEP - 1);
			agent_send(&agent[i]);
		}
		for (int i = 0; i < 4; i++)
			fd[i] = ask();
		for (int i = 0; i < 4; i++)
			says(answer(fd[i]), "vmtap_collector_catalog_up", NULL, 1);
		agent_wait_ack(&agent[0], number + STEP - 1);
	}
	agent_wait_ack(&agent[1], BLOCKS);
	while (!rests(answer(ask()), BLOCKS))
		continue;
	series_come_once(strstr(reply, "# HELP"));
	says(reply, "vmtap_collector_catalog_up", NULL, 1);
	says(reply, "vmtap_vm_unaccounted_packets", "vm=\"web1\"", 0);
	sessions = strtol(sample(reply, "vmtap_collector_worker_sessions", "worker=\"0\""), NULL, 10);
	sessions += strtol(sample(reply, "vmtap_collector_worker_sessions", "worker=\"1\""), NULL, 10);
	ck_assert_int_eq(sessions, 2);
	agent_close(&agent[0]);
	agent_close(&agent[1]);
	serve_no_more();
	ck_assert_int_eq(event_add(session_lab.mailbox, NULL), 0);
	session_lab_close();
}
END_TEST

/* Gone in the midst of a reading, with somebody waiting. */
START_TEST(stopped_while_it_reads)
{
	int fd;

	session_lab_open();
	collector.workers = session_lab.workers;
	event_del(session_lab.mailbox);
	serve(session_lab.path, &session_lab.store, session_lab.base, session_lab.workers.main);
	fd = ask();
	event_base_loop(session_lab.base, EVLOOP_ONCE);
	serve_no_more();
	ck_assert_int_eq(event_add(session_lab.mailbox, NULL), 0);
	session_lab_close();
	close(fd);
}
END_TEST

int
main(void)
{
	Suite *suite = suite_create("scrape");
	TCase *read = tcase_create("read"), *slow = tcase_create("slow"), *threads = tcase_create("threads");
	SRunner *runner;
	int failed;

	tcase_add_checked_fixture(read, setup_store, teardown_store);
	tcase_add_test(read, places_are_those_of_the_ledger);
	tcase_add_test(read, the_newest_stream_is_the_last_to_become_known);
	tcase_add_test(read, hostile_rows_make_no_series_twice);
	tcase_add_test(read, what_has_no_room_is_left_out);
	tcase_add_test(read, each_count_has_a_help);
	suite_add_tcase(suite, read);
	tcase_add_checked_fixture(slow, setup_store, teardown_store);
	tcase_set_timeout(slow, 120);
	tcase_add_test(slow, a_slow_catalog_leaves_the_last_text);
	tcase_add_test(slow, a_catalog_slow_from_the_start);
	suite_add_tcase(suite, slow);
	tcase_add_unchecked_fixture(threads, setup_certificates, lab_close);
	tcase_set_timeout(threads, 120);
	tcase_add_test(threads, scrapes_while_agents_send);
	tcase_add_test(threads, stopped_while_it_reads);
	suite_add_tcase(suite, threads);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
