/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#include "config.h"

#include <sys/mount.h>
#include <sys/stat.h>

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <check.h>

#include "common/log.h"

#include "agent/agent.h"
#include "agent/last_counts.h"
#include "agent/supervisor_identity.h"

#define KEY	"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"
#define CHAIN	"-----BEGIN CERTIFICATE-----\nBBBB\n-----END CERTIFICATE-----\n"

static char folder[] = "/tmp/check_identity.XXXXXX";
static char state[64], token[64];
static struct agent_options options;
static const struct machine here = { .product_uuid = "aaaa", .instance_id = "i-1" };

static void
setup(void)
{
	ck_assert_ptr_nonnull(mkdtemp(folder));
	snprintf(state, sizeof(state), "%s/state", folder);
	snprintf(token, sizeof(token), "%s/token", folder);
	options.state_dir = state;
	options.token_file = token;
	log_set_level(LOG_LEVEL_ERROR);
}

static void
teardown(void)
{
	char command[96];

	snprintf(command, sizeof(command), "rm -rf %s", folder);
	ck_assert_int_eq(system(command), 0);
}

static const char *
path_of(const char *name)
{
	static char path[4][128];
	static unsigned at;

	at = (at + 1) % 4;
	snprintf(path[at], sizeof(path[at]), "%s/%s", state, name);
	return path[at];
}

static void
put(const char *path, const char *text)
{
	FILE *file = fopen(path, "we");

	ck_assert_ptr_nonnull(file);
	ck_assert_int_ge(fputs(text, file), 0);
	ck_assert_int_eq(fclose(file), 0);
}

static const char *
content(const char *name)
{
	static char text[2][4096];
	static unsigned at;
	FILE *file = fopen(path_of(name), "re");
	size_t n;

	at = (at + 1) % 2;
	n = file != NULL ? fread(text[at], 1, sizeof(text[at]) - 1, file) : 0;
	text[at][n] = '\0';
	if (file != NULL)
		fclose(file);
	return text[at];
}

static bool
is_there(const char *name)
{
	struct stat st;

	return lstat(path_of(name), &st) == 0;
}

static int
store_on(const struct machine *machine, enum ipc_store what, const char *text)
{
	return identity_store(&options, machine, what, text, strlen(text));
}

static void
must_store(enum ipc_store what, const char *text)
{
	ck_assert_msg(store_on(&here, what, text) == 0, "%s", strerror(errno));
}

static struct ipc_enrolment
look_on(const struct machine *machine)
{
	struct ipc_enrolment enrolment;
	int fds[2];

	identity_look(&options, machine, &enrolment, fds);
	for (size_t i = 0; i < 2; i++) {
		ck_assert_int_eq(fds[i] != -1, i < (size_t)enrolment.token + enrolment.pending);
		if (fds[i] != -1)
			close(fds[i]);
	}
	return enrolment;
}

static unsigned
count_files(void)
{
	DIR *dir = opendir(state);
	unsigned count = 0;

	ck_assert_ptr_nonnull(dir);
	while (readdir(dir) != NULL)
		count++;
	closedir(dir);
	return count - 2;
}

static void
enrol(void)
{
	put(token, "vmtap1-x\n");
	must_store(STORE_PENDING, KEY);
	must_store(STORE_CA, CHAIN);
	must_store(STORE_ENROLLED, KEY CHAIN);
}

START_TEST(test_nothing)
{
	struct ipc_enrolment found = look_on(&here);

	ck_assert(!found.token && !found.pending && !found.cloned);
	ck_assert_int_eq(access(state, F_OK), -1);
}
END_TEST

