/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#include "config.h"

#include <sys/socket.h>

#include <netinet/in.h>

#include <arpa/inet.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>

#include "common/buf.h"
#include "common/tls.h"
#include "common/tls_internal.h"

#define HOSTS_SIZE	200	/* of the names in "is for host(s) ..." */
#define OFFER_SIZE	100	/* of the protocols in "speaks ..." */

#define NO_TLS13	"peer speaks no TLS 1.3"
#define NO_TLS12	"peer speaks neither TLS 1.2 nor 1.3"

/* What the peer's alert says, seen from here (RFC 8446, 6.2). */
static const struct alert {
	int		 number;
	const char	*words;
	const char	*foreign;	/* instead, of peers that may speak TLS 1.2; NULL: the same */
} alerts[] = {
	{ SSL_AD_UNEXPECTED_MESSAGE, "peer got a TLS message out of turn", NULL },
	{ SSL_AD_BAD_RECORD_MAC, "peer got a damaged TLS record", NULL },
	{ SSL_AD_HANDSHAKE_FAILURE, "peer found no TLS parameters in common with ours",
	    "peer refused TLS: it knows plain text only, found no TLS parameters in common with ours, or demands a certificate" },
	{ SSL_AD_BAD_CERTIFICATE, "peer refused our certificate", NULL },
	{ SSL_AD_UNSUPPORTED_CERTIFICATE, "peer refused our certificate: it is of an unsupported kind or for another use", NULL },
	{ SSL_AD_CERTIFICATE_REVOKED, "peer refused our certificate: it was revoked", NULL },
	{ SSL_AD_CERTIFICATE_EXPIRED, "peer refused our certificate: it has expired by the peer's clock", NULL },
	{ SSL_AD_CERTIFICATE_UNKNOWN, "peer refused our certificate", NULL },
	{ SSL_AD_UNKNOWN_CA, "peer refused our certificate: it was signed by another CA than the peer trusts", NULL },
	{ SSL_AD_ACCESS_DENIED, "peer refused us", NULL },
	{ SSL_AD_PROTOCOL_VERSION, NO_TLS13, NO_TLS12 },
	{ SSL_AD_INTERNAL_ERROR, "peer has a problem of its own (TLS internal error)", NULL },
	{ TLS13_AD_CERTIFICATE_REQUIRED, "peer demands a certificate and got none", NULL },
	{ SSL_AD_NO_APPLICATION_PROTOCOL, "peer does not speak our protocol (ALPN)", NULL },
};

/* OpenSSL's words that people would not understand. */
static const struct reason {
	int		 reason;
	const char	*words, *foreign;
} reasons[] = {
	{ SSL_R_UNSUPPORTED_PROTOCOL, NO_TLS13, NO_TLS12 },
	{ SSL_R_WRONG_SSL_VERSION, NO_TLS13, NO_TLS12 },
	{ SSL_R_PEER_DID_NOT_RETURN_A_CERTIFICATE, "peer showed no certificate", NULL },
	{ SSL_R_DECRYPTION_FAILED_OR_BAD_RECORD_MAC, "a TLS record was damaged on the way", NULL },
};

void
tls_why_set(struct tls_note *note, const char *format, ...)
{
	va_list	 ap;

	if (note->why[0] != '\0')
		return;
	va_start(ap, format);
	vsnprintf(note->why, sizeof(note->why), format, ap);
	va_end(ap);
}

char *
tls_why_date(time_t when, char dst[16])
{
	struct tm	 tm;

	if (gmtime_r(&when, &tm) == NULL || strftime(dst, 16, "%Y-%m-%d", &tm) == 0)
		snprintf(dst, 16, "unknown");
	return dst;
}

