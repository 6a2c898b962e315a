/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#include "config.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/ec.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>

#include "common/buf.h"
#include "common/tls_internal.h"
#include "common/tls_key.h"

#define CHAIN_MAX	8
#define SUBJECT		"vmtap-agent"	/* of a request; the issuer names the holder */

struct tls_key {
	EVP_PKEY	*pkey;
};

static struct tls_key *
key_of(EVP_PKEY *pkey)
{
	struct tls_key *key;

	ERR_clear_error();
	if (pkey == NULL || (key = calloc(1, sizeof(*key))) == NULL) {
		EVP_PKEY_free(pkey);
		return NULL;
	}
	key->pkey = pkey;
	return key;
}

struct tls_key *
tls_key_new(void)
{
	return key_of(EVP_EC_gen("P-256"));
}

static int
no_passphrase(char *dst, int size, int writing, void *arg)
{
	(void)dst, (void)size, (void)writing, (void)arg;
	return -1;
}

struct tls_key *
tls_key_read(const void *pem, size_t len)
{
	BIO *bio;
	EVP_PKEY *pkey = NULL;

	if (len <= INT_MAX && (bio = BIO_new_mem_buf(pem, (int)len)) != NULL) {
		pkey = PEM_read_bio_PrivateKey(bio, NULL, no_passphrase, NULL);
		BIO_free(bio);
	}
	return key_of(pkey);
}

void
tls_key_free(struct tls_key *key)
{
	if (key == NULL)
		return;
	EVP_PKEY_free(key->pkey);
	free(key);
}

/* Moves what was written to the BIO, which is wiped and freed. */
static int
take_bio(BIO *bio, int written, struct buf *out)
{
	char *text = NULL;
	long len = bio != NULL ? BIO_get_mem_data(bio, &text) : 0;
	int result = written == 1 && len > 0 ? buf_put(out, text, (size_t)len) : -1;

	if (len > 0)
		OPENSSL_cleanse(text, (size_t)len);
	BIO_free(bio);
	ERR_clear_error();
	return result;
}

int
tls_key_put(const struct tls_key *key, struct buf *out)
{
	BIO *bio = BIO_new(BIO_s_secmem());

	return take_bio(bio, bio != NULL ? PEM_write_bio_PKCS8PrivateKey(bio, key->pkey, NULL, NULL, 0, NULL, NULL) : 0, out);
}

static X509_REQ *
make_request(EVP_PKEY *pkey)
{
	X509_REQ *request = X509_REQ_new();
	X509_NAME *subject = request != NULL ? X509_REQ_get_subject_name(request) : NULL;

	if (request != NULL && X509_REQ_set_version(request, X509_REQ_VERSION_1) == 1 &&
	    X509_NAME_add_entry_by_NID(subject, NID_commonName, MBSTRING_UTF8, (const unsigned char *)SUBJECT, -1, -1, 0) == 1 &&
	    X509_REQ_set_pubkey(request, pkey) == 1 && X509_REQ_sign(request, pkey, EVP_sha256()) > 0)
		return request;
	X509_REQ_free(request);
	return NULL;
}

int
tls_key_request(const struct tls_key *key, struct buf *out)
{
	X509_REQ *request = make_request(key->pkey);
	unsigned char *der = NULL;
	int len = request != NULL ? i2d_X509_REQ(request, &der) : -1;
	int result = len > 0 ? buf_put(out, der, (size_t)len) : -1;

	OPENSSL_free(der);
	X509_REQ_free(request);
	ERR_clear_error();
	return result;
}

/* --- what is granted --- */

/* NULL: not all of them are certificates, each to its end. */
static STACK_OF(X509) *
read_chain(const struct tls_der *der, size_t count)
{
	STACK_OF(X509) *chain = sk_X509_new_null();
	const unsigned char *at;
	X509 *cert;

	if (chain == NULL || count == 0 || count > CHAIN_MAX)
		goto fail;
	for (size_t i = 0; i < count; i++) {
		at = der[i].der;
		cert = der[i].len <= INT_MAX ? d2i_X509(NULL, &at, (long)der[i].len) : NULL;
		if (cert == NULL || at != der[i].der + der[i].len || sk_X509_push(chain, cert) == 0) {
			X509_free(cert);
			goto fail;
		}
	}
	return chain;
fail:
	sk_X509_pop_free(chain, X509_free);
	return NULL;
}

static X509 *
read_root(const void *pem, size_t len)
{
	BIO *bio = len <= INT_MAX ? BIO_new_mem_buf(pem, (int)len) : NULL;
	X509 *root = bio != NULL ? PEM_read_bio_X509(bio, NULL, no_passphrase, NULL) : NULL;

	BIO_free(bio);
	return root;
}

/* As whoever we show it to will do, for a client. */
static int
verify_chain(STACK_OF(X509) *chain, X509 *root, char error[TLS_ERROR_SIZE])
{
	X509_STORE *store = X509_STORE_new();
	X509_STORE_CTX *verify = X509_STORE_CTX_new();
	int result = -1;

	if (store == NULL || verify == NULL || X509_STORE_add_cert(store, root) != 1 ||
	    X509_STORE_CTX_init(verify, store, sk_X509_value(chain, 0), chain) != 1 ||
	    X509_STORE_CTX_set_purpose(verify, X509_PURPOSE_SSL_CLIENT) != 1)
		snprintf(error, TLS_ERROR_SIZE, "the certificate cannot be verified: out of memory");
	else if (X509_verify_cert(verify) == 1)
		result = 0;
	else
		snprintf(error, TLS_ERROR_SIZE, "the certificate is not acceptable: %s",
		    X509_verify_cert_error_string(X509_STORE_CTX_get_error(verify)));
	X509_STORE_CTX_free(verify);
	X509_STORE_free(store);
	return result;
}

static void
read_names(const X509 *cert, struct tls_granted *granted)
{
	struct tls_names names;

	tls_names_read(cert, &names);
	memcpy(granted->uri, names.uri, sizeof(granted->uri));
	memcpy(granted->common_name, names.common_name, sizeof(granted->common_name));
	granted->not_before = names.not_before;
	granted->not_after = names.not_after;
}

static int
put_chain(STACK_OF(X509) *chain, struct buf *out)
{
	BIO *bio = BIO_new(BIO_s_mem());
	int written = bio != NULL;

	for (int i = 0; written == 1 && i < sk_X509_num(chain); i++)
		written = PEM_write_bio_X509(bio, sk_X509_value(chain, i));
	return take_bio(bio, written, out);
}

int
tls_key_granted(const struct tls_key *key, const struct tls_der *der, size_t count, const void *root_pem, size_t root_len,
    struct tls_granted *granted, struct buf *pem, char error[TLS_ERROR_SIZE])
{
	STACK_OF(X509) *chain = read_chain(der, count);
	X509 *root = read_root(root_pem, root_len);
	int result = -1;

	memset(granted, 0, sizeof(*granted));
	if (chain == NULL || root == NULL)
		snprintf(error, TLS_ERROR_SIZE, "the certificate is damaged");
	else if (X509_check_private_key(sk_X509_value(chain, 0), key->pkey) != 1)
		snprintf(error, TLS_ERROR_SIZE, "the certificate is for another key than this agent's");
	else if (verify_chain(chain, root, error) == 0) {
		read_names(sk_X509_value(chain, 0), granted);
		if ((result = put_chain(chain, pem)) == -1)
			snprintf(error, TLS_ERROR_SIZE, "the certificate cannot be kept: out of memory");
	}
	sk_X509_pop_free(chain, X509_free);
	X509_free(root);
	ERR_clear_error();
	return result;
}
