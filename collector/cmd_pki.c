/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#include "config.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "common/clock.h"
#include "common/conf.h"
#include "proto/rights.h"

#include "collector/cmd.h"
#include "collector/pki.h"
#include "collector/pki_sign.h"

#define DAY_S		86400
#define OPERANDS_MAX	2	/* DIR, NAME */
#define SKEW_S		300	/* valid from five minutes ago: clocks differ */

struct pki_options {
	char		*tenant;
	struct conf_list hosts, tenants;
	char		*rights;
	uint64_t	 days;
	int		 algorithm;	/* enum pki_algorithm */
};

#define OFFSET(field)	offsetof(struct pki_options, field)
#define ROW_TENANT \
	{ .name = "tenant", .type = CONF_STRING, .initial = "default", .argument = "TENANT", .offset = OFFSET(tenant), \
	    .help = "whose it is" }
#define ROW_DAYS(most, usual) \
	{ .name = "days", .type = CONF_UINT, .min = 1, .max = (most), .initial = (usual), .argument = "N", .offset = OFFSET(days), \
	    .help = "how long it is valid, at most as long as the CA" }
#define ROW_ALGORITHM \
	{ .name = "algorithm", .type = CONF_ENUM, .values = "p256|ed25519", .initial = "p256", .offset = OFFSET(algorithm), \
	    .help = "kind of the key" }
#define ROW_END		{ .name = NULL }

static const struct conf_row ca_rows[] = { ROW_DAYS(36500, "3650"), ROW_ALGORITHM, ROW_END };
static const struct conf_row tenant_rows[] = { ROW_TENANT, ROW_DAYS(3650, "365"), ROW_ALGORITHM, ROW_END };
static const struct conf_row issuer_rows[] = { ROW_DAYS(36500, "365"), ROW_ALGORITHM, ROW_END };
static const struct conf_row operator_rows[] = {
	ROW_TENANT,
	{ .name = "rights", .type = CONF_STRING, .initial = "read", .argument = "RIGHT,...|none", .offset = OFFSET(rights),
	    .help = "at a collector: read, policy, enrol, admin" },
	{ .name = "tenants", .type = CONF_LIST, .argument = "TENANT,...|*", .offset = OFFSET(tenants),
	    .help = "whose they are at, \"*\" is everybody (default: --tenant)" },
	ROW_DAYS(3650, "365"), ROW_ALGORITHM, ROW_END
};
static const struct conf_row renew_rows[] = { ROW_DAYS(3650, "365"), ROW_END };
static const struct conf_row collector_rows[] = {
	{ .name = "host", .type = CONF_LIST, .argument = "HOST", .offset = OFFSET(hosts),
	    .help = "name or address at which agents dial it" },
	ROW_DAYS(3650, "365"), ROW_ALGORITHM, ROW_END
};

/* What there is to make; init makes the CA, the others a holder's certificate, or make it anew. */
static const struct pki_kind {
	const char		*name;
	enum identity_role	 role;
	const struct conf_row	*rows;
	int			 operands;
	bool			 renews;	/* role is then the certificate's */
	const char		*usage;
	const char		*help;
} kinds[] = {
	{ "init", ROLE_AGENT, ca_rows, 1, false, "DIR [OPTION...]", "a deployment's own CA" },
	{ "agent", ROLE_AGENT, tenant_rows, 2, false, "DIR NAME [OPTION...]", "an agent's certificate, with a new UUID" },
	{ "collector", ROLE_COLLECTOR, collector_rows, 2, false, "DIR NAME --host HOST... [OPTION...]",
	    "a collector's certificate" },
	{ "operator", ROLE_OPERATOR, operator_rows, 2, false, "DIR NAME [OPTION...]",
	    "an operator's certificate, for vmtap pull and --connect" },
	{ "intermediate", ROLE_AGENT, issuer_rows, 2, false, "DIR NAME [OPTION...]", "an issuer below the CA, for --enroll-key" },
	{ "renew", ROLE_AGENT, renew_rows, 2, true, "DIR NAME [OPTION...]", "a certificate anew: holder, UUID and key stay" },
};
#define KIND_COUNT	(sizeof(kinds) / sizeof(kinds[0]))

