/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#include "config.h"

#include <stdio.h>
#include <string.h>

#include <check.h>

#include "common/buf.h"
#include "collector/user_data.h"

#define FINGERPRINT	"SHA256:00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff"
#define TOKEN		"vmtap1-abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQ"
#define HASH		"ffeeddccbbaa99887766554433221100ffeeddccbbaa99887766554433221100"
#define KEY		"-----BEGIN PGP PUBLIC KEY BLOCK-----\n\nmQINBF+abc/def=\n=AbCd\n-----END PGP PUBLIC KEY BLOCK-----\n"
#define LINE		"deb https://archive.example/vmtap bookworm main"

static struct user_data	 data;
static struct buf	 out;
static char		 error[USER_DATA_ERROR_SIZE];

static void
set_up(void)
{
	data = (struct user_data){ .collector = "collector.example", .tenant = "acme", .token = TOKEN, .fingerprint = FINGERPRINT,
	    .expires_ns = 1795762800000000000u };
	buf_init(&out, USER_DATA_MAX);
}

static void
tear_down(void)
{
	buf_clear(&out);
}

static const char *
written(void)
{
	ck_assert_msg(user_data_write(&data, &out, error) == 0, "%s", error);
	ck_assert_int_eq(buf_put_u8(&out, 0), 0);
	return (const char *)out.data;
}

static void
has(const char *text, const char *part)
{
	ck_assert_msg(strstr(text, part) != NULL, "no \"%s\" in:\n%s", part, text);
}

static void
lacks(const char *text, const char *part)
{
	ck_assert_msg(strstr(text, part) == NULL, "\"%s\" in:\n%s", part, text);
}

START_TEST(image_has_package)
{
	const char *text = written();

	ck_assert_int_eq(strncmp(text, "#cloud-config\n", 14), 0);
	has(text, "tenant acme with a token that ends at 2026-11-27T07:00:00Z.\n");
	has(text, "      enroll = collector.example:8827\n      ca-fingerprint = " FINGERPRINT "\n");
	has(text, "\n    " TOKEN "\n");
	lacks(text, "apt");
	lacks(text, "@");
}
END_TEST

START_TEST(package_by_url)
{
	const char *text;

	data.url = "http://10.0.0.1/pool/vmtap-agent_0.1_amd64.deb?a=1&b=%20#sha256=" HASH;
	text = written();
	has(text, "download-file 'http://10.0.0.1/pool/vmtap-agent_0.1_amd64.deb?a=1&b=%20' \"$deb/vmtap-agent.deb\" SHA256:" HASH "\n");
	lacks(text, "sources.list.d");
	lacks(text, "@");
	ck_assert_ptr_eq(strstr(strstr(text, "apt-get install") + 1, "apt-get install"), NULL);
}
END_TEST

START_TEST(package_by_https_needs_no_hash)
{
	data.url = "https://example.net/a.deb";
	has(written(), "'https://example.net/a.deb' \"$deb/vmtap-agent.deb\" \n");
}
END_TEST

START_TEST(package_of_repository)
{
	const char *text;

	data.repository = LINE;
	text = written();
	has(text, "      " LINE "\n");
	has(text, "$options vmtap-agent\n");
	lacks(text, "keyrings");
	lacks(text, "download-file");
}
END_TEST

START_TEST(key_is_what_the_line_trusts)
{
	const char *text;

	data.repository = LINE;
	data.key = KEY;
	text = written();
	has(text, "      deb [signed-by=/etc/apt/keyrings/vmtap.asc] https://archive.example/vmtap bookworm main\n");
	has(text, "      -----BEGIN PGP PUBLIC KEY BLOCK-----\n      \n      mQINBF+abc/def=\n      =AbCd\n      -----END PGP");
}
END_TEST

START_TEST(key_beside_other_options)
{
	data.repository = "deb [arch=amd64] https://archive.example/vmtap bookworm main";
	data.key = KEY;
	has(written(), "deb [signed-by=/etc/apt/keyrings/vmtap.asc arch=amd64] https:");
}
END_TEST

