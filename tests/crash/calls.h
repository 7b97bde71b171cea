/* SPDX-License-Identifier: MIT */
/*
 * calls.h - calls of the C library's that fail when they are told to, in this process: the way to what the library does then.
 */
#ifndef HEAPD_CRASH_CALLS_H
#define HEAPD_CRASH_CALLS_H

enum call {
	CALL_ATTRIBUTES, /* pthread_attr_init(), which returns its error */
	CALL_CONNECT,
	CALL_DUP, /* dup3() */
	CALL_EVENTFD,
	CALL_FOPEN,
	CALL_HELLO, /* send() */
	CALL_KICK,  /* eventfd_write() */
	CALL_MADVISE,
	CALL_MEMORY, /* malloc() and calloc() */
	CALL_MMAP,
	CALL_MPROTECT,
	CALL_NOTE, /* recv() */
	CALL_OPEN,
	CALL_PIPE,
	CALL_POLL, /* ppoll() */
	CALL_PREAD,
	CALL_RECEIVE, /* recvmsg() */
	CALL_SEND,    /* sendmsg() */
	CALL_SHORT,   /* recvmsg(), which brings less than was sent */
	CALL_SIGACTION,
	CALL_SOCKET,
	CALL_SPECIFIC, /* pthread_setspecific(), which returns its error */
	CALL_STACK,    /* pthread_attr_setstacksize(), which returns its error */
	CALL_SYSCALL,  /* syscall() */
	CALL_THREAD,   /* pthread_create(), which returns its error */
	CALLS,
};

/* From its nth use from now on, 1 being the next, so many fail with the error. 0 uses: none any more. */
void calls_fail(enum call call, unsigned nth, unsigned uses, int error);

/* At its nth use from now on this happens first. */
void calls_meet(enum call call, unsigned nth, void (*first)(void));

/* What the nth message from now on that recvmsg() brings says is changed, as if another daemon had sent it. */
void calls_answer(unsigned nth, void (*change)(void *message));
/* It brings a descriptor that nobody asked for, besides. */
void calls_bring(unsigned nth);

#endif
