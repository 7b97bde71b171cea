/* SPDX-License-Identifier: MIT */
/*
 * heapd: one garbage-collected heap for many processes.
 *
 * The three rules for users
 *
 * 1. Hold. A heap pointer lives in heap objects, in local variables of an attached thread, or in a
 *    root: a pin, a registered range, a local range, a named root. Nowhere else: not in malloc, not
 *    in std:: containers, not in plain globals, not in epoll_data, not in a new thread's argument.
 * 2. Write. A pointer field is written with heapd_store() and its kin. The one exception: a field
 *    that is still NULL, in an object that nobody else can see yet (heapd_init()). Overwriting a
 *    field that is not NULL plainly is unsound even in a private object.
 * 3. Read. One plain load. Where the field may change under the reader, heapd_load().
 *
 * How a program finds that it broke one: -DHEAPD_STRICT makes heapd_ptr(T) fields const, so that
 * plain stores do not compile; HEAPD_DEBUG=types,barrier,dangling in its environment has broken rules looked
 * for while it runs (heapd(3), Debugging).
 *
 * Conventions
 *
 * int: 0 (or a count) or -errno. Pointer: NULL and errno. heapd_error() is the sentence for this
 * thread's last failure, as dlerror() has it. Two errors of allocation stay distinct everywhere:
 *   ENOMEM  the heap is at its limit, and a whole collection, where it has one, did not help
 *   EAGAIN  the daemon is away, what it had supplied to this CPU is used up, and it has not come back in the time
 *           allowed (options.supply_timeout_ms); or the heap is at its limit, and no collection came to its end in that time
 * EINVAL, with a sentence, says that an argument makes no sense; ENODEV that there is no
 * attachment; EROFS that the attachment is read-only; ETIMEDOUT that the daemon did not answer in
 * time; EAGAIN, where a call needs the daemon, that it is away, and has not come back within
 * options.request_timeout_ms. Other errors stand with the function.
 *
 * A daemon that is restarted, or crashes, and finds its heaps again (heapd(8)) is away for some milliseconds:
 * calls that need it wait, and are sent again. With HEAPD_ATTACH_NO_WAIT they fail with EAGAIN at once. If another
 * daemon has made the heap anew, they fail at once, too, for good: detach, and attach again.
 *
 * Sizes are bytes unless a name says otherwise. Memory that heapd hands out is all zero and aligned
 * to 16 bytes, or to the type's alignment. Names (heaps, types, roots) have at most 47 bytes.
 * Structures that may grow begin with the caller's size; HEAPD_SIZED() sets it.
 *
 * Threads: every function may be called by any thread, several at once, unless it says otherwise;
 * a thread is attached by its first call. No callback runs on a thread that is not the program's.
 * No heapd function may be left by longjmp or by an exception of a signal handler or callback.
 * Signals: only loads (heapd_load and its relaxed form, plain ones) may be used in a signal handler.
 *
 * The library uses one real-time signal. Its handler restarts what it interrupts (SA_RESTART), but
 * epoll_wait, poll, nanosleep and the timed waits return EINTR all the same; threads that are
 * offline are spared.
 *
 * Fields, objects and C++: an object is plain memory; no constructor or destructor runs. No class
 * with virtual functions and nothing that owns memory elsewhere (std::string) may live in the heap.
 *
 * Macros and bindings: every macro ends in an exported function of the same meaning. Where the
 * comment names none, the function behind heapd_foo() is heapd_foo_sym() (liburcu's convention).
 *
 * After vfork() no heapd function may be called. fork() and daemon() are handled: the child is a
 * client of its own. A child made by _Fork, vfork, posix_spawn, system, popen or a raw clone has no
 * heap: touching it is a SIGSEGV.
 */
#ifndef HEAPD_H
#define HEAPD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#define HEAPD_INLINE_            inline __attribute__((always_inline))
#define HEAPD_WORD_(field)       (static_cast<heapd_word_ *>(field))
#define HEAPD_CONST_WORD_(field) (static_cast<const heapd_word_ *>(field))
#define HEAPD_CHARS_(p)          (static_cast<char *>(p))
#define HEAPD_ADDRESS_(p)        (reinterpret_cast<uintptr_t>(p))
#define HEAPD_NULL_(T)           (static_cast<T *>(nullptr))
#else
#define HEAPD_INLINE_            static inline __attribute__((always_inline))
#define HEAPD_WORD_(field)       ((heapd_word_ *)(field))
#define HEAPD_CONST_WORD_(field) ((const heapd_word_ *)(field))
#define HEAPD_CHARS_(p)          ((char *)(p))
#define HEAPD_ADDRESS_(p)        ((uintptr_t)(p))
#define HEAPD_NULL_(T)           ((T *)0)
#endif

#define HEAPD_API          __attribute__((visibility("default")))
#define HEAPD_MUST_USE_    __attribute__((warn_unused_result))
#define HEAPD_UNLIKELY_(x) __builtin_expect(!!(x), 0)

#define HEAPD_VERSION_MAJOR 0
#define HEAPD_VERSION_MINOR 1
#define HEAPD_VERSION_PATCH 0
#define HEAPD_VERSION       (HEAPD_VERSION_MAJOR << 16 | HEAPD_VERSION_MINOR << 8 | HEAPD_VERSION_PATCH)

/* An attachment of this process to a heap. */
typedef struct heapd_heap heapd_heap;
/* A named kind of object: size, alignment, pointer fields. The idea is kmem_cache_create()'s. */
typedef struct heapd_type heapd_type;
/* A weak reference: leads to an object, and does not hold it. An object itself. */
typedef struct heapd_weak heapd_weak;
/* Memory that is allocated by bumping a pointer and given back at once. */
typedef struct heapd_arena heapd_arena;

/*
 * The type of a pointer field. With HEAPD_STRICT, meant for a build that checks, a plain store to one
 * does not compile; the code that comes out is the same.
 */
#ifdef HEAPD_STRICT
#define heapd_ptr(T) T *const
#else
#define heapd_ptr(T) T *
#endif

/* The first words of any structure that begins with its size: struct heapd_info i = HEAPD_SIZED(i); */
#ifdef __cplusplus
#define HEAPD_SIZED(variable) (heapd_sized_<decltype(variable)>())
#else
#define HEAPD_SIZED(variable)            \
	{                                \
		.size = sizeof(variable) \
	}
#endif

/* ---- Attach ------------------------------------------------------------------------------------ */

#define HEAPD_ATTACH_READ_ONLY     1u  /* map the heap read-only: no allocation, no store */
#define HEAPD_ATTACH_THREADS_AWAY  2u  /* threads are offline unless they say otherwise: see Threads */
#define HEAPD_ATTACH_FORK_DETACHED 4u  /* a child of fork() has no heap */
#define HEAPD_ATTACH_NO_WAIT       8u  /* nothing waits for a daemon that is away, or for supply: EAGAIN */
#define HEAPD_ATTACH_NO_RSEQ       16u /* allocate by compare-and-swap even where rseq works */

/* What a report is about: the kind that options.report gets. */
#define HEAPD_REPORT_DOUBLE_FREE 1
#define HEAPD_REPORT_BAD_FREE    2 /* foreign, interior or wild address given to heapd_free() */
#define HEAPD_REPORT_DAEMON_AWAY 3 /* the daemon has gone, and not come back for a while */
#define HEAPD_REPORT_SIGNAL      4 /* a thread blocks our signal, or its handler was replaced */
#define HEAPD_REPORT_CORRUPT     5 /* shared memory holds what no client may write */
#define HEAPD_REPORT_RULE        6 /* a rule for pointers was broken; looked for if HEAPD_DEBUG asks for it */
#define HEAPD_REPORT_OVERWRITTEN 7 /* of a hardened heap: what was free, or an object's end, was written to */

struct heapd_options {
	size_t size;                /* sizeof(struct heapd_options) */
	uint32_t flags;             /* HEAPD_ATTACH_* */
	int signal;                 /* real-time signal for handshakes; 0: one that nobody has taken */
	const char *socket;         /* of the daemon; NULL: $HEAPD_SOCKET, else the installed default */
	const char *client;         /* what this process calls itself, for people; NULL: the program's name */
	uint32_t attach_timeout_ms; /* 0: 10 s, as in the two below: the default */
	uint32_t supply_timeout_ms; /* how long an allocation waits for the daemon's supply */
	uint32_t request_timeout_ms; /* how long a request waits for the daemon's answer */
	/*
	 * Called with a HEAPD_REPORT_* and its sentence by the thread that met the trouble, inside its
	 * call; must not call heapd. NULL: a line on stderr.
	 */
	void (*report)(void *arg, int kind, const char *text);
	void *report_arg;
};

#define HEAPD_OPTIONS_DEFAULT                                                       \
	{                                                                           \
		sizeof(struct heapd_options), 0, 0, NULL, NULL, 0, 0, 0, NULL, NULL \
	}

HEAPD_INLINE_ struct heapd_options heapd_options_default(void)
{
	struct heapd_options options = HEAPD_OPTIONS_DEFAULT;

	return options;
}