/* Appends what fits, and nothing else than printable ASCII. */
static void
append_escaped(char *dst, size_t dst_size, const uint8_t *bytes, size_t len)
{
	size_t	 at = strlen(dst);

	for (size_t i = 0; i < len && at + 5 <= dst_size; i++) {
		bool	 plain = bytes[i] >= 0x20 && bytes[i] < 0x7f && bytes[i] != '"' && bytes[i] != '\\';

		at += (size_t)snprintf(dst + at, dst_size - at, plain ? "%c" : "\\x%02x", bytes[i]);
	}
}

static void
append_text(char *dst, size_t dst_size, const char *text)
{
	append_escaped(dst, dst_size, (const uint8_t *)text, strlen(text));
}

static void
append_address(char *dst, size_t dst_size, const ASN1_OCTET_STRING *ip)
{
	char	 text[INET6_ADDRSTRLEN];
	int	 family = ASN1_STRING_length(ip) == 4 ? AF_INET : AF_INET6;

	if ((ASN1_STRING_length(ip) == 4 || ASN1_STRING_length(ip) == 16) &&
	    inet_ntop(family, ASN1_STRING_get0_data(ip), text, sizeof(text)) != NULL)
		append_text(dst, dst_size, text);
}

/* "a, b" of the DNS and IP names in it. */
static void
certificate_hosts(const X509 *cert, char hosts[HOSTS_SIZE])
{
	GENERAL_NAMES	*names = X509_get_ext_d2i(cert, NID_subject_alt_name, NULL, NULL);

	hosts[0] = '\0';
	for (int i = 0; i < sk_GENERAL_NAME_num(names); i++) {
		const GENERAL_NAME	*name = sk_GENERAL_NAME_value(names, i);

		if (name->type != GEN_DNS && name->type != GEN_IPADD)
			continue;
		if (hosts[0] != '\0')
			append_text(hosts, HOSTS_SIZE, ", ");
		if (name->type == GEN_DNS)
			append_escaped(hosts, HOSTS_SIZE, ASN1_STRING_get0_data(name->d.dNSName),
			    (size_t)ASN1_STRING_length(name->d.dNSName));
		else
			append_address(hosts, HOSTS_SIZE, name->d.iPAddress);
	}
	GENERAL_NAMES_free(names);
}

static void
why_wrong_host(struct tls_note *note, const X509 *cert)
{
	char	 hosts[HOSTS_SIZE];

	certificate_hosts(cert, hosts);
	if (hosts[0] != '\0')
		tls_why_set(note, "certificate of %s is for host(s) %s, not for %s", note->address, hosts, note->expect_host);
	else
		tls_why_set(note, "certificate of %s names no host, and %s is expected", note->address, note->expect_host);
}

static const char *
asn1_date(const ASN1_TIME *time, char date[16])
{
	struct tm	 tm;

	return ASN1_TIME_to_tm(time, &tm) == 1 ? tls_why_date(timegm(&tm), date) : "an unknown day";
}

static void
why_signer(struct tls_note *note, int error)
{
	if (!tls_context_is_foreign(note->context))
		tls_why_set(note, "certificate of %s was signed by another CA", note->address);
	else if (error == X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT)
		tls_why_set(note, "certificate of %s was signed by itself, and is not among those trusted here", note->address);
	else
		tls_why_set(note, "certificate of %s was signed by no CA that is trusted here", note->address);
}

