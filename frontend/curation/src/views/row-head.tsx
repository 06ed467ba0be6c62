import type { DeskState } from "../desk/desk-state.ts";
import { QUEUE_WORDS } from "../desk/words.ts";
import { useSpace } from "../space-context.ts";
import { useStore } from "../store.ts";
import { DOUBTFUL_BELOW } from "../text/doubts.ts";

/** Where a row is from, where it stands, and who has it. */
export function RowHead({ state, onGenre }: { state: DeskState; onGenre: () => void }) {
  const { facets } = useStore(useSpace().state);
  const { row } = state;
  if (!row) return null;
  const genre = state.genre ?? row.genre;
  const reason = facets?.reasons.find((known) => known.code === row.reason)?.label ?? row.reason;
  return (
    <header className="row-head">
      <div className="chips">
        <span className={`chip queue-${row.queue}`}>{QUEUE_WORDS[row.queue]}</span>
        {row.queue === "rejected" && reason && <span className="chip">{reason}</span>}
        <span className="chip">{row.source}</span>
        {row.kind && <span className="chip">{row.kind}</span>}
        {row.theme && <span className="chip">{row.theme}</span>}
        <button type="button" className={state.genre === null ? "chip" : "chip picked"} onClick={onGenre}>
          {genre ? `genre: ${genre}` : "no genre"} <kbd aria-hidden="true">g</kbd>
        </button>
        {row.confidence !== null && (
          <span className={row.confidence < DOUBTFUL_BELOW ? "chip doubt" : "chip"}>
            lowest line {Math.round(row.confidence * 100)} %
          </span>
        )}
        {row.warnings.map((category) => (
          <span key={category} className="chip warn">
            {category.replaceAll("_", " ")}
          </span>
        ))}
        <span className="row-number" title={row.origin}>
          #{row.id} · v{row.version}
        </span>
      </div>
      {row.note && <p className="quiet">Note: {row.note}</p>}
      {state.heldBy !== null && (
        <p className="banner" role="alert">
          <strong>{state.heldBy} is working on this row.</strong> Take the next one with <kbd>n</kbd>; here
          you can read.
        </p>
      )}
      {state.notice && (
        <p className="notice" role="status">
          {state.notice}
        </p>
      )}
    </header>
  );
}