/*
 * Attaches this process to the heap `name` and the calling thread with it. options may be NULL; the
 * strings in it are copied. Attaching again to the same heap counts; each needs its own detach.
 * The library's descriptors must stay open: a process that closes them (closefrom()) and goes on is ended (SIGKILL)
 * where the heap is collected, since nobody could ask it any more what it holds.
 * -ENOENT: the daemon has no such heap; -EAGAIN: no daemon answers at the socket; -EACCES: not allowed
 * in; -EBUSY: attached already to another heap, or to this one for reading only, or a second copy of the
 * library is loaded (one in another namespace, or without our soname, may go unseen), or the signal asked
 * for, or every real-time signal, has a handler;
 * -EADDRINUSE: the heap's addresses are taken here; -EPROTO: built for another layout than the daemon; -EUSERS: the
 * daemon has all the sessions that it may, or this user has; -EMFILE: no descriptors left; -ENAMETOOLONG: the
 * socket's path; -ENOSYS: no membarrier(2).
 */
HEAPD_API HEAPD_MUST_USE_ int heapd_attach(heapd_heap **heap, const char *name,
					   const struct heapd_options *options);

/*
 * Ends one attachment. With the last one the heap is unmapped: no thread may touch it any more, all
 * pins, types and arenas of the process end. Other threads need not be detached before: those that are
 * attached become unattached ones. None may be inside a heapd call.
 */
HEAPD_API int heapd_detach(heapd_heap *heap);

/*
 * The sentence for this thread's last failed call: what happened and what to do. Never NULL ("no
 * error" at first). Stands until this thread's next failure; belongs to the library. After dlerror().
 */
HEAPD_API const char *heapd_error(void);

/* HEAPD_VERSION of the library in use. */
HEAPD_API unsigned heapd_version(void);

/* ---- Types ------------------------------------------------------------------------------------- */

#define HEAPD_TYPE_SCAN      1u /* every aligned word may be a pointer; fields are not listed */
#define HEAPD_TYPE_NOSCAN    2u /* no pointers */
#define HEAPD_TYPE_FLEX      4u /* ends in a flexible array */
#define HEAPD_TYPE_FLEX_PTRS 8u /* of pointers; without it: of bytes without pointers */

/* One pointer field, or an array of them: `bytes` is a multiple of 8, `offset` too. */
struct heapd_type_field {
	uint32_t offset;
	uint32_t bytes;
};

struct heapd_type_desc {
	size_t size; /* sizeof(struct heapd_type_desc) */
	const char *name;
	size_t object_size; /* sizeof(T) */
	size_t align;       /* a power of two, at most 4096; less than 8 counts as 8 */
	uint32_t flags; /* HEAPD_TYPE_*; neither SCAN nor NOSCAN: the fields listed are all the pointers */
	uint32_t flex_elem; /* bytes of an element of the flexible array; of pointers 8 */
	size_t flex_at;     /* its offset */
	const struct heapd_type_field *fields;
	size_t nfields;
};

/*
 * Finds or creates a type; all macros below end here. A type is the heap's, not the process's: it
 * stays, and every process that defines it the same gets the same. The handle is this process's and
 * ends with detach. EEXIST: the name stands for a different definition (heapd_error() says what
 * differs); ENOSPC: the heap has its 1024 types; EINVAL: a field is not 8-byte aligned or not inside
 * the first 32 KiB of the object; EROFS: there is none yet, and the attachment is read-only. The
 * daemon is asked only if the heap has no such type yet.
 */
HEAPD_API heapd_type *heapd_type_define_desc(heapd_heap *heap, const struct heapd_type_desc *desc);

/* The type of that name, whoever defined it. ENOENT: there is none. Asks nobody: reads shared memory. */
HEAPD_API heapd_type *heapd_type_find(heapd_heap *heap, const char *name);

/* Its name; stands as long as the attachment. */
HEAPD_API const char *heapd_type_name(const heapd_type *type);

/* The two types that every heap has: what heapd_alloc() and heapd_alloc_leaf() allocate. */
HEAPD_API heapd_type *heapd_type_any(heapd_heap *heap);
HEAPD_API heapd_type *heapd_type_leaf(heapd_heap *heap);

/*
 * heapd_type_define(heap, "order", struct order, next, note)
 *     Up to 64 fields, each a pointer or an array of pointers (all of it is listed).
 * heapd_type_define(heap, "order", struct order)
 *     No fields named: every aligned word is looked at. Safe and slower; it does NOT mean "no pointers".
 * heapd_type_define_leaf(heap, "sample", struct sample)
 *     No pointers into the heap.
 * heapd_type_define_flex(heap, "node", struct node, tail, next, ...)
 *     `tail` is a flexible array. Its elements decide: pointers are listed, numbers are not. If they
 *     are structures that may hold pointers, or if no field is named, every word of the object is looked at.
 * heapd_type_define_leaf_flex(heap, "text", struct text, tail)
 *     Neither the object nor its flexible array has pointers.
 */

/* ---- Allocate ---------------------------------------------------------------------------------- */

/*
 * All memory is zeroed. A new object is held by the calling thread's stack or registers until it is
 * stored somewhere. NULL: ENOMEM, EAGAIN, EROFS, EINVAL (see the head). bytes may be 0: an object of
 * the smallest size. Objects of more than 32 KiB need a message to the daemon.
 */
HEAPD_API HEAPD_MUST_USE_ void *heapd_type_alloc(heapd_type *type, size_t size);
HEAPD_API HEAPD_MUST_USE_ void *heapd_type_alloc_array(heapd_type *type, size_t size, size_t n);
HEAPD_API HEAPD_MUST_USE_ void *heapd_type_alloc_flex(heapd_type *type, size_t size, size_t flex_at,
						      size_t flex_elem, size_t n);

/* Untyped: every aligned word of it may be a pointer. */
HEAPD_API HEAPD_MUST_USE_ void *heapd_alloc(heapd_heap *heap, size_t bytes);
/* Untyped, without pointers: text, numbers. */
HEAPD_API HEAPD_MUST_USE_ void *heapd_alloc_leaf(heapd_heap *heap, size_t bytes);
/* As heapd_alloc(), on a boundary of align: a power of two up to 2 MiB. */
HEAPD_API HEAPD_MUST_USE_ void *heapd_alloc_aligned(heapd_heap *heap, size_t bytes, size_t align);
/*
 * Up to n objects as from heapd_alloc(). out[] must lie on the calling thread's stack or in a root.
 * The count; if it is less than n, errno and heapd_error() say why.
 */
HEAPD_API HEAPD_MUST_USE_ size_t heapd_alloc_many(heapd_heap *heap, size_t bytes, size_t n, void **out);
/*
 * Makes an untyped object, an array or a flexible object larger or smaller; what it holds is kept,
 * what is added is zero. The object may move: then the old one is freed, so nobody else may hold
 * it. NULL allocates. On failure NULL, and the object is as it was. EINVAL: no such object begins there.
 */
HEAPD_API HEAPD_MUST_USE_ void *heapd_realloc(heapd_heap *heap, void *object, size_t bytes);
/* A copy of the text, in memory without pointers. */
HEAPD_API HEAPD_MUST_USE_ char *heapd_strdup(heapd_heap *heap, const char *text);
/* A copy of bytes that hold no pointer into the heap, as heapd_alloc_leaf(). */
HEAPD_API HEAPD_MUST_USE_ void *heapd_memdup(heapd_heap *heap, const void *bytes_from, size_t bytes);

/*
 * Gives an object back at once. Only for what nobody else can hold: on shared lock-free nodes it
 * would bring ABA back. NULL is allowed. 0; -EINVAL: not the start of an object (foreign, interior
 * or wild address); -EALREADY: free already. Either is reported and harms nothing.
 *
 * A double free is EALREADY while the slot is free and this call can see it: freed and not yet taken back,
 * in the daemon's stock, or in the slabs that this CPU allocates from. Elsewhere (another CPU's slabs, a
 * supply ring, another thread's hands) the call says 0; the daemon, or whoever takes the slot next, finds it
 * if the slot is still free then, drops it and counts it (heapd_info.double_frees). Once the slot has been
 * given out again, a double free frees the new owner's object, as with any allocator.
 *
 * In a hardened heap (Hardened= of heapd.conf(5)) a double free is EALREADY wherever the slot is by then, as long as it is free; and an object
 * whose end was overwritten is reported (HEAPD_REPORT_OVERWRITTEN) and freed.
 */
HEAPD_API int heapd_free(void *object);

/* Bytes usable from p to the end of the object that it points into; 0 and EINVAL if that is none. */
HEAPD_API size_t heapd_size(const void *p);
/* Its type; an untyped object's is heapd_type_any() or heapd_type_leaf(). NULL and EINVAL: in no object. */
HEAPD_API heapd_type *heapd_type_of(const void *p);
/* The heap whose memory p points into, or NULL. */
HEAPD_API heapd_heap *heapd_heap_of(const void *p);
/* The start of the object that p points into. NULL and EINVAL if p is in no object. */
HEAPD_API void *heapd_start_of(const void *p);

/*
 * T *heapd_new(type, T)                 one object; behind it heapd_type_alloc()
 * T *heapd_new_array(type, T, n)        n of them in a row; heapd_type_alloc_array()
 * T *heapd_new_flex(type, T, tail, n)   one, with n elements in its flexible array; heapd_type_alloc_flex()
 * Each checks that T is as large as the type's objects are, and tail where theirs is: NULL and EINVAL.
 */

/* ---- Fields ------------------------------------------------------------------------------------ */

/*
 * The store barrier, a hybrid of Yuasa's and Dijkstra's. `inside` is odd while the thread is inside
 * an operation, `on` says that a collection is under way. Before a thread's first store the pointer
 * leads to a gate of nobody's with `on` set, so that the first store takes the long way and attaches
 * the thread. Part of the ABI.
 */
