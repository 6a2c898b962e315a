/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#include "config.h"

#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <check.h>
#include <event2/event.h>

#include "common/buf.h"
#include "common/conf.h"
#include "common/http.h"

#define BODY	"# HELP x h\n"

static char folder[] = "/tmp/check_http.XXXXXX", place[64];
static struct event_base *base;
static struct http *http;
static struct http_client *waiting[HTTP_CLIENTS_MAX];
static unsigned asked;
static bool later;

static void
on_ask(struct http_client *client, void *arg)
{
	(void)arg;
	if (later)
		waiting[asked++] = client;
	else
		http_answer(client, BODY, strlen(BODY), NULL);
}

static void
setup(void)
{
	struct conf_error error;
	int fd;

	signal(SIGPIPE, SIG_IGN);	/* as the programs do */
	ck_assert_ptr_nonnull(mkdtemp(folder));
	snprintf(place, sizeof(place), "%s/sock", folder);
	ck_assert_ptr_nonnull(base = event_base_new());
	ck_assert_ptr_nonnull(http = http_new(base, on_ask, NULL));
	ck_assert_int_ne(fd = http_bind(place, &error), -1);
	ck_assert_int_eq(http_listen(http, fd), 0);
}

static void
teardown(void)
{
	http_free(http);
	event_base_free(base);
	http_unbind(place);
	ck_assert_int_eq(rmdir(folder), 0);
}

static int
client_new(void)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	strcpy(address.sun_path, place);
	ck_assert_int_eq(connect(fd, (struct sockaddr *)&address, sizeof(address)), 0);
	return fd;
}

/* All until the server closes. */
static size_t
client_read_all(int fd, char *reply, size_t size)
{
	size_t len = 0;
	ssize_t n;

	do {
		event_base_loop(base, EVLOOP_NONBLOCK);
		n = recv(fd, reply + len, size - len - 1, MSG_DONTWAIT);
		len += n > 0 ? (size_t)n : 0;
	} while (n > 0 || (n == -1 && errno == EAGAIN));
	close(fd);
	reply[len] = '\0';
	return len;
}

static const char *
client_read(int fd)
{
	static char reply[64 * 1024];

	client_read_all(fd, reply, sizeof(reply));
	return reply;
}

static const char *
ask(const char *request)
{
	int fd = client_new();

	ck_assert_int_eq(send(fd, request, strlen(request), MSG_NOSIGNAL), (ssize_t)strlen(request));
	return client_read(fd);
}

static const struct { const char *request, *status; } rows[] = {
	{ "GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n", "200" }, { "GET /metrics HTTP/1.0\r\n\r\n", "200" },
	{ "GET /metrics?name[]=x HTTP/1.1\n\n", "200" }, { "GET / HTTP/1.1\r\n\r\n", "404" }, { "GET /metricsx HTTP/1.1\r\n\r\n", "404" },
	{ "POST /metrics HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc", "405" }, { "HEAD /metrics HTTP/1.1\r\n\r\n", "405" },
	{ "\r\n\r\n", "400" }, { "GET\r\n\r\n", "400" }, { "GET /metrics\r\n\r\n", "400" }, { "GET /metrics HTTP/2\r\n\r\n", "400" },
	{ " \r\n\r\n", "400" }, { "\x16\x03\x01\n\n", "400" },
};

START_TEST(each_request_has_its_status)
{
	const char *reply = ask(rows[_i].request);

	ck_assert_msg(strncmp(reply, "HTTP/1.1 ", 9) == 0 && strncmp(reply + 9, rows[_i].status, 3) == 0, "%s", reply);
}
END_TEST

START_TEST(the_answer_is_whole)
{
	ck_assert_str_eq(ask("GET /metrics HTTP/1.1\r\n\r\n"), "HTTP/1.1 200 OK\r\nContent-Type: text/plain; version=0.0.4; "
	    "charset=utf-8\r\nContent-Length: 11\r\nConnection: close\r\n\r\n" BODY);
}
END_TEST

START_TEST(a_long_head_is_refused)
{
	char request[HTTP_HEAD_MAX + 1];

	memset(request, 'a', sizeof(request));
	request[HTTP_HEAD_MAX] = '\0';
	ck_assert_int_eq(strncmp(ask(request), "HTTP/1.1 431", 12), 0);
}
END_TEST

START_TEST(an_answer_may_come_later)
{
	int fd = client_new();

	later = true;
	ck_assert_int_eq(send(fd, rows[0].request, strlen(rows[0].request), 0), (ssize_t)strlen(rows[0].request));
	shutdown(fd, SHUT_WR);
	while (asked == 0)
		event_base_loop(base, EVLOOP_NONBLOCK);
	for (int i = 0; i < 10; i++)
		event_base_loop(base, EVLOOP_NONBLOCK);
	http_answer(waiting[0], NULL, 0, "not today");
	ck_assert_ptr_nonnull(strstr(client_read(fd), "503 Service Unavailable"));
}
END_TEST

