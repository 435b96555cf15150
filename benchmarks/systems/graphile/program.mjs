// What benchmarks/systems/graphile_.py runs: install, work or enqueue, by the order in argv[2].

import { setTimeout as sleep } from "node:timers/promises";

import { Logger, makeWorkerUtils, run, runMigrations, runOnce } from "graphile-worker";

const order = JSON.parse(process.argv[2]);
// The same clock as Python's time.monotonic().
const now = () => Number(process.hrtime.bigint()) / 1e9;
const report = { began: 0, ended: 0, handled: 0, marks: [], delays: [], starts: [] };
const EVERY = 500;
const AWAIT = 1; // milliseconds
// Lines about each job would be part of what is measured; Python's loggers are at WARNING too.
const logger = new Logger(() => (level, message) => {
  if (level === "error" || level === "warning") console.error(message);
});
let allStarted;
const untilAllStarted = new Promise((resolve) => (allStarted = resolve));
const preset = { worker: { connectionString: order.url, ...order.tuning } };

async function noop(payload) {
  const started = now();
  if (report.handled % EVERY === 0) {
    report.marks.push([report.handled, started]);
    if (report.handled === 0) console.log("first");
  }
  report.handled += 1;
  if (report.handled === order.jobs) allStarted();
  if (order.kind === "probe" && payload?.sent) report.delays.push(started - payload.sent);
  if (order.kind === "await") await sleep(AWAIT);
}

async function enqueue() {
  const utils = await makeWorkerUtils({ preset, logger });
  await utils.addJobs([{ identifier: "noop", payload: { n: 0 } }]);
  report.began = now();
  for (let start = 0; start < order.jobs; start += order.chunk) {
    const count = Math.min(order.chunk, order.jobs - start);
    const jobs = Array.from({ length: count }, (_, n) => ({
      identifier: "noop",
      payload: { n: start + n },
    }));
    await utils.addJobs(jobs);
  }
  report.ended = now();
  await utils.release();
}

async function work() {
  const options = { preset, logger, taskList: { noop }, noHandleSignals: true };
  report.began = now();
  if (order.keys) {
    // runOnce ends where all that waits is of keys of which a job runs.
    const runner = await run(options);
    await untilAllStarted;
    await runner.stop();
  } else if (order.until_empty) {
    await runOnce(options);
  } else {
    const runner = await run(options);
    process.stdin.resume();
    await new Promise((resolve) => process.stdin.once("end", resolve));
    await runner.stop();
  }
  report.ended = now();
}

const actions = { enqueue, work, install: () => runMigrations({ preset, logger }) };
await actions[order.action]();
console.log(JSON.stringify(report));
process.exit(0);