struct heapd_gate_ {
	uint32_t on;
	uint32_t attached;
	uint64_t inside;
};
/* NOLINTNEXTLINE(cppcoreguidelines-avoid-non-const-global-variables): the inline barrier's one load */
extern HEAPD_API __thread struct heapd_gate_ *heapd_gate_ __attribute__((tls_model("initial-exec")));

/* A pointer field, whatever it points to. */
typedef void *heapd_word_ __attribute__((__may_alias__));

/*
 * What stands behind the macros, for bindings. `field` is the address of an 8-byte aligned pointer
 * word; `expected` of one on the caller's stack. Writing ones attach the calling thread if need be.
 * In a process without an attachment they are plain stores; if a thread cannot be attached (a
 * process has 1024), a collection under way is begun again.
 */
HEAPD_API void heapd_init_sym(void *field, void *value);
HEAPD_API void heapd_store_sym(void *field, void *value);
HEAPD_API void heapd_store_relaxed_sym(void *field, void *value);
HEAPD_API void heapd_store_pinned_sym(void *field, void *pin);
HEAPD_API void *heapd_load_sym(const void *field);
HEAPD_API void *heapd_load_relaxed_sym(const void *field);
HEAPD_API void *heapd_exchange_sym(void *field, void *value);
HEAPD_API void *heapd_exchange_relaxed_sym(void *field, void *value);
HEAPD_API bool heapd_cas_sym(void *field, void *expected, void *value);
HEAPD_API bool heapd_cas_relaxed_sym(void *field, void *expected, void *value);
HEAPD_API void heapd_move_sym(void *to, const void *from, size_t n);
HEAPD_API void heapd_zero_sym(void *from, size_t n);
HEAPD_API void *heapd_tag_sym(void *p, uintptr_t tag);
HEAPD_API void *heapd_untag_sym(void *p);
HEAPD_API uintptr_t heapd_tag_of_sym(const void *p);
HEAPD_API void heapd_keep_sym(const void *p);

/*
 * Plain writing of pointer words in between: memmove, qsort, sys/queue.h, foreign code. The range,
 * at most HEAPD_EDIT_MAX bytes, is of this thread alone until the end; nobody else writes or reads
 * it meanwhile. `start` and `bytes` are widened to whole words. At most four at a time.
 * -ENOSPC: four are open; -E2BIG: the range is too long; -EINVAL (end): none begins there.
 */
#define HEAPD_EDIT_MAX 65536u
HEAPD_API HEAPD_MUST_USE_ int heapd_edit_begin(void *start, size_t bytes);
HEAPD_API int heapd_edit_end(void *start);

/* ---- Roots ------------------------------------------------------------------------------------- */

/*
 * Named roots: entrances to the heap, the same for every process; setting one is a message to the
 * daemon, so they are not for traffic. They outlive the processes. A root has a type, its object's;
 * an object of another type is EPROTOTYPE.
 *
 * T *heapd_root(heap, "shop", T, type)   finds the root, or makes it with a new object of the type
 */
HEAPD_API HEAPD_MUST_USE_ void *heapd_root_sym(heapd_heap *heap, const char *name, size_t size,
					       heapd_type *type);

/* Its object; asks nobody. NULL with errno 0: it holds NULL. ENOENT: no such root. type NULL: any. */
HEAPD_API void *heapd_root_get(heapd_heap *heap, const char *name, heapd_type *type);
/* Makes it hold object (the start of one, or NULL); makes the root if there is none. */
HEAPD_API int heapd_root_set(heapd_heap *heap, const char *name, void *object);
/*
 * 1: it held what the pointer at `expected` (T **, on the stack) says, and holds object now.
 * 0: it did not; what it holds now stands at `expected`. EINVAL where that lies in the heap.
 */
HEAPD_API int heapd_root_cas(heapd_heap *heap, const char *name, void *expected, void *object);
/* Makes it hold object if the name is free or holds NULL. What it holds now, whoever won; NULL: failed. */
HEAPD_API void *heapd_root_offer(heapd_heap *heap, const char *name, void *object);

struct heapd_root_info {
	size_t size;   /* sizeof(struct heapd_root_info) */
	uint32_t next; /* 0 before the first call; the library's */
	uint32_t unused;
	char name[48];
	void *object; /* holds it only while the structure lies on an attached thread's stack */
	heapd_type *type;
	uint64_t version; /* counts the changes */
};
/* Lists the roots: 1: `info` is the next; 0: there are no more. */
HEAPD_API int heapd_root_next(heapd_heap *heap, struct heapd_root_info *info);

/*
 * T **heapd_pin(heap, p)
 *     A pointer word, a root of this process, that holds p. Its address may go anywhere: malloc,
 *     epoll_data, another thread. Changed with heapd_store(), read plainly. A child of fork() has its
 *     own at the same address. NULL: ENOSPC: a process has 1,048,576.
 * T *heapd_take(pin)
 *     What it holds; the pin ends. For the thread that receives the pin's address.
 * T **heapd_pin_field(heap, &o->next)
 *     A pin of what the field holds now. Also for a thread that is offline.
 * heapd_store_pinned(&o->next, pin)
 *     Stores what the pin holds. Also for a thread that is offline.
 */
HEAPD_API HEAPD_MUST_USE_ void *heapd_pin_sym(heapd_heap *heap, const void *p);
HEAPD_API HEAPD_MUST_USE_ void *heapd_pin_field_sym(heapd_heap *heap, const void *field);
HEAPD_API HEAPD_MUST_USE_ void *heapd_take_sym(void *pin);
/* Ends a pin. NULL is allowed. -EINVAL: no pin, or one that has ended. */
HEAPD_API int heapd_unpin(void *pin);

/*
 * A range of this process's memory whose aligned words are roots (globals, tables), written with
 * heapd_store(). It may not be unmapped while it is registered. -EEXIST: one begins there already;
 * -ENOSPC: a process has 1024 ranges and locals together; -EINVAL: not aligned to 8 bytes, empty, or
 * (remove) none begins there.
 */
HEAPD_API int heapd_range_add(heapd_heap *heap, void *start, size_t bytes);
HEAPD_API int heapd_range_remove(heapd_heap *heap, void *start);
/*
 * Memory that only the calling thread writes counts as its stack: thread_local variables, the stack of
 * a coroutine that never changes threads. Written plainly. Ends with the thread at the latest.
 */
HEAPD_API int heapd_local_add(heapd_heap *heap, void *start, size_t bytes);
HEAPD_API int heapd_local_remove(heapd_heap *heap, void *start);

/*
 * Hands an object to another process as text: a pipe, a message, pickle. The ticket holds the object
 * and ends when it is taken or after `seconds` (1 to 86400; 0: 60). -ENOSPC: `size` is less than
 * HEAPD_TICKET_SIZE, or the daemon holds too many.
 */
#define HEAPD_TICKET_SIZE 64u
HEAPD_API int heapd_ticket_issue(heapd_heap *heap, const void *object, char *text, size_t size,
				 unsigned seconds);
/* The object. NULL: ENOENT: taken already, too late, or never issued. */
HEAPD_API HEAPD_MUST_USE_ void *heapd_ticket_take(heapd_heap *heap, const char *text);

/* ---- Weak references, dead objects, events ----------------------------------------------------- */

/*
 * heapd_weak *heapd_weak_new(heap, p)
 *     A weak reference to the object that p points into. It is an object of 16 bytes, of the built-in type
 *     "(weak)", shared as any other, and has to be held as any other. heapd_free() may end it.
 * T *heapd_weak_get(weak, T)
 *     p, held from now on by the calling thread's stack, as what a field holds is. NULL with errno 0: the
 *     object has died; nobody sees an object that is about to be collected.
 *
 * What a collection finds held by weak references alone dies, at the latest with the second one. Of several
 * weak references to one object some may say NULL already when another, read in that very moment, still
 * keeps the object: then those go on saying NULL. A program that frees an object explicitly frees it for its
 * weak references, too: they must not be read any more.
 *
 * EINVAL (new): p is in no object, or has its lowest bit set (a tag); (get): no weak reference begins there.
 */
HEAPD_API HEAPD_MUST_USE_ heapd_weak *heapd_weak_new(heapd_heap *heap, const void *p);
HEAPD_API HEAPD_MUST_USE_ void *heapd_weak_get_sym(const heapd_weak *weak);

/*
 * From now on, and as long as the heap lives, objects of the type that die are not collected but queued, with all
 * that they lead to, until somebody takes them. No weak reference leads to them any more. Objects
 * that lead to one another are all queued, in no order. An object that is freed explicitly is not queued. Objects that
 * were made before this call, while a collection was under way, may not be either, if they die at once. Meant to be
 * called where the type is defined. EINVAL: a built-in type.
 */
HEAPD_API int heapd_type_watch_dead(heapd_type *type);
/*
 * One of the queue; each is given once, to one process, though that may die with it. It is an ordinary
 * object again, which can be stored and live on; when it dies again it is collected, and not queued. A message to the
 * daemon. NULL with errno 0: there is none.
 */
HEAPD_API HEAPD_MUST_USE_ void *heapd_type_next_dead(heapd_type *type);

#define HEAPD_EVENT_LOW 1 /* memory is short: drop something */
#define HEAPD_EVENT_DEAD \
	2 /* objects of `type` wait for heapd_type_next_dead(); or did, another process may be faster */
