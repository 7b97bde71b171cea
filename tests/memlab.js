// SPDX-License-Identifier: MIT
// What each node retains: memlab's word, for the snapshot, against that of "heapctl retained --json" on the same heap.
// node memlab.js SNAPSHOT RETAINED TOP BASE LEAST: at least so many are to be compared. TOP: the same, of a few.
"use strict";
const fs = require("fs");
const { getFullHeapFromFile } = require("@memlab/heap-analysis");

const [snapshot, retained, top, base, least] = process.argv.slice(2);
// The id that snapshot.c makes of an address.
const idOf = (address) => Number((address - BigInt(base)) / 8n + 4096n) * 2 + 1;
// memlab tells the terminal, at length, how far it is.
const say = process.stderr.write.bind(process.stderr);
process.stdout.write = process.stderr.write = () => true;

const end = (text) => {
	say(text + "\n");
	process.exit(1);
};

getFullHeapFromFile(snapshot).then((heap) => {
	const ours = JSON.parse(fs.readFileSync(retained)).retained;
	const theirs = new Map();
	let compared = 0;

	if (ours.some((o, i) => i && o.retained > ours[i - 1].retained)) end("the most does not come first");
	const few = JSON.parse(fs.readFileSync(top)).retained;
	if (!few.length || few.some((o, i) => o.object !== ours[i].object)) end("the top is not the list's beginning");

	heap.nodes.forEach((n) => {
		const key = n.type === "synthetic" ? n.name : n.id;
		if (theirs.has(key)) end(`two nodes are ${key}`);
		theirs.set(key, n);
	});
	// The first node is the root of all, which "retained" leaves out.
	if (theirs.size !== ours.length + 1) end(`memlab has ${theirs.size} nodes, we ${ours.length} and one`);
	for (const o of ours) {
		const address = / 0x([0-9a-f]+)$/.exec(o.object);
		const key = address ? idOf(BigInt("0x" + address[1])) : o.object;
		const n = theirs.get(key);
		if (!n) end(`memlab knows no ${o.object}`);
		if (n.self_size !== o.size) end(`${o.object}: we say ${o.size} bytes, memlab ${n.self_size}`);
		if (n.retainedSize !== o.retained)
			end(`${o.object}: we say that it retains ${o.retained} bytes, memlab ${n.retainedSize}`);
		compared++;
	}
	if (compared < Number(least)) end(`only ${compared} nodes were compared`);
	say(`${compared} nodes retain what memlab says\n`);
	process.exit(0);
}).catch((e) => end(String(e.stack)));