START_TEST(addresses)
{
	data.collector = "[2001:db8::1]:99";
	has(written(), "enroll = [2001:db8::1]:99\n");
	buf_clear(&out);
	data.collector = "2001:db8::1";
	has(written(), "enroll = [2001:db8::1]:8827\n");
}
END_TEST

/* Each would mean more than a word to YAML, a shell, apt or the agent. */
static const struct {
	size_t		 field;
	const char	*value;
} hostile[] = {
	{ offsetof(struct user_data, collector), "" },
	{ offsetof(struct user_data, collector), "host:0" },
	{ offsetof(struct user_data, collector), "host name" },
	{ offsetof(struct user_data, collector), "host\nrun: x" },
	{ offsetof(struct user_data, collector), "host\"" },
	{ offsetof(struct user_data, collector), "host#1" },
	{ offsetof(struct user_data, collector), "-host" },
	{ offsetof(struct user_data, collector), "$(id)" },
	{ offsetof(struct user_data, collector), "fe80::1%eth0" },
	{ offsetof(struct user_data, collector), "h\xc3\xb6st" },
	{ offsetof(struct user_data, tenant), "" },
	{ offsetof(struct user_data, tenant), "../x" },
	{ offsetof(struct user_data, tenant), "a b" },
	{ offsetof(struct user_data, tenant), "a\nruncmd: []" },
	{ offsetof(struct user_data, tenant), "a\r" },
	{ offsetof(struct user_data, tenant), "a\xc2\x85z" },
	{ offsetof(struct user_data, url), "" },
	{ offsetof(struct user_data, url), "ftp://example.net/a.deb" },
	{ offsetof(struct user_data, url), "/tmp/a.deb" },
	{ offsetof(struct user_data, url), "http://example.net/a.deb" },
	{ offsetof(struct user_data, url), "https://example.net/a.deb#sha256=12" },
	{ offsetof(struct user_data, url), "https://example.net/a.deb#sha256=" HASH "0" },
	{ offsetof(struct user_data, url), "https://example.net/a.deb#sha256=" HASH "\n" },
	{ offsetof(struct user_data, url), "https://example.net/a'; id; '" },
	{ offsetof(struct user_data, url), "https://example.net/$(id)" },
	{ offsetof(struct user_data, url), "https://example.net/`id`" },
	{ offsetof(struct user_data, url), "https://example.net/a b" },
	{ offsetof(struct user_data, url), "https://example.net/a\n    id" },
	{ offsetof(struct user_data, url), "https://example.net/a\\" },
	{ offsetof(struct user_data, url), "https://example.net/a#b" },
	{ offsetof(struct user_data, repository), "" },
	{ offsetof(struct user_data, repository), "deb" },
	{ offsetof(struct user_data, repository), "deb /tmp ./" },
	{ offsetof(struct user_data, repository), "deb-src https://example.net/ ./" },
	{ offsetof(struct user_data, repository), LINE "\ndeb http://evil.example ./" },
	{ offsetof(struct user_data, repository), LINE " # comment" },
	{ offsetof(struct user_data, repository), LINE "'" },
	{ offsetof(struct user_data, repository), LINE "\t" },
	{ offsetof(struct user_data, token), "" },
	{ offsetof(struct user_data, token), "END\n    id" },
	{ offsetof(struct user_data, token), "a b" },
	{ offsetof(struct user_data, token), NULL },
	{ offsetof(struct user_data, fingerprint), NULL },
	{ offsetof(struct user_data, fingerprint), "SHA256:00" },
	{ offsetof(struct user_data, fingerprint), "SHA256:00112233445566778899aabbccddeeff00112233445566778899aabbccddee\nx" },
	{ offsetof(struct user_data, fingerprint), "MD5sum:00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff" },
};

START_TEST(refuses_what_is_not_a_word)
{
	const char *value = hostile[_i].value;

	memcpy((char *)&data + hostile[_i].field, &value, sizeof(value));
	ck_assert_msg(user_data_write(&data, &out, error) == -1, "\"%s\" passed", value != NULL ? value : "(none)");
	ck_assert_uint_eq(out.len, 0);
	ck_assert_ptr_eq(strchr(error, '\n'), NULL);
	if (hostile[_i].field != offsetof(struct user_data, token) && hostile[_i].field != offsetof(struct user_data, fingerprint))
		ck_assert_int_eq(user_data_check(&data, error), -1);
}
END_TEST

