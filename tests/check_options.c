/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#include "config.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <check.h>

#include "proto/msg.h"

#include "agent/supervisor.h"

static char config_path[] = "/tmp/check_options.conf.XXXXXX", filter_path[] = "/tmp/check_options.filter.XXXXXX";
static struct agent_options options;
static struct conf_error error;

static void
setup(void)
{
	close(mkstemp(config_path));
	close(mkstemp(filter_path));
	memset(&options, 0, sizeof(options));
}

static void
teardown(void)
{
	agent_options_free(&options);
	unlink(config_path);
	unlink(filter_path);
}

static void
put(const char *path, const char *text)
{
	FILE *file = fopen(path, "we");

	ck_assert_ptr_nonnull(file);
	ck_assert_int_ge(fputs(text, file), 0);
	ck_assert_int_eq(fclose(file), 0);
}

/* Command line "vmtap-agent --config ..." and these, to the first NULL. */
static int
load(const char *a, const char *b, const char *c, const char *d)
{
	const char *text[] = { "vmtap-agent", "--config", config_path, a, b, c, d };
	char *argv[8] = { NULL };
	int argc = 0, result;

	for (size_t i = 0; i < 7 && text[i] != NULL; i++)
		argv[argc++] = strdup(text[i]);
	result = agent_options_load(&options, argc, argv, &error);
	while (argc > 0)
		free(argv[--argc]);
	return result;
}

START_TEST(test_defaults)
{
	ck_assert_int_eq(load(NULL, NULL, NULL, NULL), 0);
	ck_assert_uint_eq(options.snaplen, 262144);
	ck_assert_uint_eq(options.buffer_kib, 8192);
	ck_assert_int_eq(options.direction, DIRECTION_INOUT);
	ck_assert_uint_eq(options.flush_ms, 250);
	ck_assert_uint_eq(options.spool_memory, 16 << 20);
	ck_assert_uint_eq(options.keepalive_ms, 10000);
	ck_assert_uint_eq(options.rate_limit, 0);
	ck_assert_ptr_null(options.filter);
	ck_assert_ptr_nonnull(options.user);
	ck_assert(!options.promiscuous);
	ck_assert_int_eq(supervisor_check_options(&options, &error), 2);
	ck_assert_ptr_nonnull(strstr(error.text, "--collector"));
}
END_TEST

static const struct {
	const char	*option, *value;
	int		result;
} bounds[] = {
	{ "-s", "0", -1 }, { "-s", "1", 0 }, { "-s", "262144", 0 }, { "-s", "262145", -1 },
	{ "-B", "2047", -1 }, { "-B", "2048", 0 }, { "-B", "1048577", -1 },
	{ "-Q", "out", 0 }, { "-Q", "both", -1 },
	{ "--flush-interval", "9ms", -1 }, { "--flush-interval", "10s", 0 }, { "--flush-interval", "11s", -1 },
	{ "--spool-memory", "1M", -1 }, { "--spool-memory", "4G", 0 }, { "--spool-memory", "5G", -1 },
	{ "--keepalive", "0.5", -1 }, { "--keepalive", "1h", 0 }, { "--keepalive", "2h", -1 },
	{ "--rpcap-clients", "0", -1 }, { "--rpcap-clients", "8", 0 }, { "--rpcap-clients", "9", -1 },
	{ "--rpcap-data-port", "65535", 0 }, { "--rpcap-data-port", "65536", -1 },
	{ "--rate-limit", "0", 0 }, { "--rate-limit", "1000000", 0 }, { "--rate-limit", "-1", -1 },
};

START_TEST(test_bounds)
{
	ck_assert_int_eq(load(bounds[_i].option, bounds[_i].value, NULL, NULL), bounds[_i].result);
}
END_TEST

#define FINGERPRINT	"SHA256:000102030405060708090A0B0c0d0e0f101112131415161718191a1b1c1d1e1f"

