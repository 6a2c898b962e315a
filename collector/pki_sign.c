/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#include "config.h"

#include <sys/stat.h>
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/core_names.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>

#include "common/log.h"

#include "collector/pki_file.h"
#include "collector/pki_make.h"
#include "collector/pki_sign.h"

#define RSA_BITS_MIN	2048
#define RSA_BITS_MAX	4096	/* what a stranger's signature may cost us */
#define RSA_E_BITS_MAX	32
#define GROUP_NAME_SIZE	32

struct pki_csr {
	X509_REQ	*req;
	uint8_t		 key_hash[PKI_KEY_HASH_SIZE];
};

struct pki_issuer {
	X509		*root;
	X509_STORE	*trust;		/* the root */
	struct pki_ca	 ca;		/* who signs; empty: somebody elsewhere */
	STACK_OF(X509)	*above;		/* the issuer's certificate and those above it, without the root */
};

/* --- requests --- */

/* Of another exponent than people use a signature costs as much to verify as to make. */
static bool
rsa_acceptable(EVP_PKEY *key)
{
	BIGNUM	*e = NULL;
	bool	 good = EVP_PKEY_get_bits(key) >= RSA_BITS_MIN && EVP_PKEY_get_bits(key) <= RSA_BITS_MAX &&
	    EVP_PKEY_get_bn_param(key, OSSL_PKEY_PARAM_RSA_E, &e) == 1 && BN_num_bits(e) <= RSA_E_BITS_MAX;

	BN_free(e);
	return good;
}

static bool
key_acceptable(EVP_PKEY *key)
{
	char	 group[GROUP_NAME_SIZE];

	if (EVP_PKEY_is_a(key, "ED25519"))
		return true;
	if (EVP_PKEY_is_a(key, "RSA"))
		return rsa_acceptable(key);
	return EVP_PKEY_is_a(key, "EC") && EVP_PKEY_get_group_name(key, group, sizeof(group), NULL) == 1 &&
	    (strcmp(group, "prime256v1") == 0 || strcmp(group, "secp384r1") == 0);
}

static int
hash_key(const X509_REQ *req, uint8_t hash[PKI_KEY_HASH_SIZE])
{
	unsigned char	*der = NULL;
	int		 len = i2d_X509_PUBKEY(X509_REQ_get_X509_PUBKEY((X509_REQ *)(uintptr_t)req), &der);
	int		 ok = len > 0 && EVP_Digest(der, (size_t)len, hash, NULL, EVP_sha256(), NULL) == 1;

	OPENSSL_free(der);
	return ok ? 0 : -1;
}

static int
check_csr(struct pki_csr *csr, char error[PKI_ERROR_SIZE])
{
	EVP_PKEY	*key = X509_REQ_get0_pubkey(csr->req);

	if (key == NULL)
		pki_error_set(error, "the certificate request has no key that can be understood");
	else if (!key_acceptable(key))
		pki_error_set(error, "the certificate request's key is of another kind than P-256, P-384, Ed25519 and RSA of %d to %d bits",
		    RSA_BITS_MIN, RSA_BITS_MAX);
	else if (X509_REQ_verify(csr->req, key) != 1)
		pki_error_set(error, "the certificate request was not signed by its own key");
	else if (hash_key(csr->req, csr->key_hash) == -1)
		pki_error_openssl(error, "the certificate request's key");
	else
		return 0;
	ERR_clear_error();
	return -1;
}

struct pki_csr *
pki_csr_new(const uint8_t *der, size_t len, char error[PKI_ERROR_SIZE])
{
	struct pki_csr		*csr = calloc(1, sizeof(*csr));
	const unsigned char	*p = der;

	if (csr == NULL) {
		pki_error_set(error, "out of memory");
		return NULL;
	}
	if (len <= MSG_CERTIFICATE_MAX && (csr->req = d2i_X509_REQ(NULL, &p, (long)len)) != NULL && p == der + len) {
		if (check_csr(csr, error) == 0)
			return csr;
	} else
		pki_error_set(error, "the certificate request is malformed");
	ERR_clear_error();
	pki_csr_free(csr);
	return NULL;
}

void
pki_csr_free(struct pki_csr *csr)
{
	if (csr == NULL)
		return;
	X509_REQ_free(csr->req);
	free(csr);
}

const uint8_t *
pki_csr_key_hash(const struct pki_csr *csr)
{
	return csr->key_hash;
}

char *
pki_csr_pem(const struct pki_csr *csr)
{
	BIO	*bio = BIO_new(BIO_s_mem());
	char	*text = NULL, *bytes;
	long	 len;

	if (bio != NULL && PEM_write_bio_X509_REQ(bio, csr->req) == 1 && (len = BIO_get_mem_data(bio, &bytes)) > 0)
		text = strndup(bytes, (size_t)len);
	BIO_free(bio);
	ERR_clear_error();
	return text;
}

