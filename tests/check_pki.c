/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#include "config.h"

#include <sys/stat.h>

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <check.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>

#include "proto/rights.h"

#include "collector/pki.h"

#define YEAR	(365 * 86400)

static char	dir[] = "/tmp/check_pki.XXXXXX";
static char	ca_dir[64];
static time_t	now;

static void
set_up(void)
{
	struct pki_made	 made;
	char		 error[PKI_ERROR_SIZE];

	ck_assert_ptr_nonnull(mkdtemp(dir));
	snprintf(ca_dir, sizeof(ca_dir), "%s/ca", dir);
	now = time(NULL);
	ck_assert_msg(pki_init(ca_dir, PKI_P256, now - 300, now + 10 * YEAR, &made, error) == 0, "%s", error);
}

static void
tear_down(void)
{
	char	 command[128];

	snprintf(command, sizeof(command), "rm -rf %s", dir);
	ck_assert_int_eq(system(command), 0);
}

static const char *
path_of(const char *file)
{
	static char	 path[128];

	snprintf(path, sizeof(path), "%s/%s", ca_dir, file);
	return path;
}

static mode_t
mode_of(const char *path)
{
	struct stat	 st;

	ck_assert_msg(stat(path, &st) == 0, "%s", path);
	return st.st_mode & 07777;
}

static X509 *
read_cert(const char *path)
{
	FILE	*f = fopen(path, "r");
	X509	*cert;

	ck_assert_msg(f != NULL, "%s", path);
	cert = PEM_read_X509(f, NULL, NULL, NULL);
	fclose(f);
	ck_assert_ptr_nonnull(cert);
	return cert;
}

static unsigned
file_count(const char *path)
{
	DIR		*d = opendir(path);
	struct dirent	*entry;
	unsigned	 count = 0;

	ck_assert_ptr_nonnull(d);
	while ((entry = readdir(d)) != NULL)
		count += strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0;
	closedir(d);
	return count;
}

static struct pki_request
request_of(enum identity_role role, const char *tenant, const char *name)
{
	struct pki_request	 request = { .not_before = now - 300, .not_after = now + YEAR };

	request.identity.role = role;
	snprintf(request.identity.tenant, sizeof(request.identity.tenant), "%s", tenant);
	snprintf(request.identity.name, sizeof(request.identity.name), "%s", name);
	return request;
}

static struct pki_made
issue(const struct pki_request *request)
{
	struct pki_made	 made;
	char		 error[PKI_ERROR_SIZE] = "";

	ck_assert_msg(pki_issue(ca_dir, request, &made, error) == 0, "%s", error);
	return made;
}

static void
refused(const struct pki_request *request, const char *path, const char *words)
{
	struct pki_made	 made;
	char		 error[PKI_ERROR_SIZE] = "";

	ck_assert_int_eq(pki_issue(path, request, &made, error), -1);
	ck_assert_msg(strstr(error, words) != NULL, "\"%s\" lacks \"%s\"", error, words);
}

/* The SAN as OpenSSL prints it. */
static void
read_names(const X509 *cert, char *dst, int size)
{
	BIO	*bio = BIO_new(BIO_s_mem());
	int	 at = X509_get_ext_by_NID(cert, NID_subject_alt_name, -1), n;

	ck_assert_int_ge(at, 0);
	ck_assert_int_eq(X509V3_EXT_print(bio, X509_get_ext(cert, at), 0, 0), 1);
	n = BIO_read(bio, dst, size - 1);
	ck_assert_int_gt(n, 0);
	dst[n] = '\0';
	BIO_free(bio);
}

static void
common_name(const X509 *cert, char *dst, int size)
{
	ck_assert_int_gt(X509_NAME_get_text_by_NID(X509_get_subject_name(cert), NID_commonName, dst, size), 0);
}

