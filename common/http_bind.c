/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#include "config.h"

#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <errno.h>
#include <netdb.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "common/conf.h"
#include "common/http.h"

#define HTTP_BACKLOG	16
#define HTTP_HOST_SIZE	256
#define HTTP_MODE	0660

/* --- a path --- */

static int
path_address(const char *path, struct sockaddr_un *address)
{
	*address = (struct sockaddr_un){ .sun_family = AF_UNIX };
	if (strlen(path) >= sizeof(address->sun_path))
		return -1;
	strcpy(address->sun_path, path);
	return 0;
}

/* A socket that a dead program left: nobody answers at it. 0, or -1 with errno: there is something else, or somebody. */
static int
remove_stale(const struct sockaddr_un *address)
{
	struct stat st;
	int fd, rc;

	if (lstat(address->sun_path, &st) == -1)
		return errno == ENOENT ? 0 : -1;
	if (!S_ISSOCK(st.st_mode)) {
		errno = EEXIST;
		return -1;
	}
	if ((fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0)) == -1)
		return -1;
	rc = connect(fd, (const struct sockaddr *)address, sizeof(*address));
	if (rc == 0 || errno == EAGAIN)
		errno = EADDRINUSE;
	else if (errno == ECONNREFUSED)
		rc = 1;
	close(fd);
	return rc == 1 ? unlink(address->sun_path) : -1;
}

static int
listen_at(int family, const struct sockaddr *address, socklen_t len)
{
	const int on = 1;
	int fd = socket(family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0), saved;

	if (fd == -1)
		return -1;
	if ((family == AF_UNIX || setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) == 0) && bind(fd, address, len) == 0 &&
	    listen(fd, HTTP_BACKLOG) == 0)
		return fd;
	saved = errno;
	close(fd);
	errno = saved;
	return -1;
}

static int
bind_path(const char *path)
{
	struct sockaddr_un address;
	mode_t mask;
	int fd;

	if (path_address(path, &address) == -1) {
		errno = ENAMETOOLONG;
		return -1;
	}
	if (remove_stale(&address) == -1)
		return -1;
	mask = umask(0777 & ~HTTP_MODE);
	fd = listen_at(AF_UNIX, (const struct sockaddr *)&address, sizeof(address));
	umask(mask);
	return fd;
}

/* --- an address --- */

/* For freeaddrinfo(3); NULL with the error. */
static struct addrinfo *
numeric_address(const char *place, struct conf_error *error)
{
	const struct addrinfo hints = { .ai_flags = AI_NUMERICHOST | AI_NUMERICSERV | AI_PASSIVE, .ai_socktype = SOCK_STREAM };
	struct addrinfo *address = NULL;
	char host[HTTP_HOST_SIZE], service[8];
	uint16_t port;

	if (conf_host_port(place, 0, host, sizeof(host), &port, error) == -1)
		return NULL;
	snprintf(service, sizeof(service), "%u", (unsigned)port);
	if (port != 0 && getaddrinfo(host, service, &hints, &address) == 0)
		return address;
	conf_error_set(error, "%s: must be a numeric address and a port, like 127.0.0.1:9100 or [::]:9100, or an absolute path", place);
	return NULL;
}

int
http_check_place(const char *place, struct conf_error *error)
{
	struct addrinfo *address;
	struct sockaddr_un path;

	if (place[0] == '/') {
		if (path_address(place, &path) == 0)
			return 0;
		conf_error_set(error, "%s: a socket's path has at most %zu bytes", place, sizeof(path.sun_path) - 1);
		return -1;
	}
	if ((address = numeric_address(place, error)) == NULL)
		return -1;
	freeaddrinfo(address);
	return 0;
}

int
http_check_places(const struct conf_list *list, size_t most, const char *option, struct conf_error *error)
{
	if (list->count > most) {
		conf_error_set(error, "--%s is given %zu times, at most %zu can be", option, list->count, most);
		return -1;
	}
	for (size_t i = 0; i < list->count; i++)
		if (http_check_place(list->value[i], error) == -1) {
			conf_error_place(error, list->origin[i], option);
			return -1;
		}
	return 0;
}

int
http_bind(const char *place, struct conf_error *error)
{
	struct addrinfo *address;
	int fd;

	if (place[0] == '/') {
		fd = bind_path(place);
	} else {
		if ((address = numeric_address(place, error)) == NULL)
			return -1;
		fd = listen_at(address->ai_family, address->ai_addr, address->ai_addrlen);
		freeaddrinfo(address);
	}
	if (fd == -1)
		conf_error_set(error, "%s: cannot listen: %s", place, strerror(errno));
	return fd;
}

void
http_unbind(const char *place)
{
	if (place[0] == '/')
		unlink(place);
}