#define HEAPD_EVENT_CYCLE 3 /* a collection has ended: the `number`th of the heap */
#define HEAPD_EVENT_DAEMON_AWAY \
	4 /* the daemon has gone, and not come back within 2 s, or request_timeout_ms if that is less */
#define HEAPD_EVENT_DAEMON_BACK 5 /* ... and is there again */

struct heapd_event {
	size_t size; /* sizeof(struct heapd_event) */
	int kind;    /* HEAPD_EVENT_* */
	uint32_t unused;
	uint64_t number;
	heapd_type *type;
};
/*
 * A descriptor that is readable while events wait: for poll and event loops. It is the library's and ends with
 * detach: do not read or close it. A child of fork() has its own under the same number.
 */
HEAPD_API int heapd_event_fd(heapd_heap *heap);
/*
 * 1: `event` is the next; 0: there is none. Events are told from the first call of either function on. One that
 * is not taken becomes one with the next of its kind (and type), so none has to be.
 * LOW comes when a collection finds more than nine tenths of the limit alive, and when memory was refused.
 */
HEAPD_API HEAPD_MUST_USE_ int heapd_event_next(heapd_heap *heap, struct heapd_event *event);

/* ---- Threads ----------------------------------------------------------------------------------- */

/* Attaches the calling thread, as its first call would. 0 also if it was. -ENOSPC: a process has 1024. */
HEAPD_API int heapd_thread_attach(heapd_heap *heap);
/* Detaches it: it holds nothing any more. Happens by itself when the thread ends. -EBUSY: an edit is open. */
HEAPD_API int heapd_thread_detach(heapd_heap *heap);
/*
 * int heapd_thread_create(heap, pthread_t *, const pthread_attr_t *, void *(*start)(void *), void *arg)
 *     pthread_create() whose `arg` may be a heap pointer: it is held until the new thread holds it,
 *     which begins online. Needs <pthread.h> where it is used. -errno, as all here.
 */
HEAPD_API int heapd_thread_create_sym(heapd_heap *heap, void *thread, const void *attr,
				      void *(*start)(void *), void *arg);
/*
 * Offline and online (liburcu's words): a thread that is about to block, or to stay away from the
 * heap, goes offline: its registers and stack pointer are saved, and the stack above counts as it
 * was then. Until it is online again it may not read, write or hold anything new of the heap, nor
 * return from the function that called. A few nanoseconds each, no system call. Not counted: offline
 * twice is offline.
 *
 * It may call heapd: a call that needs it online brings it online for as long as it takes. What it gives to
 * a call must be held meanwhile, by what was saved or by a root; what a call returns is held by nothing
 * afterwards, unless it is a root (a pin, a named root). So a thread that is offline can free, pin
 * (heapd_pin_field()), unpin, and store what a pin holds (heapd_store_pinned(); a heapd_store() of what
 * nothing holds breaks rule 1). To allocate, or to follow pointers, it goes online first.
 *
 * With HEAPD_ATTACH_THREADS_AWAY, for bindings and plugins, each thread but those of heapd_thread_create()
 * is offline from the start, and its stack holds nothing until it has been online.
 */
HEAPD_API int heapd_thread_offline(heapd_heap *heap);
HEAPD_API int heapd_thread_online(heapd_heap *heap);

/* ---- Wait -------------------------------------------------------------------------------------- */

/*
 * A futex between clients, on a word in a heap object: blocks while *word == expected, offline
 * meanwhile. 0: woken, or *word differed (look again: it may be spurious). -ETIMEDOUT after
 * timeout_ms; negative: never. -EINTR: a signal. -EINVAL: word is not in the heap or not aligned.
 */
HEAPD_API int heapd_wait(heapd_heap *heap, uint32_t *word, uint32_t expected, int timeout_ms);
/* Wakes up to n that wait on word, in any process; how many of heapd_wait() there were. */
HEAPD_API int heapd_wake(heapd_heap *heap, uint32_t *word, int n);
/*
 * For event loops: a descriptor (close-on-exec, non-blocking) that becomes readable, once, when *word
 * differs from expected; at once if it does now. The caller closes it, before or after, and asks for
 * another to wait again. No heapd_wake() is needed. The agent thread looks at the word from time to
 * time, so it may take up to 10 ms, and a value that does not stay that long may be missed. The
 * object of the word is held meanwhile. -ENOSPC: 64 at a time.
 */
HEAPD_API HEAPD_MUST_USE_ int heapd_wait_fd(heapd_heap *heap, uint32_t *word, uint32_t expected);

/* ---- Control ----------------------------------------------------------------------------------- */

#define HEAPD_PATH_RSEQ 1u /* allocation by restartable sequences */
#define HEAPD_PATH_CAS  2u /* allocation by a 16-byte compare-and-swap */

/* Bytes unless said otherwise; counts are since the heap was made. Read without asking the daemon. */
struct heapd_info {
	size_t size;        /* sizeof(struct heapd_info) */
	char name[48];      /* of the heap */
	uint64_t base;      /* its first address, the same in every process. No object begins there */
	uint64_t heap_size; /* of its address space */
	uint64_t limit;     /* what may be committed */
	uint64_t committed;
	uint64_t in_spans; /* of that, cut for objects */
	uint64_t out;      /* of that, slots not free: allocated, or supplied to clients */
	uint64_t in_rings; /* of that, supplied and not taken yet */
	uint64_t session;  /* number of this process's session, never used again */
	uint64_t sessions; /* attached processes now */
	uint64_t deaths;   /* sessions that ended without a detach */
	uint64_t double_frees;
	uint64_t bad_frees;
	uint32_t path;       /* HEAPD_PATH_* of this process */
	uint32_t huge;       /* 0: no huge pages; 1: where they can be had; 2: hugetlb */
	uint32_t cpus;       /* that the heap has rows for */
	uint32_t collecting; /* 0: collection is off */
	uint32_t read_only;
	uint32_t daemon_away;
	uint64_t gc_cycles; /* collections that came to their end */
	uint64_t gc_live;   /* what the last of them found reachable */
	uint64_t gc_live_objects;
	uint64_t gc_goal;  /* the next is to end before so much is allocated */
	uint64_t gc_freed; /* by all of them */
	uint64_t gc_freed_objects;
	uint64_t gc_ns;           /* all of them together, from begin to end; programs run on meanwhile */
	uint64_t gc_pause_max_ns; /* processor time that a thread spent in its longest answer to one */
	/* This process's own, of all its threads that are and have been: what a pause is here, and what else it waits for. */
	uint64_t pauses;       /* answers to collections, with what its threads hold */
	uint64_t pause_ns;     /* its threads' processor time in them */
	uint64_t pause_max_ns; /* in the longest */
	uint64_t barrier_slow; /* stores and frees that found the barrier on: some nanoseconds each */
	uint64_t wait_ns;      /* for supply, on empty rings and at the limit */
	uint64_t overwrites; /* of a hardened heap: writes to what was free, or past an object's end, that were found */
};
/* Fills what info->size has room for. */
HEAPD_API int heapd_get_info(heapd_heap *heap, struct heapd_info *info);

/*
 * Settings by name ("gc.percent"), as text with a final NUL. -ENOENT: no such setting; -ERANGE: value
 * is too small; -EPERM, -EROFS, -EINVAL (set): not allowed to this user, not changeable at all; the value
 * makes no sense.
 */
HEAPD_API int heapd_get(heapd_heap *heap, const char *key, char *value, size_t size);
HEAPD_API int heapd_set(heapd_heap *heap, const char *key, const char *value);

/*
 * Runs a whole collection and waits for its end, offline. -ENOTSUP: collection is off; -EAGAIN: the daemon
 * went away meanwhile.
 */
HEAPD_API int heapd_collect(heapd_heap *heap);
/* Has a whole collection begin, soon, and does not wait for it. Errors as heapd_collect(). */
HEAPD_API int heapd_collect_start(heapd_heap *heap);
/* Returns when the daemon has taken back everything that was freed or handed back before the call. */
HEAPD_API int heapd_sync(heapd_heap *heap);

struct heapd_verify_result {
	size_t size;     /* sizeof(struct heapd_verify_result) */
	uint64_t faults; /* 0: clean */
	uint64_t pages, spans, slabs;
	uint64_t out, in_rings, in_currents, in_spares, freed_pending, allocated; /* bytes */
	char first[256]; /* what failed first, and where */
	uint64_t reachable,
		reachable_objects; /* bytes and objects that roots lead to, stacks and ranges aside */
	uint64_t dangling; /* pointers in them to what is free, where programs have freed by hand; else faults */
	char dangling_first[256]; /* where the first of them stands */
};
/* The daemon recomputes the heap's invariants. 0: clean; 1: there are faults, see result. */
HEAPD_API int heapd_verify(heapd_heap *heap, struct heapd_verify_result *result);
/*
 * What keeps an object alive, as text: the root, then type+offset of each field on the way, then the object:
 * root "shop" -> shop+0 -> order+16 -> order 0x110000002000. The length written, cut to fit. -ENOENT: nothing
 * does; -EINVAL: no object lies there.
 */
HEAPD_API int heapd_path_to(heapd_heap *heap, const void *object, char *text, size_t size);

/* ---- Arenas ------------------------------------------------------------------------------------ */

/*
 * Allocation by bumping a pointer, given back at once (Hanson's arenas). The memory grows in chunks
 * of `chunk` bytes (0: 64 KiB, doubling up to 1 MiB); words in it may be pointers; any pointer into
 * it keeps all of it. The handle belongs to this process and is used by one thread at a time.
 */
