/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#include "config.h"

#include <errno.h>
#include <stdbool.h>
#include <string.h>

#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>

#include "common/tls.h"
#include "common/tls_internal.h"

/* Peers of another protocol, which are of other makers and other CAs. */

/* For TLS 1.2: those that TLS 1.3 has kept. */
#define CIPHERS	"ECDHE+AESGCM:ECDHE+CHACHA20:DHE+AESGCM"

/* Each certificate of the file is trusted, a root or not: with a peer's own in it, that peer is. */
static int
trust_all(SSL_CTX *c, STACK_OF(X509) *all, enum tlsio_side side)
{
	X509_STORE	*store = SSL_CTX_get_cert_store(c);

	if (X509_STORE_set_flags(store, X509_V_FLAG_PARTIAL_CHAIN) != 1)
		return -1;
	for (int i = 0; i < sk_X509_num(all); i++)
		if (X509_STORE_add_cert(store, sk_X509_value(all, i)) != 1 ||
		    (side == TLSIO_SERVER && SSL_CTX_add_client_CA(c, sk_X509_value(all, i)) != 1))
			return -1;
	return 0;
}

static int
trust_file(SSL_CTX *c, const struct tls_files *files, enum tlsio_side side, char error[TLS_ERROR_SIZE])
{
	STACK_OF(X509)	*all = sk_X509_new_null();
	int		 result = -1;

	if (all == NULL)
		tls_error_set(error, "%s", strerror(ENOMEM));
	else if (tls_read_certificates(files->ca_fd, files->ca_name, all, error) == 0 && (result = trust_all(c, all, side)) == -1)
		tls_error_set(error, "%s: TLS cannot use it: %s", files->ca_name, tls_openssl_reason());
	sk_X509_pop_free(all, X509_free);
	return result;
}

static int
set_trust(SSL_CTX *c, const struct tls_files *files, enum tlsio_side side, char error[TLS_ERROR_SIZE])
{
	if (files->ca_fd == -1 && side == TLSIO_SERVER) {
		SSL_CTX_set_verify(c, SSL_VERIFY_NONE, NULL);
		return 0;
	}
	SSL_CTX_set_verify(c, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, tls_why_verify);
	if (files->ca_fd != -1)
		return trust_file(c, files, side, error);
	if (SSL_CTX_set_default_verify_paths(c) == 1)
		return 0;
	tls_error_set(error, "the CAs of this system cannot be used: %s", tls_openssl_reason());
	return -1;
}

static int
set_own(struct tls_context *context, const struct tls_files *files, char error[TLS_ERROR_SIZE])
{
	STACK_OF(X509)	*above = sk_X509_new_null();
	X509		*cert = NULL;
	EVP_PKEY	*key = NULL;
	int		 result = -1;

	if (above == NULL)
		tls_error_set(error, "%s", strerror(ENOMEM));
	else if ((cert = tls_read_certificate(files->cert_fd, files->cert_name, NULL, above, error)) != NULL &&
	    (key = tls_read_key(files->key_fd, files->key_name, error)) != NULL && tls_check_own(files, cert, key, error) == 0 &&
	    (result = tls_context_show(context, cert, above, key)) == -1)
		tls_error_set(error, "%s: TLS cannot use it: %s", files->cert_name, tls_openssl_reason());
	X509_free(cert);
	EVP_PKEY_free(key);
	sk_X509_pop_free(above, X509_free);
	return result;
}

/* A certificate and its key come together, and a server cannot do without. */
static bool
lacks_file(const struct tls_files *files, enum tlsio_side side, char error[TLS_ERROR_SIZE])
{
	if ((files->cert_fd == -1) != (files->key_fd == -1))
		tls_error_set(error, "%s: is of no use without its %s", files->cert_fd != -1 ? files->cert_name : files->key_name,
		    files->cert_fd != -1 ? "key" : "certificate");
	else if (side == TLSIO_SERVER && files->cert_fd == -1)
		tls_error_set(error, "a TLS server needs a certificate and its key");
	else
		return false;
	return true;
}

struct tls_context *
tls_context_new_foreign(const struct tls_files *files, enum tlsio_side side, char error[TLS_ERROR_SIZE])
{
	struct tls_context	*context;

	error[0] = '\0';
	if (lacks_file(files, side, error) || (context = tls_context_bare(TLS1_2_VERSION, error)) == NULL)
		return NULL;
	if (SSL_CTX_set_cipher_list(context->ssl_ctx, CIPHERS) != 1)
		tls_error_set(error, "TLS cannot be set up: %s", tls_openssl_reason());
	else if (set_trust(context->ssl_ctx, files, side, error) == 0 &&
	    (files->cert_fd == -1 || set_own(context, files, error) == 0)) {
		ERR_clear_error();
		return context;
	}
	ERR_clear_error();
	tls_context_free(context);
	return NULL;
}
