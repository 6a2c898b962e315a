/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#include "config.h"

#include <sys/stat.h>

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>

#include "common/log.h"
#include "common/tls.h"
#include "common/tls_internal.h"

#define READ_AHEAD		(64 * 1024)	/* bytes of records fetched by one recv(2) */
/* All have hardware behind them in a guest but the last, which is for those without it. */
#define SUITES	"TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256"

static bool
is_uri_of(const GENERAL_NAME *name, const char *scheme)
{
	const ASN1_IA5STRING	*uri = name->d.uniformResourceIdentifier;
	size_t			 len = strlen(scheme);

	return name->type == GEN_URI && (size_t)ASN1_STRING_length(uri) >= len &&
	    strncasecmp((const char *)ASN1_STRING_get0_data(uri), scheme, len) == 0;
}

/* Says who the holder is. URIs of another kind there may be any number of (SPIFFE, say), and of rights. */
static bool
is_vmtap_uri(const GENERAL_NAME *name)
{
	return is_uri_of(name, "vmtap") && !is_uri_of(name, TLS_RIGHT_SCHEME);
}

static void
copy_text(char *dst, size_t dst_size, const unsigned char *text, int len)
{
	dst[0] = '\0';
	if (len < 0 || (size_t)len >= dst_size)
		return;
	for (int i = 0; i < len; i++)
		if (text[i] < 0x20 || text[i] == 0x7f)
			return;
	memcpy(dst, text, (size_t)len);
	dst[len] = '\0';
}

static void
read_uri(const X509 *cert, char uri[TLS_URI_SIZE])
{
	GENERAL_NAMES	*names = X509_get_ext_d2i(cert, NID_subject_alt_name, NULL, NULL);
	const ASN1_IA5STRING *found = NULL;
	unsigned	 count = 0;

	for (int i = 0; i < sk_GENERAL_NAME_num(names); i++) {
		const GENERAL_NAME	*name = sk_GENERAL_NAME_value(names, i);

		if (is_vmtap_uri(name)) {
			found = name->d.uniformResourceIdentifier;
			count++;
		}
	}
	uri[0] = '\0';
	if (count == 1)
		copy_text(uri, TLS_URI_SIZE, ASN1_STRING_get0_data(found), ASN1_STRING_length(found));
	GENERAL_NAMES_free(names);
}

int
tls_uris_read(const X509 *cert, const char *scheme, void (*each)(const char *, void *), void *arg)
{
	GENERAL_NAMES	*names = X509_get_ext_d2i(cert, NID_subject_alt_name, NULL, NULL);
	char		 uri[TLS_URI_SIZE];
	int		 count = 0;

	for (int i = 0; i < sk_GENERAL_NAME_num(names); i++) {
		const GENERAL_NAME	*name = sk_GENERAL_NAME_value(names, i);
		const ASN1_IA5STRING	*text = name->d.uniformResourceIdentifier;

		if (!is_uri_of(name, scheme) || ++count > TLS_URIS_MAX)
			continue;
		copy_text(uri, sizeof(uri), ASN1_STRING_get0_data(text), ASN1_STRING_length(text));
		each(uri, arg);
	}
	GENERAL_NAMES_free(names);
	return count <= TLS_URIS_MAX ? count : -1;
}

static void
read_common_name(const X509 *cert, char common_name[TLS_COMMON_NAME_SIZE])
{
	const X509_NAME	*subject = X509_get_subject_name(cert);
	int		 i = X509_NAME_get_index_by_NID(subject, NID_commonName, -1);
	unsigned char	*text = NULL;
	int		 len;

	common_name[0] = '\0';
	if (i < 0 || X509_NAME_get_index_by_NID(subject, NID_commonName, i) >= 0)
		return;
	len = ASN1_STRING_to_UTF8(&text, X509_NAME_ENTRY_get_data(X509_NAME_get_entry(subject, i)));
	copy_text(common_name, TLS_COMMON_NAME_SIZE, text, len);
	OPENSSL_free(text);
}

