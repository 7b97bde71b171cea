/* SPDX-License-Identifier: MIT */
/*
 * The restartable sequences on the rseq rows (percpu.h): pop, collect, push, install, turn, take.
 *
 * A sequence runs on one CPU from its first to its last instruction or not at all: if its thread is
 * preempted, migrated or signalled in between, the kernel sends it to the abort handler, which begins
 * again. All that touch a row run on the row's CPU, whatever process they belong to, so between the
 * loads and the commit of one no other can have run. The commit is the last instruction, one 8-byte
 * store: a process killed before it did nothing, a process killed after it did all. (Of install's two
 * stores the first, base, means nothing while bits is 0.)
 *
 * - cpu_id is read anew on each try and compared, unsigned, with the number of rows: it is -1 when
 *   glibc's registration is gone. Never mm_cid (it repeats between processes), never cpu_id_start
 *   (others overwrite it).
 * - The object's address is in a register before pop's commit: a conservative scan of this thread
 *   finds it from the first moment that the slot is no longer free.
 * - An asm goto has no outputs here, and its registers are fixed: gcc before 12.4 can lose the outputs on the way
 *   to the labels (bug 113921), and does in sanitizer builds.
 * - Descriptors lie in the object that contains the sequence; it must never be unmapped (-z nodelete).
 *
 * Sequences cannot be single-stepped. HEAPD_RSEQ_INJECT builds (tests only) have delay loops at
 * numbered points inside them, set through heapd_inject[].
 */
#ifndef HEAPD_RSEQ_H
#define HEAPD_RSEQ_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "heapd/percpu.h"

#if defined(__x86_64__)
#define HEAPD_HAVE_RSEQ 1
#include <sys/rseq.h>

#ifdef HEAPD_RSEQ_INJECT
#define HEAPD_INJECT_POINTS 8
extern uint32_t heapd_inject[HEAPD_INJECT_POINTS] __attribute__((visibility("hidden")));
extern uint64_t heapd_inject_aborted __attribute__((visibility("hidden")));
/* Spins heapd_inject[n] times, in a register of its own. */
#define HEAPD_INJECT_ASM(n)                             \
	"movl heapd_inject+4*" #n "(%%rip), %%r11d\n\t" \
	"7" #n ":\n\t"                                  \
	"subl $1, %%r11d\n\t"                           \
	"jns 7" #n "b\n\t"
#define HEAPD_INJECT_ABORT   "lock incq heapd_inject_aborted(%%rip)\n\t"
#define HEAPD_INJECT_CLOBBER , "r11"
#else
#define HEAPD_INJECT_ASM(n)
#define HEAPD_INJECT_ABORT
#define HEAPD_INJECT_CLOBBER
#endif

/*
 * 2: where a try begins (and the abort handler returns to); 3..4: the sequence, 4 just after the
 * commit; 8: the abort handler. The four bytes before the handler are the signature that the kernel
 * demands. rseq_cs is at offset 8 of the registered area, cpu_id at 4.
 */
#define HEAPD_RSEQ_SET(scratch)                   \
	".pushsection __rseq_cs, \"aw\"\n\t"      \
	".balign 32\n\t"                          \
	"1:\n\t"                                  \
	".long 0, 0\n\t"                          \
	".quad 3f, (4f - 3f), 8f\n\t"             \
	".popsection\n\t"                         \
	".pushsection __rseq_failure, \"ax\"\n\t" \
	".byte 0x0f, 0xb9, 0x3d\n\t"              \
	".long 0x53053053\n\t"                    \
	"8:\n\t" HEAPD_INJECT_ABORT "jmp 2b\n\t"  \
	".popsection\n\t"                         \
	"leaq 1b(%%rip), " scratch "\n\t"         \
	"movq " scratch ", %%fs:8(%[area])\n\t"   \
	"3:\n\t"
#define HEAPD_RSEQ_BEGIN "2:\n\t" HEAPD_RSEQ_SET("%[row]")

/* row = &rows[cpu_id][class]; jumps to `none` where the CPU has no row. */
#define HEAPD_RSEQ_ROW(none)                \
	"movl %%fs:4(%[area]), %k[row]\n\t" \
	"cmpl %[cpus], %k[row]\n\t"         \
	"jae " none "\n\t"                  \
	"shlq $17, %[row]\n\t"              \
	"addq %[rows], %[row]\n\t"
_Static_assert(HEAPD_RSEQ_ROW_SHIFT == 17, "the sequences find a row by this shift");
_Static_assert(HEAPD_CURRENT_ZEROED == 1, "push compares with it");