START_TEST(who_waits_may_go)
{
	int fd = client_new();

	later = true;
	ck_assert_int_eq(send(fd, rows[0].request, strlen(rows[0].request), 0), (ssize_t)strlen(rows[0].request));
	while (asked == 0)
		event_base_loop(base, EVLOOP_NONBLOCK);
	close(fd);
	for (int i = 0; i < 10; i++)
		event_base_loop(base, EVLOOP_NONBLOCK);
	http_answer(waiting[0], BODY, strlen(BODY), NULL);
}
END_TEST

static void
turn(void)
{
	for (int i = 0; i < 10; i++)
		event_base_loop(base, EVLOOP_NONBLOCK);
}

static int
client_asking(void)
{
	int fd = client_new();

	ck_assert_int_eq(send(fd, rows[0].request, strlen(rows[0].request), 0), (ssize_t)strlen(rows[0].request));
	return fd;
}

/* Nothing has come, and it is not over: EAGAIN. */
static int
client_state(int fd)
{
	char c;

	return recv(fd, &c, 1, MSG_DONTWAIT | MSG_PEEK) == -1 ? errno : 0;
}

/* Those who have asked are served, and one more waits until one of them goes. */
START_TEST(clients_beyond_the_limit_wait)
{
	int fd[HTTP_CLIENTS_MAX], late;

	later = true;
	for (int i = 0; i < HTTP_CLIENTS_MAX; i++)
		fd[i] = client_asking();
	while (asked < HTTP_CLIENTS_MAX)
		event_base_loop(base, EVLOOP_NONBLOCK);
	later = false;
	late = client_asking();
	turn();
	ck_assert_int_eq(client_state(late), EAGAIN);
	http_answer(waiting[3], BODY, strlen(BODY), NULL);
	ck_assert_int_eq(strncmp(client_read(late), "HTTP/1.1 200", 12), 0);
	for (int i = 0; i < HTTP_CLIENTS_MAX; i++) {
		ck_assert_int_eq(client_state(fd[i]), i == 3 ? 0 : EAGAIN);
		if (i != 3)
			http_answer(waiting[i], BODY, strlen(BODY), NULL);
		close(fd[i]);
	}
}
END_TEST

/* Those who say nothing keep nobody out: the oldest of them goes, and no other. */
START_TEST(the_silent_give_way)
{
	int fd[HTTP_CLIENTS_MAX];

	for (int i = 0; i < HTTP_CLIENTS_MAX; i++) {
		fd[i] = client_new();
		turn();
	}
	ck_assert_int_eq(send(fd[0], rows[0].request, strlen(rows[0].request), 0), (ssize_t)strlen(rows[0].request));
	ck_assert_int_eq(strncmp(client_read(client_asking()), "HTTP/1.1 200", 12), 0);
	ck_assert_int_eq(strncmp(client_read(fd[0]), "HTTP/1.1 200", 12), 0);
	fd[0] = client_new();
	turn();
	ck_assert_int_eq(strncmp(client_read(client_asking()), "HTTP/1.1 200", 12), 0);
	for (int i = 0; i < HTTP_CLIENTS_MAX; i++)
		ck_assert_int_eq(client_state(fd[i]), i == 1 ? 0 : EAGAIN);
	close(fd[0]);
	for (int i = 1; i < HTTP_CLIENTS_MAX; i++)
		close(fd[i]);
}
END_TEST

/* Nor do those who do not take what they asked for, not for long. */
START_TEST(who_takes_nothing_gives_way)
{
	struct timespec begun, now;
	int fd[HTTP_CLIENTS_MAX];
	struct http_text *text;
	struct buf buf;

	later = true;
	buf_init(&buf, 4 << 20);
	ck_assert_int_eq(buf_reserve(&buf, buf.max), 0);
	memset(buf.data, 'a', buf.max);
	buf.len = buf.max;
	ck_assert_ptr_nonnull(text = http_text_new(&buf));
	for (int i = 0; i < HTTP_CLIENTS_MAX; i++)
		fd[i] = client_asking();
	while (asked < HTTP_CLIENTS_MAX)
		event_base_loop(base, EVLOOP_NONBLOCK);
	for (int i = 0; i < HTTP_CLIENTS_MAX; i++)
		http_answer_texts(waiting[i], &text, 1);
	http_text_unref(text);
	later = false;
	clock_gettime(CLOCK_MONOTONIC, &begun);
	ck_assert_int_eq(strncmp(client_read(client_asking()), "HTTP/1.1 200", 12), 0);
	clock_gettime(CLOCK_MONOTONIC, &now);
	ck_assert_int_lt(now.tv_sec - begun.tv_sec, HTTP_IDLE_S - 1);
	for (int i = 0; i < HTTP_CLIENTS_MAX; i++)
		close(fd[i]);
}
END_TEST

