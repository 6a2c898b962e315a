/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#include "config.h"

#include <sys/mman.h>
#include <sys/wait.h>

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <check.h>

#include "agent/spool.h"

/*
 * A producer and a consumer at a spool that is much too small, with a collector that is slow, forgetful and out of order;
 * either is killed now and then. What a block holds follows from its stream and number, so that the consumer knows what must
 * come: each block whole and once a session, or in a gap with exactly its packets and bytes.
 */

#define SIZE		(96u * 1024)
#define BLOCK_MAX	3000u
#define STREAM_MAX	100000u
#define FAILED		1	/* exit status of a process that saw something wrong */

/* Shared by all processes. The collector's memory outlives the consumer's process. */
struct world {
	atomic_uint	stream;				/* begun so far */
	atomic_bool	done;				/* the producer has ended */
	atomic_uint_least64_t durable[STREAM_MAX];	/* last durable number of each */
	atomic_uint_least64_t blocks, gaps, lost, sessions, ends;
	char		wrong[256];
};

struct side {
	struct world	*world;
	int		 fd;
	unsigned	 seed;
	uint64_t	 blocks;	/* for a producer to make */
	bool		 more;		/* another producer will follow */
};

static uint64_t
mix(uint64_t x)
{
	x += 0x9e3779b97f4a7c15ull;
	x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ull;
	x = (x ^ (x >> 27)) * 0x94d049bb133111ebull;
	return x ^ (x >> 31);
}

static struct spool_entry
entry_of(unsigned stream, uint64_t number)
{
	uint64_t m = mix((uint64_t)stream << 40 | number);
	struct spool_entry entry = { .number = number, .codec = (uint8_t)m, .data_len = (uint32_t)(m >> 8) % BLOCK_MAX + 1,
		.packets = (uint32_t)(m >> 32) % 1000, .bytes = m >> 40, .first_ns = m >> 20 };

	entry.raw_len = entry.data_len + 7;
	entry.last_ns = entry.first_ns + 9;
	return entry;
}

static void
id_of(unsigned stream, uint8_t id[MSG_ID_SIZE])
{
	memset(id, 0xab, MSG_ID_SIZE);
	memcpy(id, &stream, sizeof(stream));
}

static void __attribute__((format(printf, 2, 3), noreturn))
wrong(struct world *world, const char *format, ...)
{
	va_list ap;

	va_start(ap, format);
	vsnprintf(world->wrong, sizeof(world->wrong), format, ap);
	va_end(ap);
	fprintf(stderr, "%s\n", world->wrong);
	_exit(FAILED);
}

/* --- producer --- */

static void
wait_until_empty(const struct spool *spool, const struct world *world)
{
	while (!spool_empty(spool) && world->wrong[0] == '\0')
		sched_yield();
}

static void
produce_block(struct spool *spool, unsigned stream, uint64_t number)
{
	struct spool_entry entry = entry_of(stream, number), made = entry;
	uint8_t *data;

	made.number = 0;
	if ((data = spool_reserve(spool, entry.data_len + entry.packets % 500)) == NULL) {
		spool_lose(spool, &made, GAP_CAPTURE);
	} else {
		memset(data, (int)(uint8_t)mix(number), entry.data_len);
		spool_publish(spool, &made);
	}
}

/* Begins where it was killed, with a new stream, as a capture role does. */
static void
produce(struct side *side)
{
	struct spool *spool = spool_attach(side->fd, SPOOL_PRODUCER);
	uint8_t id[MSG_ID_SIZE];
	unsigned stream = 0;
	uint64_t number = 0;

	if (spool == NULL)
		wrong(side->world, "producer cannot attach");
	for (uint64_t i = 0; i < side->blocks; i++) {
		if (stream == 0 || rand_r(&side->seed) % 2000 == 0) {
			stream = atomic_fetch_add(&side->world->stream, 1) + 1;
			id_of(stream, id);
			while (spool_stream_begin(spool, id, stream) == -1 && side->world->wrong[0] == '\0')
				sched_yield();
			number = 0;
		}
		produce_block(spool, stream, ++number);
		if (rand_r(&side->seed) % 600 == 0)
			wait_until_empty(spool, side->world);
		if (rand_r(&side->seed) % 20 == 0)
			sched_yield();
	}
	spool_stream_end(spool);
	spool_detach(spool);
	if (!side->more)
		atomic_store(&side->world->done, true);
}

/* --- consumer, and the collector behind it --- */

struct session {
	struct world	*world;
	struct spool	*spool;
	unsigned	 stream;
	uint64_t	 last;		/* number received in this session, of stream */
};

static unsigned
stream_of(struct session *session, const uint8_t id[MSG_ID_SIZE])
{
	uint8_t expected[MSG_ID_SIZE];
	unsigned stream;

	memcpy(&stream, id, sizeof(stream));
	id_of(stream, expected);
	if (memcmp(id, expected, MSG_ID_SIZE) != 0 || stream == 0 || stream >= STREAM_MAX)
		wrong(session->world, "an id that no stream has");
	return stream;
}

static void
make_durable(struct session *session)
{
	if (session->stream != 0)
		atomic_store(&session->world->durable[session->stream], session->last);
}

