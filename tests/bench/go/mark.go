// SPDX-License-Identifier: MIT

// The same graph in Go's heap: mark ROUNDS, see ../mark.c. Run with GODEBUG=gctrace=1: the time of the concurrent
// mark phase of each forced collection is what counts; mark-run takes it from the trace.
package main

import (
	"fmt"
	"os"
	"runtime"
	"runtime/debug"
	"strconv"
)

const objects = 8000000

type node struct {
	links [2]*node
	rest  [6]uint64
}

var seed uint64 = 12345

func random() uint64 {
	seed ^= seed >> 12
	seed ^= seed << 25
	seed ^= seed >> 27
	return seed * 0x2545f4914f6cdd1d
}

func ring() []uint32 {
	next := make([]uint32, objects)
	for i := range next {
		next[i] = uint32(i)
	}
	for i := uint64(objects - 1); i > 0; i-- {
		j := random() % i
		next[i], next[j] = next[j], next[i]
	}
	return next
}

func graph() *node {
	all := make([]*node, objects)
	for i := range all {
		all[i] = new(node)
	}
	for i, to := range ring() {
		all[i].links[0] = all[to]
		all[i].links[1] = all[random()%objects]
	}
	return all[0]
}

func main() {
	rounds, _ := strconv.Atoi(os.Args[1])
	debug.SetGCPercent(-1)
	root := graph()
	runtime.GC()
	fmt.Fprintln(os.Stderr, "go begins")
	for i := 0; i < rounds; i++ {
		runtime.GC()
	}
	runtime.KeepAlive(root)
}
