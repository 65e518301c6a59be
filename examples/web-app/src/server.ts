/**
 * The three calls that the page makes, `run`, `status` and `cancel`, and what can come of them: an answer, `Away` (try
 * again) or `Refused` (trying again would not help).
 */

export const URL_OF_SERVER = (import.meta.env.VITE_RUNYARD_URL || "http://127.0.0.1:8080").replace(/\/+$/, "");
const ENDPOINT: string = import.meta.env.VITE_ENDPOINT || "dev";
const KEY: string = import.meta.env.VITE_PUBLISHABLE_KEY || "";

/** A call that takes longer than this has met a network that swallows it. */
const PATIENCE_MS = 30_000;

/** A job as the server tells it. What RunPod's answer has not is marked so, and may be missing. */
export interface Job {
  id: string;
  status: "IN_QUEUE" | "IN_PROGRESS" | "COMPLETED" | "FAILED" | "CANCELLED" | "TIMED_OUT";
  /** While it runs what the handler last said with `progress_update`; at its end what it returned. */
  output?: unknown;
  error?: string;
  executionTime?: number;
  /** Not RunPod's: its place among the waiting jobs. */
  queue?: { position: number; etaMs: number | null };
  /** Not RunPod's: `queued`, `starting` or `executing`. */
  phase?: string;
  /** Not RunPod's: the worker that starts. */
  start?: { phase: string; forMs: number; usualMs: number | null };
  /** Not RunPod's: why it waits or did not succeed, in words. */
  reason?: { code: string; message: string };
}

/** Nothing came of the call, and it can be made again. */
export class Away extends Error {
  constructor(
    message: string,
    /** How long the server asks to wait. */
    readonly waitMs = 0,
  ) {
    super(message);
  }
}

/** The server will not do it. */
export class Refused extends Error {}

/**
 * Submits a job. `once` makes it safe to do so again: with the same text the server answers with the same job, also
 * where the first answer was lost on its way.
 */
export function run(input: object, once: string, signal: AbortSignal): Promise<Job> {
  return call("POST", "run", signal, { "idempotency-key": once }, JSON.stringify({ input }));
}

export function status(id: string, signal: AbortSignal): Promise<Job> {
  return call("GET", `status/${encodeURIComponent(id)}`, signal);
}

export function cancel(id: string, signal: AbortSignal): Promise<Job> {
  return call("POST", `cancel/${encodeURIComponent(id)}`, signal);
}

async function call(
  method: string,
  path: string,
  signal: AbortSignal,
  headers: Record<string, string> = {},
  body?: string,
): Promise<Job> {
  if (KEY) headers.authorization = `Bearer ${KEY}`;
  if (body) headers["content-type"] = "application/json";
  let answer: Response;
  let text: string;
  try {
    const patience = AbortSignal.any([signal, AbortSignal.timeout(PATIENCE_MS)]);
    answer = await fetch(`${URL_OF_SERVER}/v2/${ENDPOINT}/${path}`, { method, headers, body, signal: patience });
    text = await answer.text();
  } catch {
    // A browser does not say whether nobody answered or the answer is not for pages of this origin.
    throw new Away(`No answer from ${URL_OF_SERVER}, or none that pages of ${location.origin} may read.`);
  }
  if (answer.ok) return JSON.parse(text) as Job;
  const message = words(text) ?? `The server answered with ${answer.status}.`;
  if (answer.status === 429 || answer.status >= 500) {
    throw new Away(message, 1000 * Number(answer.headers.get("retry-after") ?? 0));
  }
  throw new Refused(message);
}

/** The text of an error's body. */
function words(body: string): string | undefined {
  try {
    const said: unknown = JSON.parse(body).error;
    return typeof said === "string" ? said : undefined;
  } catch {
    return undefined;
  }
}
