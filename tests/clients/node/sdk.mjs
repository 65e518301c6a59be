// A program with the npm package `runpod-sdk`, as its README shows it; the base URL is the only thing that is not
// RunPod's own. `node sdk.mjs CASE` prints what it saw as one line of JSON (the SDK prints, too).

import runpodSdk from "runpod-sdk";

const { BASE_URL, RUNPOD_API_KEY } = process.env;
const sdk = runpodSdk(RUNPOD_API_KEY, { baseUrl: BASE_URL });
const tasks = sdk.endpoint("tasks");
const vllm = sdk.endpoint("vllm");
const parked = sdk.endpoint("parked");

const settled = async (promise) => {
  try {
    return { value: await promise };
  } catch (error) {
    return { name: error.name, message: error.message, status: error.response?.status, data: error.response?.data };
  }
};

const collect = async (stream) => {
  const chunks = [];
  for await (const chunk of stream) chunks.push(chunk);
  return chunks;
};

const until = async (endpoint, id, wanted) => {
  for (;;) {
    const seen = await endpoint.status(id);
    if (wanted.includes(seen.status)) return seen;
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
};

const cases = {
  async run() {
    const accepted = await tasks.run({ input: { n: [1, 2.5, null], "ключ": "значение" } });
    return { accepted, done: await until(tasks, accepted.id, ["COMPLETED"]) };
  },
  async runSync() {
    return { done: await tasks.runSync({ input: { prompt: "hi" } }), failed: await tasks.runSync({ input: { fail: "no" } }) };
  },
  // A wait that ends before the job does: the SDK goes on with status-sync.
  async runSyncLonger() {
    const began = Date.now();
    const done = await tasks.runSync({ input: { sleep: 2.5 } }, 1000);
    const waited = Date.now() - began;
    return { done, waited, later: await tasks.statusSync(done.id) };
  },
  async statusSync() {
    const { id } = await tasks.run({ input: { sleep: 0.5, n: 1 } });
    const other = await parked.run({ input: {} });
    return { done: await tasks.statusSync(id), waiting: await parked.statusSync(other.id, 1000) };
  },
  async progress() {
    const { id } = await tasks.run({ input: { progress: ["one", { step: 2 }], sleep: 0.5 } });
    const seen = new Set();
    for (let now = {}; !now.completed; ) {
      await new Promise((resolve) => setTimeout(resolve, 20));
      now = await tasks.status(id);
      if (now.status === "IN_PROGRESS" && now.output !== undefined) seen.add(JSON.stringify(now.output));
    }
    return [...seen];
  },
  async stream() {
    const long = await vllm.run({ input: { prompt: "a b c d e f", every: 0.1 } });
    const ended = await vllm.runSync({ input: { prompt: "x y" } });
    const broken = await vllm.run({ input: { prompt: "x y z", fail_at: 2 } });
    const plain = await tasks.run({ input: { n: 1 } });
    return {
      long: await collect(vllm.stream(long.id)),
      ended: await collect(vllm.stream(ended.id)),
      output: ended.output,
      broken: await collect(vllm.stream(broken.id)),
      brokenStatus: await vllm.status(broken.id),
      plain: await collect(tasks.stream(plain.id)),
    };
  },
  async cancel() {
    const running = await tasks.run({ input: { sleep: 60 } });
    await until(tasks, running.id, ["IN_PROGRESS"]);
    const waiting = await parked.run({ input: {} });
    const done = await tasks.runSync({ input: {} });
    return {
      running: await tasks.cancel(running.id),
      runningLater: await tasks.status(running.id),
      stream: await collect(tasks.stream(running.id)),
      waiting: await parked.cancel(waiting.id),
      done: await tasks.cancel(done.id),
      doneLater: await tasks.status(done.id),
    };
  },
  async queue() {
    await parked.purgeQueue();
    const ids = [];
    for (let n = 0; n < 4; n += 1) ids.push((await parked.run({ input: { n } })).id);
    const health = await parked.health();
    const purged = await parked.purgeQueue();
    return { health, purged, states: await Promise.all(ids.map(async (id) => (await parked.status(id)).status)) };
  },
  async options() {
    const accepted = await parked.run({
      input: { n: 1 },
      webhook: "https://example.com/hook",
      policy: { executionTimeout: 5000, ttl: 10000, lowPriority: true },
      s3Config: { accessId: "a", accessSecret: "b", bucketName: "c", endpointUrl: "https://example.com" },
    });
    return { accepted, seen: await parked.status(accepted.id), bad: await settled(tasks.run({ input: 1, policy: { ttl: 5 } })) };
  },
  async limited() {
    const { id } = await parked.run({ input: {} });
    const answers = await Promise.all(Array.from({ length: 40 }, () => settled(parked.status(id))));
    return answers.map((answer) => answer.value ? {} : answer);
  },
  async errors() {
    const stranger = runpodSdk("nobody", { baseUrl: BASE_URL }).endpoint("tasks");
    const nowhere = sdk.endpoint("nowhere");
    const missing = "00000000-0000-4000-8000-000000000000-u1";
    return {
      stranger: await settled(stranger.run({ input: {} })),
      strangerHealth: await settled(stranger.health()),
      nowhere: await settled(nowhere.run({ input: {} })),
      nowhereHealth: await settled(nowhere.health()),
      missing: await settled(tasks.status(missing)),
      missingSync: await settled(tasks.statusSync(missing)),
      missingStream: await settled(collect(tasks.stream(missing))),
      missingCancel: await settled(tasks.cancel(missing)),
      noInput: await settled(tasks.run({ prompt: "hi" })),
      softError: await tasks.runSync({ input: { soft_error: "not today" } }),
      raised: await tasks.runSync({ input: { fail: "not today" } }),
    };
  },
};

console.log(JSON.stringify(await cases[process.argv[2]]()));