START_TEST(test_enrolled)
{
	struct stat st;
	static const char *const names[] = { "ca.crt", "agent.pem", "machine" };

	enrol();
	ck_assert_int_eq(stat(state, &st), 0);
	ck_assert_uint_eq(st.st_mode & 07777, 0700);
	for (size_t i = 0; i < 3; i++) {
		ck_assert_int_eq(stat(path_of(names[i]), &st), 0);
		ck_assert_uint_eq(st.st_mode & 07777, 0600);
	}
	ck_assert_uint_eq(count_files(), 3);
	ck_assert_str_eq(content("agent.pem"), KEY CHAIN);
	ck_assert_str_eq(content("machine"), "product_uuid: aaaa\ninstance_id: i-1\n");
	ck_assert_int_eq(access(token, F_OK), -1);
	ck_assert(!look_on(&here).cloned);
}
END_TEST

START_TEST(test_while_enrolling)
{
	struct ipc_enrolment found;

	put(token, "vmtap1-x\n");
	must_store(STORE_PENDING, KEY);
	found = look_on(&here);
	ck_assert(found.token && found.pending && !found.cloned);
	ck_assert_ptr_nonnull(strstr(content("pending.key"), KEY));
	must_store(STORE_CA, CHAIN);
	found = look_on(&here);
	ck_assert(found.token && found.pending);
}
END_TEST

/* It died once agent.pem was in place: the rest is done at the next look, and a copy of its disk is one all the same. */
START_TEST(test_cut_short)
{
	static const struct machine other = { .product_uuid = "bbbb" };
	struct ipc_enrolment found;

	put(token, "vmtap1-x\n");
	must_store(STORE_PENDING, KEY);
	must_store(STORE_RENEWED, KEY CHAIN);
	found = look_on(_i == 0 ? &here : &other);
	ck_assert(!found.pending);
	ck_assert_int_eq(found.token, _i == 1);
	ck_assert_int_eq(found.cloned, _i == 1);
	ck_assert_str_eq(content("machine"), "product_uuid: aaaa\ninstance_id: i-1\n");
}
END_TEST

/* A pending key that another machine made would bind its token. */
START_TEST(test_pending_of_another)
{
	static const struct machine other = { .instance_id = "i-2" };

	put(token, "vmtap1-x\n");
	must_store(STORE_PENDING, KEY);
	ck_assert(look_on(&here).pending);
	ck_assert(!look_on(&other).pending);
	ck_assert(!is_there("pending.key"));
}
END_TEST

/* What was being written when the power went off, and what somebody put in its place. */
START_TEST(test_left_behind)
{
	char outside[96];

	enrol();
	put(path_of("agent.pem.new"), "-----BEGIN");
	ck_assert_str_eq(content("agent.pem"), KEY CHAIN);
	must_store(STORE_RENEWED, "new " KEY CHAIN);
	ck_assert(!is_there("agent.pem.new"));
	snprintf(outside, sizeof(outside), "%s/outside", folder);
	put(outside, "untouched");
	ck_assert_int_eq(symlink(outside, path_of("agent.pem.new")), 0);
	ck_assert_int_eq(unlink(path_of("agent.pem")), 0);
	ck_assert_int_eq(symlink(outside, path_of("agent.pem")), 0);
	must_store(STORE_RENEWED, KEY CHAIN);
	ck_assert_str_eq(content("agent.pem"), KEY CHAIN);
	ck_assert_str_eq(content("../outside"), "untouched");
}
END_TEST

/* Whom the folder belongs to would otherwise read through root what is not theirs. */
START_TEST(test_links)
{
	char outside[96], inside[96];
	int fd;

	enrol();
	snprintf(inside, sizeof(inside), "%s/token", state);
	snprintf(outside, sizeof(outside), "%s/outside", folder);
	put(outside, "secret");
	ck_assert_int_eq(symlink(outside, inside), 0);
	options.token_file = inside;
	ck_assert(!look_on(&here).token);
	ck_assert_int_eq(identity_open(&options, inside), -1);
	ck_assert_int_eq(errno, ELOOP);
	ck_assert_int_eq(symlink(outside, token), 0);	/* elsewhere it is root's own */
	options.token_file = token;
	ck_assert(look_on(&here).token);
	ck_assert_int_ne(fd = identity_open(&options, path_of("agent.pem")), -1);
	close(fd);
}
END_TEST