/* However many ask for it, and whether they take it or go. */
START_TEST(a_long_text_is_shared)
{
	static char reply[3 * 1024 * 1024];
	struct http_text *text[3] = { NULL };
	int fd[3];
	struct buf buf;

	later = true;
	buf_init(&buf, 4 << 20);
	for (int i = 0; i < 100000; i++)
		ck_assert_int_eq(buf_printf(&buf, "number %d\n", i), 0);
	ck_assert_ptr_nonnull(text[0] = http_text_new(&buf));
	ck_assert_uint_eq(buf.len, 0);
	ck_assert_int_eq(buf_put(&buf, BODY, strlen(BODY)), 0);
	ck_assert_ptr_nonnull(text[2] = http_text_new(&buf));
	for (int i = 0; i < 3; i++)
		fd[i] = client_asking();
	while (asked < 3)
		event_base_loop(base, EVLOOP_NONBLOCK);
	close(fd[2]);
	turn();
	for (int i = 0; i < 3; i++)
		http_answer_texts(waiting[i], text, 3);
	http_text_unref(text[0]);
	http_text_unref(text[2]);
	close(fd[0]);
	ck_assert_uint_gt(client_read_all(fd[1], reply, sizeof(reply)), 100000 * 9);
	ck_assert_ptr_nonnull(strstr(reply, "\r\n\r\nnumber 0\n"));
	ck_assert_ptr_nonnull(strstr(reply, "\nnumber 99999\n" BODY));
}
END_TEST

START_TEST(a_path_has_one_owner)
{
	struct conf_error error;
	struct stat st;
	char file[80];
	int fd;

	ck_assert_int_eq(stat(place, &st), 0);
	ck_assert_uint_eq(st.st_mode & 07777, 0660);
	ck_assert_int_eq(http_bind(place, &error), -1);		/* somebody is there */
	ck_assert_ptr_nonnull(strstr(error.text, strerror(EADDRINUSE)));
	ck_assert_ptr_nonnull(strstr(ask(rows[0].request), "200 OK"));
	http_free(http);
	http = NULL;
	ck_assert_int_ne(fd = http_bind(place, &error), -1);	/* nobody is */
	close(fd);
	snprintf(file, sizeof(file), "%s/file", folder);
	close(open(file, O_CREAT | O_WRONLY | O_CLOEXEC, 0600));
	ck_assert_int_eq(http_bind(file, &error), -1);		/* that is no socket */
	ck_assert_int_eq(unlink(file), 0);
}
END_TEST

static const char *const bad_places[] = { "", "localhost:9100", "127.0.0.1", "127.0.0.1:", "127.0.0.1:0", "127.0.0.1:99999", "relative",
	"/123456789/123456789/123456789/123456789/123456789/123456789/123456789/123456789/123456789/123456789/12345678" };

START_TEST(bad_places_are_told)
{
	struct conf_error error = { "" };

	ck_assert_int_eq(http_check_place(bad_places[_i], &error), -1);
	ck_assert_uint_gt(strlen(error.text), 0);
}
END_TEST

START_TEST(good_places_are_fine)
{
	static const char *const good[] = { "/run/a.sock", "127.0.0.1:9100", "[::1]:9100", "0.0.0.0:1" };
	struct conf_error error;

	for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++)
		ck_assert_int_eq(http_check_place(good[i], &error), 0);
}
END_TEST

int
main(void)
{
	Suite		*suite = suite_create("http");
	TCase		*tc = tcase_create("http");
	SRunner		*runner = srunner_create(suite);
	int		 failed;

	suite_add_tcase(suite, tc);
	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_loop_test(tc, each_request_has_its_status, 0, (int)(sizeof(rows) / sizeof(rows[0])));
	tcase_add_test(tc, the_answer_is_whole);
	tcase_add_test(tc, a_long_head_is_refused);
	tcase_add_test(tc, an_answer_may_come_later);
	tcase_add_test(tc, who_waits_may_go);
	tcase_add_test(tc, clients_beyond_the_limit_wait);
	tcase_add_test(tc, the_silent_give_way);
	tcase_add_test(tc, who_takes_nothing_gives_way);
	tcase_add_test(tc, a_long_text_is_shared);
	tcase_set_timeout(tc, 30);
	tcase_add_test(tc, a_path_has_one_owner);
	tcase_add_loop_test(tc, bad_places_are_told, 0, (int)(sizeof(bad_places) / sizeof(bad_places[0])));
	tcase_add_test(tc, good_places_are_fine);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
