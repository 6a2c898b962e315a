/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#include "config.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <openssl/err.h>
#include <openssl/rand.h>
#include <openssl/x509v3.h>

#include "proto/rights.h"

#include "collector/pki.h"
#include "collector/pki_file.h"
#include "collector/pki_make.h"

#define SERIAL_BITS	128
#define DNS_NAME_MAX	253	/* RFC 1035, 2.3.4 */
#define DNS_LABEL_MAX	63

int
pki_host_valid(const char *host)
{
	ASN1_OCTET_STRING	*ip = a2i_IPADDRESS(host);
	size_t			 len = strlen(host), label;

	ERR_clear_error();
	ASN1_OCTET_STRING_free(ip);
	if (ip != NULL)
		return 1;
	if (len == 0 || len > DNS_NAME_MAX)
		return 0;
	for (const char *p = host;; p += label + 1) {
		label = strspn(p, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_");
		if (label == 0 || label > DNS_LABEL_MAX || p[0] == '-')
			return 0;
		if (p[label] == '\0')
			return 1;
		if (p[label] != '.')
			return 0;
	}
}

int
pki_make_uuid(char uuid[IDENTITY_UUID_SIZE])
{
	uint8_t	 b[16];

	if (RAND_bytes(b, sizeof(b)) != 1)
		return -1;
	b[6] = (uint8_t)((b[6] & 0x0f) | 0x40);	/* version 4, variant 1 (RFC 4122, 4.4) */
	b[8] = (uint8_t)((b[8] & 0x3f) | 0x80);
	snprintf(uuid, IDENTITY_UUID_SIZE, "%02x%02x%02x%02x-%02x%02x-%02x%02x-%02x%02x-%02x%02x%02x%02x%02x%02x", b[0], b[1],
	    b[2], b[3], b[4], b[5], b[6], b[7], b[8], b[9], b[10], b[11], b[12], b[13], b[14], b[15]);
	return 0;
}

static EVP_PKEY *
make_key(enum pki_algorithm algorithm)
{
	return algorithm == PKI_ED25519 ? EVP_PKEY_Q_keygen(NULL, NULL, "ED25519") : EVP_EC_gen("P-256");
}

static int
set_serial(X509 *cert)
{
	BIGNUM	*serial = BN_new();
	int	 ok;

	ok = serial != NULL && BN_rand(serial, SERIAL_BITS, BN_RAND_TOP_ANY, BN_RAND_BOTTOM_ANY) == 1 &&
	    BN_to_ASN1_INTEGER(serial, X509_get_serialNumber(cert)) != NULL;
	BN_free(serial);
	return ok ? 0 : -1;
}

static int
add_extension(X509 *cert, X509 *issuer, int nid, const char *value)
{
	X509V3_CTX	 context;
	X509_EXTENSION	*extension;
	int		 ok;

	X509V3_set_ctx_nodb(&context);
	X509V3_set_ctx(&context, issuer, cert, NULL, NULL, 0);
	extension = X509V3_EXT_conf_nid(NULL, &context, nid, value);
	ok = extension != NULL && X509_add_ext(cert, extension, -1) == 1;
	X509_EXTENSION_free(extension);
	return ok ? 0 : -1;
}

/* A v3 certificate of that subject and key, not signed yet. */
static X509 *
certificate_new(const char *common_name, EVP_PKEY *key, time_t not_before, time_t not_after)
{
	X509	*cert = X509_new();

	if (cert != NULL && X509_set_version(cert, X509_VERSION_3) == 1 && set_serial(cert) == 0 &&
	    X509_time_adj_ex(X509_getm_notBefore(cert), 0, 0, &not_before) != NULL &&
	    X509_time_adj_ex(X509_getm_notAfter(cert), 0, 0, &not_after) != NULL && X509_set_pubkey(cert, key) == 1 &&
	    X509_NAME_add_entry_by_NID(X509_get_subject_name(cert), NID_commonName, MBSTRING_UTF8,
	    (const unsigned char *)common_name, -1, -1, 0) == 1)
		return cert;
	X509_free(cert);
	return NULL;
}

/* Ed25519 hashes by itself. */
static int
sign(X509 *cert, EVP_PKEY *key)
{
	return X509_sign(cert, key, EVP_PKEY_is_a(key, "ED25519") ? NULL : EVP_sha256()) > 0 ? 0 : -1;
}

/* Who may sign others' certificates: a root if there is no issuer, else an intermediate, below which there is none. The random part
 * of its name tells one deployment's CA from another's in error messages. */
static X509 *
make_ca(const char *own_name, EVP_PKEY *key, const struct pki_ca *issuer, time_t not_before, time_t not_after)
{
	uint8_t	 b[4];
	char	 name[64];
	X509	*cert, *parent;

	if (RAND_bytes(b, sizeof(b)) != 1)
		return NULL;
	snprintf(name, sizeof(name), "vmtap CA %.40s%s%02x%02x%02x%02x", own_name, own_name[0] != '\0' ? " " : "", b[0], b[1], b[2],
	    b[3]);
	if ((cert = certificate_new(name, key, not_before, not_after)) == NULL)
		return NULL;
	parent = issuer != NULL ? issuer->cert : cert;
	if (X509_set_issuer_name(cert, X509_get_subject_name(parent)) == 1 &&
	    add_extension(cert, parent, NID_basic_constraints, issuer != NULL ? "critical,CA:TRUE,pathlen:0"
	    : "critical,CA:TRUE,pathlen:1") == 0 &&
	    add_extension(cert, parent, NID_key_usage, "critical,keyCertSign,cRLSign") == 0 &&
	    add_extension(cert, parent, NID_subject_key_identifier, "hash") == 0 &&
	    add_extension(cert, parent, NID_authority_key_identifier, "keyid:always") == 0 &&
	    sign(cert, issuer != NULL ? issuer->key : key) == 0)
		return cert;
	X509_free(cert);
	return NULL;
}

static int
push_text(GENERAL_NAMES *names, int type, const char *text)
{
	GENERAL_NAME	*name = GENERAL_NAME_new();
	ASN1_IA5STRING	*value = ASN1_IA5STRING_new();

	if (name == NULL || value == NULL || ASN1_STRING_set(value, text, -1) != 1) {
		GENERAL_NAME_free(name);
		ASN1_IA5STRING_free(value);
		return -1;
	}
	GENERAL_NAME_set0_value(name, type, value);
	if (sk_GENERAL_NAME_push(names, name) > 0)
		return 0;
	GENERAL_NAME_free(name);
	return -1;
}

static int
push_host(GENERAL_NAMES *names, const char *host)
{
	ASN1_OCTET_STRING	*ip = a2i_IPADDRESS(host);
	GENERAL_NAME		*name;

	ERR_clear_error();
	if (ip == NULL)
		return push_text(names, GEN_DNS, host);
	if ((name = GENERAL_NAME_new()) == NULL) {
		ASN1_OCTET_STRING_free(ip);
		return -1;
	}
	GENERAL_NAME_set0_value(name, GEN_IPADD, ip);
	if (sk_GENERAL_NAME_push(names, name) > 0)
		return 0;
	GENERAL_NAME_free(name);
	return -1;
}

/* A right that cannot be written is an error, not one less. */
static int
push_rights(GENERAL_NAMES *names, const struct pki_request *request)
{
	char	 uri[IDENTITY_URI_SIZE];

	for (size_t i = 0; i < request->tenant_count; i++)
		for (unsigned right = RIGHT_READ; right <= RIGHT_ADMIN; right <<= 1)
			if ((request->rights & right) != 0 &&
			    (rights_format(request->tenants[i], (enum right)right, uri, sizeof(uri)) == -1 ||
			    push_text(names, GEN_URI, uri) == -1))
				return -1;
	return 0;
}

static int
add_names(X509 *cert, const struct pki_request *request, const char *uri)
{
	GENERAL_NAMES	*names = sk_GENERAL_NAME_new_null();
	int		 ok = names != NULL && push_text(names, GEN_URI, uri) == 0;

	for (size_t i = 0; ok && i < request->host_count; i++)
		ok = push_host(names, request->hosts[i]) == 0;
	ok = ok && push_rights(names, request) == 0;
	ok = ok && X509_add1_ext_i2d(cert, NID_subject_alt_name, names, 0, 0) == 1;
	GENERAL_NAMES_free(names);
	return ok ? 0 : -1;
}

X509 *
pki_make_leaf(const struct pki_request *request, EVP_PKEY *key, const struct pki_ca *ca, time_t not_after)
{
	char	 uri[IDENTITY_URI_SIZE];
	X509	*cert;

	if (identity_format(&request->identity, uri, sizeof(uri)) == -1)
		return NULL;
	if ((cert = certificate_new(request->identity.name, key, request->not_before, not_after)) == NULL)
		return NULL;
	if (X509_set_issuer_name(cert, X509_get_subject_name(ca->cert)) == 1 &&
	    add_extension(cert, ca->cert, NID_basic_constraints, "critical,CA:FALSE") == 0 &&
	    add_extension(cert, ca->cert, NID_key_usage, "critical,digitalSignature") == 0 &&
	    add_extension(cert, ca->cert, NID_ext_key_usage, "serverAuth,clientAuth") == 0 &&
	    add_extension(cert, ca->cert, NID_subject_key_identifier, "hash") == 0 &&
	    add_extension(cert, ca->cert, NID_authority_key_identifier, "keyid:always") == 0 &&
	    add_names(cert, request, uri) == 0 && sign(cert, ca->key) == 0)
		return cert;
	X509_free(cert);
	return NULL;
}

static int
store_pair(struct pki_dir *dir, const char *name, EVP_PKEY *key, X509 *cert, struct pki_made *made, char error[PKI_ERROR_SIZE])
{
	if (key == NULL || cert == NULL) {
		pki_error_openssl(error, "cannot make a certificate");
		return -1;
	}
	return pki_dir_store(dir, name, key, cert, made, error);
}

int
pki_init(const char *path, enum pki_algorithm algorithm, time_t not_before, time_t not_after, struct pki_made *made,
    char error[PKI_ERROR_SIZE])
{
	struct pki_dir	 dir;
	EVP_PKEY	*key;
	X509		*cert;
	int		 result;

	*made = (struct pki_made){ .not_after = not_after };
	if (pki_dir_open(&dir, path, true, error) == -1)
		return -1;
	if ((result = pki_dir_check_free(&dir, "ca", error)) == 0) {
		key = make_key(algorithm);
		cert = key != NULL ? make_ca("", key, NULL, not_before, not_after) : NULL;
		result = store_pair(&dir, "ca", key, cert, made, error);
		X509_free(cert);
		EVP_PKEY_free(key);
	}
	pki_dir_close(&dir, result == 0);
	return result;
}

static int
intermediate(struct pki_dir *dir, const char *name, enum pki_algorithm algorithm, time_t not_before, struct pki_made *made,
    char error[PKI_ERROR_SIZE])
{
	struct pki_ca	 ca;
	EVP_PKEY	*key;
	X509		*cert;
	int		 result = -1;

	if (pki_dir_check_free(dir, name, error) == -1 || pki_dir_load_ca(dir, &ca, error) == -1)
		return -1;
	if (made->not_after > ca.not_after)
		made->not_after = ca.not_after;
	if (X509_get_pathlen(ca.cert) == 0)
		pki_error_set(error, "%s/ca.crt allows no issuer below it (pathlen:0, as older versions made it)", dir->path);
	else {
		key = make_key(algorithm);
		cert = key != NULL ? make_ca(name, key, &ca, not_before, made->not_after) : NULL;
		result = store_pair(dir, name, key, cert, made, error);
		X509_free(cert);
		EVP_PKEY_free(key);
	}
	pki_ca_clear(&ca);
	return result;
}

int
pki_intermediate(const char *path, const char *name, enum pki_algorithm algorithm, time_t not_before, time_t not_after,
    struct pki_made *made, char error[PKI_ERROR_SIZE])
{
	struct pki_dir	 dir;
	int		 result;

	*made = (struct pki_made){ .not_after = not_after };
	if (!identity_name_valid(name)) {
		pki_error_set(error, "\"%s\" cannot be a name: 1 to 64 of A-Z a-z 0-9 . _ - are, not starting with . or -", name);
		return -1;
	}
	if (pki_dir_open(&dir, path, false, error) == -1)
		return -1;
	result = intermediate(&dir, name, algorithm, not_before, made, error);
	pki_dir_close(&dir, result == 0);
	return result;
}

static int
issue(struct pki_dir *dir, const struct pki_request *request, struct pki_made *made, char error[PKI_ERROR_SIZE])
{
	struct pki_ca	 ca;
	EVP_PKEY	*key;
	X509		*cert;
	int		 result;

	if (pki_dir_check_free(dir, request->identity.name, error) == -1 || pki_dir_load_ca(dir, &ca, error) == -1)
		return -1;
	made->identity = request->identity;
	made->not_after = request->not_after < ca.not_after ? request->not_after : ca.not_after;
	key = make_key(request->algorithm);
	cert = key != NULL ? pki_make_leaf(request, key, &ca, made->not_after) : NULL;
	result = store_pair(dir, request->identity.name, key, cert, made, error);
	X509_free(cert);
	EVP_PKEY_free(key);
	pki_ca_clear(&ca);
	return result;
}

static int
check_request(const struct pki_request *request, char error[PKI_ERROR_SIZE])
{
	if (!identity_name_valid(request->identity.name)) {
		pki_error_set(error, "\"%s\" cannot be a name: 1 to 64 of A-Z a-z 0-9 . _ - are, not starting with . or -",
		    request->identity.name);
		return -1;
	}
	if (request->identity.role != ROLE_COLLECTOR && !identity_name_valid(request->identity.tenant)) {
		pki_error_set(error, "\"%s\" cannot be a tenant: 1 to 64 of A-Z a-z 0-9 . _ - are, not starting with . or -",
		    request->identity.tenant);
		return -1;
	}
	for (size_t i = 0; i < request->host_count; i++)
		if (!pki_host_valid(request->hosts[i])) {
			pki_error_set(error, "\"%s\" is neither an address nor a host name", request->hosts[i]);
			return -1;
		}
	return 0;
}

int
pki_issue(const char *path, const struct pki_request *wanted, struct pki_made *made, char error[PKI_ERROR_SIZE])
{
	struct pki_request	 request = *wanted;
	struct pki_dir		 dir;
	int			 result;

	*made = (struct pki_made){ 0 };
	if (check_request(&request, error) == -1)
		return -1;
	if (request.identity.role == ROLE_AGENT && request.identity.uuid[0] == '\0' && pki_make_uuid(request.identity.uuid) == -1) {
		pki_error_openssl(error, "no random numbers");
		return -1;
	}
	if (pki_dir_open(&dir, path, false, error) == -1)
		return -1;
	result = issue(&dir, &request, made, error);
	pki_dir_close(&dir, result == 0);
	return result;
}

/* Of a certificate that this CA signed for a holder. */
static int
holder_of(const struct pki_dir *dir, const char *name, const struct pki_ca *ca, X509 *cert, struct identity *identity,
    char error[PKI_ERROR_SIZE])
{
	GENERAL_NAMES	*names = X509_get_ext_d2i(cert, NID_subject_alt_name, NULL, NULL);
	char		 common_name[IDENTITY_NAME_SIZE] = "";
	int		 result = -1;

	X509_NAME_get_text_by_NID(X509_get_subject_name(cert), NID_commonName, common_name, sizeof(common_name));
	for (int i = 0; result == -1 && i < sk_GENERAL_NAME_num(names); i++) {
		const GENERAL_NAME *n = sk_GENERAL_NAME_value(names, i);

		if (n->type == GEN_URI)
			result = identity_parse((const char *)ASN1_STRING_get0_data(n->d.uniformResourceIdentifier),
			    common_name, identity);
	}
	GENERAL_NAMES_free(names);
	if (result == -1)
		pki_error_set(error, "%s/%s.crt is no agent's, collector's or operator's certificate", dir->path, name);
	else if ((result = X509_verify(cert, X509_get0_pubkey(ca->cert)) == 1 ? 0 : -1) == -1)
		pki_error_set(error, "%s/%s.crt was signed by another CA than %s/ca.crt", dir->path, name, dir->path);
	ERR_clear_error();
	return result;
}

static int
renew(const struct pki_dir *dir, const char *name, const struct pki_ca *ca, time_t not_before, struct pki_made *made,
    char error[PKI_ERROR_SIZE])
{
	X509	*cert = NULL;
	int	 result = -1;

	if (pki_dir_load(dir, name, &cert, error) == -1)
		return -1;
	if (holder_of(dir, name, ca, cert, &made->identity, error) == -1) {
		X509_free(cert);
		return -1;
	}
	if (set_serial(cert) == 0 && X509_time_adj_ex(X509_getm_notBefore(cert), 0, 0, &not_before) != NULL &&
	    X509_time_adj_ex(X509_getm_notAfter(cert), 0, 0, &made->not_after) != NULL && sign(cert, ca->key) == 0)
		result = pki_dir_replace(dir, name, cert, made, error);
	else
		pki_error_openssl(error, "cannot make a certificate");
	X509_free(cert);
	return result;
}

int
pki_renew(const char *path, const char *name, time_t not_before, time_t not_after, struct pki_made *made,
    char error[PKI_ERROR_SIZE])
{
	struct pki_dir	 dir;
	struct pki_ca	 ca;
	int		 result;

	*made = (struct pki_made){ 0 };
	if (pki_dir_open(&dir, path, false, error) == -1)
		return -1;
	if ((result = pki_dir_load_ca(&dir, &ca, error)) == 0) {
		made->not_after = not_after < ca.not_after ? not_after : ca.not_after;
		result = renew(&dir, name, &ca, not_before, made, error);
		pki_ca_clear(&ca);
	}
	pki_dir_close(&dir, result == 0);
	return result;
}
