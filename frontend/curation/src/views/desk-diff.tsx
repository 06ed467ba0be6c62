import type { DeskState, DiffBase } from "../desk/desk-state.ts";
import { DiffTable } from "../parts/diff-table.tsx";
import { useSpace } from "../space-context.ts";

const BASES: Record<DiffBase, string> = { raw: "What OCR read", imported: "As imported", saved: "As saved" };

/** What the text was, against what stands in the editor now. */
export function DeskDiff({ state }: { state: DeskState }) {
  const { desk } = useSpace();
  const { row, text, diffBase } = state;
  if (!row) return null;
  const before = { raw: row.raw_text, imported: row.imported_text, saved: row.text }[diffBase];
  const offered: DiffBase[] = row.raw_text ? ["raw", "imported", "saved"] : ["imported", "saved"];
  return (
    <section className="diff-side" aria-label="Changes">
      <div className="tabs" role="group" aria-label="Compare with">
        {offered.map((base) => (
          <button
            key={base}
            type="button"
            aria-pressed={base === diffBase}
            onClick={() => {
              desk.compareWith(base);
            }}
          >
            {BASES[base]}
          </button>
        ))}
        <kbd aria-hidden="true">v</kbd>
      </div>
      <DiffTable before={before} after={text} label={`${BASES[diffBase]} against now`} />
    </section>
  );
}
