// SPDX-License-Identifier: MIT

// The same loop in Go's heap: pause MIB THREADS STEPS SECONDS, see ../mutator.h. Collections are asked for one after the other. Run with
// GODEBUG=gctrace=1: the first and third of the times of each line after "begin" are its pauses.
package main

import (
	"fmt"
	"math/bits"
	"os"
	"runtime"
	"strconv"
	"sync"
	"time"
)

const (
	length = 8
	batch  = 10000000
)

type node struct {
	next *node
	list *[1024]*node
	rest [6]uint64
}

// As gaps.c: a sixteenth of each doubling is a step.
type gaps struct {
	n, sum, max int64
	counts      [61 * 16]int64
}

func (g *gaps) add(ns int64) {
	step := ns
	if ns >= 16 {
		shift := int64(59 - bits.LeadingZeros64(uint64(ns)))
		step = (shift+1)*16 + ns>>uint(shift)%16
	}
	g.counts[step]++
	g.n++
	g.sum += ns
	if ns > g.max {
		g.max = ns
	}
}

func (g *gaps) merge(from *gaps) {
	for i, n := range from.counts {
		g.counts[i] += n
	}
	g.n += from.n
	g.sum += from.sum
	if from.max > g.max {
		g.max = from.max
	}
}

func (g *gaps) permille(p int64) float64 {
	seen, wanted := int64(0), (g.n*p+999)/1000
	for i, n := range g.counts {
		seen += n
		if seen < wanted || seen == 0 {
			continue
		}
		end := int64(i)
		if i >= 16 {
			end = (16+int64(i%16)+1)<<uint(i/16-1) - 1
		}
		if end > g.max {
			end = g.max
		}
		return float64(end) / 1e3
	}
	return 0
}

type mutator struct {
	lists      []*[1024]*node
	random     uint64
	gaps       gaps
	done, took int64
	held       [512]*node
}

var start = time.Now()

func now() int64 { return int64(time.Since(start)) }

func (m *mutator) next() uint64 {
	m.random ^= m.random << 13
	m.random ^= m.random >> 7
	m.random ^= m.random << 17
	return m.random
}

func (m *mutator) list(r uint64) uint64 { return r & 0xfffffff % uint64(len(m.lists)*1024) }

func (m *mutator) fill(nodes int) {
	for i := 0; i <= nodes/length/1024; i++ {
		m.lists = append(m.lists, new([1024]*node))
	}
	for i := 0; i < nodes; i++ {
		list := m.list(m.next())
		at := &m.lists[list>>10][list&1023]
		*at = &node{next: *at}
	}
}

func (m *mutator) step() *node {
	r := m.next()
	from, to := m.list(r>>8), m.list(r>>36)
	field := &m.lists[from>>10][from&1023]
	for depth := r % length; depth > 0 && *field != nil && (*field).next != nil; depth-- {
		field = &(*field).next
	}
	old := *field
	if old == nil {
		return nil
	}
	fresh := &node{next: old.next, list: m.lists[from>>10]}
	*field = fresh
	old.next = nil
	if from != to {
		other := &m.lists[to>>10][to&1023]
		fresh.next, *other = *other, fresh.next
	}
	return fresh
}

func (m *mutator) run(steps int, ns int64) {
	begin := now()
	end, due, at := begin+ns, begin, begin
	for at < end {
		last := now()
		for i := 0; i < steps && at < end; i++ {
			m.held[m.done%512] = m.step()
			at = now()
			m.gaps.add(at - last)
			last = at
			m.done++
		}
		if at < due+batch {
			time.Sleep(time.Duration(due + batch - at))
		} else {
			due = at - batch
		}
		due += batch
		at = now()
	}
	m.took = now() - begin
}

func main() {
	threads, _ := strconv.Atoi(os.Args[2])
	mib, _ := strconv.Atoi(os.Args[1])
	rate, _ := strconv.Atoi(os.Args[3])
	seconds, _ := strconv.ParseFloat(os.Args[4], 64)
	all := make([]*mutator, threads)
	for i := range all {
		all[i] = &mutator{random: 0x9e3779b97f4a7c15 + uint64(i)*0x123456789}
		all[i].fill(mib << 20 / 64 / threads)
	}
	runtime.GC()
	fmt.Fprintln(os.Stderr, "begin")
	var wait sync.WaitGroup
	stop := false
	go func() {
		for !stop {
			runtime.GC()
		}
	}()
	for _, m := range all {
		wait.Add(1)
		go func(m *mutator) {
			m.run((rate+100*threads-1)/(100*threads), int64(seconds*1e9))
			wait.Done()
		}(m)
	}
	wait.Wait()
	fmt.Fprintln(os.Stderr, "end")
	var sum gaps
	per := 0.0
	for _, m := range all {
		sum.merge(&m.gaps)
		per += float64(m.done) * 1e9 / float64(m.took)
	}
	fmt.Printf("wall go %d %d %.2f %.2f %.2f %.2f\n", mib, sum.n, float64(sum.sum)/1e3/float64(sum.n),
		sum.permille(990), sum.permille(999), float64(sum.max)/1e3)
	fmt.Printf("rate go %d %.0f 0 0\n", mib, per)
}
