import { useSpace } from "../space.ts";
import { useStore } from "../store.ts";
import { BEGINNINGS } from "../write/beginnings.ts";
import { HowItWrites } from "./how-it-writes.tsx";

/** The button, the beginning, and how it writes. */
export function Composer() {
  const space = useSpace();
  const { text } = useStore(space.draft);
  const { phase } = useStore(space.writer.state);
  const busy = phase.name !== "idle";
  return (
    <section className="composer" aria-label="Write">
      <form
        onSubmit={(event) => {
          event.preventDefault();
          void space.writeOne();
        }}
      >
        <div className="beginning">
          <label htmlFor="beginning">Begin with</label>
          <div className="field">
            <textarea
              id="beginning"
              rows={Math.max(2, Math.min(8, text.split("\n").length))}
              maxLength={2000}
              placeholder={"nothing: then it begins by itself"}
              value={text}
              onChange={(event) => {
                space.draft.set({ text: event.target.value });
              }}
              onKeyDown={(event) => {
                if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) {
                  event.preventDefault();
                  void space.writeOne();
                }
              }}
            />
            {text !== "" && (
              <button
                type="button"
                className="clear"
                aria-label="Clear the beginning"
                onClick={() => {
                  space.draft.set({ text: "" });
                  document.getElementById("beginning")?.focus();
                }}
              >
                <span aria-hidden="true">✕</span>
              </button>
            )}
          </div>
        </div>
        <div className="press">
          <button
            type="button"
            className="die"
            title="A beginning by chance (d)"
            aria-keyshortcuts="d"
            aria-label="Roll the die: a beginning by chance"
            onClick={() => void space.roll()}
          >
            <Die />
          </button>
          <button type="submit" className="big" aria-keyshortcuts="w" title="Write one (w)">
            Write one <kbd aria-hidden="true">w</kbd>
          </button>
          {busy && (
            <button
              type="button"
              className="big stop"
              aria-keyshortcuts="Escape"
              title="Stop (Esc)"
              onClick={() => {
                space.writer.stop();
              }}
            >
              Stop <kbd aria-hidden="true">Esc</kbd>
            </button>
          )}
        </div>
      </form>
      <div className="chips" role="group" aria-label="Or write one that begins with">
        {BEGINNINGS.map((beginning) => (
          <button
            key={beginning}
            type="button"
            className="chip"
            aria-pressed={text === beginning}
            onClick={() => {
              space.draft.set({ text: beginning, last: beginning });
              void space.writeOne(beginning);
            }}
          >
            {beginning}
          </button>
        ))}
      </div>
      <HowItWrites />
    </section>
  );
}

function Die() {
  return (
    <svg viewBox="0 0 24 24" width="26" height="26" aria-hidden="true">
      <rect x="3" y="3" width="18" height="18" rx="4" fill="none" stroke="currentColor" strokeWidth="2" />
      {["8 8", "16 8", "12 12", "8 16", "16 16"].map((place) => {
        const [x = "", y = ""] = place.split(" ");
        return <circle key={place} cx={x} cy={y} r="1.7" fill="currentColor" />;
      })}
    </svg>
  );
}