/* --- file systems that take nothing --- */

static void
mount_state(const char *data)
{
	ck_assert_int_eq(unshare(CLONE_NEWNS), 0);
	ck_assert_int_eq(mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL), 0);
	ck_assert_int_eq(mkdir(state, 0700), 0);
	ck_assert_int_eq(mount("state", state, "tmpfs", 0, data), 0);
}

START_TEST(test_read_only)
{
	if (geteuid() != 0)
		return;
	mount_state("mode=0700");
	enrol();
	put(token, "vmtap1-y\n");
	ck_assert_int_eq(mount(NULL, state, NULL, MS_REMOUNT | MS_RDONLY, NULL), 0);
	for (int what = 0; what < STORE_MAX; what++) {
		ck_assert_int_eq(store_on(&here, (enum ipc_store)what, "other"), -1);
		ck_assert_int_eq(errno, EROFS);
	}
	ck_assert_str_eq(content("agent.pem"), KEY CHAIN);
	ck_assert(look_on(&here).token);
	ck_assert_int_eq(umount(state), 0);
}
END_TEST

START_TEST(test_full)
{
	static char much[32 * 1024];

	if (geteuid() != 0)
		return;
	mount_state("mode=0700,size=16k");
	enrol();
	memset(much, 'x', sizeof(much) - 1);
	ck_assert_int_eq(store_on(&here, STORE_RENEWED, much), -1);
	ck_assert_int_eq(errno, ENOSPC);
	ck_assert_str_eq(content("agent.pem"), KEY CHAIN);
	ck_assert_uint_eq(count_files(), 3);
	must_store(STORE_RENEWED, "x" KEY CHAIN);
	ck_assert_int_eq(umount(state), 0);
}
END_TEST

START_TEST(test_no_parent)
{
	snprintf(state, sizeof(state), "%s/no/state", folder);
	ck_assert_int_eq(store_on(&here, STORE_PENDING, KEY), -1);
	ck_assert_int_eq(errno, ENOENT);
}
END_TEST

/* --- copies --- */

static const struct {
	struct machine	was, now;
	const char	*why;		/* NULL: the same, as far as is known */
	const char	*kept;		/* in "machine" then */
} copies[] = {
	{ { "a", "1" }, { "a", "1" }, NULL, "product_uuid: a\ninstance_id: 1\n" },
	{ { "a", "1" }, { "A", "1" }, NULL, "product_uuid: a\ninstance_id: 1\n" },
	{ { "00112233-4455-6677-8899-aabbccddeeff", "1" }, { "33221100-5544-7766-8899-AABBCCDDEEFF", "1" }, NULL,
	    "product_uuid: 00112233-4455-6677-8899-aabbccddeeff\ninstance_id: 1\n" },
	{ { "00112233-4455-6677-8899-aabbccddeeff", "" }, { "00112233-4455-6677-9988-aabbccddeeff", "" },
	    "its product UUID was 00112233-4455-6677-8899-aabbccddeeff and is 00112233-4455-6677-9988-aabbccddeeff", NULL },
	{ { "a", "1" }, { "b", "1" }, "its product UUID was a and is b", NULL },
	{ { "a", "1" }, { "a", "2" }, "its cloud-init instance was 1 and is 2", NULL },
	{ { "a", "1" }, { "b", "2" }, "its product UUID was a and is b", NULL },
	{ { "a", "" }, { "b", "" }, "its product UUID was a and is b", NULL },
	{ { "", "1" }, { "", "2" }, "its cloud-init instance was 1 and is 2", NULL },
	{ { "a", "" }, { "", "1" }, NULL, "product_uuid: a\ninstance_id: 1\n" },
	{ { "", "1" }, { "a", "1" }, NULL, "product_uuid: a\ninstance_id: 1\n" },
	{ { "", "" }, { "a", "1" }, NULL, "product_uuid: a\ninstance_id: 1\n" },
	{ { "a", "1" }, { "", "" }, NULL, "product_uuid: a\ninstance_id: 1\n" },
	{ { "", "" }, { "", "" }, NULL, "" },
	{ { "", "1" }, { "a", "2" }, "its cloud-init instance was 1 and is 2", NULL },
};

