/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#include "config.h"

#include <ctype.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include <openssl/evp.h>

#include "common/conf.h"
#include "proto/rpcap.h"

#include "collector/rpcap_url.h"

#define UUID_PREFIX	"vmtap-rpcap-vm"
#define UUID_BYTES	16
#define CONF_TEXT_SHOWN	80	/* of a text that conf_host_port() does not understand */

static int __attribute__((format(printf, 2, 3)))
fail(char error[RPCAP_URL_ERROR_SIZE], const char *format, ...)
{
	va_list ap;

	va_start(ap, format);
	vsnprintf(error, RPCAP_URL_ERROR_SIZE, format, ap);
	va_end(ap);
	return -1;
}

/* Where the scheme begins, and what is behind its "://"; NULL: there is none of ours. */
static const char *
find_scheme(const char *text, const char **behind, bool *tls)
{
	const char *mark = strstr(text, "://"), *scheme = mark;

	if (mark == NULL)
		return NULL;
	while (scheme > text && isalpha((unsigned char)scheme[-1]))
		scheme--;
	*tls = mark - scheme == 6 && strncasecmp(scheme, "rpcaps", 6) == 0;
	*behind = mark + 3;
	return *tls || (mark - scheme == 5 && strncasecmp(scheme, "rpcap", 5) == 0) ? scheme : NULL;
}

bool
rpcap_url_is(const char *text)
{
	const char *behind;
	bool tls;

	return find_scheme(text, &behind, &tls) != NULL;
}

static int
hex_digit(char c)
{
	return isdigit((unsigned char)c) ? c - '0' : isxdigit((unsigned char)c) ? tolower((unsigned char)c) - 'a' + 10 : -1;
}

/* Of text, which ends at end; what has no place in a line is refused. */
static int
decode(const char *text, const char *end, const char *what, char dst[RPCAP_URL_PART_SIZE], char error[RPCAP_URL_ERROR_SIZE])
{
	size_t len = 0;

	while (text < end) {
		int c = (unsigned char)*text++;

		if (c == '%') {
			int high = text < end ? hex_digit(text[0]) : -1, low = high != -1 && text + 1 < end ? hex_digit(text[1]) : -1;

			if (low == -1)
				return fail(error, "%s: \"%%\" needs two hexadecimal digits behind it (a \"%%\" itself is %%25)", what);
			c = high << 4 | low;
			text += 2;
		}
		if (c < 0x20 || c == 0x7f)
			return fail(error, "%s: there is a control character in it", what);
		if (len == RPCAP_URL_PART_SIZE - 1)
			return fail(error, "%s: longer than %u bytes", what, RPCAP_URL_PART_SIZE - 1);
		dst[len++] = (char)c;
	}
	dst[len] = '\0';
	return 0;
}

/* "[TENANT/]NAME=" before the scheme, if it is there. */
static int
parse_name(const char *text, size_t len, struct rpcap_url *url, char error[RPCAP_URL_ERROR_SIZE])
{
	char copy[2 * IDENTITY_NAME_SIZE + 1], *name = copy, *slash;

	if (len == 0)
		return 0;
	if (text[len - 1] != '=' || len - 1 >= sizeof(copy))
		return fail(error, "[TENANT/]NAME= may stand before rpcap://");
	memcpy(copy, text, len - 1);
	copy[len - 1] = '\0';
	if ((slash = strchr(copy, '/')) != NULL) {
		*slash = '\0';
		name = slash + 1;
		if (!identity_name_valid(copy))
			return fail(error, "\"%s\" cannot be a tenant's name", copy);
		snprintf(url->tenant, sizeof(url->tenant), "%.*s", (int)sizeof(url->tenant) - 1, copy);
	}
	if (!identity_name_valid(name))
		return fail(error, "\"%s\" cannot be a VM's name", name);
	snprintf(url->name, sizeof(url->name), "%.*s", (int)sizeof(url->name) - 1, name);
	return 0;
}

static int
parse_user(const char *text, const char *end, struct rpcap_url *url, char error[RPCAP_URL_ERROR_SIZE])
{
	const char *colon = memchr(text, ':', (size_t)(end - text));

	url->has_user = true;
	if (decode(text, colon != NULL ? colon : end, "user", url->user, error) == -1)
		return -1;
	if (colon != NULL && decode(colon + 1, end, "password", url->password, error) == -1)
		return -1;
	return url->user[0] != '\0' ? 0 : fail(error, "a user is missing before \"@\"");
}

