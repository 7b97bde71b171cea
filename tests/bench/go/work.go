// SPDX-License-Identifier: MIT

// The four kinds of work in Go's heap: work KIND THREADS SECONDS, see ../work.h. Run with GODEBUG=gctrace=1: the first and third
// of the times of each line are its pauses.
package main

import (
	"bufio"
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"
)

const (
	kept    = 100
	block   = 1 << 20
	buffer  = 10240
	nodes   = 250000
	entries = 25000
	warm    = 3
)

type node struct {
	edges [4]*node
	rest  [4]uint64
}

type entry struct {
	value []byte
	key   uint64
}

type work struct {
	random, steps uint64
	seconds       float64
	blocks        [][]byte
	graph         []*node
	cache         []*entry
	last          []byte
}

func (w *work) next() uint64 {
	w.random ^= w.random << 13
	w.random ^= w.random >> 7
	w.random ^= w.random << 17
	return w.random
}

func (w *work) replace(at uint64) {
	n, old := new(node), w.graph[at]
	for k := range n.edges {
		n.edges[k] = w.graph[w.next()%nodes]
	}
	w.graph[at] = n
	if old != nil {
		for k := range old.edges {
			old.edges[k] = nil
		}
	}
}

func (w *work) step(kind byte) {
	switch kind {
	case 'a':
		b := make([]byte, block)
		b[0], b[block-1] = 1, 1
		w.blocks[w.steps%kept] = b
	case 'b':
		w.last = make([]byte, buffer)
		w.last[0], w.last[buffer-1] = 1, 1
	case 'c':
		r := w.next()
		at := (r >> 20) % nodes
		if r%4 == 0 || w.graph[at] == nil {
			w.replace(at)
		} else {
			w.graph[at].edges[r%4] = w.graph[w.next()%nodes]
		}
	default:
		r := w.next()
		key := (r>>20)%(2*entries) + 1
		if e := w.cache[key%entries]; e == nil || e.key != key {
			w.cache[key%entries] = &entry{make([]byte, 256+r%1793), key}
		}
	}
}

func (w *work) run(kind byte) float64 {
	switch kind {
	case 'a':
		w.blocks = make([][]byte, kept)
	case 'c':
		w.graph = make([]*node, nodes)
		for i := uint64(0); i < nodes; i++ {
			w.replace(i)
		}
	case 'd':
		w.cache = make([]*entry, entries)
	}
	often, before := uint64(64), uint64(0)
	if kind <= 'b' {
		often = 1
	}
	begin := time.Now()
	counted := begin.Add(time.Duration(w.seconds / warm * 1e9))
	end, now := counted.Add(time.Duration(w.seconds*1e9)), begin
	for now.Before(end) {
		for i := uint64(0); i < often; i++ {
			w.step(kind)
			w.steps++
		}
		now = time.Now()
		if now.Before(counted) {
			begin, before = now, w.steps
		}
	}
	return float64(w.steps-before) / now.Sub(begin).Seconds()
}

func peak() float64 {
	f, err := os.Open("/proc/self/status")
	if err != nil {
		return 0
	}
	defer f.Close()
	for s := bufio.NewScanner(f); s.Scan(); {
		if part := strings.Fields(s.Text()); len(part) > 1 && part[0] == "VmHWM:" {
			kib, _ := strconv.ParseFloat(part[1], 64)
			return kib / 1024
		}
	}
	return 0
}

func main() {
	n, _ := strconv.Atoi(os.Args[2])
	seconds, _ := strconv.ParseFloat(os.Args[3], 64)
	kind := os.Args[1][0]
	rates := make([]float64, n)
	var all sync.WaitGroup
	for i := 0; i < n; i++ {
		all.Add(1)
		go func(i int) {
			w := work{random: 0x9e3779b97f4a7c15 * uint64(i+1), seconds: seconds}
			rates[i] = w.run(kind)
			all.Done()
		}(i)
	}
	all.Wait()
	sum := 0.0
	for _, r := range rates {
		sum += r
	}
	fmt.Printf("work %c go %.0f %.0f\n", kind, sum, peak())
}