/* Where what enrolment gives is kept, and who takes packets, follows from --enroll. */
START_TEST(test_enroll)
{
	put(config_path, "ca-fingerprint = " FINGERPRINT "\nstate-dir = /state\n");
	ck_assert_int_eq(load("--enroll=collector.example.org", NULL, NULL, NULL), 0);
	ck_assert_str_eq(options.ca, "/state/ca.crt");
	ck_assert_str_eq(options.cert, "/state/agent.pem");
	ck_assert_str_eq(options.key, "/state/agent.pem");
	ck_assert_str_eq(options.token_file, "/state/token");
	ck_assert_uint_eq(options.collectors.count, 1);
	ck_assert_str_eq(options.collectors.value[0], "collector.example.org");
	ck_assert_int_eq(supervisor_check_options(&options, &error), 0);
	ck_assert_int_eq(load("--enroll=[2001:db8::1]:99", "--collector=192.0.2.1", "--token-file=/run/token", NULL), 0);
	ck_assert_str_eq(options.token_file, "/run/token");
	ck_assert_uint_eq(options.collectors.count, 1);
	ck_assert_str_eq(options.collectors.value[0], "192.0.2.1");
	ck_assert_int_eq(supervisor_check_options(&options, &error), 0);
	ck_assert_int_eq(load("--enroll=192.0.2.1", "--listen=127.0.0.1", NULL, NULL), 0);
	ck_assert_uint_eq(options.collectors.count, 0);
	ck_assert_int_eq(supervisor_check_options(&options, &error), 0);
}
END_TEST

START_TEST(test_no_enroll)
{
	ck_assert_int_eq(load("--state-dir=/state", NULL, NULL, NULL), 0);
	ck_assert_str_eq(options.ca, SYSCONFDIR "/vmtap/ca.crt");
	ck_assert_str_eq(options.cert, SYSCONFDIR "/vmtap/agent.crt");
	ck_assert_str_eq(options.key, SYSCONFDIR "/vmtap/agent.key");
}
END_TEST

static const struct {
	const char	*a, *b, *c, *words;
} enroll_refused[] = {
	{ "--enroll=192.0.2.1", NULL, NULL, "--enroll needs --ca-fingerprint" },
	{ "--enroll=192.0.2.1:0", "--ca-fingerprint=" FINGERPRINT, NULL, "--enroll 192.0.2.1:0" },
	{ "--enroll=[::1", "--ca-fingerprint=" FINGERPRINT, NULL, "--enroll [::1" },
	{ "--enroll=192.0.2.1", "--ca-fingerprint=SHA256:00", NULL, "--ca-fingerprint SHA256:00: not" },
	{ "--enroll=192.0.2.1", "--ca-fingerprint=" FINGERPRINT "0", NULL, "--ca-fingerprint" },
	{ "--enroll=192.0.2.1", "--ca-fingerprint=MD5:00", NULL, "--ca-fingerprint MD5:00" },
	{ "--enroll=192.0.2.1", "--ca-fingerprint=" FINGERPRINT, "--cert=/etc/agent.crt", "exclude it" },
	{ "--enroll=192.0.2.1", "--ca-fingerprint=" FINGERPRINT, "--key=/etc/agent.key", "exclude it" },
	{ "--enroll=192.0.2.1", "--ca-fingerprint=" FINGERPRINT, "--ca=/etc/ca.crt", "exclude it" },
};

START_TEST(test_enroll_refused)
{
	ck_assert_int_eq(load(enroll_refused[_i].a, enroll_refused[_i].b, enroll_refused[_i].c, NULL), 0);
	ck_assert_int_eq(supervisor_check_options(&options, &error), 2);
	ck_assert_msg(strstr(error.text, enroll_refused[_i].words) != NULL, "%s", error.text);
	ck_assert_ptr_null(strchr(error.text, '\n'));
}
END_TEST