static int
verify(X509 *cert, int purpose)
{
	X509		*ca = read_cert(path_of("ca.crt"));
	X509_STORE	*store = X509_STORE_new();
	X509_STORE_CTX	*context = X509_STORE_CTX_new();
	int		 result;

	X509_STORE_add_cert(store, ca);
	X509_STORE_set_flags(store, X509_V_FLAG_X509_STRICT | X509_V_FLAG_CHECK_SS_SIGNATURE);
	X509_STORE_CTX_init(context, store, cert, NULL);
	X509_STORE_CTX_set_purpose(context, purpose);
	result = X509_verify_cert(context) == 1 ? X509_V_OK : X509_STORE_CTX_get_error(context);
	X509_STORE_CTX_free(context);
	X509_STORE_free(store);
	X509_free(ca);
	return result;
}

START_TEST(ca)
{
	X509	*cert = read_cert(path_of("ca.crt"));

	ck_assert_uint_eq(mode_of(ca_dir), 0700);
	ck_assert_uint_eq(mode_of(path_of("ca.key")), 0600);
	ck_assert_uint_eq(mode_of(path_of("ca.crt")), 0644);
	ck_assert_uint_eq(file_count(ca_dir), 2);
	ck_assert_int_eq(X509_check_ca(cert), 1);
	ck_assert_int_eq(X509_get_pathlen(cert), 1);
	ck_assert_uint_eq(X509_get_key_usage(cert), KU_KEY_CERT_SIGN | KU_CRL_SIGN);
	ck_assert_int_eq(verify(cert, X509_PURPOSE_ANY), X509_V_OK);
	X509_free(cert);
}
END_TEST

static const struct {
	enum identity_role	 role;
	const char		*tenant, *name, *uri;
	enum pki_algorithm	 algorithm;
	int			 key_id;
	unsigned		 rights;
	char			*tenants[3];
} holders[] = {
	{ ROLE_AGENT, "acme", "web1", "URI:vmtap://acme/", PKI_P256, EVP_PKEY_EC, 0, { NULL } },
	{ ROLE_COLLECTOR, "", "col", "URI:vmtap-collector://col, DNS:col.example.org, IP Address:192.0.2.1", PKI_ED25519,
	    EVP_PKEY_ED25519, 0, { NULL } },
	{ ROLE_OPERATOR, "acme", "ann", "URI:vmtap-operator://acme/ann", PKI_P256, EVP_PKEY_EC, 0, { NULL } },
	{ ROLE_OPERATOR, "acme", "eve", "URI:vmtap-operator://acme/eve, URI:vmtap-right://acme/read, URI:vmtap-right://acme/admin, "
	    "URI:vmtap-right://globex/read, URI:vmtap-right://globex/admin, URI:vmtap-right://*/read, URI:vmtap-right://*/admin",
	    PKI_P256, EVP_PKEY_EC, RIGHT_READ | RIGHT_ADMIN, { "acme", "globex", "*" } },
};

static void
give_rights(struct pki_request *request, int i)
{
	request->rights = holders[i].rights;
	request->tenants = holders[i].tenants;
	request->tenant_count = holders[i].rights != 0 ? 3 : 0;
}

START_TEST(holder)
{
	char		*hosts[] = { "col.example.org", "192.0.2.1" };
	struct pki_request request = request_of(holders[_i].role, holders[_i].tenant, holders[_i].name);
	struct pki_made	 made;
	X509		*cert;
	char		 text[512];

	request.algorithm = holders[_i].algorithm;
	give_rights(&request, _i);
	if (request.identity.role == ROLE_COLLECTOR) {
		request.hosts = hosts;
		request.host_count = 2;
	}
	made = issue(&request);
	cert = read_cert(made.cert_path);
	ck_assert_uint_eq(mode_of(made.key_path), 0600);
	ck_assert_uint_eq(mode_of(made.cert_path), 0644);
	ck_assert_int_eq(verify(cert, X509_PURPOSE_SSL_CLIENT), X509_V_OK);
	ck_assert_int_eq(verify(cert, X509_PURPOSE_SSL_SERVER), X509_V_OK);
	ck_assert_int_eq(X509_check_ca(cert), 0);
	ck_assert_int_eq(EVP_PKEY_get_id(X509_get0_pubkey(cert)), holders[_i].key_id);
	read_names(cert, text, sizeof(text));
	ck_assert_msg(strncmp(text, holders[_i].uri, strlen(holders[_i].uri)) == 0, "%s", text);
	if (request.identity.role == ROLE_AGENT) {
		ck_assert(identity_uuid_valid(made.identity.uuid));
		ck_assert_int_eq(made.identity.uuid[14], '4');
		ck_assert_str_eq(text + strlen(holders[_i].uri), made.identity.uuid);
	} else
		ck_assert_str_eq(text, holders[_i].uri);
	common_name(cert, text, sizeof(text));
	ck_assert_str_eq(text, holders[_i].name);
	ck_assert_uint_eq(file_count(ca_dir), 4);
	X509_free(cert);
}
END_TEST