void
tls_names_read(const X509 *cert, struct tls_names *names)
{
	struct tm	 tm;

	memset(names, 0, sizeof(*names));
	read_uri(cert, names->uri);
	read_common_name(cert, names->common_name);
	if (ASN1_TIME_to_tm(X509_get0_notBefore(cert), &tm) == 1)
		names->not_before = timegm(&tm);
	if (ASN1_TIME_to_tm(X509_get0_notAfter(cert), &tm) == 1)
		names->not_after = timegm(&tm);
}

/* Certificates read from the files. */
struct credentials {
	X509		*ca, *cert;
	STACK_OF(X509)	*above;		/* between the two */
	EVP_PKEY	*key;
};

/* Whatever the dates: of those others complain. */
static bool
leads_to_ca(const struct credentials *own)
{
	X509_STORE	*store = X509_STORE_new();
	X509_STORE_CTX	*ctx = X509_STORE_CTX_new();
	bool		 good = store != NULL && ctx != NULL && X509_STORE_add_cert(store, own->ca) == 1 &&
	    X509_STORE_set_flags(store, X509_V_FLAG_NO_CHECK_TIME) == 1 && X509_STORE_CTX_init(ctx, store, own->cert, own->above) == 1 &&
	    X509_verify_cert(ctx) == 1;

	X509_STORE_CTX_free(ctx);
	X509_STORE_free(store);
	return good;
}

/* What would only show at a peer otherwise, as a refusal that the peer's log explains. */
int
tls_check_own(const struct tls_files *f, const X509 *cert, const EVP_PKEY *key, char error[TLS_ERROR_SIZE])
{
	struct tls_names	 names;
	char			 date[16];
	int			 result = -1;

	tls_names_read(cert, &names);
	if (X509_check_private_key(cert, key) != 1)
		tls_error_set(error, "%s: is not the key of %s", f->key_name, f->cert_name);
	else if (X509_cmp_current_time(X509_get0_notAfter(cert)) < 0)
		tls_error_set(error, "%s: expired on %s", f->cert_name, tls_why_date(names.not_after, date));
	else
		result = 0;
	if (result == 0 && X509_cmp_current_time(X509_get0_notBefore(cert)) > 0)
		log_warn("%s is not valid yet: is the clock right?", f->cert_name);
	ERR_clear_error();
	return result;
}

static int
check_files(const struct tls_files *f, const struct credentials *own, char error[TLS_ERROR_SIZE])
{
	if (X509_check_ca(own->ca) == 0) {
		tls_error_set(error, "%s: is not the certificate of a CA", f->ca_name);
		return -1;
	}
	if (tls_check_own(f, own->cert, own->key, error) == -1)
		return -1;
	if (!leads_to_ca(own))
		log_warn("%s was not signed by %s: peers that trust only that CA will refuse it", f->cert_name, f->ca_name);
	ERR_clear_error();
	return 0;
}

static void
set_modes(SSL_CTX *c)
{
	SSL_CTX_set_options(c, SSL_OP_NO_TICKET | SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION);
	SSL_CTX_set_num_tickets(c, 0);
	SSL_CTX_set_session_cache_mode(c, SSL_SESS_CACHE_OFF);
	SSL_CTX_set_max_early_data(c, 0);
	/* A collector's sessions are thousands, and most of them say nothing at a time. */
	SSL_CTX_set_mode(c, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER | SSL_MODE_RELEASE_BUFFERS |
	    SSL_MODE_NO_AUTO_CHAIN);
	SSL_CTX_set_read_ahead(c, 1);
	SSL_CTX_set_default_read_buffer_len(c, READ_AHEAD);
}

