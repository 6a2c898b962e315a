/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#include "config.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "common/buf.h"
#include "common/clock.h"
#include "common/conf.h"
#include "proto/frame.h"
#include "proto/identity.h"

#include "user_data.h"
#include "collector/user_data_template.h"

#define LETTERS		"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
#define HEX		"0123456789abcdefABCDEF"
#define URL_BYTES	LETTERS "-._~:/?@+,=%&[]"	/* between single quotes for the shell */
#define SOURCE_BYTES	LETTERS "-._~:/?@+,=%[] "

#define SHA256_MARK	"#sha256="
#define KEY_BEGIN	"-----BEGIN PGP PUBLIC KEY BLOCK-----\n"
#define KEY_END		"\n-----END PGP PUBLIC KEY BLOCK-----"
#define KEY_FILE	"signed-by=/etc/apt/keyrings/vmtap.asc"
#define KEY_LINE_MAX	200u
#define VALUE_SIZE	1024

static int
fail(char *error, const char *why)
{
	snprintf(error, USER_DATA_ERROR_SIZE, "%s", why);
	return -1;
}

/* With the port always, as both a resolver and the agent's config take it. */
static int
fill_collector(const char *text, char *value, char *error)
{
	char host[256];
	struct conf_error conf;
	uint16_t port;

	if (conf_host_port(text, FRAME_PORT, host, sizeof(host), &port, &conf) == -1 || host[strspn(host, LETTERS "-._:")] != '\0' ||
	    host[0] == '-')
		return fail(error, "--collector: HOST[:PORT] is a name or an address");
	snprintf(value, VALUE_SIZE, strchr(host, ':') != NULL ? "[%s]:%u" : "%s:%u", host, port);
	return 0;
}

static int
fill_url(const char *text, char *url, char *hash, char *error)
{
	const char *mark = strstr(text, SHA256_MARK);
	size_t len = mark != NULL ? (size_t)(mark - text) : strlen(text);
	const char *hex = mark != NULL ? mark + strlen(SHA256_MARK) : NULL;

	if ((strncmp(text, "https://", 8) != 0 && strncmp(text, "http://", 7) != 0) || strspn(text, URL_BYTES) < len || len >= VALUE_SIZE)
		return fail(error, "--package-url: http(s):// and what URLs are made of, percent-encoded where need be");
	if (hex != NULL && (strlen(hex) != 64 || strspn(hex, HEX) != 64))
		return fail(error, "--package-url: behind #sha256= there are 64 hex digits");
	if (hex == NULL && text[4] != 's')
		return fail(error, "--package-url: http:// needs #sha256=HEX behind it, else who is on the way decides what is installed");
	snprintf(url, VALUE_SIZE, "%.*s", (int)len, text);
	snprintf(hash, VALUE_SIZE, "%s%s", hex != NULL ? "SHA256:" : "", hex != NULL ? hex : "");
	return 0;
}

/* A key that comes along is the one that the line trusts. */
static int
fill_repository(const struct user_data *data, char *line, char *error)
{
	const char *options;
	int n;

	if (strncmp(data->repository, "deb ", 4) != 0 || data->repository[strspn(data->repository, SOURCE_BYTES)] != '\0' ||
	    strstr(data->repository, "://") == NULL)
		return fail(error, "--repository: a line of sources.list: deb [OPTION=VALUE] URL SUITE COMPONENT");
	options = data->repository + 4 + strspn(data->repository + 4, " ");
	if (data->key == NULL)
		n = snprintf(line, VALUE_SIZE, "%s", data->repository);
	else if (strstr(data->repository, "signed-by=") != NULL || strstr(data->repository, "trusted=") != NULL)
		return fail(error, "--repository: names a key or trusts without one, which leaves nothing for --repository-key");
	else if (*options == '[')
		n = snprintf(line, VALUE_SIZE, "deb [" KEY_FILE " %s", options + 1);
	else
		n = snprintf(line, VALUE_SIZE, "deb [" KEY_FILE "] %s", options);
	return n < VALUE_SIZE ? 0 : fail(error, "--repository: too long");
}

static int
check_key(const char *key, char *error)
{
	const char *line, *next;

	if (strncmp(key, KEY_BEGIN, strlen(KEY_BEGIN)) != 0 || strstr(key, KEY_END) == NULL)
		return fail(error, "--repository-key: not an armored OpenPGP public key (gpg --armor --export)");
	for (line = key; *line != '\0'; line = next) {
		for (next = line; *next >= ' ' && *next <= '~'; next++)
			;
		if ((*next != '\n' && *next != '\0') || next - line > KEY_LINE_MAX)
			return fail(error, "--repository-key: holds bytes that are not text");
		next += *next == '\n';
	}
	return 0;
}

struct filling {
	char	collector[VALUE_SIZE], url[VALUE_SIZE], hash[VALUE_SIZE], repository[VALUE_SIZE], expires[CLOCK_ISO_SIZE];
};

