/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#include "config.h"

#include <ctype.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include <openssl/pem.h>
#include <openssl/ssl.h>

#include "common/buf.h"
#include "common/tls.h"
#include "common/tls_internal.h"

/* First contact: all that is known of the deployment is its root's fingerprint, and the root itself comes from the peer. */

#define PREFIX		"SHA256:"

int
tls_fingerprint_parse(const char *text, uint8_t fingerprint[TLS_FINGERPRINT_SIZE])
{
	uint8_t parsed[TLS_FINGERPRINT_SIZE];

	if (strncasecmp(text, PREFIX, strlen(PREFIX)) != 0)
		return -1;
	text += strlen(PREFIX);
	for (size_t i = 0; i < sizeof(parsed); i++, text += 2) {
		if (i > 0 && *text == ':')
			text++;
		if (!isxdigit((unsigned char)text[0]) || !isxdigit((unsigned char)text[1]) || sscanf(text, "%2hhx", &parsed[i]) != 1)
			return -1;
	}
	if (*text != '\0')
		return -1;
	memcpy(fingerprint, parsed, sizeof(parsed));
	return 0;
}

char *
tls_fingerprint_format(const uint8_t fingerprint[TLS_FINGERPRINT_SIZE], char dst[TLS_FINGERPRINT_TEXT])
{
	size_t at = (size_t)snprintf(dst, TLS_FINGERPRINT_TEXT, "%s", PREFIX);

	for (size_t i = 0; i < TLS_FINGERPRINT_SIZE; i++, at += 2)
		snprintf(dst + at, TLS_FINGERPRINT_TEXT - at, "%02x", fingerprint[i]);
	return dst;
}

static bool
fingerprint_of(const X509 *cert, uint8_t fingerprint[TLS_FINGERPRINT_SIZE])
{
	return X509_digest(cert, EVP_sha256(), fingerprint, NULL) == 1;
}

static X509 *
find_root(STACK_OF(X509) *shown, const uint8_t pin[TLS_FINGERPRINT_SIZE])
{
	uint8_t fingerprint[TLS_FINGERPRINT_SIZE];

	for (int i = 0; i < sk_X509_num(shown); i++)
		if (fingerprint_of(sk_X509_value(shown, i), fingerprint) && memcmp(fingerprint, pin, sizeof(fingerprint)) == 0)
			return sk_X509_value(shown, i);
	return NULL;
}

/* The last one shown is the root, or as near to it as the peer goes. */
static void
why_no_root(struct tls_note *note, STACK_OF(X509) *shown)
{
	char expected[TLS_FINGERPRINT_TEXT], found[TLS_FINGERPRINT_TEXT];
	uint8_t fingerprint[TLS_FINGERPRINT_SIZE];
	const X509 *last = sk_X509_num(shown) > 0 ? sk_X509_value(shown, sk_X509_num(shown) - 1) : NULL;

	tls_fingerprint_format(note->context->pin, expected);
	if (last == NULL || !fingerprint_of(last, fingerprint))
		tls_why_set(note, "%s shows no certificate at all", note->address);
	else
		tls_why_set(note, "%s is of another deployment, or the fingerprint is wrong: its CA is %s, not %s", note->address,
		    tls_fingerprint_format(fingerprint, found), expected);
}

/* In place of OpenSSL's verification, which looks for roots in a store that is empty here. */
static int
verify_pinned(X509_STORE_CTX *store, void *arg)
{
	SSL *ssl = X509_STORE_CTX_get_ex_data(store, SSL_get_ex_data_X509_STORE_CTX_idx());
	STACK_OF(X509) *shown = X509_STORE_CTX_get0_untrusted(store), *trusted;
	struct tls_note *note = SSL_get_app_data(ssl);
	X509 *root;
	int result;

	(void)arg;
	if ((root = find_root(shown, note->context->pin)) == NULL) {
		why_no_root(note, shown);
		X509_STORE_CTX_set_error(store, X509_V_ERR_SELF_SIGNED_CERT_IN_CHAIN);
		return 0;
	}
	if ((trusted = sk_X509_new_null()) == NULL || sk_X509_push(trusted, root) == 0) {
		sk_X509_free(trusted);
		X509_STORE_CTX_set_error(store, X509_V_ERR_OUT_OF_MEM);
		return 0;
	}
	X509_STORE_CTX_set0_trusted_stack(store, trusted);
	result = X509_verify_cert(store);
	X509_STORE_CTX_set0_trusted_stack(store, NULL);
	sk_X509_free(trusted);
	return result == 1;
}

struct tls_context *
tls_context_new_pinned(const uint8_t fingerprint[TLS_FINGERPRINT_SIZE], const char *alpn, char error[TLS_ERROR_SIZE])
{
	struct tls_context *context;

	if ((context = tls_context_begin(alpn, error)) == NULL)
		return NULL;
	memcpy(context->pin, fingerprint, sizeof(context->pin));
	SSL_CTX_set_cert_verify_callback(context->ssl_ctx, verify_pinned, NULL);
	return context;
}

int
tlsio_peer_root(const struct tlsio *t, struct buf *out)
{
	STACK_OF(X509) *chain = t->ssl != NULL ? SSL_get0_verified_chain(t->ssl) : NULL;
	BIO *bio = BIO_new(BIO_s_mem());
	char *text;
	long len;
	int result = -1;

	if (bio != NULL && sk_X509_num(chain) > 0 && PEM_write_bio_X509(bio, sk_X509_value(chain, sk_X509_num(chain) - 1)) == 1 &&
	    (len = BIO_get_mem_data(bio, &text)) > 0)
		result = buf_put(out, text, (size_t)len);
	BIO_free(bio);
	return result;
}
