/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#include "config.h"

#include <sys/stat.h>

#include <errno.h>
#include <glob.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <check.h>

#include "common/log.h"

#include "agent/agent.h"
#include "agent/rpcapd.h"

#define WORDS_MAX	32
#define NULL_AUTH	" --rpcap-null-auth"
#define USERS	" --rpcap-passwords=" SYSCONFDIR "/vmtap/rpcap.passwd"
#define OWN	" --metrics=" RUNSTATEDIR "/vmtap-rpcapd/metrics.sock"
#define NO_FILE	" --config=/dev/null"
#define BOTH	" --rpcap-listen=0.0.0.0:2002 --rpcap-listen=[::]:2002"
#define KEY	" --rpcap-key=" SYSCONFDIR "/vmtap/rpcap.key"
#define CERT	" --rpcap-cert=" SYSCONFDIR "/vmtap/rpcap.crt"

static struct rpcapd rpcapd;
static struct conf_error error;

/* Words with one blank between them. */
static int
translate(const char *line, bool ipv6)
{
	static char text[512];
	char *argv[WORDS_MAX] = { (char *)(uintptr_t)"/usr/sbin/vmtap-rpcapd" }, *rest = text;
	int argc = 1;

	snprintf(text, sizeof(text), "%s", line);
	while ((argv[argc] = strtok_r(rest, " ", &rest)) != NULL)
		ck_assert_int_lt(++argc, WORDS_MAX);
	return rpcapd_arguments(&rpcapd, argc, argv, ipv6, &error);
}

static const char *
joined(void)
{
	static char text[2048];
	size_t n = 0;

	text[0] = '\0';
	for (int i = 1; i < rpcapd.argc; i++)
		n += (size_t)snprintf(text + n, sizeof(text) - n, " %s", rpcapd.argv[i]);
	return text;
}

static const struct {
	const char *line, *options;
	bool ipv4_only;			/* the machine */
} good[] = {
	{ "", BOTH USERS OWN NO_FILE, false },
	{ "", " --rpcap-listen=0.0.0.0:2002" USERS OWN NO_FILE, true },
	{ "-4", " --rpcap-listen=0.0.0.0:2002" USERS OWN NO_FILE, false },
	{ "-p 3000 -n", NULL_AUTH " --rpcap-listen=0.0.0.0:3000 --rpcap-listen=[::]:3000" OWN NO_FILE, false },
	{ "-b 192.0.2.1 -p 65535 -n", NULL_AUTH " --rpcap-listen=192.0.2.1:65535" OWN NO_FILE, false },
	{ "-n -b 192.0.2.1 -b 2001:db8::1", NULL_AUTH " --rpcap-listen=192.0.2.1:2002 --rpcap-listen=[2001:db8::1]:2002" OWN
	    NO_FILE, false },
	{ "-nt 2004", NULL_AUTH " --rpcap-data-port=2004" BOTH OWN NO_FILE, false },
	{ "-n -t 0", NULL_AUTH " --rpcap-data-port=0" BOTH OWN NO_FILE, false },
	{ "-n -l 192.0.2.1,2001:db8::1;;10.0.0.0/8", NULL_AUTH " --rpcap-allow=192.0.2.1 --rpcap-allow=2001:db8::1 "
	    "--rpcap-allow=10.0.0.0/8" BOTH OWN NO_FILE, false },
	{ "-n -v -a 192.0.2.1", NULL_AUTH " --rpcap-connect=192.0.2.1:2003" OWN NO_FILE, false },
	{ "-n -v -a one.example,DEFAULT,two.example,4000;2001:db8::1,%DEFAULT", NULL_AUTH
	    " --rpcap-connect=one.example:2003 --rpcap-connect=two.example:4000 --rpcap-connect=[2001:db8::1]:2003"
	    OWN NO_FILE, false },
	{ "-n -v -a one.example,79 -a two.example", NULL_AUTH " --rpcap-connect=one.example:79 "
	    "--rpcap-connect=two.example:2003" OWN NO_FILE, false },
	{ "-n -a one.example", NULL_AUTH " --rpcap-connect=one.example:2003" BOTH OWN NO_FILE, false },
	{ "-n -v -b 192.0.2.1 --rpcap-connect one.example", NULL_AUTH " --rpcap-connect=one.example" OWN NO_FILE, false },
	{ "-d -D -n", " --daemon --log-level=debug --rpcap-null-auth" BOTH OWN NO_FILE, false },
	{ "-S", BOTH USERS OWN CERT KEY NO_FILE, false },
	{ "-SC -X /x -K /k", BOTH USERS OWN " --rpcap-cert=/x --rpcap-key=/k" NO_FILE, false },
	{ "-X /x -S --rpcap-key=/k", " --rpcap-key=/k" BOTH USERS OWN " --rpcap-cert=/x" NO_FILE, false },
	{ "-X /x -K /k -n", NULL_AUTH BOTH OWN NO_FILE, false },
	{ "-f /f", " --config=/f", false },
	{ "-f /f -v", " --config=/f", false },
	{ "-f /f -p 3000 -4", " --config=/f --rpcap-listen=0.0.0.0:3000", false },
	{ "-f /f -b 192.0.2.1 -S", " --config=/f --rpcap-listen=192.0.2.1:2002" CERT KEY, false },
	{ "--conf /f", " --config=/f", false },
	{ "--rpcap-listen 127.0.0.1 --rpcap-passwords=/p --metrics none --snaplen 96 --daemon=no", " --rpcap-listen=127.0.0.1 "
	    "--rpcap-passwords=/p --metrics=none --snaplen=96 --daemon=no" NO_FILE, false },
	{ "--filter tcp -n", " --filter=tcp --rpcap-null-auth" BOTH OWN NO_FILE, false },
};