/* Whatever is wrong with them is told with the place. */
static const struct {
	const char	*option, *value, *place;
} refused[] = {
	{ "--listen", "127.0.0.1:99999", "--listen 127.0.0.1:99999" },
	{ "--listen", "localhost:8827", "--listen localhost:8827" },
	{ "--collector", "[::1:8827", "--collector [::1:8827" },
	{ "--compress", "lz9", "--compress" },
	{ "--compress", "zlib:100", "--compress" },
	{ "--exclude-port", "0", "--exclude-port 0" },
	{ "--exclude-port", "65536", "--exclude-port 65536" },
	{ "--exclude-port", "80x", "--exclude-port 80x" },
	{ "--interface", "nosuch0", "nosuch0" },
};

START_TEST(test_refused)
{
	ck_assert_int_eq(load("--collector=127.0.0.1", refused[_i].option, refused[_i].value, NULL), 0);
	ck_assert_int_eq(supervisor_check_options(&options, &error), 2);
	ck_assert_msg(strstr(error.text, refused[_i].place) != NULL, "%s", error.text);
}
END_TEST

START_TEST(test_accepted)
{
	put(config_path, "listen = [::1]:9000\ncollector = collector.example.org\ninterface = lo\ninterface = nosuch*\n"
	    "exclude-port = 443\n");
	ck_assert_int_eq(load("--compress", "zlib:1", NULL, NULL), 0);
	ck_assert_int_eq(supervisor_check_options(&options, &error), 0);
}
END_TEST

