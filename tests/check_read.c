/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#include "config.h"

#include <sys/stat.h>
#include <sys/wait.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <check.h>
#include <sqlite3.h>

#include "common/buf.h"
#include "common/log.h"
#include "proto/pcapng.h"

#include "collector/catalog.h"
#include "collector/cmd.h"
#include "collector/pcapng_out.h"
#include "collector/store_cursor.h"
#include "collector/store_read.h"

/* vmtap read, on a catalog and files made by hand. */

#define UUID		"11111111-2222-3333-4444-555555555555"
#define STREAM_SQL	"x'01020300000000000000000000000000'"
#define SECOND		UINT64_C(1000000000)
#define START		(1700000000 * SECOND)
#define LINKTYPE_RAW	101
#define FILE_PATH	"acme/" UUID "/file"

static const uint8_t	 stream[MSG_ID_SIZE] = { 1, 2, 3 };
static char		 dir[64];
static sqlite3		*db;
static struct buf	 bytes;		/* of the file */
static uint64_t		 seen[64];	/* times of the packets read */
static unsigned		 count, warnings;

static void __attribute__((format(printf, 1, 2)))
sql(const char *format, ...)
{
	char	 text[1024];
	va_list	 ap;

	va_start(ap, format);
	vsnprintf(text, sizeof(text), format, ap);
	va_end(ap);
	ck_assert_msg(sqlite3_exec(db, text, NULL, NULL, NULL) == SQLITE_OK, "%s: %s", text, sqlite3_errmsg(db));
}

static const char *
below(const char *path)
{
	static char	 text[256];

	snprintf(text, sizeof(text), "%s/%s", dir, path);
	return text;
}