/*
 * Takes one free slot of the slab that is allocated from: its address, plus HEAPD_CURRENT_ZEROED if the
 * slot is known to be zero; 0 if there is none (or no row for this CPU). `column` is the class's entry in row 0,
 * area is __rseq_offset: the two sequences of the fast paths begin with it, and it is one load nearer where the
 * caller keeps it than behind the C library's address for it.
 */
static inline uint64_t heapd_rseq_pop(const struct heapd_rseq_entry *column, ptrdiff_t area, uint32_t cpus,
				      uint64_t elemsize)
{
	uint64_t row, bits, next, object;

	/* clang-format off */
	__asm__ volatile(
		HEAPD_RSEQ_BEGIN
		"xorl %k[object], %k[object]\n\t"
		HEAPD_RSEQ_ROW("4f")
		"addq 32(%[row]), %[row]\n\t"
		"movq 8(%[row]), %[bits]\n\t"
		"testq %[bits], %[bits]\n\t"
		"jz 4f\n\t"
		"tzcntq %[bits], %[object]\n\t"
		HEAPD_INJECT_ASM(0)
		"imulq %[elemsize], %[object]\n\t"
		"leaq -1(%[bits]), %[next]\n\t"
		"addq (%[row]), %[object]\n\t"
		"andq %[bits], %[next]\n\t"
		HEAPD_INJECT_ASM(1)
		"movq %[next], 8(%[row])\n\t"
		"4:\n\t"
		: [row] "=&r"(row), [bits] "=&r"(bits), [next] "=&r"(next), [object] "=&r"(object)
		: [area] "r"(area), [rows] "r"(column), [cpus] "rm"(cpus), [elemsize] "r"(elemsize)
		: "memory", "cc" HEAPD_INJECT_CLOBBER);
	/* clang-format on */
	return object;
}

enum heapd_push {
	HEAPD_PUSH_DONE = 0,
	HEAPD_PUSH_ELSEWHERE, /* the slab is not current here */
	HEAPD_PUSH_DOUBLE,    /* the slot is free already */
};

/*
 * The usual case of heapd_rseq_push(): the slab at `base` collects here already, and is not known to be zero; or what
 * collects has no slot, and becomes this slab, whose owner is this CPU. False if it is another, and nothing was done. index:
 * the slot's place in the slab, or that plus any multiple of 64. Slot 0 takes over nothing: it may be a span's end that looks
 * like one of another span's (client/free.c).
 */
static inline bool heapd_rseq_collect(struct heapd_rseq_entry *column, ptrdiff_t area, uint32_t cpus,
				      uint64_t base, uint64_t index, uint32_t owner)
{
	/* clang-format off */
	__asm__ volatile goto(
		"2:\n\t" HEAPD_RSEQ_SET("%%r8")
		"movl %%fs:4(%[area]), %%r8d\n\t"
		"cmpl %[cpus], %%r8d\n\t"
		"jae %l[other]\n\t"
		"cmpl %[owner], %%r8d\n\t"
		"jne %l[other]\n\t"
		"shlq $17, %%r8\n\t"
		"addq %[rows], %%r8\n\t"
		"movq 32(%%r8), %%rax\n\t"
		"cmpq (%%r8,%%rax), %[base]\n\t" /* allocated from, too: free there? */
		"jne 91f\n\t"
		"movq 8(%%r8,%%rax), %%rax\n\t"
		"btq %[index], %%rax\n\t"
		"jc %l[other]\n\t"
		"movq 32(%%r8), %%rax\n\t"
		"91:\n\t"
		"xorl $16, %%eax\n\t"
		"addq %%rax, %%r8\n\t"
		"cmpq (%%r8), %[base]\n\t"
		"je 92f\n\t"
		"cmpq $0, 8(%%r8)\n\t" /* another: taken over, if it has no slot */
		"jne %l[other]\n\t"
		"testl $63, %k[index]\n\t"
		"jz %l[other]\n\t"
		"movq %%r8, %%rax\n\t"
		"xorq $16, %%rax\n\t"
		"movq (%%rax), %%rax\n\t"
		"xorq %[base], %%rax\n\t"
		"cmpq $1, %%rax\n\t"
		"je %l[other]\n\t"
		"movq %[base], (%%r8)\n\t"
		"92:\n\t"
		"movq 8(%%r8), %%rax\n\t"
		"btsq %[index], %%rax\n\t"
		"jc %l[other]\n\t"
		HEAPD_INJECT_ASM(7)
		"movq %%rax, 8(%%r8)\n\t"
		"4:\n\t"
		:
		: [area] "r"(area), [rows] "r"(column), [cpus] "rm"(cpus), [base] "r"(base),
		  [index] "r"(index), [owner] "rm"(owner - 1)
		: "memory", "cc", "rax", "r8" HEAPD_INJECT_CLOBBER
		: other);
	/* clang-format on */
	return true;
other:
	return false;
}