START_TEST(key_fits)
{
	struct pki_request	 request = request_of(ROLE_AGENT, "acme", "web1");
	struct pki_made		 made = issue(&request);
	X509			*cert = read_cert(made.cert_path);
	FILE			*f = fopen(made.key_path, "r");
	char			 line[64];
	EVP_PKEY		*key;

	ck_assert_ptr_nonnull(f);
	ck_assert_ptr_nonnull(fgets(line, sizeof(line), f));
	ck_assert_str_eq(line, "-----BEGIN PRIVATE KEY-----\n");
	rewind(f);
	key = PEM_read_PrivateKey(f, NULL, NULL, NULL);
	fclose(f);
	ck_assert_int_eq(X509_check_private_key(cert, key), 1);
	EVP_PKEY_free(key);
	X509_free(cert);
}
END_TEST

START_TEST(two_differ)
{
	struct pki_request	 first = request_of(ROLE_AGENT, "acme", "web1"), second = request_of(ROLE_AGENT, "acme", "web2");
	struct pki_made		 a = issue(&first), b = issue(&second);
	X509			*cert_a = read_cert(a.cert_path), *cert_b = read_cert(b.cert_path);

	ck_assert_str_ne(a.identity.uuid, b.identity.uuid);
	ck_assert_int_ne(ASN1_INTEGER_cmp(X509_get0_serialNumber(cert_a), X509_get0_serialNumber(cert_b)), 0);
	X509_free(cert_a);
	X509_free(cert_b);
}
END_TEST

START_TEST(never_outlives_the_ca)
{
	struct pki_request	 request = request_of(ROLE_AGENT, "acme", "web1");
	struct pki_made		 made;
	X509			*cert;
	struct tm		 tm;

	request.not_after = now + 20 * YEAR;
	made = issue(&request);
	cert = read_cert(made.cert_path);
	ck_assert_int_eq(made.not_after, now + 10 * YEAR);
	ck_assert_int_eq(ASN1_TIME_to_tm(X509_get0_notAfter(cert), &tm), 1);
	ck_assert_int_eq(timegm(&tm), made.not_after);
	X509_free(cert);
}
END_TEST

/* Another time and number, and all else as it was; without the key, which may have gone to where it is used. */
START_TEST(renewed)
{
	char		*hosts[] = { "col.example.org", "192.0.2.1" }, names[2][512], error[PKI_ERROR_SIZE] = "";
	struct pki_request request = request_of(holders[_i].role, holders[_i].tenant, holders[_i].name);
	struct pki_made	 made, again;
	X509		*before, *cert;
	struct tm	 tm;

	request.algorithm = holders[_i].algorithm;
	give_rights(&request, _i);
	request.hosts = hosts;
	request.host_count = request.identity.role == ROLE_COLLECTOR ? 2 : 0;
	made = issue(&request);
	before = read_cert(made.cert_path);
	ck_assert_int_eq(unlink(made.key_path), 0);
	ck_assert_msg(pki_renew(ca_dir, holders[_i].name, now - 60, now + 2 * YEAR, &again, error) == 0, "%s", error);
	cert = read_cert(again.cert_path);
	ck_assert_str_eq(again.cert_path, made.cert_path);
	ck_assert_str_eq(again.key_path, "");
	ck_assert_mem_eq(&again.identity, &made.identity, sizeof(made.identity));
	ck_assert_int_eq(EVP_PKEY_eq(X509_get0_pubkey(cert), X509_get0_pubkey(before)), 1);
	read_names(before, names[0], sizeof(names[0]));
	read_names(cert, names[1], sizeof(names[1]));
	ck_assert_str_eq(names[0], names[1]);
	ck_assert_int_ne(ASN1_INTEGER_cmp(X509_get0_serialNumber(cert), X509_get0_serialNumber(before)), 0);
	ck_assert_int_eq(ASN1_TIME_to_tm(X509_get0_notAfter(cert), &tm), 1);
	ck_assert_int_eq(timegm(&tm), now + 2 * YEAR);
	ck_assert_int_eq(verify(cert, X509_PURPOSE_SSL_CLIENT), X509_V_OK);
	ck_assert_uint_eq(mode_of(again.cert_path), 0644);
	ck_assert_uint_eq(file_count(ca_dir), 3);
	X509_free(before);
	X509_free(cert);
}
END_TEST

