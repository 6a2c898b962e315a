/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#include "config.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#include "common/buf.h"

#include "cmd.h"
#include "reach.h"
#include "token.h"
#include "user_data.h"

/* vmtap cloud-init: a token of the running collector, in user-data that is ready for a cloud. */

struct cloud_init_options {
	char		*tenant, *collector, *labels, *name, *url, *repository, *key, *store, *ctl;
	uint64_t	 ttl_ms, uses;
	struct reach_options reach;
};
static const struct conf_row rows[] = {
	{ .name = "tenant", .type = CONF_STRING, .argument = "TENANT", .offset = offsetof(struct cloud_init_options, tenant),
	  .help = "whose the virtual machines are" },
	{ .name = "collector", .type = CONF_STRING, .argument = "HOST[:PORT]", .offset = offsetof(struct cloud_init_options, collector),
	  .help = "as the virtual machines reach it" },
	{ .name = "ttl", .type = CONF_TIME, .min = 1000, .max = TOKEN_TTL_MAX_S * UINT64_C(1000), .initial = "1h",
	  .argument = "TIME", .offset = offsetof(struct cloud_init_options, ttl_ms), .help = "how long the token is good" },
	{ .name = "uses", .type = CONF_UINT, .min = 1, .max = TOKEN_USES_MAX, .initial = "1", .argument = "N",
	  .offset = offsetof(struct cloud_init_options, uses), .help = "how many virtual machines may enrol with it" },
	{ .name = "labels", .type = CONF_STRING, .argument = "K=V,...", .offset = offsetof(struct cloud_init_options, labels),
	  .help = "labels of these virtual machines" },
	{ .name = "name", .type = CONF_STRING, .argument = "NAME", .offset = offsetof(struct cloud_init_options, name),
	  .help = "name of the virtual machine (default: its host name)" },
	{ .name = "package-url", .type = CONF_STRING, .argument = "URL[#sha256=HEX]",
	  .offset = offsetof(struct cloud_init_options, url), .help = "install vmtap-agent from this .deb" },
	{ .name = "repository", .type = CONF_STRING, .argument = "LINE", .offset = offsetof(struct cloud_init_options, repository),
	  .help = "install vmtap-agent from there, a line of sources.list (default: the image has it)" },
	{ .name = "repository-key", .type = CONF_STRING, .argument = "FILE", .offset = offsetof(struct cloud_init_options, key),
	  .help = "that repository's OpenPGP key, armored" },
	{ .name = "store", .type = CONF_STRING, .initial = CMD_STORE, .argument = "DIR", .offset = offsetof(struct cloud_init_options, store),
	  .help = "the collector's store" },
	{ .name = "ctl", .type = CONF_STRING, .argument = "PATH", .offset = offsetof(struct cloud_init_options, ctl),
	  .help = "the collector's control socket (default: ctl.sock in the store)" },
	REACH_ROWS(struct cloud_init_options),
	{ 0 }
};

static char *
read_key(const char *path)
{
	char *text = calloc(1, USER_DATA_MAX + 1);
	FILE *file = fopen(path, "re");

	if (text == NULL || file == NULL)
		cmd_bad_usage("cloud-init", "--repository-key %s: %s", path, strerror(errno));
	if (fread(text, 1, USER_DATA_MAX, file) == 0)
		cmd_bad_usage("cloud-init", "--repository-key %s: nothing in it", path);
	fclose(file);
	return text;
}

static json_t *
ask_token(const struct cloud_init_options *options)
{
	json_t *question = json_pack("{s:s,s:s,s:I,s:I,s:s,s:s}", "command", "token-create", "tenant", options->tenant,
	    "ttl", (json_int_t)(options->ttl_ms / 1000), "uses", (json_int_t)options->uses,
	    "labels", options->labels != NULL ? options->labels : "", "name", options->name != NULL ? options->name : "");

	if (question == NULL)
		cmd_bad_usage("cloud-init", "names and labels must be UTF-8");
	return reach_ask_once("cloud-init", &options->reach, options->store, options->ctl, question);
}

static int
print_user_data(struct user_data *data, const json_t *answer)
{
	char error[USER_DATA_ERROR_SIZE];
	struct buf out;
	int rc = 0;

	data->token = json_string_value(json_object_get(answer, "token"));
	data->fingerprint = json_string_value(json_object_get(answer, "fingerprint"));
	data->expires_ns = (uint64_t)json_integer_value(json_object_get(answer, "expires_ns"));
	buf_init(&out, USER_DATA_MAX);
	if (user_data_write(data, &out, error) == -1)
		rc = cmd_fail("cloud-init", "%s", error);
	else
		fwrite(out.data, 1, out.len, stdout);
	buf_clear(&out);
	return rc;
}

int
cmd_cloud_init(int argc, char **argv)
{
	struct cloud_init_options options = { 0 };
	struct user_data data = { 0 };
	char error[USER_DATA_ERROR_SIZE], *key = NULL;
	json_t *answer;
	int rest, rc = 1;

	cmd_options(rows, &options, argc, argv, "", &rest);
	if (rest < argc)
		cmd_bad_usage("cloud-init", "what is \"%s\"?", argv[rest]);
	if (options.key != NULL)
		key = read_key(options.key);
	data = (struct user_data){ .collector = options.collector, .tenant = options.tenant, .url = options.url,
	    .repository = options.repository, .key = key };
	if (user_data_check(&data, error) == -1)
		cmd_bad_usage("cloud-init", "%s", error);
	if ((answer = ask_token(&options)) != NULL)
		rc = print_user_data(&data, answer);
	json_decref(answer);
	free(key);
	conf_free(rows, &options);
	return rc;
}