HEAPD_API HEAPD_MUST_USE_ heapd_arena *heapd_arena_create(heapd_heap *heap, size_t chunk);
/* Zeroed, aligned to 16 bytes. */
HEAPD_API HEAPD_MUST_USE_ void *heapd_arena_alloc(heapd_arena *arena, size_t bytes);
/* Frees all that was allocated from it, as heapd_free() does: nobody may hold any of it. The arena stays. */
HEAPD_API int heapd_arena_reset(heapd_arena *arena);
/* The same, and the arena ends. */
HEAPD_API int heapd_arena_destroy(heapd_arena *arena);

/* ---- What is inline ---------------------------------------------------------------------------- */

/*
 * An operation: begins by making `inside` odd, ends by making it even; `on` is read in between. A
 * compiler fence is enough between the two: the daemon looks only after a membarrier.
 */
HEAPD_INLINE_ uint64_t heapd_gate_enter_(struct heapd_gate_ *gate)
{
	uint64_t inside = __atomic_load_n(&gate->inside, __ATOMIC_RELAXED);

	__atomic_store_n(&gate->inside, inside + 1, __ATOMIC_RELAXED);
	__atomic_signal_fence(__ATOMIC_SEQ_CST);
	return inside + 2;
}
HEAPD_INLINE_ void heapd_gate_leave_(struct heapd_gate_ *gate, uint64_t inside)
{
	__atomic_store_n(&gate->inside, inside, __ATOMIC_RELEASE);
}
HEAPD_INLINE_ bool heapd_gate_on_(const struct heapd_gate_ *gate)
{
	return HEAPD_UNLIKELY_(__atomic_load_n(&gate->on, __ATOMIC_RELAXED));
}
/*
 * Enters, with the barrier off. False: it is on, and the gate is left. What counts is the look from within; the one
 * before it saves the way in and out to those who find it on.
 */
HEAPD_INLINE_ bool heapd_gate_enter_off_(struct heapd_gate_ *gate, uint64_t *inside)
{
	if (heapd_gate_on_(gate))
		return false;
	*inside = heapd_gate_enter_(gate);
	if (!heapd_gate_on_(gate))
		return true;
	heapd_gate_leave_(gate, *inside);
	return false;
}

HEAPD_INLINE_ void heapd_init_word_(void *field, void *value)
{
	__atomic_store_n(HEAPD_WORD_(field), value, __ATOMIC_RELAXED);
}
HEAPD_INLINE_ void *heapd_load_word_(const void *field)
{
	return __atomic_load_n(HEAPD_CONST_WORD_(field), __ATOMIC_ACQUIRE);
}
HEAPD_INLINE_ void *heapd_load_relaxed_word_(const void *field)
{
	return __atomic_load_n(HEAPD_CONST_WORD_(field), __ATOMIC_RELAXED);
}

/* The three operations; `order` is a constant. With the barrier on, the function behind does it all anew. */
HEAPD_INLINE_ void heapd_store_word_(void *field, void *value, int order)
{
	struct heapd_gate_ *gate = heapd_gate_;
	uint64_t inside;

	if (HEAPD_UNLIKELY_(!heapd_gate_enter_off_(gate, &inside))) {
		heapd_store_sym(field, value);
		return;
	}
	__atomic_store_n(HEAPD_WORD_(field), value, order);
	heapd_gate_leave_(gate, inside);
}

HEAPD_INLINE_ void *heapd_exchange_word_(void *field, void *value, int order)
{
	struct heapd_gate_ *gate = heapd_gate_;
	uint64_t inside;
	void *old;

	if (HEAPD_UNLIKELY_(!heapd_gate_enter_off_(gate, &inside)))
		return heapd_exchange_sym(field, value);
	old = __atomic_exchange_n(HEAPD_WORD_(field), value, order);
	heapd_gate_leave_(gate, inside);
	return old;
}

HEAPD_INLINE_ bool heapd_cas_word_(void *field, void *expected, void *value, int order, int failed)
{
	struct heapd_gate_ *gate = heapd_gate_;
	uint64_t inside;
	bool done;

	if (HEAPD_UNLIKELY_(!heapd_gate_enter_off_(gate, &inside)))
		return heapd_cas_sym(field, expected, value);
	done = __atomic_compare_exchange_n(HEAPD_WORD_(field), HEAPD_WORD_(expected), value, false, order,
					   failed);
	heapd_gate_leave_(gate, inside);
	return done;
}

/*
 * Tags: up to three bits below the alignment, kept in a pointer word. A tagged pointer to an object's
 * start still holds the object.
 */
#define HEAPD_TAG_MASK 7u
HEAPD_INLINE_ void *heapd_tag_word_(void *p, uintptr_t tag)
{
	return HEAPD_CHARS_(p) + (tag & HEAPD_TAG_MASK);
}
HEAPD_INLINE_ uintptr_t heapd_tag_of_word_(const void *p)
{
	return HEAPD_ADDRESS_(p) & HEAPD_TAG_MASK;
}
HEAPD_INLINE_ void *heapd_untag_word_(void *p)
{
	return HEAPD_CHARS_(p) - heapd_tag_of_word_(p);
}

/* Up to here the object that p points into, or just past, is held, whatever the compiler makes of p. */
HEAPD_INLINE_ void heapd_keep(const void *p)
{
	__asm__ volatile("" : : "r"(p) : "memory");
}

#ifdef __cplusplus
}
#endif

/*
 * The typed forms. `field` is the address of a pointer field (T **). Of a value that does not fit, C
 * compilers warn, C++ compilers refuse.
 *
 * heapd_init(field, value)          first value of a field that is NULL in an object nobody else can see
 * heapd_store(field, value)         release
 * T *heapd_load(field)              acquire
 * T *heapd_exchange(field, value)   acquire and release; what was there
 * bool heapd_cas(field, T **expected, value)
 *                                   C11's strong compare-and-exchange: acquire and release; on failure
 *                                   acquire, and *expected is what was there
 * heapd_..._relaxed(...)            store, load, exchange and cas in no order
 * heapd_move(to, from, n)           n pointers, as memmove: the two may overlap
 * heapd_zero(from, n)               n pointers become NULL
 * heapd_store_pinned(field, pin)    *pin, also by a thread that is offline
 * T *heapd_tag(p, bits), T *heapd_untag(p), uintptr_t heapd_tag_of(p)
 * heapd_keep(p)                     holds until here
 *
 * A pointer one past the end of an object counts on the stack, not in a field: what must hold the
 * object there points into it.
 */
#ifndef __cplusplus

/* What a field holds: without array, const and _Atomic; not a pointer: a warning. */
#define HEAPD_POINTER_(field) __typeof__(1 ? *(field) : (void *)0)
/* A value as the field would take it: an initialiser is checked as an assignment is. */
#define HEAPD_VALUE_(field, value) ((void *)(uintptr_t)(HEAPD_POINTER_(field)){ (value) })
#ifdef HEAPD_STRICT
#define HEAPD_FIELD_(field) ((void *)(uintptr_t)(field))
#else
/* The assignment is not evaluated: it refuses fields that are const. */
#define HEAPD_FIELD_(field) ((void *)((uintptr_t)(field) + 0 * sizeof(*(field) = *(field))))
#endif
#define HEAPD_SAME_(field, other) (1 ? (other) : (HEAPD_POINTER_(field) *)0)

#define heapd_init(field, value) heapd_init_word_(HEAPD_FIELD_(field), HEAPD_VALUE_(field, value))
#define heapd_store(field, value) \
	heapd_store_word_(HEAPD_FIELD_(field), HEAPD_VALUE_(field, value), __ATOMIC_RELEASE)
#define heapd_store_relaxed(field, value) \
	heapd_store_word_(HEAPD_FIELD_(field), HEAPD_VALUE_(field, value), __ATOMIC_RELAXED)
#define heapd_store_pinned(field, pin) heapd_store_pinned_sym(HEAPD_FIELD_(field), HEAPD_SAME_(field, pin))
#define heapd_load(field)              ((HEAPD_POINTER_(field))heapd_load_word_((const void *)(uintptr_t)(field)))
#define heapd_load_relaxed(field) \
	((HEAPD_POINTER_(field))heapd_load_relaxed_word_((const void *)(uintptr_t)(field)))
#define heapd_exchange(field, value)                                                                  \
	((HEAPD_POINTER_(field))heapd_exchange_word_(HEAPD_FIELD_(field), HEAPD_VALUE_(field, value), \
						     __ATOMIC_ACQ_REL))
#define heapd_exchange_relaxed(field, value)                                                          \
	((HEAPD_POINTER_(field))heapd_exchange_word_(HEAPD_FIELD_(field), HEAPD_VALUE_(field, value), \
						     __ATOMIC_RELAXED))
#define heapd_cas(field, expected, value)                                                              \
	heapd_cas_word_(HEAPD_FIELD_(field), HEAPD_SAME_(field, expected), HEAPD_VALUE_(field, value), \
			__ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE)
#define heapd_cas_relaxed(field, expected, value)                                                      \
	heapd_cas_word_(HEAPD_FIELD_(field), HEAPD_SAME_(field, expected), HEAPD_VALUE_(field, value), \
			__ATOMIC_RELAXED, __ATOMIC_RELAXED)
