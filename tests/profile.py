#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""Are two files of "heapctl profile" right, and what heapctl says of them? profile.py HEAPCTL FACTS ONE TWO

Reads them by itself, and compares with facts: what the program that was sampled knows, its symbols (nm), and its lines
(addr2line). FACTS is JSON: pid, program, mean, size, began and ended (of each), cycles, kept: {address: whether by TWO's time}.
"""
import collections
import gzip
import json
import math
import os
import re
import subprocess
import sys

CALLS = {"keep_nodes": "keep", "drop_nodes": "drop"}
TYPES = [("alloc_objects", "count"), ("alloc_space", "bytes"), ("inuse_objects", "count"), ("inuse_space", "bytes")]
ALLOC_OBJECTS, ALLOC_SPACE, INUSE_OBJECTS, INUSE_SPACE = range(4)


def check(condition, *what):
    if not condition:
        sys.exit("profile: " + " ".join(str(w) for w in what)[:400])


# The form ----------------------------------------------------------------------------------------------------------

def varint(data, at):
    number = shift = 0
    while True:
        number |= (data[at] & 127) << shift
        shift += 7
        at += 1
        if not data[at - 1] & 128:
            return number, at


def fields(data):
    """A protobuf message as {number: [values]}."""
    found, at = collections.defaultdict(list), 0
    while at < len(data):
        key, at = varint(data, at)
        check(key & 7 in (0, 2), "a wire type that the format has not:", key)
        value, at = varint(data, at)
        if key & 7 == 2:
            value, at = data[at:at + value], at + value
        found[key >> 3].append(value)
    return found


def numbers(values):
    """Repeated integers, packed or not."""
    out = []
    for v in values:
        at = 0
        while isinstance(v, bytes) and at < len(v):
            number, at = varint(v, at)
            out.append(number)
        if not isinstance(v, bytes):
            out.append(v)
    return out


def one(message, number):
    return message[number][0] if message[number] else 0


class Profile:
    def __init__(self, path):
        with gzip.open(path) as f:
            p = fields(f.read())
        self.strings = [s.decode() for s in p[6]]
        check(self.strings[0] == "" and len(set(self.strings)) == len(self.strings), "the table of strings")
        self.types = [self.type(t) for t in p[1]]
        self.period, self.period_type = one(p, 12), self.type(p[11][0])
        self.time, self.took, self.default = one(p, 9), one(p, 10), self.strings[one(p, 14)]
        self.mappings = {one(m, 1): m for m in map(fields, p[3])}
        self.locations = {one(m, 1): m for m in map(fields, p[4])}
        self.functions = {one(m, 1): m for m in map(fields, p[5])}
        self.samples = [self.sample(fields(s)) for s in p[2]]

    def type(self, data):
        t = fields(data)
        return self.strings[one(t, 1)], self.strings[one(t, 2)]

    def label(self, data):
        m = fields(data)
        return self.strings[one(m, 1)], self.strings[one(m, 2)] if one(m, 2) else one(m, 3)

    def sample(self, m):
        """(stack, the innermost first; values; labels)"""
        return numbers(m[1]), numbers(m[2]), dict(self.label(d) for d in m[3])

    def function(self, location):
        lines = [fields(x) for x in self.locations[location][4]]
        check(len(lines) == 1, "a location with", len(lines), "lines")
        f = self.functions[one(lines[0], 1)]
        return self.strings[one(f, 2)], self.strings[one(f, 3)], self.strings[one(f, 4)], one(lines[0], 2)

    def names(self, stack):
        return [self.function(location)[0] for location in stack]


# The program -------------------------------------------------------------------------------------------------------

def run(*command):
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


class Program:
    def __init__(self, path):
        self.path = path
        self.loads = [tuple(int(x, 16) for x in m) for m in re.findall(
            r"LOAD +0x(\w+) 0x(\w+) 0x\w+ 0x(\w+)", run("readelf", "-lW", path))]
        self.build_id = re.search(r"Build ID: (\w+)", run("readelf", "-nW", path)).group(1)
        self.functions = [(int(a, 16), int(n, 16), name) for a, n, name in re.findall(
            r"^(\w+) (\w+) [tT] (\S+)$", run("nm", "-S", "--defined-only", path), re.M)]

    def virtual(self, offset):
        for at, address, size in self.loads:
            if at <= offset < at + size:
                return offset - at + address
        return None

    def name(self, address):
        found = [name for at, size, name in self.functions if at <= address < at + size]
        return found[0].split(".")[0] if found else None

    def lines(self, addresses):
        return [line.split(" ")[0] for line in run("addr2line", "-e", self.path, *map(hex, addresses)).splitlines()]


def check_places(p, program):
    """Each place in the program is where, and what, and in which line its own tools say."""
    mapping = [m for m in p.mappings.values() if os.path.realpath(p.strings[one(m, 5)]) == program.path]
    check(len(mapping) == 1 and p.strings[one(mapping[0], 6)] == program.build_id, "the program's mapping")
    start, end, at = one(mapping[0], 2), one(mapping[0], 3), one(mapping[0], 4)
    mine = [k for k, m in p.locations.items() if one(m, 2) == one(mapping[0], 1)]
    addresses = [program.virtual(one(p.locations[k], 3) - start + at) for k in mine]
    check(mine and None not in addresses, "places of the program where it has nothing")
    for m in p.locations.values():
        if one(m, 2):
            of = p.mappings[one(m, 2)]
            check(one(of, 2) <= one(m, 3) < one(of, 3), "a place outside its mapping")
    check(all(start <= one(p.locations[k], 3) < end for k in mine), "a place outside the program")
    for k, address, line in zip(mine, addresses, program.lines(addresses)):
        name, linkage, source, number = p.function(k)
        check(linkage == program.name(address), f"{linkage} is said to be at {address:x}, where", program.name(address))
        check(name == ("shop::free_nodes(unsigned int)" if linkage.startswith("_Z") else linkage), name, linkage)
        found = os.path.basename(source) + f":{number}" if source else "??:?"
        check(found == os.path.basename(line).replace("??:0", "??:?"), f"{name}: {source}:{number}, not", line)


# What the samples say ----------------------------------------------------------------------------------------------

def check_samples(p, facts, which):
    kept = {int(a, 16) for a in facts["kept"][which]}
    strangers = 0
    for stack, values, labels in p.samples:
        names = p.names(stack)
        drops = names[0] == "drop_nodes"
        check(len(values) == 4 and labels["type"] in ("node", "twin" if drops else "node"), values, labels)
        if names[0] in CALLS:
            check(p.function(stack[1])[3] in facts[CALLS[names[0]]], "work calls", names[0], "in line", p.function(stack[1])[3])
        check("work" in names[1:] and not any("heapd" in n for n in names), names)
        for objects, space in ((ALLOC_OBJECTS, ALLOC_SPACE), (INUSE_OBJECTS, INUSE_SPACE)):
            check(abs(values[objects] * facts["size"] - values[space]) <= facts["size"], "objects and bytes:", values)
        check(values[ALLOC_SPACE] >= facts["mean"] * .99 or "address" not in labels, "a weight below the mean:", values)
        if "address" not in labels:
            check(values[ALLOC_SPACE] > 0 and not values[INUSE_OBJECTS] and not values[INUSE_SPACE], "gone:", values)
            continue
        check(values[:2] == values[2:], "what lives was allocated:", values)
        check(labels["pid"] == facts["pid"], labels)
        check(facts["cycles"][which][0] <= labels["cycle"] <= facts["cycles"][which][1], labels, facts["cycles"])
        strangers += names[0] != "keep_nodes" or labels["address"] not in kept
    # What lies in slabs that are in use is not known to have gone.
    check(strangers <= 40, strangers, "samples live that were not kept")


def check_head(p, facts, which):
    check(p.types == TYPES and p.default == "inuse_space", p.types, p.default)
    check(p.period == facts["mean"] and p.period_type == ("space", "bytes"), p.period, p.period_type)
    began, ended = facts["began"][which], facts["ended"][which]
    check(began <= p.time and 0 < p.took and p.time + p.took <= ended, began, p.time, p.took, ended)


def sites(p):
    """By stack, the outermost first, and type: the four sums."""
    sums = collections.defaultdict(lambda: [0] * 4)
    for stack, values, labels in p.samples:
        for i, v in enumerate(values):
            sums[tuple(reversed(p.names(stack))), labels["type"]][i] += v
    return sums


def check_sums(both, facts):
    """Of all together less is left to chance: four standard deviations, as check_profile has them, of each sum."""
    def about(what, got, expected):
        off = 4 * math.sqrt(expected * 64 * facts["size"])
        check(abs(got - expected) <= off, f"{what}: {got} bytes, not {expected} +- {off:.0f}")

    all_of = [(s[-1], kind, v[ALLOC_SPACE]) for sums in both for (s, kind), v in sums.items()]
    for kind in "node", "twin":
        about(f"dropped, {kind}", sum(v for s, k, v in all_of if s == "drop_nodes" and k == kind), facts["each"])
    about("kept and dropped", sum(v for s, _, v in all_of if s in CALLS), facts["each"] * 3.5)


def unfolded(site):
    stack, kind = site
    return " < ".join(reversed(stack)), kind


# What heapctl says -------------------------------------------------------------------------------------------------

def check_tables(tool, paths, before, after):
    def rows(*arguments):
        return list(json.loads(run(tool, "--json=short", "--top=1000", *arguments)).values())[0]

    shown = rows(f"--profile={paths[0]}", "profile")
    wanted = {unfolded(s): v for s, v in before.items()}
    got = {(r["stack"], r["type"]): [r["objects"], r["allocated"], r["live_objects"], r["live"]] for r in shown}
    check(got == wanted, "profile shows", got, "of", wanted)
    check([r["live"] for r in shown] == sorted((r["live"] for r in shown), reverse=True), "the largest do not come first")
    check(all(re.fullmatch(r"check_profile\.c:\d+", r["source"]) for r in shown), shown)

    for option, value in (("--top=999", INUSE_SPACE), ("--allocated", ALLOC_SPACE)):
        stacks = {s: (before[s][value], after[s][value]) for s in set(before) | set(after)}
        shown = rows(option, "diff", *paths)
        got = {(r["stack"], r["type"]): (r["before"], r["after"], r["change"]) for r in shown}
        wanted = {unfolded(s): (b, a, a - b) for s, (b, a) in stacks.items() if a != b}
        check(got == wanted, f"diff {option} shows", got, "of", wanted)
        changes = [r["change"] for r in shown]
        check(changes == sorted(changes, reverse=True), "what grew most does not come first:", changes)
        lines = run(tool, "--folded", option, "diff", *paths).splitlines()
        wanted = {f"{';'.join(s)} {b} {a}" for (s, _), (b, a) in stacks.items() if a or b}
        check(len(lines) == len(wanted) and set(lines) == wanted, "diff --folded", lines, "of", wanted)
        folded = run(tool, "--folded", option, f"--profile={paths[0]}", "profile").splitlines()
        wanted = {f"{';'.join(s)} {v[value]}" for (s, _), v in before.items() if v[value]}
        check(len(folded) == len(wanted) and set(folded) == wanted, "profile --folded", folded, "of", wanted)


def main():
    tool, facts, *paths = sys.argv[1:]
    with open(facts, encoding="ascii") as f:
        facts = json.load(f)
    program = Program(os.path.realpath(facts["program"]))
    profiles = [Profile(path) for path in paths]
    for which, p in enumerate(profiles):
        check_head(p, facts, which)
        check_places(p, program)
        check_samples(p, facts, which)
    both = [sites(p) for p in profiles]
    check_sums(both, facts)
    check_tables(tool, paths, *both)
    print(", ".join(f"{len(p.samples)} samples, {len(p.locations)} places" for p in profiles), "are right")


main()
