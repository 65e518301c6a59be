// A program with Vercel's AI SDK and RunPod's provider for it, `@runpod/ai-sdk-provider`. `node ai.mjs CASE` prints what
// it saw as one line of JSON. Chat, completion and image models take the base URL as an option; for the others a
// model's id may be an address.

import {
  experimental_generateSpeech as generateSpeech,
  experimental_transcribe as transcribe,
  generateImage,
  generateText,
  streamText,
} from "ai";
import { createRunpod } from "@runpod/ai-sdk-provider";

const base = process.env.BASE_URL;
const provider = (endpoint, more) => createRunpod({ baseURL: `${base}/${endpoint}`, ...more });
const chat = provider("vllm/openai/v1");
const prompt = "good morning to you";
const quick = { runpod: { pollIntervalMillis: 100 } };

const settled = async (run) => {
  try {
    return { value: await run() };
  } catch (error) {
    const { name, message, statusCode, isRetryable } = error;
    return { name, message, statusCode, isRetryable };
  }
};

const once = (model, more) => generateText({ model, prompt, maxRetries: 0, ...more });

const readStream = async (model, more) => {
  const errors = [];
  const onError = ({ error }) => errors.push({ name: error.name ?? "", message: error.message ?? JSON.stringify(error), statusCode: error.statusCode });
  const result = streamText({ model, prompt, maxRetries: 0, onError, ...more });
  const pieces = [];
  for await (const piece of result.textStream) pieces.push(piece);
  if (errors.length) return { pieces, errors };
  return { pieces, finish: await result.finishReason, usage: (await result.usage).totalTokens };
};

const textOf = (bytes) => Buffer.from(bytes).toString();

const cases = {
  async whole() {
    const { text, usage, finishReason } = await once(chat("parrot-1"));
    return { text, total: usage.totalTokens, finishReason };
  },
  streamed: () => readStream(chat("parrot-1")),
  async completion() {
    const model = chat.completionModel("parrot-1");
    return { whole: (await once(model)).text, pieces: (await readStream(model)).pieces };
  },
  async errors() {
    const stranger = provider("vllm/openai/v1", { apiKey: "nobody" });
    const providerOptions = { runpod: { user: "breaks" } };
    return {
      model: await settled(() => once(chat("gone"))),
      modelStreamed: await readStream(chat("gone")),
      breaks: await readStream(chat("parrot-1"), { providerOptions }),
      crash: await settled(() => once(chat("parrot-1"), { providerOptions: { runpod: { user: "crash" } } })),
      stranger: await settled(() => once(stranger("parrot-1"))),
      strangersImage: await settled(() => generateImage({ model: provider("tasks", { apiKey: "nobody" }).image("x"), prompt, maxRetries: 0 })),
      nowhere: await settled(() => once(provider("nowhere/openai/v1")("parrot-1"))),
    };
  },
  async abort() {
    const abortSignal = AbortSignal.timeout(1500);
    return settled(() => once(chat("parrot-1"), { abortSignal, providerOptions: { runpod: { user: "slow" } } }));
  },
  async image() {
    const model = provider("tasks").image("a-model");
    const seen = await generateImage({ model, prompt, size: "512x512", seed: 7 });
    const failed = await settled(() => generateImage({ model, prompt, providerOptions: { runpod: { fail: "no paint" } }, maxRetries: 0 }));
    return { image: textOf(seen.image.uint8Array), metadata: seen.providerMetadata.runpod.images, failed };
  },
  async speech() {
    const model = createRunpod().speech(`${base}/tasks`);
    return textOf((await generateSpeech({ model, text: "hello\nyou", voice: "lucy" })).audio.uint8Array);
  },
  async transcription() {
    const model = createRunpod().transcription(`${base}/tasks`);
    const audio = Buffer.from("RIFF0000WAVEfmt ");
    const seen = await transcribe({ model, audio, providerOptions: quick });
    return { text: seen.text, language: seen.language, segments: seen.segments };
  },
  async video() {
    const model = createRunpod().video(`${base}/tasks`);
    // The model itself: the SDK's own call would fetch the film, and refuses addresses of the same machine.
    return (await model.doGenerate({ prompt, n: 1, duration: 4, providerOptions: quick })).videos;
  },
};

console.log(JSON.stringify(await cases[process.argv[2]]()));