static void
renewal_refused(const char *name, const char *words)
{
	char		 error[PKI_ERROR_SIZE] = "";
	struct pki_made	 made;

	ck_assert_int_eq(pki_renew(ca_dir, name, now, now + YEAR, &made, error), -1);
	ck_assert_msg(strstr(error, words) != NULL, "\"%s\" lacks \"%s\"", error, words);
}

START_TEST(not_renewed)
{
	struct pki_request	 request = request_of(ROLE_AGENT, "acme", "web1");
	char			 command[256], error[PKI_ERROR_SIZE];
	struct pki_made		 made;

	renewal_refused("web1", "web1.crt is missing");
	renewal_refused("ca", "ca.crt is no agent's");
	issue(&request);
	snprintf(command, sizeof(command), "rm %s/ca.*", ca_dir);
	ck_assert_int_eq(system(command), 0);
	renewal_refused("web1", "makes a CA");
	ck_assert_int_eq(pki_init(ca_dir, PKI_P256, now, now + YEAR, &made, error), 0);
	renewal_refused("web1", "another CA");
	ck_assert_uint_eq(file_count(ca_dir), 4);
}
END_TEST

static const char *const taken[] = { "web1.key", "web1.crt" };

START_TEST(overwrites_nothing)
{
	struct pki_request	 request = request_of(ROLE_AGENT, "acme", "web1");
	struct pki_made		 made;
	char			 error[PKI_ERROR_SIZE], text[8] = "";
	int			 fd = open(path_of(taken[_i]), O_RDWR | O_CREAT | O_EXCL, 0600);

	ck_assert_int_eq(write(fd, "mine", 4), 4);
	refused(&request, ca_dir, taken[_i]);
	ck_assert_int_eq(pread(fd, text, sizeof(text), 0), 4);
	ck_assert_str_eq(text, "mine");
	close(fd);
	ck_assert_uint_eq(file_count(ca_dir), 3);
	ck_assert_int_eq(pki_init(ca_dir, PKI_P256, now, now + YEAR, &made, error), -1);
	ck_assert_ptr_nonnull(strstr(error, "ca.key exists already"));
	request = request_of(ROLE_AGENT, "acme", "ca");
	refused(&request, ca_dir, "ca.key exists already");
}
END_TEST

START_TEST(dangling_link_is_taken)
{
	struct pki_request	 request = request_of(ROLE_AGENT, "acme", "web1");

	ck_assert_int_eq(symlink("/nonexistent/elsewhere", path_of("web1.key")), 0);
	refused(&request, ca_dir, "web1.key exists already");
}
END_TEST

static const struct {
	enum identity_role	 role;
	const char		*tenant, *name, *host, *words;
} bad[] = {
	{ ROLE_AGENT, "acme", "../web1", NULL, "cannot be a name" },
	{ ROLE_AGENT, "acme", ".web1", NULL, "cannot be a name" },
	{ ROLE_AGENT, "acme", "", NULL, "cannot be a name" },
	{ ROLE_AGENT, "ac/me", "web1", NULL, "cannot be a tenant" },
	{ ROLE_OPERATOR, "", "ann", NULL, "cannot be a tenant" },
	{ ROLE_COLLECTOR, "", "col", "a,URI:vmtap-operator://acme/ann", "neither an address nor a host name" },
	{ ROLE_COLLECTOR, "", "col", "", "neither an address nor a host name" },
	{ ROLE_COLLECTOR, "", "col", "a..b", "neither an address nor a host name" },
	{ ROLE_COLLECTOR, "", "col", "-a", "neither an address nor a host name" },
	{ ROLE_COLLECTOR, "", "col", "*.example.org", "neither an address nor a host name" },
};