struct tls_context *
tls_context_bare(int oldest_version, char error[TLS_ERROR_SIZE])
{
	struct tls_context	*context = calloc(1, sizeof(*context));

	if (context == NULL) {
		tls_error_set(error, "%s", strerror(ENOMEM));
		return NULL;
	}
	atomic_init(&context->refs, 1);
	context->key_update_records = TLS_KEY_UPDATE_RECORDS;
	ERR_clear_error();
	if ((context->ssl_ctx = SSL_CTX_new(TLS_method())) == NULL ||
	    SSL_CTX_set_min_proto_version(context->ssl_ctx, oldest_version) != 1 ||
	    SSL_CTX_set_max_proto_version(context->ssl_ctx, TLS1_3_VERSION) != 1 ||
	    SSL_CTX_set_ciphersuites(context->ssl_ctx, SUITES) != 1) {
		tls_error_set(error, "TLS cannot be set up: %s", tls_openssl_reason());
		tls_context_free(context);
		return NULL;
	}
	set_modes(context->ssl_ctx);
	return context;
}

/* What a context has whoever we are: the ALPN name and the rules of PROTOCOL 4.2. */
struct tls_context *
tls_context_begin(const char *alpn, char error[TLS_ERROR_SIZE])
{
	struct tls_context	*context = tls_context_bare(TLS1_3_VERSION, error);
	size_t			 len = strlen(alpn);

	if (context == NULL)
		return NULL;
	if (len == 0 || len > sizeof(context->alpn) - 2) {
		tls_error_set(error, "%s", strerror(EINVAL));
		tls_context_free(context);
		return NULL;
	}
	context->alpn[0] = (uint8_t)len;
	memcpy(context->alpn + 1, alpn, len);
	context->alpn_len = (unsigned)len + 1;
	if (SSL_CTX_set_alpn_protos(context->ssl_ctx, context->alpn, context->alpn_len) != 0) {
		tls_error_set(error, "TLS cannot be set up: %s", tls_openssl_reason());
		tls_context_free(context);
		return NULL;
	}
	SSL_CTX_set_verify(context->ssl_ctx, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, tls_why_verify);
	SSL_CTX_set_client_hello_cb(context->ssl_ctx, tls_why_client_hello, NULL);
	SSL_CTX_set_alpn_select_cb(context->ssl_ctx, tls_why_alpn, NULL);
	return context;
}

int
tls_context_show(struct tls_context *context, X509 *cert, STACK_OF(X509) *above, EVP_PKEY *key)
{
	SSL_CTX	*c = context->ssl_ctx;

	tls_names_read(cert, &context->own);
	ERR_clear_error();
	if (SSL_CTX_use_certificate(c, cert) != 1)
		return -1;
	for (int i = 0; i < sk_X509_num(above); i++)
		if (SSL_CTX_add1_chain_cert(c, sk_X509_value(above, i)) != 1)
			return -1;
	return SSL_CTX_use_PrivateKey(c, key) == 1 && X509_digest(cert, EVP_sha256(), context->fingerprint, NULL) == 1 ? 0 : -1;
}

static int
set_up(struct tls_context *context, const struct credentials *own)
{
	if (tls_context_show(context, own->cert, own->above, own->key) == -1 ||
	    X509_STORE_add_cert(SSL_CTX_get_cert_store(context->ssl_ctx), own->ca) != 1 || X509_up_ref(own->ca) != 1)
		return -1;
	context->root = own->ca;
	return 0;
}

static struct tls_context *
context_make(const struct tls_files *files, const char *alpn, const struct credentials *own, char error[TLS_ERROR_SIZE])
{
	struct tls_context	*context;

	if ((context = tls_context_begin(alpn, error)) == NULL)
		return NULL;
	if (set_up(context, own) == -1) {
		tls_error_set(error, "%s, %s: TLS cannot use them: %s", files->cert_name, files->ca_name, tls_openssl_reason());
		tls_context_free(context);
		return NULL;
	}
	return context;
}