START_TEST(test_good)
{
	ck_assert_msg(translate(good[_i].line, !good[_i].ipv4_only) == 0, "\"%s\": %s", good[_i].line, error.text);
	ck_assert_str_eq(rpcapd.argv[0], "vmtap-rpcapd");
	ck_assert_ptr_null(rpcapd.argv[rpcapd.argc]);
	ck_assert_str_eq(joined(), good[_i].options);
	ck_assert_ptr_null(rpcapd.save);
	ck_assert(!rpcapd.help);
	rpcapd_clear(&rpcapd);
}
END_TEST

static const struct {
	const char *line, *error;
} bad[] = {
	{ "-i", "-i: one process serves all clients here, and cannot be started for each by inetd: " },
	{ "-q", "unknown option \"-q\"; -h lists those of rpcapd" },
	{ "-n --nosuch", "unknown option \"--nosuch\"; " },
	{ "--rpcap-c 3", "unknown option \"--rpcap-c\"; " },
	{ "-p", "-p: missing value" },
	{ "--snaplen", "--snaplen: missing value" },
	{ "-p 0", "-p 0: neither a port from 1 to 65535 nor the name of one" },
	{ "-p 65536", "-p 65536: neither a port from 1 to 65535 nor the name of one" },
	{ "-p 20x", "-p 20x: neither a port from 1 to 65535 nor the name of one" },
	{ "-t -1", "-t -1: neither a port from 0 to 65535 nor the name of one" },
	{ "-a h,nosuch-service", "-a nosuch-service: neither a port from 1 to 65535 nor the name of one" },
	{ "-a h,0", "-a 0: neither a port from 1 to 65535 nor the name of one" },
	{ "-b 192.0.2.256", "-b 192.0.2.256: no such host: " },
	{ "-4 -b ::1", "-b ::1: no such host: " },
	{ "-l 192.0.2.1,192.0.2.256", "-l 192.0.2.256: no such host: " },
	{ "-v -n", "-v: there is nothing to do without -a HOST,PORT" },
	{ "-n tcp", "\"tcp\": there are only options here; a filter is given by --filter" },
};

START_TEST(test_bad)
{
	ck_assert_msg(translate(bad[_i].line, true) == -1, "\"%s\" is taken: %s", bad[_i].line, joined());
	ck_assert_msg(strncmp(error.text, bad[_i].error, strlen(bad[_i].error)) == 0, "\"%s\": %s", bad[_i].line, error.text);
	ck_assert_ptr_null(strchr(error.text, '\n'));
	ck_assert_ptr_null(rpcapd.argv);
	ck_assert_int_eq(rpcapd.argc, 0);
}
END_TEST

/* What it is now is what it stays. */
START_TEST(test_names)
{
	ck_assert_int_eq(translate("-4n -b localhost -l localhost", true), 0);
	ck_assert_ptr_nonnull(strstr(joined(), " --rpcap-listen=127.0.0.1:2002"));
	ck_assert_ptr_nonnull(strstr(joined(), " --rpcap-allow=127.0.0.1"));
	ck_assert_ptr_null(strstr(joined(), "localhost"));
	ck_assert_ptr_null(strstr(joined(), "0.0.0.0"));
	rpcapd_clear(&rpcapd);
}
END_TEST

START_TEST(test_services)
{
	if (getservbyname("finger", "tcp") == NULL) {
		printf("skip: there is no finger in /etc/services\n");
		return;
	}
	ck_assert_int_eq(translate("-n4 -p finger -t finger -a one.example,finger", true), 0);
	ck_assert_str_eq(joined(), NULL_AUTH " --rpcap-data-port=79 --rpcap-connect=one.example:79 --rpcap-listen=0.0.0.0:79"
	    OWN NO_FILE);
	rpcapd_clear(&rpcapd);
}
END_TEST

START_TEST(test_help)
{
	static const char *const lines[] = { "-h", "--help", "-n -h x", "-hi" };

	for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++) {
		ck_assert_int_eq(translate(lines[i], true), 0);
		ck_assert(rpcapd.help);
		rpcapd_clear(&rpcapd);
	}
}
END_TEST

START_TEST(test_called)
{
	ck_assert(rpcapd_called("vmtap-rpcapd"));
	ck_assert(rpcapd_called("/usr/sbin/vmtap-rpcapd"));
	ck_assert(rpcapd_called("./vmtap-rpcapd"));
	ck_assert(!rpcapd_called("/usr/sbin/vmtap-agent"));
	ck_assert(!rpcapd_called("/usr/vmtap-rpcapd/vmtap-agent"));
	ck_assert(!rpcapd_called("vmtap-rpcapd.old"));
	ck_assert(!rpcapd_called(NULL));
}
END_TEST