static int
fill_in(const struct user_data *data, struct filling *filling, char *error)
{
	memset(filling, 0, sizeof(*filling));
	if (data->collector == NULL || data->tenant == NULL)
		return fail(error, "which --tenant and --collector?");
	if (!identity_name_valid(data->tenant))
		return fail(error, "--tenant: no name for a tenant");
	if (data->url != NULL && data->repository != NULL)
		return fail(error, "--package-url or --repository?");
	if (data->key != NULL && data->repository == NULL)
		return fail(error, "--repository-key is of which --repository?");
	if (fill_collector(data->collector, filling->collector, error) == -1 ||
	    (data->url != NULL && fill_url(data->url, filling->url, filling->hash, error) == -1) ||
	    (data->repository != NULL && fill_repository(data, filling->repository, error) == -1) ||
	    (data->key != NULL && check_key(data->key, error) == -1))
		return -1;
	clock_iso(data->expires_ns, filling->expires, sizeof(filling->expires));
	return 0;
}

int
user_data_check(const struct user_data *data, char *error)
{
	struct filling filling;

	return fill_in(data, &filling, error);
}

/* --- the template --- */

struct place {
	const char	*name, *value;
};

/* A value of several lines keeps the indentation of its place. */
static int
put_value(struct buf *out, const char *value, size_t indent)
{
	const char *newline;
	int errs = 0;

	while ((newline = strchr(value, '\n')) != NULL && newline[1] != '\0') {
		errs += buf_printf(out, "%.*s\n%*s", (int)(newline - value), value, (int)indent, "");
		value = newline + 1;
	}
	return errs + buf_put(out, value, strcspn(value, "\n"));
}

static int
put_line(struct buf *out, const char *line, size_t len, const struct place *places)
{
	const char *end = line + len, *at, *close;
	size_t indent = strspn(line, " ");
	const struct place *place;
	int errs = 0;

	while ((at = memchr(line, '@', (size_t)(end - line))) != NULL && (close = memchr(at + 1, '@', (size_t)(end - at - 1))) != NULL) {
		for (place = places; place->name != NULL; place++)
			if (strlen(place->name) == (size_t)(close - at - 1) && memcmp(place->name, at + 1, strlen(place->name)) == 0)
				break;
		errs += buf_put(out, line, (size_t)(at - line));
		errs += place->name != NULL ? put_value(out, place->value, indent) : buf_put(out, at, (size_t)(close + 1 - at));
		line = close + 1;
	}
	errs += buf_put(out, line, (size_t)(end - line));
	return errs + buf_put_u8(out, '\n');
}

/* What is behind a "#@": is one of its words a kind of this package? None: for all. */
static bool
is_wanted(const char *words, size_t len, const struct user_data *data)
{
	const char *end = words + len;
	bool wanted = false, none = true;
	size_t n;

	for (; words < end; words += n) {
		words += strspn(words, " ");
		n = strcspn(words, " \n");
		if (n == 0)
			break;
		none = false;
		wanted = wanted || (data->url != NULL && n == 3 && memcmp(words, "url", n) == 0) ||
		    (data->repository != NULL && n == 10 && memcmp(words, "repository", n) == 0) ||
		    (data->key != NULL && n == 3 && memcmp(words, "key", n) == 0);
	}
	return wanted || none;
}

static int
put_template(struct buf *out, const struct user_data *data, const struct place *places)
{
	const char *line, *next, *text;
	bool wanted = true;
	int errs = 0;

	for (line = user_data_template; *line != '\0'; line = next) {
		next = strchr(line, '\n') + 1;
		text = line + strspn(line, " ");
		if (strncmp(text, "#@", 2) == 0)
			wanted = is_wanted(text + 2, (size_t)(next - 1 - (text + 2)), data);
		else if (wanted)
			errs += put_line(out, line, (size_t)(next - 1 - line), places);
	}
	return errs;
}

/* The collector is ours, but what it said came over a socket. */
static int
check_answer(const struct user_data *data, char *error)
{
	if (data->token == NULL || data->token[strspn(data->token, LETTERS "-_")] != '\0' || data->token[0] == '\0')
		return fail(error, "what the collector gave is no token");
	if (data->fingerprint == NULL || strlen(data->fingerprint) != 71 || strncmp(data->fingerprint, "SHA256:", 7) != 0 ||
	    strspn(data->fingerprint + 7, HEX) != 64)
		return fail(error, "what the collector gave is no fingerprint");
	return 0;
}

int
user_data_write(const struct user_data *data, struct buf *out, char *error)
{
	struct filling filling;

	if (fill_in(data, &filling, error) == -1 || check_answer(data, error) == -1)
		return -1;
	const struct place places[] = {
		{ "COLLECTOR", filling.collector }, { "TENANT", data->tenant }, { "EXPIRES", filling.expires }, { "TOKEN", data->token },
		{ "FINGERPRINT", data->fingerprint }, { "URL", filling.url }, { "HASH", filling.hash },
		{ "REPOSITORY", filling.repository }, { "KEY", data->key }, { NULL, NULL }
	};
	if (put_template(out, data, places) != 0)
		return fail(error, "too long: a cloud takes 16384 bytes of user-data");
	return 0;
}
