#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""Is a .heapsnapshot of one piece, and does it have what it must? snapshot.py SNAPSHOT EXPECTED, each line of which is

ID TYPE WORD [WORD:ID]...: an object; "-" for a type that is not looked at; a word that is not (-1: none); its edges.
"""
import json
import sys

FIELDS = 7
OBJECT = 3


def end(text):
    sys.exit(f"snapshot: {text[:300]}")


def load(path):
    """Nodes by place: (type, name, id, size); edges by place: [(word, place)]."""
    with open(path, encoding="ascii") as f:
        s = json.load(f)
    flat, edges, strings, says = s["nodes"], s["edges"], s["strings"], s["snapshot"]
    if len(flat) != FIELDS * says["node_count"] or len(edges) != 3 * says["edge_count"]:
        end("it has not as many nodes and edges as it says")
    nodes, out, at = [], [], 0
    for i in range(0, len(flat), FIELDS):
        kind, name, number, size, count = flat[i:i + 5]
        if name >= len(strings) or at + count * 3 > len(edges):
            end(f"node {number}: name {name}, {count} edges")
        nodes.append((kind, strings[name], number, size))
        out.append([(edges[e + 1], edges[e + 2] // FIELDS) for e in range(at, at + count * 3, 3)])
        for e in range(at, at + count * 3, 3):
            if edges[e + 2] % FIELDS or edges[e + 2] >= len(flat):
                end(f"node {number} leads to {edges[e + 2]}, where no node begins")
        at += count * 3
    if at != len(edges):
        end("edges are left that are no node's")
    return nodes, out


def check_whole(nodes, out):
    """Each node is there once, is led to from the first, and lies where no other does; an edge is a word of its own.
    Those that have gone meanwhile have no size and no place any more."""
    if len({n[2] for n in nodes}) != len(nodes):
        end("two nodes have one id")
    seen, queue = {0}, [0]
    for at in queue:
        fresh = {to for _, to in out[at]} - seen
        seen |= fresh
        queue.extend(fresh)
    if len(seen) != len(nodes):
        end(f"nothing leads to {len(nodes) - len(seen)} nodes")
    objects = sorted((n[2] // 2 * 8, n[3], place) for place, n in enumerate(nodes) if n[0] == OBJECT)
    for (start, size, place), after in zip(objects, objects[1:] + [(1 << 64, 0, 0)]):
        if start + size > after[0]:
            end(f"{nodes[place]} reaches into {nodes[after[2]]}")
        words = [w for w, _ in out[place]]
        if len(set(words)) != len(words) or size and any(w >= size // 8 for w in words):
            end(f"{nodes[place]}: edges of words {words}")


def check_expected(nodes, out, path):
    places = {n[2]: place for place, n in enumerate(nodes)}
    number = 0
    with open(path, encoding="ascii") as f:
        for number, line in enumerate(f, 1):
            name, kind, left_out, *edges = line.split()
            place = places.get(int(name))
            if place is None:
                end(f"line {number}: {name} is not there")
            if kind not in ("-", nodes[place][1]):
                end(f"{name} is a {nodes[place][1]}, not a {kind}")
            wanted = {tuple(int(i) for i in e.split(":")) for e in edges}
            found = {(word, nodes[to][2]) for word, to in out[place] if word != int(left_out)}
            if found != wanted:
                end(f"line {number}: {name} leads to {sorted(found - wanted)}, not to {sorted(wanted - found)}")
    return number


def main():
    nodes, out = load(sys.argv[1])
    check_whole(nodes, out)
    n = check_expected(nodes, out, sys.argv[2])
    gone = sum(1 for k in nodes if k[0] == OBJECT and not k[3])
    print(f"{len(nodes)} nodes, {gone} that went meanwhile; {n} that stood still are as they were")


main()
