/* SPDX-License-Identifier: MIT */
/*
 * The same loop on Java's collectors: Pause NAME MIB THREADS STEPS SECONDS HOW, see ../mutator.h. HOW: "back-to-back" asks for collections
 * one after the other, "paced" leaves them to the heap's size. Pauses are in the log, -Xlog:safepoint;
 * "span" says from when to when, in ms of uptime, they count.
 */
public final class Pause {
    static final int LENGTH = 8, HELD = 512;
    static final long BATCH = 10_000_000;

    static final class Node {
        Node next;
        Object list;
        long a, b, c, d;
    }

    /* As gaps.c: a sixteenth of each doubling is a step. */
    static final class Gaps {
        final long[] counts = new long[61 * 16];
        long n, sum, max;

        void add(long ns) {
            int shift = ns < 16 ? -1 : 59 - Long.numberOfLeadingZeros(ns);
            counts[shift < 0 ? (int) ns : (shift + 1) * 16 + (int) (ns >> shift) % 16]++;
            n++;
            sum += ns;
            max = Math.max(max, ns);
        }

        void merge(Gaps from) {
            for (int i = 0; i < counts.length; i++) counts[i] += from.counts[i];
            n += from.n;
            sum += from.sum;
            max = Math.max(max, from.max);
        }

        double permille(long p) {
            long seen = 0, wanted = (n * p + 999) / 1000;
            for (int i = 0; i < counts.length; i++) {
                seen += counts[i];
                if (seen >= wanted && seen > 0) {
                    long end = i < 16 ? i : ((16L + i % 16 + 1) << (i / 16 - 1)) - 1;
                    return Math.min(end, max) / 1e3;
                }
            }
            return 0;
        }
    }

    static final class Mutator extends Thread {
        final Node[][] lists;
        final int nodes, steps;
        final long nanos;
        final Gaps gaps = new Gaps();
        long random, done, took;

        Mutator(int number, int nodes, int steps, long nanos) {
            this.nodes = nodes;
            this.steps = steps;
            this.nanos = nanos;
            random = 0x9e3779b97f4a7c15L * (number + 1);
            lists = new Node[nodes / LENGTH / 1024 + 1][1024];
            for (int i = 0; i < nodes; i++) {
                int list = list(random());
                Node node = new Node();
                node.next = lists[list >> 10][list & 1023];
                lists[list >> 10][list & 1023] = node;
            }
        }

        long random() {
            random ^= random << 13;
            random ^= random >>> 7;
            return random ^= random << 17;
        }

        int list(long r) {
            return (int) ((r & 0xfffffff) % (lists.length * 1024L));
        }

        Node step() {
            long r = random();
            int from = list(r >>> 8), to = list(r >>> 36);
            Node[] chunk = lists[from >> 10], other = lists[to >> 10];
            Node before = null, old = chunk[from & 1023];
            for (long depth = r & (LENGTH - 1); depth > 0 && old != null && old.next != null; depth--) {
                before = old;
                old = old.next;
            }
            if (old == null) return null;
            Node node = new Node();
            node.next = old.next;
            node.list = chunk;
            if (before == null) chunk[from & 1023] = node;
            else before.next = node;
            old.next = null;
            if (from != to) {
                Node rest = node.next;
                node.next = other[to & 1023];
                other[to & 1023] = rest;
            }
            return node;
        }

        @Override public void run() {
            Node[] held = new Node[HELD];
            long begin = System.nanoTime(), end = begin + nanos, batch = begin, now = begin;
            while (now < end) {
                long last = System.nanoTime();
                for (int i = 0; i < steps && now < end; i++, done++) {
                    held[(int) (done % HELD)] = step();
                    now = System.nanoTime();
                    gaps.add(now - last);
                    last = now;
                }
                if (now < batch + BATCH)
                    java.util.concurrent.locks.LockSupport.parkNanos(batch + BATCH - now);
                else batch = now - BATCH;
                batch += BATCH;
                now = System.nanoTime();
            }
            took = System.nanoTime() - begin;
        }
    }

    static volatile boolean stop;

    static long uptime() {
        return java.lang.management.ManagementFactory.getRuntimeMXBean().getUptime();
    }

    public static void main(String[] args) throws InterruptedException {
        int threads = Integer.parseInt(args[2]), steps = (Integer.parseInt(args[3]) + 100 * threads - 1) / (100 * threads);
        long nodes = Long.parseLong(args[1]) * (1 << 20) / 64 / threads;
        Mutator[] all = new Mutator[threads];
        for (int i = 0; i < threads; i++)
            all[i] = new Mutator(i, (int) nodes, steps, (long) (Double.parseDouble(args[4]) * 1e9));
        System.gc();
        for (int i = 0; i < 20000; i++) all[0].step(); /* compiled, before it counts */
        long begin = uptime();
        Thread collector = new Thread(() -> { while (!stop) System.gc(); });
        if (args[5].startsWith("b")) collector.start();
        for (Mutator m : all) m.start();
        Gaps sum = new Gaps();
        double rate = 0;
        for (Mutator m : all) {
            m.join();
            sum.merge(m.gaps);
            rate += m.done * 1e9 / m.took;
        }
        stop = true;
        System.out.printf("span %d %d%n", begin, uptime());
        System.out.printf("wall %s %s %d %.2f %.2f %.2f %.2f%n", args[0], args[1], sum.n, sum.sum / 1e3 / sum.n,
            sum.permille(990), sum.permille(999), sum.max / 1e3);
        System.out.printf("rate %s %s %.0f 0 0%n", args[0], args[1], rate);
        System.exit(0);
    }
}
