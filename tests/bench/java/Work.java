/* SPDX-License-Identifier: MIT */
/*
 * The four kinds of work on Java's collectors: Work NAME KIND THREADS SECONDS, see ../work.h. Pauses are in the log,
 * -Xlog:safepoint.
 */
import java.nio.file.Files;
import java.nio.file.Path;

public final class Work {
    static final int KEPT = 100, BLOCK = 1 << 20, BUFFER = 10240, NODES = 250000, ENTRIES = 25000, WARM = 3;

    static final class Node {
        Node a, b, c, d;
        long e, f, g, h;

        void set(long k, Node to) {
            if (k == 0) a = to;
            else if (k == 1) b = to;
            else if (k == 2) c = to;
            else d = to;
        }
    }

    static final class Entry {
        byte[] value;
        long key;
    }

    static final class Worker extends Thread {
        final char kind;
        final double seconds;
        long random, steps;
        double rate;
        byte[][] blocks;
        Node[] graph;
        Entry[] cache;
        volatile byte[] last;

        Worker(int number, char kind, double seconds) {
            random = 0x9e3779b97f4a7c15L * (number + 1);
            this.kind = kind;
            this.seconds = seconds;
        }

        long next() {
            random ^= random << 13;
            random ^= random >>> 7;
            return random ^= random << 17;
        }

        int node() {
            return (int) ((next() >>> 1) % NODES);
        }

        void replace(int at) {
            Node n = new Node(), old = graph[at];
            for (int k = 0; k < 4; k++) n.set(k, graph[node()]);
            graph[at] = n;
            if (old != null) old.a = old.b = old.c = old.d = null;
        }

        void step() {
            switch (kind) {
            case 'a':
                byte[] block = new byte[BLOCK];
                block[0] = block[BLOCK - 1] = 1;
                blocks[(int) (steps % KEPT)] = block;
                break;
            case 'b':
                byte[] buffer = new byte[BUFFER];
                buffer[0] = buffer[BUFFER - 1] = 1;
                last = buffer;
                break;
            case 'c': {
                long r = next();
                int at = (int) ((r >>> 20) % NODES);
                if ((r & 3) == 0 || graph[at] == null) replace(at);
                else graph[at].set(r & 3, graph[node()]);
                break;
            }
            default: {
                long r = next(), key = (r >>> 20) % (2 * ENTRIES) + 1;
                Entry e = cache[(int) (key % ENTRIES)];
                if (e != null && e.key == key) return;
                e = new Entry();
                e.key = key;
                e.value = new byte[256 + (int) ((r >>> 1) % 1793)];
                cache[(int) (key % ENTRIES)] = e;
            }
            }
        }

        @Override public void run() {
            if (kind == 'a') blocks = new byte[KEPT][];
            if (kind == 'c') {
                graph = new Node[NODES];
                for (int i = 0; i < NODES; i++) replace(i);
            }
            if (kind == 'd') cache = new Entry[ENTRIES];
            long begin = System.nanoTime(), counted = begin + (long) (seconds / WARM * 1e9),
                 end = counted + (long) (seconds * 1e9), now = begin, before = 0;
            int often = kind <= 'b' ? 1 : 64;
            while (now < end) {
                for (int i = 0; i < often; i++, steps++) step();
                now = System.nanoTime();
                if (now < counted) {
                    begin = now;
                    before = steps;
                }
            }
            rate = (steps - before) * 1e9 / (now - begin);
        }
    }

    static double peak() throws java.io.IOException {
        for (String line : Files.readAllLines(Path.of("/proc/self/status")))
            if (line.startsWith("VmHWM:")) return Double.parseDouble(line.replaceAll("[^0-9]", "")) / 1024;
        return 0;
    }

    public static void main(String[] args) throws Exception {
        Worker[] all = new Worker[Integer.parseInt(args[2])];
        for (int i = 0; i < all.length; i++) {
            all[i] = new Worker(i, args[1].charAt(0), Double.parseDouble(args[3]));
            all[i].start();
        }
        double rate = 0;
        for (Worker w : all) {
            w.join();
            rate += w.rate;
        }
        System.out.printf("work %s %s %.0f %.0f%n", args[1], args[0], rate, peak());
        System.exit(0);
    }
}
