/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#include "config.h"

#include <errno.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>

#include "common/tls.h"
#include "common/tls_internal.h"

#define FILE_MAX		(256 * 1024)

void
tls_error_set(char error[TLS_ERROR_SIZE], const char *format, ...)
{
	va_list	 ap;

	va_start(ap, format);
	vsnprintf(error, TLS_ERROR_SIZE, format, ap);
	va_end(ap);
}

const char *
tls_openssl_reason(void)
{
	const char	*reason = ERR_reason_error_string(ERR_peek_error());

	return reason != NULL ? reason : "unknown error";
}

/* The whole text, at most FILE_MAX bytes, in FILE_MAX + 1 allocated ones. */
static char *
read_text(int fd, const char *name, size_t *len, char error[TLS_ERROR_SIZE])
{
	char	*text = OPENSSL_malloc(FILE_MAX + 1);
	ssize_t	 n = 0;

	if (text == NULL) {
		tls_error_set(error, "%s: %s", name, strerror(ENOMEM));
		return NULL;
	}
	for (*len = 0; *len <= FILE_MAX; *len += (size_t)n)
		if ((n = pread(fd, text + *len, FILE_MAX + 1 - *len, (off_t)*len)) <= 0)
			break;
	if (n == -1)
		tls_error_set(error, "%s: cannot be read: %s", name, strerror(errno));
	else if (*len > FILE_MAX)
		tls_error_set(error, "%s: is larger than %d KiB", name, FILE_MAX / 1024);
	else
		return text;
	OPENSSL_clear_free(text, FILE_MAX + 1);
	return NULL;
}

/* Never asks at the terminal: what starts unattended has nobody to ask. */
static int
no_passphrase(char *dst, int size, int writing, void *asked)
{
	(void)dst, (void)size, (void)writing;
	*(bool *)asked = true;
	return -1;
}

static void
error_pem(char error[TLS_ERROR_SIZE], const char *name, const char *what, const char *text, size_t len, const char *mark)
{
	if (memmem(text, len, mark, strlen(mark)) == NULL)
		tls_error_set(error, "%s: holds no %s in PEM form", name, what);
	else
		tls_error_set(error, "%s: holds a damaged %s: %s", name, what, tls_openssl_reason());
}

/* What is left of a file, without the root: peers have that. Faults of those show when one is verified. */
static int
read_above(BIO *bio, const X509 *root, STACK_OF(X509) *above)
{
	X509	*cert;

	while ((cert = PEM_read_bio_X509(bio, NULL, NULL, NULL)) != NULL)
		if (root != NULL && X509_cmp(cert, root) == 0)
			X509_free(cert);
		else if (sk_X509_push(above, cert) <= 0) {
			X509_free(cert);
			return -1;
		}
	return 0;
}

X509 *
tls_read_certificate(int fd, const char *name, const X509 *root, STACK_OF(X509) *above, char error[TLS_ERROR_SIZE])
{
	size_t	 len;
	char	*text = read_text(fd, name, &len, error);
	BIO	*bio = NULL;
	X509	*cert = NULL, *second = NULL;

	if (text == NULL)
		return NULL;
	ERR_clear_error();
	if ((bio = BIO_new_mem_buf(text, (int)len)) == NULL || (cert = PEM_read_bio_X509(bio, NULL, NULL, NULL)) == NULL)
		error_pem(error, name, "certificate", text, len, "CERTIFICATE-----");
	else if (above != NULL && read_above(bio, root, above) == -1) {
		tls_error_set(error, "%s: %s", name, strerror(ENOMEM));
		X509_free(cert);
		cert = NULL;
	} else if (above == NULL && (second = PEM_read_bio_X509(bio, NULL, NULL, NULL)) != NULL) {
		tls_error_set(error, "%s: holds several certificates; one CA alone is trusted", name);
		X509_free(cert);
		cert = NULL;
	}
	ERR_clear_error();
	X509_free(second);
	BIO_free(bio);
	OPENSSL_clear_free(text, FILE_MAX + 1);		/* the key may be in the same file */
	return cert;
}

int
tls_read_certificates(int fd, const char *name, STACK_OF(X509) *all, char error[TLS_ERROR_SIZE])
{
	size_t	 len;
	char	*text = read_text(fd, name, &len, error);
	BIO	*bio = NULL;
	int	 result = -1;

	if (text == NULL)
		return -1;
	ERR_clear_error();
	if ((bio = BIO_new_mem_buf(text, (int)len)) == NULL || read_above(bio, NULL, all) == -1)
		tls_error_set(error, "%s: %s", name, strerror(ENOMEM));
	else if (sk_X509_num(all) == 0 || ERR_GET_REASON(ERR_peek_last_error()) != PEM_R_NO_START_LINE)
		error_pem(error, name, "certificate", text, len, "CERTIFICATE-----");
	else
		result = 0;
	ERR_clear_error();
	BIO_free(bio);
	OPENSSL_clear_free(text, FILE_MAX + 1);
	return result;
}

EVP_PKEY *
tls_read_key(int fd, const char *name, char error[TLS_ERROR_SIZE])
{
	size_t	 len;
	char	*text = read_text(fd, name, &len, error);
	BIO	*bio = NULL;
	EVP_PKEY *key = NULL;
	bool	 asked = false;

	if (text == NULL)
		return NULL;
	ERR_clear_error();
	if ((bio = BIO_new_mem_buf(text, (int)len)) == NULL ||
	    (key = PEM_read_bio_PrivateKey(bio, NULL, no_passphrase, &asked)) == NULL) {
		if (asked)
			tls_error_set(error, "%s: is encrypted; a key without a passphrase is needed", name);
		else
			error_pem(error, name, "private key", text, len, "PRIVATE KEY-----");
	}
	ERR_clear_error();
	BIO_free(bio);
	OPENSSL_clear_free(text, FILE_MAX + 1);
	return key;
}

time_t
tls_certificate_end(int fd)
{
	char			 error[TLS_ERROR_SIZE];
	struct tls_names	 names = { .not_after = 0 };
	size_t			 len;
	char			*text = read_text(fd, "", &len, error);
	BIO			*bio = text != NULL ? BIO_new_mem_buf(text, (int)len) : NULL;
	X509			*cert = bio != NULL ? PEM_read_bio_X509(bio, NULL, NULL, NULL) : NULL;

	if (cert != NULL)
		tls_names_read(cert, &names);
	X509_free(cert);
	BIO_free(bio);
	if (text != NULL)
		OPENSSL_clear_free(text, FILE_MAX + 1);
	ERR_clear_error();
	return names.not_after;
}