static void
why_certificate(struct tls_note *note, X509_STORE_CTX *store)
{
	const X509	*cert = X509_STORE_CTX_get_current_cert(store);
	int		 error = X509_STORE_CTX_get_error(store);
	char		 whose[TLS_ADDRESS_SIZE + 32], date[16], today[16];

	if (X509_STORE_CTX_get_error_depth(store) == 0)
		snprintf(whose, sizeof(whose), "certificate of %s", note->address);
	else
		snprintf(whose, sizeof(whose), "CA certificate of %s", note->address);
	switch (error) {
	case X509_V_ERR_CERT_HAS_EXPIRED:
		tls_why_set(note, "%s expired on %s, and the clock here says %s", whose, asn1_date(X509_get0_notAfter(cert), date),
		    tls_why_date(time(NULL), today));
		break;
	case X509_V_ERR_CERT_NOT_YET_VALID:
		tls_why_set(note, "%s is not valid before %s, and the clock here says %s: is it right?", whose,
		    asn1_date(X509_get0_notBefore(cert), date), tls_why_date(time(NULL), today));
		break;
	case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT:
	case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY:
	case X509_V_ERR_UNABLE_TO_VERIFY_LEAF_SIGNATURE:
	case X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT:
	case X509_V_ERR_SELF_SIGNED_CERT_IN_CHAIN:
	case X509_V_ERR_CERT_SIGNATURE_FAILURE:
		why_signer(note, error);
		break;
	case X509_V_ERR_HOSTNAME_MISMATCH:
	case X509_V_ERR_IP_ADDRESS_MISMATCH:
		why_wrong_host(note, cert);
		break;
	default:
		tls_why_set(note, "%s is not acceptable: %s", whose, X509_verify_cert_error_string(error));
	}
}

int
tls_why_verify(int ok, X509_STORE_CTX *store)
{
	SSL	*ssl = X509_STORE_CTX_get_ex_data(store, SSL_get_ex_data_X509_STORE_CTX_idx());

	if (!ok)
		why_certificate(SSL_get_app_data(ssl), store);
	return ok;
}

static bool
offers_tls13(SSL *ssl)
{
	const unsigned char	*bytes;
	size_t			 len;
	struct cursor		 all, list;
	uint8_t			 list_len;
	uint16_t		 version;

	if (SSL_client_hello_get0_ext(ssl, TLSEXT_TYPE_supported_versions, &bytes, &len) != 1)
		return false;
	cursor_init(&all, bytes, len);
	if (cursor_u8(&all, &list_len) == -1 || cursor_sub(&all, list_len, &list) == -1)
		return false;
	while (cursor_u16(&list, &version) == 0)
		if (version == TLS1_3_VERSION)
			return true;
	return false;
}

/* A client that names no protocol at all would otherwise never reach tls_why_alpn(). */
int
tls_why_client_hello(SSL *ssl, int *alert, void *arg)
{
	struct tls_note		*note = SSL_get_app_data(ssl);
	const unsigned char	*bytes;
	size_t			 len;

	(void)arg;
	if (!offers_tls13(ssl)) {
		tls_why_set(note, NO_TLS13);
		*alert = SSL_AD_PROTOCOL_VERSION;
		return SSL_CLIENT_HELLO_ERROR;
	}
	if (SSL_client_hello_get0_ext(ssl, TLSEXT_TYPE_application_layer_protocol_negotiation, &bytes, &len) != 1) {
		tls_why_set(note, "peer names no application protocol (ALPN); \"%s\" is expected", tls_context_alpn(note->context));
		*alert = SSL_AD_NO_APPLICATION_PROTOCOL;
		return SSL_CLIENT_HELLO_ERROR;
	}
	return SSL_CLIENT_HELLO_SUCCESS;
}

/*
 * The rest of the handshake goes by what the client wants; RFC 8446 has the request for a certificate behind this. A client that is
 * asked for another key share says it twice, and by what it says last it goes.
 */
static int
apply_alpn(SSL *ssl, const struct tls_context *context, unsigned flags)
{
	SSL_set_verify(ssl, flags & TLS_ALPN_ANONYMOUS ? SSL_VERIFY_NONE : SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, NULL);
	return (flags & TLS_ALPN_ROOT) && SSL_add1_chain_cert(ssl, context->root) != 1 ? -1 : 0;
}