static void
acknowledge(struct session *session, unsigned stream)
{
	uint64_t number = atomic_load(&session->world->durable[stream]);
	uint8_t id[MSG_ID_SIZE];

	id_of(stream, id);
	if (number > 0 && spool_acknowledge(session->spool, id, number) == -1)
		wrong(session->world, "stream %u: acknowledging %llu: %s", stream, (unsigned long long)number, strerror(errno));
}

/* HELLO and WELCOME. */
static void
session_begin(struct session *session, unsigned *seed)
{
	struct spool_stream streams[MSG_STREAMS_MAX];
	size_t count;

	spool_rewind(session->spool);
	count = spool_streams(session->spool, streams);
	for (size_t i = count; i-- > 0;)
		acknowledge(session, stream_of(session, streams[i].id));
	if (rand_r(seed) % 4 == 0)
		spool_rewind(session->spool);
	session->stream = 0;
	atomic_fetch_add(&session->world->sessions, 1);
}

static void
expect_number(struct session *session, const uint8_t id[MSG_ID_SIZE], uint64_t first)
{
	unsigned stream = stream_of(session, id);

	if (stream != session->stream) {
		if (stream < session->stream)
			wrong(session->world, "stream %u after stream %u", stream, session->stream);
		make_durable(session);
		session->stream = stream;
		session->last = atomic_load(&session->world->durable[stream]);
	}
	if (first != session->last + 1)
		wrong(session->world, "stream %u: %llu after %llu", stream, (unsigned long long)first,
		    (unsigned long long)session->last);
}

static void
receive_block(struct session *session, const struct spool_item *item)
{
	struct spool_entry expected;
	uint8_t value = (uint8_t)mix(item->entry.number);

	expect_number(session, item->stream, item->entry.number);
	expected = entry_of(session->stream, item->entry.number);
	if (item->entry.codec != expected.codec || item->entry.raw_len != expected.raw_len ||
	    item->entry.data_len != expected.data_len || item->entry.packets != expected.packets ||
	    item->entry.bytes != expected.bytes || item->entry.first_ns != expected.first_ns ||
	    item->entry.last_ns != expected.last_ns)
		wrong(session->world, "stream %u: description of %llu", session->stream, (unsigned long long)item->entry.number);
	if (rand() % 8 == 0)
		sched_yield();
	for (uint32_t i = 0; i < item->entry.data_len; i++)
		if (item->data[i] != value)
			wrong(session->world, "stream %u: byte %u of %llu", session->stream, i,
			    (unsigned long long)item->entry.number);
	session->last = item->entry.number;
	atomic_fetch_add(&session->world->blocks, 1);
}

static void
receive_gap(struct session *session, const struct msg_gap *gap)
{
	uint64_t packets = 0, bytes = 0;

	expect_number(session, gap->stream, gap->first);
	if (gap->last < gap->first || gap->last - gap->first > 100000000)
		wrong(session->world, "stream %u: gap to %llu", session->stream, (unsigned long long)gap->last);
	for (uint64_t number = gap->first; number <= gap->last; number++) {
		packets += entry_of(session->stream, number).packets;
		bytes += entry_of(session->stream, number).bytes;
	}
	if (gap->packets != packets || gap->bytes != bytes)
		wrong(session->world, "stream %u: gap %llu..%llu of %llu packets instead of %llu", session->stream,
		    (unsigned long long)gap->first, (unsigned long long)gap->last, (unsigned long long)gap->packets,
		    (unsigned long long)packets);
	session->last = gap->last;
	atomic_fetch_add(&session->world->gaps, 1);
	atomic_fetch_add(&session->world->lost, gap->last - gap->first + 1);
}

static void
receive_end(struct session *session, const struct spool_item *item)
{
	expect_number(session, item->stream, item->entry.number + 1);
	make_durable(session);
	atomic_fetch_add(&session->world->ends, 1);
}

static void
receive(struct session *session, const struct spool_item *item)
{
	switch (item->kind) {
	case SPOOL_NOTHING:
		sched_yield();
		break;
	case SPOOL_BLOCK:
		receive_block(session, item);
		break;
	case SPOOL_LOST:
		receive_gap(session, &item->gap);
		break;
	case SPOOL_ENDED:
		receive_end(session, item);
		break;
	}
}

/* Commits often, of which some acknowledgements arrive; loses the session now and then, with or without a last commit. */
static void
consume(struct side *side)
{
	struct session session = { .world = side->world, .spool = spool_attach(side->fd, SPOOL_CONSUMER) };
	struct spool_item item;

	if (session.spool == NULL)
		wrong(side->world, "consumer cannot attach");
	session_begin(&session, &side->seed);
	while (!atomic_load(&side->world->done) || !spool_empty(session.spool)) {
		spool_next(session.spool, &item);
		receive(&session, &item);
		if (item.kind == SPOOL_NOTHING || rand_r(&side->seed) % 16 == 0) {
			make_durable(&session);
			if (session.stream != 0 && rand_r(&side->seed) % 2 == 0)
				acknowledge(&session, session.stream);
		}
		if (session.stream > 1 && rand_r(&side->seed) % 64 == 0)
			acknowledge(&session, session.stream - 1);
		if (rand_r(&side->seed) % 512 == 0)
			for (int i = rand_r(&side->seed) % 2000; i > 0; i--)
				sched_yield();
		if (rand_r(&side->seed) % 1024 == 0)
			session_begin(&session, &side->seed);
	}
	spool_detach(session.spool);
}