/* --- chains --- */

static int
chain_add(struct pki_chain *chain, X509 *cert)
{
	unsigned char	*der, *end;
	int		 len = i2d_X509(cert, NULL);

	if (len <= 0 || len > MSG_CERTIFICATE_MAX || chain->count == MSG_CHAIN_MAX ||
	    (der = realloc(chain->der, chain->len + (size_t)len)) == NULL)
		return -1;
	chain->der = der;
	end = der + chain->len;
	if (i2d_X509(cert, &end) != len)
		return -1;
	chain->certificate[chain->count].at = chain->len;
	chain->certificate[chain->count].len = (size_t)len;
	chain->len += (size_t)len;
	chain->count++;
	return 0;
}

static time_t
not_after_of(const X509 *cert)
{
	struct tm	 tm;

	return ASN1_TIME_to_tm(X509_get0_notAfter(cert), &tm) == 1 ? timegm(&tm) : 0;
}

static int
chain_fill(struct pki_chain *chain, X509 *leaf, STACK_OF(X509) *above, char error[PKI_ERROR_SIZE])
{
	int	 rc = chain_add(chain, leaf);

	for (int i = 0; i < sk_X509_num(above) && rc == 0; i++)
		rc = chain_add(chain, sk_X509_value(above, i));
	chain->not_after = not_after_of(leaf);
	if (rc == 0)
		return 0;
	pki_error_set(error, "the chain is longer than %d certificates, or one of them than %d bytes", MSG_CHAIN_MAX, MSG_CERTIFICATE_MAX);
	pki_chain_clear(chain);
	return -1;
}

int
pki_chain_parse(struct pki_chain *chain, const uint8_t *der, size_t len, char error[PKI_ERROR_SIZE])
{
	const unsigned char	*p = der;
	int			 rc = 0;

	*chain = (struct pki_chain){ 0 };
	while (p < der + len && rc == 0) {
		X509	*cert = d2i_X509(NULL, &p, (long)(der + len - p));

		rc = cert != NULL ? chain_add(chain, cert) : -1;
		if (rc == 0 && chain->count == 1)
			chain->not_after = not_after_of(cert);
		X509_free(cert);
	}
	ERR_clear_error();
	if (rc == 0 && chain->count > 0)
		return 0;
	pki_error_set(error, "a stored certificate is damaged");
	pki_chain_clear(chain);
	return -1;
}

void
pki_chain_clear(struct pki_chain *chain)
{
	free(chain->der);
	*chain = (struct pki_chain){ 0 };
}

/* --- who signs --- */

/* Never asks at the terminal. */
static int
no_passphrase(char *dst, int size, int writing, void *arg)
{
	(void)dst, (void)size, (void)writing, (void)arg;
	return -1;
}

static BIO *
open_pem(const char *path, char error[PKI_ERROR_SIZE])
{
	BIO	*bio = BIO_new_file(path, "re");

	if (bio == NULL) {
		pki_error_set(error, "%s: %s", path, strerror(errno));
		ERR_clear_error();
	}
	return bio;
}

static X509 *
load_certificate(BIO *bio, const char *path, char error[PKI_ERROR_SIZE])
{
	X509	*cert = PEM_read_bio_X509(bio, NULL, no_passphrase, NULL);

	if (cert == NULL)
		pki_error_set(error, "%s: holds no certificate in PEM form", path);
	ERR_clear_error();
	return cert;
}

static X509 *
load_first(const char *path, char error[PKI_ERROR_SIZE])
{
	BIO	*bio = open_pem(path, error);
	X509	*cert = bio != NULL ? load_certificate(bio, path, error) : NULL;

	BIO_free(bio);
	return cert;
}

int
pki_fingerprint(const char *path, char text[PKI_FINGERPRINT_SIZE], char error[PKI_ERROR_SIZE])
{
	uint8_t	 hash[EVP_MAX_MD_SIZE];
	X509	*cert = load_first(path, error);
	char	*p = stpcpy(text, "SHA256:");

	if (cert == NULL)
		return -1;
	if (X509_digest(cert, EVP_sha256(), hash, NULL) != 1) {
		pki_error_openssl(error, path);
		X509_free(cert);
		return -1;
	}
	for (int i = 0; i < 32; i++)
		p += snprintf(p, 3, "%02x", hash[i]);
	X509_free(cert);
	return 0;
}

static EVP_PKEY *
load_key(const char *path, char error[PKI_ERROR_SIZE])
{
	BIO		*bio = open_pem(path, error);
	EVP_PKEY	*key;
	struct stat	 st;

	if (bio == NULL)
		return NULL;
	if (stat(path, &st) == 0 && (st.st_mode & (S_IRWXG | S_IRWXO)) != 0)
		log_warn("%s: others than its owner can read this key (mode %04o); chmod 600 it", path, (unsigned)st.st_mode & 07777);
	if ((key = PEM_read_bio_PrivateKey(bio, NULL, no_passphrase, NULL)) == NULL)
		pki_error_set(error, "%s: holds no private key in PEM form, or an encrypted one", path);
	ERR_clear_error();
	BIO_free(bio);
	return key;
}

