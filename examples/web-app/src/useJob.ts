/**
 * One job from its submission to its end. What it takes to go on lies in the session's storage, so that a reload, a
 * server that is away and a network that is lost only cost time.
 */

import { useCallback, useEffect, useRef, useState } from "react";
import { Away, type Job, cancel, run, status } from "./server";

/** What the page shows. */
export type State =
  | { at: "idle" }
  | { at: "sending" }
  | { at: "queued"; position?: number; etaMs?: number; why?: string }
  | { at: "starting"; phase?: string; forMs?: number; usualMs?: number }
  | { at: "running"; done?: number }
  | { at: "done"; picture: string; ms?: number }
  | { at: "failed"; why: string }
  | { at: "cancelled" };

/** A job that this tab has asked for. */
interface Task {
  prompt: string;
  seed: number;
  /** Has the server make one job of several tries. */
  once: string;
  /** The job's id, once the server has answered. */
  id?: string;
  /** Whether it is to be cancelled. */
  cancel?: boolean;
}

const STORED = "task";
const POLL_MS = 700;
const LONGEST_PAUSE_MS = 10_000;

export const isOver = (state: State) => ["idle", "done", "failed", "cancelled"].includes(state.at);

export function useJob() {
  const [stored] = useState(restored);
  const task = useRef(stored);
  const [asked, setAsked] = useState(stored?.prompt ?? "");
  const [state, setState] = useState<State>({ at: stored ? "sending" : "idle" });
  /** Why the server cannot be asked at the moment. */
  const [trouble, setTrouble] = useState<string>();
  const following = useRef<AbortController>(undefined);

  /** Follows the task from where it is; whatever followed it before stops. */
  const follow = useCallback(() => {
    following.current?.abort();
    if (!task.current) return;
    following.current = new AbortController();
    void pursue(task.current, following.current.signal, setState, setTrouble);
  }, []);

  useEffect(() => {
    follow();
    return () => following.current?.abort();
  }, [follow]);

  const start = (prompt: string) => {
    const [seed, ...rest] = crypto.getRandomValues(new Uint32Array(5));
    task.current = { prompt, seed, once: rest.map((part) => part.toString(16).padStart(8, "0")).join("") };
    keep(task.current);
    setAsked(prompt);
    setState({ at: "sending" });
    follow();
  };

  const stop = () => {
    if (!task.current) return;
    task.current.cancel = true;
    keep(task.current);
    follow();
  };

  return { state, trouble, asked, start, stop };
}

/** Does what is next for the task until it is over or `signal` says that somebody else does. */
async function pursue(
  task: Task,
  signal: AbortSignal,
  show: (state: State) => void,
  tell: (trouble?: string) => void,
): Promise<void> {
  let pauseMs = POLL_MS;
  while (!signal.aborted) {
    try {
      const state = await next(task, signal);
      if (signal.aborted) return;
      tell();
      show(state);
      if (isOver(state)) return;
      pauseMs = POLL_MS;
    } catch (error) {
      if (signal.aborted) return;
      if (!(error instanceof Away)) {
        tell();
        return show({ at: "failed", why: error instanceof Error ? error.message : String(error) });
      }
      if (task.cancel && !task.id) {
        // The server never said that it has the job.
        sessionStorage.removeItem(STORED);
        tell();
        return show({ at: "cancelled" });
      }
      pauseMs = Math.min(Math.max(2 * pauseMs, error.waitMs), LONGEST_PAUSE_MS);
      tell(error.message);
    }
    await pause(pauseMs, signal);
  }
}

/** One call: the submission, the wish to cancel, or the question how it goes. */
async function next(task: Task, signal: AbortSignal): Promise<State> {
  if (!task.id) {
    const { id } = await run({ prompt: task.prompt, seed: task.seed }, task.once, signal);
    task.id = id;
    keep(task);
  }
  if (task.cancel) {
    await cancel(task.id, signal);
    task.cancel = false;
    keep(task);
  }
  return stateOf(await status(task.id, signal));
}

/** What a job's status means for the page. */
function stateOf(job: Job): State {
  switch (job.status) {
    case "IN_QUEUE":
      if (job.phase === "starting") {
        const { phase, forMs, usualMs } = job.start ?? {};
        return { at: "starting", phase, forMs, usualMs: usualMs ?? undefined };
      }
      return {
        at: "queued",
        position: job.queue?.position,
        etaMs: job.queue?.etaMs ?? undefined,
        // That all are busy is what a place in the queue says already.
        why: job.reason?.code === "all_busy" ? undefined : job.reason?.message,
      };
    case "IN_PROGRESS":
      return { at: "running", done: progress(job.output) };
    case "COMPLETED":
      return pictureOf(job);
    case "CANCELLED":
      return { at: "cancelled" };
    default:
      return { at: "failed", why: job.reason?.message ?? job.error ?? "The job did not succeed." };
  }
}

/** How much is done, from 0 to 1, where the handler tells it as `percent`. */
function progress(said: unknown): number | undefined {
  const percent = (said as { percent?: unknown } | undefined)?.percent;
  return typeof percent === "number" ? Math.min(Math.max(percent / 100, 0), 1) : undefined;
}

/** The picture of `{"statusCode": 200, "body": "<base64>"}`; with another code the body says what was wrong. */
function pictureOf(job: Job): State {
  const { statusCode = 200, body } = (job.output ?? {}) as { statusCode?: number; body?: unknown };
  if (typeof body !== "string") return { at: "failed", why: "The worker's answer has no picture in output.body." };
  if (statusCode !== 200) return { at: "failed", why: body };
  const kind = Object.entries(KINDS).find(([start]) => body.startsWith(start))?.[1];
  if (!kind) return { at: "failed", why: "output.body is no PNG, JPEG or WebP in base64." };
  return { at: "done", picture: `data:${kind};base64,${body}`, ms: job.executionTime };
}

/** How pictures begin in base64. */
const KINDS = { iVBORw0KGgo: "image/png", "/9j/": "image/jpeg", UklGR: "image/webp" };

function keep(task: Task) {
  sessionStorage.setItem(STORED, JSON.stringify(task));
}

function restored(): Task | undefined {
  const stored = sessionStorage.getItem(STORED);
  return stored ? (JSON.parse(stored) as Task) : undefined;
}

function pause(ms: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const timer = setTimeout(resolve, ms);
    signal.addEventListener("abort", () => {
      clearTimeout(timer);
      resolve();
    });
  });
}