static struct world *
world_new(void)
{
	struct world *world = mmap(NULL, sizeof(*world), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	ck_assert_ptr_ne(world, MAP_FAILED);
	return world;
}

/* All that was published is with the collector, and something of each kind was tried. */
static void
world_check(struct world *world, int fd)
{
	struct spool *spool = spool_attach(fd, SPOOL_OBSERVER);

	ck_assert_ptr_nonnull(spool);
	ck_assert(spool_empty(spool));
	ck_assert_uint_gt(atomic_load(&world->blocks), 100);
	ck_assert_uint_gt(atomic_load(&world->gaps), 10);
	ck_assert_uint_gt(atomic_load(&world->ends), 1);
	ck_assert_uint_gt(atomic_load(&world->sessions), 2);
	spool_detach(spool);
	munmap(world, sizeof(*world));
}

static pid_t
start(void (*run)(struct side *), struct side *side)
{
	pid_t pid = fork();

	ck_assert_int_ne(pid, -1);
	if (pid == 0) {
		side->seed += (unsigned)getpid();
		srand(side->seed);
		run(side);
		_exit(0);
	}
	return pid;
}

/* Whether it ended by itself; what it saw wrong fails the test. */
static bool
reap(pid_t pid)
{
	int status;

	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	if (WIFSIGNALED(status)) {
		ck_assert_int_eq(WTERMSIG(status), SIGKILL);
		return false;
	}
	ck_assert_int_eq(WEXITSTATUS(status), 0);
	return true;
}

/* Kills after some more of this was counted, or not at all when the process ended before. */
static bool
kill_after(pid_t pid, atomic_uint_least64_t *count, uint64_t more)
{
	uint64_t until = atomic_load(count) + more;

	while (atomic_load(count) < until && waitid(P_PID, (id_t)pid, &(siginfo_t){ 0 }, WEXITED | WNOHANG | WNOWAIT) == 0) {
		siginfo_t info = { 0 };

		waitid(P_PID, (id_t)pid, &info, WEXITED | WNOHANG | WNOWAIT);
		if (info.si_pid == pid)
			break;
		sched_yield();
	}
	kill(pid, SIGKILL);
	return reap(pid);
}

START_TEST(test_two_processes)
{
	struct world *world = world_new();
	struct side side = { .world = world, .fd = spool_create("pair", SIZE), .blocks = 60000 };
	pid_t producer = start(produce, &side), consumer = start(consume, &side);

	reap(producer);
	reap(consumer);
	world_check(world, side.fd);
	close(side.fd);
}
END_TEST

START_TEST(test_killed_consumer)
{
	struct world *world = world_new();
	struct side side = { .world = world, .fd = spool_create("pair", SIZE), .blocks = 100000 };
	pid_t producer = start(produce, &side);

	while (!kill_after(start(consume, &side), &world->blocks, 300))
		side.seed++;
	reap(producer);
	world_check(world, side.fd);
	close(side.fd);
}
END_TEST

START_TEST(test_killed_producer)
{
	struct world *world = world_new();
	struct side side = { .world = world, .fd = spool_create("pair", SIZE), .blocks = 3000, .more = true };
	pid_t consumer = start(consume, &side);

	for (unsigned i = 0; i < 100; i++) {
		side.seed++;
		kill_after(start(produce, &side), &world->blocks, side.seed % 5 * 50);
	}
	side.more = false;
	reap(start(produce, &side));
	reap(consumer);
	world_check(world, side.fd);
	close(side.fd);
}
END_TEST

static void *
run_produce(void *arg)
{
	produce(arg);
	return NULL;
}

/* In one process, so that a thread sanitizer can watch. */
START_TEST(test_two_threads)
{
	struct world *world = world_new();
	struct side made = { .world = world, .fd = spool_create("pair", SIZE), .seed = 1, .blocks = 30000 }, taken = made;
	pthread_t thread;

	ck_assert_int_eq(pthread_create(&thread, NULL, run_produce, &made), 0);
	consume(&taken);
	ck_assert_int_eq(pthread_join(thread, NULL), 0);
	world_check(world, made.fd);
	close(made.fd);
}
END_TEST

static Suite *
spool_pair_suite(void)
{
	Suite *suite = suite_create("spool_pair");
	TCase *tc = tcase_create("spool_pair");

	tcase_set_timeout(tc, 60);
	tcase_add_test(tc, test_two_processes);
	tcase_add_test(tc, test_killed_consumer);
	tcase_add_test(tc, test_killed_producer);
	tcase_add_test(tc, test_two_threads);
	suite_add_tcase(suite, tc);
	return suite;
}

int
main(void)
{
	SRunner *runner = srunner_create(spool_pair_suite());
	int failed;

	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