struct tls_context *
tls_context_new(const struct tls_files *files, const char *alpn, char error[TLS_ERROR_SIZE])
{
	struct tls_context	*context = NULL;
	struct credentials	 own = { .above = sk_X509_new_null() };

	error[0] = '\0';
	if (own.above == NULL)
		tls_error_set(error, "%s", strerror(ENOMEM));
	else if ((own.ca = tls_read_certificate(files->ca_fd, files->ca_name, NULL, NULL, error)) != NULL &&
	    (own.cert = tls_read_certificate(files->cert_fd, files->cert_name, own.ca, own.above, error)) != NULL &&
	    (own.key = tls_read_key(files->key_fd, files->key_name, error)) != NULL && check_files(files, &own, error) == 0)
		context = context_make(files, alpn, &own, error);
	X509_free(own.ca);
	X509_free(own.cert);
	sk_X509_pop_free(own.above, X509_free);
	EVP_PKEY_free(own.key);
	return context;
}

static int
open_file(const char *path, char error[TLS_ERROR_SIZE])
{
	int	 fd = open(path, O_RDONLY | O_CLOEXEC);

	if (fd == -1)
		tls_error_set(error, "%s: %s", path, strerror(errno));
	return fd;
}

static void
warn_readable(int fd, const char *path)
{
	struct stat	 st;

	if (fstat(fd, &st) == 0 && (st.st_mode & (S_IRWXG | S_IRWXO)) != 0)
		log_warn("%s: others than its owner can read this key (mode %04o); chmod 600 it", path, (unsigned)st.st_mode & 07777);
}

struct tls_context *
tls_context_load(const char *ca, const char *cert, const char *key, const char *alpn, char error[TLS_ERROR_SIZE])
{
	struct tls_files	 files = { .ca_name = ca, .cert_name = cert, .key_name = key, .ca_fd = -1, .cert_fd = -1, .key_fd = -1 };
	struct tls_context	*context = NULL;

	if ((files.ca_fd = open_file(ca, error)) != -1 && (files.cert_fd = open_file(cert, error)) != -1 &&
	    (files.key_fd = open_file(key, error)) != -1) {
		warn_readable(files.key_fd, key);
		context = tls_context_new(&files, alpn, error);
	}
	if (files.ca_fd != -1)
		close(files.ca_fd);
	if (files.cert_fd != -1)
		close(files.cert_fd);
	if (files.key_fd != -1)
		close(files.key_fd);
	return context;
}

struct tls_context *
tls_context_ref(struct tls_context *context)
{
	atomic_fetch_add(&context->refs, 1);
	return context;
}

void
tls_context_free(struct tls_context *context)
{
	if (context == NULL || atomic_fetch_sub(&context->refs, 1) != 1)
		return;
	SSL_CTX_free(context->ssl_ctx);
	X509_free(context->root);
	free(context);
}

int
tls_context_add_alpn(struct tls_context *context, const char *name, unsigned flags)
{
	struct tls_alpn	*alpn = &context->more[context->more_count];

	if (context->more_count == TLS_ALPN_MAX || strlen(name) >= sizeof(alpn->name)) {
		errno = ENOSPC;
		return -1;
	}
	snprintf(alpn->name, sizeof(alpn->name), "%s", name);
	alpn->flags = flags;
	context->more_count++;
	return 0;
}

const char *
tls_context_find_alpn(const struct tls_context *context, const uint8_t *name, size_t len, unsigned *flags)
{
	*flags = 0;
	if (len == context->alpn[0] && memcmp(name, context->alpn + 1, len) == 0)
		return tls_context_alpn(context);
	for (unsigned i = 0; i < context->more_count; i++) {
		const struct tls_alpn	*alpn = &context->more[i];

		if (strlen(alpn->name) != len || memcmp(name, alpn->name, len) != 0)
			continue;
		*flags = alpn->flags;
		return alpn->name;
	}
	return NULL;
}

const char *
tls_context_uri(const struct tls_context *context)
{
	return context->own.uri;
}

const char *
tls_context_common_name(const struct tls_context *context)
{
	return context->own.common_name;
}

time_t
tls_context_not_before(const struct tls_context *context)
{
	return context->own.not_before;
}

time_t
tls_context_not_after(const struct tls_context *context)
{
	return context->own.not_after;
}

const uint8_t *
tls_context_fingerprint(const struct tls_context *context)
{
	return context->fingerprint;
}