/* Lines of a file, and what must be said of them: NULL nothing. */
static const struct {
	const char	*lines, *words;
} rpcap[] = {
	{ "rpcap-listen = 127.0.0.1\nrpcap-null-auth\n", NULL },
	{ "rpcap-listen = [::1]:9\nrpcap-listen = 127.8.8.8:2\nrpcap-passwords = /etc/passwords\n", NULL },
	{ "rpcap-listen = 0.0.0.0\nrpcap-listen = [::]\nrpcap-null-auth\nrpcap-plain\n", NULL },
	{ "rpcap-listen = 0.0.0.0\nrpcap-null-auth\nrpcap-cert = /c\nrpcap-key = /k\nrpcap-ca = /a\n", NULL },
	{ "rpcap-connect = 127.0.0.1:1\nrpcap-connect = ::1\nrpcap-null-auth\n", NULL },
	{ "rpcap-connect = client.example.org\nrpcap-null-auth\nrpcap-plain\n", NULL },
	{ "rpcap-connect = a\nrpcap-connect = b\nrpcap-connect = c\nrpcap-connect = d\nrpcap-null-auth\nrpcap-plain\n", NULL },
	{ "rpcap-listen = 127.0.0.1\nrpcap-null-auth\nrpcap-data-port = 2003\n", NULL },
	{ "collector = 192.0.2.1\nrpcap-clients = 3\nrpcap-allow = 192.0.2.0/24\n", NULL },
	{ "rpcap-null-auth\n", "nor --rpcap-listen or --rpcap-connect: say where" },
	{ "rpcap-listen = localhost\nrpcap-null-auth\n", ":1: rpcap-listen localhost: not a numeric address" },
	{ "rpcap-null-auth\nrpcap-listen = 127.0.0.1:0\n", ":2: rpcap-listen 127.0.0.1:0: port must be" },
	{ "rpcap-connect = [::1\nrpcap-null-auth\n", ":1: rpcap-connect [::1: \"]\" is missing" },
	{ "rpcap-listen = 127.0.0.1:1\nrpcap-listen = 127.0.0.1:2\nrpcap-listen = 127.0.0.1:3\nrpcap-listen = 127.0.0.1:4\n"
	    "rpcap-listen = 127.0.0.1:5\nrpcap-null-auth\n", "--rpcap-listen is given 5 times, at most 4" },
	{ "rpcap-connect = a\nrpcap-connect = b\nrpcap-connect = c\nrpcap-connect = d\nrpcap-connect = e\n",
	    "--rpcap-connect is given 5 times, at most 4" },
	{ "rpcap-listen = 127.0.0.1\n", "no RPCAP client could get in: give --rpcap-passwords FILE, or --rpcap-null-auth" },
	{ "rpcap-listen = 127.0.0.1\nrpcap-null-auth\nrpcap-cert = /c\n", "--rpcap-cert needs --rpcap-key" },
	{ "collector = 192.0.2.1\nrpcap-key = /k\n", "--rpcap-key needs --rpcap-cert" },
	{ "rpcap-listen = 127.0.0.1\nrpcap-null-auth\nrpcap-ca = /a\n", "--rpcap-ca needs --rpcap-cert and --rpcap-key" },
	{ "rpcap-listen = 127.0.0.1:7\nrpcap-null-auth\nrpcap-data-port = 7\n", ":1: rpcap-listen 127.0.0.1:7: clients call there" },
	{ "rpcap-listen = 127.0.0.1\nrpcap-null-auth\nrpcap-data-port = 2002\n", "--rpcap-data-port must be another one" },
	{ "rpcap-listen = ::1\nlisten = 127.0.0.1\nrpcap-null-auth\nrpcap-data-port = 8827\n", ":2: listen 127.0.0.1: clients" },
	{ "rpcap-listen = ::1\nrpcap-listen = 0.0.0.0\nrpcap-null-auth\n", ":2: rpcap-listen 0.0.0.0: whoever is on the way" },
	{ "rpcap-listen = [::]\nrpcap-null-auth\n", ":1: rpcap-listen [::]: whoever is on the way" },
	{ "rpcap-listen = 192.0.2.1\nrpcap-passwords = /p\n", "--rpcap-cert and --rpcap-key for TLS, or allow it by --rpcap-plain" },
	{ "rpcap-listen = ::1\nrpcap-null-auth\nrpcap-allow = 192.0.2.0/24\nrpcap-allow = 192.0.2.0/33\n", ":4: rpcap-allow 192.0.2.0/33: " },
	{ "rpcap-connect = localhost\nrpcap-null-auth\n", ":1: rpcap-connect localhost: whoever is on the way" },
	{ "rpcap-connect = [2001:db8::1]:7\nrpcap-null-auth\n", ":1: rpcap-connect [2001:db8::1]:7: whoever" },
};

START_TEST(test_rpcap)
{
	put(config_path, rpcap[_i].lines);
	ck_assert_int_eq(load(NULL, NULL, NULL, NULL), 0);
	ck_assert_msg(supervisor_check_options(&options, &error) == (rpcap[_i].words == NULL ? 0 : 2), "%s", error.text);
	if (rpcap[_i].words == NULL)
		return;
	ck_assert_msg(strstr(error.text, rpcap[_i].words) != NULL, "%s", error.text);
	ck_assert_ptr_null(strchr(error.text, '\n'));
}
END_TEST

/* Who wants RPCAP alone needs no certificate. */
START_TEST(test_sessions)
{
	ck_assert_int_eq(load("--rpcap-listen=127.0.0.1", NULL, NULL, NULL), 0);
	ck_assert(agent_options_rpcap(&options) && !agent_options_session(&options));
	ck_assert_int_eq(load("--rpcap-connect=127.0.0.1", "--listen=127.0.0.1", NULL, NULL), 0);
	ck_assert(agent_options_rpcap(&options) && agent_options_session(&options));
	ck_assert_int_eq(load("--enroll=192.0.2.1", NULL, NULL, NULL), 0);
	ck_assert(!agent_options_rpcap(&options) && agent_options_session(&options));
}
END_TEST