START_TEST(test_copies)
{
	struct ipc_enrolment found;

	ck_assert_int_eq(store_on(&copies[_i].was, STORE_ENROLLED, KEY CHAIN), 0);
	found = look_on(&copies[_i].now);
	ck_assert_int_eq(found.cloned, copies[_i].why != NULL);
	ck_assert_str_eq(found.why, copies[_i].why != NULL ? copies[_i].why : "");
	if (copies[_i].kept != NULL)
		ck_assert_str_eq(content("machine"), copies[_i].kept);
	ck_assert_int_eq(look_on(&copies[_i].was).cloned, false);
	ck_assert_int_eq(store_on(&copies[_i].now, STORE_RENEWED, CHAIN), copies[_i].why != NULL ? -1 : 0);
	ck_assert_str_eq(content("agent.pem"), copies[_i].why != NULL ? KEY CHAIN : CHAIN);
}
END_TEST

/* A copy that enrols is itself from then on, and the original's key goes only when the new one is there. */
START_TEST(test_copy_enrols)
{
	static const struct machine other = { .product_uuid = "bbbb", .instance_id = "i-2" };

	enrol();
	put(token, "vmtap1-y\n");
	ck_assert_int_eq(store_on(&other, STORE_PENDING, "-----BEGIN other\n"), 0);
	ck_assert(look_on(&other).cloned && look_on(&other).pending);
	ck_assert_int_eq(store_on(&other, STORE_CA, CHAIN), 0);
	ck_assert_str_eq(content("agent.pem"), KEY CHAIN);
	ck_assert(look_on(&other).cloned);
	ck_assert_int_eq(store_on(&other, STORE_ENROLLED, "-----BEGIN other\n" CHAIN), 0);
	ck_assert(!look_on(&other).cloned);
	ck_assert(look_on(&here).cloned);
}
END_TEST

START_TEST(test_machine_text)
{
	static const struct machine odd = { .product_uuid = "a" };
	struct machine read;
	char text[MACHINE_TEXT_SIZE];

	machine_format(&here, text);
	machine_parse(text, &read);
	ck_assert_mem_eq(&read, &here, sizeof(read));
	machine_parse("# a comment\nproduct_uuid: a\nunknown: x\ninstance_id: with\x01 control\n" KEY, &read);
	ck_assert_mem_eq(&read, &odd, sizeof(read));
	machine_parse("product_uuid", &read);
	ck_assert_str_eq(read.product_uuid, "");
	memset(text, 'x', sizeof(text) - 1);
	memcpy(text, "product_uuid: ", 14);
	text[sizeof(text) - 1] = '\0';
	machine_parse(text, &read);
	ck_assert_str_eq(read.product_uuid, "");
}
END_TEST

/* The service manager's copy of what root alone may read. */
START_TEST(test_machine_credential)
{
	char path[96];
	struct machine now;

	snprintf(path, sizeof(path), "%s/product_uuid", folder);
	put(path, "5c6e1b0e-1111-2222-3333-444455556666\n");
	ck_assert_int_eq(setenv("CREDENTIALS_DIRECTORY", folder, 1), 0);
	machine_read(&now);
	ck_assert_str_eq(now.product_uuid, "5c6e1b0e-1111-2222-3333-444455556666");
}
END_TEST

/* --- what the last agent counted --- */

#define BOOT	"6d1c2f7e-0000-4444-8888-123456789abc"
#define OTHER	"6d1c2f7e-0000-4444-8888-123456789abd"
#define LINE	"2 02:00:00:00:00:01 1000 eth0\n"
#define MAC	{ 2, 0, 0, 0, 0, 1 }

static struct last_counts
parsed(const char *text)
{
	struct last_counts last;

	last_counts_parse(text, BOOT, &last);
	return last;
}