/* Every byte that is not among the few harmless ones is refused, wherever it stands. */
START_TEST(refuses_bytes)
{
	static const char harmless[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._~:/?@+,=%&[]";
	char url[64];

	snprintf(url, sizeof(url), "https://example.net/a%cb", _i);
	data.url = url;
	ck_assert_int_eq(user_data_check(&data, error) == 0, strchr(harmless, _i) != NULL);
}
END_TEST

static const char *const bad_keys[] = {
	"", "mQINBF", "-----BEGIN PGP PRIVATE KEY BLOCK-----\nx\n-----END PGP PRIVATE KEY BLOCK-----\n",
	"-----BEGIN PGP PUBLIC KEY BLOCK-----\nx\n", "-----BEGIN PGP PUBLIC KEY BLOCK-----\n\tx\n-----END PGP PUBLIC KEY BLOCK-----\n",
	"-----BEGIN PGP PUBLIC KEY BLOCK-----\n\xc2\x85\n-----END PGP PUBLIC KEY BLOCK-----\n",
	"-----BEGIN PGP PUBLIC KEY BLOCK-----\nx\r\n-----END PGP PUBLIC KEY BLOCK-----\n",
};

START_TEST(refuses_keys)
{
	data.repository = LINE;
	data.key = bad_keys[_i];
	ck_assert_int_eq(user_data_check(&data, error), -1);
}
END_TEST

START_TEST(refuses_what_contradicts)
{
	data.key = KEY;
	ck_assert_int_eq(user_data_check(&data, error), -1);
	data.repository = "deb [trusted=yes] https://example.net/ ./";
	ck_assert_int_eq(user_data_check(&data, error), -1);
	data.repository = "deb [signed-by=/x] https://example.net/ ./";
	ck_assert_int_eq(user_data_check(&data, error), -1);
	data.repository = LINE;
	ck_assert_int_eq(user_data_check(&data, error), 0);
	data.url = "https://example.net/a.deb";
	ck_assert_int_eq(user_data_check(&data, error), -1);
}
END_TEST

START_TEST(fits_a_cloud)
{
	static char key[USER_DATA_MAX];
	size_t len = (size_t)snprintf(key, sizeof(key), "-----BEGIN PGP PUBLIC KEY BLOCK-----\n");

	while (len < sizeof(key) - 128)
		len += (size_t)snprintf(key + len, sizeof(key) - len, "mQINBFabcdefghijklmnopqrstuvwxyz0123456789\n");
	snprintf(key + len, sizeof(key) - len, "-----END PGP PUBLIC KEY BLOCK-----\n");
	data.repository = LINE;
	data.key = key;
	ck_assert_int_eq(user_data_write(&data, &out, error), -1);
}
END_TEST

int
main(void)
{
	Suite *suite = suite_create("user_data");
	TCase *tcase = tcase_create("user_data");
	SRunner *runner = srunner_create(suite);
	int failed;

	tcase_add_checked_fixture(tcase, set_up, tear_down);
	tcase_add_test(tcase, image_has_package);
	tcase_add_test(tcase, package_by_url);
	tcase_add_test(tcase, package_by_https_needs_no_hash);
	tcase_add_test(tcase, package_of_repository);
	tcase_add_test(tcase, key_is_what_the_line_trusts);
	tcase_add_test(tcase, key_beside_other_options);
	tcase_add_test(tcase, addresses);
	tcase_add_loop_test(tcase, refuses_what_is_not_a_word, 0, sizeof(hostile) / sizeof(hostile[0]));
	tcase_add_loop_test(tcase, refuses_bytes, 1, 128);
	tcase_add_loop_test(tcase, refuses_keys, 0, sizeof(bad_keys) / sizeof(bad_keys[0]));
	tcase_add_test(tcase, refuses_what_contradicts);
	tcase_add_test(tcase, fits_a_cloud);
	suite_add_tcase(suite, tcase);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed != 0;
}