/* 0 if the chain leads to the root now, else OpenSSL's reason. */
static int
verify(const struct pki_issuer *issuer, X509 *leaf, STACK_OF(X509) *above)
{
	X509_STORE_CTX	*ctx = X509_STORE_CTX_new();
	int		 why = X509_V_ERR_OUT_OF_MEM;

	if (ctx != NULL && X509_STORE_CTX_init(ctx, issuer->trust, leaf, above) == 1)
		why = X509_verify_cert(ctx) == 1 ? X509_V_OK : X509_STORE_CTX_get_error(ctx);
	X509_STORE_CTX_free(ctx);
	ERR_clear_error();
	return why;
}

/* The rest of the file, without the root, goes on top. */
static int
load_above(struct pki_issuer *issuer, BIO *bio)
{
	X509	*cert;
	int	 rc = 0;

	while (rc == 0 && (cert = PEM_read_bio_X509(bio, NULL, no_passphrase, NULL)) != NULL)
		if (X509_cmp(cert, issuer->root) == 0)
			X509_free(cert);
		else if (sk_X509_push(issuer->above, cert) <= 0) {
			X509_free(cert);
			rc = -1;
		}
	ERR_clear_error();
	return rc;
}

static int
check_issuer(struct pki_issuer *issuer, const char *ca, const char *cert, const char *key, char error[PKI_ERROR_SIZE])
{
	int	 why;

	issuer->ca.not_after = not_after_of(issuer->ca.cert);
	if (X509_check_private_key(issuer->ca.cert, issuer->ca.key) != 1)
		pki_error_set(error, "%s: is not the key of %s", key, cert);
	else if (X509_check_ca(issuer->ca.cert) != 1)
		pki_error_set(error, "%s: may not sign certificates (CA:TRUE is missing)", cert);
	else if ((why = verify(issuer, issuer->ca.cert, issuer->above)) != X509_V_OK)
		pki_error_set(error, "%s: does not lead to %s: %s", cert, ca, X509_verify_cert_error_string(why));
	else if (sk_X509_num(issuer->above) > 0 && X509_get_pathlen(issuer->root) == 0)
		pki_error_set(error, "%s allows no issuer below it (pathlen:0), as %s is", ca, cert);
	else
		return 0;
	ERR_clear_error();
	return -1;
}

static int
load_issuer(struct pki_issuer *issuer, const char *ca, const char *cert, const char *key, char error[PKI_ERROR_SIZE])
{
	BIO	*bio = open_pem(cert, error);
	int	 rc = -1;

	if (bio == NULL)
		return -1;
	if ((issuer->ca.cert = load_certificate(bio, cert, error)) != NULL && (issuer->ca.key = load_key(key, error)) != NULL) {
		if (X509_cmp(issuer->ca.cert, issuer->root) == 0)
			rc = 0;
		else if (X509_up_ref(issuer->ca.cert) == 1 && sk_X509_push(issuer->above, issuer->ca.cert) > 0)
			rc = load_above(issuer, bio);
		if (rc == -1)
			pki_error_set(error, "out of memory");
		else
			rc = check_issuer(issuer, ca, cert, key, error);
	}
	BIO_free(bio);
	return rc;
}

struct pki_issuer *
pki_issuer_load(const char *ca, const char *cert, const char *key, char error[PKI_ERROR_SIZE])
{
	struct pki_issuer	*issuer = calloc(1, sizeof(*issuer));

	if (issuer == NULL || (issuer->trust = X509_STORE_new()) == NULL || (issuer->above = sk_X509_new_null()) == NULL)
		pki_error_set(error, "out of memory");
	else if ((issuer->root = load_first(ca, error)) != NULL) {
		if (X509_STORE_add_cert(issuer->trust, issuer->root) != 1)
			pki_error_openssl(error, ca);
		else if (key == NULL || load_issuer(issuer, ca, cert != NULL ? cert : ca, key, error) == 0)
			return issuer;
	}
	pki_issuer_free(issuer);
	return NULL;
}

void
pki_issuer_free(struct pki_issuer *issuer)
{
	if (issuer == NULL)
		return;
	pki_ca_clear(&issuer->ca);
	sk_X509_pop_free(issuer->above, X509_free);
	X509_STORE_free(issuer->trust);
	X509_free(issuer->root);
	free(issuer);
}

/* --- signed --- */