static void
set_up(void)
{
	char	 error[512] = "";

	strcpy(dir, "/tmp/check_read.XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(dir));
	ck_assert_int_eq(mkdir(below("acme"), 0700), 0);
	ck_assert_int_eq(mkdir(below("acme/" UUID), 0700), 0);
	db = catalog_open(dir, error, sizeof(error));
	ck_assert_msg(db != NULL, "%s", error);
	sql("INSERT INTO vm (uuid, tenant, name) VALUES ('" UUID "', 'acme', 'web1')");
	sql("INSERT INTO stream (id, vm, started_ns) VALUES (" STREAM_SQL ", '" UUID "', 1)");
	buf_init(&bytes, 1024 * 1024);
	count = warnings = 0;
}

static void
tear_down(void)
{
	char	 command[128];

	buf_clear(&bytes);
	sqlite3_close(db);
	snprintf(command, sizeof(command), "rm -rf %s", dir);
	ck_assert_int_eq(system(command), 0);
}

/* The file's head; the interface stands in the catalog too, as blob. */
static void
begin(uint16_t linktype)
{
	struct pcapng_interface	 interface = { .linktype = linktype, .name = "eth0" };
	char			 hex[512] = "";
	size_t			 at;

	ck_assert_int_eq(pcapng_put_shb(&bytes, "x86_64", "Linux", "check"), 0);
	at = bytes.len;
	ck_assert_int_eq(pcapng_put_idb(&bytes, &interface), 0);
	for (size_t i = at; i < bytes.len; i++)
		snprintf(hex + 2 * (i - at), 3, "%02x", bytes.data[i]);
	sql("INSERT INTO interface (stream, id, name, linktype, idb) VALUES (" STREAM_SQL ", 0, 'eth0', %u, x'%s')", linktype, hex);
}

/* IPv4, UDP, from 10.0.0.last; for LINKTYPE_RAW. */
static void
add_packet(uint64_t time_ns, uint8_t last)
{
	const uint8_t		 data[28] = { 0x45, 0, 0, 28, 0, 0, 0, 0, 64, 17, 0, 0, 10, 0, 0, last, 10, 0, 0, 99 };
	struct pcapng_packet	 packet = { .time_ns = time_ns, .captured_len = 28, .original_len = 28, .data = data };

	ck_assert_int_eq(pcapng_put_epb(&bytes, &packet), 0);
}

static void
add_point(uint64_t block, uint64_t first_ns)
{
	sql("INSERT INTO point (file, block, offset, first_ns) VALUES (1, %llu, %zu, %lld)", (unsigned long long)block, bytes.len,
	    (long long)first_ns);
}

static void
write_file(const char *path, uint64_t first_ns, uint64_t last_ns, size_t length)
{
	int	 fd = open(below(path), O_WRONLY | O_CREAT | O_TRUNC, 0600);

	ck_assert_int_ne(fd, -1);
	ck_assert_int_eq(write(fd, bytes.data, bytes.len), (ssize_t)bytes.len);
	close(fd);
	sql("INSERT INTO file (id, vm, stream, path, codec, created_ns, length, packets, first_ns, last_ns) VALUES (1, '" UUID "', "
	    STREAM_SQL ", '" FILE_PATH "', 'none', 1, %zu, 1, %lld, %lld)", length, (long long)first_ns, (long long)last_ns);
}

static int
on_block(const uint8_t of[MSG_ID_SIZE], const uint8_t *block, size_t len, void *arg)
{
	struct pcapng_packet	 packet;
	struct pcapng_walk	 walk;
	uint32_t		 type;

	ck_assert_mem_eq(of, stream, MSG_ID_SIZE);
	pcapng_walk_init(&walk, block, len);
	ck_assert_int_eq(pcapng_walk_next(&walk, &type, &packet, &block, &len), 1);
	if (type == PCAPNG_EPB)
		seen[count++] = packet.time_ns;
	return arg == NULL || count < *(unsigned *)arg;
}

static void
on_warning(const char *text, void *arg)
{
	(void)arg;
	ck_assert_ptr_nonnull(strstr(text, "gone"));
	warnings++;
}

static struct store_reader
reader_of(uint64_t from_ns, uint64_t to_ns)
{
	struct store_reader	 reader = { .db = db, .store = dir, .uuid = UUID, .from_ns = from_ns, .to_ns = to_ns, .block = on_block,
		    .warning = on_warning };

	return reader;
}

START_TEST(whole)
{
	struct store_reader	 reader = reader_of(0, UINT64_MAX);
	unsigned		 enough = 2;

	begin(LINKTYPE_RAW);
	for (unsigned i = 0; i < 3; i++)
		add_packet(START + i, 1);
	write_file(FILE_PATH, START, START + 2, bytes.len);
	ck_assert_int_eq(store_read(&reader), 0);
	ck_assert_uint_eq(count, 3);
	ck_assert_uint_eq(seen[2], START + 2);
	count = 0;
	reader.arg = &enough;
	ck_assert_int_eq(store_read(&reader), 0);
	ck_assert_uint_eq(count, 2);
}
END_TEST

/* A clock may be anywhere: the catalog's integers are negative from 2262 on. */
START_TEST(far_future)
{
	struct store_reader	 reader = reader_of(0, UINT64_MAX);

	begin(LINKTYPE_RAW);
	add_point(1, START);
	add_packet(START, 1);
	add_point(2, UINT64_MAX - 5);
	add_packet(UINT64_MAX - 5, 1);
	write_file(FILE_PATH, START, UINT64_MAX - 5, bytes.len);
	ck_assert_int_eq(store_read(&reader), 0);
	ck_assert_uint_eq(count, 2);
	count = 0;
	reader = reader_of(START + 100 * SECOND, UINT64_MAX);
	ck_assert_int_eq(store_read(&reader), 0);
	ck_assert_uint_ge(count, 1);
	ck_assert_uint_eq(seen[count - 1], UINT64_MAX - 5);
}
END_TEST

/* Points a minute apart: each window of packets is within what is read, and the far ones are not. */
START_TEST(window_by_index)
{
	begin(LINKTYPE_RAW);
	for (unsigned i = 0; i < 20; i++) {
		add_point(i + 1, START + i * 60 * SECOND);
		add_packet(START + i * 60 * SECOND, 1);
		add_packet(START + i * 60 * SECOND + 9 * SECOND, 1);
	}
	write_file(FILE_PATH, START, START + 20 * 60 * SECOND, bytes.len);
	for (unsigned from = 0; from < 20; from++) {
		for (unsigned to = from; to < 20; to++) {
			struct store_reader	 reader = reader_of(START + from * 60 * SECOND + 9 * SECOND, START + to * 60 * SECOND + 9 * SECOND);

			count = 0;
			ck_assert_int_eq(store_read(&reader), 0);
			ck_assert_uint_ge(count, 2 * (to - from) + 1);
			ck_assert_uint_le(count, 2 * (to - from) + 6);
			ck_assert_uint_le(seen[0], reader.from_ns);
			ck_assert_uint_ge(seen[count - 1], reader.to_ns);
		}
	}
}
END_TEST

/* Wherever the catalog lets the file end, but for the edges of its blocks, something is missing and is told. */
START_TEST(every_cut)
{
	size_t	 head;

	begin(LINKTYPE_RAW);
	head = bytes.len;
	add_packet(START, 1);
	write_file(FILE_PATH, START, START, bytes.len);
	for (size_t length = head; length <= bytes.len; length++) {
		struct store_reader	 reader = reader_of(0, UINT64_MAX);
		bool			 edge = length == head || length == bytes.len;

		sql("UPDATE file SET length = %zu", length);
		ck_assert_int_eq(store_read(&reader), edge ? 0 : -1);
		if (!edge)
			ck_assert_ptr_nonnull(strstr(reader.error, "ends inside a packet"));
	}
	sql("UPDATE file SET length = %zu", bytes.len + 1);
	struct store_reader	 reader = reader_of(0, UINT64_MAX);
	ck_assert_int_eq(store_read(&reader), -1);
	ck_assert_ptr_nonnull(strstr(reader.error, "shorter than the catalog says"));
}
END_TEST

START_TEST(damaged)
{
	struct store_reader	 reader = reader_of(0, UINT64_MAX);

	begin(LINKTYPE_RAW);
	ck_assert_int_eq(buf_put_u32le(&bytes, PCAPNG_EPB), 0);
	ck_assert_int_eq(buf_put_u32le(&bytes, (uint32_t)_i), 0);
	write_file(FILE_PATH, START, START, bytes.len);
	ck_assert_int_eq(store_read(&reader), -1);
	ck_assert_ptr_nonnull(strstr(reader.error, _i == 64 ? "ends inside a packet" : "an impossible block length"));
}
END_TEST

START_TEST(hidden_and_gone)
{
	struct store_reader	 reader = reader_of(0, UINT64_MAX);

	begin(LINKTYPE_RAW);
	add_packet(START, 1);
	write_file("acme/" UUID "/.file", START, START, bytes.len);
	ck_assert_int_eq(store_read(&reader), 0);
	ck_assert_uint_eq(count, 1);
	ck_assert_uint_eq(warnings, 0);
	ck_assert_int_eq(unlink(below("acme/" UUID "/.file")), 0);
	ck_assert_int_eq(store_read(&reader), 0);
	ck_assert_uint_eq(count, 1);
	ck_assert_uint_eq(warnings, 1);
}
END_TEST

static void
next_is(struct store_cursor *cursor, int more, uint64_t time_ns)
{
	struct store_item	 item;

	ck_assert_msg(store_cursor_next(cursor, &item) == more, "%s", store_cursor_error(cursor));
	if (more == 1)
		ck_assert_uint_eq(item.packet.time_ns, time_ns);
}

/* What becomes durable later is given later: a file that grows, one that is new, while the first waits for its end. */
START_TEST(follows)
{
	struct store_cursor_settings	 settings = { .db = db, .store = dir, .uuid = UUID, .from_ns = START, .to_ns = UINT64_MAX,
		    .follow = _i == 0, .warning = on_warning };
	struct store_cursor		*cursor = store_cursor_new(&settings);
	size_t				 first, second;
	char				 twin[256 + 1];

	begin(LINKTYPE_RAW);
	add_packet(START, 1);
	first = bytes.len;
	add_packet(START + 1, 1);
	second = bytes.len;
	add_packet(START + 2, 1);
	write_file(FILE_PATH, START - 2, START - 1, first);
	sql("UPDATE file SET last_ns = %lld", (long long)START);
	next_is(cursor, 1, START);
	next_is(cursor, 0, 0);
	next_is(cursor, 0, 0);
	sql("UPDATE file SET length = %zu", second);
	sql("INSERT INTO file (id, vm, stream, path, codec, created_ns, length, packets, first_ns, last_ns) SELECT 2, vm, stream,"
	    " path || '2', codec, 1, %zu, 1, first_ns, last_ns FROM file WHERE id = 1", first);
	snprintf(twin, sizeof(twin), "%s2", below(FILE_PATH));
	ck_assert_int_eq(link(below(FILE_PATH), twin), 0);
	if (_i == 0) {
		next_is(cursor, 1, START + 1);
		next_is(cursor, 1, START);
		sql("UPDATE file SET length = %zu, live = 0 WHERE id = 1", bytes.len);
		next_is(cursor, 0, 0);
		next_is(cursor, 1, START + 2);
		sql("DELETE FROM file WHERE id = 2");
	}
	next_is(cursor, 0, 0);
	next_is(cursor, 0, 0);
	store_cursor_free(cursor);
}
END_TEST

/* Runs the verb in a process of its own, standard output on fd (closed here); its stderr is in text. Returns the status. */
static int
run_read(int fd, const char *filter, const char *option, char text[1024])
{
	char	*argv[] = { (char []){ "read" }, (char []){ "web1" }, (char []){ "--store" }, dir, (char *)(uintptr_t)option,
		    (char *)(uintptr_t)filter, NULL };
	int	 fds[2], argc = option == NULL ? 4 : filter == NULL ? 5 : 6, status = 0;
	ssize_t	 n, len = 0;
	pid_t	 pid;

	ck_assert_int_eq(pipe(fds), 0);
	fflush(NULL);
	if ((pid = fork()) == 0) {
		signal(SIGPIPE, SIG_IGN);
		dup2(fds[1], 2);
		dup2(fd, 1);
		exit(cmd_read(argc, argv));
	}
	close(fds[1]);
	close(fd);
	while ((n = read(fds[0], text + len, (size_t)(1023 - len))) > 0)
		len += n;
	text[len] = '\0';
	close(fds[0]);
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert_msg(WIFEXITED(status), "%s", text);
	return WEXITSTATUS(status);
}

/* Little output is not written before the end: then its failure must show nevertheless. */
START_TEST(output_fails)
{
	char	 text[1024];
	int	 fds[2];

	begin(LINKTYPE_RAW);
	add_packet(START, 1);
	write_file(FILE_PATH, START, START, bytes.len);
	ck_assert_int_eq(run_read(open("/dev/full", O_WRONLY), NULL, NULL, text), 1);
	ck_assert_str_eq(text, "vmtap read: cannot write: No space left on device\n");
	ck_assert_int_eq(pipe(fds), 0);
	close(fds[0]);
	ck_assert_int_eq(run_read(fds[1], NULL, NULL, text), 0);
	ck_assert_str_eq(text, "");
	ck_assert_int_eq(run_read(open("/dev/null", O_WRONLY), NULL, "-w/dev/full", text), 1);
	ck_assert_str_eq(text, "vmtap read: cannot write: No space left on device\n");
}
END_TEST

/* The filter is for the link type at hand, which files number otherwise than libpcap. */
START_TEST(filter_on_raw_ip)
{
	char		 text[1024], option[512];
	struct stat	 st;

	begin(LINKTYPE_RAW);
	add_packet(START, 1);
	add_packet(START, 2);
	write_file(FILE_PATH, START, START, bytes.len);
	snprintf(option, sizeof(option), "-w%s", below("out"));
	ck_assert_int_eq(run_read(open("/dev/null", O_WRONLY), "src host 10.0.0.2", option, text), 0);
	ck_assert_str_eq(text, "");
	ck_assert_int_eq(stat(below("out"), &st), 0);
	ck_assert_int_gt(st.st_size, (off_t)bytes.len - 120);
	ck_assert_int_lt(st.st_size, (off_t)bytes.len + 20);
	ck_assert_int_eq(run_read(open("/dev/null", O_WRONLY), "ether host 02:00:00:00:00:01", option, text), 1);
	ck_assert_ptr_nonnull(strstr(text, "RAW"));
}
END_TEST

/* Told before the output is touched, packets or not. */
START_TEST(bad_filter)
{
	char	 text[1024], option[512];

	begin(LINKTYPE_RAW);
	snprintf(option, sizeof(option), "-w%s", below("out"));
	ck_assert_int_eq(run_read(open("/dev/null", O_WRONLY), "tcp prot 80", option, text), 1);
	ck_assert_ptr_nonnull(strstr(text, "syntax error"));
	ck_assert_int_eq(access(below("out"), F_OK), -1);
}
END_TEST

int
main(void)
{
	Suite	*suite = suite_create("read");
	TCase	*tc = tcase_create("read");
	SRunner	*runner = srunner_create(suite);
	int	 failed;

	log_init("check_read", LOG_LEVEL_ERROR);
	tcase_add_checked_fixture(tc, set_up, tear_down);
	tcase_add_test(tc, whole);
	tcase_add_test(tc, far_future);
	tcase_add_test(tc, window_by_index);
	tcase_add_test(tc, every_cut);
	tcase_add_loop_test(tc, damaged, 0, 12);
	tcase_add_loop_test(tc, damaged, 64, 65);
	tcase_add_test(tc, hidden_and_gone);
	tcase_add_loop_test(tc, follows, 0, 2);
	tcase_add_test(tc, output_fails);
	tcase_add_test(tc, filter_on_raw_ip);
	tcase_add_test(tc, bad_filter);
	suite_add_tcase(suite, tc);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