static int
parse_host(const char *text, const char *end, struct rpcap_url *url, char error[RPCAP_URL_ERROR_SIZE])
{
	char copy[RPCAP_URL_PART_SIZE + 16];
	struct conf_error conf;
	const char *why;

	if (end == text || (size_t)(end - text) >= sizeof(copy))
		return fail(error, end == text ? "a host is missing behind \"://\"" : "the host is too long");
	memcpy(copy, text, (size_t)(end - text));
	copy[end - text] = '\0';
	if (conf_host_port(copy, RPCAP_PORT, url->host, sizeof(url->host), &url->port, &conf) == 0)
		return 0;
	/* Behind the text, which may be part of a password with a "/" in it. */
	why = strstr(conf.text + strnlen(copy, CONF_TEXT_SHOWN), ": ");
	return fail(error, "host: %s (a \"/\" in a password is %%2f)", why != NULL ? why + 2 : "not understood");
}

static void
clean(char *text)
{
	for (; *text != '\0'; text++)
		if ((unsigned char)*text >= 0x80)
			*text = '?';
}

static int
set_name(struct rpcap_url *url, char error[RPCAP_URL_ERROR_SIZE])
{
	bool bare = strchr(url->host, ':') == NULL;

	snprintf(url->label, sizeof(url->label), "%s://%s%s%s:%u/%s", url->tls ? "rpcaps" : "rpcap", bare ? "" : "[", url->host,
	    bare ? "" : "]", url->port, url->interface);
	clean(url->label);
	if (url->name[0] != '\0')
		return 0;
	if (!identity_name_valid(url->host))
		return fail(error, "host %s cannot be a VM's name: put NAME= before %s://", url->host, url->tls ? "rpcaps" : "rpcap");
	snprintf(url->name, sizeof(url->name), "%.*s", (int)sizeof(url->name) - 1, url->host);
	return 0;
}

int
rpcap_url_parse(const char *text, struct rpcap_url *url, char error[RPCAP_URL_ERROR_SIZE])
{
	const char *scheme, *at, *slash, *user;

	memset(url, 0, sizeof(*url));
	if ((scheme = find_scheme(text, &at, &url->tls)) == NULL)
		return fail(error, "[[TENANT/]NAME=]rpcap://[USER:PASSWORD@]HOST[:PORT]/INTERFACE is needed");
	if (parse_name(text, (size_t)(scheme - text), url, error) == -1)
		return -1;
	if ((slash = strchr(at, '/')) == NULL || slash[1] == '\0')
		return fail(error, "an interface is missing: rpcap://HOST/INTERFACE");
	if (strchr(slash, '@') != NULL)
		return fail(error, "a \"/\" in a password is %%2f, an \"@\" in an interface %%40");
	for (user = slash; user > at && user[-1] != '@'; user--)
		;
	if (user > at && parse_user(at, user - 1, url, error) == -1)
		return -1;
	if (parse_host(user, slash, url, error) == -1 ||
	    decode(slash + 1, slash + strlen(slash), "interface", url->interface, error) == -1)
		return -1;
	return set_name(url, error);
}

bool
rpcap_url_same(const struct rpcap_url *a, const struct rpcap_url *b)
{
	return a->port == b->port && strcasecmp(a->host, b->host) == 0 && strcmp(a->interface, b->interface) == 0;
}

void
rpcap_url_uuid(const char *tenant, const char *name, char uuid[IDENTITY_UUID_SIZE])
{
	char text[sizeof(UUID_PREFIX) + 2 * IDENTITY_NAME_SIZE + 2];
	uint8_t hash[EVP_MAX_MD_SIZE] = { 0 };
	int len = snprintf(text, sizeof(text), UUID_PREFIX "\n%s\n%s", tenant, name);
	size_t n = 0;

	EVP_Digest(text, (size_t)len, hash, NULL, EVP_sha256(), NULL);
	hash[6] = (uint8_t)((hash[6] & 0x0f) | 0x80);	/* RFC 9562, 5.8 */
	hash[8] = (uint8_t)((hash[8] & 0x3f) | 0x80);
	for (size_t i = 0; i < UUID_BYTES; i++)
		n += (size_t)snprintf(uuid + n, IDENTITY_UUID_SIZE - n, i == 4 || i == 6 || i == 8 || i == 10 ? "-%02x" : "%02x", hash[i]);
}

void
rpcap_url_hide(char *text)
{
	char *at, *colon;
	const char *behind;
	bool tls;

	if (find_scheme(text, &behind, &tls) == NULL || (at = strrchr(behind, '@')) == NULL ||
	    (colon = memchr(behind, ':', (size_t)(at - behind))) == NULL)
		return;
	memset(colon + 1, 'x', (size_t)(at - colon - 1));
}
