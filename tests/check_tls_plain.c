/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#include "config.h"

#include <sys/socket.h>

#include <netinet/in.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <check.h>

#include "common/buf.h"
#include "common/tls.h"

#include "tests/tls_lab.h"

/* What is of plain connections alone; what they have in common with those under TLS is in check_tls. */

#define BACKLOG_TRIES	64

static struct event_base	*base;

static void
set_up(void)
{
	base = event_base_new();
}

static void
tear_down(void)
{
	event_base_free(base);
}

static void
count_uri(const char *uri, void *arg)
{
	(void)uri, (void)arg;
	ck_abort_msg("a URI without a certificate");
}

START_TEST(no_names)
{
	struct lab_end	 end = { 0 };
	struct buf	 root;
	int		 fds[2];

	lab_connect(&fds[0], &fds[1]);
	lab_end_open(&end, base, NULL, fds[1], TLSIO_SERVER);
	ck_assert_int_eq(tlsio_write(end.t, "x", 1), -1);
	ck_assert_int_eq(errno, ENOTCONN);
	ck_assert_uint_eq(tlsio_send(end.t, "x", 1), 0);
	lab_run(base, &end.opened);
	ck_assert_str_eq(tlsio_alpn(end.t), "");
	ck_assert_str_eq(tlsio_peer_uri(end.t), "");
	ck_assert_str_eq(tlsio_peer_common_name(end.t), "");
	ck_assert_int_eq(tlsio_peer_uris(end.t, "vmtap", count_uri, NULL), 0);
	ck_assert_int_gt(tlsio_peer_not_after(end.t), time(NULL) + 1000L * 365 * 86400);
	ck_assert_int_eq(strncmp(tlsio_peer_address(end.t), "127.0.0.1:", 10), 0);
	buf_init(&root, 65536);
	ck_assert_int_eq(tlsio_peer_root(end.t, &root), -1);
	ck_assert_uint_eq(root.len, 0);
	ck_assert_uint_eq(tlsio_bytes_in(end.t) + tlsio_bytes_out(end.t), 0);
	tlsio_free(end.t);
	close(fds[0]);
}
END_TEST

static void
answer(struct lab_end *end)
{
	struct buf	*input = tlsio_input(end->t);

	end->got += input->len;
	buf_consume(input, input->len);
	tlsio_input_taken(end->t);
	ck_assert_int_eq(tlsio_write(end->t, "and ", 4), 0);
	ck_assert_uint_eq(tlsio_send(end->t, "good ", 5), 5);
	tlsio_cork(end->t);
	ck_assert_uint_eq(tlsio_send(end->t, "bye", 3), 3);
	tlsio_uncork(end->t);
}

static size_t
read_all(int fd, char *dst, size_t size)
{
	size_t	 got = 0;
	ssize_t	 n;

	while ((n = read(fd, dst + got, size - got)) > 0)
		got += (size_t)n;
	ck_assert_int_eq(n, 0);
	return got;
}

/* Its last words arrive, and ours in the order in which they were said, whichever function took them. */
START_TEST(half_closed)
{
	struct lab_end	 end = { .on_readable = answer };
	char		 text[64];
	int		 fds[2];

	lab_connect(&fds[0], &fds[1]);
	ck_assert_int_eq(write(fds[0], "hello", 5), 5);
	ck_assert_int_eq(shutdown(fds[0], SHUT_WR), 0);
	lab_end_open(&end, base, NULL, fds[1], TLSIO_SERVER);
	lab_run(base, &end.closed);
	ck_assert_uint_eq(end.got, 5);
	ck_assert_str_eq(end.why, "peer closed the connection");
	ck_assert_uint_eq(read_all(fds[0], text, sizeof(text)), 12);
	ck_assert_mem_eq(text, "and good bye", 12);
	ck_assert_uint_eq(tlsio_bytes_in(end.t), 5);
	ck_assert_uint_eq(tlsio_bytes_out(end.t), 12);
	tlsio_free(end.t);
	close(fds[0]);
}
END_TEST

static void
reset(int fd)
{
	struct linger	 now = { 1, 0 };

	ck_assert_int_eq(setsockopt(fd, SOL_SOCKET, SO_LINGER, &now, sizeof(now)), 0);
	close(fd);
}

START_TEST(peer_resets)
{
	struct lab_end	 end = { 0 };
	int		 fds[2];

	lab_connect(&fds[0], &fds[1]);
	lab_end_open(&end, base, NULL, fds[1], TLSIO_SERVER);
	lab_run(base, &end.opened);
	reset(fds[0]);
	lab_run(base, &end.closed);
	ck_assert_str_eq(end.why, "Connection reset by peer");
	tlsio_free(end.t);
}
END_TEST

