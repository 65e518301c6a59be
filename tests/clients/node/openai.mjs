// A program with OpenAI's own JavaScript client, told of the server by the environment alone (`OPENAI_BASE_URL`).
// `node openai.mjs CASE` prints what it saw as one line of JSON.

import OpenAI from "openai";

const model = "parrot-1";
const messages = [{ role: "user", content: "good morning to you" }];
const client = new OpenAI({ maxRetries: 0 });

const settled = async (promise) => {
  try {
    return { value: await promise };
  } catch (error) {
    const { status, message, code, type, requestID } = error;
    return { error: error.constructor.name, status, message, code, type, requestID };
  }
};

const chat = (more) => client.chat.completions.create({ model, messages, ...more });

const read = async (stream) => {
  const seen = { pieces: [], finish: null, usage: null };
  for await (const chunk of await stream) {
    for (const choice of chunk.choices) {
      seen.pieces.push(choice.delta.content);
      seen.finish = choice.finish_reason ?? seen.finish;
    }
    seen.usage = chunk.usage ?? seen.usage;
  }
  return seen;
};

const cases = {
  async whole() {
    const answer = await chat();
    return { text: answer.choices[0].message.content, usage: answer.usage, id: answer._request_id };
  },
  streamed: () => read(chat({ stream: true, stream_options: { include_usage: true } })),
  // The helper that puts the pieces together itself.
  async helper() {
    const runner = client.chat.completions.stream({ model, messages });
    return (await runner.finalChatCompletion()).choices[0].message.content;
  },
  async models() {
    const ids = [];
    for await (const found of client.models.list()) ids.push(found.id);
    return ids;
  },
  async errors() {
    const stranger = new OpenAI({ apiKey: "nobody", maxRetries: 0 });
    return {
      model: await settled(chat({ model: "gone" })),
      modelStreamed: await settled(read(chat({ model: "gone", stream: true }))),
      breaks: await settled(read(chat({ user: "breaks", stream: true }))),
      crash: await settled(chat({ user: "crash" })),
      stranger: await settled(stranger.models.list()),
    };
  },
};

console.log(JSON.stringify(await cases[process.argv[2]]()));