static size_t
count_rows(const struct last_counts *last)
{
	size_t count = 0;

	for (size_t i = 0; i < MSG_INTERFACES_MAX; i++)
		count += last->row[i].ifindex != 0;
	return count;
}

static const struct {
	const char	*text;
	size_t		 rows;
} last_texts[] = {
	{ "", 0 },
	{ "boot_id " BOOT "\n", 0 },
	{ "boot_id " BOOT "\n" LINE, 1 },
	{ "boot_id " BOOT "\n" LINE "3 00:00:00:00:00:00 18446744073709551615 a*b\n", 2 },
	{ "boot_id " BOOT "\n" LINE "2 02:00:00:00:00:02 5 eth1\n", 1 },
	{ "boot_id " OTHER "\n" LINE, 0 },
	{ "boot_id " BOOT LINE, 0 },
	{ LINE, 0 },
	{ "boot_id " BOOT "\nx\n" LINE, 0 },
	{ "boot_id " BOOT "\n2 02:00:00:00:00:01 1000 eth0", 0 },
	{ "boot_id " BOOT "\n 2 02:00:00:00:00:01 1000 eth0\n", 0 },
	{ "boot_id " BOOT "\n2 02:00:00:00:00:01 -1 eth0\n", 0 },
	{ "boot_id " BOOT "\n2 02:00:00:00:00:01 18446744073709551616 eth0\n", 0 },
	{ "boot_id " BOOT "\n4294967298 02:00:00:00:00:01 1000 eth0\n", 0 },
	{ "boot_id " BOOT "\n0 02:00:00:00:00:01 1000 eth0\n", 0 },
	{ "boot_id " BOOT "\n2 02:00:00:00:00:101 1000 eth0\n", 0 },
	{ "boot_id " BOOT "\n2 02:00:00:00:00:01 1000 eth0eth0eth0eth0\n", 0 },
	{ "boot_id " BOOT "\n2 02:00:00:00:00:01 1000 %s%n\n", 1 },
};

START_TEST(test_last_text)
{
	struct last_counts last = parsed(last_texts[_i].text);

	ck_assert_uint_eq(count_rows(&last), last_texts[_i].rows);
}
END_TEST

/* All places, the longest of everything, and one more than there are places. */
START_TEST(test_last_full)
{
	struct last_counts last;
	char text[LAST_TEXT_SIZE], more[LAST_TEXT_SIZE + 64], again[LAST_TEXT_SIZE];

	memset(&last, 0xff, sizeof(last));
	for (uint32_t i = 0; i < MSG_INTERFACES_MAX; i++) {
		last.row[i].ifindex -= i;
		memset(last.row[i].name, 'x', sizeof(last.row[i].name));
	}
	ck_assert_uint_eq(last_counts_format(&last, BOOT, text), strlen(text));
	snprintf(more, sizeof(more), "%s" LINE, text);
	last = parsed(more);
	ck_assert_uint_eq(count_rows(&last), MSG_INTERFACES_MAX);
	ck_assert_uint_eq(last_counts_format(&last, BOOT, again), strlen(text));
	ck_assert_str_eq(again, text);
	memset(&last, 0, sizeof(last));
	ck_assert_uint_eq(last_counts_format(&last, BOOT, text), 0);
}
END_TEST

static const struct {
	struct last_row	now;
	int		result;
	uint64_t	missed;
} last_rows[] = {
	{ { .ifindex = 2, .mac = MAC, .packets = 1000 }, 1, 0 },
	{ { .ifindex = 2, .mac = MAC, .packets = 1234 }, 1, 234 },
	{ { .ifindex = 2, .mac = MAC, .packets = UINT64_MAX }, 1, UINT64_MAX - 1000 },
	{ { .ifindex = 2, .mac = MAC, .packets = 999 }, -1, 0 },
	{ { .ifindex = 2, .mac = { 2, 0, 0, 0, 0, 2 }, .packets = 1234 }, 0, 0 },
	{ { .ifindex = 3, .mac = MAC, .packets = 1234 }, 0, 0 },
};

