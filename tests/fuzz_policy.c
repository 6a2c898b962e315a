/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#include "config.h"

#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "proto/identity.h"

#include "collector/policy.h"

int	LLVMFuzzerTestOneInput(const uint8_t *, size_t);

/* A policy file, and its lines as an override; what is taken must come out as text that is taken again. */
int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char *text = strndup((const char *)data, size), *again, error[POLICY_ERROR_SIZE];
	struct policy_set *set = policy_set_new();
	struct policy_dedup dedup;
	struct msg_policy policy;
	char network[IDENTITY_NAME_SIZE];

	if (policy_set_parse(set, "f", text, error, sizeof(error)) == 0) {
		policy_set_resolve(set, "acme", "web1", "11111111-2222-3333-4444-555555555555", "", &policy, &dedup);
		policy_network(&dedup, "eth0", network, sizeof(network));
		if (network[0] != '\0' && !identity_name_valid(network))
			abort();
	}
	if (policy_set_override(set, "vm web1", text, error, sizeof(error)) == 0) {
		again = policy_set_override_text(set, "vm web1");
		if (again != NULL && policy_set_override(set, "vm web1", again, error, sizeof(error)) == -1)
			abort();
		free(again);
	}
	policy_set_unref(set);
	free(text);
	return 0;
}
