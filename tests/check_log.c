/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#include "config.h"

#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <check.h>

#include "common/clock.h"
#include "common/log.h"

static int	stderr_saved, stderr_file;

/* stderr goes to memory until heard(), without which nobody would see a failure's text. */
static void
listen_to_stderr(void)
{
	stderr_saved = dup(STDERR_FILENO);
	stderr_file = memfd_create("stderr", MFD_CLOEXEC);
	ck_assert_int_ge(stderr_file, 0);
	ck_assert_int_eq(dup2(stderr_file, STDERR_FILENO), STDERR_FILENO);
}

static const char *
heard(void)
{
	static char	 text[16384];
	ssize_t		 n = pread(stderr_file, text, sizeof(text) - 1, 0);

	dup2(stderr_saved, STDERR_FILENO);
	close(stderr_saved);
	close(stderr_file);
	text[n > 0 ? n : 0] = '\0';
	return text;
}

START_TEST(lines_by_level)
{
	listen_to_stderr();
	log_init("vmtap-agent[capture]", LOG_LEVEL_INFO);
	log_error("no %s", "ring");
	log_warn("few %d", 1);
	log_info("some");
	log_debug("many");
	log_set_level(LOG_LEVEL_DEBUG);
	log_debug("more");
	log_set_level(LOG_LEVEL_ERROR);
	log_warn("less");
	ck_assert_str_eq(heard(), "vmtap-agent[capture]: error: no ring\nvmtap-agent[capture]: warning: few 1\n"
	    "vmtap-agent[capture]: some\nvmtap-agent[capture]: more\n");
}
END_TEST

START_TEST(journal_gets_priorities)
{
	struct stat	 st;
	char		 stream[64];

	listen_to_stderr();
	ck_assert_int_eq(fstat(STDERR_FILENO, &st), 0);
	snprintf(stream, sizeof(stream), "%llu:%llu", (unsigned long long)st.st_dev, (unsigned long long)st.st_ino);
	setenv("JOURNAL_STREAM", stream, 1);
	log_init("a", LOG_LEVEL_DEBUG);
	log_error("e");
	log_warn("w");
	log_info("i");
	log_debug("d");
	setenv("JOURNAL_STREAM", "1:1", 1);
	log_init("a", LOG_LEVEL_DEBUG);
	log_info("elsewhere");
	unsetenv("JOURNAL_STREAM");
	ck_assert_str_eq(heard(), "<3>a: e\n<4>a: w\n<6>a: i\n<7>a: d\na: elsewhere\n");
}
END_TEST

START_TEST(control_bytes_are_escaped)
{
	listen_to_stderr();
	log_init("a", LOG_LEVEL_INFO);
	log_info("%s", "x\n<3>forged\r\t\x1b[2J\x7f\x9b" "1m \xc2\x9b" "2m caf\xc3\xa9 \xe2\x82\x80");
	ck_assert_str_eq(heard(), "a: x\\x0a<3>forged\\x0d\\x09\\x1b[2J\\x7f\\x9b1m \\xc2\\x9b2m caf\xc3\xa9 \xe2\x82\x80\n");
}
END_TEST

START_TEST(long_line_is_cut_and_whole)
{
	char		 text[8000];
	const char	*line;
	size_t		 n;

	for (int c = 0; c < 2; c++) {
		memset(text, c == 0 ? 'x' : '\n', sizeof(text));
		text[sizeof(text) - 1] = '\0';
		listen_to_stderr();
		log_init("a", LOG_LEVEL_INFO);
		log_info("%s", text);
		line = heard();
		n = strlen(line);
		ck_assert_uint_gt(n, 2000);
		ck_assert_uint_le(n, 2048);
		ck_assert_str_eq(line + n - 4, "...\n");
		ck_assert_ptr_eq(strchr(line, '\n'), line + n - 1);
	}
}
END_TEST

START_TEST(errno_is_kept)
{
	listen_to_stderr();
	log_init("a", LOG_LEVEL_INFO);
	close(STDERR_FILENO);
	errno = ENOSPC;
	log_error("to nobody");
	ck_assert_int_eq(errno, ENOSPC);
	ck_assert_str_eq(heard(), "");
}
END_TEST

