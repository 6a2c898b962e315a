/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#include "config.h"

#include <stdint.h>

#include "agent/ipc.h"

int	LLVMFuzzerTestOneInput(const uint8_t *, size_t);

/* The first byte is the type, the rest a payload from the other role. */
int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct ipc_tap tap;
	struct ipc_tap_result result;
	struct ipc_lease lease;
	struct ipc_interface_gone gone;
	struct ipc_linktype linktype;
	struct ipc_message message = { 0 };
	struct ipc_enrolment enrolment;
	enum ipc_store what;
	const uint8_t *bytes;
	uint32_t left_ms;
	uint8_t number;
	size_t len;
	int error;

	if (size == 0)
		return 0;
	message.type = (enum ipc_type)(data[0] % IPC_TYPE_MAX);
	message.payload = data + 1;
	message.length = size - 1;
	(void)ipc_get_tap(&message, &tap);
	(void)ipc_get_lease(&message, &lease);
	(void)ipc_get_tap_result(&message, &result);
	(void)ipc_get_interface_gone(&message, &gone);
	(void)ipc_get_linktype(&message, &linktype);
	(void)ipc_get_count(&message, &number);
	(void)ipc_get_shutdown(&message, &left_ms);
	(void)ipc_get_enrolment(&message, &enrolment);
	(void)ipc_get_store(&message, &what, &bytes, &len);
	(void)ipc_get_stored(&message, &what, &error);
	return 0;
}
