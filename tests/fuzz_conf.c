/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#include "config.h"

#include <stdlib.h>
#include <string.h>

#include "common/conf.h"

struct options {
	bool		 flag;
	char		*string;
	struct conf_list list;
	uint64_t	 uint, size, time;
	int		 word;
};

#define AT(field)	.offset = offsetof(struct options, field)

static const struct conf_row rows[] = {
	{ .name = "flag", .type = CONF_FLAG, AT(flag) },
	{ .name = "string", .type = CONF_STRING, AT(string), .initial = "x" },
	{ .name = "list", .type = CONF_LIST, AT(list), .initial = "x" },
	{ .name = "uint", .type = CONF_UINT, AT(uint), .min = 1, .max = 100 },
	{ .name = "size", .type = CONF_SIZE, AT(size), .initial = "1M" },
	{ .name = "time", .type = CONF_TIME, AT(time), .min = 10, .max = UINT64_MAX, .initial = "1s" },
	{ .name = "word", .type = CONF_ENUM, AT(word), .values = "inout|in|out" },
	{ .name = NULL }
};

int	LLVMFuzzerTestOneInput(const uint8_t *, size_t);

/* What was accepted comes back the same through its own text. */
static void
round_trip(const struct options *options)
{
	struct options	 copy = { 0 };
	struct conf_error error;
	char		*text = conf_to_text(rows, options), *again;

	if (text == NULL || conf_defaults(rows, &copy, &error) == -1 || conf_parse_text(rows, &copy, "text", text, &error) == -1)
		abort();
	again = conf_to_text(rows, &copy);
	if (again == NULL || strcmp(text, again) != 0 || conf_needs_restart(rows, options, &copy) != NULL)
		abort();
	free(text);
	free(again);
	conf_free(rows, &copy);
}

int
LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n)
{
	struct options	 options = { 0 };
	struct conf_error error;
	char		*text = strndup((const char *)bytes, n), host[64];
	uint16_t	 port;

	if (text == NULL || conf_defaults(rows, &options, &error) == -1)
		abort();
	if (conf_parse_text(rows, &options, "fuzz", text, &error) == 0)
		round_trip(&options);
	conf_host_port(text, 8827, host, sizeof(host), &port, &error);
	conf_free(rows, &options);
	free(text);
	return 0;
}