/* What peers would only find out later. */
static int
check_leaf(const struct pki_issuer *issuer, X509 *leaf, STACK_OF(X509) *above, char error[PKI_ERROR_SIZE])
{
	int	 why = verify(issuer, leaf, above);

	if (why == X509_V_OK)
		return 0;
	pki_error_set(error, "the signed certificate does not lead to the CA: %s", X509_verify_cert_error_string(why));
	return -1;
}

int
pki_sign(const struct pki_issuer *issuer, const struct pki_request *request, const struct pki_csr *csr, struct pki_chain *chain,
    char error[PKI_ERROR_SIZE])
{
	time_t	 not_after = request->not_after < issuer->ca.not_after ? request->not_after : issuer->ca.not_after;
	X509	*leaf = pki_make_leaf(request, X509_REQ_get0_pubkey(csr->req), &issuer->ca, not_after);
	int	 rc = -1;

	*chain = (struct pki_chain){ 0 };
	if (leaf == NULL)
		pki_error_openssl(error, "cannot make a certificate");
	else if (check_leaf(issuer, leaf, issuer->above, error) == 0)
		rc = chain_fill(chain, leaf, issuer->above, error);
	X509_free(leaf);
	return rc;
}

/* Exactly the URI, and no other of our schemes: rights stand in such, too. */
static bool
has_uri_alone(X509 *cert, const char *uri)
{
	GENERAL_NAMES	*names = X509_get_ext_d2i(cert, NID_subject_alt_name, NULL, NULL);
	size_t		 len = strlen(uri);
	int		 ours = 0, found = 0;

	for (int i = 0; i < sk_GENERAL_NAME_num(names); i++) {
		const GENERAL_NAME	*name = sk_GENERAL_NAME_value(names, i);
		const ASN1_STRING	*text = name->d.uniformResourceIdentifier;

		if (name->type != GEN_URI || ASN1_STRING_length(text) < 5 ||
		    strncasecmp((const char *)ASN1_STRING_get0_data(text), "vmtap", 5) != 0)
			continue;
		ours++;
		found += (size_t)ASN1_STRING_length(text) == len && memcmp(ASN1_STRING_get0_data(text), uri, len) == 0;
	}
	GENERAL_NAMES_free(names);
	return ours == 1 && found == 1;
}

static bool
has_common_name(const X509 *cert, const char *wanted)
{
	char	 name[IDENTITY_NAME_SIZE + 1] = "";

	X509_NAME_get_text_by_NID(X509_get_subject_name(cert), NID_commonName, name, sizeof(name));
	return strcmp(name, wanted) == 0;
}

static int
check_taken(const struct pki_issuer *issuer, const struct pki_request *request, const struct pki_csr *csr, X509 *leaf,
    STACK_OF(X509) *above, char error[PKI_ERROR_SIZE])
{
	char	 uri[IDENTITY_URI_SIZE];

	if (identity_format(&request->identity, uri, sizeof(uri)) == -1)
		pki_error_set(error, "no such identity");
	else if (X509_get0_pubkey(leaf) == NULL || EVP_PKEY_eq(X509_get0_pubkey(leaf), X509_REQ_get0_pubkey(csr->req)) != 1)
		pki_error_set(error, "the first certificate is not for the key of the request");
	else if (!has_uri_alone(leaf, uri))
		pki_error_set(error, "the first certificate does not have %s as its only vmtap URI", uri);
	else if (!has_common_name(leaf, request->identity.name))
		pki_error_set(error, "the first certificate's common name is not %s", request->identity.name);
	else if (X509_check_ca(leaf) != 0)
		pki_error_set(error, "the first certificate may sign others");
	else
		return check_leaf(issuer, leaf, above, error);
	ERR_clear_error();
	return -1;
}

int
pki_take_signed(const struct pki_issuer *issuer, const struct pki_request *request, const struct pki_csr *csr, const char *pem,
    size_t len, struct pki_chain *chain, char error[PKI_ERROR_SIZE])
{
	struct pki_issuer	 found = { .root = issuer->root, .trust = issuer->trust, .above = sk_X509_new_null() };
	BIO			*bio = BIO_new_mem_buf(pem, (int)len);
	X509			*leaf = NULL;
	int			 rc = -1;

	*chain = (struct pki_chain){ 0 };
	ERR_clear_error();
	if (found.above == NULL || bio == NULL)
		pki_error_set(error, "out of memory");
	else if ((leaf = PEM_read_bio_X509(bio, NULL, no_passphrase, NULL)) == NULL)
		pki_error_set(error, "no certificate in PEM form came out");
	else if (load_above(&found, bio) == -1)
		pki_error_set(error, "out of memory");
	else if (check_taken(&found, request, csr, leaf, found.above, error) == 0)
		rc = chain_fill(chain, leaf, found.above, error);
	ERR_clear_error();
	X509_free(leaf);
	BIO_free(bio);
	sk_X509_pop_free(found.above, X509_free);
	return rc;
}