static void
print_help(void)
{
	printf("usage: vmtap pki KIND DIR [NAME] [OPTION...]\n\n");
	for (size_t i = 0; i < KIND_COUNT; i++)
		printf("  %-12s %s\n", kinds[i].name, kinds[i].help);
	printf("\n\"vmtap pki KIND --help\" tells more; so does vmtap(1).\n");
}

/* Options stand before, between or behind DIR and NAME: brings them to the front. All but --help take a value; where the
 * last one has none, operands are left out, lest one be taken for it. Returns how many words there are then. */
static int
options_first(int argc, char **argv, char **sorted)
{
	int	 n = 1, operands = 0;
	char	*behind[OPERANDS_MAX + 1];	/* one more, to be complained of */

	sorted[0] = argv[0];
	for (int i = 1; i < argc; i++) {
		if (argv[i][0] != '-') {
			if (operands <= OPERANDS_MAX)
				behind[operands++] = argv[i];
			continue;
		}
		sorted[n++] = argv[i];
		if (strcmp(argv[i], "--help") == 0 || strchr(argv[i], '=') != NULL)
			continue;
		if (i + 1 == argc)
			return n;
		sorted[n++] = argv[++i];
	}
	for (int i = 0; i < operands; i++)
		sorted[n++] = behind[i];
	return n;
}

/* Whose rights they are: each word of the list is one or several tenants. Part of the list's memory; -1: too many. */
struct pki_tenants {
	char	*name[RIGHTS_TENANTS_MAX];
	size_t	 count;
};

static int
split_tenants(struct pki_options *options, struct pki_tenants *tenants)
{
	char	*rest, *name;

	tenants->count = 0;
	if (options->tenants.count == 0)
		tenants->name[tenants->count++] = options->tenant;
	for (size_t i = 0; i < options->tenants.count; i++)
		for (rest = options->tenants.value[i]; (name = strsep(&rest, ",")) != NULL; tenants->count++) {
			if (tenants->count == RIGHTS_TENANTS_MAX)
				return -1;
			tenants->name[tenants->count] = name;
		}
	return 0;
}

static void
fill_rights(const char *verb, struct pki_options *options, struct pki_tenants *tenants, struct pki_request *request)
{
	if (options->rights == NULL)
		return;
	if (rights_parse(options->rights, &request->rights) == -1)
		cmd_bad_usage(verb, "--rights \"%s\" is not a list of read, policy, enrol, admin, nor \"none\"", options->rights);
	if (split_tenants(options, tenants) == -1)
		cmd_bad_usage(verb, "--tenants: more than %u", RIGHTS_TENANTS_MAX);
	for (size_t i = 0; i < tenants->count; i++)
		if (strcmp(tenants->name[i], RIGHTS_ALL_TENANTS) != 0 && !identity_name_valid(tenants->name[i]))
			cmd_bad_usage(verb, "--tenants: \"%s\" is neither a tenant's name nor \"*\"", tenants->name[i]);
	request->tenants = tenants->name;
	request->tenant_count = tenants->count;
}

static int
report(const struct pki_kind *kind, const struct pki_made *made)
{
	const struct identity	*identity = &made->identity;
	char			 iso[CLOCK_ISO_SIZE], fingerprint[PKI_FINGERPRINT_SIZE], error[PKI_ERROR_SIZE];

	clock_iso((uint64_t)made->not_after * 1000000000, iso, sizeof(iso));
	if (kind->operands == 1 || kind->rows == issuer_rows)
		printf("%s: ", kind->operands == 1 ? "CA" : "issuer");
	else if (identity->role == ROLE_COLLECTOR)
		printf("collector %s: ", identity->name);
	else
		printf("%s %s of tenant %s: ", identity_role_name(identity->role), identity->name, identity->tenant);
	if (identity->uuid[0] != '\0')
		printf("UUID %s, ", identity->uuid);
	printf("%s, %s%svalid until %.10s\n", made->cert_path, made->key_path, made->key_path[0] != '\0' ? ", " : "", iso);
	if (kind->operands == 1 && pki_fingerprint(made->cert_path, fingerprint, error) == 0)
		printf("its fingerprint, for enrolment: %s\n", fingerprint);
	return 0;
}

