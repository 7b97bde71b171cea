/* SPDX-License-Identifier: MIT */
/*
 * For the daemon, by LD_PRELOAD: its memory files keep no seals. So a test can cut one short, and what was behind its end is gone
 * for everybody, as bad memory is: each access to it is a SIGBUS.
 */
#include <fcntl.h>
#include <stdarg.h>
#include <sys/syscall.h>
#include <unistd.h>

static int call(int fd, int command, long argument)
{
	return command == F_ADD_SEALS ? 0 : (int)syscall(SYS_fcntl, fd, command, argument);
}

int fcntl(int fd, int command, ...)
{
	va_list args;
	long argument;

	va_start(args, command);
	argument = va_arg(args, long);
	va_end(args);
	return call(fd, command, argument);
}

int fcntl64(int fd, int command, ...)
{
	va_list args;
	long argument;

	va_start(args, command);
	argument = va_arg(args, long);
	va_end(args);
	return call(fd, command, argument);
}