#define heapd_move(to, from, n) \
	heapd_move_sym(HEAPD_FIELD_(to), (const void *)(uintptr_t)(1 ? (from) : (to)), (n))
#define heapd_zero(from, n) \
	heapd_zero_sym((void *)((uintptr_t)(from) + 0 * sizeof(HEAPD_POINTER_(from))), (n))
#define heapd_tag(p, bits) ((__typeof__(1 ? (p) : (p)))heapd_tag_word_((void *)(uintptr_t)(p), (bits)))
#define heapd_untag(p)     ((__typeof__(1 ? (p) : (p)))heapd_untag_word_((void *)(uintptr_t)(p)))
#define heapd_tag_of(p)    heapd_tag_of_word_(p)

#define heapd_pin(heap, p) ((__typeof__(1 ? (p) : (p)) *)heapd_pin_sym((heap), (p)))
#define heapd_pin_field(heap, field) \
	((HEAPD_POINTER_(field) *)heapd_pin_field_sym((heap), (const void *)(uintptr_t)(field)))
#define heapd_take(pin) ((HEAPD_POINTER_(pin))heapd_take_sym((void *)(uintptr_t)(pin)))

#define heapd_weak_get(weak, T)     ((T *)heapd_weak_get_sym(weak))
#define heapd_new(type, T)          ((T *)heapd_type_alloc((type), sizeof(T)))
#define heapd_new_array(type, T, n) ((T *)heapd_type_alloc_array((type), sizeof(T), (n)))
#define heapd_new_flex(type, T, tail, n) \
	((T *)heapd_type_alloc_flex((type), sizeof(T), offsetof(T, tail), sizeof(((T *)0)->tail[0]), (n)))
#define heapd_root(heap, name, T, type) ((T *)heapd_root_sym((heap), (name), sizeof(T), (type)))

/* A row {offset, bytes} of a type's table for each field; a row of zeros ends it. */
#define HEAPD_CLASS_POINTER_ 5 /* what __builtin_classify_type() says */
#define HEAPD_CLASS_RECORD_  12
#define HEAPD_CLASS_UNION_   13
#define HEAPD_DECAYED_(x)    __typeof__(((void)0, (x))) /* ?: would promote a char */
#define HEAPD_IS_ARRAY_(x)                                                  \
	(!__builtin_types_compatible_p(__typeof__(x), HEAPD_DECAYED_(x)) && \
	 !__builtin_types_compatible_p(__typeof__(x), _Atomic(HEAPD_DECAYED_(x))))
/* The element of an array; what is no array is its own. */
#define HEAPD_ELEMENT_(x)         (*__builtin_choose_expr(HEAPD_IS_ARRAY_(x), (x), &(x)))
#define HEAPD_IS_CLASS_(x, class) (__builtin_classify_type(x) == HEAPD_CLASS_##class##_)
#define HEAPD_IS_POINTER_(x)      (HEAPD_IS_CLASS_(x, POINTER) && !HEAPD_IS_ARRAY_(x))
/* Also for arrays of arrays. */
#define HEAPD_POINTS_(x) HEAPD_IS_POINTER_(HEAPD_ELEMENT_(HEAPD_ELEMENT_(x)))
#define HEAPD_REQUIRE_(condition, text)           \
	(0 * sizeof(struct {                      \
		 _Static_assert(condition, text); \
		 char heapd_unused_;              \
	 }))
