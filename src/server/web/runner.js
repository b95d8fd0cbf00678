// What a room has under way: one thing at a time, which Stop and Escape end, and a line that says what went wrong.
import {$, isComposing, note} from "./dom.js";
import {t} from "./i18n.js";

const runners = [];

/** An error's words for people. */
export function problemText(error) {
  const text = error.status === 0 ? t("chat.broken") : error.message;
  return error.retryAfter ? `${text} ${t("chat.retry_after", {seconds: error.retryAfter})}` : text;
}

/** @param {{buttons: string[], stop: string, problem: string, said: string, onChange?: () => void}} ids of elements:
 *  `buttons` wait while something runs, `stop` while nothing does; `said` is read out. */
export function makeRunner({buttons, stop, problem, said, onChange = () => {}}) {
  let controller = null;
  const set = (value) => {
    controller = value;
    for (const id of buttons) $(id).disabled = value !== null;
    $(stop).disabled = value === null;
    onChange();
  };
  const runner = {
    get running() { return controller !== null; },
    say(text) { $(said).textContent = text; },
    stop() { controller?.abort(); },
    /** Runs work(signal), unless something runs. */
    async run(work) {
      if (controller) return;
      set(new AbortController());
      note($(problem), "");
      try {
        await work(controller.signal);
      } catch (error) {
        if (error.name === "AbortError") runner.say(t("chat.stopped"));
        else note($(problem), problemText(error), true);
      } finally {
        set(null);
      }
    },
  };
  $(stop).addEventListener("click", runner.stop);
  runners.push(runner);
  return runner;
}

/** Escape stops what runs, wherever the focus is. */
export function startRunners() {
  document.addEventListener("keydown", (event) => {
    if (event.key !== "Escape" || isComposing(event) || document.querySelector("dialog[open]")) return;
    for (const runner of runners) runner.stop();
  });
}

/** Ctrl+Enter in a box of several lines is its form's button. */
export function sendOnEnter(ids, send) {
  for (const id of ids) {
    $(id).addEventListener("keydown", (event) => {
      if (event.key !== "Enter" || !(event.ctrlKey || event.metaKey) || isComposing(event)) return;
      event.preventDefault();
      send();
    });
  }
}