/* The port of a listener that is gone. */
START_TEST(nobody_listens)
{
	struct sockaddr_in	 sin = { .sin_family = AF_INET, .sin_addr = { htonl(INADDR_LOOPBACK) } };
	socklen_t		 len = sizeof(sin);
	int			 bound = socket(AF_INET, SOCK_STREAM, 0), fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
	struct lab_end		 end = { 0 };

	ck_assert_int_eq(bind(bound, (struct sockaddr *)&sin, sizeof(sin)), 0);
	ck_assert_int_eq(getsockname(bound, (struct sockaddr *)&sin, &len), 0);
	ck_assert_int_eq(connect(fd, (struct sockaddr *)&sin, sizeof(sin)), -1);
	lab_end_open(&end, base, NULL, fd, TLSIO_CLIENT);
	lab_run(base, &end.closed);
	ck_assert_uint_eq(end.opened, 0);
	ck_assert_str_eq(end.why, "cannot connect: Connection refused");
	tlsio_free(end.t);
	close(bound);
}
END_TEST

/* One that waits, the listener's queue being full. */
static int
connect_in_vain(int listener)
{
	struct sockaddr_in	 sin;
	socklen_t		 len = sizeof(sin);
	struct timeval		 wait = { 0, 100000 };
	fd_set			 set;
	int			 fd;

	ck_assert_int_eq(getsockname(listener, (struct sockaddr *)&sin, &len), 0);
	for (unsigned i = 0; i < BACKLOG_TRIES; i++) {
		fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
		ck_assert_int_eq(connect(fd, (struct sockaddr *)&sin, sizeof(sin)), -1);
		FD_ZERO(&set);
		FD_SET(fd, &set);
		if (select(fd + 1, NULL, &set, NULL, &wait) == 0)
			return fd;
	}
	ck_abort_msg("the listener's queue has no end");
	return -1;
}

START_TEST(connects_too_slowly)
{
	struct sockaddr_in	 sin = { .sin_family = AF_INET, .sin_addr = { htonl(INADDR_LOOPBACK) } };
	struct tlsio_options	 options = lab_options(TLSIO_CLIENT);
	int			 listener = socket(AF_INET, SOCK_STREAM, 0);
	struct lab_end		 end = { 0 };

	ck_assert_int_eq(bind(listener, (struct sockaddr *)&sin, sizeof(sin)), 0);
	ck_assert_int_eq(listen(listener, 0), 0);
	options.handshake_ms = 60;
	end.t = tlsio_new(base, NULL, connect_in_vain(listener), &options, &lab_callbacks, &end);
	lab_run(base, &end.closed);
	ck_assert_str_eq(end.why, "no connection within 0.06 s");
	tlsio_free(end.t);
	close(listener);
}
END_TEST

static void
take_and_count(struct lab_end *end)
{
	struct buf	*input = tlsio_input(end->t);

	ck_assert_uint_le(input->len, 1000);
	end->got += input->len;
	buf_consume(input, input->len);
	tlsio_input_taken(end->t);
}

static const struct {
	size_t	 read_budget, input_max;
} bounds[] = { { 1000, 65536 }, { 65536, 1000 } };

/* Others of the loop have their turn: so many bytes a wake-up, and no more; and no more than the input may hold. */
START_TEST(bounded)
{
	static uint8_t	 bytes[50000];
	struct tlsio_options options = lab_options(TLSIO_SERVER);
	struct lab_end	 end = { .on_readable = take_and_count };
	int		 fds[2];

	options.read_budget = bounds[_i].read_budget;
	options.input_max = bounds[_i].input_max;
	lab_connect(&fds[0], &fds[1]);
	ck_assert_int_eq(write(fds[0], bytes, sizeof(bytes)), sizeof(bytes));
	close(fds[0]);
	end.t = tlsio_new(base, NULL, fds[1], &options, &lab_callbacks, &end);
	lab_run(base, &end.closed);
	ck_assert_uint_eq(end.got, sizeof(bytes));
	ck_assert_uint_ge(end.readable, sizeof(bytes) / 1000);
	tlsio_free(end.t);
}
END_TEST

int
main(void)
{
	Suite	*suite = suite_create("tls_plain");
	TCase	*tc = tcase_create("plain");
	SRunner	*runner;
	int	 failed;

	tcase_set_timeout(tc, 30);
	tcase_add_checked_fixture(tc, set_up, tear_down);
	tcase_add_test(tc, no_names);
	tcase_add_test(tc, half_closed);
	tcase_add_test(tc, peer_resets);
	tcase_add_test(tc, nobody_listens);
	tcase_add_test(tc, connects_too_slowly);
	tcase_add_loop_test(tc, bounded, 0, sizeof(bounds) / sizeof(bounds[0]));
	suite_add_tcase(suite, tc);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