#define HEAPD_MEMBER_(T, f) (((T *)0)->f)
#define HEAPD_ROW_(T, f)                                                                                    \
	{ (uint32_t)(offsetof(T, f) + HEAPD_REQUIRE_(HEAPD_POINTS_(HEAPD_MEMBER_(T, f)),                    \
						     #f " is neither a pointer nor an array of pointers")), \
	  (uint32_t)sizeof(HEAPD_MEMBER_(T, f)) },
#define HEAPD_TAIL_SIZE_(T, tail) sizeof(HEAPD_MEMBER_(T, tail)[0])
#define HEAPD_IS_RECORD_(x)       (HEAPD_IS_CLASS_(x, RECORD) || HEAPD_IS_CLASS_(x, UNION))
#define HEAPD_MAY_POINT_(x)                             \
	(HEAPD_IS_CLASS_(HEAPD_ELEMENT_(x), POINTER) || \
	 (HEAPD_IS_RECORD_(HEAPD_ELEMENT_(x)) && __alignof__(x) >= sizeof(void *)))
#define HEAPD_TAIL_FLAGS_(T, tail)                                                               \
	(HEAPD_TYPE_FLEX | (HEAPD_IS_POINTER_(HEAPD_MEMBER_(T, tail)[0])  ? HEAPD_TYPE_FLEX_PTRS \
			    : HEAPD_MAY_POINT_(HEAPD_MEMBER_(T, tail)[0]) ? HEAPD_TYPE_SCAN      \
									  : 0u))
#define HEAPD_DEFINE_(heap, name, T, flags, at, elem, n, ...)                                          \
	heapd_type_define_desc((heap),                                                                 \
			       &(const struct heapd_type_desc){                                        \
				       sizeof(struct heapd_type_desc), (name), sizeof(T), _Alignof(T), \
				       (flags), (uint32_t)(elem), (at),                                \
				       (const struct heapd_type_field[]){ __VA_ARGS__{ 0, 0 } }, (n) })

#else /* C++ */

#ifdef HEAPD_STRICT
#define HEAPD_FIELD_(T) T *const *
#else
#define HEAPD_FIELD_(T) T **
#endif

template <typename T> inline T heapd_sized_()
{
	T zeroed{};

	zeroed.size = sizeof(T);
	return zeroed;
}

/* Such a parameter takes part in no deduction: NULL and derived classes convert, the rest is refused. */
template <typename T> struct heapd_given_ {
	typedef T *pointer;
	typedef T **place;
};
#define HEAPD_GIVEN_(T) typename heapd_given_<T>::pointer

template <typename T> inline void *heapd_field_(T *const *field)
{
	return const_cast<T **>(field);
}
template <typename T> inline void *heapd_value_(T *value)
{
	return const_cast<void *>(static_cast<const void *>(value));
}

template <typename T> inline void heapd_init(HEAPD_FIELD_(T) field, HEAPD_GIVEN_(T) value)
{
	heapd_init_word_(heapd_field_(field), heapd_value_(value));
}
template <typename T> inline void heapd_store(HEAPD_FIELD_(T) field, HEAPD_GIVEN_(T) value)
{
	heapd_store_word_(heapd_field_(field), heapd_value_(value), __ATOMIC_RELEASE);
}
template <typename T> inline void heapd_store_relaxed(HEAPD_FIELD_(T) field, HEAPD_GIVEN_(T) value)
{
	heapd_store_word_(heapd_field_(field), heapd_value_(value), __ATOMIC_RELAXED);
}
template <typename T>
inline void heapd_store_pinned(HEAPD_FIELD_(T) field, typename heapd_given_<T>::place pin)
{
	heapd_store_pinned_sym(heapd_field_(field), pin);
}
template <typename T> inline T *heapd_load(T *const *field)
{
	return static_cast<T *>(heapd_load_word_(field));
}
template <typename T> inline T *heapd_load_relaxed(T *const *field)
{
	return static_cast<T *>(heapd_load_relaxed_word_(field));
}
template <typename T> inline T *heapd_exchange(HEAPD_FIELD_(T) field, HEAPD_GIVEN_(T) value)
{
	return static_cast<T *>(
		heapd_exchange_word_(heapd_field_(field), heapd_value_(value), __ATOMIC_ACQ_REL));
}
template <typename T> inline T *heapd_exchange_relaxed(HEAPD_FIELD_(T) field, HEAPD_GIVEN_(T) value)
{
	return static_cast<T *>(
		heapd_exchange_word_(heapd_field_(field), heapd_value_(value), __ATOMIC_RELAXED));
}
template <typename T>
inline bool heapd_cas(HEAPD_FIELD_(T) field, typename heapd_given_<T>::place expected, HEAPD_GIVEN_(T) value)
{
	return heapd_cas_word_(heapd_field_(field), expected, heapd_value_(value), __ATOMIC_ACQ_REL,
			       __ATOMIC_ACQUIRE);
}
template <typename T>
inline bool heapd_cas_relaxed(HEAPD_FIELD_(T) field, typename heapd_given_<T>::place expected,
			      HEAPD_GIVEN_(T) value)
{
	return heapd_cas_word_(heapd_field_(field), expected, heapd_value_(value), __ATOMIC_RELAXED,
			       __ATOMIC_RELAXED);
}
template <typename T> inline void heapd_move(HEAPD_FIELD_(T) to, T *const *from, size_t n)
{
	heapd_move_sym(heapd_field_(to), from, n);
}
template <typename T> inline void heapd_zero(HEAPD_FIELD_(T) from, size_t n)
{
	heapd_zero_sym(heapd_field_(from), n);
}
template <typename T> inline T *heapd_tag(T *p, uintptr_t bits)
{
	return static_cast<T *>(heapd_tag_word_(heapd_value_(p), bits));
}
template <typename T> inline T *heapd_untag(T *p)
{
	return static_cast<T *>(heapd_untag_word_(heapd_value_(p)));
}
inline uintptr_t heapd_tag_of(const void *p)
{
	return heapd_tag_of_word_(p);
}

template <typename T> HEAPD_MUST_USE_ inline T **heapd_pin(heapd_heap *heap, T *p)
{
	return static_cast<T **>(heapd_pin_sym(heap, p));
}
template <typename T> HEAPD_MUST_USE_ inline T **heapd_pin_field(heapd_heap *heap, T *const *field)
{
	return static_cast<T **>(heapd_pin_field_sym(heap, field));
}
template <typename T> HEAPD_MUST_USE_ inline T *heapd_take(T **pin)
{
	return static_cast<T *>(heapd_take_sym(pin));
}

#define heapd_weak_get(weak, T) (static_cast<T *>(heapd_weak_get_sym(weak)))

/* What may live in the heap: no destructor runs there, and a table of virtual functions is one process's. */
template <typename T> struct heapd_plain_ {
	static_assert(__has_trivial_destructor(T), "heapd runs no destructors");
	static_assert(!__is_polymorphic(T), "virtual functions do not work across processes");
	enum : size_t { size = sizeof(T), align = alignof(T) };
};
#define heapd_new(type, T)      (static_cast<T *>(heapd_type_alloc((type), heapd_plain_<T>::size)))
#define heapd_new_array(type, T, n) \
	(static_cast<T *>(heapd_type_alloc_array((type), heapd_plain_<T>::size, (n))))
#define heapd_new_flex(type, T, tail, n)                                                          \
	(static_cast<T *>(heapd_type_alloc_flex((type), heapd_plain_<T>::size, offsetof(T, tail), \
						HEAPD_TAIL_SIZE_(T, tail), (n))))
#define heapd_root(heap, name, T, type) \
	(static_cast<T *>(heapd_root_sym((heap), (name), heapd_plain_<T>::size, (type))))

/* Pointers and arrays of them; cv as it may be. */
template <typename T> struct heapd_kind_ {
	enum : bool { pointer = false, record = __is_class(T) || __is_union(T) };
};
template <typename T> struct heapd_kind_<T *> {
	enum : bool { pointer = true, record = false };
};
template <typename T> struct heapd_kind_<const T> : heapd_kind_<T> {
};
template <typename T> struct heapd_kind_<volatile T> : heapd_kind_<T> {
};
template <typename T> struct heapd_kind_<const volatile T> : heapd_kind_<T> {
};
template <typename T> struct heapd_kind_<T &> : heapd_kind_<T> {
};
template <typename T, size_t n> struct heapd_kind_<T[n]> : heapd_kind_<T> {
};
template <typename T, size_t n> struct heapd_kind_<const T[n]> : heapd_kind_<T> {
};

template <typename F> constexpr heapd_type_field heapd_row_(size_t offset)
{
	static_assert(heapd_kind_<F>::pointer, "a field is neither a pointer nor an array of pointers");
	return heapd_type_field{ static_cast<uint32_t>(offset), static_cast<uint32_t>(sizeof(F)) };
}
/* E: what tail[0] is, a reference. */
template <typename E> struct heapd_tail_;
template <typename E> struct heapd_tail_<E &> {
	enum : bool {
		points = heapd_kind_<E>::pointer || (heapd_kind_<E>::record && alignof(E) >= sizeof(void *))
	};
	enum : uint32_t {
		flags = HEAPD_TYPE_FLEX |
			(heapd_kind_<E>::pointer && sizeof(E) == sizeof(void *) ? HEAPD_TYPE_FLEX_PTRS
			 : points                                               ? HEAPD_TYPE_SCAN
										: 0u)
	};
};
template <typename T, typename... Rows>
inline heapd_type *heapd_define_(heapd_heap *heap, const char *name, uint32_t flags, size_t at, size_t elem,
				 size_t n, Rows... rows)
{
	const heapd_type_field fields[] = { rows... };
	const heapd_type_desc desc = { sizeof(desc),
				       name,
				       heapd_plain_<T>::size,
				       heapd_plain_<T>::align,
				       flags,
				       static_cast<uint32_t>(elem),
				       at,
				       fields,
				       n };

	return heapd_type_define_desc(heap, &desc);
}
#define HEAPD_MEMBER_(T, f)       (static_cast<T *>(nullptr)->f)
#define HEAPD_ROW_(T, f)          heapd_row_<decltype(static_cast<T *>(nullptr)->f)>(offsetof(T, f)),
#define HEAPD_TAIL_SIZE_(T, tail) sizeof(HEAPD_MEMBER_(T, tail)[0])
#define HEAPD_TAIL_FLAGS_(T, tail) \
	static_cast<uint32_t>(heapd_tail_<decltype(HEAPD_MEMBER_(T, tail)[0])>::flags)
#define HEAPD_DEFINE_(heap, name, T, flags, at, elem, n, ...) \
	heapd_define_<T>((heap), (name), (flags), (at), (elem), (n), __VA_ARGS__ heapd_type_field{ 0, 0 })

#endif

/* Both languages. The type, or the tail, is the first of `...`, so that this is never empty. */
#define heapd_type_define(heap, name, ...)                                                             \
	HEAPD_DEFINE_(heap, name, HEAPD_FIRST_(__VA_ARGS__, ~),                                        \
		      HEAPD_SCAN_IF_NONE_(HEAPD_COUNT_(__VA_ARGS__)), 0, 0, HEAPD_COUNT_(__VA_ARGS__), \
		      HEAPD_ROWS_(HEAPD_COUNT_(__VA_ARGS__), __VA_ARGS__, ~))
#define heapd_type_define_leaf(heap, name, T) HEAPD_DEFINE_(heap, name, T, HEAPD_TYPE_NOSCAN, 0, 0, 0, )
#define heapd_type_define_flex(heap, name, T, ...)                                                  \
	HEAPD_DEFINE_(heap, name, T,                                                                \
		      HEAPD_SCAN_IF_NONE_(HEAPD_COUNT_(__VA_ARGS__)) |                              \
			      HEAPD_TAIL_FLAGS_(T, HEAPD_FIRST_(__VA_ARGS__, ~)),                   \
		      offsetof(T, HEAPD_FIRST_(__VA_ARGS__, ~)),                                    \
		      HEAPD_TAIL_SIZE_(T, HEAPD_FIRST_(__VA_ARGS__, ~)), HEAPD_COUNT_(__VA_ARGS__), \
		      HEAPD_TAIL_ROWS_(HEAPD_COUNT_(__VA_ARGS__), T, __VA_ARGS__, ~))
#define heapd_type_define_leaf_flex(heap, name, T, tail)                                     \
	HEAPD_DEFINE_(heap, name, T, HEAPD_TYPE_NOSCAN | HEAPD_TYPE_FLEX, offsetof(T, tail), \
		      HEAPD_TAIL_SIZE_(T, tail), 0, )
#define heapd_thread_create(heap, thread, attr, start, arg)                      \
	heapd_thread_create_sym((heap), (1 ? (thread) : HEAPD_NULL_(pthread_t)), \
				(1 ? (attr) : HEAPD_NULL_(const pthread_attr_t)), (start), (arg))

#define HEAPD_SCAN_IF_NONE_(n)                ((n) == 0 ? HEAPD_TYPE_SCAN : 0u)
#define HEAPD_FIRST_(first, ...)              first
#define HEAPD_JOIN_(a, b)                     HEAPD_JOIN_NOW_(a, b)
#define HEAPD_JOIN_NOW_(a, b)                 a##b
#define HEAPD_ROWS_(n, ...)                   HEAPD_JOIN_(HEAPD_ROWS_, n)(__VA_ARGS__)
#define HEAPD_TAIL_ROWS_(n, T, ...)           HEAPD_TAIL_ROWS_NOW_(n, T, __VA_ARGS__)
#define HEAPD_TAIL_ROWS_NOW_(n, T, tail, ...) HEAPD_ROWS_(n, T, __VA_ARGS__)

/* How many follow the first of `...`: 0 to 64. */
#define HEAPD_COUNT_(...)                                                                                    \
	HEAPD_66TH_(__VA_ARGS__, 64, 63, 62, 61, 60, 59, 58, 57, 56, 55, 54, 53, 52, 51, 50, 49, 48, 47, 46, \
		    45, 44, 43, 42, 41, 40, 39, 38, 37, 36, 35, 34, 33, 32, 31, 30, 29, 28, 27, 26, 25, 24,  \
		    23, 22, 21, 20, 19, 18, 17, 16, 15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0, ~)
#define HEAPD_66TH_(a0, a1, a2, a3, a4, a5, a6, a7, a8, a9, a10, a11, a12, a13, a14, a15, a16, a17, a18, \
		    a19, a20, a21, a22, a23, a24, a25, a26, a27, a28, a29, a30, a31, a32, a33, a34, a35, \
		    a36, a37, a38, a39, a40, a41, a42, a43, a44, a45, a46, a47, a48, a49, a50, a51, a52, \
		    a53, a54, a55, a56, a57, a58, a59, a60, a61, a62, a63, a64, n, ...)                  \
	n

/* One row for each of n fields; what follows them is ignored. */
#define HEAPD_ROWS_0(T, ...)
#define HEAPD_ROWS_1(T, f, ...)  HEAPD_ROW_(T, f)
#define HEAPD_ROWS_2(T, f, ...)  HEAPD_ROW_(T, f) HEAPD_ROWS_1(T, __VA_ARGS__)
#define HEAPD_ROWS_3(T, f, ...)  HEAPD_ROW_(T, f) HEAPD_ROWS_2(T, __VA_ARGS__)
#define HEAPD_ROWS_4(T, f, ...)  HEAPD_ROW_(T, f) HEAPD_ROWS_3(T, __VA_ARGS__)
#define HEAPD_ROWS_5(T, f, ...)  HEAPD_ROW_(T, f) HEAPD_ROWS_4(T, __VA_ARGS__)
#define HEAPD_ROWS_6(T, f, ...)  HEAPD_ROW_(T, f) HEAPD_ROWS_5(T, __VA_ARGS__)
#define HEAPD_ROWS_7(T, f, ...)  HEAPD_ROW_(T, f) HEAPD_ROWS_6(T, __VA_ARGS__)
#define HEAPD_ROWS_8(T, f, ...)  HEAPD_ROW_(T, f) HEAPD_ROWS_7(T, __VA_ARGS__)
#define HEAPD_ROWS_9(T, f, ...)  HEAPD_ROW_(T, f) HEAPD_ROWS_8(T, __VA_ARGS__)
#define HEAPD_ROWS_10(T, f, ...) HEAPD_ROW_(T, f) HEAPD_ROWS_9(T, __VA_ARGS__)
#define HEAPD_ROWS_11(T, f, ...) HEAPD_ROW_(T, f) HEAPD_ROWS_10(T, __VA_ARGS__)
#define HEAPD_ROWS_12(T, f, ...) HEAPD_ROW_(T, f) HEAPD_ROWS_11(T, __VA_ARGS__)
#define HEAPD_ROWS_13(T, f, ...) HEAPD_ROW_(T, f) HEAPD_ROWS_12(T, __VA_ARGS__)
#define HEAPD_ROWS_14(T, f, ...) HEAPD_ROW_(T, f) HEAPD_ROWS_13(T, __VA_ARGS__)
#define HEAPD_ROWS_15(T, f, ...) HEAPD_ROW_(T, f) HEAPD_ROWS_14(T, __VA_ARGS__)
#define HEAPD_ROWS_16(T, f, ...) HEAPD_ROW_(T, f) HEAPD_ROWS_15(T, __VA_ARGS__)
#define HEAPD_ROWS_17(T, f, ...) HEAPD_ROW_(T, f) HEAPD_ROWS_16(T, __VA_ARGS__)
#define HEAPD_ROWS_18(T, f, ...) HEAPD_ROW_(T, f) HEAPD_ROWS_17(T, __VA_ARGS__)
#define HEAPD_ROWS_19(T, f, ...) HEAPD_ROW_(T, f) HEAPD_ROWS_18(T, __VA_ARGS__)
#define HEAPD_ROWS_20(T, f, ...) HEAPD_ROW_(T, f) HEAPD_ROWS_19(T, __VA_ARGS__)
#define HEAPD_ROWS_21(T, f, ...) HEAPD_ROW_(T, f) HEAPD_ROWS_20(T, __VA_ARGS__)
#define HEAPD_ROWS_22(T, f, ...) HEAPD_ROW_(T, f) HEAPD_ROWS_21(T, __VA_ARGS__)
#define HEAPD_ROWS_23(T, f, ...) HEAPD_ROW_(T, f) HEAPD_ROWS_22(T, __VA_ARGS__)
#define HEAPD_ROWS_24(T, f, ...) HEAPD_ROW_(T, f) HEAPD_ROWS_23(T, __VA_ARGS__)
#define HEAPD_ROWS_25(T, f, ...) HEAPD_ROW_(T, f) HEAPD_ROWS_24(T, __VA_ARGS__)
#define HEAPD_ROWS_26(T, f, ...) HEAPD_ROW_(T, f) HEAPD_ROWS_25(T, __VA_ARGS__)
#define HEAPD_ROWS_27(T, f, ...) HEAPD_ROW_(T, f) HEAPD_ROWS_26(T, __VA_ARGS__)
#define HEAPD_ROWS_28(T, f, ...) HEAPD_ROW_(T, f) HEAPD_ROWS_27(T, __VA_ARGS__)
#define HEAPD_ROWS_29(T, f, ...) HEAPD_ROW_(T, f) HEAPD_ROWS_28(T, __VA_ARGS__)
#define HEAPD_ROWS_30(T, f, ...) HEAPD_ROW_(T, f) HEAPD_ROWS_29(T, __VA_ARGS__)
#define HEAPD_ROWS_31(T, f, ...) HEAPD_ROW_(T, f) HEAPD_ROWS_30(T, __VA_ARGS__)
#define HEAPD_ROWS_32(T, f, ...) HEAPD_ROW_(T, f) HEAPD_ROWS_31(T, __VA_ARGS__)
#define HEAPD_ROWS_33(T, f, ...) HEAPD_ROW_(T, f) HEAPD_ROWS_32(T, __VA_ARGS__)
#define HEAPD_ROWS_34(T, f, ...) HEAPD_ROW_(T, f) HEAPD_ROWS_33(T, __VA_ARGS__)
#define HEAPD_ROWS_35(T, f, ...) HEAPD_ROW_(T, f) HEAPD_ROWS_34(T, __VA_ARGS__)
#define HEAPD_ROWS_36(T, f, ...) HEAPD_ROW_(T, f) HEAPD_ROWS_35(T, __VA_ARGS__)
#define HEAPD_ROWS_37(T, f, ...) HEAPD_ROW_(T, f) HEAPD_ROWS_36(T, __VA_ARGS__)
#define HEAPD_ROWS_38(T, f, ...) HEAPD_ROW_(T, f) HEAPD_ROWS_37(T, __VA_ARGS__)
#define HEAPD_ROWS_39(T, f, ...) HEAPD_ROW_(T, f) HEAPD_ROWS_38(T, __VA_ARGS__)
#define HEAPD_ROWS_40(T, f, ...) HEAPD_ROW_(T, f) HEAPD_ROWS_39(T, __VA_ARGS__)
#define HEAPD_ROWS_41(T, f, ...) HEAPD_ROW_(T, f) HEAPD_ROWS_40(T, __VA_ARGS__)
#define HEAPD_ROWS_42(T, f, ...) HEAPD_ROW_(T, f) HEAPD_ROWS_41(T, __VA_ARGS__)
#define HEAPD_ROWS_43(T, f, ...) HEAPD_ROW_(T, f) HEAPD_ROWS_42(T, __VA_ARGS__)
#define HEAPD_ROWS_44(T, f, ...) HEAPD_ROW_(T, f) HEAPD_ROWS_43(T, __VA_ARGS__)
#define HEAPD_ROWS_45(T, f, ...) HEAPD_ROW_(T, f) HEAPD_ROWS_44(T, __VA_ARGS__)
#define HEAPD_ROWS_46(T, f, ...) HEAPD_ROW_(T, f) HEAPD_ROWS_45(T, __VA_ARGS__)
#define HEAPD_ROWS_47(T, f, ...) HEAPD_ROW_(T, f) HEAPD_ROWS_46(T, __VA_ARGS__)
#define HEAPD_ROWS_48(T, f, ...) HEAPD_ROW_(T, f) HEAPD_ROWS_47(T, __VA_ARGS__)
#define HEAPD_ROWS_49(T, f, ...) HEAPD_ROW_(T, f) HEAPD_ROWS_48(T, __VA_ARGS__)
#define HEAPD_ROWS_50(T, f, ...) HEAPD_ROW_(T, f) HEAPD_ROWS_49(T, __VA_ARGS__)
#define HEAPD_ROWS_51(T, f, ...) HEAPD_ROW_(T, f) HEAPD_ROWS_50(T, __VA_ARGS__)
#define HEAPD_ROWS_52(T, f, ...) HEAPD_ROW_(T, f) HEAPD_ROWS_51(T, __VA_ARGS__)
#define HEAPD_ROWS_53(T, f, ...) HEAPD_ROW_(T, f) HEAPD_ROWS_52(T, __VA_ARGS__)
#define HEAPD_ROWS_54(T, f, ...) HEAPD_ROW_(T, f) HEAPD_ROWS_53(T, __VA_ARGS__)
#define HEAPD_ROWS_55(T, f, ...) HEAPD_ROW_(T, f) HEAPD_ROWS_54(T, __VA_ARGS__)
#define HEAPD_ROWS_56(T, f, ...) HEAPD_ROW_(T, f) HEAPD_ROWS_55(T, __VA_ARGS__)
#define HEAPD_ROWS_57(T, f, ...) HEAPD_ROW_(T, f) HEAPD_ROWS_56(T, __VA_ARGS__)
#define HEAPD_ROWS_58(T, f, ...) HEAPD_ROW_(T, f) HEAPD_ROWS_57(T, __VA_ARGS__)
#define HEAPD_ROWS_59(T, f, ...) HEAPD_ROW_(T, f) HEAPD_ROWS_58(T, __VA_ARGS__)
#define HEAPD_ROWS_60(T, f, ...) HEAPD_ROW_(T, f) HEAPD_ROWS_59(T, __VA_ARGS__)
#define HEAPD_ROWS_61(T, f, ...) HEAPD_ROW_(T, f) HEAPD_ROWS_60(T, __VA_ARGS__)
#define HEAPD_ROWS_62(T, f, ...) HEAPD_ROW_(T, f) HEAPD_ROWS_61(T, __VA_ARGS__)
#define HEAPD_ROWS_63(T, f, ...) HEAPD_ROW_(T, f) HEAPD_ROWS_62(T, __VA_ARGS__)
#define HEAPD_ROWS_64(T, f, ...) HEAPD_ROW_(T, f) HEAPD_ROWS_63(T, __VA_ARGS__)

#endif