/* Once, whoever asks: after that it is this agent's own count. */
START_TEST(test_last_seen)
{
	struct last_counts last = parsed("boot_id " BOOT "\n" LINE);
	struct last_row now = last_rows[_i].now;
	char text[LAST_TEXT_SIZE];
	uint64_t missed;

	strcpy(now.name, "eth1");
	ck_assert_int_eq(last_counts_see(&last, &now, &missed), last_rows[_i].result);
	ck_assert_uint_eq(missed, last_rows[_i].missed);
	now.packets -= 100;
	ck_assert_int_eq(last_counts_see(&last, &now, &missed), 0);
	ck_assert_uint_eq(missed, 0);
	last_counts_format(&last, BOOT, text);
	last = parsed(text);
	ck_assert_int_eq(last_counts_see(&last, &now, &missed), 1);
	ck_assert_uint_eq(missed, 0);
	last_counts_forget(&last, now.ifindex);
	last_counts_forget(&last, 4711);
	ck_assert_uint_eq(count_rows(&last), now.ifindex == 2 ? 0 : 1);
}
END_TEST

START_TEST(test_last_file)
{
	char text[LAST_TEXT_SIZE];
	struct stat st;

	ck_assert_int_eq(identity_keep_last(&options, LINE, strlen(LINE)), -1);
	ck_assert_uint_eq(identity_take_last(&options, text, sizeof(text)), 0);
	ck_assert_int_eq(access(state, F_OK), -1);
	ck_assert_int_eq(mkdir(state, 0700), 0);
	put(path_of("last"), "from long ago, and longer than what is written now");
	ck_assert_int_eq(identity_keep_last(&options, LINE, strlen(LINE)), 0);
	ck_assert_int_eq(stat(path_of("last"), &st), 0);
	ck_assert_uint_eq(st.st_mode & 07777, 0600);
	ck_assert_uint_eq(identity_take_last(&options, text, sizeof(text)), strlen(LINE));
	ck_assert_str_eq(text, LINE);
	ck_assert_uint_eq(identity_take_last(&options, text, sizeof(text)), 0);
	ck_assert_uint_eq(count_files(), 0);
	put(path_of("last"), LINE);
	ck_assert_uint_eq(identity_take_last(&options, text, 8), 7);
	ck_assert_str_eq(text, "2 02:00");
}
END_TEST

static Suite *
identity_suite(void)
{
	Suite *suite = suite_create("supervisor_identity");
	TCase *tc = tcase_create("supervisor_identity");

	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, test_nothing);
	tcase_add_test(tc, test_enrolled);
	tcase_add_test(tc, test_while_enrolling);
	tcase_add_loop_test(tc, test_cut_short, 0, 2);
	tcase_add_test(tc, test_pending_of_another);
	tcase_add_test(tc, test_left_behind);
	tcase_add_test(tc, test_links);
	tcase_add_test(tc, test_read_only);
	tcase_add_test(tc, test_full);
	tcase_add_test(tc, test_no_parent);
	tcase_add_loop_test(tc, test_copies, 0, sizeof(copies) / sizeof(copies[0]));
	tcase_add_test(tc, test_copy_enrols);
	tcase_add_test(tc, test_machine_text);
	tcase_add_test(tc, test_machine_credential);
	tcase_add_loop_test(tc, test_last_text, 0, sizeof(last_texts) / sizeof(last_texts[0]));
	tcase_add_test(tc, test_last_full);
	tcase_add_loop_test(tc, test_last_seen, 0, sizeof(last_rows) / sizeof(last_rows[0]));
	tcase_add_test(tc, test_last_file);
	suite_add_tcase(suite, tc);
	return suite;
}

int
main(void)
{
	SRunner *runner = srunner_create(identity_suite());
	int failed;

	log_init("check_supervisor_identity", LOG_LEVEL_ERROR);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