START_TEST(limited_says_what_it_held_back)
{
	struct log_limit hour = { 0 }, none = { 0 };

	listen_to_stderr();
	log_init("a", LOG_LEVEL_INFO);
	for (int i = 0; i < 4; i++)
		log_limited(&hour, 3600000, LOG_LEVEL_WARN, "w%d", i);
	log_limited(&hour, 3600000, LOG_LEVEL_DEBUG, "not even counted");
	hour.next_ns = clock_mono_ns();
	log_limited(&hour, 3600000, LOG_LEVEL_WARN, "w4");
	log_limited(&none, 0, LOG_LEVEL_INFO, "n");
	log_limited(&none, 0, LOG_LEVEL_INFO, "n");
	ck_assert_str_eq(heard(), "a: warning: w0\na: warning: w4 (3 more like this held back)\na: n\na: n\n");
}
END_TEST

START_TEST(fatal_exits_1)
{
	int	 status;
	pid_t	 pid;

	listen_to_stderr();
	log_init("a", LOG_LEVEL_INFO);
	pid = fork();
	if (pid == 0)
		fatal("cannot %s", "start");
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert_str_eq(heard(), "a: error: cannot start\n");
	ck_assert(WIFEXITED(status));
	ck_assert_int_eq(WEXITSTATUS(status), 1);
}
END_TEST

/* What deceives a reader, and what is no UTF-8; text of any script stays. */
static const struct {
	const char	*text, *escaped;
} scripts[] = {
	{ "gr\xc3\xbc\xc3\x9f \xd0\xb4\xd0\xb0 \xe6\x97\xa5 \xf0\x9f\x98\x80", "gr\xc3\xbc\xc3\x9f \xd0\xb4\xd0\xb0 \xe6\x97\xa5 \xf0\x9f\x98\x80" },
	{ "a\x1b]0;t\x07", "a\\x1b]0;t\\x07" },
	{ "\xc2\x9b" "31m", "\\xc2\\x9b31m" },
	{ "x\xe2\x80\xaey", "x\\xe2\\x80\\xaey" },	/* right-to-left override */
	{ "\xe2\x81\xa6\xd8\x9c", "\\xe2\\x81\\xa6\\xd8\\x9c" },	/* isolate, Arabic letter mark */
	{ "we\xe2\x80\x8b" "b1", "we\\xe2\\x80\\x8bb1" },	/* no width */
	{ "\xe2\x80\xa8", "\\xe2\\x80\\xa8" },		/* line separator */
	{ "\xff\xc0\x80\xc3", "\\xff\\xc0\\x80\\xc3" },	/* no UTF-8: too long a form, cut off */
	{ "\xed\xa0\x80\xf4\x90\x80\x80", "\\xed\\xa0\\x80\\xf4\\x90\\x80\\x80" },	/* surrogate, beyond the last */
	{ "\x80\xe6\x97", "\\x80\\xe6\\x97" },
};

START_TEST(escapes_what_deceives)
{
	char	 text[128];

	ck_assert_uint_eq(log_escape(text, sizeof(text), scripts[_i].text), strlen(scripts[_i].escaped));
	ck_assert_str_eq(text, scripts[_i].escaped);
}
END_TEST

START_TEST(escape)
{
	char	 text[16], wide[32];

	ck_assert_uint_eq(log_escape(wide, sizeof(wide), "a\x1b[1m\xc3\xa9"), 10);
	ck_assert_str_eq(wide, "a\\x1b[1m\xc3\xa9");
	ck_assert_uint_eq(log_escape(text, sizeof(text), "twelve bytes and more"), 15);
	ck_assert_str_eq(text, "twelve bytes...");
	ck_assert_uint_eq(log_escape(text, sizeof(text), "123456789\n"), 12);
	ck_assert_str_eq(text, "123456789...");
	ck_assert_uint_eq(log_escape(text, 8, "\n\n\n\n"), 7);
	ck_assert_str_eq(text, "\\x0a...");
}
END_TEST

int
main(void)
{
	Suite		*suite = suite_create("log");
	TCase		*tc = tcase_create("log");
	SRunner		*runner = srunner_create(suite);
	int		 failed;

	suite_add_tcase(suite, tc);
	tcase_add_test(tc, lines_by_level);
	tcase_add_test(tc, journal_gets_priorities);
	tcase_add_test(tc, control_bytes_are_escaped);
	tcase_add_test(tc, long_line_is_cut_and_whole);
	tcase_add_test(tc, errno_is_kept);
	tcase_add_test(tc, limited_says_what_it_held_back);
	tcase_add_test(tc, fatal_exits_1);
	tcase_add_test(tc, escape);
	tcase_add_loop_test(tc, escapes_what_deceives, 0, sizeof(scripts) / sizeof(scripts[0]));
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