START_TEST(test_filter_operands)
{
	put(config_path, "filter = udp\n");
	ck_assert_int_eq(load("tcp", "and", "port 80", NULL), 0);
	ck_assert_str_eq(options.filter, "tcp and port 80");
	ck_assert_str_eq(options.filter_origin, "the command line");
	put(config_path, "filter-file = /nonexistent\n");
	ck_assert_int_eq(load("tcp", NULL, NULL, NULL), 0);
	ck_assert_str_eq(options.filter, "tcp");
}
END_TEST

START_TEST(test_filter_line)
{
	char expected[64];

	put(config_path, "# filter = none\nfilter-file-not = x\n");
	ck_assert_int_eq(load(NULL, NULL, NULL, NULL), -1);
	put(config_path, "# filter = none\n\n  filter = tcp port 80\n");
	ck_assert_int_eq(load(NULL, NULL, NULL, NULL), 0);
	snprintf(expected, sizeof(expected), "%s:3", config_path);
	ck_assert_str_eq(options.filter_origin, expected);
	ck_assert_str_eq(options.filter, "tcp port 80");
}
END_TEST

START_TEST(test_filter_file)
{
	put(config_path, "filter = udp\n");
	put(filter_path, "tcp # web\nand port 80\n");
	ck_assert_int_eq(load("-F", filter_path, NULL, NULL), 0);
	ck_assert_str_eq(options.filter, "tcp       and port 80 ");
	ck_assert_str_eq(options.filter_origin, filter_path);
	ck_assert_int_eq(load("-F", "/nonexistent/filter", NULL, NULL), -1);
	ck_assert_str_eq(options.filter, "tcp       and port 80 ");
}
END_TEST

START_TEST(test_filter_twice)
{
	ck_assert_int_eq(load("-F", filter_path, "tcp", NULL), -1);
	ck_assert_int_eq(load("--filter", "udp", "tcp", NULL), -1);
	put(config_path, "filter = udp\nfilter-file = /etc/filter\n");
	ck_assert_int_eq(load(NULL, NULL, NULL, NULL), -1);
	ck_assert_ptr_nonnull(strstr(error.text, config_path));
}
END_TEST

START_TEST(test_filter_too_long)
{
	char *text = calloc(1, MSG_FILTER_SIZE + 1);

	memset(text, ' ', MSG_FILTER_SIZE - 1);
	memcpy(text, "tcp", 3);
	put(filter_path, text);
	ck_assert_int_eq(load("-F", filter_path, NULL, NULL), 0);
	ck_assert_uint_eq(strlen(options.filter), MSG_FILTER_SIZE - 1);
	text[MSG_FILTER_SIZE - 1] = ' ';
	put(filter_path, text);
	ck_assert_int_eq(load("-F", filter_path, NULL, NULL), -1);
	ck_assert_int_eq(load("--filter", text, NULL, NULL), -1);
	free(text);
}
END_TEST

/* As a role gets them. */
START_TEST(test_handed_on)
{
	struct agent_options read = { 0 };
	int fd;

	put(config_path, "interface = eth0\ninterface = eth1\nfilter = \"tcp port 80 # not a comment\"\nrate-limit = 5000\n");
	ck_assert_int_eq(load("--collector=[2001:db8::1]:9", "-Q", "in", "--no-sandbox"), 0);
	fd = supervisor_config_fd(&options);
	ck_assert_int_ne(fd, -1);
	for (unsigned i = 0; i < 2; i++)
		ck_assert_int_eq(agent_options_read(&read, fd, &error), 0);
	ck_assert_uint_eq(read.interfaces.count, 2);
	ck_assert_str_eq(read.interfaces.value[1], "eth1");
	ck_assert_str_eq(read.filter, options.filter);
	ck_assert_str_eq(read.collectors.value[0], "[2001:db8::1]:9");
	ck_assert_int_eq(read.direction, DIRECTION_IN);
	ck_assert_uint_eq(read.rate_limit, 5000);
	ck_assert(read.no_sandbox);
	ck_assert_str_eq(read.user, options.user);
	ck_assert_int_eq((int)write(fd, "x", 1), -1);
	agent_options_free(&read);
	close(fd);
}
END_TEST