int
tls_why_alpn(SSL *ssl, const unsigned char **out, unsigned char *out_len, const unsigned char *in, unsigned in_len, void *arg)
{
	struct tls_note	*note = SSL_get_app_data(ssl);
	struct cursor	 list, name;
	uint8_t		 len;
	unsigned	 flags;
	char		 offer[OFFER_SIZE] = "";

	(void)arg;
	cursor_init(&list, in, in_len);
	while (cursor_u8(&list, &len) == 0 && cursor_sub(&list, len, &name) == 0) {
		if (tls_context_find_alpn(note->context, name.p, len, &flags) != NULL) {
			*out = name.p;
			*out_len = len;
			return apply_alpn(ssl, note->context, flags) == 0 ? SSL_TLSEXT_ERR_OK : SSL_TLSEXT_ERR_ALERT_FATAL;
		}
		if (offer[0] != '\0')
			append_text(offer, sizeof(offer), ", ");
		append_escaped(offer, sizeof(offer), name.p, len);
	}
	tls_why_set(note, "peer speaks \"%s\" (ALPN), not \"%s\"", offer, tls_context_alpn(note->context));
	return SSL_TLSEXT_ERR_ALERT_FATAL;
}

/* OpenSSL itself refuses an answer that was not offered; none at all is what is left. */
int
tls_why_alpn_answer(SSL *ssl, struct tls_note *note)
{
	const unsigned char	*name;
	unsigned		 len;

	if (SSL_is_server(ssl) || tls_context_is_foreign(note->context))
		return 0;
	SSL_get0_alpn_selected(ssl, &name, &len);
	if (len == note->context->alpn[0] && memcmp(name, note->context->alpn + 1, len) == 0)
		return 0;
	tls_why_set(note, "peer answers with no application protocol (ALPN); \"%s\" is expected", tls_context_alpn(note->context));
	return -1;
}

/* The content type and the major version of every TLS record there ever was. */
static bool
looks_like_tls(const struct tls_note *note)
{
	const uint8_t	*first = note->first;

	return note->first_len == 0 ||
	    (first[0] >= SSL3_RT_CHANGE_CIPHER_SPEC && first[0] <= SSL3_RT_APPLICATION_DATA &&
	    (note->first_len == 1 || first[1] == SSL3_VERSION_MAJOR));
}

static void
why_words(struct tls_note *note, const char *words, const char *foreign)
{
	tls_why_set(note, "%s", foreign != NULL && tls_context_is_foreign(note->context) ? foreign : words);
}

static void
why_openssl(struct tls_note *note, int in_handshake)
{
	unsigned long	 error = ERR_peek_error();
	int		 reason = ERR_GET_REASON(error);
	const char	*words = ERR_reason_error_string(error);

	if (ERR_GET_LIB(error) == ERR_LIB_SSL) {
		for (size_t i = 0; i < sizeof(alerts) / sizeof(alerts[0]); i++)
			if (reason == SSL_AD_REASON_OFFSET + alerts[i].number)
				why_words(note, alerts[i].words, alerts[i].foreign);
		for (size_t i = 0; i < sizeof(reasons) / sizeof(reasons[0]); i++)
			if (reason == reasons[i].reason)
				why_words(note, reasons[i].words, reasons[i].foreign);
	}
	tls_why_set(note, "TLS %s: %s", in_handshake ? "handshake failed" : "failed", words != NULL ? words : "unknown error");
}

void
tls_why_failed(struct tls_note *note, int in_handshake, int eof, int sys_errno)
{
	char	 got[4 * TLS_FIRST_SIZE + 1] = "";

	if (in_handshake && !looks_like_tls(note)) {
		append_escaped(got, sizeof(got), note->first, note->first_len);
		tls_why_set(note, "peer does not speak TLS (got \"%s\")", got);
	} else if (eof)
		tls_why_set(note, in_handshake ? "peer closed during the handshake" : "peer closed the connection without a goodbye");
	else if (sys_errno != 0)
		tls_why_set(note, "%s%s", strerror(sys_errno), in_handshake ? " during the handshake" : "");
	else
		why_openssl(note, in_handshake);
}
