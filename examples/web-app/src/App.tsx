/** The page: a prompt, how it goes, the picture. */

import { type FormEvent, useState } from "react";
import { type State, isOver, useJob } from "./useJob";

export function App() {
  const { state, trouble, asked, start, stop } = useJob();
  const [prompt, setPrompt] = useState(asked);
  const over = isOver(state);

  const submit = (event: FormEvent) => {
    event.preventDefault();
    if (over && prompt.trim()) start(prompt.trim());
  };

  return (
    <main>
      <h1>Pictures from words</h1>
      <form onSubmit={submit}>
        <label htmlFor="prompt">What shall it show?</label>
        <input
          id="prompt"
          name="prompt"
          required
          maxLength={1000}
          autoComplete="off"
          aria-describedby="hint"
          value={prompt}
          onChange={(event) => setPrompt(event.target.value)}
        />
        <p id="hint" className="quiet">
          For example: the year two zero two six
        </p>
        {/* Not `disabled`: a button that is would lose the keyboard's focus. */}
        <div className="buttons">
          <button type="submit" className="primary" aria-disabled={!over}>
            Draw
          </button>
          <button type="button" aria-disabled={over} onClick={() => !over && stop()}>
            Cancel
          </button>
        </div>
      </form>

      <section aria-labelledby="state" className={`card ${state.at}`}>
        {/* Read out when it changes; the figures below it, which change all the time, are not. */}
        <div role="status">
          <h2 id="state">{TITLES[state.at]}</h2>
        </div>
        <Details state={state} />
        {trouble && (
          <p className="trouble" role="alert">
            {sentence(trouble)} Trying again; nothing is lost.
          </p>
        )}
        {state.at === "done" && (
          <figure>
            <img src={state.picture} alt={asked} />
            <figcaption>
              {asked}
              <a href={state.picture} download="picture">
                Download
              </a>
            </figcaption>
          </figure>
        )}
      </section>
    </main>
  );
}

const TITLES: Record<State["at"], string> = {
  idle: "No picture yet",
  sending: "Asking the server",
  queued: "Waiting in the queue",
  starting: "Starting a worker",
  running: "Drawing",
  done: "Done",
  failed: "No picture came of it",
  cancelled: "Cancelled",
};

/** What is known beyond the title. */
function Details({ state }: { state: State }) {
  switch (state.at) {
    case "idle":
      return <p className="quiet">Write a prompt and press Draw.</p>;
    case "queued":
      return (
        <p className="quiet">
          {state.position !== undefined && `Number ${state.position} in the queue. `}
          {state.etaMs !== undefined ? `Expected to begin in ${seconds(state.etaMs)}.` : state.why && sentence(state.why)}
        </p>
      );
    case "starting":
      return (
        <>
          <Bar done={state.usualMs && state.forMs ? Math.min(state.forMs / state.usualMs, 0.95) : undefined} />
          <p className="quiet">
            {state.phase && PHASES[state.phase] ? PHASES[state.phase] : state.phase}
            {state.forMs !== undefined && `, for ${seconds(state.forMs)}`}
            {state.usualMs !== undefined && `; a start usually takes ${seconds(state.usualMs)}`}
          </p>
        </>
      );
    case "running":
      return (
        <>
          <Bar done={state.done} />
          <p className="quiet">{state.done !== undefined ? `${Math.round(100 * state.done)} %` : "At work"}</p>
        </>
      );
    case "done":
      return state.ms !== undefined ? <p className="quiet">Drawn in {seconds(state.ms)}</p> : null;
    case "failed":
      return <p className="why">{sentence(state.why)}</p>;
    default:
      return null;
  }
}

/** The server's words for what a start is at. */
const PHASES: Record<string, string> = { process: "Making its process", load: "Loading code and model" };

/** From 0 to 1; without a number it only moves. */
function Bar({ done }: { done?: number }) {
  return <progress aria-labelledby="state" max={1} value={done} />;
}

function seconds(ms: number): string {
  if (ms < 9_950) return `${(ms / 1000).toFixed(1)} s`;
  return ms < 120_000 ? `${Math.round(ms / 1000)} s` : `${Math.round(ms / 60_000)} min`;
}

/** The server's messages begin small and end without a full stop. */
function sentence(text: string): string {
  return text.charAt(0).toUpperCase() + text.slice(1) + (/[.!?]$/.test(text) ? "" : ".");
}
