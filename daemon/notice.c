/* SPDX-License-Identifier: MIT */
/*
 * notice.c - owns how a datagram of sd_notify(3) is taken apart.
 *
 * Right because the sender is who the kernel says, and because a line counts only whole: from its beginning, with its
 * name and an equals sign.
 */
#include "notice.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

static void notice_attached(struct notice *notice, struct msghdr *h)
{
	for (struct cmsghdr *c = CMSG_FIRSTHDR(h); c; c = CMSG_NXTHDR(h, c)) {
		struct ucred who;

		if (c->cmsg_level != SOL_SOCKET)
			continue;
		if (c->cmsg_type == SCM_RIGHTS) {
			notice->nfds = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
			memcpy(notice->fds, CMSG_DATA(c), notice->nfds * sizeof(int));
		} else if (c->cmsg_type == SCM_CREDENTIALS) {
			memcpy(&who, CMSG_DATA(c), sizeof(who));
			notice->pid = who.pid;
		}
	}
}

bool notice_receive(int fd, struct notice *notice)
{
	_Alignas(struct cmsghdr) char
		room[CMSG_SPACE(NOTICE_FDS * sizeof(int)) + CMSG_SPACE(sizeof(struct ucred))];
	struct iovec iov = { .iov_base = notice->text, .iov_len = sizeof(notice->text) - 1 };
	struct msghdr h = {
		.msg_iov = &iov, .msg_iovlen = 1, .msg_control = room, .msg_controllen = sizeof(room)
	};
	ssize_t n;

	do
		n = recvmsg(fd, &h, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
	while (n < 0 && errno == EINTR);
	if (n < 0)
		return false;
	notice->text[n] = '\0';
	notice->nfds = 0;
	notice->pid = 0;
	notice_attached(notice, &h);
	return true;
}

const char *notice_value(const struct notice *notice, const char *name, char value[NOTICE_VALUE])
{
	size_t length = strlen(name);

	for (const char *line = notice->text; line; line = strchr(line, '\n')) {
		line += *line == '\n';
		if (strncmp(line, name, length) != 0 || line[length] != '=')
			continue;
		snprintf(value, NOTICE_VALUE, "%.*s", (int)strcspn(line + length + 1, "\n"),
			 line + length + 1);
		return value;
	}
	return NULL;
}

bool notice_says(const struct notice *notice, const char *name)
{
	char value[NOTICE_VALUE];

	return notice_value(notice, name, value) && strcmp(value, "1") == 0;
}