/* --- -s --- */

static char folder[64];

static void
make_folder(void)
{
	snprintf(folder, sizeof(folder), "/tmp/check_rpcapd.XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(folder));
}

static void
put(const char *path, const char *text)
{
	FILE *file = fopen(path, "we");

	ck_assert_ptr_nonnull(file);
	ck_assert_int_ge(fputs(text, file), 0);
	ck_assert_int_eq(fclose(file), 0);
}

static void
load(struct agent_options *options, const char *line)
{
	ck_assert_msg(translate(line, true) == 0, "%s", error.text);
	ck_assert_msg(agent_options_load(options, rpcapd.argc, rpcapd.argv, &error) == 0, "%s", error.text);
}

static void
count_files(size_t expected)
{
	char pattern[80];
	glob_t found;

	snprintf(pattern, sizeof(pattern), "%s/*", folder);
	ck_assert_int_eq(glob(pattern, 0, NULL, &found), 0);
	ck_assert_uint_eq(found.gl_pathc, expected);
	globfree(&found);
}

/* What was saved is what -f gives, but for whether it goes to the background. */
START_TEST(test_save)
{
	struct agent_options given = { 0 }, again = { 0 };
	char line[256], path[128];
	char *text, *text_again;
	struct stat st;

	make_folder();
	snprintf(path, sizeof(path), "%s/options", folder);
	put(path, "one that others may read is there already");
	ck_assert_int_eq(chmod(path, 0644), 0);
	snprintf(line, sizeof(line), "-d -n -t 2004 -l 10.0.0.0/8,192.0.2.1 -a one.example -S -X /x -K /k -s %s", path);
	load(&given, line);
	ck_assert_str_eq(rpcapd.save, path);
	ck_assert(given.daemon);
	ck_assert_int_eq(rpcapd_save(rpcapd.save, &given), 0);
	rpcapd_clear(&rpcapd);
	ck_assert_int_eq(stat(path, &st), 0);
	ck_assert_uint_eq(st.st_mode, S_IFREG | 0600);
	count_files(1);
	snprintf(line, sizeof(line), "-f %s", path);
	load(&again, line);
	rpcapd_clear(&rpcapd);
	ck_assert_uint_eq(again.rpcap_listens.count, 2);
	ck_assert_str_eq(again.rpcap_connects.value[0], "one.example:2003");
	ck_assert(!again.daemon);
	given.daemon = false;
	text = conf_to_text(agent_rows, &given);
	text_again = conf_to_text(agent_rows, &again);
	ck_assert_str_eq(text, text_again);
	free(text);
	free(text_again);
	agent_options_free(&given);
	agent_options_free(&again);
	unlink(path);
	rmdir(folder);
}
END_TEST

/* The filter of a file comes back as the filter that was in it. */
START_TEST(test_save_filter)
{
	struct agent_options given = { 0 }, again = { 0 };
	char line[256], path[128], filter[128];

	make_folder();
	snprintf(path, sizeof(path), "%s/options", folder);
	snprintf(filter, sizeof(filter), "%s/filter", folder);
	put(filter, "tcp port 80");
	snprintf(line, sizeof(line), "-n --filter-file %s", filter);
	load(&given, line);
	ck_assert_int_eq(rpcapd_save(path, &given), 0);
	rpcapd_clear(&rpcapd);
	snprintf(line, sizeof(line), "-f %s", path);
	load(&again, line);
	rpcapd_clear(&rpcapd);
	ck_assert_str_eq(again.filter, "tcp port 80");
	agent_options_free(&given);
	agent_options_free(&again);
	unlink(path);
	unlink(filter);
	rmdir(folder);
}
END_TEST

START_TEST(test_save_nowhere)
{
	struct agent_options given = { 0 };

	load(&given, "-n");
	ck_assert_int_eq(rpcapd_save("/nonexistent/options", &given), -1);
	ck_assert_int_eq(errno, ENOENT);
	ck_assert_int_eq(rpcapd_save("/proc/self", &given), -1);
	agent_options_free(&given);
	rpcapd_clear(&rpcapd);
}
END_TEST

int
main(void)
{
	Suite *suite = suite_create("rpcapd");
	TCase *tc = tcase_create("arguments"), *save = tcase_create("save");
	SRunner *runner;
	int failed;

	log_set_level(LOG_LEVEL_ERROR);
	tcase_add_loop_test(tc, test_good, 0, sizeof(good) / sizeof(good[0]));
	tcase_add_loop_test(tc, test_bad, 0, sizeof(bad) / sizeof(bad[0]));
	tcase_add_test(tc, test_names);
	tcase_add_test(tc, test_services);
	tcase_add_test(tc, test_help);
	tcase_add_test(tc, test_called);
	suite_add_tcase(suite, tc);
	tcase_add_test(save, test_save);
	tcase_add_test(save, test_save_filter);
	tcase_add_test(save, test_save_nowhere);
	suite_add_tcase(suite, save);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