/*
 * Gives a slot back to the slab at `base`, if that is one of this CPU's two. It goes to the one that collects,
 * so that no allocation waits for what the free before it stored: if the slab is the one that is allocated
 * from, the other takes its base too when it is used up, and else the two change places. A slab whose bits
 * are 0 will do if its base is right: with a slot of it in hand, {base, bit} is true whatever was there before.
 * owner: as owner[] has it; another CPU's slab is elsewhere, whatever stands here.
 *
 * Only the last store gives anything: a change of places moves no slot, the base is the one that was there or
 * that of a slab without slots. It says no more that the slots are known to be zero.
 *
 * r11 the entry, r8 the slab that collects, r10 the one that is allocated from.
 */
static inline enum heapd_push heapd_rseq_push(struct heapd_rseq_entry *column, uint32_t cpus, uint64_t base,
					      uint64_t index, uint32_t owner)
{
	/* clang-format off */
	__asm__ volatile goto(
		"2:\n\t" HEAPD_RSEQ_SET("%%r8")
		"movl %%fs:4(%[area]), %%r8d\n\t"
		"cmpl %[cpus], %%r8d\n\t"
		"jae %l[elsewhere]\n\t"
		"cmpl %[owner], %%r8d\n\t"
		"jne %l[elsewhere]\n\t"
		"shlq $17, %%r8\n\t"
		"addq %[rows], %%r8\n\t"
		"movq 32(%%r8), %%rax\n\t"
		"movq %%r8, %%r11\n\t"
		"leaq (%%r8,%%rax), %%r10\n\t"
		"xorl $16, %%eax\n\t"
		"addq %%rax, %%r8\n\t"
		"movq (%%r10), %%r9\n\t"
		"xorq %[base], %%r9\n\t"
		"cmpq $1, %%r9\n\t"
		"jbe 91f\n\t"
		"movq (%%r8), %%r9\n\t"
		"xorq %[base], %%r9\n\t"
		"cmpq $1, %%r9\n\t"
		"ja %l[elsewhere]\n\t"
		"movq 8(%%r8), %%r9\n\t"
		"jmp 92f\n\t"
		"91:\n\t" /* it is allocated from */
		"movq 8(%%r10), %%r9\n\t"
		"btq %[index], %%r9\n\t"
		"jc %l[twice]\n\t"
		"movq 8(%%r8), %%r9\n\t"
		"testq %%r9, %%r9\n\t"
		"jz 92f\n\t"
		"movq (%%r8), %%r10\n\t"
		"xorq %[base], %%r10\n\t"
		"cmpq $1, %%r10\n\t"
		"jbe 92f\n\t"
		"movq %%rax, 32(%%r11)\n\t" /* the other has slots: change places */
		"xorq $16, %%rax\n\t"
		"leaq (%%r11,%%rax), %%r8\n\t"
		"movq 8(%%r8), %%r9\n\t"
		"92:\n\t"
		"btsq %[index], %%r9\n\t"
		"jc %l[twice]\n\t"
		HEAPD_INJECT_ASM(2)
		"movq %[base], (%%r8)\n\t"
		"movq %%r9, 8(%%r8)\n\t"
		"4:\n\t"
		:
		: [area] "r"(__rseq_offset), [rows] "r"(column), [cpus] "rm"(cpus), [base] "r"(base),
		  [index] "r"(index), [owner] "rm"(owner - 1)
		: "memory", "cc", "rax", "r8", "r9", "r10", "r11"
		: elsewhere, twice);
	/* clang-format on */
	return HEAPD_PUSH_DONE;
elsewhere:
	return HEAPD_PUSH_ELSEWHERE;
twice:
	return HEAPD_PUSH_DOUBLE;
}

/* Which of an entry's two slabs. */
#define HEAPD_WAY_ALLOCATING 0ul
#define HEAPD_WAY_COLLECTING 16ul