START_TEST(test_keep)
{
	struct agent_options old = { 0 };
	char names[128];

	ck_assert_int_eq(load("--listen=127.0.0.1:1", "--spool-memory=4M", "-s", "100"), 0);
	old = options;
	memset(&options, 0, sizeof(options));
	ck_assert_int_eq(load("--listen=127.0.0.1:2", "--spool-memory=8M", "-s", "200"), 0);
	agent_options_keep(&old, &options, names, sizeof(names));
	ck_assert_str_eq(names, "spool-memory, listen");
	ck_assert_uint_eq(options.spool_memory, 4 << 20);
	ck_assert_str_eq(options.listens.value[0], "127.0.0.1:1");
	ck_assert_uint_eq(options.snaplen, 200);
	ck_assert_uint_eq(old.spool_memory, 8 << 20);
	agent_options_keep(&options, &options, names, sizeof(names));
	ck_assert_str_eq(names, "");
	agent_options_free(&old);
}
END_TEST

/* Of RPCAP, where to listen alone needs a restart. */
START_TEST(test_keep_rpcap)
{
	struct agent_options old = { 0 };
	char names[128];

	put(config_path, "rpcap-listen = ::1\nrpcap-null-auth\n");
	ck_assert_int_eq(load(NULL, NULL, NULL, NULL), 0);
	old = options;
	memset(&options, 0, sizeof(options));
	put(config_path, "rpcap-listen = ::1\nrpcap-listen = 127.0.0.1\nrpcap-connect = ::1\nrpcap-clients = 1\nrpcap-data-port = 9\n"
	    "rpcap-passwords = /p\nrpcap-cert = /c\nrpcap-key = /k\nrpcap-ca = /a\nrpcap-plain\nrpcap-allow = ::1\n");
	ck_assert_int_eq(load(NULL, NULL, NULL, NULL), 0);
	agent_options_keep(&old, &options, names, sizeof(names));
	ck_assert_str_eq(names, "rpcap-listen");
	ck_assert_uint_eq(options.rpcap_listens.count, 1);
	ck_assert_uint_eq(options.rpcap_data_port, 9);
	ck_assert(options.rpcap_plain && !options.rpcap_null_auth);
	agent_options_free(&old);
}
END_TEST

static Suite *
options_suite(void)
{
	Suite *suite = suite_create("options");
	TCase *tc = tcase_create("options");

	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, test_defaults);
	tcase_add_loop_test(tc, test_bounds, 0, sizeof(bounds) / sizeof(bounds[0]));
	tcase_add_loop_test(tc, test_refused, 0, sizeof(refused) / sizeof(refused[0]));
	tcase_add_test(tc, test_enroll);
	tcase_add_test(tc, test_no_enroll);
	tcase_add_loop_test(tc, test_enroll_refused, 0, sizeof(enroll_refused) / sizeof(enroll_refused[0]));
	tcase_add_test(tc, test_accepted);
	tcase_add_loop_test(tc, test_rpcap, 0, sizeof(rpcap) / sizeof(rpcap[0]));
	tcase_add_test(tc, test_sessions);
	tcase_add_test(tc, test_filter_operands);
	tcase_add_test(tc, test_filter_line);
	tcase_add_test(tc, test_filter_file);
	tcase_add_test(tc, test_filter_twice);
	tcase_add_test(tc, test_filter_too_long);
	tcase_add_test(tc, test_handed_on);
	tcase_add_test(tc, test_keep);
	tcase_add_test(tc, test_keep_rpcap);
	suite_add_tcase(suite, tc);
	return suite;
}

int
main(void)
{
	SRunner *runner = srunner_create(options_suite());
	int failed;

	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