START_TEST(bad_words)
{
	struct pki_request	 request = request_of(bad[_i].role, bad[_i].tenant, bad[_i].name);
	char			*hosts[] = { (char *)bad[_i].host };

	request.hosts = hosts;
	request.host_count = bad[_i].host != NULL;
	refused(&request, ca_dir, bad[_i].words);
	ck_assert_uint_eq(file_count(ca_dir), 2);
}
END_TEST

START_TEST(bad_rights)
{
	struct pki_request	 request = request_of(ROLE_OPERATOR, "acme", "ann");
	char			*tenants[] = { "acme", "ac/me" };

	request.rights = RIGHT_READ;
	request.tenants = tenants;
	request.tenant_count = 2;
	refused(&request, ca_dir, "cannot make a certificate");
	ck_assert_uint_eq(file_count(ca_dir), 2);
}
END_TEST

START_TEST(bad_directory)
{
	struct pki_request	 request = request_of(ROLE_AGENT, "acme", "web1");
	struct pki_made		 made;
	char			 error[PKI_ERROR_SIZE], path[128];

	refused(&request, "/nonexistent", "No such file or directory");
	refused(&request, dir, "ca.crt is missing; \"vmtap pki init");
	ck_assert_int_eq(pki_init("/nonexistent/a/b", PKI_P256, now, now + YEAR, &made, error), -1);
	ck_assert_ptr_nonnull(strstr(error, "/nonexistent/a/b cannot be made: No such file or directory"));
	snprintf(path, sizeof(path), "%s/other", dir);
	ck_assert_int_eq(pki_init(path, PKI_ED25519, now, now + YEAR, &made, error), 0);
	snprintf(path, sizeof(path), "%s/other/ca.key", dir);
	ck_assert_int_eq(unlink(path_of("ca.key")), 0);
	ck_assert_int_eq(rename(path, path_of("ca.key")), 0);
	refused(&request, ca_dir, "ca.key is not the key of");
	ck_assert_int_eq(truncate(path_of("ca.key"), 20), 0);
	refused(&request, ca_dir, "ca.key cannot be read");
}
END_TEST

START_TEST(expired_ca)
{
	struct pki_request	 request = request_of(ROLE_AGENT, "acme", "web1");
	struct pki_made		 made;
	char			 error[PKI_ERROR_SIZE], path[128];

	snprintf(path, sizeof(path), "%s/old", dir);
	ck_assert_int_eq(pki_init(path, PKI_P256, now - 20, now - 10, &made, error), 0);
	refused(&request, path, "ca.crt expired on 20");
}
END_TEST

int
main(void)
{
	Suite	*suite = suite_create("pki");
	TCase	*tc = tcase_create("pki");
	SRunner	*runner;
	int	 failed;

	tcase_add_checked_fixture(tc, set_up, tear_down);
	tcase_add_test(tc, ca);
	tcase_add_loop_test(tc, holder, 0, sizeof(holders) / sizeof(holders[0]));
	tcase_add_test(tc, key_fits);
	tcase_add_test(tc, two_differ);
	tcase_add_test(tc, never_outlives_the_ca);
	tcase_add_loop_test(tc, renewed, 0, sizeof(holders) / sizeof(holders[0]));
	tcase_add_test(tc, not_renewed);
	tcase_add_loop_test(tc, overwrites_nothing, 0, sizeof(taken) / sizeof(taken[0]));
	tcase_add_test(tc, dangling_link_is_taken);
	tcase_add_loop_test(tc, bad_words, 0, sizeof(bad) / sizeof(bad[0]));
	tcase_add_test(tc, bad_rights);
	tcase_add_test(tc, bad_directory);
	tcase_add_test(tc, expired_ca);
	suite_add_tcase(suite, tc);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
