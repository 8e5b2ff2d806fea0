// A service that logs: a process with a stream, a thread of it and a second process that append by themselves, all to the same file.
// node service.js LOG. Words on standard input: "reopen", "pause", "go", "end"; each is answered when all writers have done it; the
// answer to "end" is how many lines each has written. A line is: writer, number, padding, and a sum of what stands before it.
'use strict';
const fs = require('fs');
const { Worker, isMainThread, parentPort, workerData } = require('worker_threads');
const { fork } = require('child_process');

function line(writer, number) {
	const text = `${writer} ${number} ${'abcdefghij'.repeat(number % 40)}`;
	let sum = 0;
	for (let i = 0; i < text.length; i++) sum = (sum * 31 + text.charCodeAt(i)) >>> 0;
	return `${text} ${sum}\n`;
}

function writer(name, log, streamed, answer) {
	let number = 0, out = null, running = true;
	const open = () => { out = streamed ? fs.createWriteStream(log, { flags: 'a' }) : fs.openSync(log, 'a'); };
	const close = done => { if (streamed) out.end(done); else { fs.closeSync(out); done(); } };
	const flushed = done => { if (streamed) out.write('', done); else done(); };
	function step() {
		if (!running) return;
		for (let i = 0; i < 10; i++) {
			const text = line(name, number++);
			if (!streamed) fs.writeSync(out, text);
			else if (!out.write(text)) { out.once('drain', step); return; }
		}
		setTimeout(step, 1);
	}
	open();
	step();
	return word => {
		if (word === 'reopen') {
			running = false;
			// What a step that waits for the old stream would do, the next one does.
			close(() => { open(); running = true; setTimeout(step, 2); answer({ word }); });
		} else if (word === 'pause') {
			running = false;
			flushed(() => answer({ word }));
		} else if (word === 'go') {
			running = true;
			step();
			answer({ word });
		} else {
			running = false;
			close(() => answer({ word, name, number }));
		}
	};
}

const log = isMainThread ? process.argv[2] : workerData;
if (!isMainThread) {
	parentPort.on('message', writer('thread', log, false, a => parentPort.postMessage(a)));
} else if (process.argv[3] === 'second') {
	process.on('message', writer('second', log, false, a => process.send(a)));
} else {
	const waiting = [];
	const answered = a => {
		waiting[0].push(a);
		if (waiting[0].length < 3) return;
		const all = waiting.shift();
		const counts = Object.fromEntries(all.filter(x => x.name).map(x => [x.name, x.number]));
		process.stdout.write(JSON.stringify(a.word === 'end' ? counts : a.word) + '\n', () => { if (a.word === 'end') process.exit(0); });
	};
	const second = fork(__filename, [log, 'second']);
	const thread = new Worker(__filename, { workerData: log });
	const own = writer('stream', log, true, answered);
	second.on('message', answered);
	thread.on('message', answered);
	second.on('exit', code => { if (code) process.exit(1); });
	require('readline').createInterface({ input: process.stdin }).on('line', word => {
		waiting.push([]);
		own(word);
		second.send(word);
		thread.postMessage(word);
	});
}