static int
make(const struct pki_kind *kind, const char *verb, struct pki_options *options, char **operands)
{
	time_t			 now = time(NULL);
	struct pki_tenants	 tenants;
	struct pki_made		 made;
	struct pki_request	 request = {
		.identity = { .role = kind->role }, .hosts = options->hosts.value, .host_count = options->hosts.count,
		.algorithm = (enum pki_algorithm)options->algorithm, .not_before = now - SKEW_S,
		.not_after = now + (time_t)options->days * DAY_S,
	};
	char			 error[PKI_ERROR_SIZE];
	int			 result;

	if (kind->operands == 1)
		result = pki_init(operands[0], request.algorithm, request.not_before, request.not_after, &made, error);
	else if (kind->renews)
		result = pki_renew(operands[0], operands[1], request.not_before, request.not_after, &made, error);
	else if (kind->rows == issuer_rows)
		result = pki_intermediate(operands[0], operands[1], request.algorithm, request.not_before, request.not_after, &made, error);
	else {
		snprintf(request.identity.name, sizeof(request.identity.name), "%s", operands[1]);
		if (options->tenant != NULL)
			snprintf(request.identity.tenant, sizeof(request.identity.tenant), "%s", options->tenant);
		fill_rights(verb, options, &tenants, &request);
		result = pki_issue(operands[0], &request, &made, error);
	}
	return result == 0 ? report(kind, &made) : cmd_fail(verb, "%s", error);
}

static void
check_words(const struct pki_kind *kind, const char *verb, const struct pki_options *options, int count, char **operands)
{
	if (count < kind->operands)
		cmd_bad_usage(verb, "%s is missing", count == 0 ? "DIR" : "NAME");
	if (count > kind->operands)
		cmd_bad_usage(verb, "no operand, please: \"%s\"", operands[kind->operands]);
	if (kind->operands == 2 && !identity_name_valid(operands[1]))
		cmd_bad_usage(verb, "\"%s\" cannot be a name: 1 to 64 of A-Z a-z 0-9 . _ - are, not starting with . or -", operands[1]);
	if (options->tenant != NULL && !identity_name_valid(options->tenant))
		cmd_bad_usage(verb, "--tenant \"%s\" cannot be a name: 1 to 64 of A-Z a-z 0-9 . _ - are, not starting with . or -",
		    options->tenant);
	if (kind->role == ROLE_COLLECTOR && options->hosts.count == 0)
		cmd_bad_usage(verb, "--host is missing: the name or address at which agents dial it");
	for (size_t i = 0; i < options->hosts.count; i++)
		if (!pki_host_valid(options->hosts.value[i]))
			cmd_bad_usage(verb, "--host \"%s\" is neither an address nor a host name", options->hosts.value[i]);
}

static int
run(const struct pki_kind *kind, int argc, char **argv)
{
	struct pki_options	 options = { 0 };
	char			**sorted = calloc((size_t)argc + 1, sizeof(*sorted));
	char			 verb[32];
	int			 rest, status;

	snprintf(verb, sizeof(verb), "pki %s", kind->name);
	if (sorted == NULL)
		return cmd_fail(verb, "out of memory");
	argc = options_first(argc, argv, sorted);
	sorted[0] = verb;
	cmd_options(kind->rows, &options, argc, sorted, kind->usage, &rest);
	check_words(kind, verb, &options, argc - rest, sorted + rest);
	status = make(kind, verb, &options, sorted + rest);
	conf_free(kind->rows, &options);
	free(sorted);
	return status;
}

int
cmd_pki(int argc, char **argv)
{
	if (argc < 2)
		cmd_bad_usage(argv[0], "which kind of certificate? init, agent, collector, operator, intermediate or renew");
	if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0) {
		print_help();
		return 0;
	}
	for (size_t i = 0; i < KIND_COUNT; i++)
		if (strcmp(argv[1], kinds[i].name) == 0)
			return run(&kinds[i], argc - 1, argv + 1);
	cmd_bad_usage(argv[0], "no kind of certificate: \"%s\"; init, agent, collector, operator, intermediate and renew are", argv[1]);
}