/* Makes {base, bits} this CPU's slab of that way if it has none: 1 + the CPU if it did, else 0. */
static inline uint32_t heapd_rseq_install(struct heapd_rseq_entry *column, uint32_t cpus, uint64_t base,
					  uint64_t bits, uint64_t way)
{
	uint64_t row, at;
	uint32_t done;

	__asm__ volatile(
		HEAPD_RSEQ_BEGIN HEAPD_RSEQ_ROW(
			"5f") "movl %%fs:4(%[area]), %[done]\n\t"
			      "addl $1, %[done]\n\t"
			      "movq 32(%[row]), %[at]\n\t"
			      "xorq %[way], %[at]\n\t"
			      "addq %[at], %[row]\n\t"
			      "cmpq $0, 8(%[row])\n\t"
			      "jne 5f\n\t" HEAPD_INJECT_ASM(3) "movq %[base], (%[row])\n\t" HEAPD_INJECT_ASM(
				      4) "movq %[bits], 8(%[row])\n\t"
					 "4:\n\t"
					 "jmp 6f\n\t"
					 "5:\n\t"
					 "xorl %[done], %[done]\n\t"
					 "6:\n\t"
		: [row] "=&r"(row), [at] "=&r"(at), [done] "=&r"(done)
		: [area] "r"(__rseq_offset), [rows] "r"(column), [cpus] "r"(cpus), [base] "r"(base),
		  [bits] "r"(bits), [way] "r"(way)
		: "memory", "cc" HEAPD_INJECT_CLOBBER);
	return done;
}

/* Lets this CPU's two slabs change places if the first is used up and the second is not: true if it did. */
static inline bool heapd_rseq_turn(struct heapd_rseq_entry *column, uint32_t cpus)
{
	uint64_t row, at;
	uint32_t done;

	__asm__ volatile(HEAPD_RSEQ_BEGIN HEAPD_RSEQ_ROW("5f") "movq 32(%[row]), %[at]\n\t"
							       "cmpq $0, 8(%[row],%[at])\n\t"
							       "jne 5f\n\t"
							       "xorq $16, %[at]\n\t"
							       "cmpq $0, 8(%[row],%[at])\n\t"
							       "je 5f\n\t"
							       "movl $1, %[done]\n\t" HEAPD_INJECT_ASM(
								       6) "movq %[at], 32(%[row])\n\t"
									  "4:\n\t"
									  "jmp 6f\n\t"
									  "5:\n\t"
									  "xorl %[done], %[done]\n\t"
									  "6:\n\t"
			 : [row] "=&r"(row), [at] "=&r"(at), [done] "=&r"(done)
			 : [area] "r"(__rseq_offset), [rows] "r"(column), [cpus] "r"(cpus)
			 : "memory", "cc" HEAPD_INJECT_CLOBBER);
	return done;
}

/*
 * Takes one of this CPU's two slabs away, the one at offset `at` of the entry (0 or 16), if there is
 * something in it: true, with what it was. It does not look at `way`: the daemon uses this too, and `way` is
 * client-writable. What is taken is in the caller's hands alone: dying now leaves its slots to the next cycle.
 */
static inline bool heapd_rseq_take(struct heapd_rseq_entry *column, uint32_t cpus, uint64_t at,
				   struct heapd_current *taken)
{
	uint64_t row, base, bits;

	__asm__ volatile(HEAPD_RSEQ_BEGIN HEAPD_RSEQ_ROW("5f") "addq %[at], %[row]\n\t"
							       "movq (%[row]), %[base]\n\t"
							       "movq 8(%[row]), %[bits]\n\t" HEAPD_INJECT_ASM(
								       5) "movq $0, 8(%[row])\n\t"
									  "4:\n\t"
									  "jmp 6f\n\t"
									  "5:\n\t"
									  "xorl %k[base], %k[base]\n\t"
									  "xorl %k[bits], %k[bits]\n\t"
									  "6:\n\t"
			 : [row] "=&r"(row), [base] "=&r"(base), [bits] "=&r"(bits)
			 : [area] "r"(__rseq_offset), [rows] "r"(column), [cpus] "r"(cpus), [at] "r"(at)
			 : "memory", "cc" HEAPD_INJECT_CLOBBER);
	*taken = (struct heapd_current){ .base = base, .bits = bits };
	return bits != 0;
}

/* 1 + the CPU that this thread runs on now. */
static inline uint32_t heapd_rseq_cpu(void)
{
	uint32_t cpu;

	__asm__ volatile("movl %%fs:4(%1), %0" : "=r"(cpu) : "r"(__rseq_offset));
	return cpu + 1;
}

/* Whether this thread has a registration that the sequences can rely on. */
static inline bool heapd_rseq_usable(uint32_t cpus)
{
	uint32_t cpu;

	if (__rseq_size < 20)
		return false;
	__asm__ volatile("movl %%fs:4(%1), %0" : "=r"(cpu) : "r"(__rseq_offset));
	return cpu < cpus;
}

#else
#define HEAPD_HAVE_RSEQ 0
#endif

#endif
